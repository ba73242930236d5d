//! What makes Git call `seal`: the drivers that merge and show SealedSecrets, and the hook that
//! checks each commit.

use std::path::{Path, PathBuf};

use super::command::git;
use super::repository::{Location, Repository, git_folder};
use crate::error::{CommandError, Result};
use crate::files::{self, Access, TEMPORARY, TEMPORARY_RANDOM};
use crate::terminal::{Terminal, shown};

/// Files that the drivers are for.
const PATTERNS: [&str; 2] = ["*.sealed.yaml", "*.sealed.yml"];

/// The pre-commit hook.
const HOOK: &str = "\
#!/bin/sh
# Keeps plain text out of commits. Written by `seal git install`; `git commit --no-verify` skips it.
command -v seal > /dev/null || {
  echo 'seal is not on the PATH, so nothing checks this commit; `git commit --no-verify` skips this hook' >&2
  exit 1
}
seal lint --staged && exec seal verify --staged
";
/// What the hook ended with before there was `seal lint`: such a hook is written again.
const WITHOUT_LINT: &str = "\nexec seal verify --staged\n";
/// The command that a foreign hook has to run.
const CHECK: &str = "seal verify --staged";
/// The whole of it.
const CHECKS: &str = "seal lint --staged && seal verify --staged";

/// Git's command for a merge. Names of files may begin with a dash.
pub(crate) const MERGE_DRIVER: &str = "seal merge-driver -- %O %A %B %P";

/// Settings of Git for the drivers.
const SETTINGS: [(&str, &str); 4] = [
    ("merge.sealkit.name", "key-wise merge of SealedSecrets"),
    ("merge.sealkit.driver", MERGE_DRIVER),
    ("diff.sealkit.textconv", "seal textconv --"),
    // A cache in the repository would be written by everybody.
    ("diff.sealkit.cachetextconv", "false"),
];

/// Has Git ignore, in this clone, what an interrupted run may leave beside a file. The next run
/// removes it.
pub(crate) fn ignore_leftovers(root: &Path) {
    let Some(path) = git_folder(root).map(|git| git.join("info/exclude")) else {
        return;
    };
    let line = format!("{TEMPORARY}{}", "?".repeat(TEMPORARY_RANDOM));
    let old = std::fs::read_to_string(&path).unwrap_or_default();
    if old.lines().any(|known| known == line) {
        return;
    }
    let end = if old.is_empty() || old.ends_with('\n') {
        ""
    } else {
        "\n"
    };
    let folder = path.parent().map(std::fs::create_dir_all);
    if folder.is_some_and(|made| made.is_ok()) {
        // Without it, Git shows a file that does no harm.
        let _ = files::replace(&path, format!("{old}{end}{line}\n").as_bytes());
    }
}

/// Sets Git up for this clone, and `.gitattributes` for everybody.
pub(crate) fn install(with_hook: bool, terminal: Terminal) -> Result<()> {
    let root = root()?;
    for (name, value) in SETTINGS {
        let written = git(&root, &["config", "--local", name, value]);
        if !matches!(written, Some((0, _))) {
            return Err(CommandError::input("Git's configuration cannot be written").on(name));
        }
    }
    let place = Location::of(&root.join(".gitattributes"))?;
    let old = match std::fs::symlink_metadata(&place.real) {
        Ok(_) => files::read_text(&place.real, files::SMALL_FILE)?,
        Err(_) => String::new(),
    };
    let mut text = old.clone();
    for pattern in PATTERNS {
        let line = format!("{pattern} merge=sealkit diff=sealkit");
        if !old.lines().any(|known| known.trim() == line) {
            if !text.is_empty() && !text.ends_with('\n') {
                text.push('\n');
            }
            text.push_str(&line);
            text.push('\n');
        }
    }
    if text != old {
        files::replace(&place.real, text.as_bytes())
            .map_err(|error| error.on(shown(&place.given)))?;
        terminal.done("wrote", Path::new(".gitattributes"));
    }
    ignore_leftovers(&root);
    if with_hook {
        install_hook(&root, terminal)?;
    }
    terminal.note("`git merge` and `git diff` now handle SealedSecrets in this clone; commit .gitattributes, and run this in every clone");
    Ok(())
}

fn root() -> Result<PathBuf> {
    let here = std::env::current_dir().map_err(|_| CommandError::input("no working directory"))?;
    Ok(Repository::required(&here)?.root)
}

/// Undoes [`install`] for this clone. `.gitattributes` is for everybody and stays.
pub(crate) fn uninstall(terminal: Terminal) -> Result<()> {
    let root = root()?;
    for section in ["merge.sealkit", "diff.sealkit"] {
        // Without such a section, there is nothing to do.
        let _ = git(&root, &["config", "--local", "--remove-section", section]);
    }
    let Some(hook) = hook(&root) else {
        return Ok(());
    };
    let text = std::fs::read_to_string(&hook.path).unwrap_or_default();
    if hook.is_own && is_written_by_us(&text) {
        std::fs::remove_file(&hook.path)
            .map_err(|error| files::reading(&error).on(shown(&hook.path)))?;
        terminal.done(
            "removed",
            hook.path.strip_prefix(&root).unwrap_or(&hook.path),
        );
    } else if hook.is_ours {
        terminal.note(format_args!(
            "{} stays unchanged: take `{CHECK}` out of your own hook",
            shown(&hook.path)
        ));
    }
    terminal.note("Git handles SealedSecrets in this clone like other files now; .gitattributes stays, since it is for every clone");
    Ok(())
}

/// Is it the hook of this version, or of one before `seal lint`?
fn is_written_by_us(text: &str) -> bool {
    text == HOOK || is_without_lint(text)
}

fn is_without_lint(text: &str) -> bool {
    let start = HOOK.split("\nseal lint").next().unwrap_or(HOOK);
    text.strip_prefix(start) == Some(WITHOUT_LINT)
}

/// The hook that Git runs before a commit.
pub(crate) struct Hook {
    path: PathBuf,
    /// Does it lie in the clone's own folder? Others may serve other clones too, and other programs
    /// write them.
    is_own: bool,
    /// Does it look at what is committed?
    pub is_ours: bool,
}

/// Where it is, or would be; nothing where Git does not say.
pub(crate) fn hook(root: &Path) -> Option<Hook> {
    let (0, folder) = git(root, &["rev-parse", "--git-path", "hooks"])? else {
        return None;
    };
    let folder = root.join(folder.trim_end_matches('\n'));
    let own = git_folder(root)?.join("hooks");
    // It may not exist yet.
    let real = |path: &Path| {
        let parent = path.parent().and_then(|parent| parent.canonicalize().ok());
        let last = path
            .file_name()
            .zip(parent)
            .map(|(name, parent)| parent.join(name));
        path.canonicalize().ok().or(last)
    };
    let path = folder.join("pre-commit");
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let mut lines = text.lines().map(str::trim_start);
    let calls = lines.any(|line| !line.starts_with('#') && line.contains(CHECK));
    Some(Hook {
        is_own: real(&folder).is_some_and(|folder| Some(folder) == real(&own)),
        is_ours: calls && is_executable(&path),
        path,
    })
}

/// Git passes over hooks that cannot be run.
#[cfg(unix)]
fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    path.metadata()
        .is_ok_and(|metadata| metadata.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_executable(_: &Path) -> bool {
    true
}

/// A foreign hook stays unchanged.
fn install_hook(root: &Path, terminal: Terminal) -> Result<()> {
    let unknown = || CommandError::input("Git does not report where its hooks are");
    let hook = hook(root).ok_or_else(unknown)?;
    let text = std::fs::read_to_string(&hook.path).unwrap_or_default();
    if hook.is_own && is_without_lint(&text) {
        files::replace(&hook.path, HOOK.as_bytes())?;
        terminal.done("wrote", hook.path.strip_prefix(root).unwrap_or(&hook.path));
        return Ok(());
    }
    if hook.is_ours {
        return Ok(());
    }
    if !hook.is_own || hook.path.symlink_metadata().is_ok() {
        terminal.note(format_args!(
            "{} stays unchanged: call `{CHECKS}` from your own hook, and make it executable",
            shown(&hook.path)
        ));
        return Ok(());
    }
    if let Some(folder) = hook.path.parent() {
        std::fs::create_dir_all(folder)
            .map_err(|_| CommandError::input("the folder cannot be created").on(shown(folder)))?;
    }
    files::create(&hook.path, HOOK.as_bytes(), Access::Program)?;
    terminal.done("wrote", hook.path.strip_prefix(root).unwrap_or(&hook.path));
    Ok(())
}
