//! Key pairs: age recipients and identities of the two accepted types, their fingerprints, and
//! the ring of identities that one cluster or person holds.

mod classic;
mod fingerprint;
mod hybrid;
mod identity;
mod recipient;
mod ring;
mod trusted;

pub use fingerprint::Fingerprint;
pub use identity::{Identity, parse_identity_file};
pub use recipient::{Recipient, RecipientSet, parse_recipient_file};
pub use ring::KeyRing;
pub use trusted::{SUPERSEDES, TrustedCause, TrustedError, TrustedRecipients, superseded};

/// The two accepted types of keys. An envelope never mixes them (age's rule of labels).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyType {
    /// `mlkem768x25519`: hybrid, safe against a later quantum computer. The default.
    Hybrid,
    /// `X25519`: classic, for short files or old tools.
    Classic,
}

impl KeyType {
    /// The name in resources and in age's stanzas.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hybrid => hybrid::STANZA_TAG,
            Self::Classic => "X25519",
        }
    }

    /// The type of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Hybrid, Self::Classic]
            .into_iter()
            .find(|key_type| key_type.name() == name)
    }

    /// Bytes of the single argument of a stanza of this type: the encapsulated or ephemeral share.
    pub(crate) const fn share_size(self) -> usize {
        match self {
            Self::Hybrid => hybrid::ENCAPSULATED_SIZE,
            Self::Classic => 32,
        }
    }
}

impl std::fmt::Display for KeyType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a key string, a key file or a set of keys is refused. Never contains any part of a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not a recipient of an accepted type.
    #[error("not an age recipient of type mlkem768x25519 (age1pq1…) or X25519 (age1…)")]
    NotARecipient,
    /// A private key instead of a public one.
    #[error("this is a private key, but a recipient (public key) is needed here")]
    PrivateKeyGiven,
    /// Not an identity of an accepted type.
    #[error("not an age identity (AGE-SECRET-KEY-PQ-1… or AGE-SECRET-KEY-1…)")]
    NotAnIdentity,
    /// A key of SSH, which age reads and Sealkit does not.
    #[error("this is an SSH key, but an age key is needed here: `seal keys generate` makes a pair")]
    SshKey,
    /// Recipients are lower-case and identities upper-case in every implementation.
    #[error("wrong case: recipients are lower-case, identities upper-case")]
    WrongCase,
    /// A public key that would give everybody the same shared secret.
    #[error("a low-order public key: anybody could open what is sealed to it")]
    LowOrder,
    /// A public key with a second spelling.
    #[error("a public key that is not in canonical encoding")]
    NonCanonical,
    /// A line of a key file is wrong.
    #[error("line {line}: {cause}")]
    Line {
        /// Number of the line, from 1.
        line: usize,
        /// What is wrong with it.
        cause: Box<KeyError>,
    },
    /// A file without keys.
    #[error("contains no key")]
    Empty,
    /// Too many recipients for one envelope.
    #[error("{0} recipients, but an envelope may have at most 32")]
    TooMany(usize),
    /// Two types of keys for one envelope.
    #[error("recipients of types mlkem768x25519 and X25519 can't share an envelope")]
    MixedTypes,
    /// Two different keys with one fingerprint: one of them was crafted to deceive.
    #[error("two different keys have the fingerprint {0}: both are refused")]
    FingerprintCollision(Fingerprint),
}
