//! The report for code scanning: what is missing, and what uses a value that a leaked key can read.

use sealkit_core::lint::{Rule, Severity};
use sealkit_core::manifest::Place;
use sealkit_core::names::digest;
use serde_json::{Value, json};

use super::answer::{Answer, Made, Part, Used, wanted};
use super::story::Story;
use crate::exposure::Fate;
use crate::report::sarif;

/// The rule of what a leaked key can read.
const EXPOSED: &str = "ExposedValue";
const WAY_OUT: &str = "change the value in the system that it opens, and with `seal set`";

/// SARIF 2.1.0.
pub(super) fn sarif(answer: &Answer<'_>, stories: &Story) -> Value {
    let rules = [
        sarif::rule(Rule::MissingReference),
        json!({
            "id": EXPOSED,
            "shortDescription": {"text": "A leaked key can read a value that is in use."},
            "help": {"text": WAY_OUT},
            "defaultConfiguration": {"level": Severity::Error.name()},
        }),
    ];
    let mut results = Vec::new();
    for part in &answer.parts {
        for made in &part.made {
            results.extend(exposed_values(answer, part, made, stories));
        }
        for used in &part.used {
            results.extend(missing(answer, used));
            let made = part.made.iter().filter(|made| !made.values.is_empty());
            results.extend(
                used.exposed
                    .map(|state| exposed_use(answer, part, used, state, made)),
            );
        }
    }
    sarif::document("seal impact", &rules, &results)
}

/// The exposed values of a maker, in one result.
fn exposed_values(
    answer: &Answer<'_>,
    part: &Part<'_>,
    made: &Made<'_>,
    stories: &Story,
) -> Option<Value> {
    let exposed = made.values.iter().filter_map(|number| {
        let state = stories.states.get(number)?;
        Some(format!("{} ({})", answer.held[*number].key, state.words()))
    });
    let exposed: Vec<String> = exposed.collect();
    if exposed.is_empty() {
        return None;
    }
    let message = format!(
        "Secret {}: the leaked key can read {}; {WAY_OUT}",
        part.title(),
        exposed.join(", ")
    );
    let (file, place) = (made.provider.file, made.provider.place);
    Some(result(answer, EXPOSED, file, place, &message))
}

fn exposed_use<'a>(
    answer: &Answer<'_>,
    part: &Part<'_>,
    used: &Used<'_>,
    state: Fate,
    made: impl Iterator<Item = &'a Made<'a>>,
) -> Value {
    let used = used.reference;
    let message = format!(
        "{} {} ({}) uses {} of Secret {}, which the leaked key can read ({}); {WAY_OUT}",
        used.object.kind,
        used.object.title(),
        used.how,
        wanted(used),
        part.title(),
        state.words()
    );
    let mut result = result(answer, EXPOSED, used.file, used.place, &message);
    let related = made.map(|made| {
        let provider = made.provider;
        sarif::location(answer.files[provider.file].place.path(), provider.place)
    });
    result["relatedLocations"] = related.collect();
    result
}

fn missing(answer: &Answer<'_>, used: &Used<'_>) -> Option<Value> {
    let rule = Rule::MissingReference;
    let message = format!("{}; {}", used.missing?.message(), rule.way_out());
    let (file, place) = (used.reference.file, used.reference.place);
    Some(result(answer, rule.name(), file, place, &message))
}

fn result(answer: &Answer<'_>, rule: &str, file: usize, place: Place, message: &str) -> Value {
    let path = answer.files[file].place.path();
    let parts = json!([path.to_string_lossy(), rule, message]).to_string();
    json!({
        "ruleId": rule,
        "level": Severity::Error.name(),
        "message": {"text": message},
        "locations": [sarif::location(path, place)],
        "partialFingerprints": {"sealkit/v1": digest(parts.as_bytes())},
    })
}
