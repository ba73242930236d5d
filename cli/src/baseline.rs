//! The revision that a pull request is compared with: its values, its config, its keys. What the
//! request itself says of whom to trust is not believed.

use std::collections::{HashMap, HashSet};
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use sealkit_core::keys::Fingerprint;
use sealkit_core::manifest::Document;
use tempfile::TempDir;

use crate::config::{Config, FILE_NAME};
use crate::error::{CommandError, Result};
use crate::files;
use crate::history::{Commit, History};
use crate::sealed_text::{Sealed, sealed_secrets, title, values};
use crate::terminal::Terminal;

/// See the module's text.
pub struct Baseline {
    /// Values of the revision.
    values: HashSet<Sealed>,
    /// Envelopes of the revision.
    envelopes: HashSet<String>,
    /// Values of all that came before, and where each stood last.
    earlier: HashMap<Sealed, Commit>,
    /// Keys of each object.
    keys: HashMap<String, HashSet<String>>,
    /// The config, if the revision has one.
    pub config: Option<Rc<Config>>,
    /// Files of the config; gone when this is.
    _folder: TempDir,
}

/// What is wrong with a value, seen from the revision.
pub enum Against {
    /// It was there once, and is not in the revision any more.
    Rollback(Commit),
    /// It is new under an envelope that the revision has: no tool of ours makes that.
    Reused,
}

impl Baseline {
    /// Reads a revision and its history.
    pub fn read(revision: &str, root: &Path, terminal: Terminal) -> Result<Self> {
        let history = History::open(root)?;
        let commit = history.commit(revision)?;
        let blobs = history.blobs(&[&commit])?;
        let mut earlier: HashMap<Sealed, Commit> = HashMap::new();
        let ids: Vec<&str> = blobs.keys().map(String::as_str).collect();
        let bar = terminal.progress(ids.len());
        history.read(&ids, |index, bytes| {
            bar.inc(1);
            let last = &blobs[ids[index]].last;
            for document in sealed_secrets(bytes) {
                for sealed in values(&document).into_values() {
                    let known = earlier.entry(sealed).or_insert_with(|| last.clone());
                    *known = known.clone().max(last.clone());
                }
            }
            Ok(())
        })?;
        bar.finish_and_clear();
        let folder = tempfile::tempdir()
            .map_err(|_| CommandError::input("no temporary folder can be made"))?;
        let config = config(&history, &commit, root, folder.path())?;
        let mut baseline = Self {
            values: HashSet::new(),
            envelopes: HashSet::new(),
            earlier,
            keys: HashMap::new(),
            config: config.map(Rc::new),
            _folder: folder,
        };
        let files = history.files(&commit)?;
        let ids: Vec<&str> = files.iter().map(|(_, id)| id.as_str()).collect();
        history.read(&ids, |_, bytes| {
            for document in sealed_secrets(bytes) {
                let keys = baseline.keys.entry(title(&document)).or_default();
                for (key, sealed) in values(&document) {
                    baseline.envelopes.insert(sealed.0.clone());
                    baseline.values.insert(sealed);
                    keys.insert(key);
                }
            }
            Ok(())
        })?;
        Ok(baseline)
    }

    /// What the revision says of a value.
    pub fn judge(&self, sealed: &Sealed) -> Option<Against> {
        if self.values.contains(sealed) {
            None
        } else if let Some(commit) = self.earlier.get(sealed) {
            Some(Against::Rollback(commit.clone()))
        } else {
            self.envelopes
                .contains(&sealed.0)
                .then_some(Against::Reused)
        }
    }

    /// Keys that an object had and has no more.
    pub fn gone(&self, document: &Document) -> Vec<String> {
        let present = values(document);
        let before = self.keys.get(&title(document)).into_iter().flatten();
        let mut gone: Vec<String> = before
            .filter(|key| !present.contains_key(*key))
            .cloned()
            .collect();
        gone.sort();
        gone
    }

    /// Recipients of a config that the revision's does not have, in words.
    pub fn new_recipients(&self, now: &Config) -> Result<Vec<String>> {
        let known: HashSet<Fingerprint> = match &self.config {
            Some(config) => fingerprints(config)?
                .into_iter()
                .map(|(_, key)| key)
                .collect(),
            None => HashSet::new(),
        };
        let new = fingerprints(now)?
            .into_iter()
            .filter(|(_, key)| !known.contains(key));
        Ok(new
            .map(|(who, key)| format!("{who} has a new recipient, {}", key.short()))
            .collect())
    }
}

fn fingerprints(config: &Config) -> Result<Vec<(String, Fingerprint)>> {
    let mut found = Vec::new();
    for name in config.cluster_names() {
        for key in config.recipients(name)? {
            found.push((
                format!("cluster {}", crate::terminal::safe(name)),
                key.fingerprint(),
            ));
        }
    }
    for key in config.recovery()? {
        found.push(("recovery".to_owned(), key.fingerprint()));
    }
    Ok(found)
}

/// The config of a commit: its files are written into `folder` to be read as every config is.
fn config(history: &History, commit: &str, root: &Path, folder: &Path) -> Result<Option<Config>> {
    let Some(text) = history.file(commit, FILE_NAME)? else {
        return Ok(None);
    };
    let write = |name: &Path, bytes: &[u8]| {
        let path = folder.join(name);
        let parent = path.parent().unwrap_or(folder);
        std::fs::create_dir_all(parent)
            .and_then(|()| std::fs::write(&path, bytes))
            .map_err(|_| CommandError::input("no temporary file can be written"))
    };
    write(Path::new(FILE_NAME), &text)?;
    let config = Config::load(folder)?;
    let clusters: Vec<String> = config.cluster_names().map(str::to_owned).collect();
    let mut paths: Vec<PathBuf> = config.recovery_files();
    for name in clusters {
        paths.extend(config.recipient_files(&name)?);
    }
    for path in paths {
        let Ok(name) = path.strip_prefix(folder) else {
            continue;
        };
        // `Config::load` saw to it that none leaves the folder.
        let name: PathBuf = name
            .components()
            .filter(|part| *part != Component::CurDir)
            .collect();
        if let Some(bytes) = history.file(commit, &name.to_string_lossy())?
            && bytes.len() <= files::SMALL_FILE
        {
            write(&name, &bytes)?;
        }
    }
    Ok(Some(config.for_paths_in(root)))
}
