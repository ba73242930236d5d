//! What this clone sealed to before: `.git/sealkit/known-recipients`. A changed key file that
//! came with a pull is then seen before the first secret is sealed to it.

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

    /// Takes these for known from now on.
    pub fn remember(&mut self, groups: &[Group]) {
        for group in groups {
            let now = texts(&group.fingerprints);
            if self.entries.get(&group.label) != Some(&now) {
                self.entries.insert(group.label.clone(), now);
                self.changed = true;
            }
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
