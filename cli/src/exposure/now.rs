//! What the work of today holds of the values of the past.

use std::collections::{HashMap, HashSet};

use sealkit_core::keys::KeyRing;
use sealkit_core::manifest::Document;
use sealkit_core::sealed::SealedObject;
use zeroize::Zeroizing;

use super::past::Occurrence;
use super::{Fate, lossy};
use crate::error::Result;
use crate::git::history::History;
use crate::identities;
use crate::sealed_text::{KnownValues, ValueId, sealed_secrets, title, values};

/// What HEAD holds.
pub(super) struct Now {
    /// All values, and a file that holds each.
    pub values: HashMap<ValueId, String>,
    /// Values at the tips of all branches.
    branches: HashSet<ValueId>,
    /// The files that hold a key of an object.
    keys: HashMap<(String, String), Vec<Document>>,
}

impl Now {
    /// Values that are known stand wherever a file has them, in whatever spelling.
    pub fn read(history: &History, head: &str, known: &KnownValues) -> Result<Self> {
        let files = history.files(head)?;
        let ids: Vec<&str> = files.iter().map(|(_, id)| id.as_str()).collect();
        let mut now = Self {
            values: HashMap::new(),
            branches: HashSet::new(),
            keys: HashMap::new(),
        };
        history.read(&ids, |index, bytes| {
            let path = lossy(&files[index].0);
            for sealed in known.hidden_in(bytes) {
                now.values.insert(sealed, path.clone());
            }
            for document in sealed_secrets(bytes).unwrap_or_default() {
                for (key, sealed) in values(&document) {
                    now.values.insert(sealed, path.clone());
                    let place = (title(&document), key);
                    now.keys.entry(place).or_default().push(document.clone());
                }
            }
            Ok(())
        })?;
        let mut ids = HashSet::new();
        for tip in history.tips()? {
            ids.extend(history.files(&tip)?.into_iter().map(|(_, id)| id));
        }
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        history.read(&ids, |_, bytes| {
            now.branches.extend(known.hidden_in(bytes));
            Ok(())
        })?;
        Ok(now)
    }

    /// What became of a value.
    pub fn fate(
        &self,
        history: &History,
        sealed: &ValueId,
        old: &Occurrence,
        ring: &KeyRing,
    ) -> Result<Fate> {
        // It stands there as it was.
        if self.values.contains_key(sealed) {
            return Ok(Fate::Exposed);
        }
        if self.branches.contains(sealed) {
            return Ok(Fate::OnABranch);
        }
        let Some(present) = self.keys.get(&(old.object.clone(), old.key.clone())) else {
            return Ok(Fate::Gone);
        };
        // Its key has another ciphertext: only who opens both can compare the values.
        if ring.is_empty() {
            return Ok(Fate::SealedAnew);
        }
        let mut before = None;
        history.read(&[old.blob.as_str()], |_, bytes| {
            let documents = sealed_secrets(bytes).unwrap_or_default();
            before = documents
                .into_iter()
                .find(|document| title(document) == old.object);
            Ok(())
        })?;
        let before = before.and_then(|document| opened(&document, &old.key, ring));
        let Some(before) = before else {
            return Ok(Fate::SealedAnew);
        };
        let mut fate = Fate::Replaced;
        for document in present {
            match opened(document, &old.key, ring) {
                // It may be any value.
                None => return Ok(Fate::SealedAnew),
                Some(now) if now == before => fate = Fate::SameValue,
                // Another value; the next document may have the old one.
                Some(_) => {}
            }
        }
        Ok(fate)
    }
}

fn opened(document: &Document, key: &str, ring: &KeyRing) -> Option<Zeroizing<Vec<u8>>> {
    let object = SealedObject::parse(&document.object).ok()?;
    let mut opened = identities::open_object(&object, ring).ok()?;
    opened.values.remove(key).map(|value| value.bytes)
}
