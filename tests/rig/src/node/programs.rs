//! The programs of a node.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::RigError;
use crate::assets::build_node_programs;
use crate::cache::{Key, build_once};
use crate::process::run;
use crate::tools::GoBuild;

/// Where they are.
#[derive(Debug, Clone)]
pub(super) struct Programs {
    kubernetes: PathBuf,
    containers: PathBuf,
    /// Root of extracted packages; `None` where the machine has the programs itself.
    packages: Option<PathBuf>,
}

impl Programs {
    pub(super) fn find_or_build() -> Result<Self, RigError> {
        Ok(Self {
            kubernetes: build_node_programs()?,
            containers: build_container_programs()?,
            packages: if is_installed() {
                None
            } else {
                Some(extract_packages()?)
            },
        })
    }

    /// The same command, which finds all programs by their names.
    pub(super) fn environment(&self, mut command: Command) -> Command {
        let mut folders = vec![self.kubernetes.clone(), self.containers.clone()];
        if let Some(packages) = &self.packages {
            folders.extend(["usr/sbin", "usr/bin"].map(|folder| packages.join(folder)));
            command.env("LD_LIBRARY_PATH", libraries(packages));
        }
        let path = env::var_os("PATH").unwrap_or_default();
        folders.extend(env::split_paths(&path));
        // Folders without a colon in their names, all of them.
        if let Ok(path) = env::join_paths(folders) {
            command.env("PATH", path);
        }
        command
    }

    /// The folder of network plugins.
    pub(super) fn network_plugins(&self) -> &Path {
        &self.containers
    }

    pub(super) fn pause(&self) -> PathBuf {
        self.containers.join("pause")
    }

    pub(super) fn runc(&self) -> PathBuf {
        self.packages
            .as_ref()
            .map_or_else(|| PathBuf::from("runc"), |root| root.join("usr/sbin/runc"))
    }
}

/// Why they cannot be had here, if they cannot.
pub(super) fn missing() -> Option<String> {
    let has_packages =
        run(Command::new("apt-get").arg("--version"), None).is_ok() || is_installed();
    (!has_packages).then(|| "a node needs `runc` and `nft`, and there is no apt".to_owned())
}

fn is_installed() -> bool {
    ["runc", "nft"].iter().all(|program| {
        let mut version = Command::new(program);
        run(version.arg("--version"), None).is_ok()
    })
}

fn build_container_programs() -> Result<PathBuf, RigError> {
    let build = GoBuild {
        module_dir: &Path::new(env!("CARGO_MANIFEST_DIR")).join("node"),
        label: "node",
        tags: "",
        packages: &["tool", "."],
        ldflags: "",
    };
    build.run("building containerd, minutes, once", |folder| {
        // The module's name.
        fs::rename(folder.join("node"), folder.join("pause"))
            .map_err(RigError::io("rename the program of the pause image"))
    })
}

/// What Go cannot build without a C compiler and headers: runc, and the program that kube-proxy
/// calls.
const PACKAGES: [&str; 4] = ["runc", "nftables", "libnftables1", "libnftnl11"];

/// Extracts Debian packages; nothing is installed.
fn extract_packages() -> Result<PathBuf, RigError> {
    let key = Key::new()
        .file(Path::new("/etc/os-release"))?
        .bytes(PACKAGES.join(" ").as_bytes());
    let folder = build_once("node-packages", &key, |folder| {
        eprintln!("sealkit-rig: downloading {}, once", PACKAGES.join(", "));
        // Lists of its own: the machine's may be old, and are not ours to change.
        let scratch = tempfile::tempdir().map_err(RigError::io("create a scratch directory"))?;
        let (lists, cache) = (scratch.path().join("lists"), scratch.path().join("cache"));
        for place in [lists.join("partial"), cache.join("archives/partial")] {
            fs::create_dir_all(&place)
                .map_err(RigError::io(format!("create {}", place.display())))?;
        }
        let apt = || {
            let mut apt = Command::new("apt-get");
            apt.current_dir(scratch.path()).arg("--quiet");
            apt.arg("--option")
                .arg(format!("Dir::State::lists={}", lists.display()));
            apt.arg("--option")
                .arg(format!("Dir::Cache={}", cache.display()));
            apt.args(["--option", "APT::Sandbox::User=root"]);
            apt
        };
        run(apt().arg("update"), None)?;
        run(apt().arg("download").args(PACKAGES), None)?;
        let failed = || RigError::io("list downloaded packages");
        for entry in fs::read_dir(scratch.path()).map_err(failed())? {
            let path = entry.map_err(failed())?.path();
            if path.extension().is_some_and(|extension| extension == "deb") {
                let mut extract = Command::new("dpkg-deb");
                run(extract.arg("--extract").arg(path).arg(folder), None)?;
            }
        }
        // A library that the machine lacks is named here, and not when a pod does not start.
        for program in ["usr/sbin/runc", "usr/sbin/nft"] {
            let mut version = Command::new(folder.join(program));
            version.env("LD_LIBRARY_PATH", libraries(folder));
            run(version.arg("--version"), None)?;
        }
        Ok(())
    })?;
    Ok(folder)
}

fn libraries(packages: &Path) -> PathBuf {
    packages.join(format!("usr/lib/{}-linux-gnu", env::consts::ARCH))
}
