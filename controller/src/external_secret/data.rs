//! From what a store holds to the keys and values of a Secret; pure. The rules are those of External
//! Secrets: which property a value is, and how it becomes bytes.

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE};
use sealkit_core::api::external::{
    ConversionStrategy, DecodingStrategy, Find, NullBytePolicy, RemoteRef,
};
use sealkit_core::{manifest, names};
use serde_json::Value;
use zeroize::Zeroizing;

use super::text;
use crate::render::Contents;
use crate::store::{self, Object, StoreError};

/// How keys and values of a store are changed if no rewrite does.
#[derive(Clone, Copy)]
pub(super) struct Strategies<'a> {
    /// What holds the values, as errors name it.
    holder: &'a str,
    conversion: ConversionStrategy,
    decoding: DecodingStrategy,
    nulls: NullBytePolicy,
}

impl<'a> From<&'a RemoteRef> for Strategies<'a> {
    fn from(remote: &'a RemoteRef) -> Self {
        Self {
            holder: &remote.key,
            conversion: remote.conversion_strategy,
            decoding: remote.decoding_strategy,
            nulls: remote.null_byte_policy,
        }
    }
}

impl<'a> From<&'a Find> for Strategies<'a> {
    fn from(find: &'a Find) -> Self {
        Self {
            holder: "what find found",
            conversion: find.conversion_strategy,
            decoding: find.decoding_strategy,
            nulls: find.null_byte_policy,
        }
    }
}

/// One value, as `data[].remoteRef` asks for it. Error: [`StoreError::NoProperty`], [`StoreError::Answer`] if it cannot be decoded.
pub(super) fn value(secret: &Value, remote: &RemoteRef) -> Result<Zeroizing<Vec<u8>>, StoreError> {
    let inexact = |what| of_key(&remote.key, what);
    let bytes = match (secret, remote.property.as_str()) {
        (Value::String(_), "") => bytes_of(secret).map_err(inexact)?,
        (Value::String(text), name) => text::property(text, name).ok_or_else(|| missing(remote))?,
        (_, "") => json_text(secret).map_err(inexact)?,
        (_, name) => match property(secret, name) {
            Some(found) => bytes_of(&found.0).map_err(inexact)?,
            None => in_text(secret, name).ok_or_else(|| missing(remote))?,
        },
    };
    decoded(bytes, remote.into())
}

/// The members of an object, as `dataFrom[].extract` asks for them: under their own names, and not
/// decoded yet.
pub(super) fn extracted(secret: &Value, remote: &RemoteRef) -> Result<Contents, StoreError> {
    if let Value::String(text) = secret {
        let found = match remote.property.as_str() {
            "" => Zeroizing::new(text.clone().into_bytes()),
            name => text::property(text, name).ok_or_else(|| missing(remote))?,
        };
        return text::members(&found).ok_or_else(|| no_object(&remote.key));
    }
    if remote.property.is_empty() {
        return members(secret, &remote.key);
    }
    let found = property(secret, &remote.property).ok_or_else(|| missing(remote))?;
    // A property may hold an object as text.
    let parsed = found
        .0
        .as_str()
        .and_then(|text| serde_json::from_str(text).ok());
    let found = parsed.map_or(found, Object);
    members(&found.0, &remote.key)
}

/// The members of an object that was read from `key`.
pub(super) fn members(object: &Value, key: &str) -> Result<Contents, StoreError> {
    let members = object.as_object().ok_or_else(|| no_object(key))?;
    let member = |(name, value): (&String, &Value)| {
        let bytes = bytes_of(value).map_err(|what| of_key(key, what))?;
        Ok((name.clone(), bytes))
    };
    members.into_iter().map(member).collect()
}

/// Values under keys that a Secret can have, decoded. Empty keys are left out.
pub(super) fn converted(values: Contents, how: Strategies<'_>) -> Result<Contents, StoreError> {
    let mut all = Contents::new();
    for (name, value) in values {
        let key = converted_key(&name, how.conversion);
        if key.is_empty() {
            continue;
        }
        if !names::is_secret_key(&key) {
            let key = names::printable(&key);
            let what = format!("{key:?} is not a key that Kubernetes allows");
            return Err(StoreError::Answer(what));
        }
        if all.contains_key(&key) {
            let what = format!("two keys become {key:?}: use another conversionStrategy");
            return Err(StoreError::Answer(what));
        }
        all.insert(key, decoded(value, how)?);
    }
    Ok(all)
}

fn no_object(key: &str) -> StoreError {
    of_key(key, "is not a JSON object, so that it has no keys")
}

fn of_key(key: &str, what: &str) -> StoreError {
    StoreError::Answer(format!("{} {what}", names::printable(key)))
}

/// A member of the object by its whole name, dots included, or what the path of dots leads to.
fn property(secret: &Value, property: &str) -> Option<Object> {
    let member = secret.as_object().and_then(|members| members.get(property));
    if let Some(member) = member {
        return Some(Object(member.clone()));
    }
    let whole = Zeroizing::new(secret.to_string());
    let found = text::at(&whole, property)?;
    let found = match found.kind() {
        gjson::Kind::String => Value::String(found.str().to_owned()),
        _ => serde_json::from_str(found.json()).ok()?,
    };
    Some(Object(found))
}

/// What a path leads to in a member that is JSON in a text, as Secrets of Kubernetes hold it.
fn in_text(secret: &Value, path: &str) -> Option<Zeroizing<Vec<u8>>> {
    let (member, rest) = path.split_once('.')?;
    let text = secret.get(member)?.as_str()?;
    text::property(text, rest)
}

/// A text as it is, everything else as JSON; nothing for null. Errors with what is wrong with a
/// number.
pub(super) fn bytes_of(value: &Value) -> Result<Zeroizing<Vec<u8>>, &'static str> {
    match value {
        Value::Null => Ok(Zeroizing::default()),
        Value::String(text) => Ok(store::bytes(text)),
        value => json_text(value),
    }
}

/// JSON as External Secrets writes it.
fn json_text(value: &Value) -> Result<Zeroizing<Vec<u8>>, &'static str> {
    check_numbers(value)?;
    let mut text = match store::as_text(value) {
        Some(replaced) => manifest::to_go_json(&replaced.0),
        None => manifest::to_go_json(value),
    };
    Ok(Zeroizing::new(std::mem::take(&mut *text).into_bytes()))
}

/// Refuses whole numbers of which only the first digits were read.
pub(super) fn check_numbers(value: &Value) -> Result<(), &'static str> {
    /// From here on, not every whole number is a floating-point number.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match value {
        Value::Number(number) => {
            let is_exact = !number.is_f64() || number.as_f64().is_some_and(|n| n.abs() < EXACT);
            is_exact
                .then_some(())
                .ok_or("has a number of more digits than are kept: make it a text in the store")
        }
        Value::Array(items) => items.iter().try_for_each(check_numbers),
        Value::Object(members) => members.values().try_for_each(check_numbers),
        _ => Ok(()),
    }
}

fn decoded(
    bytes: Zeroizing<Vec<u8>>,
    how: Strategies<'_>,
) -> Result<Zeroizing<Vec<u8>>, StoreError> {
    let refuse = |what: &str| {
        let holder = names::printable(how.holder);
        StoreError::Answer(format!("a value of {holder} {what}"))
    };
    let bytes = decoded_bytes(bytes, how.decoding).map_err(refuse)?;
    if how.nulls == NullBytePolicy::Fail && bytes.contains(&0) {
        return Err(refuse("has a NUL byte"));
    }
    Ok(bytes)
}

/// Decodes a value; errors with what it is not.
pub(super) fn decoded_bytes(
    bytes: Zeroizing<Vec<u8>>,
    strategy: DecodingStrategy,
) -> Result<Zeroizing<Vec<u8>>, &'static str> {
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
    match strategy {
        DecodingStrategy::None => Ok(bytes),
        DecodingStrategy::Base64 => standard().map_err(|_| "is no Base64"),
        DecodingStrategy::Base64Url => url_safe().map_err(|_| "is no Base64URL"),
        DecodingStrategy::Auto => Ok(standard().or_else(|_| url_safe()).unwrap_or(bytes)),
    }
}

/// The key of the Secret for a key of the store.
fn converted_key(key: &str, strategy: ConversionStrategy) -> String {
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

    fn values(secret: &Value, remote: &RemoteRef) -> Result<Contents, StoreError> {
        converted(extracted(secret, remote)?, remote.into())
    }

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
        let nested = json!({"cfg": r#"{"db": {"port": 5432}}"#});
        let port = value(&nested, &remote("cfg.db.port")).unwrap();
        assert_eq!(&**port, b"5432");
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
    fn whole_numbers_keep_all_digits_or_are_refused() {
        let secret: Value = serde_json::from_str(
            r#"{"id": 18446744073709551615, "long": 184467440737095516150, "in": [{"x": -1e300}]}"#,
        )
        .unwrap();
        let id = value(&secret, &remote("id")).unwrap();
        assert_eq!(&**id, b"18446744073709551615");
        for property in ["long", "in", "in.0.x", ""] {
            let says = value(&secret, &remote(property)).unwrap_err().to_string();
            assert!(
                says.starts_with("team/db has a number of more digits"),
                "{says}"
            );
        }
        assert!(values(&secret, &remote("")).is_err());
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
