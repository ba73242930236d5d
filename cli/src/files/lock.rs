//! One writer at a time for a file that is read, changed and replaced.

use std::collections::BTreeSet;
use std::fs::{File, TryLockError};
use std::path::Path;
use std::time::{Duration, Instant};

use sealkit_core::manifest::INPUT_BYTES;

use super::{read, replace_unsynced, sync_folders};
use crate::error::{CommandError, Result};

/// How long another run may take with files of the same folder.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(10);

/// Holds the folders of files against other runs of `seal`, until it is dropped. Folders are locked
/// and not files: a file that is replaced is another one. Where a file system has no locks,
/// [`replace_unchanged`] still notices a change.
#[must_use]
pub(crate) struct Lock(#[expect(dead_code, reason = "held, and released when dropped")] Vec<File>);

impl Lock {
    /// Waits for other runs. All files that a run changes are locked at once, in one order, so that
    /// no two runs wait for each other.
    pub fn of<'a>(paths: impl IntoIterator<Item = &'a Path>) -> Result<Self> {
        let folders: BTreeSet<&Path> = paths.into_iter().filter_map(Path::parent).collect();
        let end = Instant::now() + PATIENCE;
        let mut held = Vec::new();
        for folder in folders {
            let folder = if folder.as_os_str().is_empty() {
                Path::new(".")
            } else {
                folder
            };
            // A folder that is still to be made has no file that could be changed.
            let Ok(folder) = File::open(folder) else {
                continue;
            };
            loop {
                match folder.try_lock() {
                    Ok(()) => break held.push(folder),
                    Err(TryLockError::WouldBlock) if Instant::now() < end => {
                        std::thread::sleep(PAUSE);
                    }
                    Err(TryLockError::WouldBlock) => {
                        return Err(CommandError::input(
                            "another run of `seal` is changing files of the same folder",
                        )
                        .hint("nothing was changed; wait until it is done, and try again"));
                    }
                    Err(TryLockError::Error(_)) => break,
                }
            }
        }
        Ok(Self(held))
    }
}

/// Replaces a file that still has this content; nothing where it did not exist. Whoever came first
/// keeps what they wrote.
pub(crate) fn replace_unchanged(path: &Path, old: Option<&str>, bytes: &[u8]) -> Result<()> {
    replace_unchanged_unsynced(path, old, bytes)?;
    sync_folders([path]);
    Ok(())
}

/// The same for one of many files: [`sync_folders`] follows when all of them are there.
pub(crate) fn replace_unchanged_unsynced(
    path: &Path,
    old: Option<&str>,
    bytes: &[u8],
) -> Result<()> {
    let now = match path.try_exists() {
        Ok(false) => None,
        _ => Some(read(path, INPUT_BYTES)?),
    };
    if now.as_ref().map(|bytes| bytes.as_slice()) != old.map(str::as_bytes) {
        return Err(
            CommandError::input("somebody else changed the file meanwhile")
                .hint("it was left as it is; run the command again"),
        );
    }
    replace_unsynced(path, bytes)
}
