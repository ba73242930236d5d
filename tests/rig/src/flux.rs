//! Flux's source-controller and kustomize-controller, as processes beside a control plane.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::run_dir::RunDir;
use crate::servers::answers_ok;
use crate::tools::{GoBuild, copy_from_dependency};
use crate::{ControlPlane, Process, RigError, free_port};

/// Running controllers of Flux with the rights of an administrator; they impersonate where a
/// Kustomization names a `ServiceAccount`. Dropping it kills them.
#[derive(Debug)]
pub struct Flux {
    _source_controller: Process, // dropped before the directory
    _kustomize_controller: Process,
    _dir: RunDir,
}

impl Flux {
    /// Installs Flux's resources and the namespace `flux-system`, starts both controllers and waits
    /// until they serve.
    pub fn start(cluster: &ControlPlane) -> Result<Self, RigError> {
        let programs = Self::programs()?;
        let crds = programs.join(CRDS);
        cluster.install_crds(&crds)?;
        let namespace =
            r#"{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"flux-system"}}"#;
        cluster.kubectl_with_input(&["apply", "--server-side", "-f", "-"], namespace)?;

        let dir = RunDir::scratch()?;
        let source_controller = source_controller(&programs, cluster, &dir)?;
        let kustomize_controller = kustomize_controller(&programs, cluster, &dir)?;
        Ok(Self {
            _source_controller: source_controller,
            _kustomize_controller: kustomize_controller,
            _dir: dir,
        })
    }

    /// The folder of `source-controller`, `kustomize-controller` and `kustomize`, which it builds
    /// once, and of their CRDs.
    pub fn programs() -> Result<PathBuf, RigError> {
        let module_dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("flux");
        let build = GoBuild {
            module_dir: &module_dir,
            label: "flux",
            packages: &["tool"],
            ldflags: "",
            tags: "",
        };
        build.run("building Flux's controllers, minutes, once", |folder| {
            let crds = folder.join(CRDS);
            ["source-controller", "kustomize-controller"]
                .into_iter()
                .try_for_each(|name| {
                    let dependency = format!("github.com/fluxcd/{name}");
                    let to = crds.join(name);
                    copy_from_dependency(&module_dir, &dependency, "config/crd/bases", &to)
                })
        })
    }
}

const CRDS: &str = "crds";
const READY_WITHIN: Duration = Duration::from_mins(1);

fn source_controller(
    programs: &Path,
    cluster: &ControlPlane,
    dir: &RunDir,
) -> Result<Process, RigError> {
    let name = "source-controller";
    let artifacts = format!("127.0.0.1:{}", free_port()?);
    let storage = dir.path().join("artifacts");
    fs::create_dir(&storage).map_err(RigError::io(format!("create {}", storage.display())))?;
    let mut command = controller(programs, name, cluster, dir);
    command.arg("--storage-path").arg(storage);
    command.arg(format!("--storage-addr={artifacts}"));
    command.arg(format!("--storage-adv-addr={artifacts}"));
    start(name, command, dir)
}

fn kustomize_controller(
    programs: &Path,
    cluster: &ControlPlane,
    dir: &RunDir,
) -> Result<Process, RigError> {
    let name = "kustomize-controller";
    let mut command = controller(programs, name, cluster, dir);
    // Otherwise a commit that mends waits for the check of the one before it.
    command.arg("--feature-gates=CancelHealthCheckOnNewRevision=true");
    start(name, command, dir)
}

fn controller(programs: &Path, name: &str, cluster: &ControlPlane, dir: &RunDir) -> Command {
    let mut command = Command::new(programs.join(name));
    command.env("KUBECONFIG", cluster.kubeconfig());
    command.env("RUNTIME_NAMESPACE", "flux-system");
    command.env("TMPDIR", dir.path());
    command.args(["--requeue-dependency=1s", "--interval-jitter-percentage=0"]);
    command
}

fn start(name: &str, mut command: Command, dir: &RunDir) -> Result<Process, RigError> {
    let health = free_port()?;
    command.arg(format!("--health-addr=127.0.0.1:{health}"));
    command.arg(format!("--metrics-addr=127.0.0.1:{}", free_port()?));
    let mut process = Process::spawn(name, command, &dir.logs())?;
    process.wait_ready(READY_WITHIN, || answers_ok(health, "/readyz"))?;
    Ok(process)
}
