//! The private folder that plaintext lies in, and its guard: a process of its own that removes the
//! folder when this one is gone, whatever ended it. Both hold the folder open: once it is removed,
//! its name may be anybody's.

use std::ffi::{CString, OsString};
use std::fs::{File, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::fs::{
    AtFlags, Dir, FlockOperation, Mode, OFlags, flock, fstat, openat, statat, unlinkat,
};
use rustix::process::{Resource, Rlimit, geteuid, getrlimit, setrlimit};

use crate::error::{CommandError, Result};
use crate::files::only_we_can_change;
use crate::signals::Signals;
use crate::terminal::print;

/// How the names of private folders begin.
const PREFIX: &str = "seal-edit-";
/// An editor that outlives us may write while the folder is removed.
const ATTEMPTS: u32 = 100;
const PAUSE: Duration = Duration::from_millis(20);
/// A folder that is older may be one that nobody looks after any more.
const LEFTOVER: Duration = Duration::from_mins(1);

/// No link is followed.
const FOLDER: OFlags = OFlags::DIRECTORY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);
/// The same for a file, and a pipe does not block.
const FILE: OFlags = OFlags::WRONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

/// A folder for plaintext: only for its owner, in memory where the system has such a place. Its
/// files are overwritten before they go.
pub(super) struct PrivateFolder {
    path: PathBuf,
    held: Held,
    /// Dropped last: it looks after the folder until then.
    guard: Guard,
}

impl PrivateFolder {
    pub(super) fn new() -> Result<Self> {
        let places = [PathBuf::from("/dev/shm"), std::env::temp_dir()];
        places.iter().for_each(|place| remove_leftovers(place));
        let made = places.iter().find_map(|place| {
            let folder = tempfile::Builder::new()
                .prefix(PREFIX)
                .permissions(Permissions::from_mode(0o700))
                .tempdir_in(place)
                .ok()?;
            let held = Held::open(folder.path()).ok()?;
            // Whoever looks for leftovers sees that somebody is at work in it.
            let _ = flock(&held.folder, FlockOperation::LockExclusive);
            Some((folder, held))
        });
        let (folder, held) = made.ok_or_else(|| {
            CommandError::input("a private folder cannot be created")
                .hint("set TMPDIR to a folder that nobody else can change")
        })?;
        let guard = Guard::of(folder.path()).map_err(|_| {
            CommandError::input("the guard of the private folder cannot be started")
        })?;
        Ok(Self {
            path: folder.keep(),
            held,
            guard,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for PrivateFolder {
    fn drop(&mut self) {
        if self.held.remove() {
            self.guard.release();
        }
    }
}

/// The process that removes the folder once this one closes its end of a pipe. The system closes
/// it, where nobody else can.
struct Guard(Child);

impl Guard {
    /// Its working folder is the private one, which its arguments do not name.
    fn of(folder: &Path) -> io::Result<Self> {
        let child = Command::new(std::env::current_exe()?)
            .args(["edit", "--guard", "."])
            .current_dir(folder)
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

    /// Says that nothing is left to do.
    fn release(&mut self) {
        if let Some(stdin) = &mut self.0.stdin {
            let _ = stdin.write_all(b"\n");
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// What the guard does: waits until the other process is gone, and removes what it left, if it
/// left anything.
pub(super) fn guard(folder: &Path) -> Result<()> {
    let held = Held::open(folder)
        .map_err(|_| CommandError::usage("not a private folder of `seal edit`"))?;
    let _signals = Signals::caught()?;
    print("\n")?;
    if io::stdin().read_exact(&mut [0]).is_ok() {
        return Ok(());
    }
    for _ in 0..ATTEMPTS {
        if held.remove() {
            break;
        }
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

/// Removes the folders whose process and guard were both killed: old ones in which nobody is at work.
fn remove_leftovers(place: &Path) {
    for entry in std::fs::read_dir(place).into_iter().flatten().flatten() {
        if !entry.file_name().as_bytes().starts_with(PREFIX.as_bytes()) {
            continue;
        }
        let age = entry.metadata().ok();
        let age = age.and_then(|metadata| metadata.modified().ok()?.elapsed().ok());
        // Opened only if it is ours.
        if age.is_some_and(|age| age > LEFTOVER)
            && let Ok(held) = Held::open(&entry.path())
            && flock(&held.folder, FlockOperation::NonBlockingLockExclusive).is_ok()
        {
            held.remove();
        }
    }
}

/// A private folder that is open, and stays the same whatever happens to its name.
struct Held {
    folder: OwnedFd,
    /// The folder that it lies in.
    place: OwnedFd,
    name: OsString,
}

impl Held {
    /// Refuses what is no private folder, and one whose name others could give to something else.
    fn open(path: &Path) -> io::Result<Self> {
        let folder = rustix::fs::open(path, FOLDER, Mode::empty())?;
        let place = openat(&folder, "..", FOLDER, Mode::empty())?;
        let name = path.canonicalize()?;
        let name = name.file_name().unwrap_or_default().to_owned();
        let held = Self {
            folder,
            place,
            name,
        };
        let stat = fstat(&held.folder)?;
        let foreign = Mode::RWXG | Mode::RWXO;
        let is_private = stat.st_uid == geteuid().as_raw()
            && !Mode::from_raw_mode(stat.st_mode).intersects(foreign);
        let is_named = held.name.as_bytes().starts_with(PREFIX.as_bytes()) && held.has_its_name();
        if is_private && is_named && only_we_can_change(&fstat(&held.place)?) {
            Ok(held)
        } else {
            Err(io::ErrorKind::PermissionDenied.into())
        }
    }

    /// Does the name still lead to it?
    fn has_its_name(&self) -> bool {
        let named = statat(&self.place, &self.name, AtFlags::SYMLINK_NOFOLLOW);
        let pair = fstat(&self.folder).ok().zip(named.ok());
        pair.is_some_and(|(held, named)| (held.st_dev, held.st_ino) == (named.st_dev, named.st_ino))
    }

    /// Overwrites and removes it with all its files. Is nothing of it left?
    fn remove(&self) -> bool {
        empty(&self.folder);
        if self.has_its_name() {
            return unlinkat(&self.place, &self.name, AtFlags::REMOVEDIR).is_ok();
        }
        names(&self.folder).is_empty()
    }
}

/// Overwrites and removes what is in a folder, as far as that is possible.
fn empty(folder: impl AsFd) {
    let folder = folder.as_fd();
    for name in names(folder) {
        if let Ok(inner) = openat(folder, &name, FOLDER, Mode::empty()) {
            empty(inner);
            let _ = unlinkat(folder, &name, AtFlags::REMOVEDIR);
            continue;
        }
        if let Ok(file) = openat(folder, &name, FILE, Mode::empty()) {
            overwrite(&mut file.into());
        }
        let _ = unlinkat(folder, &name, AtFlags::empty());
    }
}

fn names(folder: impl AsFd) -> Vec<CString> {
    let entries = Dir::read_from(folder).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_owned());
    let is_inside = |name: &CString| ![c".", c".."].contains(&name.as_c_str());
    names.filter(is_inside).collect()
}

fn overwrite(file: &mut File) {
    if let Ok(metadata) = file.metadata()
        && metadata.is_file()
    {
        let size = usize::try_from(metadata.len()).unwrap_or_default();
        let _ = file.write_all(&vec![0; size]);
        let _ = file.sync_all();
    }
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
