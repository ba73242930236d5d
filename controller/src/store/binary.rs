//! Bytes that are no text, in the JSON values of a store: a text of a form that no text of a store has,
//! with one letter for each byte.

use serde_json::Value;
use zeroize::Zeroizing;

use super::{Object, StoreError};

/// In front of such a text: Unicode keeps it free for use within a program.
const MARK: char = '\u{fdd0}';

/// The bytes as a value: as text if they are text.
pub(super) fn value(bytes: Vec<u8>) -> Value {
    let bytes = match String::from_utf8(bytes) {
        Ok(text) if !is_binary(&text) => return Value::String(text),
        Ok(text) => Zeroizing::new(text.into_bytes()),
        Err(error) => Zeroizing::new(error.into_bytes()),
    };
    let mut text = String::with_capacity(MARK.len_utf8() + 2 * bytes.len());
    text.push(MARK);
    text.extend(bytes.iter().copied().map(char::from));
    Value::String(text)
}

/// Does a text stand for bytes that are none?
fn is_binary(text: &str) -> bool {
    text.starts_with(MARK)
}

/// The value of a store that has texts only. One with our mark would become other bytes.
pub(super) fn unmarked(object: Object) -> Result<Object, StoreError> {
    fn has_mark(value: &Value) -> bool {
        match value {
            Value::String(text) => is_binary(text),
            Value::Array(items) => items.iter().any(has_mark),
            Value::Object(members) => members.values().any(has_mark),
            Value::Null | Value::Bool(_) | Value::Number(_) => false,
        }
    }
    if has_mark(&object.0) {
        let what = "a value begins with U+FDD0, which Unicode keeps for use within programs";
        return Err(StoreError::Answer(what.to_owned()));
    }
    Ok(object)
}

/// The value with the bad bytes of its members replaced, as External Secrets writes them in JSON;
/// `None` if there are none.
pub fn as_text(value: &Value) -> Option<Object> {
    let members = value.as_object()?;
    let is_binary = |value: &Value| value.as_str().is_some_and(is_binary);
    if !members.values().any(is_binary) {
        return None;
    }
    let mut copy = Object(value.clone());
    for member in copy.0.as_object_mut()?.values_mut() {
        if let Value::String(text) = member
            && text.starts_with(MARK)
        {
            *text = String::from_utf8_lossy(&bytes(text)).into_owned();
        }
    }
    Some(copy)
}

/// The bytes of a text.
pub fn bytes(text: &str) -> Zeroizing<Vec<u8>> {
    let binary = text.strip_prefix(MARK).and_then(|letters| {
        let mut bytes = Zeroizing::new(Vec::with_capacity(letters.len()));
        for letter in letters.chars() {
            bytes.push(u8::try_from(letter).ok()?);
        }
        Some(bytes)
    });
    binary.unwrap_or_else(|| Zeroizing::new(text.as_bytes().to_vec()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_text_with_the_mark_is_refused_and_never_changed() {
        for marked in [json!({"a": "\u{fdd0}b"}), json!({"a": [{"b": "\u{fdd0}"}]})] {
            assert!(unmarked(Object(marked)).is_err());
        }
        assert!(unmarked(Object(json!({"a": "b\u{fdd0}"}))).is_ok());
    }

    #[test]
    fn json_has_text_in_place_of_bytes() {
        let secret = json!({"a": value(b"a\xff".to_vec()), "b": "c"});
        assert_eq!(
            as_text(&secret).unwrap().0,
            json!({"a": "a\u{fffd}", "b": "c"})
        );
        assert!(as_text(&json!({"b": "c"})).is_none());
    }

    #[test]
    fn all_bytes_come_back() {
        let all: Vec<u8> = (0..=255).collect();
        for original in [
            &b""[..],
            b"text",
            "tёxt".as_bytes(),
            &all,
            b"\xff",
            b"\0\xc3\x28",
            "\u{fdd0}a".as_bytes(),
        ] {
            let Value::String(text) = value(original.to_vec()) else {
                panic!("no text");
            };
            assert_eq!(&**bytes(&text), original);
        }
        for text in ["\u{fdd0}\u{100}", "a\u{fdd0}"] {
            assert_eq!(&**bytes(text), text.as_bytes(), "as it is");
        }
    }
}
