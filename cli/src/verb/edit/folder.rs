//! The private folder that plaintext lies in, and its guard: a process of its own that removes the
//! folder when this one is gone, whatever ended it.

use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tempfile::TempDir;

use super::signals::Signals;
use crate::error::{CommandError, Result};
use crate::terminal::print;

/// How the names of private folders begin.
const PREFIX: &str = "seal-edit-";
/// An editor that outlives us may write while the folder is removed.
const ATTEMPTS: u32 = 100;
const PAUSE: Duration = Duration::from_millis(20);

/// A folder for plaintext: only for its owner, in memory where the system has such a place. Its
/// files are overwritten before they go.
pub(super) struct PrivateFolder {
    folder: TempDir,
    /// Dropped last: it looks after the folder until then.
    _guard: Guard,
}

impl PrivateFolder {
    pub(super) fn new() -> Result<Self> {
        let mut builder = tempfile::Builder::new();
        builder
            .prefix(PREFIX)
            .permissions(std::fs::Permissions::from_mode(0o700));
        let memory = Path::new("/dev/shm");
        let made = if memory.is_dir() {
            builder.tempdir_in(memory).or_else(|_| builder.tempdir())
        } else {
            builder.tempdir()
        };
        let folder = made.map_err(|_| CommandError::input("a private folder cannot be created"))?;
        let guard = Guard::of(folder.path()).map_err(|_| {
            CommandError::input("the guard of the private folder cannot be started")
        })?;
        Ok(Self {
            folder,
            _guard: guard,
        })
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for PrivateFolder {
    fn drop(&mut self) {
        overwrite(self.path());
    }
}

/// The process that removes the folder once this one closes its end of a pipe. The system closes
/// it, where nobody else can.
struct Guard(Child);

impl Guard {
    fn of(folder: &Path) -> io::Result<Self> {
        let child = Command::new(std::env::current_exe()?)
            .args(["edit", "--guard"])
            .arg(folder)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // What the terminal sends to us is not for it.
            .process_group(0)
            .spawn()?;
        let mut guard = Self(child);
        let mut ready = [0];
        let stdout = guard.0.stdout.as_mut();
        stdout.map_or(Ok(()), |stdout| stdout.read_exact(&mut ready))?;
        Ok(guard)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// What the guard does: waits until the other process is gone, and removes what it left.
pub(super) fn guard(folder: &Path) -> Result<()> {
    let name = folder.file_name().unwrap_or_default();
    if !name.to_string_lossy().starts_with(PREFIX) || !folder.is_dir() || folder.is_symlink() {
        return Err(CommandError::usage("not a private folder of `seal edit`"));
    }
    let _signals = Signals::caught()?;
    print("\n")?;
    let _ = io::copy(&mut io::stdin(), &mut io::sink());
    for _ in 0..ATTEMPTS {
        overwrite(folder);
        let _ = std::fs::remove_dir_all(folder);
        if !folder.exists() {
            break;
        }
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

/// Keeps this process and its editor from leaving their memory in a file when they crash. Linux
/// hands the memory to a program even where the limit is 0, but not where it is 1; no file is as
/// small as that.
pub(super) fn forbid_core_dumps() {
    let most = getrlimit(Resource::Core).maximum;
    let limit = Some(most.map_or(1, |most| most.min(1)));
    let _ = setrlimit(
        Resource::Core,
        Rlimit {
            current: limit,
            maximum: limit,
        },
    );
}

fn overwrite(folder: &Path) {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    for path in paths {
        match path.symlink_metadata() {
            Ok(metadata) if metadata.is_dir() => overwrite(&path),
            Ok(metadata) if metadata.is_file() => {
                let size = usize::try_from(metadata.len()).unwrap_or_default();
                let file = std::fs::OpenOptions::new().write(true).open(&path);
                if let Ok(mut file) = file {
                    let _ = file.write_all(&vec![0; size]);
                    let _ = file.sync_all();
                }
            }
            _ => {}
        }
    }
}
