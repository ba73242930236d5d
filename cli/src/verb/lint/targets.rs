//! Which files are looked at, and how each is read: those that Git would commit, whatever they are.

use std::collections::HashSet;
use std::io::{ErrorKind, Read as _};
use std::path::{Component, Path, PathBuf};

use sealkit_core::lint::FileKind;
use sealkit_core::manifest::INPUT_BYTES;
use zeroize::Zeroizing;

use crate::error::Result;
use crate::files::tree::is_manifest;
use crate::files::{self, reading};
use crate::git::history::History;
use crate::git::repository::{Location, Repository};
use crate::terminal::shown;

/// A file to look at.
pub(super) struct Target {
    /// As the user would name it.
    pub shown: PathBuf,
    /// In its repository; without one, as shown.
    pub path: PathBuf,
    real: PathBuf,
    /// Was it named by a person? Then it must be readable.
    named: bool,
}

/// All files to look at.
#[derive(Default)]
pub(super) struct Targets {
    pub all: Vec<Target>,
    /// What Git would commit, as real paths, of all repositories that were looked at.
    committed: HashSet<PathBuf>,
    /// Roots of those repositories.
    roots: Vec<PathBuf>,
}

/// What a file holds.
pub(super) enum Content {
    /// It was deleted, or is no file.
    Gone,
    /// No text.
    Binary,
    /// A text that is too large.
    TooLarge,
    /// Its bytes.
    Bytes(Zeroizing<Vec<u8>>),
}

impl Targets {
    /// Everything below these paths that Git would commit; without any, below the working directory.
    /// A file that is named is looked at in any case, and so is a folder that Git ignores.
    pub fn below(paths: &[PathBuf]) -> Result<Self> {
        let mut targets = Self::default();
        let here = [PathBuf::from(".")];
        for path in if paths.is_empty() { &here[..] } else { paths } {
            if path.is_dir() {
                let real = path
                    .canonicalize()
                    .map_err(|error| reading(&error).on(shown(path)))?;
                targets.folder(path.strip_prefix(".").unwrap_or(path), &real)?;
            } else {
                let place = Location::of(path)?;
                targets.repository(place.root.as_deref())?;
                targets.add(path.clone(), place.real, place.root.as_deref(), true);
            }
        }
        Ok(targets)
    }

    fn add(&mut self, shown: PathBuf, real: PathBuf, root: Option<&Path>, named: bool) {
        let path = root.and_then(|root| real.strip_prefix(root).ok());
        let path = path.unwrap_or(&shown).to_owned();
        self.all.push(Target {
            shown,
            path,
            real,
            named,
        });
    }

    /// Learns what Git would commit of a repository, once; returns it.
    fn repository(&mut self, root: Option<&Path>) -> Result<Vec<PathBuf>> {
        let Some(root) = root else {
            return Ok(Vec::new());
        };
        let files = History::around(root)?.work_tree()?;
        if !self.roots.iter().any(|known| known == root) {
            self.roots.push(root.to_owned());
            self.committed.extend(files.iter().cloned());
        }
        Ok(files)
    }

    fn folder(&mut self, shown: &Path, real: &Path) -> Result<()> {
        let root = Repository::around(real)?.map(|repository| repository.root);
        let files = self.repository(root.as_deref())?;
        let below: Vec<PathBuf> = files
            .into_iter()
            .filter(|file| file.starts_with(real))
            .collect();
        if root.is_none() || (below.is_empty() && is_ignored(real, root.as_deref())) {
            return self.walk(shown, real, root.as_deref());
        }
        for file in below {
            let Ok(inside) = file.strip_prefix(real) else {
                continue;
            };
            let shown = shown.join(inside);
            // A submodule, or a repository inside of this one.
            if file != real
                && file.is_dir()
                && file.symlink_metadata().is_ok_and(|data| data.is_dir())
            {
                self.folder(&shown, &file)?;
            } else {
                self.add(shown, file, root.as_deref(), false);
            }
        }
        Ok(())
    }

    /// Where Git does not say what belongs to it.
    fn walk(&mut self, folder: &Path, real: &Path, root: Option<&Path>) -> Result<()> {
        let fail = |error: &std::io::Error| reading(error).on(shown(real));
        let entries =
            std::fs::read_dir(real).and_then(Iterator::collect::<std::io::Result<Vec<_>>>);
        let mut entries = entries.map_err(|error| fail(&error))?;
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries {
            let kind = entry.file_type().map_err(|error| fail(&error))?;
            let name = entry.file_name();
            if kind.is_dir() && name != ".git" {
                let real = entry.path();
                if root.is_none() && real.join(".git").exists() {
                    self.folder(&folder.join(name), &real)?;
                } else {
                    self.walk(&folder.join(name), &real, root)?;
                }
            } else if kind.is_file() {
                self.add(folder.join(name), entry.path(), root, false);
            }
        }
        Ok(())
    }

    /// Another file that a manifest names, if Git would commit it.
    pub fn beside(&self, target: &Target, name: &str) -> Option<Zeroizing<Vec<u8>>> {
        let path = joined(&target.real, name)?;
        let root = self.roots.iter().find(|root| target.real.starts_with(root));
        let is_ours = root.is_none_or(|_| self.committed.contains(&path));
        (is_ours && path.is_file())
            .then(|| files::read(&path, INPUT_BYTES).ok())
            .flatten()
    }
}

/// The path of a file beside another one, without `.` and `..`.
pub(super) fn joined(file: &Path, name: &str) -> Option<PathBuf> {
    let mut path = file.parent()?.to_owned();
    for part in Path::new(name).components() {
        match part {
            Component::Normal(part) => path.push(part),
            Component::ParentDir => drop(path.pop()),
            Component::CurDir => {}
            _ => return None,
        }
    }
    Some(path)
}

fn is_ignored(folder: &Path, root: Option<&Path>) -> bool {
    let place = Location {
        given: folder.to_owned(),
        real: folder.to_owned(),
        root: root.map(Path::to_owned),
    };
    !place.is_committable()
}

/// Reads a file, as far as it is text.
pub(super) fn read(target: &Target) -> Result<Content> {
    /// Git looks at as many bytes to tell text from others.
    const BEGINNING: u64 = 8_000;
    let fail = |error: std::io::Error| reading(&error).on(shown(&target.shown));
    if !target.named
        && !target
            .real
            .symlink_metadata()
            .is_ok_and(|data| data.is_file())
    {
        return Ok(Content::Gone);
    }
    let file = match std::fs::File::open(&target.real) {
        Err(error) if error.kind() == ErrorKind::NotFound && !target.named => {
            return Ok(Content::Gone);
        }
        other => other.map_err(fail)?,
    };
    let size = file.metadata().map_err(fail)?.len();
    if size > INPUT_BYTES as u64 {
        let mut beginning = Zeroizing::new(Vec::new());
        file.take(BEGINNING)
            .read_to_end(&mut beginning)
            .map_err(fail)?;
        let is_binary = beginning.contains(&0);
        return Ok(if is_binary {
            Content::Binary
        } else {
            Content::TooLarge
        });
    }
    Ok(Content::Bytes(files::read(&target.real, INPUT_BYTES)?))
}

/// What a file is, by its path.
pub(super) fn kind(path: &Path) -> FileKind {
    let name = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .to_ascii_lowercase();
    // Templates and backups of manifests, such as `db.yaml.gotmpl` and `db.yaml.bak`.
    let has = |part: &str| name.contains(part);
    if !is_manifest(path) && !has(".yaml.") && !has(".yml.") && !has(".json.") {
        return FileKind::Text;
    }
    let folders = path.parent().unwrap_or(path).components();
    let in_chart = folders
        .into_iter()
        .any(|part| part.as_os_str() == "templates");
    if in_chart {
        FileKind::ChartTemplate
    } else {
        FileKind::Manifest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_follow_from_paths() {
        for (path, expected) in [
            ("a/db.yaml", FileKind::Manifest),
            ("a/DB.YML", FileKind::Manifest),
            ("db.json.tpl", FileKind::Manifest),
            ("chart/templates/db.yaml", FileKind::ChartTemplate),
            ("templates.yaml", FileKind::Manifest),
            ("notes.md", FileKind::Text),
            ("yaml", FileKind::Text),
        ] {
            assert_eq!(kind(Path::new(path)), expected, "{path}");
        }
        assert_eq!(
            joined(Path::new("/a/b/c.yaml"), "../d"),
            Some("/a/d".into())
        );
        assert_eq!(joined(Path::new("/a/b/c.yaml"), "/d"), None);
    }
}
