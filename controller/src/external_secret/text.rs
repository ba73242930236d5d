//! Secrets that a store keeps as texts, with or without JSON in them; pure. Nothing is written anew, so
//! that numbers, spaces and the order of members stay as they are: the rules of External Secrets.

use std::collections::BTreeMap;
use std::fmt;

use gjson::Kind;
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use crate::render::Contents;

/// A member of the object by its whole name, dots included, or what the path of dots leads to.
pub(super) fn property(text: &str, property: &str) -> Option<Zeroizing<Vec<u8>>> {
    let whole = property.contains('.').then(|| property.replace('.', "\\."));
    // What walks the path trusts the text, and goes as deep as it.
    serde_json::from_str::<Bounded>(text).ok()?;
    let paths = [whole.as_deref(), Some(property)].into_iter().flatten();
    let mut found = paths.filter_map(|path| at(text, path));
    let found = found.next()?;
    let bytes = match found.kind() {
        Kind::Null => Vec::new(),
        Kind::String => found.str().as_bytes().to_vec(),
        Kind::Number if !is_whole(found.json()) => found.f64().to_string().into_bytes(),
        _ => found.json().as_bytes().to_vec(),
    };
    Some(Zeroizing::new(bytes))
}

/// What a path of dots leads to in a JSON text that is no deeper than [`Bounded`]. Whoever writes
/// objects chooses the path. A long one, or one of several wildcards, takes time without end; one that
/// builds new JSON of what it finds doubles it with each step.
pub(super) fn at<'a>(text: &'a str, path: &'a str) -> Option<gjson::Value<'a>> {
    /// Bytes of a path.
    const LONGEST: usize = 512;
    let mut before = '.';
    let builds = path.chars().any(|letter| {
        let begins = ".|(".contains(std::mem::replace(&mut before, letter));
        begins && "@[{".contains(letter)
    });
    if builds || path.len() > LONGEST || path.matches('*').count() > 1 {
        return None;
    }
    Some(gjson::get(text, path)).filter(gjson::Value::exists)
}

/// Any JSON whose depth has the limit of its parser, which keeps nothing of it.
struct Bounded;

impl<'de> Deserialize<'de> for Bounded {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for Bounded {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self, A::Error> {
        while items.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self, A::Error> {
        while members.next_entry::<IgnoredAny, Self>()?.is_some() {}
        Ok(self)
    }
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
    fn no_text_and_no_path_costs_much() {
        let start = std::time::Instant::now();
        let (many, open) = (50_000, "{\"a\":");
        let deep = format!("{}1{}", open.repeat(many), "}".repeat(many));
        let path = vec!["a"; many].join(".");
        let rows = [
            (deep.as_str(), path.as_str()),
            (deep.as_str(), "@valid"),
            (TEXT, path.as_str()),
            (TEXT, &format!("{}0", "[@this,@this]|".repeat(30))),
            (TEXT, "a|@pretty"),
            (TEXT, "a.{b}"),
        ];
        for (text, path) in rows {
            assert_eq!(property(text, path), None);
        }
        let names = format!("{{\"{}\": 1}}", "a".repeat(100_000));
        assert_eq!(property(&names, &format!("{}b", "a*".repeat(200))), None);
        let values = format!("[{{\"b\": \"{}\"}}]", "a".repeat(100_000));
        assert_eq!(property(&values, "#(b%\"*a*a*a*a*a*a*a*b\")"), None);
        assert!(start.elapsed().as_secs() < 10, "{:?}", start.elapsed());
        let one = r#"{"a": {"bcd": [{"x": 1, "y": "z"}]}}"#;
        assert_eq!(&**property(one, "a.b*.#(x=1).y").unwrap(), b"z");
        let mail = r#"{"me@example.com": "x"}"#;
        assert_eq!(&**property(mail, "me@example.com").unwrap(), b"x");
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
