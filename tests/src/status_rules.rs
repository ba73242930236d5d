//! The rules of every status that the controller writes, as a pure function of one object. The
//! design's list, in its order; `docs/status.md` says who reads what.

use serde_json::Value;

use crate::canary;

/// Reasons that any kind may give.
const REASONS: [&str; 19] = [
    "Opened",
    "Synced",
    "DecryptFailed",
    "HintMismatch",
    "IdentityMissing",
    "InvalidProviderConfig",
    "NoMatchingKey",
    "ScopeMismatch",
    "InvalidSpec",
    "TargetConflict",
    "TargetWriteFailed",
    "TemplateFailed",
    "StoreNotReady",
    "ProviderError",
    "AccessDenied",
    "NotFound",
    "Suspended",
    "Progressing",
    "ProgressingWithRetry",
];
/// What only a `SealingKey` can be.
const KEY_REASONS: [&str; 3] = ["KeyAvailable", "InUse", "AlgorithmNotAllowed"];
/// What Fleet's heuristics misread.
const FORBIDDEN_TYPES: [&str; 4] = ["Failed", "Refreshed", "Updated", "Reconciled"];
const FORBIDDEN_FIELDS: [&str; 2] = ["summary", "display"];

/// Every rule that the status of this object breaks.
pub fn violations(object: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let status = &object["status"];
    if let Some(spelling) = canary::marker().find(status.to_string().as_bytes()) {
        found.push(format!("the status carries a value ({spelling})"));
    }
    if let Some(field) = FORBIDDEN_FIELDS
        .iter()
        .find(|field| has_field(status, field))
    {
        found.push(format!("the status has a field {field}"));
    }
    let Some(observed) = status["observedGeneration"].as_i64() else {
        found.push("no observedGeneration at the root".to_owned());
        return found;
    };
    let conditions = status["conditions"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    if observed == -1 {
        if !conditions.is_empty() {
            found.push("conditions about no generation".to_owned());
        }
        return found;
    }
    let generation = object["metadata"]["generation"]
        .as_i64()
        .unwrap_or_default();
    if !(1..=generation).contains(&observed) {
        found.push(format!(
            "observedGeneration {observed}, the object is at {generation}"
        ));
    }
    for condition in conditions {
        judge_condition(object, condition, observed, &mut found);
    }
    judge_list(conditions, &mut found);
    if status_of(conditions, "Ready") == Some("True") {
        judge_ready(object, &mut found);
    }
    found
}

/// Rules about one condition.
fn judge_condition(object: &Value, condition: &Value, observed: i64, found: &mut Vec<String>) {
    let text = |field: &str| condition[field].as_str().unwrap_or_default();
    let (type_, status, reason) = (text("type"), text("status"), text("reason"));
    if condition["observedGeneration"].as_i64() != Some(observed) {
        found.push(format!("{type_} is about another generation than the root"));
    }
    if FORBIDDEN_TYPES.contains(&type_) {
        found.push(format!(
            "the condition type {type_} is misread by other tools"
        ));
    } else if !["Reconciling", "Stalled", "Synced", "Ready"].contains(&type_) {
        found.push(format!("unknown condition type {type_}"));
    }
    if !["True", "False", "Unknown"].contains(&status) {
        found.push(format!("{type_} is {status}"));
    }
    if ["Reconciling", "Stalled"].contains(&type_) && status != "True" {
        found.push(format!("{type_} is {status}, it must be True or absent"));
    }
    let of_keys = object["kind"] == "SealingKey" && KEY_REASONS.contains(&reason);
    if !REASONS.contains(&reason) && !of_keys {
        found.push(format!("{type_} gives the reason {reason:?}"));
    }
    if type_ == "Reconciling" && !["Progressing", "ProgressingWithRetry"].contains(&reason) {
        found.push(format!("Reconciling gives the reason {reason}"));
    }
    if text("message").is_empty() {
        found.push(format!("{type_} has no message"));
    }
    if text("lastTransitionTime")
        .parse::<jiff::Timestamp>()
        .is_err()
    {
        found.push(format!("{type_} has no transition time"));
    }
}

/// Rules about conditions together.
fn judge_list(conditions: &[Value], found: &mut Vec<String>) {
    let types: Vec<&str> = conditions
        .iter()
        .filter_map(|c| c["type"].as_str())
        .collect();
    for (index, type_) in types.iter().enumerate() {
        if types[..index].contains(type_) {
            found.push(format!("{type_} stands twice"));
        }
    }
    let status = |type_| status_of(conditions, type_);
    let Some(ready) = status("Ready") else {
        found.push("no Ready after a look".to_owned());
        return;
    };
    if types.last() != Some(&"Ready") {
        found.push("Ready is not last".to_owned());
    }
    let condition = |type_| {
        conditions
            .iter()
            .find(|condition| condition["type"] == type_)
    };
    let mirrored = |field: &str| {
        condition("Synced").map(|c| &c[field]) == condition("Ready").map(|c| &c[field])
    };
    if !(mirrored("status") && mirrored("reason")) {
        found.push("Synced does not mirror Ready".to_owned());
    }
    let (reconciling, stalled) = (status("Reconciling").is_some(), status("Stalled").is_some());
    if (reconciling || stalled) && !["Reconciling", "Stalled"].contains(&types[0]) {
        found.push("Reconciling or Stalled is not first".to_owned());
    }
    if reconciling && stalled {
        found.push("Reconciling and Stalled".to_owned());
    }
    if (reconciling || stalled) && ready == "True" {
        found.push("Ready True beside Reconciling or Stalled".to_owned());
    }
    if ready == "Unknown" && !reconciling {
        found.push("Ready Unknown without Reconciling".to_owned());
    }
    if stalled && ready != "False" {
        found.push(format!("Stalled and Ready {ready}"));
    }
    if ready == "False" && !(reconciling || stalled) {
        found.push("Ready False, and nobody says whether it is retried".to_owned());
    }
}

/// Rules about an object that is Ready.
fn judge_ready(object: &Value, found: &mut Vec<String>) {
    let status = &object["status"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let is_fingerprint = |value: &Value| {
        let text = text(value);
        text.len() == 32
            && text
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let conditions = status["conditions"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let reason = conditions
        .last()
        .map(|ready| text(&ready["reason"]))
        .unwrap_or_default();
    let (expected, complete) = if object["kind"] == "SealingKey" {
        let said = ["recipient", "createdAt", "state"]
            .iter()
            .all(|field| status[field].is_string());
        (
            "KeyAvailable",
            said && is_fingerprint(&status["fingerprint"]),
        )
    } else {
        let target = &status["target"];
        let written = target["name"] == object["metadata"]["name"]
            && !text(&target["uid"]).is_empty()
            && !text(&target["resourceVersion"]).is_empty();
        let keys = status["sealedTo"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        let judged = status["needsReseal"].is_boolean();
        (
            "Opened",
            written && judged && keys.iter().all(is_fingerprint),
        )
    };
    if reason != expected {
        found.push(format!("Ready True for the reason {reason}"));
    }
    if !complete {
        found.push("Ready True, and the status does not say what was done".to_owned());
    }
}

/// The status of the condition of this type.
pub fn status_of<'a>(conditions: &'a [Value], type_: &str) -> Option<&'a str> {
    conditions
        .iter()
        .find(|condition| condition["type"] == type_)?["status"]
        .as_str()
}

fn has_field(value: &Value, field: &str) -> bool {
    match value {
        Value::Object(map) => map
            .iter()
            .any(|(name, value)| name == field || has_field(value, field)),
        Value::Array(list) => list.iter().any(|value| has_field(value, field)),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
