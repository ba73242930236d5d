//! The files of a repository that may hold manifests, and the place of each.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::is_temporary;
use super::reading;
use crate::error::Result;
use crate::git::command;
use crate::git::repository::{Location, Repository};
use crate::terminal::shown;

/// A file to look at.
#[derive(Debug)]
pub(crate) struct Found {
    /// Where it lies.
    pub place: Location,
    /// Was it named by a person? Then it must be readable; one found in a folder may be a
    /// template of something else.
    pub named: bool,
}

/// What files there are.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    /// YAML and JSON files, in the order of their paths.
    pub files: Vec<Found>,
    /// What Git tracks and did not check out, and why.
    pub absent: Vec<(PathBuf, &'static str)>,
    /// What interrupted runs left behind.
    pub leftovers: Vec<PathBuf>,
}

/// Longer than a file is being written.
const ABANDONED: Duration = Duration::from_mins(1);

impl Tree {
    /// Everything below these paths; without any, below the working directory. `.git` and links
    /// inside of folders are left out.
    pub fn below(paths: &[PathBuf]) -> Result<Self> {
        let mut tree = Self::default();
        let here = [PathBuf::from(".")];
        let paths = if paths.is_empty() { &here[..] } else { paths };
        for path in paths {
            if path.is_dir() {
                let real = path
                    .canonicalize()
                    .map_err(|error| reading(&error).on(shown(path)))?;
                let root = root_of(&real)?;
                tree.walk(path, &real, root.as_deref())?;
                if root.is_some() {
                    tree.absent.extend(absent(path, &real));
                }
            } else {
                let place = Location::of(path)?;
                tree.files.push(Found { place, named: true });
            }
        }
        Ok(tree)
    }

    fn walk(&mut self, folder: &Path, real: &Path, root: Option<&Path>) -> Result<()> {
        let fail = |error: &std::io::Error| reading(error).on(shown(folder));
        let mut entries = std::fs::read_dir(folder)
            .and_then(Iterator::collect::<std::io::Result<Vec<_>>>)
            .map_err(|error| fail(&error))?;
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries {
            let kind = entry.file_type().map_err(|error| fail(&error))?;
            let (name, path) = (entry.file_name(), entry.path());
            let below = real.join(&name);
            let given = path.strip_prefix(".").map(Path::to_owned).unwrap_or(path);
            if kind.is_dir() && name != ".git" {
                let nested = below.join(".git").exists().then(|| root_of(&below));
                let nested = nested.transpose()?.flatten();
                self.walk(&given, &below, nested.as_deref().or(root))?;
            } else if kind.is_file() && is_manifest(&given) {
                let place = Location {
                    given,
                    real: below,
                    root: root.map(Path::to_owned),
                };
                let named = false;
                self.files.push(Found { place, named });
            } else if kind.is_file() && is_abandoned(&below) {
                self.leftovers.push(below);
            }
        }
        Ok(())
    }
}

/// Manifests below a folder that a sparse checkout leaves out, and submodules without content.
fn absent(given: &Path, folder: &Path) -> Vec<(PathBuf, &'static str)> {
    let Some((0, list)) = command::git(folder, &["ls-files", "-s", "-t", "-z"]) else {
        return Vec::new();
    };
    let entries = list.split('\0').filter_map(|entry| {
        let (meta, path) = entry.split_once('\t')?;
        let path = Path::new(path);
        let is_empty = || {
            let entries = std::fs::read_dir(folder.join(path));
            entries.map_or(true, |mut entries| entries.next().is_none())
        };
        let mut fields = meta.split(' ');
        let (tag, mode) = (fields.next()?, fields.next()?);
        let why = if tag == "S" && is_manifest(path) && !folder.join(path).exists() {
            "a sparse checkout leaves the file out, so that nothing is known of it: check it out, or look at a whole clone"
        } else if mode == "160000" && is_empty() {
            "the submodule is not checked out, so that nothing is known of it: `git submodule update --init`"
        } else {
            return None;
        };
        let path = given.join(path);
        Some((path.strip_prefix(".").map(Path::to_owned).unwrap_or(path), why))
    });
    entries.collect()
}

fn root_of(folder: &Path) -> Result<Option<PathBuf>> {
    let repository = Repository::around(folder)?;
    Ok(repository.map(|repository| repository.root))
}

/// Is it YAML or JSON, by its name?
pub(crate) fn is_manifest(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let name = name.to_ascii_lowercase();
    [".yaml", ".yml", ".json"]
        .iter()
        .any(|end| name.ends_with(end))
}

/// A temporary file of [`crate::files::replace`] whose process is gone.
fn is_abandoned(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    let ours = name.is_some_and(is_temporary);
    let written = ours
        .then(|| path.metadata().ok()?.modified().ok())
        .flatten();
    written.is_some_and(|at| SystemTime::now().duration_since(at).unwrap_or_default() > ABANDONED)
}

/// Does a file that cannot be read look like a Secret, sealed or not, to a program that reads more?
/// Charts hold templates, which need not be YAML.
pub(crate) fn is_broken_secret(bytes: &[u8]) -> bool {
    // YAML may be UTF-16, whose letters have a zero beside them.
    let bytes: Vec<u8> = bytes.iter().copied().filter(|byte| *byte != 0).collect();
    let text = String::from_utf8_lossy(&bytes);
    let quotes = ['"', '\''];
    let is_kind = |(at, word): (usize, &str)| {
        let after = text[at + word.len()..]
            .trim_start_matches(quotes)
            .trim_start();
        let value = after
            .strip_prefix(':')
            .map(|value| value.trim_start().trim_start_matches(quotes));
        let end = |character: char| !character.is_ascii_alphanumeric();
        let kind = value.and_then(|value| value.split(end).next());
        matches!(kind, Some("Secret" | "SealedSecret" | "SecretList"))
    };
    !text.contains("{{") && text.match_indices("kind").any(is_kind)
}
