//! The sealed format, version 1: small envelopes sealed to recipients, and values sealed under
//! them.
//!
//! [`seal()`] needs public keys only. [`SealedObject::parse`] makes every check that needs only
//! public text; [`open()`] does the rest with a [`crate::keys::KeyRing`]. The specification is
//! `docs/design/format.md`; each [`Rule`] is one of its rules.

mod age_file;
mod envelope;
mod generate;
mod object;
mod open;
mod rewrap;
mod rule;
mod scope;
mod seal;
mod value;
mod view;

pub use envelope::{Claim, EnvelopeId, SealedEnvelope};
pub use generate::{Alphabet, Pattern, PatternError};
pub use object::{
    SealedObject, compact_size, content_fingerprint, json_size, memory_size, values_fingerprint,
};
pub use open::{Opened, OpenedEnvelope, OpenedValue, Search, open, unwrap, unwrap_envelope};
pub use rewrap::{RewrapError, Successors, Unwrapped};
pub use rule::{Code, OpenError, Rule};
pub use scope::{Context, ContextError, Scope};
pub use seal::{SealError, Sealed, seal};
pub use value::{public_size, size_class};
pub use view::{SealedView, age_file_text, envelope_id};

/// For age's test kit, whose files contain no envelope, and for fuzzing. Not part of the API.
#[doc(hidden)]
pub mod testing {
    use zeroize::Zeroizing;

    use super::OpenError;
    use super::age_file::AgeFile;
    use super::envelope::EnvelopePlaintext;
    use crate::keys::Identity;

    /// Reads the plaintext of an envelope. Returns it in canonical form.
    pub fn decode_envelope(plaintext: &[u8]) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        Ok(EnvelopePlaintext::decode(plaintext)?.encode())
    }

    /// Opens an age file exactly like that of an envelope, trying every key on every stanza.
    pub fn open_age_file(
        bytes: Vec<u8>,
        identities: &[Identity],
    ) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let file = AgeFile::parse(bytes)?;
        let attempts: Vec<_> = identities
            .iter()
            .flat_map(|identity| (0..file.recipients()).map(move |index| (index, identity)))
            .collect();
        Ok(file.decrypt(&attempts)?.0)
    }
}

/// Limits of the format, checked before any cryptography.
pub mod limits {
    /// Envelopes in one object.
    pub const ENVELOPES: usize = 64;
    /// Number of envelopes at which writers warn.
    pub const ENVELOPES_WARN: usize = 16;
    /// Recipients of one envelope: hints, `to` and stanzas of an accepted type alike.
    pub const RECIPIENTS: usize = 32;
    /// Stanzas in one age header, whatever their type.
    pub const STANZAS: usize = 64;
    /// Bytes of an object as compact JSON, without status and managedFields.
    pub const OBJECT_BYTES: usize = 1_200_000;
    /// Characters of the shortest sealed value: `sk1.`, an id, a dot, and the base64url of a nonce,
    /// the smallest bucket and a tag.
    pub const VALUE_CHARACTERS: usize = 176;
    /// Values of one object: no more fit into [`OBJECT_BYTES`], each as `"k":"value",`.
    pub const VALUES: usize = OBJECT_BYTES / (VALUE_CHARACTERS + 7);
    /// Bytes at which writers warn: client-side apply keeps a second copy in an annotation.
    pub const OBJECT_BYTES_WARN: usize = 128 * 1024;
    /// Bytes of an age header, through the line feed of its last line.
    pub const HEADER_BYTES: usize = 131_072;
    /// Bytes of an age file after its header.
    pub const PAYLOAD_BYTES: usize = 2_048;
    /// Bytes of an envelope's plaintext.
    pub const ENVELOPE_PLAINTEXT_BYTES: usize = 2_016;
}
