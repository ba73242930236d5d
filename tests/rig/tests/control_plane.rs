//! The rig on its own: everything starts, works, survives restarts and goes away.
#![allow(clippy::unwrap_used)] // a failed step should end the test right there

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use sealkit_rig::{ControlPlane, Options, Process};

#[test]
fn control_plane_serves_real_identities() {
    let cluster = ControlPlane::shared().unwrap();
    assert_eq!(cluster.kubectl(&["get", "--raw", "/readyz"]).unwrap(), "ok");

    cluster
        .kubectl(&["create", "namespace", "identities"])
        .unwrap();
    cluster
        .kubectl(&["create", "serviceaccount", "robot", "-n", "identities"])
        .unwrap();
    let kubeconfig = cluster
        .service_account_kubeconfig("identities", "robot", Some(HOUR))
        .unwrap();
    let kubectl = |args: &[&str]| {
        let mut command = Command::new(cluster.kubectl_path());
        command
            .arg("--kubeconfig")
            .arg(&kubeconfig)
            .args(args)
            .output()
            .unwrap()
    };
    let whoami = kubectl(&[
        "auth",
        "whoami",
        "-o",
        "jsonpath={.status.userInfo.username}",
    ]);
    assert_eq!(
        String::from_utf8(whoami.stdout).unwrap(),
        "system:serviceaccount:identities:robot"
    );
    let refused = kubectl(&["get", "secrets"]);
    let stderr = String::from_utf8(refused.stderr).unwrap();
    assert!(
        stderr.contains("forbidden") && stderr.contains("\"identities\""),
        "{stderr}"
    );

    let error = cluster
        .kubectl(&["get", "configmap", "nothing"])
        .unwrap_err();
    assert!(error.stderr().unwrap().contains("NotFound"), "{error}");
}

#[test]
fn kustomize_directory_is_applied() {
    let cluster = ControlPlane::shared().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let namespace = r#"{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"kustomized"}}"#;
    fs::write(dir.path().join("namespace.yaml"), namespace).unwrap();
    fs::write(
        dir.path().join("kustomization.yaml"),
        "resources: [namespace.yaml]",
    )
    .unwrap();
    cluster.apply_kustomize(dir.path()).unwrap();
    cluster
        .kubectl(&["get", "namespace", "kustomized"])
        .unwrap();
}

#[test]
fn owned_object_goes_with_its_owner() {
    let cluster = ControlPlane::shared().unwrap();
    cluster
        .kubectl(&["create", "namespace", "garbage"])
        .unwrap();
    let configmap = |name: &str, owners: &str| {
        let manifest = format!(
            r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"{name}","namespace":"garbage","ownerReferences":[{owners}]}}}}"#
        );
        let args = ["create", "-f", "-", "-o", "jsonpath={.metadata.uid}"];
        cluster.kubectl_with_input(&args, &manifest).unwrap()
    };
    let owner = configmap("owner", "");
    configmap(
        "owned",
        &format!(r#"{{"apiVersion":"v1","kind":"ConfigMap","name":"owner","uid":"{owner}"}}"#),
    );
    cluster
        .kubectl(&["delete", "configmap", "owner", "-n", "garbage"])
        .unwrap();
    eventually(|| {
        cluster
            .kubectl(&["get", "configmap", "owned", "-n", "garbage"])
            .is_err()
    });
}

#[test]
fn data_survives_restarts_and_drop_ends_all_processes() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        fsync: true,
        dir: Some(dir.path().to_owned()),
        ..Options::default()
    };
    let mut cluster = ControlPlane::start(options).unwrap();
    assert_eq!(processes_naming(dir.path()).len(), 3);
    cluster
        .kubectl(&["create", "namespace", "lasting"])
        .unwrap();

    cluster.stop_apiserver().unwrap();
    cluster
        .kubectl(&["get", "namespace", "lasting"])
        .unwrap_err();
    cluster.start_apiserver().unwrap();
    cluster.kubectl(&["get", "namespace", "lasting"]).unwrap();

    cluster.restart_etcd().unwrap();
    cluster.kubectl(&["get", "namespace", "lasting"]).unwrap();
    assert_eq!(processes_naming(dir.path()).len(), 3);

    drop(cluster);
    assert!(processes_naming(dir.path()).is_empty());
}

#[test]
fn up_outlives_its_process_and_down_ends_it() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("rig");
    let rig = |action: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sealkit-rig"));
        let output = command.arg(action).arg("--dir").arg(&dir).output().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    };
    let export = rig("up");
    let kubeconfig = dir.canonicalize().unwrap().join("admin.kubeconfig");
    assert_eq!(
        export,
        format!("export KUBECONFIG='{}'\n", kubeconfig.display())
    );
    assert_eq!(rig("up"), export);
    assert_eq!(processes_naming(&dir).len(), 3);

    let kubectl = Command::new(env!("CARGO_BIN_EXE_sealkit-rig"))
        .arg("kubectl-path")
        .output();
    let kubectl = String::from_utf8(kubectl.unwrap().stdout).unwrap();
    let mut get = Command::new(kubectl.trim());
    get.env("KUBECONFIG", &kubeconfig)
        .args(["get", "namespace", "default"]);
    assert!(get.stdout(Stdio::null()).status().unwrap().success());

    rig("down");
    assert!(processes_naming(&dir).is_empty());
    assert!(!dir.exists());
    rig("down");
}

/// The parent is this same test program, running `parent_of_a_child`.
#[test]
fn child_dies_with_its_killed_parent() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "parent_of_a_child", "--ignored"]);
    command.env("RIG_TEST_DIR", dir.path());
    let mut parent = Process::spawn("parent", command, dir.path()).unwrap();
    // The child must not mind the end of the thread that asked for it.
    eventually(|| dir.path().join("thread-ended").exists());
    thread::sleep(Duration::from_millis(200));
    assert_eq!(processes_naming(dir.path()).len(), 1);
    parent.kill().unwrap();
    eventually(|| processes_naming(dir.path()).is_empty());
}

#[test]
#[ignore = "started by child_dies_with_its_killed_parent"]
fn parent_of_a_child() {
    let Some(dir) = std::env::var_os("RIG_TEST_DIR") else {
        return;
    };
    let dir = Path::new(&dir);
    let child = thread::scope(|scope| {
        let spawn = || {
            let mut command = Command::new("tail");
            command.arg("-f").arg(dir.join("child.log"));
            let child = Process::spawn("child", command, dir).unwrap();
            // The signal follows this thread only if the thread lives when it is asked for.
            let command_line = format!("/proc/{}/cmdline", child.id());
            eventually(|| fs::read(&command_line).unwrap().starts_with(b"tail\0"));
            child
        };
        scope.spawn(spawn).join().unwrap()
    });
    fs::write(dir.join("thread-ended"), "").unwrap();
    thread::sleep(HOUR);
    drop(child);
}

const HOUR: Duration = Duration::from_hours(1);

fn eventually(mut check: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_mins(1);
    while !check() {
        assert!(Instant::now() < deadline, "did not happen within 60 s");
        thread::sleep(Duration::from_millis(50));
    }
}

fn processes_naming(dir: &Path) -> Vec<String> {
    let needle = format!("{}/", dir.display());
    fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| fs::read(entry.path().join("cmdline")).ok())
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .filter(|line| line.contains(&needle))
        .collect()
}
