//! Sealed values as public text: what tells one from another without a key.

use std::collections::BTreeMap;

use sealkit_core::manifest::{Document, read_documents};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// A value is itself wherever it stands: its envelope and its ciphertext, the latter as a digest.
pub type Sealed = (String, [u8; 16]);

/// The SealedSecrets of a file; nothing where it cannot be read.
pub fn sealed_secrets(bytes: &[u8]) -> Vec<Document> {
    let text = std::str::from_utf8(bytes).unwrap_or_default();
    if !text.contains("SealedSecret") {
        return Vec::new();
    }
    let documents = read_documents(bytes).unwrap_or_default();
    documents
        .into_iter()
        .filter(Document::is_sealed_secret)
        .collect()
}

/// The values of an object: each under its key, as itself.
pub fn values(document: &Document) -> BTreeMap<String, Sealed> {
    let values = document
        .object
        .pointer("/spec/encryptedData")
        .and_then(Value::as_object);
    let sealed = values.into_iter().flatten().filter_map(|(key, value)| {
        let text = value.as_str()?;
        let id = text.split('.').nth(1)?.to_owned();
        let digest: [u8; 32] = Sha256::digest(text).into();
        let mut short = [0; 16];
        short.copy_from_slice(&digest[..16]);
        Some((key.clone(), (id, short)))
    });
    sealed.collect()
}

/// Namespace and name of an object.
pub fn title(document: &Document) -> String {
    format!(
        "{}/{}",
        document.metadata("namespace"),
        document.metadata("name")
    )
}
