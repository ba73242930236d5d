//! The API server or its store goes away and comes back under a running controller.

use std::thread::sleep;
use std::time::Duration;

use sealkit_tests::canary::unique_value;
use sealkit_tests::controller::Controller;
use sealkit_tests::namespace::{Namespace, resource_version, uid};
use sealkit_tests::plane::Own;
use serde_json::json;

/// Everything still works, in the same process.
fn works(controller: &mut Controller, pid: u32, shop: &Namespace, old_value: &str) {
    let value = unique_value();
    shop.seal("new", &value);
    shop.wait_ready("new");
    shop.wait_value("new", &value);
    shop.api
        .merge(
            &shop.secret_path("old"),
            &json!({"data": {"password": "Zm9v"}}),
        )
        .unwrap();
    shop.wait_value("old", old_value);
    assert!(
        controller.process.is_running() && controller.process.id() == pid,
        "no restart"
    );
    controller.wait_leading();
}

#[test]
fn the_controller_outlives_an_outage_of_the_api_server() {
    let mut plane = Own::take();
    let mut controller = plane.leading_controller();
    let pid = controller.process.id();
    let shop = plane.namespace("shop");
    let value = unique_value();
    shop.seal("old", &value);
    let object = shop.wait_ready("old");
    plane.servers.stop_apiserver().unwrap();
    // Longer than the lease.
    sleep(Duration::from_secs(4));
    plane.servers.start_apiserver().unwrap();
    assert_eq!(
        resource_version(&shop.sealed("old")),
        resource_version(&object),
        "nothing to say"
    );
    works(&mut controller, pid, &shop, &value);
    assert!(
        controller.metric("sealkit_watch_errors_total", "") >= 1.0,
        "it was away"
    );
}

#[test]
fn the_controller_outlives_a_restart_of_the_store() {
    let mut plane = Own::take();
    let mut controller = plane.leading_controller();
    let pid = controller.process.id();
    let shop = plane.namespace("shop");
    let value = unique_value();
    shop.seal("old", &value);
    shop.wait_ready("old");
    plane.servers.stop_etcd().unwrap();
    sleep(Duration::from_secs(3));
    assert!(
        plane.api.try_get("/readyz/etcd").is_err(),
        "the store is away"
    );
    plane.servers.start_etcd().unwrap();
    works(&mut controller, pid, &shop, &value);
}

#[test]
fn a_controller_that_starts_without_an_api_server_waits_for_it() {
    let mut plane = Own::take();
    let mut first = plane.leading_controller();
    let shop = plane.namespace("shop");
    let value = unique_value();
    shop.seal("old", &value);
    let object = shop.wait_ready("old");
    assert_eq!(first.stop().code(), Some(0));
    plane.servers.stop_apiserver().unwrap();
    let mut controller = plane.controller(&sealkit_tests::controller::Flags::default());
    let pid = controller.process.id();
    sleep(Duration::from_secs(1));
    assert!(!controller.is_leading());
    plane.servers.start_apiserver().unwrap();
    controller.wait_leading();
    works(&mut controller, pid, &shop, &value);
    assert_eq!(uid(&shop.sealed("old")), uid(&object));
}
