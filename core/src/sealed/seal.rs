//! Sealing values under one new envelope; needs public keys only.

use std::collections::BTreeMap;

use zeroize::Zeroizing;

use super::envelope::EnvelopePlaintext;
use super::{Context, EnvelopeId, SealedEnvelope, limits, value};
use crate::keys::RecipientSet;
use crate::names;

/// What one sealing operation adds to an object: one envelope, and the values under it.
#[derive(Clone, Debug)]
pub struct Sealed {
    /// Id of the new envelope.
    pub id: EnvelopeId,
    /// The new envelope.
    pub envelope: SealedEnvelope,
    /// The texts for `encryptedData`, by key.
    pub values: BTreeMap<String, String>,
}

/// Why values cannot be sealed. Never contains a value or its length.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Kubernetes would refuse the key.
    #[error(
        "{0:?} is not a key that Kubernetes allows: 1 to 253 letters, digits, '-', '_' and '.', \
         not beginning with '..'"
    )]
    KeyName(String),
    /// The object would be too large to be opened.
    #[error("too large to seal: {size} bytes as JSON, but at most {limit} are allowed")]
    TooLarge {
        /// Bytes that the values would need, from public sizes after padding.
        size: usize,
        /// Bytes that fit.
        limit: usize,
    },
    /// The system's random source or the cryptography failed.
    #[error("sealing failed inside the age library")]
    Age,
}

/// Seals values for an object under one new envelope with a fresh data key. The key is consumed
/// here, so no later operation can use it.
pub fn seal(
    values: &BTreeMap<String, Zeroizing<Vec<u8>>>,
    context: &Context,
    recipients: &RecipientSet,
    render: bool,
) -> Result<Sealed, SealError> {
    if let Some(key) = values.keys().find(|key| !names::is_secret_key(key)) {
        return Err(SealError::KeyName(names::printable(key)));
    }
    let size = values
        .iter()
        .map(|(key, bytes)| key.len() + 6 + value::sealed_text_size(bytes.len()))
        .sum();
    if size > limits::OBJECT_BYTES {
        return Err(SealError::TooLarge {
            size,
            limit: limits::OBJECT_BYTES,
        });
    }
    let plaintext = EnvelopePlaintext::fresh(context, render, recipients.fingerprints());
    let id = plaintext.id;
    let envelope = plaintext.seal(recipients).map_err(|_| SealError::Age)?;
    let values = values
        .iter()
        .map(|(key, bytes)| {
            let text =
                value::seal(bytes, &plaintext.key, context, key, id).ok_or(SealError::Age)?;
            Ok((key.clone(), text))
        })
        .collect::<Result<_, SealError>>()?;
    Ok(Sealed {
        id,
        envelope,
        values,
    })
}
