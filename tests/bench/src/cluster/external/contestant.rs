//! Who takes part: Sealkit's controller, the bare client in its place, and External Secrets
//! Operator, each over a store of its own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use sealkit_rig::{Process, free_port};
use serde_json::{Value, json};

use super::super::contestant::{Collection, Contestant};
use super::super::observer::{Observer, Until};
use super::super::ours::Ours;
use super::super::plane::{NAMESPACE, Plane};
use super::super::trial::{Load, PATIENCE};
use super::vault::{Calls, STORE, Vault, property};
use crate::binaries::{Binaries, ExternalSecretsOperator};
use crate::{Result, progress};

/// The namespace of the peer.
const PEER_SYSTEM: &str = "external-secrets";
/// Objects that the peer works on at once: the default of our controller.
const CONCURRENCY: &str = "32";
/// Requests a second that the peer may send to the API server: more than there are.
const NO_LIMIT: &str = "100000";

/// A contestant for ExternalSecrets.
pub struct External {
    program: Program,
    /// Its store.
    pub vault: Vault,
    /// The `refreshInterval` of its objects.
    pub interval: &'static str,
}

enum Program {
    Ours(Ours),
    Peer { controller: PathBuf, crds: PathBuf },
}

/// The kind of all objects here.
const KIND: &str = "ExternalSecret";

impl External {
    /// A control plane of its own, on which it runs and has brought this load in sync.
    pub async fn in_sync(&self, load: Load) -> Result<(Plane, Process)> {
        let name = self.name();
        progress(format_args!("  {name}: starting a control plane"));
        let plane = Plane::start().await?;
        self.install(&plane)?;
        let path = self.collection().path(NAMESPACE);
        plane.create(&path, self.objects(&plane, load)?).await?;
        let until = Until::True(self.condition());
        let observer = Observer::start(&plane.client, &path, load.objects, until).await?;
        let process = self.start(&plane)?;
        observer.finish(PATIENCE).await?;
        Ok((plane, process))
    }

    /// Our controller.
    pub fn ours(binaries: &Binaries, vault: Vault, interval: &'static str) -> Self {
        Self {
            program: Program::Ours(Ours::controller(binaries).of_kind(KIND)),
            vault,
            interval,
        }
    }

    /// The bare client, which asks no store.
    pub fn bare_client(vault: Vault, interval: &'static str) -> Result<Self> {
        Ok(Self {
            program: Program::Ours(Ours::bare_client()?.of_kind(KIND)),
            vault,
            interval,
        })
    }

    /// The peer.
    pub fn peer(operator: &ExternalSecretsOperator, vault: Vault, interval: &'static str) -> Self {
        let ExternalSecretsOperator { controller, crds } = operator;
        Self {
            program: Program::Peer {
                controller: controller.clone(),
                crds: crds.clone(),
            },
            vault,
            interval,
        }
    }

    /// Applies the definitions of the peer, in place of others.
    pub fn apply_definitions(&self, plane: &Plane) -> Result<()> {
        match &self.program {
            Program::Ours(_) => Ok(()),
            Program::Peer { crds, .. } => Ok(plane.control.apply_kustomize(crds)?),
        }
    }

    /// An object that reads this key, as both controllers understand it.
    pub fn object(&self, name: &str, key: &str, load: Load) -> Value {
        let data: Vec<_> = (0..load.values)
            .map(|number| {
                let remote = json!({"key": key, "property": property(number)});
                json!({"secretKey": format!("KEY_{number}"), "remoteRef": remote})
            })
            .collect();
        json!({
            "apiVersion": "external-secrets.io/v1",
            "kind": KIND,
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {
                "refreshInterval": self.interval,
                "secretStoreRef": {"kind": "ClusterSecretStore", "name": STORE},
                "data": data,
            },
        })
    }
}

impl Contestant for External {
    fn name(&self) -> &'static str {
        match &self.program {
            Program::Ours(ours) => ours.name(),
            Program::Peer { .. } => "External Secrets",
        }
    }

    fn collection(&self) -> Collection {
        Collection {
            group: "external-secrets.io",
            version: "v1",
            plural: "externalsecrets",
        }
    }

    fn condition(&self) -> &'static str {
        "Ready"
    }

    fn install(&self, plane: &Plane) -> Result<()> {
        match &self.program {
            Program::Ours(ours) => ours.install(plane)?,
            Program::Peer { crds, .. } => install_peer(plane, crds)?,
        }
        for kind in ["externalsecrets", "clustersecretstores"] {
            let definition = format!("crd/{kind}.external-secrets.io");
            plane
                .control
                .kubectl(&["wait", "--for=condition=Established", &definition])?;
        }
        self.vault.install(plane)
    }

    fn objects(&self, _: &Plane, load: Load) -> Result<Vec<Value>> {
        let object = |number| self.object(&Load::name(number), &self.vault.key(number), load);
        Ok((0..load.objects).map(object).collect())
    }

    fn consent(&self, number: usize) -> (&'static str, String) {
        // No ExternalSecret is merged here, and it would need no consent.
        (
            "sealkit.dev/allow",
            format!("{KIND}/{}", Load::name(number)),
        )
    }

    fn start(&self, plane: &Plane) -> Result<Process> {
        match &self.program {
            Program::Ours(ours) => ours.start(plane),
            Program::Peer { controller, .. } => start_peer(plane, controller),
        }
    }

    fn in_sync(&self) -> Option<usize> {
        match &self.program {
            Program::Ours(ours) => ours.in_sync(),
            Program::Peer { .. } => None,
        }
    }

    fn calls(&self) -> Result<Calls> {
        self.vault.calls()
    }
}

fn install_peer(plane: &Plane, crds: &Path) -> Result<()> {
    let control = &plane.control;
    control.apply_kustomize(crds)?;
    control.kubectl(&["create", "namespace", PEER_SYSTEM])?;
    control.kubectl(&["create", "serviceaccount", "-n", PEER_SYSTEM, "controller"])?;
    let account = format!("--serviceaccount={PEER_SYSTEM}:controller");
    let role = "--clusterrole=cluster-admin";
    control.kubectl(&["create", "clusterrolebinding", PEER_SYSTEM, role, &account])?;
    Ok(())
}

fn start_peer(plane: &Plane, controller: &Path) -> Result<Process> {
    let lasting = Some(Duration::from_secs(4 * 3600));
    let kubeconfig =
        plane
            .control
            .service_account_kubeconfig(PEER_SYSTEM, "controller", lasting)?;
    let mut command = Command::new(controller);
    command.arg(format!("--concurrent={CONCURRENCY}"));
    command.arg(format!("--client-qps={NO_LIMIT}"));
    command.arg(format!("--client-burst={NO_LIMIT}"));
    command.arg(format!("--metrics-addr=127.0.0.1:{}", free_port()?));
    command.env("KUBECONFIG", kubeconfig);
    let logs = plane.control.dir().join("logs");
    Ok(Process::spawn("external-secrets", command, &logs)?)
}
