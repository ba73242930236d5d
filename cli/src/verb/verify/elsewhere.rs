//! Sealed values that stand where no object was read: in patches, under other names of files, in
//! texts that only other programs read, behind links. Private keys in what is no manifest.

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use sealkit_core::manifest::{INPUT_BYTES, read_documents};

use super::baseline::Baseline;
use super::staged_config::Standing;
use super::stored::{StoredFile, mark};
use crate::error::Result;
use crate::files::tree::is_manifest;
use crate::files::{self, reading};
use crate::report::Finding;
use crate::sealed_text::{ValueId, may_hold_sealed, spelled};
use crate::terminal::shown;

/// How the file begins that Git LFS leaves in the place of another.
const LFS_POINTER: &[u8] = b"version https://git-lfs.github.com/spec/";

/// Looks at all files of the work tree that differ from the revision.
pub(super) struct Elsewhere<'a> {
    pub base: &'a Baseline,
    /// Root of the repository.
    pub root: &'a Path,
    /// Values of objects, which the revision was asked about.
    pub compared: &'a HashSet<ValueId>,
    /// What was committed before.
    pub standing: &'a Standing,
    /// Manifests that changed and hold sealed values.
    pub changed: Vec<PathBuf>,
    /// Their paths are those in the repository.
    pub findings: Vec<Finding>,
}

impl Elsewhere<'_> {
    /// Everything that Git has or would have.
    pub fn look(&mut self) -> Result<()> {
        for path in self.base.work_tree()? {
            self.entry(&path)?;
        }
        for (path, why) in &self.base.unread {
            self.find(path, "Unreadable", why);
        }
        for stored in self.base.stored() {
            stored.each(self.root, |file| {
                let start = self.findings.len();
                self.as_stored(file);
                mark(&mut self.findings, start);
                Ok(())
            })?;
        }
        let changed = std::mem::take(&mut self.changed);
        let changed: Vec<&Path> = changed.iter().map(PathBuf::as_path).collect();
        let detail = "a filter of Git changes this file before it is stored: its old values cannot be recognized";
        self.find_all(self.base.filtered(&changed)?, detail);
        let detail = "Git checks this file out in another encoding: others may find other values";
        self.find_all(self.base.recoded()?, detail);
        Ok(())
    }

    fn as_stored(&mut self, file: &StoredFile<'_>) {
        let name = &file.place.given;
        let Some(bytes) = file.bytes else {
            return self.large(name);
        };
        // The work tree shows what a pointer stands for. Of a manifest, others may know the pointer
        // alone.
        if bytes.starts_with(LFS_POINTER) && !is_manifest(name) && file.place.real.is_file() {
            return self.values(name, bytes);
        }
        self.file(name, bytes);
    }

    fn large(&mut self, name: &Path) {
        if is_manifest(name) {
            self.find(name, "Unreadable", "the file is too large to be checked");
        }
    }

    fn entry(&mut self, path: &Path) -> Result<()> {
        let name = path.strip_prefix(self.root).unwrap_or(path);
        let metadata = match path.symlink_metadata() {
            Ok(metadata) => metadata,
            // It was deleted, or one of its folders became a file.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => return Ok(()),
            Err(error) => return Err(reading(&error).on(shown(path))),
        };
        if metadata.is_symlink() && self.base.had_sealed_below(name) {
            self.find(
                name,
                "Link",
                "a link replaces a file that held sealed values",
            );
        } else if metadata.is_dir() {
            self.folder(path)?;
        } else if metadata.is_file() && metadata.len() > INPUT_BYTES as u64 {
            self.large(name);
        } else if metadata.is_file() {
            let bytes = files::read(path, INPUT_BYTES)?;
            self.file(name, &bytes);
        }
        Ok(())
    }

    /// Git lists a submodule, or a repository inside of this one, as one entry.
    fn folder(&mut self, path: &Path) -> Result<()> {
        let fail = |error: std::io::Error| reading(&error).on(shown(path));
        let entries = std::fs::read_dir(path).map_err(fail)?;
        let mut entries = entries
            .map(|entry| Ok(entry.map_err(fail)?.path()))
            .collect::<Result<Vec<_>>>()?;
        entries.retain(|entry| entry.file_name().is_some_and(|name| name != ".git"));
        entries.sort();
        entries.iter().try_for_each(|entry| self.entry(entry))
    }

    fn file(&mut self, name: &Path, bytes: &[u8]) {
        if !is_manifest(name) {
            let new = self.standing.new_private_keys(bytes);
            let new = new.map(|key| Finding::new(name, None, "PrivateKey", key.message()));
            self.findings.extend(new);
        }
        if self.base.has(name, bytes) {
            return;
        }
        if bytes.starts_with(LFS_POINTER) {
            let detail =
                "Git LFS keeps the file elsewhere: only a checkout with it can be compared";
            self.find(name, "Unreadable", detail);
            return;
        }
        if is_manifest(name) && may_hold_sealed(bytes) {
            if read_documents(bytes).is_err() {
                let detail =
                    "the file changed and cannot be parsed: other programs may find values in it";
                self.find(name, "Unreadable", detail);
            }
            self.changed.push(name.to_owned());
        }
        self.values(name, bytes);
    }

    fn values(&mut self, name: &Path, bytes: &[u8]) {
        let spelled = spelled(bytes);
        let mut hidden = self.base.known_values_in(bytes);
        for spelled in &spelled {
            hidden.remove(&spelled.value);
        }
        // The first line of one that is folded looks like another value. Only its text tells: a
        // longer value of the same envelope may stand there to hide a shorter one.
        let is_part = |value: &ValueId| hidden.values().any(|whole| value.begins(whole));
        let whole = spelled.iter().filter(|spelled| !is_part(&spelled.value));
        let mut found: Vec<(String, &ValueId)> = whole
            .map(|spelled| (spelled.place(), &spelled.value))
            .collect();
        let mut hidden: Vec<&ValueId> = hidden.keys().collect();
        hidden.sort();
        found.extend(
            hidden
                .into_iter()
                .map(|value| ("a folded or encoded value".to_owned(), value)),
        );
        for (what, value) in found {
            if !self.compared.contains(value)
                && let Some(against) = self.base.judge(value, None)
            {
                let (code, detail) = against.message(&what, value);
                self.findings.push(Finding::new(name, None, code, detail));
            }
        }
    }

    fn find_all(&mut self, names: HashSet<PathBuf>, detail: &str) {
        let names: BTreeSet<PathBuf> = names.into_iter().collect();
        for name in names {
            self.find(&name, "Unreadable", detail);
        }
    }

    fn find(&mut self, name: &Path, code: &'static str, detail: &str) {
        let finding = Finding::new(name, None, code, detail.to_owned());
        self.findings.push(finding);
    }
}
