//! One sealed value: its text and its encryption.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use chacha20poly1305::aead::AeadInPlace;
use chacha20poly1305::{KeyInit, XChaCha20Poly1305};
use rand_core::{OsRng, RngCore};
use zeroize::Zeroizing;

use super::envelope::DataKey;
use super::{Context, EnvelopeId, OpenError, Rule};
use crate::names;

const PREFIX: &str = "sk1.";
const NONCE: usize = 24;
const TAG: usize = 16;
const LENGTH: usize = 4;
/// First text of the associated data: the format's own name, not the resource's apiVersion.
const DOMAIN: &str = "sealkit.dev/v1";

/// A value whose public text was checked: the envelope that it names, and nonce ‖ ciphertext ‖ tag.
#[derive(Clone, Debug)]
pub(super) struct CheckedValue {
    pub(super) id: EnvelopeId,
    bytes: Vec<u8>,
}

impl CheckedValue {
    /// Checks the text of `encryptedData[key]`.
    pub(super) fn parse(key: &str, text: &str) -> Result<Self, OpenError> {
        let reject = |rule, what| {
            OpenError::new(
                rule,
                format!("value of {:?}: {what}", names::printable(key)),
            )
        };
        let parts = || {
            let (id, encoded) = text.strip_prefix(PREFIX)?.split_once('.')?;
            let url_safe = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
            encoded
                .bytes()
                .all(url_safe)
                .then_some((id.parse().ok()?, encoded))
        };
        let (id, encoded) = parts()
            .ok_or_else(|| reject(Rule::ValueGrammar, "must be sk1.<envelope id>.<base64url>"))?;
        let bytes = BASE64_URL_SAFE_NO_PAD
            .decode(encoded)
            .map_err(|_| reject(Rule::ValueBase64, "is not canonical base64url"))?;
        let padded = bytes.len().checked_sub(NONCE + TAG);
        if !padded.is_some_and(|padded| padded >= LENGTH && bucket(padded) == padded) {
            return Err(reject(
                Rule::ValueSize,
                "has an invalid size: it was cut or extended",
            ));
        }
        Ok(Self { id, bytes })
    }

    /// Opens the value under its envelope's data key.
    pub(super) fn open(
        &self,
        data_key: &DataKey,
        context: &Context,
        key: &str,
    ) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let refuse = |rule| {
            let key = names::printable(key);
            OpenError::new(rule, format!("value of {key:?} was altered or moved"))
        };
        let (nonce, sealed) = self.bytes.split_at(NONCE);
        let (ciphertext, tag) = sealed.split_at(sealed.len() - TAG);
        let mut plaintext = Zeroizing::new(ciphertext.to_vec());
        XChaCha20Poly1305::new(data_key.bytes().into())
            .decrypt_in_place_detached(
                nonce.into(),
                &associated_data(context, key, self.id),
                &mut plaintext,
                tag.into(),
            )
            .map_err(|_| refuse(Rule::ValueAead))?;
        let (length, rest) = plaintext.split_at(LENGTH);
        let length = u32::from_be_bytes([length[0], length[1], length[2], length[3]]) as usize;
        let (value, padding) = rest
            .split_at_checked(length)
            .ok_or_else(|| refuse(Rule::ValueLength))?;
        if bucket(LENGTH + length) != plaintext.len() {
            return Err(refuse(Rule::ValueBucket));
        }
        if padding.iter().any(|byte| *byte != 0) {
            return Err(refuse(Rule::ValuePadding));
        }
        Ok(Zeroizing::new(value.to_vec()))
    }
}

/// Seals one value: the text for `encryptedData[key]`. `None` when the value is too long for the
/// 4-byte length.
pub(super) fn seal(
    value: &[u8],
    data_key: &DataKey,
    context: &Context,
    key: &str,
    id: EnvelopeId,
) -> Option<String> {
    let length = u32::try_from(value.len()).ok()?.to_be_bytes();
    let padded = bucket(LENGTH + value.len());
    let mut plaintext = Zeroizing::new(Vec::with_capacity(padded));
    plaintext.extend_from_slice(&length);
    plaintext.extend_from_slice(value);
    plaintext.resize(padded, 0);
    let mut nonce = [0; NONCE];
    OsRng.fill_bytes(&mut nonce);
    let tag = XChaCha20Poly1305::new(data_key.bytes().into())
        .encrypt_in_place_detached(
            (&nonce).into(),
            &associated_data(context, key, id),
            &mut plaintext,
        )
        .ok()?;
    let sealed = [nonce.as_slice(), &plaintext, &tag].concat();
    Some(format!(
        "{PREFIX}{id}.{}",
        BASE64_URL_SAFE_NO_PAD.encode(sealed)
    ))
}

/// Six texts, each preceded by its length as 4 bytes, big-endian.
fn associated_data(context: &Context, key: &str, id: EnvelopeId) -> Vec<u8> {
    let scope = context.scope().name();
    let texts = [
        DOMAIN,
        scope,
        context.namespace(),
        context.name(),
        key,
        id.as_str(),
    ];
    let mut data = Vec::with_capacity(texts.iter().map(|text| 4 + text.len()).sum());
    for text in texts {
        // Names are at most 253 bytes.
        data.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
        data.extend_from_slice(text.as_bytes());
    }
    data
}

/// The padded length of `length` bytes (4-byte length included): 64, 128, 256, 512, 1024, then
/// Padmé (Nikitin et al., "Reducing Metadata Leakage from Encrypted Files", 2019).
fn bucket(length: usize) -> usize {
    if length <= 1024 {
        return length.next_power_of_two().max(64);
    }
    let exponent = length.ilog2();
    let significant = exponent.ilog2() + 1;
    let step = 1 << (exponent - significant);
    length.div_ceil(step) * step
}

/// The most bytes that a value can have whose sealed text is this, as everybody can tell from it. 0
/// for a text that is no sealed value.
pub fn public_size(text: &str) -> usize {
    let encoded = text.rsplit('.').next().unwrap_or_default();
    (encoded.len() * 3 / 4).saturating_sub(NONCE + TAG + LENGTH)
}

/// The most bytes of the values that have sealed texts as long as one of `length` bytes has.
pub fn size_class(length: usize) -> usize {
    bucket(LENGTH + length) - LENGTH
}

/// Bytes of the text of a sealed value of `length` bytes, for size estimates before sealing.
pub(super) fn sealed_text_size(length: usize) -> usize {
    let bytes = NONCE + bucket(LENGTH + length) + TAG;
    PREFIX.len() + 33 + (bytes * 4).div_ceil(3)
}

#[cfg(test)]
mod tests {
    use super::super::limits;
    use super::*;

    #[test]
    fn buckets_are_those_of_the_format() {
        let table = [
            (4, 64),
            (64, 64),
            (65, 128),
            (128, 128),
            (129, 256),
            (512, 512),
            (513, 1024),
            (1024, 1024),
            (1025, 1088),
            (1088, 1088),
            (1089, 1152),
            (65_537, 67_584),
            (1_000_000, 1_015_808),
        ];
        for (length, padded) in table {
            assert_eq!(bucket(length), padded, "{length}");
            assert_eq!(bucket(padded), padded, "a bucket is its own: {padded}");
        }
    }

    #[test]
    fn size_estimates_are_exact() {
        let context = Context::new(super::super::Scope::Strict, "shop", "db").unwrap();
        let key = DataKey::random();
        let id = EnvelopeId::of(key.bytes(), false);
        for length in [0, 1, 60, 61, 1020, 1021, 5000] {
            let text = seal(&vec![7; length], &key, &context, "K", id).unwrap();
            assert_eq!(text.len(), sealed_text_size(length), "{length}");
            assert_eq!(public_size(&text), size_class(length), "{length}");
            assert!(size_class(length) >= length, "{length}");
        }
        assert_eq!(sealed_text_size(0), limits::VALUE_CHARACTERS);
    }
}
