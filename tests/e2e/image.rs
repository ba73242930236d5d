//! What the image is built from.

use std::path::{Path, PathBuf};
use std::process::Command;

use sealkit_rig::Image;
use sealkit_tests::program::program;

#[test]
fn the_image_is_built_from_pinned_parts_alone() {
    let read = |file: &str| std::fs::read_to_string(root().join(file)).unwrap();
    let dockerfile = read("Dockerfile");
    let argument = dockerfile
        .lines()
        .find_map(|line| line.strip_prefix("ARG BUILDER="));
    let images = dockerfile.lines().filter_map(|line| {
        let image = line.strip_prefix("FROM ")?.split(' ').next()?;
        let image = if image == "${BUILDER}" {
            argument?
        } else {
            image
        };
        (image != "scratch").then_some(image)
    });
    let toolchain = read("rust-toolchain.toml");
    let images: Vec<&str> = images.collect();
    assert_eq!(images.len(), 1, "{images:?}");
    for image in images {
        let (tag, digest) = image.split_once("@sha256:").expect(image);
        assert!(digest.len() == 64 && digest.bytes().all(|it| it.is_ascii_hexdigit()));
        let (_, version) = tag.split_once(':').expect("a tag, for people");
        let version = version.split('-').next().unwrap();
        assert!(toolchain.contains(&format!("\"{version}\"")), "{image}");
        assert!(dockerfile.contains(&format!("RUSTUP_TOOLCHAIN={version}\n")));
    }
    // Cargo checks what it downloads against Cargo.lock. Nothing else is downloaded.
    for download in ["apt", "apk", "curl", "wget", "rustup ", "ADD "] {
        assert!(!dockerfile.contains(download), "{download}");
    }
    assert!(dockerfile.contains("cargo build --locked"));
}

#[test]
fn equal_sources_make_an_equal_image() {
    let digest = || archive(tempfile::tempdir().unwrap().path()).1;
    assert_eq!(digest(), digest());
}

/// The name of the image in `deploy/base`, in full.
pub(crate) const IMAGE: &str = "docker.io/library/seal-controller:dev";

/// The controller's image as an archive in a folder, made without a container engine, and its digest.
pub(crate) fn archive(folder: &Path) -> (PathBuf, String) {
    // Debugging information would be most of it.
    let binary = folder.join("seal-controller");
    let strip = Command::new("strip")
        .arg("-o")
        .arg(&binary)
        .arg(program("seal-controller"))
        .status();
    assert!(strip.unwrap().success());
    let rootfs = folder.join("rootfs");
    let made = Command::new(root().join("deploy/image/rootfs"))
        .arg(&binary)
        .arg(&rootfs)
        .status();
    assert!(made.unwrap().success());
    let dockerfile = std::fs::read_to_string(root().join("Dockerfile")).unwrap();
    let instruction = |name: &str| {
        let line = dockerfile.lines().find_map(|line| line.strip_prefix(name));
        line.expect(name).trim()
    };
    let image = Image {
        name: IMAGE,
        rootfs: &rootfs,
        entrypoint: instruction("ENTRYPOINT").trim_matches(['[', '"', ']']),
        user: instruction("USER"),
        labels: &[],
    };
    let archive = folder.join("image.tar");
    let digest = image.write(&archive).unwrap();
    (archive, digest)
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}
