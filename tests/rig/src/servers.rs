//! The three servers' command lines.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::process::Command;
use std::time::Duration;

use crate::run_dir::RunDir;
use crate::{Assets, RigError, free_port};

/// Where they listen, on 127.0.0.1.
#[derive(Debug)]
pub(crate) struct Ports {
    pub(crate) etcd: u16,
    etcd_peer: u16,
    pub(crate) apiserver: u16,
    controller_manager: u16,
}

impl Ports {
    pub(crate) fn choose() -> Result<Self, RigError> {
        Ok(Self {
            etcd: free_port()?,
            etcd_peer: free_port()?,
            apiserver: free_port()?,
            controller_manager: free_port()?,
        })
    }

    /// The API server's address.
    pub(crate) fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.apiserver)
    }
}

pub(crate) fn etcd(assets: &Assets, dir: &RunDir, ports: &Ports, fsync: bool) -> Command {
    let client_url = format!("http://127.0.0.1:{}", ports.etcd);
    let peer_url = format!("http://127.0.0.1:{}", ports.etcd_peer);
    let mut command = Command::new(&assets.etcd);
    command.arg("--data-dir").arg(dir.etcd());
    command.args(["--listen-client-urls", &client_url]);
    command.args(["--advertise-client-urls", &client_url]);
    command.args(["--listen-peer-urls", &peer_url]);
    if !fsync {
        command.arg("--unsafe-no-fsync");
    }
    command
}

pub(crate) fn is_etcd_healthy(port: u16) -> bool {
    get(port, "/health").is_ok_and(|answer| answer.contains(r#""health":"true""#))
}

/// Whether somebody listens on this port of 127.0.0.1, and does not end connections at once, as the way
/// into a node does while nobody listens there.
pub(crate) fn accepts(port: u16) -> bool {
    let is_open = || {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(Duration::from_millis(20)))?;
        stream.peek(&mut [0])
    };
    match is_open() {
        Ok(bytes) => bytes > 0,
        Err(error) => matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
    }
}

/// Whether the server on this port of 127.0.0.1 answers `path` with 200.
pub(crate) fn answers_ok(port: u16, path: &str) -> bool {
    get(port, path).is_ok_and(|answer| {
        let status = answer
            .lines()
            .next()
            .and_then(|line| line.split(' ').nth(1));
        status == Some("200")
    })
}

/// The whole answer to a GET of `path` from the server on this port of 127.0.0.1.
pub(crate) fn get(port: u16, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

pub(crate) fn apiserver(
    assets: &Assets,
    dir: &RunDir,
    ports: &Ports,
    extra_flags: &[String],
) -> Command {
    let keys = dir.keys();
    let mut command = Command::new(&assets.kube_apiserver);
    command.arg(format!("--etcd-servers=http://127.0.0.1:{}", ports.etcd));
    command.arg(format!("--secure-port={}", ports.apiserver));
    command.arg("--bind-address=127.0.0.1");
    // Otherwise it looks for a default route, and ends where there is none.
    command.arg("--advertise-address=127.0.0.1");
    command.arg("--service-cluster-ip-range=10.0.0.0/24");
    command.arg("--endpoint-reconciler-type=none");
    command.args(["--authorization-mode=RBAC", "--allow-privileged"]);
    command.arg(format!("--service-account-issuer={}/", ports.url()));
    command
        .arg("--service-account-key-file")
        .arg(keys.join("sa.pub"));
    command
        .arg("--service-account-signing-key-file")
        .arg(keys.join("sa.key"));
    command
        .arg("--token-auth-file")
        .arg(keys.join("tokens.csv"));
    command.arg("--client-ca-file").arg(keys.join("ca.crt"));
    command.arg("--cert-dir").arg(&keys);
    command.arg("--tls-cert-file").arg(keys.join("server.crt"));
    command
        .arg("--tls-private-key-file")
        .arg(keys.join("server.key"));
    command.arg("--profiling=false");
    command.args(extra_flags);
    command
}

pub(crate) fn controller_manager(
    assets: &Assets,
    dir: &RunDir,
    ports: &Ports,
    more: &[&str],
) -> Command {
    let keys = dir.keys();
    let mut command = Command::new(&assets.kube_controller_manager);
    command.arg("--kubeconfig").arg(dir.admin_kubeconfig());
    command.args([
        "--leader-elect=false",
        "--use-service-account-credentials=false",
    ]);
    let controllers = [&CONTROLLERS, more].concat();
    command.arg(format!("--controllers={}", controllers.join(",")));
    // A quota that was there before its kind was discovered counts within seconds.
    command.arg("--resource-quota-sync-period=5s");
    command
        .arg("--service-account-private-key-file")
        .arg(keys.join("sa.key"));
    command.arg("--root-ca-file").arg(keys.join("ca.crt"));
    command.arg("--cert-dir").arg(&keys);
    command.arg("--bind-address=127.0.0.1");
    command.arg(format!("--secure-port={}", ports.controller_manager));
    command
}

/// What tests can notice: owners, namespaces, `ServiceAccounts`, kube-root-ca.crt, aggregated roles,
/// quotas.
const CONTROLLERS: [&str; 6] = [
    "garbage-collector-controller",
    "namespace-controller",
    "serviceaccount-controller",
    "root-ca-certificate-publisher-controller",
    "clusterrole-aggregation-controller",
    "resourcequota-controller",
];
