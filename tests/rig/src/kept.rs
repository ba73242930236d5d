//! Control planes that outlive the process that started them (`sealkit-rig up`).

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::RigError;
use crate::process::send_signal;
use crate::run_dir::{ADMIN_KUBECONFIG, clear, write_private};

/// The administrator's kubeconfig of the control plane kept in `dir`, if one runs there.
pub fn running_kubeconfig(dir: &Path) -> Option<PathBuf> {
    let dir = dir.canonicalize().ok()?;
    is_running(&dir).then(|| dir.join(ADMIN_KUBECONFIG))
}

/// Stops the control plane kept in `dir` and removes its files. Returns false if there was none.
///
/// Processes are found by their recorded ids; one whose command line does not name `dir` is
/// somebody else's by now and is left alone.
pub fn stop_kept(dir: &Path) -> Result<bool, RigError> {
    let Ok(dir) = dir.canonicalize() else {
        return Ok(false);
    };
    if !dir.join(PIDS).exists() {
        return Ok(false);
    }
    let deadline = Instant::now() + Duration::from_secs(10);
    for id in live_processes(&dir) {
        if let Err(error) = send_signal(id, "KILL")
            && live_processes(&dir).contains(&id)
        {
            return Err(error);
        }
    }
    while !live_processes(&dir).is_empty() {
        if Instant::now() > deadline {
            return Err(RigError::Setup(format!(
                "processes of {} do not end",
                dir.display()
            )));
        }
        thread::sleep(Duration::from_millis(20));
    }
    clear(&dir)?;
    // Fails if somebody keeps other files there, and then it should stay.
    let _ = fs::remove_dir(&dir);
    Ok(true)
}

/// The file of recorded process ids, one a line.
pub(crate) const PIDS: &str = "pids";

pub(crate) fn record(dir: &Path, ids: &[u32]) -> Result<(), RigError> {
    let lines: Vec<String> = ids.iter().map(u32::to_string).collect();
    write_private(&dir.join(PIDS), &lines.join("\n"))
}

/// `dir` must be canonical, as the processes got it.
pub(crate) fn is_running(dir: &Path) -> bool {
    !live_processes(dir).is_empty()
}

fn live_processes(dir: &Path) -> Vec<u32> {
    let recorded = fs::read_to_string(dir.join(PIDS)).unwrap_or_default();
    let mut ids: Vec<u32> = recorded
        .lines()
        .filter_map(|line| line.parse().ok())
        .collect();
    ids.retain(|id| {
        let command_line = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        // With the separator, `/tmp/rig` is not taken for `/tmp/rig2`.
        String::from_utf8_lossy(&command_line).contains(&format!("{}/", dir.display()))
    });
    ids
}
