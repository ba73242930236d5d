use super::envelope::EnvelopePlaintext;
use super::{OpenedEnvelope, SealError, SealedEnvelope};
use crate::keys::{Fingerprint, KeyType, RecipientSet};

/// An opened envelope: what it holds can be sealed to others. It says nothing of any value, and
/// its data key stays inside. No Debug; wiped when dropped.
pub struct Unwrapped {
    pub(super) plaintext: EnvelopePlaintext,
    key_type: KeyType,
    opened_by: Fingerprint,
    hints_are_true: bool,
}

impl Unwrapped {
    pub(super) fn new(
        plaintext: EnvelopePlaintext,
        key_type: KeyType,
        opened_by: Fingerprint,
        hints_are_true: bool,
    ) -> Self {
        Self {
            plaintext,
            key_type,
            opened_by,
            hints_are_true,
        }
    }

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

    /// Is it sealed to exactly these, and does it say so? age is randomised: recipients decide
    /// whether there is work, not bytes.
    pub fn is_current(&self, recipients: &RecipientSet) -> bool {
        self.hints_are_true && self.plaintext.to == recipients.fingerprints()
    }

    /// The rewrap of `docs/design/format.md`, section 10: the same envelope, sealed to exactly
    /// these with a fresh file key. Id, scope, names, render and data key stay byte for byte; no
    /// value is touched. Error: [`SealError::Age`].
    pub fn seal_to(mut self, recipients: &RecipientSet) -> Result<SealedEnvelope, SealError> {
        self.plaintext.to = recipients.fingerprints();
        self.plaintext.seal(recipients).map_err(|_| SealError::Age)
    }

    pub(super) fn into_opened(self) -> OpenedEnvelope {
        OpenedEnvelope {
            key_type: self.key_type,
            to: self.plaintext.to,
            opened_by: self.opened_by,
        }
    }
}
