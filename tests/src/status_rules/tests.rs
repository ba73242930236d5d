use serde_json::json;

use super::*;

fn condition(type_: &str, status: &str, reason: &str) -> Value {
    json!({"type": type_, "status": status, "reason": reason, "message": "text",
        "observedGeneration": 3, "lastTransitionTime": "2026-01-01T00:00:00Z"})
}

fn object(conditions: &[Value]) -> Value {
    json!({
        "kind": "SealedSecret",
        "metadata": {"name": "db", "namespace": "shop", "generation": 3},
        "status": {
            "observedGeneration": 3,
            "conditions": conditions,
            "target": {"name": "db", "uid": "u", "resourceVersion": "7"},
            "sealedTo": ["b99cab502b61ae411e7109b89c75b05a"],
            "needsReseal": false,
        },
    })
}

fn both(first: Option<Value>, ready: &str, reason: &str) -> Value {
    let mirror = [
        condition("Synced", ready, reason),
        condition("Ready", ready, reason),
    ];
    object(&first.into_iter().chain(mirror).collect::<Vec<_>>())
}

fn ready() -> Value {
    both(None, "True", "Opened")
}

fn stalled() -> Value {
    both(
        Some(condition("Stalled", "True", "DecryptFailed")),
        "False",
        "DecryptFailed",
    )
}

fn retrying(ready: &str) -> Value {
    let first = condition("Reconciling", "True", "ProgressingWithRetry");
    both(Some(first), ready, "AccessDenied")
}

/// A good object with one thing changed.
fn with(mut object: Value, pointer: &str, value: Value) -> Value {
    *object
        .pointer_mut(pointer)
        .unwrap_or_else(|| panic!("{pointer}")) = value;
    object
}

#[test]
fn good_statuses_pass() {
    let unseen = json!({"kind": "SealedSecret", "metadata": {"generation": 1},
        "status": {"observedGeneration": -1}});
    for object in [
        ready(),
        stalled(),
        retrying("Unknown"),
        retrying("False"),
        unseen,
    ] {
        assert_eq!(violations(&object), Vec::<String>::new(), "{object:#}");
    }
    let older = with(ready(), "/metadata/generation", json!(5));
    assert!(
        violations(&older).is_empty(),
        "the controller has not come to it yet"
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table")]
fn every_rule_can_be_broken() {
    let list = "/status/conditions";
    let message = format!("it said {}", canary::unique_value());
    let cases = [
        (
            "carries a value",
            with(stalled(), "/status/conditions/0/message", json!(message)),
        ),
        (
            "field summary",
            with(ready(), "/status/target", json!({"summary": {}})),
        ),
        (
            "no observedGeneration",
            with(ready(), "/status/observedGeneration", Value::Null),
        ),
        (
            "about no generation",
            with(ready(), "/status/observedGeneration", json!(-1)),
        ),
        (
            "the object is at 2",
            with(ready(), "/metadata/generation", json!(2)),
        ),
        (
            "another generation",
            with(ready(), "/status/conditions/0/observedGeneration", json!(2)),
        ),
        (
            "another generation",
            with(
                ready(),
                "/status/conditions/1/observedGeneration",
                Value::Null,
            ),
        ),
        (
            "misread",
            with(ready(), "/status/conditions/0/type", json!("Failed")),
        ),
        (
            "unknown condition type",
            with(ready(), "/status/conditions/0/type", json!("Good")),
        ),
        (
            "Synced is true",
            with(ready(), "/status/conditions/0/status", json!("true")),
        ),
        (
            "must be True or absent",
            with(stalled(), "/status/conditions/0/status", json!("False")),
        ),
        (
            "reason \"Error\"",
            with(stalled(), "/status/conditions/0/reason", json!("Error")),
        ),
        (
            "reason \"InUse\"",
            with(stalled(), "/status/conditions/0/reason", json!("InUse")),
        ),
        (
            "Reconciling gives",
            with(
                retrying("False"),
                "/status/conditions/0/reason",
                json!("NotFound"),
            ),
        ),
        (
            "no message",
            with(ready(), "/status/conditions/1/message", json!("")),
        ),
        (
            "no transition time",
            with(
                ready(),
                "/status/conditions/1/lastTransitionTime",
                json!("now"),
            ),
        ),
        (
            "stands twice",
            object(&[
                condition("Ready", "True", "Opened"),
                condition("Ready", "True", "Opened"),
            ]),
        ),
        ("no Ready", with(ready(), list, json!([]))),
        (
            "not last",
            object(&[
                condition("Ready", "True", "Opened"),
                condition("Synced", "True", "Opened"),
            ]),
        ),
        (
            "does not mirror",
            object(&[condition("Ready", "True", "Opened")]),
        ),
        (
            "does not mirror",
            with(ready(), "/status/conditions/0/status", json!("False")),
        ),
        (
            "does not mirror",
            with(
                stalled(),
                "/status/conditions/1/reason",
                json!("InvalidSpec"),
            ),
        ),
        (
            "not first",
            object(&[
                condition("Synced", "False", "NotFound"),
                condition("Stalled", "True", "NotFound"),
                condition("Ready", "False", "NotFound"),
            ]),
        ),
        (
            "Reconciling and Stalled",
            object(&[
                condition("Reconciling", "True", "Progressing"),
                condition("Stalled", "True", "NotFound"),
                condition("Synced", "False", "NotFound"),
                condition("Ready", "False", "NotFound"),
            ]),
        ),
        ("Ready True beside", retrying("True")),
        ("Ready Unknown without", both(None, "Unknown", "NotFound")),
        (
            "Stalled and Ready Unknown",
            both(
                Some(condition("Stalled", "True", "NotFound")),
                "Unknown",
                "NotFound",
            ),
        ),
        ("nobody says", both(None, "False", "NotFound")),
        ("for the reason Synced", both(None, "True", "Synced")),
        (
            "what was done",
            with(ready(), "/status/target/name", json!("other")),
        ),
        (
            "what was done",
            with(ready(), "/status/target", Value::Null),
        ),
        (
            "what was done",
            with(ready(), "/status/sealedTo/0", json!("abc")),
        ),
        (
            "what was done",
            with(ready(), "/status/needsReseal", Value::Null),
        ),
        (
            "for the reason Opened",
            with(ready(), "/kind", json!("SealingKey")),
        ),
    ];
    for (expected, object) in cases {
        let found = violations(&object);
        assert!(
            found.iter().any(|text| text.contains(expected)),
            "{expected}: {found:?} in {object:#}"
        );
    }
}
