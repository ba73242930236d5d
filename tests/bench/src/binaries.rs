//! What is measured: our release binaries, and those of the peers from pinned Go modules.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

use crate::{Result, machine, progress};

/// Our binaries, built as they are released.
pub struct Binaries {
    /// The command line.
    pub seal: PathBuf,
    /// The controller.
    pub controller: PathBuf,
}

impl Binaries {
    /// Builds both with cargo, beside this program.
    pub fn build() -> Result<Self> {
        progress("building seal and seal-controller for release");
        let target = machine::target_dir()?;
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command.current_dir(machine::root());
        command.args(["build", "--release", "--quiet"]);
        command.args(["-p", "sealkit-cli", "-p", "sealkit-controller"]);
        run(command.arg("--target-dir").arg(&target))?;
        Self::find()
    }

    /// Takes both as they are.
    pub fn find() -> Result<Self> {
        let release = machine::target_dir()?.join("release");
        Ok(Self {
            seal: release.join("seal"),
            controller: release.join("seal-controller"),
        })
    }
}

/// Sealed Secrets' binaries, a program over its cryptography, and SOPS.
pub struct Peers {
    /// Its command line.
    pub kubeseal: PathBuf,
    /// Its controller.
    pub controller: PathBuf,
    /// `tests/bench/go/rsa`.
    pub rsa: PathBuf,
    /// SOPS' command line.
    pub sops: PathBuf,
    /// Its `CustomResourceDefinition`.
    pub crd: PathBuf,
}

const MODULE: &str = "github.com/bitnami-labs/sealed-secrets";

impl Peers {
    /// Builds what the cache does not hold yet.
    pub fn build() -> Result<Self> {
        let modules = Path::new(env!("CARGO_MANIFEST_DIR")).join("go");
        let peers = modules.join("peers");
        let tools = sealkit_rig::go_tools(&peers, "bench-peers")?;
        // The rig builds anew for another go.mod only, so the program's text goes into the label.
        let source = fs::read(modules.join("rsa/main.go"))?;
        let label = format!("bench-rsa-{:.8}", format!("{:x}", Sha256::digest(source)));
        let rsa = sealkit_rig::go_tools(&modules.join("rsa"), &label)?;
        let sops = sealkit_rig::go_tools(&modules.join("sops"), "bench-sops")?;
        Ok(Self {
            kubeseal: tools.join("kubeseal"),
            controller: tools.join("controller"),
            rsa: rsa.join("rsa"),
            sops: sops.join("sops"),
            crd: folder_of(&peers, MODULE)?
                .join("helm/sealed-secrets/crds/bitnami.com_sealedsecrets.yaml"),
        })
    }
}

/// External Secrets Operator.
pub struct ExternalSecretsOperator {
    /// Its controller.
    pub controller: PathBuf,
    /// The folder of its definitions.
    pub crds: PathBuf,
}

const ESO_MODULE: &str = "github.com/external-secrets/external-secrets";

impl ExternalSecretsOperator {
    /// Builds it if the cache does not hold it yet.
    pub fn build() -> Result<Self> {
        let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("go/eso");
        let tools = sealkit_rig::go_tools(&module, "bench-eso")?;
        Ok(Self {
            controller: tools.join("external-secrets"),
            crds: folder_of(&module, ESO_MODULE)?.join("config/crds/bases"),
        })
    }
}

/// Where Go keeps the source of a module that another one requires.
fn folder_of(module: &Path, required: &str) -> Result<PathBuf> {
    let mut download = Command::new("go");
    download
        .current_dir(module)
        .args(["mod", "download", "-json", required]);
    let answer: serde_json::Value = serde_json::from_str(&run(&mut download)?)?;
    let folder = answer["Dir"].as_str();
    Ok(folder
        .ok_or_else(|| format!("go does not say where it keeps {required}"))?
        .into())
}

/// Runs a command to its end and returns its stdout; stderr goes to the terminal.
pub fn run(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stderr(std::process::Stdio::inherit())
        .output()
        .map_err(|error| format!("cannot start {program}: {error}"))?;
    if !output.status.success() {
        return Err(format!("{program} failed ({})", output.status).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}
