//! How this program runs Git, in one place.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};

/// Git in this folder: it reads nothing from our stdin, and what it says on stderr is not for
/// people.
pub(crate) fn command(folder: &Path) -> Command {
    let mut git = Command::new("git");
    // Replacements would show another history than the one that is pushed.
    git.arg("--no-replace-objects").arg("-C").arg(folder);
    git.stdin(Stdio::null()).stderr(Stdio::null());
    git
}

/// What Git says: its exit code, and its stdout.
pub(crate) fn git(root: &Path, arguments: &[impl AsRef<OsStr>]) -> Option<(i32, String)> {
    let output = command(root).args(arguments).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Some((output.status.code()?, text))
}
