//! Where a path lies: its repository, and what it really points to.

use std::path::{Component, Path, PathBuf};

use super::command::git;
use crate::error::{CommandError, Result};
use crate::files::reading;
use crate::terminal::shown;

/// A path to write to or to find rules for, with symbolic links resolved.
#[derive(Clone, Debug)]
pub(crate) struct Location {
    /// The path as it was given.
    pub given: PathBuf,
    /// The file itself, whether it exists or not.
    pub real: PathBuf,
    /// Root of the repository around it.
    pub root: Option<PathBuf>,
}

impl Location {
    /// Resolves a path. Errors when a symbolic link leads out of the path's repository.
    pub fn of(path: &Path) -> Result<Self> {
        let unreadable = |error: &std::io::Error| reading(error).on(shown(path));
        let absolute = std::path::absolute(path).map_err(|error| unreadable(&error))?;
        let lexical = clean(&absolute);
        let root = lexical.parent().and_then(root_of);
        let root = match root.map(|root| root.canonicalize()).transpose() {
            Ok(root) => root,
            Err(error) => return Err(unreadable(&error)),
        };
        let real = resolve(&absolute).map_err(|error| unreadable(&error))?;
        if let Some(root) = root.as_ref().filter(|root| !real.starts_with(root)) {
            return Err(
                CommandError::input("a symbolic link points outside the repository")
                    .on(shown(path))
                    .hint(format_args!("write to a path inside {}", shown(root))),
            );
        }
        Ok(Self {
            given: path.to_owned(),
            real,
            root,
        })
    }

    /// Is it in a work tree whose Git would commit it?
    pub fn is_committable(&self) -> bool {
        let Some(root) = &self.root else { return false };
        let path = self.real.as_os_str();
        let ignored = git(
            root,
            &["check-ignore".as_ref(), "-q".as_ref(), "--".as_ref(), path],
        );
        !matches!(ignored, Some((0, _)))
    }
}

/// The folder that has `.git` in it: this one or the nearest above.
pub(crate) fn root_of(start: &Path) -> Option<PathBuf> {
    start
        .ancestors()
        .find(|folder| folder.join(".git").exists())
        .map(Path::to_owned)
}

/// The error when a repository is required.
pub(crate) fn no_repository() -> CommandError {
    CommandError::input("not a Git repository").hint("create one first: `git init`")
}

/// The Git folder that all work trees of a clone share.
pub(crate) fn git_folder(root: &Path) -> Option<PathBuf> {
    let entry = root.join(".git");
    if entry.is_dir() {
        return Some(entry);
    }
    // A linked work tree or a submodule: `gitdir: <path>`, and there `commondir` for the former.
    let text = std::fs::read_to_string(&entry).ok()?;
    let folder = root.join(text.strip_prefix("gitdir:")?.trim());
    match std::fs::read_to_string(folder.join("commondir")) {
        Ok(common) => Some(folder.join(common.trim())),
        Err(_) => Some(folder),
    }
}

/// Follows links in the part that exists; what does not exist yet is appended as it is.
fn resolve(path: &Path) -> std::io::Result<PathBuf> {
    match path.canonicalize() {
        Ok(real) => Ok(real),
        // A link to nowhere would be followed by a write.
        Err(error) if path.is_symlink() => Err(error),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            match (path.parent(), path.file_name()) {
                (Some(parent), Some(name)) => Ok(resolve(parent)?.join(name)),
                _ => Err(error),
            }
        }
        Err(error) => Err(error),
    }
}

/// Without `.` and `..`, by text alone.
fn clean(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => {
                out.pop();
            }
            Component::CurDir => {}
            other => out.push(other),
        }
    }
    out
}
