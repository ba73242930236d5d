//! What the image is built from.

use std::path::Path;

#[test]
fn the_image_is_built_from_pinned_parts_alone() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let read = |file: &str| std::fs::read_to_string(root.join(file)).unwrap();
    let dockerfile = read("Dockerfile");
    let images = dockerfile.lines().filter_map(|line| {
        let image = line.strip_prefix("FROM ")?.split(' ').next();
        image.filter(|image| *image != "scratch")
    });
    let toolchain = read("rust-toolchain.toml");
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
