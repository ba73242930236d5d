//! Envelopes: what their public text claims and what their plaintext contains.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use data_encoding::BASE32_NOPAD;
use rand_core::{OsRng, RngCore};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::age_file::{self, AgeFile};
use super::{Context, OpenError, Rule, Scope, limits};
use crate::keys::{Fingerprint, KeyType, RecipientSet};

/// First part of what an id is a hash of: what the hash is for.
const ID_DOMAIN: &[u8] = b"sealkit.dev/v1/id\0";

/// Id of an envelope: 32 characters of lower-case base32 (RFC 4648), which commit to its data key
/// and to whether templates may read its values. So the text of a value, which names the id,
/// determines the plaintext (docs/design/format.md, section 11).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EnvelopeId([u8; 32]);

impl EnvelopeId {
    /// Characters of every id.
    pub const LENGTH: usize = 32;

    /// The id of the envelope with this data key, whose values templates may read or may not.
    pub fn of(data_key: &[u8; 32], render: bool) -> Self {
        let mut hash = Sha256::new();
        hash.update(ID_DOMAIN);
        hash.update([u8::from(render)]);
        hash.update(data_key);
        let digest = hash.finalize_reset();
        // The buffer still holds the data key and is not wiped when dropped: write over it.
        hash.update([0; 63]);
        std::hint::black_box(&hash);
        let mut text = [0; 32];
        BASE32_NOPAD.encode_mut(&digest[..20], &mut text);
        text.make_ascii_lowercase();
        Self(text)
    }

    /// Would YAML tools take it for a number, without quotes?
    fn reads_as_number(&self) -> bool {
        self.0.iter().all(|byte| matches!(byte, b'2'..=b'7' | b'e'))
    }

    /// The 32 characters.
    pub fn as_str(&self) -> &str {
        // Letters and digits by construction.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl FromStr for EnvelopeId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let bytes: [u8; 32] = text.as_bytes().try_into().map_err(|_| ())?;
        let base32 = bytes
            .iter()
            .all(|byte| matches!(byte, b'2'..=b'7' | b'a'..=b'z'));
        base32.then_some(Self(bytes)).ok_or(())
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
    pub age_file: String,
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
    /// A new envelope with a fresh data key, and so with a fresh id.
    pub(super) fn fresh(context: &Context, render: bool, to: Vec<Fingerprint>) -> Self {
        loop {
            let key = DataKey::random();
            let id = EnvelopeId::of(key.bytes(), render);
            if !id.reads_as_number() {
                return Self::new(id, context, render, to, key);
            }
        }
    }

    fn new(
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

    /// Parses strictly: fields, version, grammar, and byte equality with the canonical form. Then
    /// the id must be that of the data key and of `render`.
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
        let grammar = || malformed(Rule::EnvelopeGrammar);
        let id = fields.id.parse().map_err(|()| grammar())?;
        let scope: Scope = fields.scope.parse().map_err(|()| grammar())?;
        let context = Context::new(scope, fields.namespace, fields.name).map_err(|_| grammar())?;
        if context.namespace() != fields.namespace || context.name() != fields.name {
            return Err(grammar());
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
        if EnvelopeId::of(key.bytes(), fields.render) != id {
            let what = "it holds another data key or another `render` than its id stands for";
            return Err(OpenError::new(Rule::EnvelopeCommitment, what));
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
            age_file: BASE64_STANDARD.encode(file),
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
                entry.get("ageFile")?.as_str()?,
            ))
        };
        let Some((recipients, age_file)) = fields() else {
            let what = "must have recipients (a list) and ageFile (a string), and nothing else";
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
        if age_file.len() > (limits::HEADER_BYTES + limits::PAYLOAD_BYTES).div_ceil(3) * 4 {
            return Err(reject(Rule::AgeFileSize, "ageFile is too long"));
        }
        let file = BASE64_STANDARD
            .decode(age_file)
            .map_err(|_| reject(Rule::AgeFileBase64, "ageFile is not canonical base64"))?;
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
