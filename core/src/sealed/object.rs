//! Checks the public text of a SealedSecret by every rule that public text can break.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::envelope::CheckedEnvelope;
use super::value::CheckedValue;
use super::{Context, EnvelopeId, OpenError, Rule, Scope, limits};
use crate::keys::Fingerprint;
use crate::names;

/// A SealedSecret whose public text obeys every rule that public text can break.
#[derive(Clone, Debug)]
pub struct SealedObject {
    pub(super) context: Context,
    pub(super) envelopes: BTreeMap<EnvelopeId, CheckedEnvelope>,
    pub(super) values: BTreeMap<String, CheckedValue>,
}

/// Fields of `spec`: those of the format, and those that the resource adds around them.
const SPEC_FIELDS: [&str; 6] = [
    "scope",
    "envelopes",
    "encryptedData",
    "target",
    "template",
    "suspend",
];

impl SealedObject {
    /// Checks an object read from JSON or YAML: names, sizes, counts, grammar, the age headers of
    /// all referenced envelopes. Every error has code `InvalidSpec`.
    pub fn parse(object: &Value) -> Result<Self, OpenError> {
        let text = |field: &str| object.get("metadata")?.get(field)?.as_str();
        let size = compact_size(object);
        let spec = object
            .get("spec")
            .and_then(Value::as_object)
            .ok_or_else(|| OpenError::new(Rule::ObjectShape, "spec is missing or not a map"))?;
        Self::parse_spec(
            text("namespace").unwrap_or_default(),
            text("name").unwrap_or_default(),
            spec,
            size,
        )
    }

    /// Like [`SealedObject::parse`]; an object that names no namespace has this one. Whoever applies
    /// it sets it then: Kustomize, Flux, Argo CD, `kubectl -n`.
    pub fn parse_in(object: &Value, namespace: &str) -> Result<Self, OpenError> {
        let named = object
            .pointer("/metadata/namespace")
            .and_then(Value::as_str);
        if namespace.is_empty() || named.is_some_and(|named| !named.is_empty()) {
            return Self::parse(object);
        }
        let mut object = object.clone();
        if let Some(Value::Object(metadata)) = object.get_mut("metadata") {
            metadata.insert("namespace".to_owned(), namespace.into());
        }
        Self::parse(&object)
    }

    /// Like [`SealedObject::parse`], for callers that hold the parts. `size` is [`compact_size`],
    /// in bytes.
    pub fn parse_spec(
        namespace: &str,
        name: &str,
        spec: &Map<String, Value>,
        size: usize,
    ) -> Result<Self, OpenError> {
        if size > limits::OBJECT_BYTES {
            let what = format!(
                "the object has {size} bytes as JSON, but at most {} are allowed",
                limits::OBJECT_BYTES
            );
            return Err(OpenError::new(Rule::ObjectSize, what));
        }
        if let Some(field) = spec
            .keys()
            .find(|field| !SPEC_FIELDS.contains(&field.as_str()))
        {
            let what = format!("spec has an unknown field {:?}", names::printable(field));
            return Err(OpenError::new(Rule::SpecFields, what));
        }
        let scope = match spec.get("scope") {
            None => Some(Scope::Strict),
            Some(word) => word.as_str().and_then(|word| word.parse().ok()),
        };
        let scope = scope.ok_or_else(|| {
            let what = "scope must be strict, namespace-wide or cluster-wide";
            OpenError::new(Rule::ScopeWord, what)
        })?;
        let context = Context::new(scope, namespace, name)
            .map_err(|error| OpenError::new(Rule::ObjectNames, error.to_string()))?;
        let entries = map_field(spec, "envelopes")?;
        if entries.len() > limits::ENVELOPES {
            let what = format!(
                "{} envelopes, but at most 64 are allowed: set several values in one run, so that they share an envelope",
                entries.len()
            );
            return Err(OpenError::new(Rule::EnvelopeCount, what));
        }
        let mut values = BTreeMap::new();
        for (key, value) in map_field(spec, "encryptedData")? {
            values.insert(key.clone(), check_value(key, value)?);
        }
        if let Some(id) = entries.keys().find(|id| id.parse::<EnvelopeId>().is_err()) {
            let id = names::printable(id);
            let what = format!("envelope id {id:?} is not 32 characters of [a-z2-7]");
            return Err(OpenError::new(Rule::EnvelopeId, what));
        }
        let used: BTreeSet<EnvelopeId> = values.values().map(|value| value.id).collect();
        let mut envelopes = BTreeMap::new();
        for id in used {
            let entry = entries.get(id.as_str()).ok_or_else(|| {
                let what = format!("a value names envelope {id}, which is missing");
                OpenError::new(Rule::DanglingId, what)
            })?;
            envelopes.insert(id, CheckedEnvelope::parse(id, entry)?);
        }
        Ok(Self {
            context,
            envelopes,
            values,
        })
    }

    /// What its values are bound to.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// The keys of its values.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }

    /// The hints of its referenced envelopes: claims, not proof.
    pub fn hints(&self) -> impl Iterator<Item = (EnvelopeId, &[Fingerprint])> {
        self.envelopes
            .iter()
            .map(|(id, envelope)| (*id, envelope.hints.as_slice()))
    }
}

/// Bytes of an object as compact JSON, without `status` and `metadata.managedFields`.
pub fn compact_size(object: &Value) -> usize {
    let whole = json_size(object);
    let removed = |parent: Option<&Value>, field: &str| {
        parent
            .and_then(Value::as_object)
            .and_then(|parent| Some((parent.get(field)?, parent.len())))
            // The member, its quoted name, the colon, and a comma unless it is the only member.
            .map_or(0, |(value, members)| {
                json_size(value) + field.len() + 3 + usize::from(members > 1)
            })
    };
    whole - removed(Some(object), "status") - removed(object.get("metadata"), "managedFields")
}

/// A fingerprint of the public text of a `spec` that decides what the Secret holds: all of it
/// except the envelopes, which a rewrap changes, and `suspend`. 32 hex characters.
pub fn content_fingerprint(spec: &Value) -> String {
    let fields: BTreeMap<&String, &Value> = spec
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(field, _)| !["envelopes", "suspend"].contains(&field.as_str()))
        .collect();
    fingerprint(&fields)
}

/// A fingerprint of the public text of a `spec` that decides the values of the Secret: sealed values,
/// and templates of values. 32 hex characters.
pub fn values_fingerprint(spec: &Value) -> String {
    let parts = ["/encryptedData", "/template/data", "/template/includeRaw"];
    fingerprint(&parts.map(|part| spec.pointer(part)))
}

fn fingerprint(text: &impl serde::Serialize) -> String {
    // Whatever was read from JSON encodes as JSON.
    names::digest(&serde_json::to_vec(text).unwrap_or_default())
}

/// Bytes of a value as compact JSON.
pub fn json_size(value: &impl serde::Serialize) -> usize {
    let mut counter = Counter(0);
    // Counting cannot fail, and whatever was read from JSON encodes as JSON.
    let _ = serde_json::to_writer(&mut counter, value);
    counter.0
}

/// Roughly the bytes that a value would take in memory if it were read from this JSON, estimated
/// high: ten thousand empty texts are short as JSON, but take ten thousand places.
pub fn memory_size(json: &str) -> usize {
    /// A text of its own on the heap, and its part of a tree's node.
    const PLACE: usize = 96;
    // Members and items. A text that contains such characters counts for more.
    let opens = |byte: &u8| matches!(byte, b',' | b':' | b'[' | b'{');
    let places = json.bytes().filter(opens).count();
    json.len() + places * PLACE
}

/// Counts bytes that are written to it.
struct Counter(usize);

impl std::io::Write for Counter {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        self.0 += buffer.len();
        Ok(buffer.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn map_field<'a>(
    spec: &'a Map<String, Value>,
    field: &str,
) -> Result<&'a Map<String, Value>, OpenError> {
    static EMPTY: std::sync::LazyLock<Map<String, Value>> = std::sync::LazyLock::new(Map::new);
    match spec.get(field) {
        None => Ok(&EMPTY),
        Some(Value::Object(map)) => Ok(map),
        Some(_) => Err(OpenError::new(
            Rule::ObjectShape,
            format!("{field} must be a map"),
        )),
    }
}

fn check_value(key: &str, value: &Value) -> Result<CheckedValue, OpenError> {
    if !names::is_secret_key(key) {
        let what = format!(
            "{:?} is not a key that Kubernetes allows",
            names::printable(key)
        );
        return Err(OpenError::new(Rule::KeyName, what));
    }
    let text = value.as_str().ok_or_else(|| {
        OpenError::new(
            Rule::ValueGrammar,
            format!("value of {key:?} is not a string"),
        )
    })?;
    CheckedValue::parse(key, text)
}
