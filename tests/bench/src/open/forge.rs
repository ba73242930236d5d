//! Makes objects that no honest writer makes and that are legal all the same: lying hints, grease
//! in every free place. Written from `docs/design/format.md`.

use std::collections::HashSet;
use std::io::Write as _;

use age_core::format::{FileKey, Stanza};
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305};
use rand_core::{OsRng, RngCore};
use sealkit_core::keys::{Fingerprint, KeyType, Recipient};
use sealkit_core::sealed::EnvelopeId;
use serde_json::{Map, Value, json};

use super::{NAME, NAMESPACE, manifest};
use crate::Result;

/// An object in the making.
#[derive(Default)]
pub struct Forge {
    envelopes: Map<String, Value>,
    values: Map<String, Value>,
}

/// What an envelope is made of.
pub struct Shape<'a> {
    /// To whom it is sealed, in the order of stanzas; of one type.
    pub recipients: &'a [&'a Recipient],
    /// What its hints claim, one for each.
    pub hints: &'a [Fingerprint],
    /// Stanzas of no meaning, before the others.
    pub grease: &'a [Stanza],
}

/// An envelope that values can be sealed under.
pub struct Envelope {
    id: EnvelopeId,
    key: [u8; 32],
}

impl Forge {
    /// Adds an envelope.
    pub fn envelope(&mut self, shape: &Shape<'_>) -> Result<Envelope> {
        let mut key = [0; 32];
        OsRng.fill_bytes(&mut key);
        let id = EnvelopeId::of(&key, false);
        let mut to: Vec<Fingerprint> = shape.recipients.iter().map(|r| r.fingerprint()).collect();
        to.sort_unstable();
        let to: Vec<String> = to
            .iter()
            .map(|fingerprint| format!("\"{fingerprint}\""))
            .collect();
        let plaintext = format!(
            r#"{{"v":1,"id":"{id}","scope":"strict","namespace":"{NAMESPACE}","name":"{NAME}","render":false,"to":[{}],"key":"{}"}}"#,
            to.join(","),
            BASE64_STANDARD.encode(key),
        );
        let grease = Grease {
            stanzas: shape.grease,
            labels: labels(shape.recipients),
        };
        let grease = (!shape.grease.is_empty()).then_some(&grease as &dyn age::Recipient);
        let recipients = shape
            .recipients
            .iter()
            .map(|recipient| *recipient as &dyn age::Recipient);
        let encryptor = age::Encryptor::with_recipients(grease.into_iter().chain(recipients))?;
        let mut file = Vec::new();
        let mut writer = encryptor.wrap_output(&mut file)?;
        writer.write_all(plaintext.as_bytes())?;
        writer.finish()?;
        let hints: Vec<String> = shape.hints.iter().map(ToString::to_string).collect();
        let entry = json!({"recipients": hints, "ageFile": BASE64_STANDARD.encode(file)});
        self.envelopes.insert(id.to_string(), entry);
        Ok(Envelope { id, key })
    }

    /// Adds a value of the smallest bucket.
    pub fn value(&mut self, envelope: &Envelope, name: String) -> Result<()> {
        let mut nonce = [0; 24];
        OsRng.fill_bytes(&mut nonce);
        let mut padded = [0; 64];
        padded[3] = 8;
        padded[4..12].copy_from_slice(b"password");
        let mut associated = Vec::new();
        for text in [
            "sealkit.dev/v1",
            "strict",
            NAMESPACE,
            NAME,
            &name,
            envelope.id.as_str(),
        ] {
            associated.extend_from_slice(&u32::try_from(text.len())?.to_be_bytes());
            associated.extend_from_slice(text.as_bytes());
        }
        let ciphertext = XChaCha20Poly1305::new((&envelope.key).into())
            .encrypt(
                (&nonce).into(),
                Payload {
                    msg: &padded,
                    aad: &associated,
                },
            )
            .map_err(|_| "a value could not be encrypted")?;
        let sealed = BASE64_URL_SAFE_NO_PAD.encode([nonce.as_slice(), &ciphertext].concat());
        self.values
            .insert(name, format!("sk1.{}.{sealed}", envelope.id).into());
        Ok(())
    }

    /// Fills the object with small values up to the format's limit.
    pub fn fill(&mut self, envelope: &Envelope) -> Result<()> {
        // `"fill00000":"sk1.<32>.<139>",`
        const ENTRY: usize = 11 + 1 + 178 + 1;
        let size = self.text().len();
        for number in 0..(sealkit_core::sealed::limits::OBJECT_BYTES - size) / ENTRY {
            self.value(envelope, format!("fill{number:05}"))?;
        }
        Ok(())
    }

    /// How many values it has.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// The object as compact JSON.
    pub fn text(&self) -> String {
        manifest(json!(self.envelopes), json!(self.values), Value::Null).to_string()
    }
}

/// Puts stanzas of no meaning into a header.
struct Grease<'a> {
    stanzas: &'a [Stanza],
    labels: HashSet<String>,
}

impl age::Recipient for Grease<'_> {
    fn wrap_file_key(
        &self,
        _: &FileKey,
    ) -> std::result::Result<(Vec<Stanza>, HashSet<String>), age::EncryptError> {
        let copy = |stanza: &Stanza| Stanza {
            tag: stanza.tag.clone(),
            args: stanza.args.clone(),
            body: stanza.body.clone(),
        };
        Ok((self.stanzas.iter().map(copy).collect(), self.labels.clone()))
    }
}

/// age lets only recipients of equal labels share a file.
fn labels(recipients: &[&Recipient]) -> HashSet<String> {
    let hybrid = recipients
        .iter()
        .any(|recipient| recipient.key_type() == KeyType::Hybrid);
    hybrid
        .then(|| "postquantum".to_owned())
        .into_iter()
        .collect()
}
