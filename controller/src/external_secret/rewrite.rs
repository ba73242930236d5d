//! `dataFrom[].rewrite`: changes of keys, in order. Expressions and templates of keys run where all
//! templates do; what merges values is here, and pure.

use sealkit_core::api::Reason;
use sealkit_core::api::external::{
    ConflictPolicy, MergeStrategy, PriorityPolicy, Rewrite, RewriteMerge,
};
use sealkit_core::{manifest, names};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::data::{bytes_of, check_numbers};
use super::fetch::NotMade;
use super::template::cause_of;
use crate::queue::LONGEST_PAUSE;
use crate::render::{Contents, RenderError, Renderer};
use crate::status::Outcome;
use crate::store::Object;

/// Replaces matches in a key, as Go does.
const REGEXP: &str = "{{ regexReplaceAll .source .value .target }}";

/// The values under their rewritten keys. Keys that become empty are left out, as with External
/// Secrets. `place` names the entry of the spec.
pub(super) async fn rewritten(
    renderer: &Renderer,
    namespace: &str,
    place: &str,
    operations: &[Rewrite],
    mut values: Contents,
) -> Result<Contents, NotMade> {
    for (at, operation) in operations.iter().enumerate() {
        let place = format!("{place}.rewrite[{at}]");
        let (text, inputs): (&str, Vec<(&str, &[u8])>) = match operation {
            Rewrite::Merge(merge) => {
                values = merged(merge, values).map_err(|what| refused(&place, &what))?;
                continue;
            }
            Rewrite::Transform(transform) => (&transform.template, Vec::new()),
            Rewrite::Regexp(regexp) => (
                REGEXP,
                vec![
                    ("source", regexp.source.as_bytes()),
                    ("target", regexp.target.as_bytes()),
                ],
            ),
        };
        let keys: Vec<&str> = values.keys().map(String::as_str).collect();
        let renamed = renderer.render_each(namespace, text, &inputs, &keys).await;
        let renamed = renamed.map_err(|error| not_rendered(&place, &error))?;
        values = renamed_to(&renamed, values).map_err(|what| refused(&place, &what))?;
    }
    let is_kept = |key: &String, _: &mut Zeroizing<Vec<u8>>| !key.is_empty();
    values.retain(is_kept);
    match values.keys().find(|key| !names::is_secret_key(key)) {
        Some(key) => {
            let key = names::printable(key);
            let what = format!("{key:?} is not a key that Kubernetes allows");
            Err(refused(&format!("{place}.rewrite"), &what))
        }
        None => Ok(values),
    }
}

/// The values under what their keys became. External Secrets keeps any of two values whose keys
/// become the same.
fn renamed_to(renamed: &Contents, values: Contents) -> Result<Contents, String> {
    let mut all = Contents::new();
    for (key, value) in values {
        let new = renamed.get(&key).map(|new| String::from_utf8_lossy(new));
        let new = new.unwrap_or_default().into_owned();
        if all.contains_key(&new) && !new.is_empty() {
            let (key, new) = (names::printable(&key), names::printable(&new));
            return Err(format!("{key:?} and another key both become {new:?}"));
        }
        all.insert(new, value);
    }
    Ok(all)
}

/// One object of all values, each of which is a JSON object: alone, or beside them.
fn merged(merge: &RewriteMerge, mut values: Contents) -> Result<Contents, String> {
    let (object, conflicts) = merged_object(merge, &values)?;
    if merge.conflict_policy == ConflictPolicy::Error && !conflicts.is_empty() {
        let named: Vec<String> = conflicts
            .iter()
            .take(5)
            .map(|key| names::printable(key))
            .collect();
        return Err(format!(
            "merge: two objects have the keys {}",
            named.join(", ")
        ));
    }
    match merge.strategy {
        MergeStrategy::Extract => object
            .0
            .as_object()
            .into_iter()
            .flatten()
            .map(|(key, value)| {
                Ok((
                    key.clone(),
                    bytes_of(value).map_err(|what| format!("merge: {key} {what}"))?,
                ))
            })
            .collect(),
        MergeStrategy::Json => {
            check_numbers(&object.0).map_err(|what| format!("merge: {what}"))?;
            let mut text = Zeroizing::new(object.0.to_string());
            let text = Zeroizing::new(std::mem::take(&mut *text).into_bytes());
            values.insert(merge.into.clone(), text);
            Ok(values)
        }
    }
}

/// All objects in one, and the keys that several of them have. Those in `priority` come last, and so
/// win.
fn merged_object(merge: &RewriteMerge, values: &Contents) -> Result<(Object, Vec<String>), String> {
    let mut all = Object(Value::Object(Map::new()));
    let mut conflicts = Vec::new();
    let others = values.keys().filter(|key| !merge.priority.contains(key));
    for key in others.chain(&merge.priority) {
        let printable = names::printable(key);
        let Some(value) = values.get(key) else {
            if merge.priority_policy == PriorityPolicy::IgnoreNotFound {
                continue;
            }
            return Err(format!(
                "merge: the key {printable:?} of priority does not exist"
            ));
        };
        // Also wiped if it is something else.
        let mut parsed: Value = serde_json::from_slice(value).unwrap_or(Value::Bool(false));
        let members = match parsed.take() {
            Value::Object(members) => members,
            Value::Null => Map::new(),
            mut other => {
                manifest::wipe(&mut other);
                return Err(format!(
                    "merge: the value of {printable:?} is no JSON object"
                ));
            }
        };
        let Value::Object(object) = &mut all.0 else {
            continue;
        };
        for (member, value) in members {
            if let Some(mut old) = object.insert(member.clone(), value) {
                manifest::wipe(&mut old);
                conflicts.push(member);
            }
        }
    }
    Ok((all, conflicts))
}

/// What the store holds does not fit the spec: only a change of one of them helps, and the next
/// refresh will tell.
fn refused(place: &str, what: &str) -> NotMade {
    let outcome = Outcome::Stalled(Reason::InvalidSpec, format!("{place}: {what}"));
    (outcome, None)
}

fn not_rendered(place: &str, error: &RenderError) -> NotMade {
    let RenderError::Template(error) = error else {
        let message = "internal error in the controller, see its log".to_owned();
        let outcome = Outcome::Retrying(Reason::ProcessingFailed, message);
        return (outcome, Some(LONGEST_PAUSE));
    };
    let message = format!("{place}: {}", cause_of(&error.cause));
    if error.may_pass() {
        let outcome = Outcome::Retrying(Reason::TemplateFailed, message);
        (outcome, Some(LONGEST_PAUSE))
    } else {
        (Outcome::Stalled(Reason::TemplateFailed, message), None)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn contents(all: &Value) -> Contents {
        let entry = |(key, value): (&String, &Value)| {
            let text = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            (key.clone(), Zeroizing::new(text.into_bytes()))
        };
        all.as_object().unwrap().iter().map(entry).collect()
    }

    fn merge(options: Value, all: &Value) -> Result<Value, String> {
        let merge: RewriteMerge = serde_json::from_value(options).unwrap();
        let text = |(key, value): (String, Zeroizing<Vec<u8>>)| {
            (key, Value::from(String::from_utf8(value.to_vec()).unwrap()))
        };
        let merged = merged(&merge, contents(all))?;
        Ok(merged.into_iter().map(text).collect::<Map<_, _>>().into())
    }

    #[test]
    fn objects_are_merged_in_the_order_of_their_keys_and_priority_wins() {
        let all = json!({"a": {"x": 1, "h": "<"}, "b": {"y": 2, "deep": {"z": "<"}}});
        let extracted = json!({"x": "1", "y": "2", "h": "<", "deep": "{\"z\":\"\\u003c\"}"});
        assert_eq!(merge(json!({}), &all), Ok(extracted));
        let text = r#"{"deep":{"z":"<"},"h":"<","x":1,"y":2}"#;
        let kept = json!({"a": "{\"h\":\"<\",\"x\":1}", "b": "{\"deep\":{\"z\":\"<\"},\"y\":2}", "all": text});
        assert_eq!(
            merge(json!({"strategy": "JSON", "into": "all"}), &all),
            Ok(kept)
        );

        let both = json!({"a": {"x": "a"}, "b": {"x": "b"}});
        let says = merge(json!({}), &both).unwrap_err();
        assert_eq!(says, "merge: two objects have the keys x");
        let ignore = |priority: Value| json!({"conflictPolicy": "Ignore", "priority": priority});
        assert_eq!(merge(ignore(json!([])), &both), Ok(json!({"x": "b"})));
        assert_eq!(merge(ignore(json!(["a"])), &both), Ok(json!({"x": "a"})));
        assert_eq!(
            merge(ignore(json!(["a", "b"])), &both),
            Ok(json!({"x": "b"}))
        );
    }

    #[test]
    fn priority_names_keys_that_exist_unless_told_otherwise() {
        let all = json!({"a": {"x": 1}});
        let says = merge(json!({"priority": ["b"]}), &all).unwrap_err();
        assert!(says.contains("\"b\" of priority does not exist"), "{says}");
        let lenient = json!({"priority": ["b"], "priorityPolicy": "IgnoreNotFound"});
        assert_eq!(merge(lenient, &all), Ok(json!({"x": "1"})));
    }

    #[test]
    fn only_objects_are_merged_and_no_value_is_told() {
        for value in ["hidden", "[1]", "7"] {
            let says = merge(json!({}), &json!({"a": value})).unwrap_err();
            assert_eq!(says, "merge: the value of \"a\" is no JSON object");
        }
        assert_eq!(merge(json!({}), &json!({"a": "null"})), Ok(json!({})));
    }

    #[test]
    fn numbers_keep_all_their_digits_or_are_refused() {
        let all = json!({"a": "{\"n\": 9007199254740993}"});
        assert_eq!(merge(json!({}), &all), Ok(json!({"n": "9007199254740993"})));
        let too_many = json!({"a": "{\"n\": 123456789012345678901234567890}"});
        assert!(
            merge(json!({}), &too_many)
                .unwrap_err()
                .contains("more digits")
        );
    }

    #[test]
    fn two_keys_that_become_one_lose_no_value() {
        let all = json!({"team-a": "1", "team-b": "2"});
        let renamed = contents(&json!({"team-a": "a", "team-b": "b"}));
        assert_eq!(renamed_to(&renamed, contents(&all)).unwrap().len(), 2);
        let renamed = contents(&json!({"team-a": "x", "team-b": "x"}));
        let says = renamed_to(&renamed, contents(&all)).unwrap_err();
        assert_eq!(says, "\"team-b\" and another key both become \"x\"");
    }
}
