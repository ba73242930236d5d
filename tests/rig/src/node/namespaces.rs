//! The namespaces of a node and their first process.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::configuration::ADDRESS;
use super::forward::Forward;
use crate::process::{has_setpriv, prefixed, run};
use crate::run_dir::RunDir;
use crate::{Process, RigError};

/// Why this machine cannot have them, if it cannot.
pub(super) fn missing() -> Option<String> {
    let is_root = run(Command::new("id").arg("-u"), None).is_ok_and(|id| id.trim() == "0");
    if !is_root {
        return Some("a node needs root".to_owned());
    }
    for program in ["unshare", "nsenter", "ip"] {
        if run(Command::new(program).arg("-V"), None).is_err() {
            return Some(format!(
                "a node needs `{program}` (util-linux and iproute2)"
            ));
        }
    }
    if !has_setpriv() {
        return Some("a node needs `setpriv` with --pdeathsig (util-linux)".to_owned());
    }
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let has_version_1 = groups.lines().any(|line| line.contains(":memory:"));
    // Not written, since it could not be tested: processes would have to move to a leaf.
    (!has_version_1).then(|| "a node needs control groups of version 1 (cgroup v1)".to_owned())
}

/// Running namespaces. Dropping them ends all that runs in them.
#[derive(Debug)]
pub(super) struct Namespaces {
    supervisor: Process,
    folder: PathBuf,
    network: Network,
}

impl Namespaces {
    /// Makes namespaces with the node's address and a name.
    pub(super) fn start(dir: &RunDir, name: &str) -> Result<Self, RigError> {
        let folder = dir.path().to_owned();
        let mut command = Command::new("setpriv");
        // When this process is gone, the supervisor cleans up.
        command.args(["--pdeathsig", "TERM", "--"]);
        command.arg(script("supervise")).arg(&folder);
        command.args([name, ADDRESS]);
        let mut supervisor = Process::spawn("namespaces", command, &dir.logs())?;
        let init = folder.join("init");
        supervisor.wait_ready(Duration::from_secs(30), || init.exists())?;
        let id = fs::read_to_string(&init).map_err(RigError::io("read the id of the node"))?;
        let network = Network(PathBuf::from(format!("/proc/{}/ns/net", id.trim())));
        Ok(Self {
            supervisor,
            folder,
            network,
        })
    }

    /// The same command, inside.
    pub(super) fn inside(&self, command: &Command) -> Command {
        let mut enter = Command::new(script("enter"));
        enter.arg(&self.folder);
        prefixed(enter, command)
    }

    /// Their network alone.
    pub(super) fn network(&self) -> Network {
        self.network.clone()
    }

    /// Ends all that runs in them, and waits until nothing is left.
    pub(super) fn stop(&mut self) -> Result<(), RigError> {
        if self.supervisor.is_running() {
            self.supervisor.signal("TERM")?;
            self.supervisor.wait()?;
        }
        Ok(())
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        // Nothing else can be done here.
        let _ = self.stop();
    }
}

/// The network of a node, as long as the node lives.
#[derive(Debug, Clone)]
pub(crate) struct Network(PathBuf);

impl Network {
    /// The same command, in this network and otherwise where it was.
    pub(crate) fn inside(&self, command: &Command) -> Command {
        let mut enter = Command::new("nsenter");
        enter.arg(format!("--net={}", self.0.display()));
        enter.arg("--");
        prefixed(enter, command)
    }

    /// Carries connections to this port of 127.0.0.1 to the same port in the network.
    pub(crate) fn forward(&self, port: u16) -> Result<Forward, RigError> {
        Forward::start(&self.0, port)
    }
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("node")
        .join(name)
}
