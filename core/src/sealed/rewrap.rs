//! Seals an envelope to other recipients, without touching a value.

use std::collections::BTreeSet;

use super::envelope::EnvelopePlaintext;
use super::{
    EnvelopeId, OpenError, OpenedEnvelope, Scope, SealError, SealedEnvelope, unwrap_envelope,
};
use crate::keys::{
    Fingerprint, KeyError, KeyRing, KeyType, Recipient, RecipientSet, TrustedRecipients,
};

/// An opened envelope, which can be sealed to others. It reveals nothing about any value, and its
/// data key stays inside. No Debug; wiped when dropped.
pub struct Unwrapped {
    pub(super) plaintext: EnvelopePlaintext,
    pub(super) key_type: KeyType,
    pub(super) opened_by: Fingerprint,
    pub(super) hints_are_true: bool,
    pub(super) stanzas: usize,
}

impl Unwrapped {
    /// The fingerprints of all its recipients, sorted, as authenticated.
    pub fn to(&self) -> &[Fingerprint] {
        &self.plaintext.to
    }

    /// The key that opened it.
    pub fn opened_by(&self) -> Fingerprint {
        self.opened_by
    }

    /// Does the manifest show the recipients that it is sealed to?
    pub fn hints_are_true(&self) -> bool {
        self.hints_are_true
    }

    /// The namespace that it is bound to; `None` if it may be used in any namespace.
    pub fn namespace(&self) -> Option<&str> {
        (self.plaintext.scope != Scope::ClusterWide).then_some(&*self.plaintext.namespace)
    }

    /// What it was sealed for, for people.
    pub fn sealed_for(&self) -> String {
        self.plaintext.sealed_for()
    }

    /// Is it sealed to exactly these recipients, and do its hints say so? age is randomised, so
    /// recipients and not bytes decide whether it must be sealed again.
    pub fn is_current(&self, recipients: &RecipientSet) -> bool {
        self.hints_are_true && self.plaintext.to == recipients.fingerprints()
    }

    /// The rewrap of `docs/design/format.md`, section 10: the same envelope, sealed to exactly
    /// these recipients with a fresh file key. Id, scope, names, render and data key stay byte for
    /// byte; no value is touched. Error: [`SealError::Age`].
    pub fn seal_to(mut self, recipients: &RecipientSet) -> Result<SealedEnvelope, SealError> {
        self.plaintext.to = recipients.fingerprints();
        self.plaintext.seal(recipients).map_err(|_| SealError::Age)
    }

    /// Rewraps without a list of recipients: they come from the opened envelope, each replaced by
    /// its successor. Nobody is added and nobody is lost. The result is opened again with a key of
    /// `ring` and compared. `None` if the envelope is current already.
    pub fn succeed(
        self,
        successors: &Successors<'_>,
        ring: &KeyRing,
    ) -> Result<Option<SealedEnvelope>, RewrapError> {
        if self.stanzas != self.plaintext.to.len() {
            return Err(RewrapError::Stanzas);
        }
        let recipients = successors.of(&self.plaintext.to)?;
        if self.is_current(&recipients) {
            return Ok(None);
        }
        let id = self.plaintext.id;
        let mut expected = self.plaintext;
        expected.to = recipients.fingerprints();
        let envelope = expected
            .seal(&recipients)
            .map_err(|_| RewrapError::Seal(SealError::Age))?;
        if holds(id, &envelope, ring, &expected).map_err(RewrapError::Reopened)? {
            Ok(Some(envelope))
        } else {
            Err(RewrapError::Altered)
        }
    }

    pub(super) fn into_opened(self) -> OpenedEnvelope {
        OpenedEnvelope {
            key_type: self.key_type,
            to: self.plaintext.to,
            opened_by: self.opened_by,
        }
    }
}

/// Opens a new envelope and compares it.
fn holds(
    id: EnvelopeId,
    envelope: &SealedEnvelope,
    ring: &KeyRing,
    expected: &EnvelopePlaintext,
) -> Result<bool, OpenError> {
    let entry = serde_json::json!({
        "recipients": envelope.recipients, "ageFile": envelope.age_file,
    });
    let again = unwrap_envelope(id, &entry, ring)?;
    Ok(again.hints_are_true && *again.plaintext.encode() == *expected.encode())
}

/// The successors of recipients when a cluster rewraps.
pub struct Successors<'a> {
    /// Fingerprints of all keys of this cluster, in whatever state.
    pub own: &'a BTreeSet<Fingerprint>,
    /// The key that succeeds them.
    pub newest: &'a Recipient,
    /// Everybody else that envelopes may be sealed to.
    pub trusted: &'a TrustedRecipients,
}

impl Successors<'_> {
    /// The successors of these recipients; equal ones merge. Errors: [`RewrapError::Unknown`] names
    /// all recipients without a successor, [`RewrapError::Recipients`].
    pub fn of(&self, to: &[Fingerprint]) -> Result<RecipientSet, RewrapError> {
        let successor = |fingerprint: &Fingerprint| {
            if self.own.contains(fingerprint) {
                return Some(self.newest);
            }
            let trusted = self.trusted.successor(fingerprint)?;
            let is_own = self.own.contains(&trusted.fingerprint());
            Some(if is_own { self.newest } else { trusted })
        };
        let unknown: Vec<_> = to.iter().filter(|to| successor(to).is_none()).collect();
        if !unknown.is_empty() {
            return Err(RewrapError::Unknown(unknown.into_iter().copied().collect()));
        }
        let recipients = to.iter().filter_map(successor).cloned();
        RecipientSet::new(recipients).map_err(RewrapError::Recipients)
    }
}

/// Why an envelope was not rewrapped.
#[derive(Debug, thiserror::Error)]
pub enum RewrapError {
    /// Recipients without a known successor.
    #[error("it is also sealed to {}, unknown to this cluster", short(.0))]
    Unknown(Vec<Fingerprint>),
    /// A stanza that is not in the envelope's list of recipients.
    #[error("its number of stanzas differs from its number of recipients")]
    Stanzas,
    /// The successors cannot share an envelope.
    #[error("the successors of its recipients cannot share an envelope: {0}")]
    Recipients(KeyError),
    /// age refused.
    #[error(transparent)]
    Seal(SealError),
    /// The new envelope does not open.
    #[error("the new envelope does not open: {0}")]
    Reopened(OpenError),
    /// The new envelope contains something else.
    #[error("the new envelope does not hold what the old one does")]
    Altered,
}

fn short(fingerprints: &[Fingerprint]) -> String {
    let texts: Vec<_> = fingerprints.iter().map(Fingerprint::short).collect();
    texts.join(", ")
}
