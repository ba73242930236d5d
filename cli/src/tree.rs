//! The files of a repository that may hold manifests, and where each lies.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::error::Result;
use crate::repository::{Location, reading, root_of};
use crate::terminal::shown;

/// A file to look at.
#[derive(Debug)]
pub struct Found {
    /// Where it lies.
    pub place: Location,
    /// Was it named by a person? Then it must be readable; one found in a folder may be a
    /// template of something else.
    pub named: bool,
}

/// What files there are.
#[derive(Debug, Default)]
pub struct Tree {
    /// YAML and JSON files, in the order of their paths.
    pub files: Vec<Found>,
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
                let root = root_of(&real);
                tree.walk(path, &real, root.as_deref())?;
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
                let nested = below.join(".git").exists().then_some(below.as_path());
                self.walk(&given, &below, nested.or(root))?;
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

/// Is it YAML or JSON, by its name?
pub fn is_manifest(path: &Path) -> bool {
    path.extension()
        .is_some_and(|end| end == "yaml" || end == "yml" || end == "json")
}

/// A temporary file of [`crate::files::replace`] whose process is gone.
fn is_abandoned(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    let random = name.and_then(|name| name.strip_prefix(crate::files::TEMPORARY));
    let ours = random.is_some_and(|random| {
        random.len() == crate::files::TEMPORARY_RANDOM
            && random.bytes().all(|byte| byte.is_ascii_alphanumeric())
    });
    let written = ours
        .then(|| path.metadata().ok()?.modified().ok())
        .flatten();
    written.is_some_and(|at| SystemTime::now().duration_since(at).unwrap_or_default() > ABANDONED)
}

/// Does a file that is no YAML look like a Secret, sealed or not? Charts hold templates, which
/// need not be YAML.
pub fn is_broken_secret(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return true;
    };
    !text.contains("{{")
        && text.lines().any(|line| {
            let line = line.trim().trim_start_matches("- ").trim_end_matches(',');
            let Some((key, value)) = line.split_once(':') else {
                return false;
            };
            let bare = |text: &str| text.trim().trim_matches(['"', '\'']).to_owned();
            bare(key) == "kind" && matches!(bare(value).as_str(), "Secret" | "SealedSecret")
        })
}
