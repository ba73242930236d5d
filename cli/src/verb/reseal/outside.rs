//! Envelopes that stand in no SealedSecret that can be read: in templates and values of charts, in
//! patches.

use std::collections::{BTreeMap, BTreeSet};

use sealkit_core::keys::KeyRing;
use sealkit_core::manifest::{self, Document, loose_envelopes};
use sealkit_core::sealed::{EnvelopeId, SealedEnvelope, unwrap_envelope};

use super::file::{FileOutcome, Job, missing, missing_from};
use crate::error::{CommandError, Result};
use crate::sealed_text::{AGE_FILE, inside, loose_for_others};

impl Job {
    /// Those that a key opens, sealed to the recipients of the path. Their values cannot be told, and
    /// stay as they are.
    pub(super) fn loose(
        &self,
        text: &str,
        documents: &[Document],
        ring: &KeyRing,
        outcome: &mut FileOutcome,
    ) -> Result<BTreeMap<EnvelopeId, SealedEnvelope>> {
        let mut new = BTreeMap::new();
        let Some(wanted) = self.wanted.as_deref().filter(|_| text.contains(AGE_FILE)) else {
            return Ok(new);
        };
        let inside: BTreeSet<&str> = inside(documents).collect();
        let mut loose = loose_envelopes(text);
        loose.retain(|id, _| !inside.contains(id.as_str()));
        for (id, entry) in &loose {
            // What stays is found by its claims.
            let Ok(envelope) = unwrap_envelope(*id, entry, ring) else {
                continue;
            };
            if envelope.is_current(wanted) {
                continue;
            }
            outcome.dropped.extend(missing(envelope.to(), wanted));
            outcome.added.extend(missing_from(envelope.to(), wanted));
            outcome.changed += 1;
            new.insert(*id, envelope.seal_to(wanted).map_err(CommandError::bug)?);
        }
        Ok(new)
    }

    /// Finds those that claim other recipients than the path requires: all that is known of them.
    pub(super) fn look_outside(
        &self,
        text: &str,
        documents: &[Document],
        outcome: &mut FileOutcome,
    ) {
        let wanted = self.wanted.as_ref().map(|set| set.fingerprints());
        let count = loose_for_others(text, documents, &wanted.unwrap_or_default());
        if count > 0 {
            let detail = format!(
                "{count} envelopes outside of any SealedSecret that can be read, as in a template or in values of a chart, are sealed to other keys than the path requires: reseal them with one of their private keys (-i FILE), or seal the values again"
            );
            outcome.find(&self.file.place, None, "NeedsReseal", detail);
        }
    }
}

/// A text with these envelopes in the place of those of the same ids.
pub(super) fn edit_loose(
    text: &str,
    envelopes: &BTreeMap<EnvelopeId, SealedEnvelope>,
) -> Result<String> {
    if envelopes.is_empty() {
        return Ok(text.to_owned());
    }
    manifest::edit_loose(text, envelopes).map_err(CommandError::input)
}
