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

/// The target of Jenkins X is the one that its version stream has.
#[test]
fn jenkins_x_runs_preapply_before_it_applies() {
    let desk = Desk::new();
    let example = root().join("examples/jenkins-x/Makefile");
    desk.write("Makefile", &std::fs::read_to_string(example).unwrap());
    desk.write(
        "versionStream/src/Makefile.mk",
        ".PHONY: kubectl-apply\nkubectl-apply:\n\tkubectl apply -R -f config-root/namespaces\n",
    );
    let make = Command::new("make")
        .args(["--dry-run", "kubectl-apply"])
        .current_dir(desk.work())
        .output()
        .unwrap();
    let steps = String::from_utf8_lossy(&make.stdout).into_owned();
    let (seal, kubectl) = (steps.find("seal preapply"), steps.find("kubectl apply"));
    assert!(seal.is_some() && seal < kubectl, "{make:?}");
    // The command takes these flags; only the folders are missing.
    let line = steps
        .lines()
        .find(|line| line.starts_with("seal "))
        .unwrap();
    let arguments: Vec<_> = line
        .split(' ')
        .skip(1)
        .chain(["--kubeconfig", "none"])
        .collect();
    assert_eq!(
        desk.seal(&arguments).code,
        5,
        "no kubeconfig, but no wrong usage"
    );
}
