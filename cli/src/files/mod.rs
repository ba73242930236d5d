//! Reading with limits and replacing whole files: a reader sees the old file or the new one.

pub(crate) mod lock;
pub(crate) mod parallel;
pub(crate) mod tree;

use std::collections::BTreeSet;
use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

#[cfg(unix)]
use rustix::{fs::Stat, io::Errno};
use zeroize::Zeroizing;

use crate::error::{CommandError, Result};
use crate::terminal::shown;

/// How the names of files that are being written begin.
pub(crate) const TEMPORARY: &str = ".seal-tmp-";
/// Random characters after that.
pub(crate) const TEMPORARY_RANDOM: usize = 16;
/// A temporary file that is older may be one that an interrupted run has left.
const LEFTOVER: Duration = Duration::from_mins(1);
/// Bytes that a key file or a config may have.
pub(crate) const SMALL_FILE: usize = 1024 * 1024;

/// Can nobody else change this file, or what is in this folder and belongs to the person who runs
/// this program? The administrator can always.
#[cfg(unix)]
pub(crate) fn only_we_can_change(stat: &Stat) -> bool {
    is_trusted(stat.st_uid) && !others_can_write(stat)
}

/// Is it the person who runs this program, or the administrator?
#[cfg(unix)]
fn is_trusted(owner: u32) -> bool {
    let me = rustix::process::geteuid();
    // As for Git, `sudo` works on what its caller owns.
    let caller = std::env::var("SUDO_UID").ok().filter(|_| me.is_root());
    let caller = caller.and_then(|uid| uid.parse().ok());
    owner == 0 || owner == me.as_raw() || Some(owner) == caller
}

#[cfg(unix)]
fn others_can_write(stat: &Stat) -> bool {
    use rustix::fs::{FileType, Mode};
    let mode = Mode::from_raw_mode(stat.st_mode);
    // As in /tmp: everybody may add files, but change only their own.
    let is_sticky = FileType::from_raw_mode(stat.st_mode).is_dir() && mode.contains(Mode::SVTX);
    // Many systems give each user a group of the same number, and let it write.
    let group = mode.contains(Mode::WGRP) && stat.st_gid != stat.st_uid;
    (group || mode.contains(Mode::WOTH)) && !is_sticky
}

/// Reads a file below a folder if nobody else can change it or put another one in its place: where
/// no repository says whom to trust. Links below the folder are not followed.
#[cfg(unix)]
pub(crate) fn read_trusted(folder: &Path, name: &Path, limit: usize) -> Result<Zeroizing<Vec<u8>>> {
    use rustix::fs::{CWD, Mode, OFlags, fstat, openat};
    // A pipe of somebody else does not block.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let fail = |error: Errno, path: &Path| match error {
        Errno::LOOP => {
            CommandError::input("outside a Git repository, no symbolic link is followed")
                .on(shown(path))
        }
        other => reading(&other.into()).on(shown(path)),
    };
    let mut path = folder.to_owned();
    let mut held = openat(CWD, folder, flags, Mode::empty()).map_err(|error| fail(error, &path))?;
    let mut parts = name.components();
    loop {
        let stat = fstat(&held).map_err(|error| fail(error, &path))?;
        check_trusted(&stat).map_err(|error| error.on(shown(&path)))?;
        let Some(part) = parts.next() else { break };
        path.push(part);
        held = openat(
            &held,
            part.as_os_str(),
            flags | OFlags::NOFOLLOW,
            Mode::empty(),
        )
        .map_err(|error| fail(error, &path))?;
    }
    read_open(held.into(), &path, limit)
}

#[cfg(not(unix))]
pub(crate) fn read_trusted(folder: &Path, name: &Path, limit: usize) -> Result<Zeroizing<Vec<u8>>> {
    read(&folder.join(name), limit)
}

#[cfg(unix)]
fn check_trusted(stat: &Stat) -> Result<()> {
    let refused = |what, mend| {
        Err(CommandError::input(what)
            .hint("it decides who can open what you seal")
            .hint(mend))
    };
    if !is_trusted(stat.st_uid) {
        return refused(
            "outside a Git repository, and somebody else owns it",
            "work in a folder of your own, or in a repository",
        );
    }
    if others_can_write(stat) {
        return refused(
            "outside a Git repository, and others can change it",
            "take the right from them: `chmod go-w`",
        );
    }
    Ok(())
}

/// Reads a file that may hold plaintext.
pub(crate) fn read(path: &Path, limit: usize) -> Result<Zeroizing<Vec<u8>>> {
    let file = File::open(path).map_err(|error| reading(&error).on(shown(path)))?;
    read_open(file, path, limit)
}

fn read_open(file: File, path: &Path, limit: usize) -> Result<Zeroizing<Vec<u8>>> {
    let fail = |error: io::Error| reading(&error).on(shown(path));
    let metadata = file.metadata().map_err(fail)?;
    if metadata.is_dir() {
        return Err(fail(io::ErrorKind::IsADirectory.into()));
    }
    let expected = usize::try_from(metadata.len())
        .unwrap_or(usize::MAX)
        .min(limit);
    let bytes = read_all(file, expected, limit).map_err(fail)?;
    bytes.ok_or_else(|| too_large(limit).on(shown(path)))
}

/// Reads text that is not secret.
pub(crate) fn read_text(path: &Path, limit: usize) -> Result<String> {
    let bytes = std::mem::take(&mut *read(path, limit)?);
    String::from_utf8(bytes).map_err(|error| not_text(error.as_bytes()).on(shown(path)))
}

/// Why these bytes are no text.
pub(crate) fn not_text(bytes: &[u8]) -> CommandError {
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return CommandError::input("the file is in UTF-16, and UTF-8 is needed").hint(
            "PowerShell's `>` writes UTF-16: use `| Out-File -Encoding utf8`, or save the file as UTF-8",
        );
    }
    CommandError::input("not UTF-8 text")
}

/// Reads stdin, which may hold plaintext.
pub(crate) fn read_stdin(limit: usize) -> Result<Zeroizing<Vec<u8>>> {
    let bytes = read_all(io::stdin().lock(), 64 * 1024, limit)
        .map_err(|error| reading(&error).on("stdin"))?;
    bytes.ok_or_else(|| too_large(limit).on("stdin"))
}

fn too_large(limit: usize) -> CommandError {
    CommandError::input(format_args!("larger than {} MiB", limit / 1024 / 1024))
}

/// Grows by copying into a new buffer and wiping the old one: `Vec` alone would leave plaintext
/// behind. Nothing when there is more than `limit`.
fn read_all(
    mut source: impl Read,
    expected: usize,
    limit: usize,
) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    let mut bytes = Zeroizing::new(vec![0; expected + 1]);
    let mut length = 0;
    loop {
        if length == bytes.len() {
            if length > limit {
                return Ok(None);
            }
            let mut larger = Zeroizing::new(vec![0; length * 2]);
            larger[..length].copy_from_slice(&bytes);
            bytes = larger;
        }
        match source.read(&mut bytes[length..]) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(length);
    Ok((length <= limit).then_some(bytes))
}

/// Who may read a new file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Everybody whom the umask lets.
    Public,
    /// The owner.
    Private,
    /// As public, and it can be run.
    Program,
}

/// Replaces a file as a whole, or makes it. An existing file keeps its mode. `path` must have its
/// links resolved; errors leave it to the caller to name the path that was given.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    replace_unsynced(path, bytes)?;
    sync_folders([path]);
    Ok(())
}

/// The same for one of many files: [`sync_folders`] follows when all of them are there.
pub(crate) fn replace_unsynced(path: &Path, bytes: &[u8]) -> Result<()> {
    let old = match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() && metadata.permissions().readonly() => {
            return Err(CommandError::input("the file is read-only"));
        }
        Ok(metadata) if metadata.is_file() => Some(metadata.permissions()),
        Ok(_) => return Err(CommandError::input("not a regular file")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(writing(&error)),
    };
    let file = temporary(path, bytes, Access::Public).map_err(|error| writing(&error))?;
    if let Some(permissions) = old {
        file.as_file()
            .set_permissions(permissions)
            .map_err(|error| writing(&error))?;
    }
    file.persist(path).map_err(|error| writing(&error.error))?;
    Ok(())
}

/// Creates a file that must not exist yet.
pub(crate) fn create(path: &Path, bytes: &[u8], access: Access) -> Result<()> {
    let file = temporary(path, bytes, access).map_err(|error| writing(&error).on(shown(path)))?;
    file.persist_noclobber(path)
        .map_err(|error| match error.error.kind() {
            io::ErrorKind::AlreadyExists => CommandError::input(format_args!(
                "{} exists and is never overwritten",
                shown(path)
            ))
            .hint("choose another path"),
            _ => writing(&error.error).on(shown(path)),
        })?;
    sync_folders([path]);
    Ok(())
}

fn temporary(path: &Path, bytes: &[u8], access: Access) -> io::Result<tempfile::NamedTempFile> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let mut builder = tempfile::Builder::new();
    builder.prefix(TEMPORARY).rand_bytes(TEMPORARY_RANDOM);
    if let Some(permissions) = permissions(access) {
        builder.permissions(permissions);
    }
    let folder = folder.unwrap_or(Path::new("."));
    remove_leftovers(folder);
    let mut file = builder.tempfile_in(folder)?;
    // Whoever looks for leftovers sees that somebody is at work on it.
    let _ = file.as_file().lock();
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    Ok(file)
}

/// Is this a temporary file of ours?
fn is_temporary(name: &str) -> bool {
    let random = name.strip_prefix(TEMPORARY);
    random.is_some_and(|random| {
        random.len() == TEMPORARY_RANDOM && random.bytes().all(|byte| byte.is_ascii_alphanumeric())
    })
}

/// Removes the temporary files that interrupted runs have left in a folder: old ones on which nobody
/// works. Each folder is looked at once: a run may write thousands of files.
fn remove_leftovers(folder: &Path) {
    static SEEN: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
    let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    if !seen.insert(folder.to_owned()) {
        return;
    }
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if !is_temporary(&entry.file_name().to_string_lossy()) {
            continue;
        }
        let age = entry.metadata().ok().filter(fs::Metadata::is_file);
        let age = age.and_then(|metadata| metadata.modified().ok()?.elapsed().ok());
        if age.is_some_and(|age| age > LEFTOVER)
            && File::open(entry.path()).is_ok_and(|file| file.try_lock().is_ok())
        {
            let _ = fs::remove_file(entry.path());
        }
    }
}

#[cfg(unix)]
#[expect(clippy::unnecessary_wraps, reason = "other systems have no modes")]
fn permissions(access: Access) -> Option<Permissions> {
    use std::os::unix::fs::PermissionsExt as _;
    // The umask applies to all.
    Some(Permissions::from_mode(match access {
        Access::Private => 0o600,
        Access::Public => 0o666,
        Access::Program => 0o777,
    }))
}

#[cfg(not(unix))]
fn permissions(_: Access) -> Option<Permissions> {
    None
}

/// Makes renames durable, each folder once. Systems on which folders cannot be synced lose
/// nothing but that.
pub(crate) fn sync_folders<'a>(paths: impl IntoIterator<Item = &'a Path>) {
    let folders: BTreeSet<&Path> = paths.into_iter().filter_map(Path::parent).collect();
    for folder in folders {
        if let Ok(folder) = File::open(folder) {
            let _ = folder.sync_all();
        }
    }
}

/// Why something cannot be read, in words.
pub(crate) fn reading(error: &io::Error) -> CommandError {
    match error.kind() {
        io::ErrorKind::NotFound => CommandError::input("no such file or folder"),
        io::ErrorKind::PermissionDenied => CommandError::input("no permission to read"),
        io::ErrorKind::IsADirectory => CommandError::input("a file is needed, not a folder"),
        io::ErrorKind::NotADirectory => {
            CommandError::input("a file exists where a folder is needed")
        }
        _ => CommandError::input(format_args!("the path cannot be read ({})", error.kind())),
    }
}

/// Why something cannot be written, in words.
fn writing(error: &io::Error) -> CommandError {
    match error.kind() {
        io::ErrorKind::NotFound => CommandError::input("the folder to write into does not exist")
            .hint("create it with `mkdir -p`; or pass the folder alone, with / at its end"),
        io::ErrorKind::PermissionDenied => CommandError::input("no permission to write"),
        io::ErrorKind::NotADirectory => {
            CommandError::input("a file exists where a folder is needed")
        }
        kind => CommandError::input(format_args!("the file cannot be written ({kind})")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_stops_at_the_limit() {
        let read = |size: usize, expected| {
            read_all(&vec![7; size][..], expected, 100)
                .unwrap()
                .map(|bytes| bytes.len())
        };
        for expected in [0, 1, 50, 100] {
            assert_eq!(read(0, expected), Some(0));
            assert_eq!(read(100, expected), Some(100));
            assert_eq!(read(101, expected), None);
            assert_eq!(read(10_000, expected), None);
        }
    }
}
