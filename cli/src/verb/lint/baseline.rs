//! Findings that an old repository has accepted, in a file that people can review: paths, rules,
//! objects and names of keys. Nothing in it is derived from a value.

use std::collections::BTreeMap;
use std::path::Path;

use sealkit_core::manifest::{read_documents, to_yaml_for_people};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Located, rule};
use crate::error::{CommandError, Result};
use crate::files;
use crate::git::repository::Location;
use crate::terminal::shown;

const VERSION: u64 = 1;

/// What a finding is, wherever in its file it stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    path: String,
    code: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    object: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    keys: Vec<String>,
}

impl Entry {
    fn of(located: &Located) -> Self {
        let finding = &located.finding;
        Self {
            path: located.path.to_string_lossy().into_owned(),
            code: finding.rule.name().to_owned(),
            object: finding.object.clone(),
            keys: finding.keys.clone(),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u64,
    #[serde(default)]
    findings: Vec<Entry>,
}

/// Accepted findings, each as often as it was found.
pub(super) struct Baseline(BTreeMap<Entry, usize>);

impl Baseline {
    /// Accepts these.
    pub fn of(findings: &[Located]) -> Self {
        let mut entries = BTreeMap::new();
        for located in findings {
            *entries.entry(Entry::of(located)).or_default() += 1;
        }
        Self(entries)
    }

    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self> {
        let refuse = |what: String| {
            CommandError::input(what)
                .on(shown(path))
                .hint("write it again with --write-baseline")
        };
        let bytes = files::read(path, sealkit_core::manifest::INPUT_BYTES)?;
        let mut documents = read_documents(&bytes).map_err(|error| refuse(error.to_string()))?;
        let file = documents.drain(..).next().map(|document| document.object);
        let file: File = serde_json::from_value(file.unwrap_or_default())
            .map_err(|_| refuse("not a baseline of `seal lint`".to_owned()))?;
        if file.version != VERSION {
            return Err(refuse(format!(
                "unknown version {} of a baseline",
                file.version
            )));
        }
        let mut entries = BTreeMap::new();
        for entry in file.findings {
            rule(&entry.code).map_err(|error| error.on(shown(path)))?;
            *entries.entry(entry).or_default() += 1;
        }
        Ok(Self(entries))
    }

    /// Writes it, in an order that makes small diffs.
    pub fn write(&self, path: &Path) -> Result<()> {
        let entries = self.0.iter();
        let all: Vec<&Entry> = entries
            .flat_map(|(entry, count)| std::iter::repeat_n(entry, *count))
            .collect();
        let text = to_yaml_for_people(&json!({"version": VERSION, "findings": all}));
        let text = text.map_err(|_| CommandError::bug("the baseline cannot be written"))?;
        let place = Location::of(path)?;
        files::replace(&place.real, text.as_bytes()).map_err(|error| error.on(shown(path)))
    }

    /// Takes out what it accepts. Returns how many of its entries were not found.
    pub fn take_from(mut self, findings: &mut Vec<Located>) -> usize {
        findings.retain(|located| {
            let left = self
                .0
                .get_mut(&Entry::of(located))
                .filter(|left| **left > 0);
            left.map(|left| *left -= 1).is_none()
        });
        self.0.values().sum()
    }
}
