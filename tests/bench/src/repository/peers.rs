//! The same Secrets resealed by the peers: `kubeseal --re-encrypt` and `sops updatekeys`, one file
//! after the other, which is what they offer.

use std::fs::{self, File};
use std::net::{IpAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use sealkit_core::keys::{Identity, KeyType};
use serde_json::{Map, json};

use super::{PART, Tree, VALUES, start};
use crate::binaries::{Binaries, Peers};
use crate::clock::{median, wall_of};
use crate::cluster::{NAMESPACE, PEER_SYSTEM, Plane, SealedSecrets};
use crate::report::Figure;
use crate::{Result, progress};

/// Resealing so many Secrets.
pub fn run(files: usize, ours: &Binaries, peers: &Peers) -> Result<Vec<Figure>> {
    progress(format_args!(
        "{PART}: {files} Secrets of {VALUES} values, resealed by each"
    ));
    let generate = || Identity::generate(KeyType::Hybrid);
    let (old, new, recovery) = (generate(), generate(), generate());
    let tree = Tree::new(files, old.recipient(), recovery.recipient())?;
    let key = format!("{}\n", recovery.to_secret_text().as_str());
    fs::write(tree.root.join("../recovery.key"), key)?;
    tree.write_key("cluster.pub", new.recipient())?;
    let reseal = [
        "reseal",
        "-q",
        "-i",
        "../recovery.key",
        "--accept-recipients",
    ];
    let (wall, _) = start(&ours.seal, &reseal, &tree.root, None, 0)?;
    let what =
        |peer: &str| format!("{files} Secrets: `seal reseal`, against {peer} on each file, wall");
    let mut figures = Vec::new();
    let mut against = |peer: &str, theirs: Option<Duration>| {
        figures.push(match theirs {
            Some(theirs) => Figure::against(PART, what(peer), wall.into(), theirs.into(), None),
            None => Figure::note(
                PART,
                format!("{} (not to be had here)", what(peer)),
                wall.into(),
            ),
        });
    };
    against("`kubeseal --re-encrypt`", kubeseal(files, peers)?);
    against("`sops updatekeys`", Some(sops(files, peers)?));
    Ok(figures)
}

/// `sops set` of one value in a file of so many keys: the median of some runs.
pub fn set(keys: usize, runs: usize, peers: &Peers) -> Result<Duration> {
    progress(format_args!("  sops set in a file of {keys} keys"));
    let sops = Sops::new(peers)?;
    fs::write(sops.path("secret.yaml"), secret(keys))?;
    sops.for_cluster(&Identity::generate(KeyType::Classic))?;
    let sealed = sops.run(&["encrypt", "secret.yaml"])?;
    let mut walls = Vec::new();
    for _ in 0..runs {
        fs::write(sops.path("sealed.yaml"), &sealed)?;
        let change = [
            "set",
            "sealed.yaml",
            "[\"stringData\"][\"key-0\"]",
            "\"new\"",
        ];
        walls.push(wall_of(|| sops.run(&change).map(drop))?);
    }
    Ok(median(walls))
}

/// A Secret of so many values, like those of our own files.
fn secret(values: usize) -> String {
    let values = (0..values).map(|index| {
        (
            format!("key-{index}"),
            json!(format!("correct horse battery staple {index}")),
        )
    });
    json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": "object", "namespace": NAMESPACE},
        "stringData": values.collect::<Map<_, _>>(),
    })
    .to_string()
}

/// An address of this machine that an API server may proxy to: not the loopback.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    // No packet is sent.
    socket.connect("192.0.2.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback()).then_some(address)
}

/// Its controller does the work, asked through the API server. Nothing where that cannot reach it.
pub fn kubeseal(files: usize, peers: &Peers) -> Result<Option<Duration>> {
    let Some(address) = own_address() else {
        return Ok(None);
    };
    progress("  kubeseal --re-encrypt");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let plane = runtime.block_on(Plane::start())?;
    let (certificate, _process) = SealedSecrets::serve(peers, &plane, address)?;
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name);
    fs::write(path("secret.json"), secret(VALUES))?;
    let kubeseal = |arguments: &[&str], input: &Path, output: &Path| -> Result<bool> {
        let mut command = Command::new(&peers.kubeseal);
        command
            .args(arguments)
            .env("KUBECONFIG", plane.control.kubeconfig())
            .stdin(File::open(input)?)
            .stdout(File::create(output)?)
            .stderr(Stdio::null());
        Ok(command.status()?.success())
    };
    let certificate = certificate.to_str().ok_or("a path is not UTF-8")?;
    let seal = [
        "--cert",
        certificate,
        "--scope",
        "cluster-wide",
        "-o",
        "yaml",
    ];
    if !kubeseal(&seal, &path("secret.json"), &path("sealed.yaml"))? {
        return Err("kubeseal does not seal".into());
    }
    let namespace = format!("--controller-namespace={PEER_SYSTEM}");
    let again = ["--re-encrypt", &namespace, "-o", "yaml"];
    let reseal = || kubeseal(&again, &path("sealed.yaml"), &path("new.yaml"));
    // The first calls may come before it serves, or before the API server knows where.
    let reached = (0..50).any(|_| {
        let done = reseal().unwrap_or_default();
        if !done {
            std::thread::sleep(Duration::from_millis(200));
        }
        done
    });
    if !reached {
        return Ok(None);
    }
    wall_of(|| {
        for _ in 0..files {
            if !reseal()? {
                return Err("kubeseal --re-encrypt failed".into());
            }
        }
        Ok(())
    })
    .map(Some)
}

/// The data key of each file is sealed to another recipient.
fn sops(files: usize, peers: &Peers) -> Result<Duration> {
    progress("  sops updatekeys");
    let sops = Sops::new(peers)?;
    let [old, new] = std::array::from_fn(|_| Identity::generate(KeyType::Classic));
    sops.for_cluster(&old)?;
    fs::write(sops.path("secret.yaml"), secret(VALUES))?;
    let sealed = sops.run(&["encrypt", "secret.yaml"])?;
    let names: Vec<String> = (0..files)
        .map(|index| format!("s{index:05}.yaml"))
        .collect();
    for name in &names {
        fs::write(sops.path(name), &sealed)?;
    }
    sops.for_cluster(&new)?;
    wall_of(|| {
        names
            .iter()
            .try_for_each(|name| sops.run(&["updatekeys", "-y", name]).map(drop))
    })
}

/// `sops` in a folder of its own, with a recovery key of the classic type, which it knows.
struct Sops<'a> {
    folder: tempfile::TempDir,
    recovery: Identity,
    peers: &'a Peers,
}

impl<'a> Sops<'a> {
    fn new(peers: &'a Peers) -> Result<Self> {
        let sops = Self {
            folder: tempfile::tempdir()?,
            recovery: Identity::generate(KeyType::Classic),
            peers,
        };
        let key = format!("{}\n", sops.recovery.to_secret_text().as_str());
        fs::write(sops.path("key"), key)?;
        Ok(sops)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// From now on files are for this cluster, and for the recovery key.
    fn for_cluster(&self, cluster: &Identity) -> Result<()> {
        let (cluster, recovery) = (cluster.recipient(), self.recovery.recipient());
        let rule = format!(
            "creation_rules:\n- encrypted_regex: ^(data|stringData)$\n  age: {cluster},{recovery}\n"
        );
        Ok(fs::write(self.path(".sops.yaml"), rule)?)
    }

    fn run(&self, arguments: &[&str]) -> Result<Vec<u8>> {
        let output = Command::new(&self.peers.sops)
            .args(arguments)
            .current_dir(self.folder.path())
            .env("SOPS_AGE_KEY_FILE", self.path("key"))
            .stderr(Stdio::null())
            .output()?;
        let done = output.status.success();
        done.then_some(output.stdout)
            .ok_or_else(|| format!("sops {arguments:?} failed").into())
    }
}
