//! Whose key a fingerprint is, by the config at hand: names for people, beside fingerprints and
//! instead of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use sealkit_core::keys::Fingerprint;

use super::config::Config;
use super::recipient_file::{read_recipient_file, read_superseded};
use crate::error::{CommandError, Result};
use crate::terminal::safe;

/// Shortest beginning of a fingerprint that is taken for one.
const SHORTEST: usize = 4;

/// Names of keys: those of clusters, and `recovery`. A key that another took the place of keeps its
/// name, and says so.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    now: BTreeMap<Fingerprint, String>,
    superseded: BTreeMap<Fingerprint, String>,
}

impl Names {
    /// Those of a config. What cannot be read is reported where it is used.
    pub fn of(config: &Config) -> Self {
        let mut names = Self::default();
        for (who, path) in config.key_files().unwrap_or_default() {
            let who = who.strip_prefix("cluster ").unwrap_or(&who).to_owned();
            for key in read_recipient_file(&path).unwrap_or_default() {
                let name = names.now.entry(key.fingerprint()).or_default();
                // One key may be that of two.
                let comma = if name.is_empty() { "" } else { " and " };
                name.extend([comma, &who]);
            }
            for (old, _) in read_superseded(&path).unwrap_or_default() {
                names.superseded.insert(old, who.clone());
            }
        }
        names
    }

    /// Those of the config of the working directory.
    pub fn here() -> &'static Self {
        static HERE: OnceLock<Names> = OnceLock::new();
        HERE.get_or_init(|| {
            let config = Config::here().ok().and_then(|(_, config)| config);
            config.as_ref().map(Self::of).unwrap_or_default()
        })
    }

    /// A key for people: `staging (f2596bda01234567)`.
    pub fn title(&self, key: &Fingerprint) -> String {
        let short = key.short();
        match self.whose(key) {
            Some(name) => format!("{name} ({short})"),
            None => short,
        }
    }

    /// Whose key it is.
    pub fn whose(&self, key: &Fingerprint) -> Option<String> {
        let superseded = || Some(format!("superseded key of {}", self.superseded.get(key)?));
        self.now.get(key).cloned().or_else(superseded)
    }

    /// Did another key take its place, as a recipient file says?
    pub fn is_retired(&self, key: &Fingerprint) -> bool {
        self.superseded.contains_key(key) && !self.now.contains_key(key)
    }

    /// Several, separated by commas.
    pub fn list<'a>(&self, keys: impl IntoIterator<Item = &'a Fingerprint>) -> String {
        let titles: Vec<String> = keys.into_iter().map(|key| self.title(key)).collect();
        titles.join(", ")
    }

    /// The keys that a person may mean by a word: a name, or the beginning of a fingerprint, among
    /// those of the config and these others.
    pub fn meant(
        &self,
        word: &str,
        others: impl IntoIterator<Item = Fingerprint>,
    ) -> BTreeSet<Fingerprint> {
        let named = self
            .now
            .iter()
            .filter(|(_, name)| name.split(" and ").any(|name| name == word));
        let named: BTreeSet<_> = named.map(|(key, _)| *key).collect();
        if !named.is_empty() {
            return named;
        }
        let Some(start) = beginning(word) else {
            return BTreeSet::new();
        };
        let known = self.now.keys().chain(self.superseded.keys()).copied();
        let all = known.chain(others);
        all.filter(|key| key.to_string().starts_with(&start))
            .collect()
    }
}

/// The names at hand of several keys.
pub(crate) fn named<'a>(keys: impl IntoIterator<Item = &'a Fingerprint>) -> String {
    Names::here().list(keys)
}

/// The beginning of a fingerprint as a person types it.
pub(crate) fn beginning(word: &str) -> Option<String> {
    let is_hex = word.bytes().all(|byte| byte.is_ascii_hexdigit());
    (is_hex && (SHORTEST..=32).contains(&word.len())).then(|| word.to_ascii_lowercase())
}

/// Of several keys, a word must mean one.
pub(crate) fn several(word: &str, keys: &BTreeSet<Fingerprint>) -> CommandError {
    CommandError::usage("several keys begin so")
        .on(safe(word))
        .hint(format_args!("give more characters: {}", named(keys)))
}

/// No key is meant by a word.
pub(crate) fn unknown(word: &str) -> CommandError {
    CommandError::input("no file of the repository and no config names this key")
        .on(safe(word))
        .hint("give its fingerprint or the beginning of it, as in `seal keys list` or the recipient file, or a name of .sealkit.yaml")
        .hint("if only a cluster knows the key, name the cluster: --context NAME")
}

/// The one key of several that are meant.
pub(crate) fn only(word: &str, keys: &BTreeSet<Fingerprint>) -> Result<Option<Fingerprint>> {
    match keys.len() {
        0 | 1 => Ok(keys.first().copied()),
        _ => Err(several(word, keys)),
    }
}
