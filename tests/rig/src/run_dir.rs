//! The directory of one control plane: data, keys, logs, kubeconfigs.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, thread};

use tempfile::TempDir;

use crate::{RigError, kept};

/// Removed when dropped if it is ours alone, except while a test fails: then its logs are wanted.
#[derive(Debug)]
pub(crate) struct RunDir {
    path: PathBuf,
    scratch: Option<TempDir>,
    /// Locked as long as this process lives, so that others see whose directory may go.
    _owner: Option<File>,
}

impl RunDir {
    /// A scratch directory of our own.
    pub(crate) fn scratch() -> Result<Self, RigError> {
        remove_abandoned();
        let failed = || RigError::io("create a scratch directory");
        let scratch = tempfile::Builder::new()
            .prefix(PREFIX)
            .tempdir()
            .map_err(failed())?;
        let owner = File::create(scratch.path().join(OWNER)).map_err(failed())?;
        owner.lock().map_err(failed())?;
        let path = scratch.path().canonicalize().map_err(failed())?;
        Ok(Self {
            path,
            scratch: Some(scratch),
            _owner: Some(owner),
        })
    }

    /// A directory somebody chose; it stays.
    pub(crate) fn chosen(dir: &Path) -> Result<Self, RigError> {
        let failed = || RigError::io(format!("use {}", dir.display()));
        fs::create_dir_all(dir).map_err(failed())?;
        let path = dir.canonicalize().map_err(failed())?;
        if kept::is_running(&path) {
            return Err(RigError::AlreadyRunning { dir: path });
        }
        if path.join("etcd").exists() && !path.join(ADMIN_KUBECONFIG).exists() {
            return Err(RigError::Setup(format!(
                "{} holds an etcd folder that is not the rig's; choose another directory",
                path.display()
            )));
        }
        clear(&path)?;
        Ok(Self {
            path,
            scratch: None,
            _owner: None,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn etcd(&self) -> PathBuf {
        self.path.join("etcd")
    }

    pub(crate) fn keys(&self) -> PathBuf {
        self.path.join("keys")
    }

    pub(crate) fn admin_kubeconfig(&self) -> PathBuf {
        self.path.join(ADMIN_KUBECONFIG)
    }

    pub(crate) fn logs(&self) -> PathBuf {
        self.path.join("logs")
    }

    /// Leaves a scratch directory in place.
    pub(crate) fn keep(&mut self) {
        if let Some(scratch) = &mut self.scratch {
            scratch.disable_cleanup(true);
        }
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        if thread::panicking() {
            self.keep();
            eprintln!(
                "sealkit-rig: logs of the control plane are in {}",
                self.logs().display()
            );
        }
    }
}

/// Removes what the rig put into a directory, and nothing else.
pub(crate) fn clear(dir: &Path) -> Result<(), RigError> {
    for entry in ["etcd", "keys", "logs", "kubeconfigs", "kubectl-cache"] {
        remove(&dir.join(entry), |path| fs::remove_dir_all(path))?;
    }
    for entry in [kept::PIDS, ADMIN_KUBECONFIG, OWNER] {
        remove(&dir.join(entry), |path| fs::remove_file(path))?;
    }
    Ok(())
}

/// Writes a file that only its owner can read.
pub(crate) fn write_private(path: &Path, content: &str) -> Result<(), RigError> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    path.parent()
        .map_or(Ok(()), fs::create_dir_all)
        .and_then(|()| options.open(path)?.write_all(content.as_bytes()))
        .map_err(RigError::io(format!("write {}", path.display())))
}

pub(crate) const ADMIN_KUBECONFIG: &str = "admin.kubeconfig";

const PREFIX: &str = "sealkit-rig-";
const OWNER: &str = "owner.lock";
const LOGS_KEPT_FOR: Duration = Duration::from_hours(24);

fn remove(path: &Path, remove: impl FnOnce(&Path) -> std::io::Result<()>) -> Result<(), RigError> {
    if !path.exists() {
        return Ok(());
    }
    remove(path).map_err(RigError::io(format!("remove {}", path.display())))
}

/// A control plane in a `static` is never dropped, and a killed test drops nothing: directories
/// whose owner is gone lose their data at once and their logs after a day.
fn remove_abandoned() {
    let Ok(entries) = fs::read_dir(env::temp_dir()) else {
        return;
    };
    for entry in entries.flatten() {
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        let dir = entry.path();
        let Ok(owner) = File::open(dir.join(OWNER)) else {
            continue;
        };
        if owner.try_lock().is_err() || kept::is_running(&dir) {
            continue;
        }
        let age = owner.metadata().and_then(|meta| meta.modified()).ok();
        let is_old = age
            .and_then(|time| time.elapsed().ok())
            .is_some_and(|age| age > LOGS_KEPT_FOR);
        // Two sweepers may meet here; the other one's removal is as good as ours.
        let _ = fs::remove_dir_all(if is_old { dir } else { dir.join("etcd") });
    }
}
