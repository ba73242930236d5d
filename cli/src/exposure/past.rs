//! All values of all versions of files: where each was, since when, and who could read it.

use std::collections::{BTreeSet, HashMap, HashSet};

use sealkit_core::keys::Fingerprint;
use sealkit_core::sealed::SealedView;

use super::{Leaked, lossy};
use crate::error::Result;
use crate::git::history::{Blob, Commit, History};
use crate::sealed_text::{ValueId, sealed_secrets, spelled, title, values};
use crate::terminal::Terminal;

/// A value under a key of an object, over all versions.
pub(super) struct Occurrence {
    pub blob: String,
    pub path: String,
    pub object: String,
    pub key: String,
    pub first: Commit,
    pub last: Commit,
}

/// All values of all versions, and the envelopes that a key opens.
pub(crate) struct Past {
    /// Where it was read.
    pub history: History,
    /// The commit of HEAD.
    pub(super) head: String,
    /// Versions of files that were read.
    pub(super) versions: usize,
    /// By value, object and key: a value may have stood in several places.
    pub(super) values: HashMap<(ValueId, String, String), Occurrence>,
    exposed: HashSet<String>,
    /// Envelopes of which some version says who can open them.
    read: HashSet<String>,
    /// The keys that envelopes name and that may be meant.
    pub(super) named: BTreeSet<Fingerprint>,
}

impl Past {
    /// Reads all blobs of all refs, each once.
    pub fn read(history: &History, leaked: &Leaked, terminal: Terminal) -> Result<Self> {
        let head = history.commit("HEAD")?;
        let blobs = history.blobs(&["--all", "HEAD"])?;
        let ids: Vec<&str> = blobs.keys().map(String::as_str).collect();
        let mut past = Self {
            history: history.clone(),
            head,
            versions: ids.len(),
            values: HashMap::new(),
            exposed: HashSet::new(),
            read: HashSet::new(),
            named: BTreeSet::new(),
        };
        let bar = terminal.progress(ids.len());
        history.read(&ids, |index, bytes| {
            bar.inc(1);
            past.take_in(ids[index], &blobs[ids[index]], bytes, leaked);
            Ok(())
        })?;
        bar.finish_and_clear();
        Ok(past)
    }

    /// The commit that brought each value, wherever it stood then.
    pub fn origins(&self) -> HashMap<&ValueId, &Commit> {
        let mut origins = HashMap::new();
        for ((value, ..), occurrence) in &self.values {
            let first = origins.entry(value).or_insert(&occurrence.first);
            *first = (*first).min(&occurrence.first);
        }
        origins
    }

    /// Can the key open an envelope, by its id, as some version of it said?
    pub fn opens(&self, envelope: &str) -> bool {
        self.exposed.contains(envelope)
    }

    /// An envelope that no object has may be anybody's.
    pub fn is_exposed(&self, envelope: &str) -> bool {
        self.exposed.contains(envelope) || !self.read.contains(envelope)
    }

    fn take_in(&mut self, id: &str, blob: &Blob, bytes: &[u8], leaked: &Leaked) {
        let documents = sealed_secrets(bytes);
        let mut known = HashSet::new();
        for document in documents.iter().flatten() {
            for (id, envelope) in SealedView::of(&document.object).envelopes() {
                self.read.insert(id.to_owned());
                self.named.extend(leaked.named(envelope));
                if leaked.opens(envelope) {
                    self.exposed.insert(id.to_owned());
                }
            }
            for (key, sealed) in values(document) {
                known.insert(sealed.clone());
                self.insert(id, blob, sealed, title(document), key);
            }
        }
        for spelled in spelled(bytes) {
            if known.contains(&spelled.value) {
                continue;
            }
            let object = if documents.is_some() {
                "(no object)"
            } else {
                // Nobody knows what it says of recipients.
                self.exposed.insert(spelled.value.envelope.clone());
                "(unreadable)"
            };
            let line = spelled.line.map(|line| format!("line {line}"));
            let key = line.unwrap_or_else(|| "(encoded)".to_owned());
            self.insert(id, blob, spelled.value, object.to_owned(), key);
        }
    }

    fn insert(&mut self, id: &str, blob: &Blob, sealed: ValueId, object: String, key: String) {
        let place = (sealed, object.clone(), key.clone());
        let occurrence = self.values.entry(place).or_insert_with(|| Occurrence {
            blob: id.to_owned(),
            path: lossy(&blob.path),
            object,
            key,
            first: blob.first.clone(),
            last: blob.last.clone(),
        });
        occurrence.first = occurrence.first.clone().min(blob.first.clone());
        if blob.last > occurrence.last {
            occurrence.last = blob.last.clone();
            occurrence.path = lossy(&blob.path);
        }
    }
}
