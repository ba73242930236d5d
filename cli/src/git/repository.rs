//! Where a path lies: its repository, as Git sees it, and what it really points to.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{LazyLock, Mutex, PoisonError};

use super::command::{self, git};
use crate::error::{CommandError, Result};
use crate::files::reading;
use crate::terminal::{safe, shown};

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
        let repository = lexical.parent().map(Repository::around).transpose()?;
        let root = repository.flatten().map(|repository| repository.root);
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

    /// The path in its repository; without one, as it was given.
    pub fn path(&self) -> &Path {
        let inside = self.root.as_ref();
        let inside = inside.and_then(|root| self.real.strip_prefix(root).ok());
        inside.unwrap_or(&self.given)
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

/// A repository with a work tree.
#[derive(Clone, Debug)]
pub(crate) struct Repository {
    /// Root of the work tree, with symbolic links resolved.
    pub root: PathBuf,
    /// The Git folder that all work trees of a clone share.
    common: PathBuf,
}

/// What Git said of each folder that has `.git` in it, in this run.
static KNOWN: Mutex<BTreeMap<PathBuf, Option<Repository>>> = Mutex::new(BTreeMap::new());

impl Repository {
    /// The repository around a folder, which need not exist. Git decides whether it is one, and
    /// whether its owner may be trusted: whoever owns it chooses recipients. A refusal is an error,
    /// or another config would hold unseen.
    pub fn around(start: &Path) -> Result<Option<Self>> {
        let mut above = start.ancestors();
        let Some(folder) = above.find(|folder| folder.join(".git").exists()) else {
            return named_by_environment(start);
        };
        // The nearest wins, as in a submodule during a hook of its parent.
        if let Some(named) = named_by_environment(start)?
            && folder
                .canonicalize()
                .is_ok_and(|folder| named.root.starts_with(folder))
        {
            return Ok(Some(named));
        }
        let lock = || KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = lock().get(folder) {
            return Ok(known.clone());
        }
        let repository = ask(command::apart(folder), folder)?;
        if let Some(repository) = &repository {
            let inside = folder.canonicalize();
            if !inside.is_ok_and(|folder| folder.starts_with(&repository.root)) {
                let what = "the work tree of this repository is elsewhere";
                return Err(CommandError::input(what)
                    .on(shown(folder))
                    .hint("see `git config core.worktree`"));
            }
        }
        lock().insert(folder.to_owned(), repository.clone());
        Ok(repository)
    }

    /// The same where a repository is required.
    pub fn required(start: &Path) -> Result<Self> {
        Self::around(start)?.ok_or_else(no_repository)
    }
}

/// The repository that `GIT_DIR` and `GIT_WORK_TREE` name, if the folder is in its work tree.
pub(super) fn named_by_environment(folder: &Path) -> Result<Option<Repository>> {
    static NAMED: LazyLock<Result<Option<Repository>>> = LazyLock::new(|| {
        if !command::names_repository() {
            return Ok(None);
        }
        let here = Path::new(".");
        let here = here.canonicalize().map_err(|error| reading(&error))?;
        ask(command::named(&here), &here)
    });
    let named = NAMED.clone()?;
    let real = resolve(folder).unwrap_or_else(|_| folder.to_owned());
    Ok(named.filter(|repository| real.starts_with(&repository.root)))
}

/// What Git says of this folder. A bare repository has no work tree, so it is none.
fn ask(mut git: Command, folder: &Path) -> Result<Option<Repository>> {
    let answer = git
        .args(["rev-parse", "--show-toplevel", "--git-common-dir"])
        // Its reasons are read.
        .env("LC_ALL", "C")
        .stderr(Stdio::piped())
        .output()
        .map_err(|_| {
            CommandError::input("this may be a Git repository, but git cannot be started")
                .on(shown(folder))
                .hint("install git, or put it on the PATH")
        })?;
    if answer.status.success() {
        let mut lines = answer.stdout.split(|byte| *byte == b'\n');
        if let (Some(root), Some(common), Some([]), None) =
            (lines.next(), lines.next(), lines.next(), lines.next())
            && let Some((root, common)) = command::path(root).zip(command::path(common))
        {
            let common = folder.join(common);
            return Ok(Some(Repository { root, common }));
        }
        let what = "Git names no work tree that can be used";
        return Err(CommandError::input(what).on(shown(folder)));
    }
    let said = String::from_utf8_lossy(&answer.stderr);
    // Neither leaves a repository that anybody would expect to count.
    let none = ["not a git repository (or any", "must be run in a work tree"];
    if none.iter().any(|reason| said.contains(reason)) {
        return Ok(None);
    }
    Err(refused(folder, &said))
}

/// Git's own reason and advice.
fn refused(folder: &Path, said: &str) -> CommandError {
    let mut lines = said.lines().map(str::trim).filter(|line| !line.is_empty());
    let reason = lines.next().unwrap_or("it gives no reason");
    let reason = safe(reason.trim_start_matches("fatal: "));
    let advice = lines.collect::<Vec<_>>().join(" ");
    let error = CommandError::input(format_args!("Git refuses this repository: {reason}"));
    let error = error.on(shown(folder));
    if advice.is_empty() {
        return error;
    }
    error.hint(safe(&advice)).hint(
        "trust it only if you trust its owner with your values: its config chooses recipients",
    )
}

/// The error when a repository is required.
pub(crate) fn no_repository() -> CommandError {
    CommandError::input("not a Git repository").hint("create one first: `git init`")
}

/// The branch that HEAD is on; while Git rebases one, that. Nothing where it is on none.
pub(crate) fn branch_of_head(root: &Path) -> Option<String> {
    let ask = |arguments: &[&str]| match git(root, arguments) {
        Some((0, text)) => Some(text.trim_end_matches('\n').to_owned()),
        _ => None,
    };
    let rebased = || {
        let places = ["rebase-merge/head-name", "rebase-apply/head-name"];
        let paths = places.map(|place| ask(&["rev-parse", "--git-path", place]));
        let texts = paths.into_iter().flatten();
        let mut texts = texts.filter_map(|path| std::fs::read_to_string(root.join(path)).ok());
        texts.next().map(|text| text.trim_end().to_owned())
    };
    let name = ask(&["symbolic-ref", "-q", "HEAD"]).or_else(rebased)?;
    name.strip_prefix("refs/heads/").map(str::to_owned)
}

/// The branch that a revision names, here or at a remote; nothing for a commit.
pub(crate) fn branch_of(root: &Path, revision: &str) -> Option<String> {
    if revision.starts_with('-') {
        return None;
    }
    let arguments = ["rev-parse", "--symbolic-full-name", revision];
    let (0, name) = git(root, &arguments)? else {
        return None;
    };
    let name = name.trim_end();
    let remote = || Some(name.strip_prefix("refs/remotes/")?.split_once('/')?.1);
    let name = name.strip_prefix("refs/heads/").or_else(remote)?;
    Some(name.to_owned())
}

/// The Git folder that all work trees of a clone share.
pub(crate) fn git_folder(root: &Path) -> Option<PathBuf> {
    let repository = Repository::around(root).ok()?;
    repository.map(|repository| repository.common)
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
