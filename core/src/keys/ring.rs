//! The private keys that one cluster or person holds.

use std::collections::BTreeMap;

use super::{Fingerprint, Identity, KeyError};

/// The identities that one cluster or person holds, by fingerprint.
#[derive(Clone, Default)]
pub struct KeyRing(BTreeMap<Fingerprint, Identity>);

impl KeyRing {
    /// A ring of these identities. Equal keys merge. Errors with [`KeyError::FingerprintCollision`]
    /// if two different keys share a fingerprint.
    pub fn new(identities: impl IntoIterator<Item = Identity>) -> Result<Self, KeyError> {
        let mut ring = Self::default();
        for identity in identities {
            let fingerprint = identity.fingerprint();
            if let Some(held) = ring.0.get(&fingerprint)
                && held.recipient() != identity.recipient()
            {
                return Err(KeyError::FingerprintCollision(fingerprint));
            }
            ring.0.insert(fingerprint, identity);
        }
        Ok(ring)
    }

    /// The identity of this fingerprint, if held.
    pub fn get(&self, fingerprint: &Fingerprint) -> Option<&Identity> {
        self.0.get(fingerprint)
    }

    /// All identities, by fingerprint.
    pub fn iter(&self) -> impl Iterator<Item = &Identity> {
        self.0.values()
    }

    /// Is the ring empty?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
