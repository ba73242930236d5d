//! Reads Vault's answers; pure. Errors quote nothing of them.

use std::time::Duration;

use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::{Object, StoreError};

/// The secret in the answer for a key.
pub(super) fn secret(body: &[u8], key: &str, is_v2: bool) -> Result<Object, StoreError> {
    let mut answer = parsed(body, key)?;
    let data = Object(take(&mut answer, "data"));
    if !is_v2 {
        return object(data, key);
    }
    let mut versioned = data;
    if versioned.0.get("data").is_none() {
        return Err(unexpected(key, "has no data: is the engine of version 1?"));
    }
    object(Object(take(&mut versioned, "data")), key)
}

/// What the engine knows about a key: the custom metadata over its own, all of them texts.
pub(super) fn metadata(body: &[u8], key: &str) -> Result<Object, StoreError> {
    let answer = parsed(body, key)?;
    let data = &answer.0["data"];
    if !data.is_object() {
        return Err(unexpected(key, "has no metadata"));
    }
    let mut known = Map::new();
    let own = ["created_time", "current_version", "delete_version_after"];
    let own = own.iter().filter_map(|name| Some((*name, data.get(name)?)));
    let custom = data["custom_metadata"].as_object().into_iter().flatten();
    let custom = custom.map(|(name, value)| (name.as_str(), value));
    for (name, value) in own.chain(custom) {
        let text = match value {
            Value::Null => continue,
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        known.insert(name.to_owned(), Value::String(text));
    }
    Ok(Object(Value::Object(known)))
}

/// The names in a folder; those of folders end with `/`.
pub(super) fn names(body: &[u8], folder: &str) -> Result<Vec<String>, StoreError> {
    let answer = parsed(body, folder)?;
    let names = answer.0["data"]["keys"].as_array();
    let names = names.ok_or_else(|| unexpected(folder, "is no list"))?;
    let names = names.iter().map(|name| name.as_str().map(str::to_owned));
    let names: Option<Vec<String>> = names.collect();
    names.ok_or_else(|| unexpected(folder, "is no list of names"))
}

/// What 404 means: there is no such secret, or nothing that could have one.
pub(super) fn not_found(body: &[u8], key: &str, is_v2: bool) -> StoreError {
    let answer = parsed(body, key);
    let is_none = |answer: &Value, list: &str| {
        let list = answer.get(list).unwrap_or(&Value::Null);
        list.is_null() || list.as_array().is_some_and(Vec::is_empty)
    };
    match answer {
        // Deleted versions have data, which is null.
        Ok(answer)
            if answer.0.is_object()
                && is_none(&answer.0, "errors")
                && is_none(&answer.0, "warnings") =>
        {
            no_secret(key)
        }
        Ok(_) => {
            let version = if is_v2 { 2 } else { 1 };
            StoreError::Answer(format!(
                "Vault has no KV engine of version {version} where {key:?} should be (404): \
                 check the store's path, version and namespace"
            ))
        }
        Err(_) => StoreError::Answer(format!(
            "the answer for {key:?} (404) is not one of Vault: check the store's server"
        )),
    }
}

/// A token, and what is known about its life.
pub(super) struct Issued {
    pub(super) token: Zeroizing<String>,
    /// Zero if it has no end.
    pub(super) life: Duration,
    pub(super) is_renewable: bool,
}

/// The token that a login or a renewal gives.
pub(super) fn issued(body: &[u8]) -> Result<Issued, StoreError> {
    let no_token = || StoreError::Answer("Vault's answer to the login has no token".to_owned());
    let answer = Object(serde_json::from_slice(body).map_err(|_| no_token())?);
    let auth = &answer.0["auth"];
    let token = auth["client_token"].as_str();
    let token = token.filter(|token| !token.is_empty());
    Ok(Issued {
        token: Zeroizing::new(token.ok_or_else(no_token)?.to_owned()),
        life: Duration::from_secs(auth["lease_duration"].as_u64().unwrap_or_default()),
        is_renewable: auth["renewable"] == true,
    })
}

pub(super) fn no_secret(key: &str) -> StoreError {
    StoreError::Missing(format!("Vault has no secret {key:?}"))
}

fn parsed(body: &[u8], key: &str) -> Result<Object, StoreError> {
    let answer = serde_json::from_slice(body);
    let answer = answer.map_err(|_| unexpected(key, "is no JSON"))?;
    Ok(Object(answer))
}

fn take(answer: &mut Object, field: &str) -> Value {
    answer.0.get_mut(field).map(Value::take).unwrap_or_default()
}

fn object(data: Object, key: &str) -> Result<Object, StoreError> {
    match &data.0 {
        Value::Null => Err(no_secret(key)),
        Value::Object(_) => Ok(data),
        _ => Err(unexpected(key, "has data that is no object")),
    }
}

fn unexpected(key: &str, what: &str) -> StoreError {
    StoreError::Answer(format!("Vault's answer for {key:?} {what}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn bytes(value: &Value) -> Vec<u8> {
        value.to_string().into_bytes()
    }

    #[test]
    fn only_vaults_own_404_says_that_a_secret_does_not_exist() {
        let deleted = json!({"data": {"data": null, "metadata": {"version": 2}}});
        for absent in [json!({"errors": []}), deleted] {
            let error = not_found(&bytes(&absent), "db", true);
            assert!(matches!(error, StoreError::Missing(_)), "{error}");
        }
        let route = json!({"errors": ["no handler for route \"kv/data/db\""]});
        let version = json!({"errors": [], "warnings": ["Invalid path for a versioned engine"]});
        for other in [
            bytes(&route),
            bytes(&version),
            b"<html>Not found</html>".to_vec(),
            Vec::new(),
            b"[]".to_vec(),
        ] {
            let error = not_found(&other, "db", true);
            assert!(matches!(error, StoreError::Answer(_)), "{error}");
            assert!(!error.to_string().contains("handler"), "{error}");
        }
    }

    #[test]
    fn data_of_another_shape_is_no_secret() {
        for body in [
            "",
            "[]",
            "null",
            "{}",
            r#"{"data": {}}"#,
            r#"{"data": {"data": "text"}}"#,
            r#"{"data": {"data": [1]}}"#,
        ] {
            let error = secret(body.as_bytes(), "db", true).err().unwrap();
            assert!(matches!(error, StoreError::Answer(_)), "{body}: {error}");
        }
        let found = secret(br#"{"data": {"data": {"a": "b"}}}"#, "db", true);
        assert_eq!(found.ok().unwrap().0, json!({"a": "b"}));
        let empty = secret(br#"{"data": null}"#, "db", false).err().unwrap();
        assert!(matches!(empty, StoreError::Missing(_)), "{empty}");
    }

    #[test]
    fn custom_metadata_wins_over_the_engines_own() {
        let body = json!({"data": {
            "created_time": "2026-01-01T00:00:00Z", "current_version": 3, "versions": {"1": {}},
            "custom_metadata": {"team": "web", "current_version": "mine"},
        }});
        let known = metadata(&bytes(&body), "db").ok().unwrap();
        let expected = json!({
            "created_time": "2026-01-01T00:00:00Z", "current_version": "mine", "team": "web",
        });
        assert_eq!(known.0, expected);
    }
}
