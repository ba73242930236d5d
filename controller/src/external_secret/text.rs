//! Secrets that a store keeps as texts, with or without JSON in them; pure. Nothing is written anew, so
//! that numbers, spaces and the order of members stay as they are: the rules of External Secrets.

use std::collections::BTreeMap;

use gjson::Kind;
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use crate::render::Contents;

/// A member of the object by its whole name, dots included, or what the path of dots leads to.
pub(super) fn property(text: &str, property: &str) -> Option<Zeroizing<Vec<u8>>> {
    let whole = property.contains('.').then(|| property.replace('.', "\\."));
    let paths = [whole.as_deref(), Some(property)].into_iter().flatten();
    let mut found = paths.map(|path| gjson::get(text, path));
    let found = found.find(gjson::Value::exists)?;
    let bytes = match found.kind() {
        Kind::Null => Vec::new(),
        Kind::String => found.str().as_bytes().to_vec(),
        Kind::Number if !is_whole(found.json()) => found.f64().to_string().into_bytes(),
        _ => found.json().as_bytes().to_vec(),
    };
    Some(Zeroizing::new(bytes))
}

/// A whole number keeps its digits, however many there are.
fn is_whole(number: &str) -> bool {
    let digits = number.strip_prefix('-').unwrap_or(number);
    digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// The members of a JSON object: texts as they are, nothing for null, everything else as it is
/// written. `None` if it is no object.
pub(super) fn members(text: &[u8]) -> Option<Contents> {
    let members: BTreeMap<String, &RawValue> = serde_json::from_slice(text).ok()?;
    let bytes = |raw: &RawValue| {
        let raw = raw.get();
        match serde_json::from_str::<Option<String>>(raw) {
            Ok(text) => text.unwrap_or_default().into_bytes(),
            Err(_) => raw.as_bytes().to_vec(),
        }
    };
    let members = members.into_iter();
    Some(
        members
            .map(|(name, raw)| (name, Zeroizing::new(bytes(raw))))
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"{"user": "shop", "a.b": "dotted", "a": {"b":  "nested", "list": [1, 2]},
        "id": 18446744073709551616, "price": 1.10, "big": 1e21, "none": null, "yes": true}"#;

    #[test]
    fn a_property_is_a_member_by_its_whole_name_or_a_path() {
        let rows = [
            ("user", "shop"),
            ("a.b", "dotted"),
            ("a", r#"{"b":  "nested", "list": [1, 2]}"#),
            ("a.list.1", "2"),
            ("id", "18446744073709551616"),
            ("price", "1.1"),
            ("big", "1000000000000000000000"),
            ("none", ""),
            ("yes", "true"),
        ];
        for (name, expected) in rows {
            let found = property(TEXT, name).unwrap();
            assert_eq!(String::from_utf8_lossy(&found), expected, "{name}");
        }
        for (text, name) in [(TEXT, "a.c"), ("plain text", "user"), ("", "user")] {
            assert_eq!(property(text, name), None, "{name} of {text}");
        }
    }

    #[test]
    fn members_are_as_they_are_written() {
        let members = members(TEXT.as_bytes()).unwrap();
        let member = |name: &str| String::from_utf8_lossy(&members[name]).into_owned();
        assert_eq!(member("user"), "shop");
        assert_eq!(member("price"), "1.10");
        assert_eq!(member("id"), "18446744073709551616");
        assert_eq!(member("a"), r#"{"b":  "nested", "list": [1, 2]}"#);
        assert_eq!(member("none"), "");
        for text in ["plain text", "[1]", "\"text\"", ""] {
            assert!(super::members(text.as_bytes()).is_none(), "{text}");
        }
    }
}
