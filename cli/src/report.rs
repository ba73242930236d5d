//! Results that people and programs read: findings, tables, JSON.

pub(crate) mod sarif;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use sealkit_core::manifest::Document;
use serde::Serialize;
use serde_json::json;

use crate::args::Output;
use crate::error::{CommandError, Result};
use crate::terminal::{Terminal, print, safe};

/// What a verb came to, where it did what it was asked. Decides between the exit codes 0, 1 and 6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Everything is as it should be.
    Clean,
    /// There is something to look at.
    Findings,
    /// There are changes that a reviewer can approve, and nothing else.
    Review,
}

impl Verdict {
    /// What findings come to.
    pub fn of(findings: &[Finding]) -> Self {
        match findings {
            [] => Self::Clean,
            all if all.iter().all(|finding| finding.review) => Self::Review,
            _ => Self::Findings,
        }
    }

    /// Clean where this is so.
    pub fn clean_if(is_clean: bool) -> Self {
        if is_clean {
            Self::Clean
        } else {
            Self::Findings
        }
    }
}

/// Something wrong with an object or a file.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub(crate) struct Finding {
    /// The file.
    pub path: String,
    /// `namespace/name`, where there is an object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// One word for programs.
    pub code: String,
    /// A sentence for people.
    pub detail: String,
    /// Is it a change that a reviewer can approve?
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub review: bool,
}

/// Findings of a comparison with a revision that every rotation, addition or removal brings.
const REVIEWED: [&str; 6] = [
    "NewRecipient",
    "LostRecipient",
    "NewScope",
    "Renamed",
    "LostRule",
    "NewConsent",
];

impl Finding {
    /// Of a file, or of an object in it.
    pub fn new(path: &Path, document: Option<&Document>, code: &str, detail: String) -> Self {
        let object = document.map(|document| {
            let (namespace, name) = (document.metadata("namespace"), document.metadata("name"));
            let slash = if namespace.is_empty() { "" } else { "/" };
            format!("{namespace}{slash}{name}")
        });
        Self {
            path: path.to_string_lossy().into_owned(),
            object,
            code: code.to_owned(),
            detail,
            review: REVIEWED.contains(&code),
        }
    }
}

/// What was scanned.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Scanned {
    /// Files with manifests of ours or Secrets in them.
    pub files: usize,
    /// SealedSecrets.
    pub objects: usize,
}

/// Prints findings, one a line, or all as one document.
pub(crate) fn print_findings(
    findings: &[Finding],
    scanned: Scanned,
    output: Option<Output>,
) -> Result<()> {
    if let Some(form) = output {
        return print(structured(
            &json!({"findings": findings, "scanned": scanned}),
            form,
        )?);
    }
    let mut text = String::new();
    for Finding {
        path,
        object,
        code,
        detail,
        review: _,
    } in findings
    {
        let object = object.as_ref().map(|object| format!("{}: ", safe(object)));
        let object = object.unwrap_or_default();
        text.extend([&safe(path), ": ", &object, code, ": ", detail, "\n"]);
    }
    print(text)
}

/// One line for each kind of finding that a reviewer can approve, where there are several.
pub(crate) fn print_review(findings: &[Finding], terminal: Terminal) {
    let mut kinds: BTreeMap<&str, (usize, BTreeSet<&str>)> = BTreeMap::new();
    for finding in findings.iter().filter(|finding| finding.review) {
        let kind = kinds.entry(&finding.code).or_default();
        kind.0 += 1;
        kind.1.insert(&finding.path);
    }
    for (code, (count, files)) in &kinds {
        let files = files.len();
        terminal.note(format_args!(
            "{code}: {count} in {files} files, for a reviewer to approve"
        ));
    }
    if Verdict::of(findings) == Verdict::Review {
        terminal.note("nothing else was found: exit code 6");
    }
}

/// A value in the form asked for.
pub(crate) fn structured(value: &impl Serialize, form: Output) -> Result<String> {
    let written = match form {
        Output::Yaml => sealkit_core::manifest::to_yaml(&[value]).map_err(|_| ()),
        Output::Json => sealkit_core::manifest::to_json(&[value]).map_err(|_| ()),
    };
    written.map_err(|()| CommandError::bug("the result cannot be written"))
}

/// Columns, aligned, under a heading.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for row in rows {
        let cells: Vec<_> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        out.push_str(cells.join("   ").trim_end());
        out.push('\n');
    }
    out
}
