//! What stands in no object that can be read: values and envelopes in templates of charts, and files
//! that are not there.

use sealkit_core::lint::{FileKind, Rule, lint};
use sealkit_core::manifest::Document;

use super::Verifier;
use crate::error::Result;
use crate::files::tree::Tree;
use crate::git::repository::Location;
use crate::sealed_text::loose_for_others;

/// Is it a file that another program fills in before it is YAML?
pub(super) fn is_template(bytes: &[u8]) -> bool {
    bytes.windows(2).any(|window| window == b"{{")
}

impl Verifier {
    /// A template of a chart: values in plain text, and envelopes for others than its path says.
    /// Before a commit, `seal lint` looks at the values.
    pub(super) fn template(&mut self, place: &Location, bytes: &[u8]) -> Result<()> {
        if self.is_index || self.unchanged {
            return Ok(());
        }
        let findings = lint(bytes, FileKind::Manifest, &|_| None).findings;
        let plain = findings
            .iter()
            .filter(|finding| finding.rule == Rule::PlaintextSecret);
        for finding in plain {
            let detail = format!("line {}: {}", finding.place.line, finding.message);
            self.find(&place.given, None, "PlaintextSecret", detail);
        }
        self.loose(place, bytes, &[])
    }

    /// Envelopes in no SealedSecret that was read: what they claim is all that is known of them. Those
    /// that nobody resealed stand in the way of no commit and no request.
    pub(super) fn loose(
        &mut self,
        place: &Location,
        bytes: &[u8],
        documents: &[Document],
    ) -> Result<()> {
        let Ok(text) = std::str::from_utf8(bytes) else {
            return Ok(());
        };
        if self.is_index || self.unchanged {
            return Ok(());
        }
        let Some(chosen) = self.wanted.at(place)? else {
            return Ok(());
        };
        let count = loose_for_others(text, documents, &chosen.set.fingerprints());
        if count > 0 {
            let detail = format!(
                "{count} envelopes outside of any SealedSecret that can be read, as in a template or in values of a chart, claim other recipients than the path requires: `seal reseal`"
            );
            self.find(&place.given, None, "OtherRecipients", detail);
        }
        Ok(())
    }

    /// What Git tracks and did not check out. What a request changes there is found elsewhere.
    pub(super) fn absent(&mut self, tree: &Tree) -> Result<()> {
        if self.base.is_some() {
            return Ok(());
        }
        for (path, why) in &tree.absent {
            if self.is_ignored(&Location::of(path)?)? {
                continue;
            }
            self.find(path, None, "NotCheckedOut", (*why).to_owned());
        }
        Ok(())
    }
}
