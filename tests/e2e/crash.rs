//! Kills and restarts lose nothing and write nothing twice.

use std::thread::sleep;
use std::time::Duration;

use sealkit_tests::canary::unique_value;
use sealkit_tests::controller::Flags;
use sealkit_tests::namespace::{Namespace, resource_version, says};
use sealkit_tests::plane::Own;
use sealkit_tests::wait::{holds_for, wait_until};
use serde_json::Value;

use crate::flood::Flood;

const KILLS: u32 = 20;

#[test]
fn twenty_kills_amid_a_flood_lose_nothing() {
    let plane = Own::take();
    // A restarted container keeps the pod's name, and with it the lease.
    let same_pod = Flags {
        identity: Some("pod".to_owned()),
        ..Flags::default()
    };
    let first = plane.controller(&same_pod);
    let shop = plane.namespace("flood");
    drop(first);
    let mut flood = Flood::new(&shop, 60);
    let mut writes = 0.0;
    for _ in 0..KILLS {
        let mut controller = plane.controller(&same_pod);
        flood.changes();
        sleep(Duration::from_millis(flood.numbers.below(300)));
        writes += controller.metric("sealkit_target_writes_total", "");
        controller.process.kill().unwrap();
    }
    assert!(writes > 50.0, "the kills fell amid work: {writes} writes");

    let mut last = plane.controller(&same_pod);
    last.wait_leading();
    flood.judge();
}

/// Names and resourceVersions of a list, with everything that a write would change.
fn versions(shop: &Namespace, path: &str) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let items = shop.api.list(path);
    items
        .iter()
        .map(|item| {
            (
                text(&item["metadata"]["name"]),
                resource_version(item).to_owned(),
            )
        })
        .collect()
}

#[test]
fn a_restart_over_objects_in_sync_writes_nothing() {
    let plane = Own::take();
    let mut controller = plane.leading_controller();
    let shop = plane.namespace("many");
    for index in 0..300 {
        shop.seal(&format!("db-{index}"), &unique_value());
    }
    let paths = [
        shop.sealed_secrets_path(),
        shop.secrets_path(),
        format!("/apis/events.k8s.io/v1/namespaces/{}/events", shop.name),
        "/apis/sealkit.dev/v1beta1/sealingkeys".to_owned(),
        "/api/v1/namespaces/sealkit-system/secrets".to_owned(),
    ];
    let read = || paths.each_ref().map(|path| versions(&shop, path));
    wait_until("all are Ready and told of", || {
        let [_, _, events, ..] = read();
        let ready = shop
            .api
            .list(&paths[0])
            .iter()
            .all(|object| says(object, "True", "Opened"));
        ready && events.len() == 300
    });
    let before = read();
    let [objects, secrets, events, keys, _] = before.each_ref().map(Vec::len);
    assert_eq!([objects, secrets, events, keys], [300, 300, 300, 1]);
    for restart in ["stopped", "killed"] {
        if restart == "stopped" {
            assert_eq!(controller.stop().code(), Some(0));
        } else {
            controller.process.kill().unwrap();
        }
        controller = plane.leading_controller();
        holds_for(Duration::from_secs(2), "everything", || read() == before);
        wait_until("it knows them all", || {
            let ready = controller.metric("sealkit_objects", r#"ready="true""#);
            ready.to_string() == "300"
        });
        for counter in [
            "sealkit_target_writes_total",
            "sealkit_drift_healed_total",
            "sealkit_open_failures_total",
        ] {
            assert_eq!(
                controller.metric(counter, "").to_string(),
                "0",
                "{restart}: {counter}"
            );
        }
    }
    // It is not asleep.
    let (name, value) = ("db-7", unique_value());
    shop.seal(name, &value);
    shop.wait_ready(name);
    shop.wait_value(name, &value);
}
