//! Memory limits like those of containers.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::Duration;

use crate::process::prefixed;

/// A memory cgroup of its own, version 1 or 2, removed when dropped. Whatever runs in it is killed
/// by the kernel where a container would be.
#[derive(Debug)]
pub struct MemoryLimit {
    folder: PathBuf,
}

impl MemoryLimit {
    /// A new cgroup with at most this many bytes; `None` where the machine lets nobody make one.
    pub fn new(bytes: u64) -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "sealkit-rig-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        parents().into_iter().find_map(|parent| {
            let folder = parent.join(&name);
            fs::create_dir(&folder).ok()?;
            let made = Self { folder };
            let files = ["memory.max", "memory.limit_in_bytes"].map(|file| made.folder.join(file));
            let file = files.iter().find(|file| file.exists())?;
            fs::write(file, bytes.to_string()).ok()?;
            Some(made)
        })
    }

    /// The command, which enters the cgroup before it starts.
    pub fn around(&self, command: &Command) -> Command {
        let mut entering = Command::new("sh");
        entering.args(["-c", "echo $$ > \"$0\" && exec \"$@\""]);
        entering.arg(self.folder.join("cgroup.procs"));
        prefixed(entering, command)
    }

    /// Processes that the kernel killed in it.
    pub fn kills(&self) -> u64 {
        let files = ["memory.events", "memory.oom_control"].map(|file| self.folder.join(file));
        let text = files.iter().find_map(|file| fs::read_to_string(file).ok());
        let text = text.unwrap_or_default();
        let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        count
            .and_then(|count| count.parse().ok())
            .unwrap_or_default()
    }
}

impl Drop for MemoryLimit {
    fn drop(&mut self) {
        // Its last process may not be gone yet.
        for _ in 0..50 {
            if fs::remove_dir(&self.folder).is_ok() {
                return;
            }
            sleep(Duration::from_millis(20));
        }
    }
}

/// Cgroups that may have children with memory limits: this process' own and the root.
fn parents() -> Vec<PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = own.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        let hierarchy = match controllers {
            "memory" => root.join("memory"),
            "" => root.to_owned(),
            _ => return None,
        };
        Some(hierarchy.join(path.trim_start_matches('/')))
    });
    own.chain([root.join("memory"), root.to_owned()]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_needs_more_is_killed() {
        let Some(limit) = MemoryLimit::new(32 * 1024 * 1024) else {
            eprintln!("no right to make a cgroup here");
            return;
        };
        let mut small = Command::new("sh");
        small.args(["-c", "test \"$A\" = b"]).env("A", "b");
        assert!(limit.around(&small).status().unwrap().success());
        assert_eq!(limit.kills(), 0);
        let mut large = Command::new("python3");
        large.args(["-c", "x = bytearray(100_000_000)"]);
        assert!(!limit.around(&large).status().unwrap().success());
        assert!(limit.kills() > 0);
        let folder = limit.folder.clone();
        drop(limit);
        assert!(!folder.exists());
    }
}
