//! The sealed format by hand, from `docs/design/format.md`: what somebody with stock tools does
//! who has no Sealkit.

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305};
use serde_json::{Value, json};

/// An envelope and the object that it is for. Namespace and name as the scope binds them.
pub struct Envelope<'a> {
    pub id: &'a str,
    pub scope: &'a str,
    pub namespace: &'a str,
    pub name: &'a str,
    pub render: bool,
    pub to: &'a [String],
    pub key: [u8; 32],
}

impl Envelope<'_> {
    /// The one spelling of its plaintext.
    pub fn plaintext(&self) -> String {
        let Self {
            id,
            scope,
            namespace,
            name,
            render,
            ..
        } = self;
        let to = self
            .to
            .iter()
            .map(|to| format!("\"{to}\""))
            .collect::<Vec<_>>()
            .join(",");
        let key = BASE64_STANDARD.encode(self.key);
        format!(
            "{{\"v\":1,\"id\":\"{id}\",\"scope\":\"{scope}\",\"namespace\":\"{namespace}\",\
             \"name\":\"{name}\",\"render\":{render},\"to\":[{to}],\"key\":\"{key}\"}}"
        )
    }

    /// The text of a value of at most 60 bytes.
    pub fn seal(&self, item: &str, nonce: [u8; 24], value: &[u8]) -> String {
        let mut padded = u32::try_from(value.len()).unwrap().to_be_bytes().to_vec();
        padded.extend(value);
        assert!(padded.len() <= 64, "one bucket is enough here");
        padded.resize(64, 0);
        let payload = Payload {
            msg: &padded,
            aad: &self.associated_data(item),
        };
        let sealed = self.cipher().encrypt(&nonce.into(), payload).unwrap();
        let bytes = [nonce.as_slice(), &sealed].concat();
        format!("sk1.{}.{}", self.id, BASE64_URL_SAFE_NO_PAD.encode(bytes))
    }

    /// Opens the text of a value.
    pub fn open(&self, item: &str, text: &str) -> Vec<u8> {
        let encoded = text.strip_prefix(&format!("sk1.{}.", self.id)).unwrap();
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(encoded).unwrap();
        let (nonce, sealed) = bytes.split_at(24);
        let payload = Payload {
            msg: sealed,
            aad: &self.associated_data(item),
        };
        let padded = self.cipher().decrypt(nonce.into(), payload).unwrap();
        let length = u32::from_be_bytes(padded[..4].try_into().unwrap()) as usize;
        padded[4..][..length].to_vec()
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(&self.key.into())
    }

    fn associated_data(&self, item: &str) -> Vec<u8> {
        [
            "sealkit.dev/v1",
            self.scope,
            self.namespace,
            self.name,
            item,
            self.id,
        ]
        .iter()
        .flat_map(|text| {
            let length = u32::try_from(text.len()).unwrap().to_be_bytes();
            length.into_iter().chain(text.bytes())
        })
        .collect()
    }
}

/// A `SealedSecret` around envelopes and values.
pub fn object(
    namespace: &str,
    name: &str,
    scope: &str,
    envelopes: &Value,
    values: &Value,
) -> Value {
    json!({
        "apiVersion": "sealkit.dev/v1beta1",
        "kind": "SealedSecret",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"scope": scope, "envelopes": envelopes, "encryptedData": values},
    })
}
