//! What this clone sealed to before: `.git/sealkit/known-recipients`. A changed key file that
//! came with a pull is then seen before the first secret is sealed to it. A clone that never sealed
//! takes the first recipients that it meets; whom a person accepted is kept apart from these.

use std::collections::BTreeMap;
use std::path::PathBuf;

use sealkit_core::keys::Fingerprint;

use crate::files::{self, SMALL_FILE};
use crate::git::repository::git_folder;
use crate::terminal::safe;

/// Recipients that belong together and are known under a name: a cluster's, the recovery keys.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    /// Such as `cluster production`.
    pub label: String,
    /// Their fingerprints, sorted.
    pub fingerprints: Vec<Fingerprint>,
}

/// The entry of those whom a person accepted. No label of a group is like it.
const ACCEPTED: &str = "accepted";

/// The memory of one clone. Without a repository it holds nothing and keeps nothing.
#[derive(Debug, Default)]
pub(crate) struct KnownClusters {
    path: Option<PathBuf>,
    entries: BTreeMap<String, Vec<String>>,
    changed: bool,
}

impl KnownClusters {
    /// Reads the memory of the clone at this root. A damaged file counts as empty: it is a memory,
    /// not a source of trust.
    pub fn load(root: Option<&std::path::Path>) -> Self {
        let path = root
            .and_then(git_folder)
            .map(|git| git.join("sealkit/known-recipients"));
        let entries = path
            .as_ref()
            .and_then(|path| files::read_text(path, SMALL_FILE).ok())
            .and_then(|text| serde_json::from_str(&text).ok())
            .unwrap_or_default();
        Self {
            path,
            entries,
            changed: false,
        }
    }

    /// The memory of this clone with nothing in it: what it named before, no file names any more.
    pub fn forgotten(root: Option<&std::path::Path>) -> Self {
        Self {
            entries: BTreeMap::new(),
            changed: true,
            ..Self::load(root)
        }
    }

    /// Does it know nothing yet?
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// All that differs from before, in words. A group that is new to a clone which knows others is
    /// a difference too.
    pub fn difference(&self, groups: &[Group]) -> Option<String> {
        if self.is_empty() {
            return None;
        }
        let differs = |group: &Group| {
            let now: Vec<String> = texts(&group.fingerprints);
            let Some(before) = self.entries.get(&group.label) else {
                return (!now.is_empty()).then(|| {
                    format!(
                        "{} is new to this clone, with the recipients {}",
                        safe(&group.label),
                        Fingerprint::short_list(&group.fingerprints)
                    )
                });
            };
            (*before != now).then(|| {
                let before: Vec<_> = before
                    .iter()
                    .map(|text| safe(text.get(..16).unwrap_or(text)))
                    .collect();
                format!(
                    "the recipients of {} are {}, but this clone knows {}",
                    safe(&group.label),
                    Fingerprint::short_list(&group.fingerprints),
                    before.join(", "),
                )
            })
        };
        let all: Vec<String> = groups.iter().filter_map(differs).collect();
        (!all.is_empty()).then(|| all.join("; "))
    }

    /// Notes what the first use of a clone met: what comes later differs from it. That is no reason
    /// to hand old values to it.
    pub fn meet(&mut self, groups: &[Group]) {
        for group in groups {
            self.put(&group.label, texts(&group.fingerprints));
        }
    }

    /// Takes these for known from now on, on the word of a person or of whoever made them. What is
    /// new in them is accepted; what was there before was perhaps only met.
    pub fn remember(&mut self, groups: &[Group]) {
        for group in groups {
            let before = self.entries.get(&group.label).cloned();
            let before = before.unwrap_or_default();
            let new = group.fingerprints.iter().copied();
            let new: Vec<Fingerprint> = new
                .filter(|fingerprint| !before.contains(&fingerprint.to_string()))
                .collect();
            self.accept(&new);
        }
        self.meet(groups);
    }

    /// Takes these for accepted by a person.
    pub fn accept(&mut self, fingerprints: &[Fingerprint]) {
        if fingerprints.is_empty() {
            return;
        }
        let mut accepted = self.entries.get(ACCEPTED).cloned().unwrap_or_default();
        accepted.extend(texts(fingerprints));
        accepted.sort_unstable();
        accepted.dedup();
        self.put(ACCEPTED, accepted);
    }

    /// Those of these whom nobody accepted here.
    pub fn unaccepted(&self, fingerprints: &[Fingerprint]) -> Vec<Fingerprint> {
        let accepted = self.entries.get(ACCEPTED);
        let is_accepted = |fingerprint: &Fingerprint| {
            accepted.is_some_and(|texts| texts.contains(&fingerprint.to_string()))
        };
        let all = fingerprints.iter().copied();
        all.filter(|fingerprint| !is_accepted(fingerprint))
            .collect()
    }

    fn put(&mut self, label: &str, now: Vec<String>) {
        if self.entries.get(label) != Some(&now) {
            self.entries.insert(label.to_owned(), now);
            self.changed = true;
        }
    }

    /// Writes the memory down where it changed. Failure loses only the notice of a later change.
    pub fn save(&self) -> bool {
        let Some(path) = self.path.as_ref().filter(|_| self.changed) else {
            return true;
        };
        let text = serde_json::to_string_pretty(&self.entries).unwrap_or_default() + "\n";
        path.parent()
            .is_some_and(|folder| std::fs::create_dir_all(folder).is_ok())
            && files::replace(path, text.as_bytes()).is_ok()
    }
}

fn texts(fingerprints: &[Fingerprint]) -> Vec<String> {
    fingerprints.iter().map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests {
    use sealkit_core::keys::{Identity, KeyType};

    use super::*;

    #[test]
    fn what_was_only_met_is_not_accepted_by_a_later_change() {
        let [met, new] = std::array::from_fn(|_| {
            let identity = Identity::generate(KeyType::Classic);
            identity.recipient().fingerprint()
        });
        let group = |fingerprints: &[Fingerprint]| {
            [Group {
                label: "cluster production".to_owned(),
                fingerprints: fingerprints.to_vec(),
            }]
        };
        let mut known = KnownClusters::default();
        known.meet(&group(&[met]));
        assert_eq!(known.unaccepted(&[met, new]), [met, new]);
        assert!(known.difference(&group(&[met])).is_none());
        // As a rotation writes it: the new key beside the one that came with the files.
        known.remember(&group(&[met, new]));
        assert_eq!(known.unaccepted(&[met, new]), [met]);
        known.accept(&[met]);
        assert!(known.unaccepted(&[met, new]).is_empty());
    }
}
