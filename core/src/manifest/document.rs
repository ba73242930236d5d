//! Kubernetes manifests in files: streams of YAML or JSON, and Lists in Lists.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::names;

/// Bytes that one input may have: far more than an API server accepts.
pub const INPUT_BYTES: usize = 64 * 1024 * 1024;
/// Bytes that one document may have.
pub const DOCUMENT_BYTES: usize = 16 * 1024 * 1024;

/// One object of a stream. Each item of a `kind: List` is an object of its own.
#[derive(Clone)]
pub struct Document {
    /// Number of the YAML document in its stream, from 1.
    pub number: usize,
    /// Number of the item if the document is a List, from 1.
    pub item: Option<usize>,
    /// The object. It may contain plaintext: no Debug here, see [`super::wipe`].
    pub object: Value,
}

impl Document {
    /// `kind`, or empty.
    pub fn kind(&self) -> &str {
        self.object
            .get("kind")
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    /// `apiVersion`, or empty.
    pub fn api_version(&self) -> &str {
        self.object
            .get("apiVersion")
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    /// A text of `metadata`, or empty.
    pub fn metadata(&self, field: &str) -> &str {
        self.object
            .get("metadata")
            .and_then(|metadata| metadata.get(field))
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    /// Is it a core Secret?
    pub fn is_secret(&self) -> bool {
        self.kind() == "Secret" && self.api_version() == "v1"
    }

    /// Is it one of our SealedSecrets?
    pub fn is_sealed_secret(&self) -> bool {
        self.kind() == "SealedSecret" && self.api_version().starts_with("sealkit.dev/")
    }

    /// The other program that encrypted it, if one did.
    pub fn foreign(&self) -> Option<Foreign> {
        if self.kind() == "SealedSecret" && self.api_version().starts_with("bitnami.com/") {
            return Some(Foreign::SealedSecrets);
        }
        let sops = self.object.get("sops")?.as_object()?;
        let is_it = sops.contains_key("mac") || sops.contains_key("lastmodified");
        is_it.then_some(Foreign::Sops)
    }

    /// Kind, namespace and name for messages, safe for a terminal.
    pub fn title(&self) -> String {
        let kind = if self.kind().is_empty() {
            "object without kind"
        } else {
            self.kind()
        };
        let (namespace, name) = (self.metadata("namespace"), self.metadata("name"));
        let slash = if namespace.is_empty() { "" } else { "/" };
        names::printable(&format!("{kind} {namespace}{slash}{name}"))
    }
}

/// Another program that encrypts what is kept in Git.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Foreign {
    /// Sealed Secrets, whose SealedSecret is of the group `bitnami.com`.
    SealedSecrets,
    /// SOPS, which encrypts the values of a manifest in place.
    Sops,
}

/// Why an input cannot be read. Reports places, never content, which may be plaintext.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Not UTF-8.
    #[error("not text in UTF-8")]
    NotUtf8,
    /// Larger than any manifest.
    #[error("larger than 64 MiB, or contains a document larger than 16 MiB")]
    TooLarge,
    /// Not YAML or JSON.
    #[error("not valid YAML at line {line}, column {column}: {what}")]
    Syntax {
        /// Line, from 1.
        line: u64,
        /// Column, from 1.
        column: u64,
        /// The kind of fault.
        what: &'static str,
    },
    /// A merge that nobody has resolved.
    #[error(
        "has an unresolved merge conflict at line {0}: keep one side of each, and remove the markers"
    )]
    Conflict(usize),
    /// A document that is not an object.
    #[error("document {0} is not a Kubernetes object")]
    NotAnObject(usize),
    /// A List whose items are not a list of objects.
    #[error("document {0} is a List whose items are not a list of objects")]
    BadList(usize),
    /// No document.
    #[error("contains no document")]
    Empty,
}

/// The first conflict that Git has marked in a text.
fn conflict(text: &str) -> Option<ReadError> {
    let line = text.lines().position(|line| line.starts_with("<<<<<<< "))?;
    let is_marked = text
        .lines()
        .skip(line)
        .any(|line| line.starts_with(">>>>>>> "));
    is_marked.then_some(ReadError::Conflict(line + 1))
}

/// Reads a stream of YAML documents (JSON is YAML), or of JSON objects that nothing separates, as
/// kubectl takes them. Lists are taken apart, and empty documents are skipped.
///
/// Duplicate keys, alias bombs, deep nesting and documents over 16 MiB are errors.
pub fn read_documents(input: &[u8]) -> Result<Vec<Document>, ReadError> {
    let text = std::str::from_utf8(input).map_err(|_| ReadError::NotUtf8)?;
    if text.len() > INPUT_BYTES {
        return Err(ReadError::TooLarge);
    }
    let mut documents = Vec::new();
    let mut number = 0;
    // The library skips null documents: the empty ones between separators.
    let values = serde_saphyr::from_multiple_with_options::<StrictValue>(text, reader_options())
        .map(|values| values.into_iter().map(|StrictValue(value)| value).collect())
        .or_else(|error| {
            json_stream(text).ok_or_else(|| conflict(text).unwrap_or_else(|| syntax_error(&error)))
        })?;
    for value in values {
        number += 1;
        match value {
            Value::Null => {}
            Value::Object(map) if is_list(&map) => {
                let mut items = Vec::new();
                take_apart(map, &mut items).ok_or(ReadError::BadList(number))?;
                let items = items.into_iter().enumerate();
                documents.extend(items.map(|(index, object)| Document {
                    number,
                    item: Some(index + 1),
                    object,
                }));
            }
            object @ Value::Object(_) => documents.push(Document {
                number,
                item: None,
                object,
            }),
            _ => return Err(ReadError::NotAnObject(number)),
        }
    }
    if documents.is_empty() {
        Err(ReadError::Empty)
    } else {
        Ok(documents)
    }
}

/// The values of a text that is JSON objects, one after the other; `None` for any other text.
pub(super) fn json_stream(text: &str) -> Option<Vec<Value>> {
    if text.len() > DOCUMENT_BYTES || !text.trim_start().starts_with('{') {
        return None;
    }
    let values = serde_json::Deserializer::from_str(text).into_iter::<StrictValue>();
    let values = values.map(|value| value.map(|StrictValue(value)| value));
    values.collect::<Result<_, _>>().ok()
}

/// Reads one small YAML document of any shape; `None` if it is not one, or has more than 2,000
/// nodes.
pub fn read_value(text: &str) -> Option<Value> {
    let mut options = reader_options();
    options.budget = serde_saphyr::budget! {
        max_events: 8_000,
        max_nodes: 2_000,
        max_depth: 64,
        max_aliases: 100,
        max_total_scalar_bytes: 1024 * 1024,
    };
    let value: StrictValue = serde_saphyr::from_str_with_options(text, options).ok()?;
    Some(value.0)
}

/// The objects of a List, and of Lists in it. Items of a typed List, as the API server prints it,
/// get its type if they have none.
fn take_apart(mut list: Map<String, Value>, objects: &mut Vec<Value>) -> Option<()> {
    let Some(Value::Array(items)) = list.remove("items") else {
        return None;
    };
    let text = |field: &str| list.get(field).and_then(Value::as_str);
    let kind = text("kind").and_then(|kind| kind.strip_suffix("List"));
    let kind = kind.filter(|kind| !kind.is_empty());
    for item in items {
        let Value::Object(mut object) = item else {
            return None;
        };
        if is_list(&object) {
            take_apart(object, objects)?;
            continue;
        }
        if let Some(kind) = kind.filter(|_| !object.contains_key("kind")) {
            object.insert("kind".to_owned(), kind.into());
            if let Some(version) = text("apiVersion") {
                let version = Value::from(version);
                object.entry("apiVersion").or_insert(version);
            }
        }
        objects.push(object.into());
    }
    Some(())
}

fn is_list(map: &Map<String, Value>) -> bool {
    map.get("kind")
        .and_then(Value::as_str)
        .is_some_and(|kind| kind.ends_with("List"))
        && map.contains_key("items")
}

fn reader_options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        // The default prints the source line of an error, which may be a plaintext.
        with_snippet: false,
        // `yes` and `on` are strings, as in YAML 1.2.
        strict_booleans: true,
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::Error,
        budget: serde_saphyr::budget! {
            max_reader_input_bytes: Some(INPUT_BYTES),
            max_events: 2_000_000,
            max_nodes: 1_000_000,
            max_depth: 64,
            max_documents: 100_000,
            max_aliases: 1_000,
            max_total_scalar_bytes: DOCUMENT_BYTES,
        },
    }
}

/// The place and the kind of the fault. The library's own text may quote the input.
fn syntax_error(error: &serde_saphyr::Error) -> ReadError {
    use serde_saphyr::Error;
    let mut cause = error.without_snippet();
    while let Error::AliasError { error, .. } = cause {
        cause = error.without_snippet();
    }
    let what = match cause {
        Error::Message { msg, .. } if msg.contains(DUPLICATE) => "a map has the same key twice",
        Error::DuplicateMappingKey { .. } => "a map has the same key twice",
        Error::Budget { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasReplayCounterOverflow { .. }
        | Error::AliasReplayStackDepthExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. } => {
            "too deep, too many nodes or too many aliases"
        }
        Error::UnknownAnchor { .. } => "an alias to an anchor that does not exist",
        _ => "malformed",
    };
    let (line, column) = error
        .location()
        .map_or((0, 0), |location| (location.line(), location.column()));
    ReadError::Syntax { line, column, what }
}

const DUPLICATE: &str = "duplicate key";

/// A JSON value without duplicate keys in any map, even in two spellings (`1:` and `"1":`).
struct StrictValue(Value);

impl<'de> Deserialize<'de> for StrictValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Self)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("YAML of the JSON data model")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(StrictValue(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let StrictValue(value) = entries.next_value()?;
            if map.insert(key, value).is_some() {
                return Err(A::Error::custom(DUPLICATE));
            }
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Document>, ReadError> {
        read_documents(text.as_bytes())
    }

    fn syntax(text: &str) -> &'static str {
        match read(text).map(|documents| documents.len()) {
            Err(ReadError::Syntax { what, .. }) => what,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn streams_and_lists_are_taken_apart() {
        let documents = read(
            "---\n# only a comment\n---\nkind: Secret\napiVersion: v1\n---\n\
             {\"kind\": \"List\", \"apiVersion\": \"v1\", \"items\": [{\"kind\": \"A\"}, {\"kind\": \"B\"}]}\n",
        )
        .unwrap();
        let kinds: Vec<_> = documents.iter().map(|d| (d.kind(), d.item)).collect();
        assert_eq!(kinds, [("Secret", None), ("A", Some(1)), ("B", Some(2))]);
        assert!(documents[0].is_secret());

        let documents = read(
            "{\"kind\": \"SecretList\", \"apiVersion\": \"v1\", \"items\": [{\"data\": {}}, \
             {\"kind\": \"List\", \"items\": [{\"kind\": \"A\"}, {\"b\": 1}]}]}",
        )
        .unwrap();
        let kinds: Vec<_> = documents.iter().map(|d| (d.kind(), d.item)).collect();
        assert_eq!(kinds, [("Secret", Some(1)), ("A", Some(2)), ("", Some(3))]);
        assert!(documents[0].is_secret());
        let nested = "{kind: List, items: [".repeat(60) + &"]}".repeat(60);
        assert!(read(&nested).is_err());
        assert_eq!(
            read("{kind: List, items: [{kind: List, items: [1]}]}").err(),
            Some(ReadError::BadList(1))
        );
    }

    #[test]
    fn long_streams_are_read() {
        let text = "kind: Secret\n---\n".repeat(5_000);
        assert_eq!(read(&text).unwrap().len(), 5_000);
    }

    #[test]
    fn keys_equal_as_text_are_refused() {
        for text in ["a: 1\na: 2\n", "1: a\n'1': b\n", "x: {'y': 1, y: 2}\n"] {
            assert_eq!(syntax(text), "a map has the same key twice", "{text}");
        }
    }

    #[test]
    fn words_and_odd_numbers_keep_their_text() {
        let documents = read("kind: x\na: yes\nb: on\nc: '0123'\nd: \"1e3\"\n1: one\n").unwrap();
        let object = &documents[0].object;
        assert_eq!(object["a"], "yes");
        assert_eq!(object["b"], "on");
        assert_eq!(object["c"], "0123");
        assert_eq!(object["d"], "1e3");
        assert_eq!(object["1"], "one");
    }

    #[test]
    fn hostile_input_ends_quickly_and_quotes_nothing() {
        let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
        for level in 1..10 {
            let alias = format!("*a{},", level - 1).repeat(10);
            bomb += &format!("a{level}: &a{level} [{alias}]\n");
        }
        assert_eq!(
            syntax(&bomb),
            "too deep, too many nodes or too many aliases"
        );
        assert!(read(&"[".repeat(100_000)).is_err());
        assert!(read(&"{a: ".repeat(10_000)).is_err());
        for text in [
            "a: hunter2: b",
            "a: \"hunter2",
            "\thunter2: [",
            "- hunter2",
            "hunter2",
        ] {
            let error = read(text).err().unwrap_or_else(|| panic!("{text}"));
            assert!(
                !format!("{error} {error:?}").contains("hunter2"),
                "{error:?}"
            );
        }
        assert_eq!(read("").err(), Some(ReadError::Empty));
        assert_eq!(
            read_documents(&[0xff, 0xfe, 0]).err(),
            Some(ReadError::NotUtf8)
        );
    }
}
