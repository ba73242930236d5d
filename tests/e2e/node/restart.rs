//! Pods that really read a value get the new one.

use std::fs;
use std::time::Duration;

use sealkit_tests::canary::unique_value;
use sealkit_tests::namespace::{Namespace, condition, uid};
use sealkit_tests::wait::wait_within;
use serde_json::{Value, json};

use super::Installation;

#[test]
fn pods_read_a_changed_value_after_one_rollout() {
    let Some(installation) = Installation::take() else {
        return;
    };
    installation.apply_with("components: [../../deploy/components/restart]\n");
    installation.wait_whole();
    let shop = installation.namespace("restart");
    let (first, second) = (unique_value(), unique_value());
    shop.seal("db", &first);
    shop.wait_value("db", &first);
    let reference = json!({"secretKeyRef": {"name": "db", "key": "password"}});
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "annotations": {"sealkit.dev/restart-on-change": "true"}},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "web", "image": "sealkit.dev/pause:1",
                "env": [{"name": "PASSWORD", "valueFrom": reference}]}]},
        }},
    });
    let collection = format!("/apis/apps/v1/namespaces/{}/deployments", shop.name);
    shop.api.create(&collection, &deployment).unwrap();
    wait_read(&shop, &first);
    shop.seal("db", &second);
    wait_read(&shop, &second);
    let deployment = shop.api.get(&format!("{collection}/web")).unwrap();
    let revision = &deployment["metadata"]["annotations"]["deployment.kubernetes.io/revision"];
    assert_eq!(revision, "2", "one rollout");
    installation
        .kubectl(&["delete", "namespace", &shop.name])
        .unwrap();
}

/// Waits until two pods are ready, no other is left, and both have read this value.
fn wait_read(shop: &Namespace, value: &str) {
    let path = format!("/api/v1/namespaces/{}/pods", shop.name);
    let variable = format!("PASSWORD={value}");
    wait_within(Duration::from_mins(2), "pods that read the value", || {
        let pods = shop.api.list(&path);
        let has_read =
            |pod: &Value| condition(pod, "Ready") == Some("True") && is_set_in(pod, &variable);
        (pods.len() == 2 && pods.iter().all(has_read)).then_some(())
    });
}

/// Does a process of the pod have this variable in its environment, as the machine shows it?
fn is_set_in(pod: &Value, variable: &str) -> bool {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes.map(|entry| entry.path()).any(|process| {
        let text = |name: &str| fs::read(process.join(name)).unwrap_or_default();
        String::from_utf8_lossy(&text("cgroup")).contains(uid(pod))
            && text("environ")
                .split(|byte| *byte == 0)
                .any(|it| it == variable.as_bytes())
    })
}
