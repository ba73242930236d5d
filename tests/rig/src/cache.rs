//! The cache of built tools, outside the tree and shared by all checkouts of a user.

use std::env;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::RigError;

/// The folder `label`-`key` of the cache. `build` fills it unless that was done before, by this or
/// another process; everybody else waits meanwhile.
pub(crate) fn build_once(
    label: &str,
    key: &Key,
    build: impl FnOnce(&Path) -> Result<(), RigError>,
) -> Result<PathBuf, RigError> {
    let root = root()?;
    let folder = root.join(format!("{label}-{}", key.hex()));
    // Built in place, since virtual environments hold their own path; complete once this exists.
    let complete = folder.join(".complete");
    if complete.exists() {
        return Ok(folder);
    }

    let failed = |what: &str, path: &Path| RigError::io(format!("{what} {}", path.display()));
    fs::create_dir_all(&root).map_err(failed("create", &root))?;
    let lock_path = folder.with_extension("lock");
    let lock = File::create(&lock_path).map_err(failed("create", &lock_path))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            eprintln!("sealkit-rig: waiting for another process that builds {label}");
            lock.lock().map_err(failed("lock", &lock_path))?;
        }
        Err(TryLockError::Error(error)) => return Err(failed("lock", &lock_path)(error)),
    }
    if complete.exists() {
        return Ok(folder);
    }
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(failed("remove", &folder))?;
    }
    fs::create_dir(&folder).map_err(failed("create", &folder))?;
    build(&folder)?;
    File::create(&complete).map_err(failed("create", &complete))?;
    Ok(folder)
}

/// Everything a built folder depends on, as a hash.
pub(crate) struct Key(Sha256);

impl Key {
    pub(crate) fn new() -> Self {
        Self(Sha256::new())
    }

    pub(crate) fn file(self, path: &Path) -> Result<Self, RigError> {
        let bytes = fs::read(path).map_err(RigError::io(format!("read {}", path.display())))?;
        Ok(self.bytes(&bytes))
    }

    pub(crate) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.update((bytes.len() as u64).to_be_bytes());
        self.0.update(bytes);
        self
    }

    fn hex(&self) -> String {
        let mut hex = format!("{:x}", self.0.clone().finalize());
        hex.truncate(16);
        hex
    }
}

fn root() -> Result<PathBuf, RigError> {
    let variable = |name| {
        env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    variable("SEALKIT_RIG_CACHE")
        .or_else(|| Some(variable("XDG_CACHE_HOME")?.join("sealkit-rig")))
        .or_else(|| Some(variable("HOME")?.join(".cache/sealkit-rig")))
        .ok_or_else(|| {
            RigError::Setup("no place for the cache: set SEALKIT_RIG_CACHE or HOME".to_owned())
        })
}
