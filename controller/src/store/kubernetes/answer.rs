//! Reads the API server's answers; pure. Errors quote nothing of them.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value, json};

use super::{Object, StoreError};
use crate::store::binary;

/// kubectl's copy of a manifest holds values, which metadata does not give away.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The values of a Secret.
pub(super) fn secret(body: &[u8], name: &str) -> Result<Object, StoreError> {
    let answer = parsed(body, name, "Secret")?;
    let mut secret = Object(Value::Object(Map::new()));
    match &answer.0["data"] {
        Value::Null => {}
        Value::Object(data) => {
            for (key, value) in data {
                let bytes = value
                    .as_str()
                    .and_then(|text| BASE64_STANDARD.decode(text).ok());
                let bytes =
                    bytes.ok_or_else(|| unexpected(name, "has a value that is no Base64"))?;
                secret.0[key] = binary::value(bytes);
            }
        }
        _ => return Err(unexpected(name, "has data of another shape")),
    }
    Ok(secret)
}

/// The labels and annotations of an object.
pub(super) fn metadata(body: &[u8], name: &str) -> Result<Object, StoreError> {
    let mut answer = parsed(body, name, "PartialObjectMetadata")?;
    let mut texts = |field: &str| {
        let texts = answer.0["metadata"].get_mut(field).map(Value::take);
        texts.filter(Value::is_object).unwrap_or_else(|| json!({}))
    };
    let (labels, mut annotations) = (texts("labels"), texts("annotations"));
    if let Some(annotations) = annotations.as_object_mut() {
        annotations.remove(LAST_APPLIED);
    }
    Ok(Object(
        json!({"labels": labels, "annotations": annotations}),
    ))
}

/// The names in a list, and where it goes on.
pub(super) fn names(body: &[u8]) -> Result<(Vec<String>, Option<String>), StoreError> {
    const LIST: &str = "a list";
    let answer = parsed(body, LIST, "PartialObjectMetadataList")?;
    let items = answer.0["items"].as_array();
    let items = items.ok_or_else(|| unexpected(LIST, "has no items"))?;
    let names = items
        .iter()
        .map(|item| item["metadata"]["name"].as_str().map(str::to_owned));
    let names: Option<Vec<String>> = names.collect();
    let more = answer.0["metadata"]["continue"].as_str();
    Ok((
        names.ok_or_else(|| unexpected(LIST, "has an item without a name"))?,
        more.filter(|more| !more.is_empty()).map(str::to_owned),
    ))
}

/// What 404 means: there is no such Secret, or no API server.
pub(super) fn not_found(body: &[u8], name: &str) -> StoreError {
    let is_status = parsed(body, name, "Status").is_ok_and(|status| {
        status.0["reason"] == "NotFound" && status.0["details"]["kind"] == "secrets"
    });
    if is_status {
        return StoreError::Missing(format!("there is no Secret {name:?}"));
    }
    StoreError::Answer(format!(
        "the answer for the Secret {name:?} (404) is not one of an API server: check server.url"
    ))
}

fn parsed(body: &[u8], name: &str, kind: &str) -> Result<Object, StoreError> {
    let answer = serde_json::from_slice(body);
    let answer = Object(answer.map_err(|_| unexpected(name, "is no JSON"))?);
    if answer.0["kind"] != kind {
        return Err(unexpected(name, &format!("is no {kind}")));
    }
    Ok(answer)
}

fn unexpected(name: &str, what: &str) -> StoreError {
    StoreError::Answer(format!("the API server's answer for {name:?} {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(value: &Value) -> Vec<u8> {
        value.to_string().into_bytes()
    }

    #[test]
    fn a_secret_has_its_values_decoded() {
        let body = json!({"kind": "Secret", "data": {"a": "eA==", "b": "/w==", "c": ""}});
        let found = secret(&bytes(&body), "db").ok().unwrap();
        assert_eq!(found.0, json!({"a": "x", "b": "\u{fdd0}\u{ff}", "c": ""}));
        for bad in [
            json!({"kind": "ConfigMap", "data": {"a": "x"}}),
            json!({"kind": "Secret", "data": {"a": "?"}}),
            json!({"kind": "Secret", "data": {"a": 1}}),
            json!({"kind": "Secret", "data": ["a"]}),
            json!([]),
        ] {
            let error = secret(&bytes(&bad), "db").err().unwrap();
            assert!(matches!(error, StoreError::Answer(_)), "{bad}: {error}");
        }
    }

    #[test]
    fn only_an_api_servers_404_says_that_a_secret_does_not_exist() {
        let status = json!({
            "kind": "Status", "reason": "NotFound", "details": {"kind": "secrets", "name": "db"},
        });
        let error = not_found(&bytes(&status), "db");
        assert!(matches!(error, StoreError::Missing(_)), "{error}");
        let other = json!({"kind": "Status", "reason": "NotFound", "details": {}});
        for body in [&b"404 page not found"[..], b"{}", &bytes(&other)] {
            let error = not_found(body, "db");
            assert!(matches!(error, StoreError::Answer(_)), "{error}");
        }
    }

    #[test]
    fn metadata_has_no_copy_of_the_values() {
        let body = json!({"kind": "PartialObjectMetadata", "metadata": {
            "labels": {"team": "web"}, "annotations": {LAST_APPLIED: "secret", "note": "n"},
        }});
        let found = metadata(&bytes(&body), "db").ok().unwrap();
        let expected = json!({"labels": {"team": "web"}, "annotations": {"note": "n"}});
        assert_eq!(found.0, expected);
    }
}
