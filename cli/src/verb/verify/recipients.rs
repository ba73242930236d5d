//! Whom envelopes are sealed to, held against what the config wants for their path.

use std::path::Path;

use sealkit_core::keys::Fingerprint;
use sealkit_core::manifest::Document;
use sealkit_core::sealed::{EnvelopeId, SealedView, age_file_text};

use super::Verifier;
use crate::error::Result;
use crate::git::repository::Location;
use crate::report::Finding;
use crate::terminal::quoted;

impl Verifier {
    /// Compares recipients with what the config wants for the path.
    pub(super) fn recipients(
        &mut self,
        place: &Location,
        document: &Document,
        verb: &str,
        envelopes: &[(EnvelopeId, Vec<Fingerprint>)],
    ) -> Result<()> {
        let wanted = self.wanted.at(place)?;
        let wanted = wanted.map(|chosen| chosen.set.fingerprints());
        // As the request itself wants.
        let next = match self.base {
            Some(_) => self.next.at(place)?.map(|chosen| chosen.set.fingerprints()),
            None => None,
        };
        let elsewhere = self.wanted.elsewhere(place)?;
        if wanted.is_none() && !elsewhere.is_empty() {
            self.for_other_branches += 1;
            if self.base.is_some() && !self.unchanged {
                let detail = "its path has rules for other branches alone, so its recipients cannot be compared: name the branch that the request is for with --branch, or add a rule";
                self.find(
                    &place.given,
                    Some(document),
                    "NotCompared",
                    detail.to_owned(),
                );
            }
        }
        for (id, fingerprints) in envelopes {
            let mut sorted = fingerprints.clone();
            sorted.sort_unstable();
            let is_retired = sorted.iter().any(|key| self.names.is_retired(key));
            if !is_retired && wanted.as_ref().is_none_or(|wanted| sorted == *wanted) {
                continue;
            }
            let carried = elsewhere.iter().find(|(_, chosen)| {
                wanted.is_some() && !is_retired && chosen.set.fingerprints() == sorted
            });
            let envelope = SealedView::of(&document.object).envelope(id.as_str());
            if envelope
                .and_then(age_file_text)
                .is_some_and(|text| self.standing.has(text, carried.is_some()))
            {
                continue;
            }
            let mut detail = format!("envelope {id} {verb} {}", self.names.list(&sorted));
            if let Some(wanted) = &wanted {
                let wanted = self.names.list(wanted);
                detail.extend([", but its path requires ", &wanted]);
            }
            let is_meant = next.as_ref() == Some(&sorted);
            let is_new = |key: &Fingerprint| wanted.iter().flatten().all(|wanted| wanted != key);
            let code = match &self.base {
                _ if is_retired && !is_meant => "RetiredKey",
                Some(_) if sorted.iter().any(is_new) => "NewRecipient",
                Some(_) if is_meant => "LostRecipient",
                _ => "OtherRecipients",
            };
            if code == "RetiredKey" {
                detail += "; another key took the place of one: run `seal reseal` on the file";
            } else if let Some((branches, _)) = carried {
                detail += &self.carried(&place.given, branches);
            }
            let mut finding = Finding::new(&place.given, Some(document), code, detail);
            // Nobody can approve a recipient that no config names.
            finding.review &= is_meant;
            self.findings.push(finding);
        }
        Ok(())
    }

    /// What to do with a file that is sealed as other branches want it, as the end of a message.
    fn carried(&self, path: &Path, branches: &str) -> String {
        let path = quoted(&path.to_string_lossy());
        let from = match &self.base {
            Some((base, _)) => quoted(&base.revision),
            None if self.is_index => "HEAD".to_owned(),
            None => "COMMIT".to_owned(),
        };
        let commit = if from == "COMMIT" {
            ", with the commit before the merge"
        } else {
            ""
        };
        format!(
            "; that is for branch {branches}, so a merge may have carried the file over: take that of this branch back (`git checkout {from} -- {path}`{commit}), or run `seal reseal {path}` if its values belong here"
        )
    }
}
