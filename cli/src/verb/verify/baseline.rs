//! The revision that a pull request is compared with: its values, its config, its keys. What the
//! request itself says about trusted recipients is ignored.

mod submodules;

use std::collections::{HashMap, HashSet};
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use sealkit_core::manifest::Document;
use sealkit_core::names::printable;
use sealkit_core::sealed::{Scope, SealedView};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use super::config_changes;
use super::stored::Stored;
use crate::error::{CommandError, Result};
use crate::files::tree::is_manifest;
use crate::files::{self, SMALL_FILE};
use crate::git::history::{Blob, Commit, History};
use crate::recipients::config::{Config, FILE_NAME};
use crate::report::Finding;
use crate::sealed_text::{
    KnownValues, ValueId, perhaps_spelled, private_keys, sealed_secrets, title, values,
};
use crate::terminal::{Terminal, safe, shown};

/// The trailer of a commit that lets an old value come back: `namespace/name key`.
const CONSENT: &str = "Seal-Rollback";

/// See the module's text.
pub(super) struct Baseline {
    /// The revision as it was named.
    pub revision: String,
    history: History,
    /// Values of the revision, and where each stands. Empty where only its text was found.
    values: HashMap<ValueId, Vec<Spot>>,
    /// Envelopes of the revision.
    envelopes: HashSet<String>,
    /// Values of all that came before, and where each stood last.
    earlier: HashMap<ValueId, Commit>,
    /// All of these, to be looked for in what hides them.
    known: KnownValues,
    /// Keys of each object.
    keys: HashMap<String, HashSet<String>>,
    /// Files of the revision.
    files: HashMap<PathBuf, OldFile>,
    /// Scopes of each object, by the file that it stands in.
    scopes: HashMap<String, HashMap<PathBuf, String>>,
    /// Submodules of the revision, with the commit of each.
    submodules: HashMap<PathBuf, String>,
    /// Those whose history was read.
    read_submodules: HashSet<PathBuf>,
    /// Changed ones that cannot be compared, and why.
    pub unread: Vec<(PathBuf, &'static str)>,
    /// What changed in the config, and in those of changed submodules.
    pub config_findings: Vec<Finding>,
    /// What Git has stored since.
    stored: Vec<Stored>,
    /// Digests of the private keys that it has.
    pub private_keys: HashSet<[u8; 32]>,
    /// What commits since the revision say of values that come back, as `namespace/name key`.
    consents: HashSet<String>,
    /// The config, if the revision has one.
    pub config: Option<Rc<Config>>,
    /// Files of the config; gone when this is.
    _folder: TempDir,
}

/// A file of the revision.
struct OldFile {
    id: String,
    digest: [u8; 32],
    holds_sealed: bool,
    /// Its SealedSecrets.
    objects: Vec<String>,
}

/// Where a value stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct SeenAt<'a> {
    /// Path in the repository.
    pub path: &'a Path,
    /// Namespace and name of the object.
    pub object: &'a str,
    /// Its key.
    pub key: &'a str,
}

struct Spot {
    path: PathBuf,
    object: String,
    key: String,
}

/// What is wrong with a value, seen from the revision.
pub(super) enum Against {
    /// It is in the history, but no longer in the revision.
    Rollback(Commit),
    /// It is new under an envelope that the revision has: no tool of ours makes that.
    Reused,
    /// The revision has it elsewhere.
    Moved(String),
}

impl Against {
    /// Code and words of a finding.
    pub fn message(&self, what: &str, sealed: &ValueId) -> (&'static str, String) {
        match self {
            Self::Rollback(commit) => {
                let commit = commit.id.get(..12).unwrap_or_default();
                (
                    "Rollback",
                    format!("{what} is an old one, last seen in commit {commit}"),
                )
            }
            Self::Reused => (
                "Reused",
                format!(
                    "{what} is new, but its envelope {} is not: `seal` did not seal it",
                    printable(&sealed.envelope)
                ),
            ),
            Self::Moved(from) => ("Moved", format!("{what} was elsewhere before: {from}")),
        }
    }
}

impl Baseline {
    /// Reads a revision and its history, submodules included.
    pub fn read(revision: &str, root: &Path, terminal: Terminal) -> Result<Self> {
        let history = History::open(root)?;
        let commit = history.commit(revision)?;
        let folder = tempfile::tempdir()
            .map_err(|_| CommandError::input("a temporary folder cannot be created"))?;
        let config = config(&history, &commit, root, folder.path())?;
        let mut baseline = Self {
            revision: revision.to_owned(),
            values: HashMap::new(),
            envelopes: HashSet::new(),
            earlier: HashMap::new(),
            known: KnownValues::default(),
            keys: HashMap::new(),
            files: HashMap::new(),
            scopes: HashMap::new(),
            submodules: HashMap::new(),
            read_submodules: HashSet::new(),
            unread: Vec::new(),
            config_findings: Vec::new(),
            stored: Vec::new(),
            private_keys: HashSet::new(),
            consents: HashSet::new(),
            config: config.map(Rc::new),
            history: history.clone(),
            _folder: folder,
        };
        // The revision decides whether its rollbacks need no more than that.
        if baseline.config.as_ref().is_none_or(|it| it.takes_consent()) {
            baseline
                .consents
                .extend(history.trailers(&commit, CONSENT)?);
        }
        let top = Path::new("");
        baseline.compare_config(&history, Some(&commit), root, top)?;
        baseline.take_in_history(&history, &commit, top, terminal)?;
        let (files, submodules) = (history.index_files()?, history.index_submodules()?);
        baseline.stored.push(Stored {
            folder: top.to_owned(),
            history,
            files,
        });
        baseline.take_in_submodules(root, top, submodules, terminal)?;
        for stored in &mut baseline.stored {
            let files = &baseline.files;
            let is_old = |path: &Path, id: &str| files.get(path).is_some_and(|old| old.id == id);
            stored.files.retain(|(path, id)| !is_old(path, id));
        }
        let known = baseline.earlier.keys().chain(baseline.values.keys());
        baseline.known = known.collect();
        Ok(baseline)
    }

    /// Takes in a commit of the repository that stands in `folder`, and all that came before it.
    fn take_in_history(
        &mut self,
        history: &History,
        commit: &str,
        folder: &Path,
        terminal: Terminal,
    ) -> Result<()> {
        each_value(history, commit, terminal, |Blob { last, .. }, sealed| {
            let known = self.earlier.entry(sealed).or_insert_with(|| last.clone());
            *known = known.clone().max(last.clone());
        })?;
        let files = history.files(commit)?;
        let ids: Vec<&str> = files.iter().map(|(_, id)| id.as_str()).collect();
        history.read(&ids, |index, bytes| {
            let (path, id) = &files[index];
            self.take_in(&folder.join(path), id, bytes);
            Ok(())
        })?;
        let submodules = history.submodules(commit)?.into_iter();
        self.submodules
            .extend(submodules.map(|(path, commit)| (folder.join(path), commit)));
        Ok(())
    }

    /// Compares the config of a repository, which stands in `folder`, with that of a commit.
    fn compare_config(
        &mut self,
        history: &History,
        before: Option<&str>,
        root: &Path,
        folder: &Path,
    ) -> Result<()> {
        let files = tempfile::tempdir()
            .map_err(|_| CommandError::input("a temporary folder cannot be created"))?;
        let text = before.map(|commit| history.file(commit, FILE_NAME));
        let text = text.transpose()?.flatten().unwrap_or_default();
        let before = before.map(|commit| config(history, commit, root, files.path()));
        let before = before.transpose()?.flatten();
        let now = root.join(FILE_NAME);
        let now = now.exists().then(|| files::read(&now, SMALL_FILE));
        let now = now.transpose()?;
        let config = now.as_ref().map(|_| Config::load(root)).transpose()?;
        let changes = config_changes::changes(
            before.as_ref().map(|config| (config, text.as_slice())),
            config
                .as_ref()
                .zip(now.as_ref().map(|text| text.as_slice())),
        )?;
        let path = folder.join(FILE_NAME);
        let findings = changes.into_iter();
        self.config_findings
            .extend(findings.map(|(code, detail)| Finding::new(&path, None, code, detail)));
        Ok(())
    }

    fn take_in(&mut self, path: &Path, id: &str, bytes: &[u8]) {
        let keys = private_keys(bytes).into_iter().map(|key| key.digest);
        self.private_keys.extend(keys);
        let spelled = perhaps_spelled(bytes);
        let documents = sealed_secrets(bytes);
        let file = OldFile {
            id: id.to_owned(),
            digest: Sha256::digest(bytes).into(),
            holds_sealed: !spelled.is_empty()
                || documents
                    .as_ref()
                    .is_none_or(|documents| !documents.is_empty()),
            objects: documents.iter().flatten().map(title).collect(),
        };
        self.files.insert(path.to_owned(), file);
        for value in spelled {
            self.envelopes.insert(value.envelope.clone());
            self.values.entry(value).or_default();
        }
        for document in documents.unwrap_or_default() {
            let object = title(&document);
            let scopes = self.scopes.entry(object.clone()).or_default();
            scopes.insert(path.to_owned(), scope_word(&document));
            let keys = self.keys.entry(object.clone()).or_default();
            for (key, sealed) in values(&document) {
                self.envelopes.insert(sealed.envelope.clone());
                keys.insert(key.clone());
                let spot = Spot {
                    path: path.to_owned(),
                    object: object.clone(),
                    key,
                };
                self.values.entry(sealed).or_default().push(spot);
            }
        }
    }

    /// What the revision says of a value; of its place too, where that is known.
    pub fn judge(&self, sealed: &ValueId, place: Option<SeenAt<'_>>) -> Option<Against> {
        let Some(spots) = self.values.get(sealed) else {
            return match self.earlier.get(sealed) {
                // The history has it.
                Some(commit) => Some(Against::Rollback(commit.clone())),
                // It never was: its envelope must be new too.
                None => self
                    .envelopes
                    .contains(&sealed.envelope)
                    .then_some(Against::Reused),
            };
        };
        // The revision has it; where, matters for values of objects alone.
        let place = place?;
        // A file that is new may be one that was renamed, or copied as a whole.
        let is_new = !self.had_sealed(place.path);
        let fits = |spot: &Spot| {
            spot.object == place.object
                && spot.key == place.key
                && (is_new || spot.path == place.path)
        };
        if spots.iter().any(fits) {
            return None;
        }
        let Some(spot) = spots.first() else {
            // It stands in no object of the revision, which other texts do not change.
            return self.earlier.get(sealed).cloned().map(Against::Rollback);
        };
        let from = format!(
            "{}, {}, {}",
            shown(&spot.path),
            safe(&spot.object),
            printable(&spot.key)
        );
        Some(Against::Moved(from))
    }

    /// Does a commit since the revision let an old value of this object and key come back?
    pub fn consents_to(&self, object: &str, key: &str) -> bool {
        self.consents.contains(&format!("{object} {key}"))
    }

    /// What makes an old value of this object and key fine, as the end of a message.
    pub fn way_out(&self, object: &str, key: &str) -> String {
        if self.config.as_ref().is_none_or(|it| it.takes_consent()) {
            let (object, key) = (safe(object), printable(key));
            format!(
                "; if you want it back, write `{CONSENT}: {object} {key}` at the end of a commit message"
            )
        } else {
            String::new()
        }
    }

    /// Values of the revision and its history, wherever a file hides them, with their texts.
    pub fn known_values_in(&self, bytes: &[u8]) -> HashMap<ValueId, Vec<u8>> {
        self.known.texts_in(bytes)
    }

    /// Has the revision exactly this file?
    pub fn has(&self, path: &Path, bytes: &[u8]) -> bool {
        let digest: [u8; 32] = Sha256::digest(bytes).into();
        self.files
            .get(path)
            .is_some_and(|file| file.digest == digest)
    }

    /// Had the revision sealed values in a file of this path?
    pub fn had_sealed(&self, path: &Path) -> bool {
        self.files.get(path).is_some_and(|file| file.holds_sealed)
    }

    /// Had the revision sealed values in a file of this path, or below it?
    pub fn had_sealed_below(&self, path: &Path) -> bool {
        let mut files = self.files.iter();
        files.any(|(file, old)| old.holds_sealed && file.starts_with(path))
    }

    /// What Git has stored, where that is not what the revision has.
    pub fn stored(&self) -> &[Stored] {
        &self.stored
    }

    /// Those of these files that Git changes by a program before it stores them.
    pub fn filtered(&self, paths: &[&Path]) -> Result<HashSet<PathBuf>> {
        self.with_attribute("filter", paths)
    }

    /// Changed manifests whose characters Git replaces in checkouts: not each knows each encoding.
    pub fn recoded(&self) -> Result<HashSet<PathBuf>> {
        let files = self.stored.iter().flat_map(|stored| &stored.files);
        let paths = files.map(|(path, _)| path.as_path());
        let paths: Vec<&Path> = paths.filter(|path| is_manifest(path)).collect();
        self.with_attribute("working-tree-encoding", &paths)
    }

    /// As each repository says of what is below its folder.
    fn with_attribute(&self, name: &str, paths: &[&Path]) -> Result<HashSet<PathBuf>> {
        let mut found = HashSet::new();
        for stored in &self.stored {
            let paths = paths.iter();
            let paths: Vec<&Path> = paths
                .filter_map(|path| path.strip_prefix(&stored.folder).ok())
                .collect();
            let having = stored.history.with_attribute(name, &paths)?;
            found.extend(having.iter().map(|path| stored.folder.join(path)));
        }
        Ok(found)
    }

    /// All files of the work tree that Git has or would have.
    pub fn work_tree(&self) -> Result<Vec<PathBuf>> {
        self.history.work_tree()
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

    /// What the revision says of an object's scope and names, as code and words. `present` are the
    /// objects of its file.
    pub fn judge_object(
        &self,
        path: &Path,
        document: &Document,
        present: &HashSet<String>,
    ) -> Vec<(&'static str, String)> {
        let object = title(document);
        let scope = scope_word(document);
        let scopes = self.scopes.get(&object);
        let before = scopes.and_then(|scopes| {
            // It may stand in another file now.
            let elsewhere = || scopes.values().find(|before| **before == scope);
            let before = scopes.get(path).or_else(elsewhere);
            before.or_else(|| scopes.values().min())
        });
        let mut findings = Vec::new();
        if let Some(before) = before.filter(|before| **before != scope) {
            let (before, scope) = (printable(before), printable(&scope));
            let detail = format!("its scope was {before} and is {scope} now");
            findings.push(("NewScope", detail));
        }
        let before = self.files.get(path).map(|file| file.objects.as_slice());
        let before = before.filter(|before| !before.contains(&object));
        let gone = before.into_iter().flatten();
        let gone: Vec<String> = gone
            .filter(|before| !present.contains(*before))
            .map(|before| safe(before))
            .collect();
        if !gone.is_empty() {
            let gone = gone.join(", ");
            let detail = format!("namespace or name is new in this file, which had {gone} before");
            findings.push(("Renamed", detail));
        }
        findings
    }
}

/// The scope of an object, as a word; whatever else stands there is one of its own.
fn scope_word(document: &Document) -> String {
    match SealedView::of(&document.object).scope() {
        None => Scope::default().name().to_owned(),
        Some(Value::String(word)) => word.clone(),
        Some(other) => other.to_string(),
    }
}

/// Hands out the values of each version of each file in the history of a commit.
pub(super) fn each_value(
    history: &History,
    commit: &str,
    terminal: Terminal,
    mut each: impl FnMut(&Blob, ValueId),
) -> Result<()> {
    let blobs = history.blobs(&[commit])?;
    let ids: Vec<&str> = blobs.keys().map(String::as_str).collect();
    let bar = terminal.progress(ids.len());
    history.read(&ids, |index, bytes| {
        bar.inc(1);
        let blob = &blobs[ids[index]];
        all_values(bytes)
            .into_iter()
            .for_each(|value| each(blob, value));
        Ok(())
    })?;
    bar.finish_and_clear();
    Ok(())
}

/// The values of a file, read and spelled.
fn all_values(bytes: &[u8]) -> HashSet<ValueId> {
    let documents = sealed_secrets(bytes).unwrap_or_default();
    let read = documents
        .iter()
        .flat_map(|document| values(document).into_values());
    read.chain(perhaps_spelled(bytes)).collect()
}

/// The config of a commit or tree: its files are written into `folder` to be read as every config
/// is.
pub(crate) fn config(
    history: &History,
    commit: &str,
    root: &Path,
    folder: &Path,
) -> Result<Option<Config>> {
    let Some(text) = history.file(commit, FILE_NAME)? else {
        return Ok(None);
    };
    let write = |name: &Path, bytes: &[u8]| {
        let path = folder.join(name);
        let parent = path.parent().unwrap_or(folder);
        std::fs::create_dir_all(parent)
            .and_then(|()| std::fs::write(&path, bytes))
            .map_err(|_| CommandError::input("a temporary file cannot be written"))
    };
    write(Path::new(FILE_NAME), &text)?;
    let config = Config::load(folder)?;
    for (_, path) in config.key_files()? {
        let Ok(name) = path.strip_prefix(folder) else {
            continue;
        };
        // `Config::load` saw to it that none leaves the folder.
        let name: PathBuf = name
            .components()
            .filter(|part| *part != Component::CurDir)
            .collect();
        if let Some(bytes) = history.file(commit, &name.to_string_lossy())?
            && bytes.len() <= SMALL_FILE
        {
            write(&name, &bytes)?;
        }
    }
    Ok(Some(config.for_paths_in(root)))
}
