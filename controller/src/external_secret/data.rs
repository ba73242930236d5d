//! From what a store holds to the keys and values of a Secret; pure. The rules are those of External
//! Secrets: which property a value is, and how it becomes bytes.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE};
use sealkit_core::api::external::{
    ConversionStrategy, DecodingStrategy, NullBytePolicy, RemoteRef,
};
use sealkit_core::{manifest, names};
use serde_json::Value;
use zeroize::Zeroizing;

use crate::store::StoreError;

/// One value, as `data[].remoteRef` asks for it. Error: [`StoreError::NoProperty`], [`StoreError::Answer`] if it cannot be decoded.
pub(super) fn value(secret: &Value, remote: &RemoteRef) -> Result<Zeroizing<Vec<u8>>, StoreError> {
    let bytes = if remote.property.is_empty() {
        json_text(secret)
    } else {
        let found = property(secret, &remote.property).ok_or_else(|| missing(remote))?;
        bytes_of(&found.0)
    };
    decoded(bytes, remote)
}

/// All values of an object, as `dataFrom[].extract` asks for them.
pub(super) fn values(
    secret: &Value,
    remote: &RemoteRef,
) -> Result<BTreeMap<String, Zeroizing<Vec<u8>>>, StoreError> {
    let found = if remote.property.is_empty() {
        None
    } else {
        let found = property(secret, &remote.property).ok_or_else(|| missing(remote))?;
        // A property may hold an object as text.
        let parsed = found
            .0
            .as_str()
            .and_then(|text| serde_json::from_str(text).ok());
        Some(parsed.map_or(found, crate::store::Object))
    };
    let secret = found.as_ref().map_or(secret, |found| &found.0);
    let entries = secret.as_object().ok_or_else(|| {
        let key = names::printable(&remote.key);
        StoreError::Answer(format!(
            "{key} is not a JSON object, so that it has no keys"
        ))
    })?;
    let mut values = BTreeMap::new();
    for (name, value) in entries {
        let key = converted(name, remote.conversion_strategy);
        if key.is_empty() {
            continue;
        }
        if !names::is_secret_key(&key) {
            let key = names::printable(&key);
            let what = format!("{key:?} is not a key that Kubernetes allows");
            return Err(StoreError::Answer(what));
        }
        let value = decoded(bytes_of(value), remote)?;
        if values.insert(key.clone(), value).is_some() {
            let what = format!("two keys become {key:?}: use another conversionStrategy");
            return Err(StoreError::Answer(what));
        }
    }
    Ok(values)
}

/// A member of the object by its whole name, dots included, or what the path of dots leads to.
fn property(secret: &Value, property: &str) -> Option<crate::store::Object> {
    let member = secret.as_object().and_then(|members| members.get(property));
    if let Some(member) = member {
        return Some(crate::store::Object(member.clone()));
    }
    let text = Zeroizing::new(secret.to_string());
    let found = gjson::get(&text, property);
    if !found.exists() {
        return None;
    }
    let found = match found.kind() {
        gjson::Kind::String => Value::String(found.str().to_owned()),
        _ => serde_json::from_str(found.json()).ok()?,
    };
    Some(crate::store::Object(found))
}

/// A text as it is, everything else as JSON; nothing for null.
fn bytes_of(value: &Value) -> Zeroizing<Vec<u8>> {
    match value {
        Value::Null => Zeroizing::default(),
        Value::String(text) => Zeroizing::new(text.clone().into_bytes()),
        value => json_text(value),
    }
}

/// JSON as External Secrets writes it.
fn json_text(value: &Value) -> Zeroizing<Vec<u8>> {
    let mut text = manifest::to_go_json(value);
    Zeroizing::new(std::mem::take(&mut *text).into_bytes())
}

fn decoded(
    bytes: Zeroizing<Vec<u8>>,
    remote: &RemoteRef,
) -> Result<Zeroizing<Vec<u8>>, StoreError> {
    let refuse = |what: &str| {
        let key = names::printable(&remote.key);
        StoreError::Answer(format!("a value of {key} {what}"))
    };
    // As Go's decoder does.
    let text: Zeroizing<Vec<u8>> = Zeroizing::new(
        bytes
            .iter()
            .copied()
            .filter(|byte| !matches!(byte, b'\r' | b'\n'))
            .collect(),
    );
    let standard = || BASE64_STANDARD.decode(&*text).map(Zeroizing::new);
    let url_safe = || BASE64_URL_SAFE.decode(&*text).map(Zeroizing::new);
    let bytes = match remote.decoding_strategy {
        DecodingStrategy::None => bytes,
        DecodingStrategy::Base64 => standard().map_err(|_| refuse("is no Base64"))?,
        DecodingStrategy::Base64Url => url_safe().map_err(|_| refuse("is no Base64URL"))?,
        DecodingStrategy::Auto => standard().or_else(|_| url_safe()).unwrap_or(bytes),
    };
    if remote.null_byte_policy == NullBytePolicy::Fail && bytes.contains(&0) {
        return Err(refuse("has a NUL byte"));
    }
    Ok(bytes)
}

/// The key of the Secret for a key of the store.
fn converted(key: &str, strategy: ConversionStrategy) -> String {
    let mut converted = String::with_capacity(key.len());
    for letter in key.chars() {
        let allowed = letter.is_alphanumeric() || matches!(letter, '-' | '.' | '_');
        match strategy {
            _ if allowed => converted.push(letter),
            ConversionStrategy::Default => converted.push('_'),
            ConversionStrategy::Unicode => converted += &format!("_U{:04x}_", u32::from(letter)),
        }
    }
    converted
}

fn missing(remote: &RemoteRef) -> StoreError {
    let (key, property) = (
        names::printable(&remote.key),
        names::printable(&remote.property),
    );
    StoreError::NoProperty(format!("{key} has no property {property:?}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn remote(property: &str) -> RemoteRef {
        RemoteRef {
            key: "team/db".to_owned(),
            property: property.to_owned(),
            ..RemoteRef::default()
        }
    }

    #[test]
    fn a_property_is_a_member_by_its_whole_name_or_a_path() {
        let secret = json!({
            "user": "shop", "a.b": "dotted", "a": {"b": "nested", "list": [1, {"x": true}]},
            "number": 9_007_199_254_740_993_i64, "float": 1.5, "none": null, "html": "<&>",
        });
        let rows = [
            ("user", "shop"),
            ("a.b", "dotted"),
            ("a.list.1.x", "true"),
            ("a.list", r#"[1,{"x":true}]"#),
            ("number", "9007199254740993"),
            ("float", "1.5"),
            ("none", ""),
            ("html", "<&>"),
        ];
        for (property, expected) in rows {
            let value = value(&secret, &remote(property)).unwrap();
            assert_eq!(String::from_utf8_lossy(&value), expected, "{property}");
        }
        for absent in ["users", "a.c", "user.x"] {
            let error = value(&secret, &remote(absent)).unwrap_err();
            assert!(matches!(error, StoreError::NoProperty(_)), "{error}");
        }
        let whole = value(&json!({"b": "<", "a": 1}), &remote("")).unwrap();
        assert_eq!(&**whole, br#"{"a":1,"b":"\u003c"}"#);
    }

    #[test]
    fn an_object_gives_all_its_members() {
        let secret = json!({"user name": "a", "ok-1": "b", "inner": "{\"x\": 1}"});
        let keys = |remote: &RemoteRef| -> Vec<String> {
            values(&secret, remote).unwrap().into_keys().collect()
        };
        assert_eq!(keys(&remote("")), ["inner", "ok-1", "user_name"]);
        let mut unicode = remote("");
        unicode.conversion_strategy = ConversionStrategy::Unicode;
        assert_eq!(keys(&unicode), ["inner", "ok-1", "user_U0020_name"]);
        assert_eq!(keys(&remote("inner")), ["x"]);
        let collides = json!({"a b": 1, "a_b": 2});
        assert!(values(&collides, &remote("")).is_err());
        assert!(
            values(&json!({"é": 1}), &remote("")).is_err(),
            "Kubernetes refuses it"
        );
        assert!(values(&json!("text"), &remote("")).is_err());
        assert!(values(&json!({"": 1}), &remote("")).unwrap().is_empty());
    }

    #[test]
    fn values_are_decoded_as_asked() {
        let secret =
            json!({"std": "+/8=", "url": "-_8=", "text": "a b", "nul": "AA==", "lines": "+/\n8="});
        let decode = |property: &str, strategy| {
            let mut remote = remote(property);
            remote.decoding_strategy = strategy;
            value(&secret, &remote).ok().map(|value| value.to_vec())
        };
        let bytes = Some(vec![0xfb, 0xff]);
        assert_eq!(decode("std", DecodingStrategy::Base64), bytes);
        assert_eq!(decode("lines", DecodingStrategy::Base64), bytes);
        assert_eq!(decode("url", DecodingStrategy::Base64Url), bytes);
        assert_eq!(decode("url", DecodingStrategy::Auto), bytes);
        assert_eq!(decode("url", DecodingStrategy::Base64), None);
        assert_eq!(
            decode("text", DecodingStrategy::Auto),
            Some(b"a b".to_vec())
        );
        let mut remote = remote("nul");
        remote.decoding_strategy = DecodingStrategy::Base64;
        remote.null_byte_policy = NullBytePolicy::Fail;
        assert!(value(&secret, &remote).is_err());
    }
}
