//! Envelopes: what their public text claims and what their plaintext contains.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rand_core::{OsRng, RngCore};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::age_file::{self, AgeFile};
use super::{Context, OpenError, Rule, Scope, limits};
use crate::keys::{Fingerprint, KeyType, RecipientSet};

/// Id of an envelope within its object: 16 lower-case hex characters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EnvelopeId([u8; 16]);

impl EnvelopeId {
    /// A new random id. Ids of `[0-9e]` only are drawn again, because YAML tools read them as
    /// numbers.
    pub fn random() -> Self {
        loop {
            let text = format!("{:016x}", OsRng.next_u64());
            if text.bytes().any(|byte| matches!(byte, b'a'..=b'd' | b'f'))
                && let Ok(id) = text.parse()
            {
                return id;
            }
        }
    }

    /// The 16 characters.
    pub fn as_str(&self) -> &str {
        // Hex digits by construction.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl FromStr for EnvelopeId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let bytes: [u8; 16] = text.as_bytes().try_into().map_err(|_| ())?;
        let hex = bytes
            .iter()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        hex.then_some(Self(bytes)).ok_or(())
    }
}

impl fmt::Display for EnvelopeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for EnvelopeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EnvelopeId({self})")
    }
}

/// An envelope as it is in a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SealedEnvelope {
    /// Fingerprints; entry i belongs to the i-th stanza of an accepted type. Not authenticated.
    pub recipients: Vec<String>,
    /// Standard base64 of a binary age v1 file.
    pub sealed_key: String,
}

/// The data key of an envelope. Wiped when dropped; no Debug, no Serialize.
pub(super) struct DataKey(Zeroizing<[u8; 32]>);

impl DataKey {
    pub(super) fn random() -> Self {
        let mut key = Zeroizing::new([0; 32]);
        OsRng.fill_bytes(key.as_mut_slice());
        Self(key)
    }

    pub(super) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// The content of an opened envelope, all of it authentic.
pub(super) struct EnvelopePlaintext {
    pub(super) id: EnvelopeId,
    pub(super) scope: Scope,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) render: bool,
    pub(super) to: Vec<Fingerprint>,
    pub(super) key: DataKey,
}

/// The eight fields, in order. `&str` refuses escapes, so that every text has one spelling and
/// nothing secret is copied.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Fields<'a> {
    v: u64,
    id: &'a str,
    scope: &'a str,
    namespace: &'a str,
    name: &'a str,
    render: bool,
    #[serde(borrow)]
    to: Vec<&'a str>,
    key: &'a str,
}

impl EnvelopePlaintext {
    pub(super) fn new(
        id: EnvelopeId,
        context: &Context,
        render: bool,
        to: Vec<Fingerprint>,
        key: DataKey,
    ) -> Self {
        let (namespace, name) = (context.namespace().to_owned(), context.name().to_owned());
        Self {
            id,
            scope: context.scope(),
            namespace,
            name,
            render,
            to,
            key,
        }
    }

    /// The canonical JSON.
    pub(super) fn encode(&self) -> Zeroizing<Vec<u8>> {
        let to: Vec<String> = self.to.iter().map(ToString::to_string).collect();
        let key = Zeroizing::new(BASE64_STANDARD.encode(self.key.bytes()));
        let fields = Fields {
            v: 1,
            id: self.id.as_str(),
            scope: self.scope.name(),
            namespace: &self.namespace,
            name: &self.name,
            render: self.render,
            to: to.iter().map(String::as_str).collect(),
            key: &key,
        };
        encode(&fields)
    }

    /// Parses strictly: fields, version, grammar, and byte equality with the canonical form.
    pub(super) fn decode(plaintext: &[u8]) -> Result<Self, OpenError> {
        let malformed = |rule| OpenError::new(rule, "the opened envelope is malformed");
        let fields: Fields<'_> =
            serde_json::from_slice(plaintext).map_err(|_| malformed(Rule::EnvelopeFields))?;
        if fields.v != 1 {
            return Err(malformed(Rule::EnvelopeVersion));
        }
        if encode(&fields).as_slice() != plaintext {
            return Err(malformed(Rule::EnvelopeCanonical));
        }
        let names = || malformed(Rule::EnvelopeNames);
        let id = fields.id.parse().map_err(|()| names())?;
        let scope: Scope = fields.scope.parse().map_err(|()| names())?;
        let context = Context::new(scope, fields.namespace, fields.name).map_err(|_| names())?;
        if context.namespace() != fields.namespace || context.name() != fields.name {
            return Err(names());
        }
        let to = fields
            .to
            .iter()
            .map(|text| text.parse())
            .collect::<Result<Vec<Fingerprint>, ()>>()
            .map_err(|()| malformed(Rule::EnvelopeTo))?;
        let sorted = to.windows(2).all(|pair| pair[0] < pair[1]);
        if !sorted || !(1..=limits::RECIPIENTS).contains(&to.len()) {
            return Err(malformed(Rule::EnvelopeTo));
        }
        let mut key = DataKey(Zeroizing::new([0; 32]));
        match BASE64_STANDARD.decode_slice(fields.key, key.0.as_mut_slice()) {
            Ok(32) => {}
            _ => return Err(malformed(Rule::EnvelopeKey)),
        }
        Ok(Self::new(id, &context, fields.render, to, key))
    }

    /// What it was sealed for, for people.
    pub(super) fn sealed_for(&self) -> String {
        Context::new(self.scope, &self.namespace, &self.name).map_or_else(
            |_| "another object".to_owned(),
            |context| context.to_string(),
        )
    }

    /// Seals the envelope to its recipients.
    pub(super) fn seal(
        &self,
        recipients: &RecipientSet,
    ) -> Result<SealedEnvelope, age::EncryptError> {
        let file = age_file::encrypt(&self.encode(), recipients)?;
        Ok(SealedEnvelope {
            recipients: self.to.iter().map(ToString::to_string).collect(),
            sealed_key: BASE64_STANDARD.encode(file),
        })
    }
}

fn encode(fields: &Fields<'_>) -> Zeroizing<Vec<u8>> {
    // One allocation of the largest legal size, so that no key stays behind in a smaller one.
    let mut json = Zeroizing::new(Vec::with_capacity(limits::ENVELOPE_PLAINTEXT_BYTES + 64));
    #[expect(clippy::expect_used, reason = "texts, numbers and a bool into memory")]
    serde_json::to_writer(&mut *json, fields).expect("encodes");
    json
}

/// The recipients that an envelope claims to have. Only opening it proves them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The hints, one for each stanza.
    pub to: Vec<Fingerprint>,
    /// The type of all stanzas.
    pub key_type: KeyType,
}

impl Claim {
    /// Checks every rule that the public text of an envelope can break.
    pub fn of(id: EnvelopeId, entry: &serde_json::Value) -> Result<Self, OpenError> {
        let checked = CheckedEnvelope::parse(id, entry)?;
        Ok(Self {
            key_type: checked.file.key_type(),
            to: checked.hints,
        })
    }

    /// Does it claim exactly these recipients?
    pub fn is_for(&self, recipients: &RecipientSet) -> bool {
        self.to == recipients.fingerprints()
            && recipients
                .iter()
                .all(|recipient| recipient.key_type() == self.key_type)
    }
}

/// An envelope whose public text was checked.
#[derive(Clone, Debug)]
pub(super) struct CheckedEnvelope {
    pub(super) hints: Vec<Fingerprint>,
    pub(super) file: AgeFile,
}

impl CheckedEnvelope {
    /// Checks the entry of `envelopes` under `id`.
    pub(super) fn parse(id: EnvelopeId, entry: &serde_json::Value) -> Result<Self, OpenError> {
        let reject = |rule, what: &str| OpenError::new(rule, format!("envelope {id}: {what}"));
        let fields = || {
            let entry = entry.as_object().filter(|entry| entry.len() == 2)?;
            Some((
                entry.get("recipients")?.as_array()?,
                entry.get("sealedKey")?.as_str()?,
            ))
        };
        let Some((recipients, sealed_key)) = fields() else {
            let what = "must have recipients (a list) and sealedKey (a string), and nothing else";
            return Err(reject(Rule::EnvelopeEntry, what));
        };
        if !(1..=limits::RECIPIENTS).contains(&recipients.len()) {
            return Err(reject(Rule::RecipientCount, "must have 1 to 32 recipients"));
        }
        let hints = recipients
            .iter()
            .map(|hint| hint.as_str().ok_or(()).and_then(str::parse))
            .collect::<Result<Vec<Fingerprint>, ()>>()
            .map_err(|()| {
                reject(
                    Rule::HintGrammar,
                    "a recipient is not 32 lower-case hex characters",
                )
            })?;
        if hints
            .iter()
            .enumerate()
            .any(|(index, hint)| hints[..index].contains(hint))
        {
            return Err(reject(Rule::HintsDuplicate, "names a recipient twice"));
        }
        // Base64 of the largest header and payload.
        if sealed_key.len() > (limits::HEADER_BYTES + limits::PAYLOAD_BYTES).div_ceil(3) * 4 {
            return Err(reject(Rule::SealedKeySize, "sealedKey is too long"));
        }
        let file = BASE64_STANDARD
            .decode(sealed_key)
            .map_err(|_| reject(Rule::SealedKeyBase64, "sealedKey is not canonical base64"))?;
        let file = AgeFile::parse(file).map_err(|error| reject(error.rule, &error.detail))?;
        if file.recipients() != hints.len() {
            return Err(reject(
                Rule::HintsCount,
                "must have one recipient for each age stanza",
            ));
        }
        Ok(Self { hints, file })
    }
}
