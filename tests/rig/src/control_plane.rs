//! A control plane: etcd, kube-apiserver and kube-controller-manager.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rand_core::{OsRng, RngCore};

use crate::certificates::Certificates;
use crate::kubeconfig::Kubeconfig;
use crate::node::{Forward, Network};
use crate::process::run;
use crate::run_dir::{RunDir, write_private};
use crate::servers::{Ports, accepts, apiserver, controller_manager, etcd, is_etcd_healthy};
use crate::{Assets, Process, RigError, kept};

/// How to start a control plane. The default is right for most tests.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Makes etcd write through to the disk. Slower; for tests of crashes.
    pub fsync: bool,
    /// Where data, keys, logs and kubeconfigs go; a scratch directory by default. Files of an
    /// earlier control plane there are removed.
    pub dir: Option<PathBuf>,
    /// Lets the processes outlive this one; [`stop_kept`](crate::stop_kept) ends them.
    pub keep: bool,
    /// Flags for kube-apiserver beyond the rig's own.
    pub extra_apiserver_flags: Vec<String>,
}

/// What a node makes of its control plane. The default is a control plane by itself.
#[derive(Debug, Default, Clone)]
pub(crate) struct Setting {
    /// The network in which the servers run; connections from here are carried there.
    pub(crate) network: Option<Network>,
    /// Users beside the administrator, each with a group; [`ControlPlane::user_kubeconfig`] is theirs.
    pub(crate) users: &'static [(&'static str, &'static str)],
    /// What kube-controller-manager runs beside the usual.
    pub(crate) controllers: &'static [&'static str],
}

/// A running control plane. Dropping it kills its processes and removes its scratch directory,
/// except when the thread panics: then the logs stay and their place is printed.
#[derive(Debug)]
pub struct ControlPlane {
    // Dropped in this order.
    controller_manager: Option<Process>,
    apiserver: Option<Process>,
    etcd: Option<Process>,
    _forwards: Vec<Forward>,
    dir: RunDir,
    assets: Assets,
    options: Options,
    setting: Setting,
    ports: Ports,
    url: String,
    ca_pem: String,
    kubeconfig: PathBuf,
}

impl ControlPlane {
    /// Starts a control plane and waits until it is ready: the API server says so, and the
    /// `default` `ServiceAccount` of namespace `default` exists.
    pub fn start(options: Options) -> Result<Self, RigError> {
        Self::start_with(options, Setting::default())
    }

    pub(crate) fn start_with(options: Options, setting: Setting) -> Result<Self, RigError> {
        let assets = Assets::find_or_build()?;
        match Self::try_start(&assets, options.clone(), setting.clone()) {
            Err(error) if error.is_port_conflict() => Self::try_start(&assets, options, setting),
            other => other,
        }
    }

    /// The one control plane of this process, started by the first caller, with default options.
    /// Tests that share it keep to namespaces of their own.
    pub fn shared() -> Result<&'static Self, RigError> {
        static SHARED: Mutex<Option<&'static ControlPlane>> = Mutex::new(None);
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = *shared {
            return Ok(running);
        }
        let started: &'static Self = Box::leak(Box::new(Self::start(Options::default())?));
        *shared = Some(started);
        Ok(started)
    }

    /// The API server's address, `https://127.0.0.1:PORT`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The certificate authority of the API server.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// The directory of data, keys, logs (`logs`) and kubeconfigs.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The administrator's kubeconfig (group `system:masters`).
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The kubectl that fits the API server.
    pub fn kubectl_path(&self) -> &Path {
        &self.assets.kubectl
    }

    /// Runs kubectl as administrator and returns its stdout.
    pub fn kubectl(&self, args: &[&str]) -> Result<String, RigError> {
        run(self.kubectl_command().args(args), None)
    }

    /// Like [`ControlPlane::kubectl`], with something on stdin, for `-f -`.
    pub fn kubectl_with_input(&self, args: &[&str], stdin: &str) -> Result<String, RigError> {
        run(self.kubectl_command().args(args), Some(stdin))
    }

    /// Applies a Kustomize directory, on the server's side.
    pub fn apply_kustomize(&self, dir: &Path) -> Result<(), RigError> {
        let mut command = self.kubectl_command();
        run(
            command.args(["apply", "--server-side", "-k"]).arg(dir),
            None,
        )
        .map(drop)
    }

    /// Applies the CRDs below a folder, on the server's side, and waits until they are served.
    pub(crate) fn install_crds(&self, folder: &Path) -> Result<(), RigError> {
        let on_all = |verb: &[&str]| {
            let mut command = self.kubectl_command();
            command.args(verb).arg("--recursive").arg("-f").arg(folder);
            run(&mut command, None)
        };
        on_all(&["apply", "--server-side"])?;
        let deadline = Instant::now() + READY_WITHIN;
        // It fails, and does not wait, where a status has no conditions yet.
        while let Err(error) = on_all(&["wait", "--for=condition=Established"]) {
            if Instant::now() > deadline {
                return Err(error);
            }
            thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    /// Writes a kubeconfig with a token of this `ServiceAccount`, made by a `TokenRequest` for
    /// `duration` (at least 10 minutes; the API server's default is an hour).
    pub fn service_account_kubeconfig(
        &self,
        namespace: &str,
        name: &str,
        duration: Option<Duration>,
    ) -> Result<PathBuf, RigError> {
        let mut command = self.kubectl_command();
        command.args(["create", "token", name, "--namespace", namespace]);
        if let Some(duration) = duration {
            command.arg(format!("--duration={}s", duration.as_secs()));
        }
        let token = run(&mut command, None)?;
        self.token_kubeconfig(
            &format!("{namespace}_{name}"),
            token.trim(),
            Some(namespace),
        )
    }

    /// Writes a kubeconfig for a bearer token. `label` names the user in it and the file.
    pub fn token_kubeconfig(
        &self,
        label: &str,
        token: &str,
        namespace: Option<&str>,
    ) -> Result<PathBuf, RigError> {
        let path = self
            .dir()
            .join("kubeconfigs")
            .join(format!("{label}.kubeconfig"));
        let (server, ca_pem) = (self.url.as_str(), self.ca_pem.as_str());
        Kubeconfig {
            server,
            ca_pem,
            user: label,
            token,
            namespace,
        }
        .write(&path)?;
        Ok(path)
    }

    /// The kubeconfig of one of the users of the [`Setting`].
    pub(crate) fn user_kubeconfig(&self, user: &str) -> PathBuf {
        user_kubeconfig(&self.dir, user)
    }

    /// Kills the API server (SIGKILL).
    pub fn stop_apiserver(&mut self) -> Result<(), RigError> {
        self.apiserver.as_mut().map_or(Ok(()), Process::kill)
    }

    /// Starts the API server again on the same port and waits until it is ready. Does nothing if
    /// it runs.
    pub fn start_apiserver(&mut self) -> Result<(), RigError> {
        if !self.apiserver.as_mut().is_some_and(Process::is_running) {
            self.apiserver = Some(self.spawn(
                "kube-apiserver",
                apiserver(
                    &self.assets,
                    &self.dir,
                    &self.ports,
                    &self.options.extra_apiserver_flags,
                ),
            )?);
            self.record()?;
        }
        self.wait_for_apiserver()
    }

    /// Kills etcd (SIGKILL).
    pub fn stop_etcd(&mut self) -> Result<(), RigError> {
        self.etcd.as_mut().map_or(Ok(()), Process::kill)
    }

    /// Starts etcd again on the same port and data, and waits until it is healthy, and the API
    /// server too if that runs. Does nothing if etcd runs.
    pub fn start_etcd(&mut self) -> Result<(), RigError> {
        if !self.etcd.as_mut().is_some_and(Process::is_running) {
            self.etcd = Some(self.spawn(
                "etcd",
                etcd(&self.assets, &self.dir, &self.ports, self.options.fsync),
            )?);
            self.record()?;
        }
        let port = self.ports.etcd;
        if let Some(etcd) = &mut self.etcd {
            etcd.wait_ready(READY_WITHIN, || is_etcd_healthy(port))?;
        }
        if self.apiserver.as_mut().is_some_and(Process::is_running) {
            self.wait_for_apiserver()?;
        }
        Ok(())
    }

    /// Kills etcd and starts it again.
    pub fn restart_etcd(&mut self) -> Result<(), RigError> {
        self.stop_etcd()?;
        self.start_etcd()
    }

    fn try_start(assets: &Assets, options: Options, setting: Setting) -> Result<Self, RigError> {
        let dir = match &options.dir {
            Some(dir) => RunDir::chosen(dir)?,
            None => RunDir::scratch()?,
        };
        let ports = Ports::choose()?;
        let url = ports.url();
        let certificates = Certificates::generate()?;
        let token = random_token();
        let kubeconfig = dir.admin_kubeconfig();
        let (server, ca_pem) = (url.as_str(), certificates.ca.as_str());
        Kubeconfig {
            server,
            ca_pem,
            user: "admin",
            token: &token,
            namespace: None,
        }
        .write(&kubeconfig)?;
        let mut tokens = format!("{token},admin,1,\"system:masters\"\n");
        for (user, group) in setting.users {
            let token = random_token();
            tokens += &format!("{token},{user},{user},\"{group}\"\n");
            Kubeconfig {
                server,
                ca_pem,
                user,
                token: &token,
                namespace: None,
            }
            .write(&user_kubeconfig(&dir, user))?;
        }
        for (name, content) in [
            ("ca.crt", &certificates.ca),
            ("server.crt", &certificates.server),
            ("server.key", &certificates.server_key),
            ("sa.key", &certificates.service_account_key),
            ("sa.pub", &certificates.service_account_public_key),
            ("kubelet-client.crt", &certificates.kubelet_client),
            ("kubelet-client.key", &certificates.kubelet_client_key),
            ("kubelet.crt", &certificates.kubelet),
            ("kubelet.key", &certificates.kubelet_key),
            ("tokens.csv", &tokens),
        ] {
            write_private(&dir.keys().join(name), content)?;
        }

        let forwards = match &setting.network {
            Some(network) => [ports.etcd, ports.apiserver]
                .into_iter()
                .map(|port| network.forward(port))
                .collect::<Result<_, _>>()?,
            None => Vec::new(),
        };
        let mut control_plane = Self {
            controller_manager: None,
            apiserver: None,
            etcd: None,
            _forwards: forwards,
            dir,
            assets: assets.clone(),
            options,
            setting,
            ports,
            url,
            ca_pem: certificates.ca,
            kubeconfig,
        };
        let started = control_plane.start_all();
        if started.is_err() || control_plane.options.keep {
            // An error points to the logs.
            control_plane.dir.keep();
        }
        started.map(|()| control_plane)
    }

    fn start_all(&mut self) -> Result<(), RigError> {
        self.start_etcd()?;
        self.start_apiserver()?;
        let more = self.setting.controllers;
        let command = controller_manager(&self.assets, &self.dir, &self.ports, more);
        self.controller_manager = Some(self.spawn("kube-controller-manager", command)?);
        self.record()?;
        let account = ["get", "serviceaccount", "default", "--namespace", "default"];
        let mut probe = self.kubectl_command();
        probe.args(account);
        if let Some(controller_manager) = &mut self.controller_manager {
            controller_manager.wait_ready(READY_WITHIN, || run(&mut probe, None).is_ok())?;
        }
        if self.options.keep {
            for process in self.processes() {
                process.keep();
            }
        }
        Ok(())
    }

    fn wait_for_apiserver(&mut self) -> Result<(), RigError> {
        let port = self.ports.apiserver;
        let mut readyz = self.kubectl_command();
        readyz.args(["get", "--raw", "/readyz"]);
        let Some(apiserver) = &mut self.apiserver else {
            return Ok(());
        };
        // kubectl costs more than a connection: ask it only once somebody listens.
        apiserver.wait_ready(READY_WITHIN, || {
            accepts(port) && run(&mut readyz, None).is_ok()
        })
    }

    fn spawn(&self, name: &str, command: Command) -> Result<Process, RigError> {
        let command = match &self.setting.network {
            Some(network) => network.inside(&command),
            None => command,
        };
        if self.options.keep {
            Process::spawn_keepable(name, command, &self.dir.logs())
        } else {
            Process::spawn(name, command, &self.dir.logs())
        }
    }

    /// After each start and not at the end: if this process is killed meanwhile, they can be found.
    fn record(&mut self) -> Result<(), RigError> {
        if !self.options.keep {
            return Ok(());
        }
        let ids: Vec<u32> = self.processes().map(|process| process.id()).collect();
        kept::record(self.dir(), &ids)
    }

    fn processes(&mut self) -> impl Iterator<Item = &mut Process> {
        let Self {
            controller_manager,
            apiserver,
            etcd,
            ..
        } = self;
        [controller_manager, apiserver, etcd].into_iter().flatten()
    }

    fn kubectl_command(&self) -> Command {
        let mut command = Command::new(&self.assets.kubectl);
        // Not the user's preferences, nor discovery cached from another API server on this port.
        command.env("KUBERC", "off");
        command
            .arg("--cache-dir")
            .arg(self.dir().join("kubectl-cache"));
        command.arg("--kubeconfig").arg(&self.kubeconfig);
        command
    }
}

fn user_kubeconfig(dir: &RunDir, user: &str) -> PathBuf {
    let file = format!("{}.kubeconfig", user.replace(':', "_"));
    dir.path().join("kubeconfigs").join(file)
}

const READY_WITHIN: Duration = Duration::from_mins(1);

fn random_token() -> String {
    format!("{:016x}{:016x}", OsRng.next_u64(), OsRng.next_u64())
}
