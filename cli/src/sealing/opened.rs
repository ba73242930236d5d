//! A SealedSecret that a private key opens, and the Secret that the controller would make of it.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sealkit_core::api::SecretTemplate;
use sealkit_core::keys::KeyRing;
use sealkit_core::manifest::{Document, SCOPE_ANNOTATION};
use sealkit_core::sealed::{Code, Opened, SealedObject, SealedView};
use serde::Serialize;
use serde_json::{Map, Value};
use zeroize::{Zeroize, Zeroizing};

use super::target::NAMESPACE_HINT;
use super::{foreign, template_file};
use crate::error::{CommandError, Result};
use crate::identities;

/// A Secret with its values: wiped when dropped.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Plain {
    api_version: &'static str,
    kind: &'static str,
    metadata: Map<String, Value>,
    #[serde(rename = "type")]
    type_: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    immutable: Option<Value>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    data: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    string_data: BTreeMap<String, String>,
}

impl Plain {
    /// The bytes of a key under `data`.
    pub fn value(&self, key: &str) -> Option<Zeroizing<Vec<u8>>> {
        let text = self.data.get(key)?;
        BASE64_STANDARD.decode(text).ok().map(Zeroizing::new)
    }
}

impl Drop for Plain {
    fn drop(&mut self) {
        self.data
            .values_mut()
            .chain(self.string_data.values_mut())
            .for_each(Zeroize::zeroize);
    }
}

/// Opens a SealedSecret, which has the given namespace if it names none; the error says what went
/// wrong and what to do.
pub(crate) fn open(document: &Document, namespace: &str, ring: &KeyRing) -> Result<Opened> {
    if !document.is_sealed_secret() {
        let other = foreign::refusal(document, None);
        return Err(
            other.unwrap_or_else(|| CommandError::input("not a SealedSecret of sealkit.dev"))
        );
    }
    let object = SealedObject::parse_in(&document.object, namespace).map_err(|error| {
        let refused = CommandError::input(format_args!("{}: {}", error.code(), error.detail));
        if namespace.is_empty() && document.metadata("namespace").is_empty() {
            return refused.hint(NAMESPACE_HINT);
        }
        refused
    })?;
    identities::open_object(&object, ring).map_err(|error| {
        let refused = CommandError::unopened(format_args!("{}: {}", error.code(), error.detail));
        match error.code() {
            Code::NoMatchingKey => {
                refused.hint("give the private key of one of its recipients with -i FILE")
            }
            Code::ScopeMismatch => {
                refused.hint("values open only in the object for which they were sealed")
            }
            _ => refused.hint("restore the last good version from Git"),
        }
    })
}

/// The Secret that the controller would make.
pub(crate) fn rebuild(document: &Document, opened: Opened, decode: bool) -> Result<Plain> {
    let mut metadata = Map::new();
    for field in ["name", "namespace"] {
        let text = document.metadata(field);
        if !text.is_empty() {
            metadata.insert(field.to_owned(), text.into());
        }
    }
    let view = SealedView::of(&document.object);
    let template = |pointer: &str| view.template()?.pointer(&format!("/{pointer}")).cloned();
    for field in ["labels", "annotations"] {
        if let Some(entries) = template(&format!("metadata/{field}")) {
            metadata.insert(field.to_owned(), entries);
        }
    }
    // `seal` reads it back.
    if let Some(scope) = view.scope().filter(|scope| *scope != "strict") {
        let annotations = metadata
            .entry("annotations")
            .or_insert_with(|| Map::new().into());
        annotations[SCOPE_ANNOTATION] = scope.clone();
    }
    let mut secret = Plain {
        api_version: "v1",
        kind: "Secret",
        metadata,
        type_: template("type").unwrap_or_else(|| "Opaque".into()),
        immutable: template("immutable"),
        data: BTreeMap::new(),
        string_data: BTreeMap::new(),
    };
    let spec: SecretTemplate = view
        .template()
        .map_or_else(
            || Ok(SecretTemplate::default()),
            |template| serde_json::from_value(template.clone()),
        )
        .map_err(|_| CommandError::input("spec.template is malformed"))?;
    let values = template_file::rendered(&spec, opened.values)
        .map_err(|fault| CommandError::unopened(fault).hint("print single values with --key"))?;
    for (key, bytes) in values {
        match std::str::from_utf8(&bytes) {
            Ok(text) if decode => secret.string_data.insert(key, text.to_owned()),
            _ => secret.data.insert(key, BASE64_STANDARD.encode(&bytes)),
        };
    }
    Ok(secret)
}
