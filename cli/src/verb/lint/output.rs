//! The forms of a report: for people, for programs, and for the pages of pull requests.

use std::collections::HashMap;

use sealkit_core::lint::{Rule, Severity};
use sealkit_core::names::digest;
use serde_json::{Value, json};

use super::{Findings, Format, Located};
use crate::args::Output;
use crate::error::Result;
use crate::report::{sarif, structured};
use crate::terminal;
use crate::terminal::safe;

/// Prints all findings.
pub(super) fn print(
    findings: &Findings,
    format: Option<Format>,
    output: Option<Output>,
) -> Result<()> {
    let all = &findings.all;
    let document = match (format, output) {
        (_, Some(form)) => {
            let report = json!({"findings": objects(all), "scanned": findings.scanned});
            return terminal::print(structured(&report, form)?);
        }
        (None | Some(Format::Text), None) => {
            return terminal::print(all.iter().map(line).collect::<String>());
        }
        (Some(Format::Github), None) => {
            return terminal::print(all.iter().map(annotation).collect::<String>());
        }
        (Some(Format::Sarif), None) => sarif(all),
        (Some(Format::Gitlab), None) => gitlab(all),
    };
    terminal::print(structured(&document, Output::Json)?)
}

fn line(located: &Located) -> String {
    let Located { shown, finding, .. } = located;
    format!(
        "{}:{}:{}: {}: {}; {}\n",
        terminal::shown(shown),
        finding.place.line,
        finding.place.column,
        finding.rule.name(),
        finding.message,
        finding.rule.way_out()
    )
}

fn objects(all: &[Located]) -> Vec<Value> {
    let fingerprints = fingerprints(all);
    let objects = all.iter().zip(fingerprints).map(|(located, fingerprint)| {
        let Located { shown, finding, .. } = located;
        json!({
            "path": shown.to_string_lossy(),
            "line": finding.place.line,
            "column": finding.place.column,
            "object": finding.object,
            "keys": finding.keys,
            "code": finding.rule.name(),
            "severity": finding.rule.severity().name(),
            "detail": finding.message,
            "hint": finding.rule.way_out(),
            "fingerprint": fingerprint,
        })
    });
    objects.collect()
}

/// One word for each finding, the same wherever in its file it moves. Paths, rules and names make
/// it, no value.
fn fingerprints(all: &[Located]) -> Vec<String> {
    let mut seen: HashMap<String, usize> = HashMap::new();
    let fingerprints = all.iter().map(|located| {
        let finding = &located.finding;
        let parts = json!([
            located.path.to_string_lossy(),
            finding.rule.name(),
            finding.object,
            finding.keys
        ]);
        let digest = digest(parts.to_string().as_bytes());
        let nth = seen.entry(digest.clone()).or_default();
        *nth += 1;
        if *nth == 1 {
            digest
        } else {
            format!("{digest}-{nth}")
        }
    });
    fingerprints.collect()
}

/// A workflow command of GitHub Actions.
fn annotation(located: &Located) -> String {
    let finding = &located.finding;
    let data = |text: &str| {
        text.replace('%', "%25")
            .replace('\r', "%0D")
            .replace('\n', "%0A")
    };
    let property = |text: &str| data(text).replace(':', "%3A").replace(',', "%2C");
    format!(
        "::{} file={},line={},col={},title={}::{}; {}\n",
        finding.rule.severity().name(),
        property(&located.path.to_string_lossy()),
        finding.place.line,
        finding.place.column,
        finding.rule.name(),
        data(&safe(&finding.message)),
        data(finding.rule.way_out())
    )
}

/// SARIF 2.1.0.
fn sarif(all: &[Located]) -> Value {
    let rules = Rule::ALL.map(sarif::rule);
    let results = all
        .iter()
        .zip(fingerprints(all))
        .map(|(located, fingerprint)| {
            let finding = &located.finding;
            let index = Rule::ALL.iter().position(|rule| *rule == finding.rule);
            json!({
                "ruleId": finding.rule.name(),
                "ruleIndex": index.unwrap_or_default(),
                "level": finding.rule.severity().name(),
                "message": {"text": format!("{}; {}", finding.message, finding.rule.way_out())},
                "locations": [sarif::location(&located.path, finding.place)],
                "partialFingerprints": {"sealkit/v1": fingerprint},
            })
        });
    let results: Vec<Value> = results.collect();
    sarif::document("seal lint", &rules, &results)
}

/// The code quality report of GitLab.
fn gitlab(all: &[Located]) -> Value {
    let issues = all.iter().zip(fingerprints(all)).map(|(located, fingerprint)| {
        let finding = &located.finding;
        let severity = match finding.rule.severity() {
            Severity::Error => "critical",
            Severity::Warning => "minor",
        };
        json!({
            "description": format!("{}; {}", finding.message, finding.rule.way_out()),
            "check_name": finding.rule.name(),
            "fingerprint": fingerprint,
            "severity": severity,
            "location": {"path": located.path.to_string_lossy(), "lines": {"begin": finding.place.line}},
        })
    });
    issues.collect()
}
