//! Sealkit's controller, and the bare client in its place.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use rand_core::{OsRng, RngCore};
use sealkit_core::keys::{Identity, KeyType, Recipient, RecipientSet};
use sealkit_core::sealed::{self, Context, Scope};
use sealkit_rig::{Process, free_port};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::contestant::{Collection, Contestant};
use super::plane::{NAMESPACE, Plane};
use super::trial::{self, Load, VALUE_SIZE, Way};
use crate::binaries::Binaries;
use crate::{Result, machine};

const SYSTEM: &str = "sealkit-system";
const ACCOUNT: &str = "seal-controller";

/// A contestant for `SealedSecrets` of `sealkit.dev`, with the rights of `deploy/base`.
pub struct Ours {
    controller: Option<PathBuf>,
    bare: Option<PathBuf>,
    /// The kind of its objects.
    kind: &'static str,
    /// More flags of the controller.
    flags: Vec<String>,
    /// Where the controller serves its metrics; 0 before it is started.
    port: AtomicU16,
}

impl Ours {
    /// The controller.
    pub fn controller(binaries: &Binaries) -> Self {
        let controller = Some(binaries.controller.clone());
        Self {
            controller,
            bare: None,
            kind: "SealedSecret",
            flags: Vec::new(),
            port: AtomicU16::new(0),
        }
    }

    /// This very program, as the bare client.
    pub fn bare_client() -> Result<Self> {
        let bare = Some(std::env::current_exe()?);
        Ok(Self {
            controller: None,
            bare,
            kind: "SealedSecret",
            flags: Vec::new(),
            port: AtomicU16::new(0),
        })
    }
}

impl Ours {
    /// The same for objects of another kind.
    pub fn of_kind(self, kind: &'static str) -> Self {
        Self { kind, ..self }
    }

    /// The same with another flag of the controller.
    pub fn with(mut self, flag: impl Into<String>) -> Self {
        self.flags.push(flag.into());
        self
    }

    /// Installs it, with a key, and starts it.
    pub fn serve(&self, plane: &Plane) -> Result<Process> {
        self.install(plane)?;
        self.start(plane)
    }

    /// A series of its metrics.
    pub fn metric(&self, name: &str, labels: &str) -> Option<usize> {
        metric(self.port.load(Ordering::Relaxed), name, labels)
    }
}

impl Contestant for Ours {
    fn name(&self) -> &'static str {
        if self.bare.is_some() {
            "bare client"
        } else {
            "Sealkit"
        }
    }

    fn collection(&self) -> Collection {
        Collection {
            group: "sealkit.dev",
            version: "v1beta1",
            plural: "sealedsecrets",
        }
    }

    fn install(&self, plane: &Plane) -> Result<()> {
        plane
            .control
            .apply_kustomize(&machine::root().join("deploy/base"))?;
        let definition = "crd/sealedsecrets.sealkit.dev";
        plane
            .control
            .kubectl(&["wait", "--for=condition=Established", definition])?;
        if self.controller.is_some() {
            // Its first start makes its key.
            let mut process = self.start_with(plane, &["--external-secrets=false".to_owned()])?;
            recipient(plane)?;
            trial::stop(&mut process)?;
        }
        Ok(())
    }

    fn objects(&self, plane: &Plane, load: Load) -> Result<Vec<Value>> {
        let first = match self.controller {
            Some(_) => recipient(plane)?,
            None => Identity::generate(KeyType::Hybrid).recipient().clone(),
        };
        let mut recipients = vec![first];
        while recipients.len() < load.recipients {
            recipients.push(Identity::generate(KeyType::Hybrid).recipient().clone());
        }
        let recipients = RecipientSet::new(recipients)?;
        (0..load.objects)
            .map(|number| object(number, load, &recipients))
            .collect()
    }

    fn consent(&self, number: usize) -> (&'static str, String) {
        let name = Load::name(number);
        ("sealkit.dev/allow", format!("SealedSecret/{name}"))
    }

    fn start(&self, plane: &Plane) -> Result<Process> {
        self.start_with(plane, &self.flags)
    }

    fn in_sync(&self) -> Option<usize> {
        let port = self.port.load(Ordering::Relaxed);
        let labels = format!("kind=\"{}\",ready=\"true\"", self.kind);
        (port != 0).then(|| metric(port, "sealkit_objects", &labels).unwrap_or_default())
    }
}

impl Ours {
    fn start_with(&self, plane: &Plane, flags: &[String]) -> Result<Process> {
        let lasting = Some(Duration::from_secs(4 * 3600));
        let kubeconfig = plane
            .control
            .service_account_kubeconfig(SYSTEM, ACCOUNT, lasting)?;
        let logs = plane.control.dir().join("logs");
        let (name, mut command) = match (&self.controller, &self.bare) {
            (Some(controller), _) => {
                let port = free_port()?;
                self.port.store(port, Ordering::Relaxed);
                let mut command = Command::new(controller);
                command.arg("--listen").arg(format!("127.0.0.1:{port}"));
                command.args(flags);
                ("seal-controller", command)
            }
            (None, Some(bare)) => {
                let mut command = Command::new(bare);
                let size = VALUE_SIZE.to_string();
                command.args(["bare", "--kind", self.kind, "--value-size", &size]);
                ("bare-client", command)
            }
            (None, None) => return Err("no program to start".into()),
        };
        command.env("KUBECONFIG", kubeconfig);
        Ok(Process::spawn(name, command, &logs)?)
    }
}

/// The recipient of the cluster's key, once there is one.
pub fn recipient(plane: &Plane) -> Result<Recipient> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let path = "-o=jsonpath={.items[0].status.recipient}";
        let text = plane
            .control
            .kubectl(&["get", "sealingkeys.sealkit.dev", path]);
        match text.as_deref().map(str::trim) {
            Ok(text) if !text.is_empty() => return Ok(text.parse()?),
            _ if Instant::now() > deadline => return Err("the controller made no key".into()),
            _ => std::thread::sleep(Duration::from_millis(200)),
        }
    }
}

fn object(number: usize, load: Load, recipients: &RecipientSet) -> Result<Value> {
    let name = Load::name(number);
    let value = |number| {
        let mut bytes = vec![0; VALUE_SIZE];
        OsRng.fill_bytes(&mut bytes);
        // Text, as templates want it.
        bytes.iter_mut().for_each(|byte| *byte = b'a' + *byte % 26);
        (format!("KEY_{number}"), Zeroizing::new(bytes))
    };
    let values: BTreeMap<_, _> = (0..load.values).map(value).collect();
    let context = Context::new(Scope::Strict, NAMESPACE, &name)?;
    let render = load.way == Way::Templated;
    let sealed = sealed::seal(&values, &context, recipients, render)?;
    let mut object = json!({
        "apiVersion": "sealkit.dev/v1beta1",
        "kind": "SealedSecret",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "envelopes": {sealed.id.as_str(): sealed.envelope},
            "encryptedData": sealed.values,
        },
    });
    match load.way {
        Way::Owned => {}
        Way::Templated => object["spec"]["template"] = json!({"data": {"config": load.template()}}),
        Way::Merged => object["spec"]["target"] = json!({"creationPolicy": "Merge"}),
    }
    Ok(object)
}

/// A series of the controller's metrics.
fn metric(port: u16, name: &str, labels: &str) -> Option<usize> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    stream
        .write_all(b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n")
        .ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let series = format!("{name}{{{labels}}} ");
    answer
        .lines()
        .find_map(|line| line.strip_prefix(&series)?.trim().parse().ok())
}
