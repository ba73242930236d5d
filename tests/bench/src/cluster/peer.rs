//! The controller of Sealed Secrets, its client limits off unless it is to run at its defaults.

use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sealkit_rig::{Process, free_port};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::contestant::{Collection, Contestant};
use super::plane::{NAMESPACE, Plane};
use super::trial::{self, Load, VALUE_SIZE, Way};
use crate::Result;
use crate::binaries::{self, Peers};

/// Its namespace.
pub const SYSTEM: &str = "sealed-secrets";

/// The peer.
pub struct SealedSecrets {
    controller: PathBuf,
    rsa: PathBuf,
    crd: PathBuf,
    /// Where it serves.
    listen: String,
    /// Whether it limits its own requests to the API server.
    limited: bool,
}

impl SealedSecrets {
    /// The peer with these binaries.
    pub fn new(peers: &Peers) -> Self {
        let Peers {
            controller,
            rsa,
            crd,
            ..
        } = peers;
        Self {
            controller: controller.clone(),
            rsa: rsa.clone(),
            crd: crd.clone(),
            listen: "127.0.0.1:0".to_owned(),
            limited: false,
        }
    }

    /// The same with the client limits that it has by default.
    pub fn at_its_defaults(peers: &Peers) -> Self {
        Self {
            limited: true,
            ..Self::new(peers)
        }
    }

    /// Installs it and starts it where the API server can reach it, for its `/v1/rotate`. The key
    /// for sealing, and the process.
    pub fn serve(peers: &Peers, plane: &Plane, address: IpAddr) -> Result<(PathBuf, Process)> {
        let port = free_port()?;
        let listen = format!("{address}:{port}");
        let served = Self {
            listen,
            ..Self::new(peers)
        };
        served.install(plane)?;
        let name = "sealed-secrets-controller";
        let (at, ip) = (
            json!({"name": name, "namespace": SYSTEM}),
            address.to_string(),
        );
        let pod = json!({"kind": "Pod", "name": name, "namespace": SYSTEM});
        // The API server proxies to addresses of pods alone; no kubelet is there to run one.
        let objects = json!({"apiVersion": "v1", "kind": "List", "items": [
            {"apiVersion": "v1", "kind": "Pod", "metadata": at,
                "spec": {"containers": [{"name": "controller", "image": "none"}]}},
            {"apiVersion": "v1", "kind": "Service", "metadata": at,
                "spec": {"ports": [{"name": "http", "port": 8080}]}},
            {"apiVersion": "v1", "kind": "Endpoints", "metadata": at, "subsets": [{
                "addresses": [{"ip": ip, "targetRef": pod}],
                "ports": [{"name": "http", "port": port}],
            }]},
        ]});
        let control = &plane.control;
        control.kubectl_with_input(&["apply", "-f", "-"], &objects.to_string())?;
        let status = json!({"status": {"podIP": ip, "podIPs": [{"ip": ip}]}}).to_string();
        let in_system = format!("--namespace={SYSTEM}");
        control.kubectl(&[
            "patch",
            "pod",
            name,
            &in_system,
            "--subresource=status",
            "--type=merge",
            "-p",
            &status,
        ])?;
        let process = served.start(plane)?;
        Ok((certificate_file(plane), process))
    }
}

/// It knows in-cluster configuration only, so it gets a mount namespace with such files: $1 is
/// the folder that holds them.
const IN_CLUSTER: &str = "set -e
mount -t tmpfs tmpfs /var/run
mkdir -p /var/run/secrets/kubernetes.io/serviceaccount
cp \"$1\"/* /var/run/secrets/kubernetes.io/serviceaccount/
shift
exec \"$@\"";

impl Contestant for SealedSecrets {
    fn name(&self) -> &'static str {
        "Sealed Secrets"
    }

    fn collection(&self) -> Collection {
        Collection {
            group: "bitnami.com",
            version: "v1alpha1",
            plural: "sealedsecrets",
        }
    }

    fn install(&self, plane: &Plane) -> Result<()> {
        let crd = self.crd.to_str().ok_or("the path of a CRD is not UTF-8")?;
        plane
            .control
            .kubectl(&["apply", "--server-side", "-f", crd])?;
        let definition = "crd/sealedsecrets.bitnami.com";
        plane
            .control
            .kubectl(&["wait", "--for=condition=Established", definition])?;
        plane.control.kubectl(&["create", "namespace", SYSTEM])?;
        plane
            .control
            .kubectl(&["create", "serviceaccount", "-n", SYSTEM, "controller"])?;
        let account = format!("--serviceaccount={SYSTEM}:controller");
        let role = "--clusterrole=cluster-admin";
        plane
            .control
            .kubectl(&["create", "clusterrolebinding", SYSTEM, role, &account])?;
        // Its first start makes its key.
        let mut process = self.start(plane)?;
        let certificate = certificate(plane)?;
        trial::stop(&mut process)?;
        fs::write(certificate_file(plane), certificate)?;
        Ok(())
    }

    fn objects(&self, plane: &Plane, load: Load) -> Result<Vec<Value>> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Line {
            name: String,
            encrypted_data: Map<String, Value>,
        }
        let mut seal = Command::new(&self.rsa);
        seal.args(["seal", "-namespace", NAMESPACE, "-cert"])
            .arg(certificate_file(plane));
        for (flag, number) in [
            ("-objects", load.objects),
            ("-values", load.values),
            ("-size", VALUE_SIZE),
        ] {
            seal.args([flag, &number.to_string()]);
        }
        binaries::run(&mut seal)?
            .lines()
            .map(|line| {
                let Line {
                    name,
                    encrypted_data,
                } = serde_json::from_str(line)?;
                let mut object = json!({
                    "apiVersion": "bitnami.com/v1alpha1",
                    "kind": "SealedSecret",
                    "metadata": {"name": name, "namespace": NAMESPACE},
                    "spec": {
                        "encryptedData": encrypted_data,
                        "template": {"metadata": {"name": name, "namespace": NAMESPACE}},
                    },
                });
                if load.way == Way::Templated {
                    object["spec"]["template"]["data"] = json!({"config": load.template()});
                }
                Ok(object)
            })
            .collect()
    }

    fn consent(&self, _: usize) -> (&'static str, String) {
        ("sealedsecrets.bitnami.com/patch", "true".to_owned())
    }

    fn start(&self, plane: &Plane) -> Result<Process> {
        let token = [
            "create",
            "token",
            "-n",
            SYSTEM,
            "controller",
            "--duration=4h",
        ];
        let token = plane.control.kubectl(&token)?;
        let files = plane.control.dir().join("in-cluster");
        fs::create_dir_all(&files)?;
        fs::write(files.join("token"), token.trim())?;
        fs::write(files.join("ca.crt"), plane.control.ca_pem())?;
        fs::write(files.join("namespace"), SYSTEM)?;
        let port = plane
            .control
            .url()
            .rsplit(':')
            .next()
            .unwrap_or_default()
            .to_owned();

        let mut command = Command::new("unshare");
        // The second is what lets people mount who are not root.
        command.args(["--mount", "--map-root-user", "sh", "-c", IN_CLUSTER, "sh"]);
        command.arg(files).arg(&self.controller);
        command.arg("--key-renew-period=0");
        if !self.limited {
            command.arg("--kubeclient-qps=-1");
        }
        let listen = match self.listen.strip_suffix(":0") {
            Some(host) => format!("{host}:{}", free_port()?),
            None => self.listen.clone(),
        };
        command.arg(format!("--listen-addr={listen}"));
        command.arg(format!("--listen-metrics-addr=127.0.0.1:{}", free_port()?));
        command
            .env("KUBERNETES_SERVICE_HOST", "127.0.0.1")
            .env("KUBERNETES_SERVICE_PORT", port);
        Ok(Process::spawn(
            "sealed-secrets",
            command,
            &plane.control.dir().join("logs"),
        )?)
    }

    fn in_sync(&self) -> Option<usize> {
        None
    }
}

fn certificate_file(plane: &Plane) -> PathBuf {
    plane.control.dir().join("sealed-secrets.pem")
}

/// The certificate of its key, once there is one.
fn certificate(plane: &Plane) -> Result<Vec<u8>> {
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        let label = "-l=sealedsecrets.bitnami.com/sealed-secrets-key=active";
        let path = r"-o=jsonpath={.items[0].data.tls\.crt}";
        let text = plane
            .control
            .kubectl(&["get", "secrets", "-n", SYSTEM, label, path]);
        match text.as_deref().map(str::trim) {
            Ok(text) if !text.is_empty() => return Ok(BASE64_STANDARD.decode(text)?),
            _ if Instant::now() > deadline => return Err("Sealed Secrets made no key".into()),
            _ => std::thread::sleep(Duration::from_millis(200)),
        }
    }
}
