//! What a pod may do, and what it survives.

use std::fs;
use std::process::Command;

use sealkit_tests::canary::unique_value;
use sealkit_tests::plane::SYSTEM;
use sealkit_tests::wait::{wait_for, wait_until};
use serde_json::json;

use super::{Installation, Pod};

#[test]
fn both_replicas_run_without_rights_on_the_machine() {
    let Some(installation) = Installation::take() else {
        return;
    };
    for pod in installation.pods() {
        let id = pod.process();
        let read = |file: &str| fs::read_to_string(format!("/proc/{id}/{file}")).unwrap();
        let status = read("status");
        for (field, value) in [
            ("Uid", "65532 65532 65532 65532"),
            ("Gid", "65532 65532 65532 65532"),
            ("CapEff", "0000000000000000"),
            ("CapBnd", "0000000000000000"),
            ("NoNewPrivs", "1"),
            // A filter, that of the runtime.
            ("Seccomp", "2"),
        ] {
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
            let found: Vec<&str> = line.expect(field).split_whitespace().collect();
            assert_eq!(found.join(" "), value, "{field} of {}", pod.name);
        }
        let mounts = read("mountinfo");
        let options = |place: &str| {
            let mut mounts = mounts.lines().map(|line| line.split(' '));
            mounts.find_map(|mut parts| (parts.nth(4)? == place).then(|| parts.next())?)
        };
        let is_read_only = |place: &str| {
            let options = options(place).expect(place);
            options.split(',').any(|option| option == "ro")
        };
        assert!(is_read_only("/"), "{mounts}");
        assert!(!is_read_only("/state"), "{mounts}");
        let shell = installation.system(&["exec", &pod.name, "--", "sh", "-c", "id"]);
        assert!(shell.unwrap_err().contains("executable file not found"));
        let own = ["exec", &pod.name, "--", "/seal-controller", "--version"];
        let version = installation.system(&own).unwrap();
        assert!(version.starts_with("seal-controller "), "{version}");
    }
}

#[test]
fn one_replica_stays_while_nodes_are_drained() {
    let Some(installation) = Installation::take() else {
        return;
    };
    // As drains do. What is evicted has no other node to go to.
    installation
        .kubectl(&["cordon", sealkit_rig::Node::NAME])
        .unwrap();
    let evict = |pod: &Pod| {
        let eviction = json!({
            "apiVersion": "policy/v1", "kind": "Eviction",
            "metadata": {"name": pod.name, "namespace": SYSTEM},
        });
        let path = format!("/api/v1/namespaces/{SYSTEM}/pods/{}/eviction", pod.name);
        let create = ["create", "--raw", &path, "-f", "-"];
        let evicted = installation
            .servers
            .kubectl_with_input(&create, &eviction.to_string());
        evicted.map_err(|error| error.to_string())
    };
    let path = format!("/apis/policy/v1/namespaces/{SYSTEM}/poddisruptionbudgets/seal-controller");
    wait_until("the budget allows one", || {
        let budget = installation.api.get(&path).expect("a budget");
        budget["status"]["disruptionsAllowed"] == 1
    });
    let pods = installation.pods();
    evict(&pods[0]).unwrap();
    let refusal = evict(&pods[1]).unwrap_err();
    assert!(refusal.contains("disruption budget"), "{refusal}");
    // The one that stays takes over.
    let shop = installation.namespace("drained");
    let value = unique_value();
    shop.seal("db", &value);
    shop.wait_ready("db");
    shop.wait_value("db", &value);
    installation
        .kubectl(&["uncordon", sealkit_rig::Node::NAME])
        .unwrap();
    installation.wait_whole();
}

#[test]
fn a_killed_leader_is_started_again() {
    let Some(installation) = Installation::take() else {
        return;
    };
    let shop = installation.namespace("killed");
    let leader = installation.leader();
    let restarts = |pod: &Pod| pod.container()["restartCount"].as_u64().unwrap();
    let before = restarts(&leader);
    let killed = Command::new("kill")
        .args(["-s", "KILL", &leader.process().to_string()])
        .status();
    assert!(killed.unwrap().success());
    let value = unique_value();
    shop.seal("db", &value);
    shop.wait_ready("db");
    shop.wait_value("db", &value);
    let again = wait_for("the container is started again", || {
        let pods = installation.pods();
        let pod = pods.into_iter().find(|pod| pod.uid == leader.uid)?;
        (restarts(&pod) > before).then_some(pod)
    });
    assert_eq!(
        again.container()["lastState"]["terminated"]["exitCode"],
        137
    );
    wait_until("it is ready", || {
        installation.pods().iter().all(Pod::is_ready)
    });
}
