//! The text of a file: its sealed values and envelopes, distinguished without a key, and private
//! keys that should not be in it.

use std::collections::{BTreeMap, HashSet};

use sealkit_core::keys::Identity;
use sealkit_core::manifest::{Document, read_documents};
use sealkit_core::sealed::{EnvelopeId, SealedView, age_file_text, envelope_id};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// Identifies a value wherever it is: its envelope, and a digest of its ciphertext.
pub(crate) type ValueId = (String, [u8; 16]);

/// The SealedSecrets of a file; nothing where it cannot be read, which a file of another program
/// may be.
pub(crate) fn sealed_secrets(bytes: &[u8]) -> Option<Vec<Document>> {
    if !may_hold_sealed(bytes) {
        return Some(Vec::new());
    }
    let documents = read_documents(bytes).ok()?;
    let sealed = documents.into_iter().filter(Document::is_sealed_secret);
    Some(sealed.collect())
}

/// Could another parser find a SealedSecret in it? Escapes hide words.
pub(crate) fn may_hold_sealed(bytes: &[u8]) -> bool {
    [
        "SealedSecret",
        "sk1.",
        "encryptedData",
        "ageFile",
        "\\u00",
        "\\x",
        "\\U00",
    ]
    .iter()
    .any(|word| contains(bytes, word.as_bytes()))
}

fn contains(bytes: &[u8], word: &[u8]) -> bool {
    bytes.windows(word.len()).any(|window| window == word)
}

/// The values of an object: each under its key, as itself.
pub(crate) fn values(document: &Document) -> BTreeMap<String, ValueId> {
    let values = SealedView::of(&document.object).values();
    let sealed = values.filter_map(|(key, text)| {
        let id = envelope_id(text)?.to_owned();
        Some((key.to_owned(), (id, digest(text.as_bytes()))))
    });
    sealed.collect()
}

/// The envelopes of a file: their age files, as text.
pub(crate) fn envelopes(bytes: &[u8]) -> HashSet<String> {
    let mut found = HashSet::new();
    for document in sealed_secrets(bytes).unwrap_or_default() {
        let envelopes = SealedView::of(&document.object).envelopes();
        let texts = envelopes.filter_map(|(_, envelope)| age_file_text(envelope));
        found.extend(texts.map(str::to_owned));
    }
    found
}

/// A private key of age in a text.
pub(crate) struct PrivateKey {
    /// Its line, from 1.
    pub line: usize,
    /// Tells it from others.
    pub digest: [u8; 32],
}

impl PrivateKey {
    /// What is wrong with it.
    pub fn message(&self) -> String {
        format!(
            "a private key in line {}: anyone who can read the file can open what is sealed to it",
            self.line
        )
    }
}

/// All private keys in a file, whatever it is; only what really is one.
pub(crate) fn private_keys(bytes: &[u8]) -> Vec<PrivateKey> {
    const MARK: &[u8] = b"AGE-SECRET-KEY-";
    /// Characters of a classic and of a hybrid one, each 32 bytes in Bech32.
    const LENGTHS: [usize; 2] = [
        "AGE-SECRET-KEY-1".len() + 58,
        "AGE-SECRET-KEY-PQ-1".len() + 58,
    ];
    let mut found = Vec::new();
    for (number, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let mut rest = line;
        let is_mark = |window: &[u8]| window.eq_ignore_ascii_case(MARK);
        while let Some(at) = rest.windows(MARK.len()).position(is_mark) {
            rest = &rest[at..];
            let keys = LENGTHS.iter().filter_map(|length| {
                let text = std::str::from_utf8(rest.get(..*length)?).ok()?;
                text.parse::<Identity>().ok()?;
                Some(Sha256::digest(text.to_ascii_uppercase()).into())
            });
            found.extend(keys.map(|digest| PrivateKey {
                line: number + 1,
                digest,
            }));
            rest = &rest[MARK.len()..];
        }
    }
    found
}

/// Tells a plain Secret from others; nothing where it is none, or has no values.
pub(crate) fn plain(document: &Document) -> Option<[u8; 32]> {
    let sections = ["data", "stringData"].map(|name| document.object.get(name));
    let mut entries = sections
        .iter()
        .flatten()
        .filter_map(|section| section.as_object());
    if !document.is_secret() || entries.all(serde_json::Map::is_empty) {
        return None;
    }
    let text = serde_json::to_vec(&(title(document), sections))
        .ok()
        .map(Zeroizing::new)?;
    Some(Sha256::digest(&*text).into())
}

/// All texts that look like sealed values, whatever file they stand in: patches, templates, files
/// that cannot be read. With the line of each, from 1.
pub(crate) fn spelled(bytes: &[u8]) -> Vec<(usize, ValueId)> {
    /// Where the dot behind the id is.
    const DOT: usize = 4 + EnvelopeId::LENGTH;
    let mut found = Vec::new();
    for (number, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let mut rest = line;
        while let Some(at) = rest.windows(4).position(|window| window == b"sk1.") {
            rest = &rest[at..];
            let id = rest.get(4..DOT).and_then(|id| str::from_utf8(id).ok());
            let id = id.filter(|id| id.parse::<EnvelopeId>().is_ok());
            if let Some(id) = id.filter(|_| rest.get(DOT) == Some(&b'.')) {
                let is_text =
                    |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
                let end = DOT + 1 + rest[DOT + 1..].iter().take_while(is_text).count();
                let id = id.to_owned();
                found.push((number + 1, (id, digest(&rest[..end]))));
                rest = &rest[end..];
            } else {
                rest = &rest[4..];
            }
        }
    }
    found
}

fn digest(text: &[u8]) -> [u8; 16] {
    let digest: [u8; 32] = Sha256::digest(text).into();
    let mut short = [0; 16];
    short.copy_from_slice(&digest[..16]);
    short
}

/// Namespace and name of an object.
pub(crate) fn title(document: &Document) -> String {
    format!(
        "{}/{}",
        document.metadata("namespace"),
        document.metadata("name")
    )
}

#[cfg(test)]
mod tests {
    use sealkit_core::keys::KeyType;

    use super::*;

    #[test]
    fn private_keys_are_found_and_no_talk_of_them() {
        let [classic, hybrid] = [KeyType::Classic, KeyType::Hybrid].map(Identity::generate);
        let (classic, hybrid) = (classic.to_secret_text(), hybrid.to_secret_text());
        let text = format!(
            "# AGE-SECRET-KEY-PQ-1... and AGE-SECRET-KEY-1QQ\nKEY=\"{}\"\n\r\n  key: {}\r\n",
            classic.as_str(),
            hybrid.as_str()
        );
        let lines = |text: &str| -> Vec<usize> {
            private_keys(text.as_bytes())
                .iter()
                .map(|key| key.line)
                .collect()
        };
        assert_eq!(lines(&text), [2, 4]);
        let glued = format!("x{}-old {}KEY", classic.as_str(), hybrid.as_str());
        assert_eq!(lines(&glued), [1, 1]);
        let other = if &classic[20..21] == "Q" { "P" } else { "Q" };
        assert!(lines(&classic.replace(&classic[20..21], other)).is_empty());
        assert!(private_keys(b"AGE-SECRET-KEY-AGE-SECRET-KEY-\xff").is_empty());
        // Each place is looked at once.
        assert!(lines(&"AGE-SECRET-KEY-".repeat(200_000)).is_empty());
    }

    #[test]
    fn values_are_found_wherever_they_are_spelled() {
        let value = "sk1.dkygiqm6nibo27suvpmyknuwvetd3o33.AB-_9";
        let text =
            format!("x: {value}\n- \"{value}\" {value}, sk1.short sk1.\nsk1.dkygiqm6nibo27suvpmyknuwvetd3o31.A\n");
        let lines: Vec<usize> = spelled(text.as_bytes())
            .iter()
            .map(|value| value.0)
            .collect();
        assert_eq!(lines, [1, 2, 2]);
        let object = format!(
            "kind: SealedSecret\napiVersion: sealkit.dev/v1beta1\nspec: {{encryptedData: {{K: {value}}}}}\n"
        );
        let documents = sealed_secrets(object.as_bytes()).unwrap();
        assert_eq!(values(&documents[0])["K"], spelled(text.as_bytes())[0].1);
        assert!(sealed_secrets(b"kind: SealedSecret\na: 1\na: 2\n").is_none());
        assert!(sealed_secrets(b"{{ template }}").unwrap().is_empty());
    }
}
