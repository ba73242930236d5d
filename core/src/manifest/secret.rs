//! The Secret manifest, which is the input for sealing.

use std::collections::BTreeMap;

use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::{Engine as _, alphabet};
use serde_json::{Map, Value};
use zeroize::{Zeroize, Zeroizing};

use super::Document;
use crate::names;

/// The annotation with which a Secret manifest requests a scope.
pub const SCOPE_ANNOTATION: &str = "sealkit.dev/scope";
/// kubectl's copy of the whole manifest, including plaintext. It is never copied.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// A Secret from a manifest: values are decoded, and `stringData` overrides `data` as in
/// Kubernetes. No Debug; values are wiped when dropped.
#[derive(Default)]
pub struct SecretManifest {
    /// `metadata.name`, or empty.
    pub name: String,
    /// `metadata.namespace`, or empty.
    pub namespace: String,
    /// `type`, if it is not Opaque.
    pub secret_type: Option<String>,
    /// `immutable`.
    pub immutable: bool,
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// `metadata.annotations` without Sealkit's own and kubectl's copy of the manifest.
    pub annotations: BTreeMap<String, String>,
    /// Value of the annotation `sealkit.dev/scope`.
    pub scope: Option<String>,
    /// The values by key.
    pub values: BTreeMap<String, Zeroizing<Vec<u8>>>,
}

/// Why a document is not a Secret that can be sealed. Never contains a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretManifestError {
    /// Another kind of object.
    #[error("is not a Secret of apiVersion v1")]
    NotASecret,
    /// A field has the wrong type.
    #[error("{0} must be {1}")]
    WrongType(String, &'static str),
    /// A field that Secrets do not have.
    #[error("has a field {0:?}, which Secrets do not have")]
    UnknownField(String),
    /// `data` that is not base64.
    #[error("data[{0:?}] is not base64 (plain text belongs under stringData)")]
    NotBase64(String),
    /// A key that Kubernetes refuses.
    #[error(
        "the key {0:?} is not allowed: use 1 to 253 letters, digits, '-', '_' and '.', not beginning with '..'"
    )]
    KeyName(String),
    /// Nothing to seal.
    #[error("has no values: neither data nor stringData")]
    NoValues,
}

impl SecretManifest {
    /// Reads a Secret from a document. It must have a value.
    pub fn from_document(document: &Document) -> Result<Self, SecretManifestError> {
        let manifest = Self::maybe_empty(document)?;
        if manifest.values.is_empty() {
            return Err(SecretManifestError::NoValues);
        }
        Ok(manifest)
    }

    /// Like [`SecretManifest::from_document`], but it need not have a value.
    pub fn maybe_empty(document: &Document) -> Result<Self, SecretManifestError> {
        if !document.is_secret() {
            return Err(SecretManifestError::NotASecret);
        }
        let Value::Object(object) = &document.object else {
            return Err(SecretManifestError::NotASecret);
        };
        let known = [
            "apiVersion",
            "kind",
            "metadata",
            "data",
            "stringData",
            "type",
            "immutable",
            "status",
        ];
        if let Some(field) = object.keys().find(|field| !known.contains(&field.as_str())) {
            return Err(SecretManifestError::UnknownField(names::printable(field)));
        }
        let empty = Map::new();
        let metadata = map(object.get("metadata"), "metadata")?.unwrap_or(&empty);
        let mut annotations = texts(metadata.get("annotations"), "metadata.annotations")?;
        let scope = annotations.remove(SCOPE_ANNOTATION);
        annotations.retain(|name, _| name != LAST_APPLIED && !name.starts_with("sealkit.dev/"));
        let values = values(object)?;
        let immutable = match object.get("immutable") {
            None | Some(Value::Null) => false,
            Some(Value::Bool(immutable)) => *immutable,
            Some(_) => {
                return Err(SecretManifestError::WrongType(
                    "immutable".into(),
                    "true or false",
                ));
            }
        };
        Ok(Self {
            name: text(metadata.get("name"), "metadata.name")?.unwrap_or_default(),
            namespace: text(metadata.get("namespace"), "metadata.namespace")?.unwrap_or_default(),
            secret_type: text(object.get("type"), "type")?.filter(|name| name != "Opaque"),
            immutable,
            labels: texts(metadata.get("labels"), "metadata.labels")?,
            annotations,
            scope,
            values,
        })
    }
}

/// Overwrites all texts in a value, for manifests that contained plaintext.
pub fn wipe(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(items) => items.iter_mut().for_each(wipe),
        Value::Object(map) => map.values_mut().for_each(wipe),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn values(
    object: &Map<String, Value>,
) -> Result<BTreeMap<String, Zeroizing<Vec<u8>>>, SecretManifestError> {
    let mut values = BTreeMap::new();
    for field in ["data", "stringData"] {
        let Some(entries) = map(object.get(field), field)? else {
            continue;
        };
        for (key, value) in entries {
            let shown = names::printable(key);
            if !names::is_secret_key(key) {
                return Err(SecretManifestError::KeyName(shown));
            }
            let bytes = match value {
                // As in kubectl and the API server, null is an empty value.
                Value::Null => Zeroizing::new(Vec::new()),
                Value::String(text) if field == "stringData" => {
                    Zeroizing::new(text.as_bytes().to_vec())
                }
                Value::String(text) => decode(text).ok_or(SecretManifestError::NotBase64(shown))?,
                _ => {
                    let place = format!("{field}[{shown:?}]");
                    return Err(SecretManifestError::WrongType(place, "a string, in quotes"));
                }
            };
            values.insert(key.clone(), bytes);
        }
    }
    Ok(values)
}

/// Standard base64 whose last character may have bits that say nothing.
const AS_GO: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

/// Standard base64 as Go's decoder, and so kubectl, accepts it: line breaks are skipped.
fn decode(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let mut compact = Zeroizing::new(String::with_capacity(text.len()));
    compact.extend(
        text.chars()
            .filter(|character| !matches!(character, '\r' | '\n')),
    );
    let mut bytes = Zeroizing::new(vec![0; compact.len() / 4 * 3 + 3]);
    let length = AS_GO.decode_slice(compact.as_bytes(), &mut bytes).ok()?;
    bytes.truncate(length);
    Some(bytes)
}

fn map<'a>(
    value: Option<&'a Value>,
    field: &str,
) -> Result<Option<&'a Map<String, Value>>, SecretManifestError> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(map)) => Ok(Some(map)),
        Some(_) => Err(SecretManifestError::WrongType(field.to_owned(), "a map")),
    }
}

fn text(value: Option<&Value>, field: &str) -> Result<Option<String>, SecretManifestError> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(SecretManifestError::WrongType(
            field.to_owned(),
            "a string, in quotes",
        )),
    }
}

fn texts(
    value: Option<&Value>,
    field: &str,
) -> Result<BTreeMap<String, String>, SecretManifestError> {
    let Some(entries) = map(value, field)? else {
        return Ok(BTreeMap::new());
    };
    let mut texts = BTreeMap::new();
    for (key, value) in entries {
        let place = format!("{field}[{:?}]", names::printable(key));
        if let Some(text) = text(Some(value), &place)? {
            texts.insert(key.clone(), text);
        }
    }
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::read_documents;

    fn secret(body: &str) -> Result<SecretManifest, SecretManifestError> {
        let text = format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: db}}\n{body}");
        SecretManifest::from_document(&read_documents(text.as_bytes()).unwrap()[0])
    }

    #[test]
    fn string_data_wins_and_binary_survives() {
        let secret = secret(
            "data: {a: AP8=, b: eA==, d: \"YWJj\\nZGVm\", e: aGVsbG9=}\nstringData: {b: y, c: ''}",
        )
        .unwrap();
        let values: Vec<_> = secret
            .values
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_slice()))
            .collect();
        assert_eq!(
            values,
            [
                ("a", &[0, 255][..]),
                ("b", b"y"),
                ("c", b""),
                ("d", b"abcdef"),
                ("e", b"hello")
            ]
        );
    }

    #[test]
    fn plaintext_copies_in_annotations_are_dropped() {
        let text = "apiVersion: v1\nkind: Secret\nmetadata:\n  name: db\n  annotations:\n    \
            kubectl.kubernetes.io/last-applied-configuration: '{}'\n    sealkit.dev/scope: cluster-wide\n    \
            team: shop\nstringData: {a: b}\n";
        let secret =
            SecretManifest::from_document(&read_documents(text.as_bytes()).unwrap()[0]).unwrap();
        assert_eq!(secret.annotations.into_keys().collect::<Vec<_>>(), ["team"]);
        assert_eq!(secret.scope.as_deref(), Some("cluster-wide"));
    }

    #[test]
    fn faults_are_named_without_values() {
        let table = [
            (
                "stringData: {a: 12345}",
                "stringData[\"a\"] must be a string, in quotes",
            ),
            (
                "data: {a: 'hunter2!'}",
                "data[\"a\"] is not base64 (plain text belongs under stringData)",
            ),
            ("data: [hunter2]", "data must be a map"),
            ("type: Opaque", "has no values: neither data nor stringData"),
            ("data: {}", "has no values: neither data nor stringData"),
            (
                "string_data: {a: hunter2}",
                "has a field \"string_data\", which Secrets do not have",
            ),
        ];
        for (body, message) in table {
            assert_eq!(secret(body).err().unwrap().to_string(), message);
        }
        assert!(matches!(
            secret("stringData: {'a/b': x}"),
            Err(SecretManifestError::KeyName(_))
        ));
    }
}
