//! The repositories under `examples/` work as they stand.

use std::path::Path;
use std::process::Command;

use crate::support::Desk;

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

#[test]
fn the_two_cluster_example_verifies_and_opens_where_it_should() {
    let desk = Desk::new();
    let source = root().join("examples/two-clusters/.");
    let target = desk.path("example");
    let copied = Command::new("cp")
        .arg("-r")
        .args([&source, &target])
        .status()
        .unwrap();
    assert!(copied.success());
    let init = Command::new("git")
        .args(["init", "--quiet"])
        .arg(&target)
        .status()
        .unwrap();
    assert!(init.success());

    desk.seal(&["verify", "example"]).done();
    let key = |name: &str| {
        let path = root().join("tests/keys/examples").join(name);
        path.to_str().unwrap().to_owned()
    };
    desk.seal(&["verify", "-i", &key("recovery.key"), "example"])
        .done();
    let production = "example/clusters/production/db.sealed.yaml";
    let open = |name: &str| desk.seal(&["open", "-i", &key(name), "--key", "PASSWORD", production]);
    assert_eq!(
        open("production.key").done().stdout,
        "example-of-production"
    );
    assert_eq!(open("staging.key").code, 4, "sealed for the other cluster");
}
