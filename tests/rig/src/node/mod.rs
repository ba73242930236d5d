//! A node: what runs pods, beside a control plane of its own, in namespaces of its own.

mod configuration;
pub(crate) mod forward;
mod namespaces;
mod programs;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

pub(crate) use configuration::ADDRESS;
pub(crate) use forward::Forward;
pub(crate) use namespaces::Network;

use crate::control_plane::Setting;
use crate::process::run;
use crate::run_dir::RunDir;
use crate::{ControlPlane, Image, Options, Process, RigError};
use configuration::Configuration;
use namespaces::Namespaces;
use programs::Programs;

/// A node that runs pods: kubelet, containerd, runc, kube-proxy, and the scheduler.
///
/// Nothing of it touches the machine's network or folders. Dropping it ends it with all its pods, and the
/// control plane beside it is of no use any more.
#[derive(Debug)]
pub struct Node {
    // Dropped in this order.
    _servers: Vec<Process>,
    namespaces: Namespaces,
    programs: Programs,
    _dir: RunDir,
}

impl Node {
    /// The node's name.
    pub const NAME: &str = "sealkit-node";

    /// Why this machine cannot run a node, if it cannot.
    pub fn missing() -> Option<String> {
        namespaces::missing().or_else(programs::missing)
    }

    /// Downloads and builds what a node runs, once.
    pub fn install() -> Result<(), RigError> {
        Programs::find_or_build().map(drop)
    }

    /// Starts a node and, in its network, a control plane; waits until the node is ready.
    pub fn start() -> Result<(Self, ControlPlane), RigError> {
        let programs = Programs::find_or_build()?;
        let mut dir = RunDir::scratch()?;
        let started = Self::start_in(&dir, programs);
        if started.is_err() {
            // The error points to the logs.
            dir.keep();
        }
        let (control_plane, servers, namespaces, programs) = started?;
        let node = Self {
            _servers: servers,
            namespaces,
            programs,
            _dir: dir,
        };
        Ok((node, control_plane))
    }

    /// Gives the node an image, under the name in the archive.
    pub fn import(&self, archive: &Path) -> Result<(), RigError> {
        import(&self.namespaces, &self.programs, archive)
    }

    /// A command inside the node's namespaces, where its processes and its network are.
    pub fn command(&self, program: &str) -> Command {
        self.namespaces
            .inside(&self.programs.environment(Command::new(program)))
    }

    /// Ends all that runs on the node, and waits until nothing is left of it.
    pub fn stop(mut self) -> Result<(), RigError> {
        self.namespaces.stop()
    }

    fn start_in(
        dir: &RunDir,
        programs: Programs,
    ) -> Result<(ControlPlane, Vec<Process>, Namespaces, Programs), RigError> {
        let namespaces = Namespaces::start(dir, Self::NAME)?;
        let mut configuration = Configuration::new(dir, &programs);
        let spawn = |name: &str, command: Command| {
            let command = namespaces.inside(&programs.environment(command));
            Process::spawn(name, command, &dir.logs())
        };
        let mut containerd = spawn("containerd", configuration.containerd()?)?;
        let control_plane = ControlPlane::start_with(
            Options {
                dir: Some(configuration.control_plane_dir()),
                extra_apiserver_flags: configuration.apiserver_flags(),
                ..Options::default()
            },
            Setting {
                network: Some(namespaces.network()),
                users: configuration::USERS,
                controllers: configuration::CONTROLLERS,
            },
        )?;
        containerd.wait_ready(READY_WITHIN, || {
            let mut version = Command::new("ctr");
            version.arg("version");
            let version = namespaces.inside(&programs.environment(version));
            run(&mut { version }, None).is_ok()
        })?;
        let pause = dir.path().join("pause.tar");
        pause_image(dir, &programs, &pause)?;
        import(&namespaces, &programs, &pause)?;

        let scheduler = spawn("kube-scheduler", configuration.scheduler(&control_plane))?;
        let proxy = spawn("kube-proxy", configuration.proxy(&control_plane)?)?;
        let mut kubelet = spawn("kubelet", configuration.kubelet(&control_plane)?)?;
        let ready = "jsonpath={.status.conditions[?(@.type=='Ready')].status}";
        kubelet.wait_ready(READY_WITHIN, || {
            control_plane
                .kubectl(&["get", "node", Self::NAME, "--output", ready])
                .is_ok_and(|status| status == "True")
        })?;
        let servers = vec![kubelet, proxy, scheduler, containerd];
        Ok((control_plane, servers, namespaces, programs))
    }
}

const READY_WITHIN: Duration = Duration::from_mins(1);

fn import(namespaces: &Namespaces, programs: &Programs, archive: &Path) -> Result<(), RigError> {
    let mut import = Command::new("ctr");
    // The kubelet's images.
    import.args(["--namespace", "k8s.io", "images", "import"]);
    import.arg(archive);
    let mut import = namespaces.inside(&programs.environment(import));
    run(&mut import, None).map(drop)
}

/// The image of the process that holds a pod's namespaces.
fn pause_image(dir: &RunDir, programs: &Programs, archive: &Path) -> Result<(), RigError> {
    let rootfs = dir.path().join("pause");
    let failed = || RigError::io(format!("write {}", rootfs.display()));
    fs::create_dir(&rootfs).map_err(failed())?;
    fs::copy(programs.pause(), rootfs.join("pause")).map_err(failed())?;
    let image = Image {
        name: configuration::PAUSE,
        rootfs: &rootfs,
        entrypoint: "/pause",
        user: "65535:65535",
        labels: &[],
    };
    image.write(archive).map(drop)
}
