//! The editor of a person, and the private folder that it works in.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use tempfile::TempDir;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::error::{CommandError, Result};

/// The signals that would end this program and leave plaintext behind.
pub(super) struct Signals {
    runtime: tokio::runtime::Runtime,
    /// The terminal sends these to the editor too, which may live on.
    shared: [Signal; 2],
    /// These are for us.
    ours: [Signal; 2],
}

impl Signals {
    pub(super) fn caught() -> Result<Self> {
        let failed = |_| CommandError::bug("signals cannot be caught");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(failed)?;
        let entered = runtime.enter();
        let catch = |kind| signal(kind).map_err(failed);
        let shared = [catch(SignalKind::interrupt())?, catch(SignalKind::quit())?];
        let ours = [
            catch(SignalKind::terminate())?,
            catch(SignalKind::hangup())?,
        ];
        drop(entered);
        Ok(Self {
            runtime,
            shared,
            ours,
        })
    }

    /// Waits for a process; nothing if a signal that is for us comes first.
    fn wait(&mut self, child: &mut Child) -> io::Result<Option<ExitStatus>> {
        let ([interrupt, quit], [terminate, hangup]) = (&mut self.shared, &mut self.ours);
        self.runtime.block_on(async {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = quit.recv() => {}
                    _ = terminate.recv() => return Ok(None),
                    _ = hangup.recv() => return Ok(None),
                    () = tokio::time::sleep(POLL) => {
                        if let Some(status) = child.try_wait()? {
                            return Ok(Some(status));
                        }
                    }
                }
            }
        })
    }
}

const POLL: Duration = Duration::from_millis(50);

/// Runs the editor of the person, as Git does. A signal that would end us ends it first, and the
/// private folder goes.
pub(crate) fn edit(path: &Path, folder: &PrivateFolder, signals: &mut Signals) -> Result<()> {
    let variable = |name| {
        std::env::var(name)
            .ok()
            .filter(|text| !text.trim().is_empty())
    };
    let editor = variable("VISUAL")
        .or_else(|| variable("EDITOR"))
        .unwrap_or_else(|| "vi".to_owned());
    let failed = |_| {
        CommandError::input("the editor cannot be started")
            .hint("set EDITOR to the editor that you want")
    };
    // Through the shell, since it may have arguments; the path is one of its own.
    let mut child = Command::new("sh")
        .args(["-c", &format!("{editor} \"$@\""), "seal-edit"])
        .arg(path)
        // Swap and undo files that go by it.
        .env("TMPDIR", folder.path())
        .spawn()
        .map_err(failed)?;
    match signals.wait(&mut child) {
        Ok(Some(status)) if status.success() => Ok(()),
        Ok(Some(_)) => Err(CommandError::input("the editor failed").hint("nothing was changed")),
        Ok(None) | Err(_) => {
            let _ = child.kill();
            let _ = child.wait();
            Err(CommandError::input("interrupted").hint("nothing was changed"))
        }
    }
}

/// A folder for plaintext: only for its owner, in memory where the system has such a place. Its
/// files are overwritten before they go.
pub(super) struct PrivateFolder(TempDir);

impl PrivateFolder {
    pub(super) fn new() -> Result<Self> {
        let mut builder = tempfile::Builder::new();
        builder
            .prefix("seal-edit-")
            .permissions(std::fs::Permissions::from_mode(0o700));
        let memory = Path::new("/dev/shm");
        let made = if memory.is_dir() {
            builder.tempdir_in(memory).or_else(|_| builder.tempdir())
        } else {
            builder.tempdir()
        };
        made.map(Self)
            .map_err(|_| CommandError::input("a private folder cannot be created"))
    }

    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for PrivateFolder {
    fn drop(&mut self) {
        overwrite(self.path());
    }
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
                    let _ = io::Write::write_all(&mut file, &vec![0; size]);
                    let _ = file.sync_all();
                }
            }
            _ => {}
        }
    }
}
