//! Upgrades, good and bad.

use std::thread;
use std::time::Duration;

use sealkit_tests::canary::unique_value;
use sealkit_tests::wait::{holds_for, wait_for};

use super::{Installation, Pod};

#[test]
fn a_rolling_restart_loses_nothing_that_arrives_meanwhile() {
    let Some(installation) = Installation::take() else {
        return;
    };
    let before: Vec<String> = installation.pods().into_iter().map(|pod| pod.uid).collect();
    let shop = installation.namespace("restart");
    let values: Vec<String> = (0..20).map(|_| unique_value()).collect();
    thread::scope(|scope| {
        let arriving = scope.spawn(|| {
            for (index, value) in values.iter().enumerate() {
                shop.seal(&format!("db-{index}"), value);
                // Some before, some amid, some after.
                thread::sleep(Duration::from_millis(150));
            }
        });
        installation
            .system(&["rollout", "restart", "deploy/seal-controller"])
            .unwrap();
        installation.wait_whole();
        arriving.join().unwrap();
    });
    for (index, value) in values.iter().enumerate() {
        let name = format!("db-{index}");
        shop.wait_ready(&name);
        shop.wait_value(&name, value);
    }
    let after = installation.pods();
    assert!(after.iter().all(|pod| !before.contains(&pod.uid)));
}

#[test]
fn an_unknown_flag_stands_in_the_status_of_the_pod() {
    let Some(installation) = Installation::take() else {
        return;
    };
    let before = installation.pods();
    installation.apply_patched(
        r#"[{"op": "add", "path": "/spec/template/spec/containers/0/args", "value": ["--no-such-flag"]}]"#,
    );
    let said = wait_for("a pod that ended", || {
        let pod = new_pod(&installation, &before)?;
        let ended = ["state", "lastState"].map(|state| &pod.container()[state]["terminated"]);
        let ended = ended.into_iter().find(|ended| ended.is_object())?;
        Some(ended["message"].as_str().unwrap_or_default().to_owned())
    });
    assert!(said.contains("--no-such-flag"), "{said:?}");
    the_old_ones_work_on(&installation, &before);
}

#[test]
fn a_missing_image_stands_in_the_status_of_the_pod() {
    let Some(installation) = Installation::take() else {
        return;
    };
    let before = installation.pods();
    installation.apply_patched(
        r#"[{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "registry.invalid/seal-controller:none"}]"#,
    );
    wait_for("a pod without its image", || {
        let pod = new_pod(&installation, &before)?;
        let reason = pod.container()["state"]["waiting"]["reason"].as_str()?;
        ["ErrImagePull", "ImagePullBackOff"]
            .contains(&reason)
            .then_some(())
    });
    the_old_ones_work_on(&installation, &before);
}

#[test]
fn a_replica_without_rights_is_not_ready_and_says_why() {
    let Some(installation) = Installation::take() else {
        return;
    };
    let before = installation.pods();
    installation.apply_patched(
        r#"[{"op": "replace", "path": "/spec/template/spec/serviceAccountName", "value": "default"}]"#,
    );
    let useless = wait_for("a pod that tries to use the lease", || {
        let pod = new_pod(&installation, &before)?;
        let log = installation.system(&["logs", &pod.name]).ok()?;
        let line = log.lines().find(|line| line.contains("lease"))?;
        assert!(line.contains("403 Forbidden"), "{line}");
        Some(pod)
    });
    // As long as several probes.
    holds_for(Duration::from_secs(8), "not ready", || {
        let pods = installation.pods();
        let pod = pods.iter().find(|pod| pod.uid == useless.uid);
        pod.is_some_and(|pod| !pod.is_ready())
    });
    the_old_ones_work_on(&installation, &before);
}

/// The pod that was not there before, once its container has a status.
fn new_pod(installation: &Installation, before: &[Pod]) -> Option<Pod> {
    let pods = installation.pods().into_iter();
    let mut new = pods.filter(|pod| before.iter().all(|old| old.uid != pod.uid));
    new.next().filter(|pod| pod.container().is_object())
}

/// A bad upgrade takes no replica away.
fn the_old_ones_work_on(installation: &Installation, before: &[Pod]) {
    let pods = installation.pods();
    for old in before {
        let now = pods.iter().find(|pod| pod.uid == old.uid);
        assert!(now.is_some_and(Pod::is_ready), "{} is gone", old.name);
    }
    let shop = installation.namespace("upgrade");
    let value = unique_value();
    shop.seal("db", &value);
    shop.wait_ready("db");
    shop.wait_value("db", &value);
}
