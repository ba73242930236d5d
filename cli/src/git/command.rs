//! How this program runs Git, in one place.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::repository::named_by_environment;

/// What names a repository instead of the folder. Hooks see it.
const NAMES: [&str; 3] = ["GIT_DIR", "GIT_WORK_TREE", "GIT_COMMON_DIR"];
/// What else belongs to that repository.
const PARTS: [&str; 4] = [
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_SHALLOW_FILE",
];

/// Git in this folder: it reads nothing from our stdin, and what it says on stderr is not for
/// people. It runs no hook, as it would where it writes the index.
pub(crate) fn command(folder: &Path) -> Command {
    let mut git = with_hooks(folder);
    git.args(["-c", "core.hooksPath=/dev/null"]);
    git
}

/// The same, and it can say where the hooks are.
fn with_hooks(folder: &Path) -> Command {
    if !names_repository() {
        return plain(folder);
    }
    match named_by_environment(folder) {
        Ok(Some(_)) => named(folder),
        _ => apart(folder),
    }
}

/// Does the environment name a repository?
pub(super) fn names_repository() -> bool {
    NAMES.iter().any(|name| std::env::var_os(name).is_some())
}

/// Git in this folder and in the repository that the environment names, seen from here.
pub(super) fn named(folder: &Path) -> Command {
    let mut git = plain(folder);
    for name in NAMES.iter().chain(&PARTS[..1]) {
        let path = std::env::var_os(name).filter(|path| !path.is_empty());
        if let Some(Ok(path)) = path.map(std::path::absolute) {
            git.env(name, path);
        }
    }
    git
}

/// Git in this folder, whatever repository the environment names.
pub(super) fn apart(folder: &Path) -> Command {
    let mut git = plain(folder);
    for name in NAMES {
        git.env_remove(name);
    }
    if names_repository() {
        for name in PARTS {
            git.env_remove(name);
        }
    }
    git
}

fn plain(folder: &Path) -> Command {
    let mut git = Command::new("git");
    // Replacements would show another history than the one that is pushed.
    git.arg("--no-replace-objects").arg("-C").arg(folder);
    // Whoever made the repository may have written its configuration, in an archive for example:
    // it must run no program of theirs. Versions before 2.44 know only the last one, and
    // fail when they want to fetch what a partial clone lacks.
    git.args(["-c", "core.fsmonitor=false"]);
    git.env("GIT_NO_LAZY_FETCH", "1");
    git.env("GIT_ALLOW_PROTOCOL", "");
    git.stdin(Stdio::null()).stderr(Stdio::null());
    git
}

/// A path that Git prints.
#[cfg(unix)]
#[expect(
    clippy::unnecessary_wraps,
    reason = "other systems have no paths of any bytes"
)]
pub(super) fn path(bytes: &[u8]) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStrExt as _;
    Some(OsStr::from_bytes(bytes).into())
}

#[cfg(not(unix))]
pub(super) fn path(bytes: &[u8]) -> Option<PathBuf> {
    std::str::from_utf8(bytes).ok().map(PathBuf::from)
}

/// What Git says of a repository and its settings: its exit code, and its stdout.
pub(crate) fn git(root: &Path, arguments: &[impl AsRef<OsStr>]) -> Option<(i32, String)> {
    let output = with_hooks(root).args(arguments).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Some((output.status.code()?, text))
}
