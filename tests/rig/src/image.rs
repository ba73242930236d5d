//! Images of containers, without a container engine.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::RigError;
use crate::process::run;

/// An image with one layer.
#[derive(Debug, Clone, Copy)]
pub struct Image<'a> {
    /// Its name with a tag, `registry.example.com/name:tag`.
    pub name: &'a str,
    /// The folder that becomes its file system. All in it belongs to root.
    pub rootfs: &'a Path,
    /// The program it runs.
    pub entrypoint: &'a str,
    /// `USER:GROUP`, by their numbers.
    pub user: &'a str,
    /// Its labels, names and values.
    pub labels: &'a [(&'a str, &'a str)],
}

impl Image<'_> {
    /// Writes it as an OCI archive and returns its digest. Equal files make an equal digest, whenever they
    /// were written.
    pub fn write(&self, archive: &Path) -> Result<String, RigError> {
        let scratch = tempfile::tempdir().map_err(RigError::io("create a scratch directory"))?;
        let layer = scratch.path().join("layer");
        pack(self.rootfs, &layer)?;
        let layout = Layout {
            folder: &scratch.path().join("layout"),
        };
        let layer = fs::read(&layer).map_err(RigError::io("read the layer"))?;
        let layer = layout.blob("application/vnd.oci.image.layer.v1.tar", &layer)?;
        let architecture = match env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        let labels: BTreeMap<_, _> = self.labels.iter().copied().collect();
        let config = json!({
            "architecture": architecture,
            "os": "linux",
            "config": {
                "Entrypoint": [self.entrypoint],
                "User": self.user,
                "Env": ["PATH=/"],
                "Labels": labels,
            },
            // Not compressed: what is packed is what is there.
            "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]},
        });
        let config = layout.json("application/vnd.oci.image.config.v1+json", &config)?;
        let kind = "application/vnd.oci.image.manifest.v1+json";
        let manifest = json!({
            "schemaVersion": 2, "mediaType": kind, "config": config, "layers": [layer],
        });
        let mut manifest = layout.json(kind, &manifest)?;
        let digest = manifest["digest"].as_str().unwrap_or_default().to_owned();
        manifest["annotations"] = json!({"io.containerd.image.name": self.name});
        manifest["platform"] = json!({"architecture": architecture, "os": "linux"});
        let index = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [manifest],
        });
        layout.write("index.json", index.to_string().as_bytes())?;
        layout.write("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        pack(layout.folder, archive)?;
        Ok(digest)
    }
}

/// The folder of an archive's files.
struct Layout<'a> {
    folder: &'a Path,
}

impl Layout<'_> {
    /// Writes what others refer to by its digest; returns the reference.
    fn blob(&self, media_type: &str, content: &[u8]) -> Result<Value, RigError> {
        let digest = format!("{:x}", Sha256::digest(content));
        self.write(&format!("blobs/sha256/{digest}"), content)?;
        Ok(json!({
            "mediaType": media_type,
            "digest": format!("sha256:{digest}"),
            "size": content.len(),
        }))
    }

    fn json(&self, media_type: &str, content: &Value) -> Result<Value, RigError> {
        self.blob(media_type, content.to_string().as_bytes())
    }

    fn write(&self, name: &str, content: &[u8]) -> Result<(), RigError> {
        let path = self.folder.join(name);
        path.parent()
            .map_or(Ok(()), fs::create_dir_all)
            .and_then(|()| fs::write(&path, content))
            .map_err(RigError::io(format!("write {}", path.display())))
    }
}

/// A tar archive that depends on names, modes and contents alone.
fn pack(folder: &Path, archive: &Path) -> Result<(), RigError> {
    let mut tar = Command::new("tar");
    tar.args(["--create", "--format=ustar", "--sort=name", "--mtime=@0"]);
    tar.args(["--owner=0", "--group=0", "--numeric-owner"]);
    tar.arg("--file").arg(archive);
    tar.arg("--directory").arg(folder).arg(".");
    run(&mut tar, None).map(drop)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn equal_files_make_an_equal_digest() {
        let written = |content: &str, mode: u32| {
            let folder = tempfile::tempdir().unwrap();
            let rootfs = folder.path().join("rootfs");
            fs::create_dir_all(rootfs.join("tmp")).unwrap();
            let file = rootfs.join("program");
            fs::write(&file, content).unwrap();
            for (path, mode) in [
                (&rootfs, 0o755),
                (&rootfs.join("tmp"), 0o1777),
                (&file, mode),
            ] {
                fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
            }
            let image = Image {
                name: "example.com/program:dev",
                rootfs: &rootfs,
                entrypoint: "/program",
                user: "65532:65532",
                labels: &[],
            };
            image.write(&folder.path().join("image.tar")).unwrap()
        };
        let digest = written("a", 0o755);
        assert_eq!(digest, written("a", 0o755));
        assert_ne!(digest, written("b", 0o755));
        assert_ne!(digest, written("a", 0o644));
    }
}
