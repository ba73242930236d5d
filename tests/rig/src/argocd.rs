//! Argo CD's application controller and repository server, as processes beside a control plane.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::json;

use crate::run_dir::RunDir;
use crate::servers::{accepts, answers_ok};
use crate::tools::{GoBuild, copy_from_dependency};
use crate::{ControlPlane, Flux, Process, RigError, free_port};

/// A running Argo CD without its user interface, with the rights of an administrator. Dropping it
/// kills it.
#[derive(Debug)]
pub struct ArgoCd {
    _application_controller: Process, // dropped before the directory
    _application_set_controller: Process,
    _repo_server: Process,
    _store: Process,
    _dir: RunDir,
}

impl ArgoCd {
    /// Installs Argo CD's resources, the namespace `argocd`, a ConfigMap `argocd-cm` without content
    /// and a project `default` that may do everything; starts the processes and waits until they
    /// serve.
    pub fn start(cluster: &ControlPlane) -> Result<Self, RigError> {
        let programs = Self::programs()?;
        // They come with kustomize, which the repository server runs.
        let kustomize = Flux::programs()?;
        cluster.install_crds(&programs.join(CRDS))?;
        let objects = json!({"apiVersion": "v1", "kind": "List", "items": objects()}).to_string();
        cluster.kubectl_with_input(&["apply", "--server-side", "-f", "-"], &objects)?;

        let dir = RunDir::scratch()?;
        let rooms = Rooms::make(&dir)?;
        let store = store(&programs, &dir)?;
        let start = Start {
            programs,
            kustomize,
            kubeconfig: cluster.kubeconfig().to_owned(),
            store: store.1,
            rooms,
            dir: &dir,
        };
        let (repo_server, repositories) = start.repo_server()?;
        Ok(Self {
            _application_controller: start.application_controller(&repositories)?,
            _application_set_controller: start.application_set_controller(&repositories)?,
            _repo_server: repo_server,
            _store: store.0,
            _dir: dir,
        })
    }

    /// The folder of `argocd` and its CRDs, which it builds once.
    pub fn programs() -> Result<PathBuf, RigError> {
        let module_dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("argocd");
        let build = GoBuild {
            module_dir: &module_dir,
            label: "argocd",
            packages: &["tool"],
            ldflags: "",
            tags: "",
        };
        build.run("building Argo CD, minutes, once", |folder| {
            // The package's name.
            fs::rename(folder.join("cmd"), folder.join("argocd"))
                .map_err(RigError::io("rename Argo CD's binary"))?;
            let dependency = "github.com/argoproj/argo-cd/v3";
            let to = folder.join(CRDS);
            copy_from_dependency(&module_dir, dependency, "manifests/crds", &to)?;
            // A list of the others, not an object.
            fs::remove_file(to.join("kustomization.yaml"))
                .map_err(RigError::io("remove the kustomization of Argo CD's CRDs"))
        })
    }
}

const CRDS: &str = "crds";
const READY_WITHIN: Duration = Duration::from_mins(1);

/// What the processes end without.
fn objects() -> [serde_json::Value; 3] {
    [
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "argocd"}}),
        json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {
                "name": "argocd-cm", "namespace": "argocd",
                "labels": {"app.kubernetes.io/part-of": "argocd"},
            },
        }),
        json!({
            "apiVersion": "argoproj.io/v1alpha1", "kind": "AppProject",
            "metadata": {"name": "default", "namespace": "argocd"},
            "spec": {
                "sourceRepos": ["*"],
                "destinations": [{"server": "*", "namespace": "*"}],
                "clusterResourceWhitelist": [{"group": "*", "kind": "*"}],
            },
        }),
    ]
}

/// Folders that the processes expect; their defaults are shared by all users of a machine.
struct Rooms {
    home: PathBuf,
    empty: PathBuf,
}

impl Rooms {
    fn make(dir: &RunDir) -> Result<Self, RigError> {
        let rooms = Self {
            home: dir.path().join("home"),
            empty: dir.path().join("empty"),
        };
        for folder in [&rooms.home, &rooms.empty] {
            fs::create_dir(folder).map_err(RigError::io(format!("create {}", folder.display())))?;
        }
        Ok(rooms)
    }
}

/// The cache that the processes share, and its address.
fn store(programs: &Path, dir: &RunDir) -> Result<(Process, String), RigError> {
    let port = free_port()?;
    let address = format!("127.0.0.1:{port}");
    let mut command = Command::new(programs.join("store"));
    command.arg(&address);
    let mut process = Process::spawn("store", command, &dir.logs())?;
    process.wait_ready(READY_WITHIN, || accepts(port))?;
    Ok((process, address))
}

/// What all processes are started with.
struct Start<'a> {
    programs: PathBuf,
    kustomize: PathBuf,
    kubeconfig: PathBuf,
    store: String,
    rooms: Rooms,
    dir: &'a RunDir,
}

impl Start<'_> {
    /// The repository server, and its address.
    fn repo_server(&self) -> Result<(Process, String), RigError> {
        let (port, metrics) = (free_port()?, free_port()?);
        let name = "argocd-repo-server";
        let mut command = self.command(name);
        command.env("PATH", self.path_with_kustomize());
        command.env("ARGOCD_PLUGINSOCKFILEPATH", &self.rooms.empty);
        command.env("ARGOCD_ASK_PASS_SOCK", self.dir.path().join("askpass.sock"));
        command.args(["--address=127.0.0.1", "--metrics-address=127.0.0.1"]);
        command.arg(format!("--port={port}"));
        command.arg(format!("--metrics-port={metrics}"));
        command.args(["--disable-tls", "--revision-cache-expiration=2s"]);
        command.arg(format!("--redis={}", self.store));
        let mut process = Process::spawn(name, command, &self.dir.logs())?;
        process.wait_ready(READY_WITHIN, || answers_ok(metrics, "/healthz"))?;
        Ok((process, format!("127.0.0.1:{port}")))
    }

    fn application_controller(&self, repositories: &str) -> Result<Process, RigError> {
        let metrics = free_port()?;
        let name = "argocd-application-controller";
        let mut command = self.controller(name);
        // The default, whatever the environment says. Without a delay it judges the object that it
        // has just replaced: its watch has not told it of the new one yet.
        command.env_remove("ARGOCD_SYNC_WAVE_DELAY");
        command.arg(format!("--repo-server={repositories}"));
        command.arg(format!("--redis={}", self.store));
        command.arg(format!("--metrics-port={metrics}"));
        command.args(["--app-resync=3", "--app-resync-jitter=0"]);
        let mut process = Process::spawn(name, command, &self.dir.logs())?;
        process.wait_ready(READY_WITHIN, || answers_ok(metrics, "/healthz"))?;
        Ok(process)
    }

    fn application_set_controller(&self, repositories: &str) -> Result<Process, RigError> {
        let probe = free_port()?;
        let name = "argocd-applicationset-controller";
        let mut command = self.controller(name);
        command.arg(format!("--argocd-repo-server={repositories}"));
        command.arg(format!("--probe-addr=127.0.0.1:{probe}"));
        command.arg(format!("--metrics-addr=127.0.0.1:{}", free_port()?));
        command.arg(format!("--webhook-addr=127.0.0.1:{}", free_port()?));
        let mut process = Process::spawn(name, command, &self.dir.logs())?;
        // Without a probe: it answers 404.
        process.wait_ready(READY_WITHIN, || accepts(probe))?;
        Ok(process)
    }

    fn controller(&self, name: &str) -> Command {
        let mut command = self.command(name);
        // The cluster of its own objects, and the one that Applications call in-cluster.
        command.arg("--kubeconfig").arg(&self.kubeconfig);
        command.env("KUBECONFIG", &self.kubeconfig);
        command.env("ARGOCD_FAKE_IN_CLUSTER", "true");
        command.args(["--namespace=argocd", "--repo-server-plaintext"]);
        command
    }

    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(self.programs.join("argocd"));
        command.env("ARGOCD_BINARY_NAME", name);
        command.env("ARGOCD_GPG_ENABLED", "false");
        command.env("HOME", &self.rooms.home);
        command.env("TMPDIR", &self.rooms.home);
        command.env("ARGOCD_TLS_DATA_PATH", &self.rooms.empty);
        command.env("ARGOCD_SSH_DATA_PATH", &self.rooms.empty);
        command.arg("--logformat=text");
        command
    }

    fn path_with_kustomize(&self) -> OsString {
        let mut path = self.kustomize.clone().into_os_string();
        if let Some(inherited) = env::var_os("PATH") {
            path.push(":");
            path.push(inherited);
        }
        path
    }
}
