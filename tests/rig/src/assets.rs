//! Where the control plane's binaries are.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use crate::RigError;
use crate::tools::GoBuild;

/// Paths of the binaries.
#[derive(Debug, Clone)]
pub struct Assets {
    /// etcd, the API server's store.
    pub etcd: PathBuf,
    /// The API server.
    pub kube_apiserver: PathBuf,
    /// Garbage collection, namespaces, `ServiceAccounts`.
    pub kube_controller_manager: PathBuf,
    /// The client.
    pub kubectl: PathBuf,
}

impl Assets {
    /// Takes the binaries of the folder `KUBEBUILDER_ASSETS` names, and builds what is missing
    /// there; without it, builds all of them once.
    pub fn find_or_build() -> Result<Self, RigError> {
        let Some(given) = env::var_os("KUBEBUILDER_ASSETS").filter(|dir| !dir.is_empty()) else {
            return Ok(Self::in_folder(&build_all()?));
        };
        let mut assets = Self::in_folder(Path::new(&given));
        for needed in [&assets.etcd, &assets.kube_apiserver, &assets.kubectl] {
            if !needed.is_file() {
                return Err(RigError::Setup(format!(
                    "KUBEBUILDER_ASSETS has no {}; unset it to build the binaries",
                    needed.display()
                )));
            }
        }
        if !assets.kube_controller_manager.is_file() {
            // The folders of setup-envtest have none.
            assets.kube_controller_manager = build_controller_manager()?;
        }
        Ok(assets)
    }

    fn in_folder(folder: &Path) -> Self {
        Self {
            etcd: folder.join("etcd"),
            kube_apiserver: folder.join("kube-apiserver"),
            kube_controller_manager: folder.join("kube-controller-manager"),
            kubectl: folder.join("kubectl"),
        }
    }
}

fn build_all() -> Result<PathBuf, RigError> {
    let module_dir = module_dir();
    let build = GoBuild {
        module_dir: &module_dir,
        label: "k8s",
        packages: &[
            "go.etcd.io/etcd/server/v3",
            "k8s.io/kubernetes/cmd/kube-apiserver",
            "k8s.io/kubernetes/cmd/kube-controller-manager",
            "k8s.io/kubernetes/cmd/kubectl",
        ],
        ldflags: &version_stamp(&module_dir)?,
        tags: "",
    };
    build.run(
        "building the Kubernetes control plane, about 3 minutes, once",
        |folder| {
            // The package's name; with this one the folder can serve as KUBEBUILDER_ASSETS.
            fs::rename(folder.join("server"), folder.join("etcd"))
                .map_err(RigError::io("rename etcd's binary"))
        },
    )
}

fn build_controller_manager() -> Result<PathBuf, RigError> {
    let module_dir = module_dir();
    let build = GoBuild {
        module_dir: &module_dir,
        label: "k8s-controller-manager",
        packages: &["k8s.io/kubernetes/cmd/kube-controller-manager"],
        ldflags: &version_stamp(&module_dir)?,
        tags: "",
    };
    let folder = build.run(
        "building kube-controller-manager, minutes, once",
        |_| Ok(()),
    )?;
    Ok(folder.join("kube-controller-manager"))
}

/// What a node needs beside the control plane.
pub(crate) fn build_node_programs() -> Result<PathBuf, RigError> {
    let module_dir = module_dir();
    let build = GoBuild {
        module_dir: &module_dir,
        label: "k8s-node",
        tags: "",
        packages: &[
            "k8s.io/kubernetes/cmd/kube-proxy",
            "k8s.io/kubernetes/cmd/kube-scheduler",
            "k8s.io/kubernetes/cmd/kubelet",
        ],
        ldflags: &version_stamp(&module_dir)?,
    };
    build.run(
        "building kubelet, kube-proxy and kube-scheduler, minutes, once",
        |_| Ok(()),
    )
}

fn module_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("k8s")
}

/// Without it the API server calls itself v0.0.0-master.
fn version_stamp(module_dir: &Path) -> Result<String, RigError> {
    let path = module_dir.join("go.mod");
    let go_mod =
        fs::read_to_string(&path).map_err(RigError::io(format!("read {}", path.display())))?;
    let version = go_mod
        .lines()
        .find_map(|line| {
            line.trim()
                .strip_prefix("k8s.io/kubernetes ")?
                .split(' ')
                .next()
        })
        .ok_or_else(|| {
            RigError::Setup(format!(
                "{} does not require k8s.io/kubernetes",
                path.display()
            ))
        })?;
    Ok(format!(
        "-X k8s.io/component-base/version.gitVersion={version}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamp_is_the_pinned_version() {
        let stamp = version_stamp(&module_dir()).unwrap();
        assert!(
            stamp.starts_with("-X k8s.io/component-base/version.gitVersion=v1."),
            "{stamp}"
        );
    }
}
