//! Many objects of one tenant do not delay those of another.

use std::thread;
use std::time::{Duration, Instant};

use sealkit_core::keys::{Identity, KeyType};
use sealkit_tests::canary::unique_value;
use sealkit_tests::namespace::{Namespace, condition, data, says};
use sealkit_tests::plane::Own;
use sealkit_tests::wait::wait_within;
use serde_json::{Value, json};

const BAD: usize = 2_000;

/// Until the Secret is there with its value.
fn time_until_secret(namespace: &Namespace, name: &str) -> Duration {
    let value = unique_value();
    let manifest = namespace.draft(name).value("password", &value).manifest();
    let start = Instant::now();
    namespace.apply(&manifest);
    wait_within(Duration::from_secs(30), "the good object's Secret", || {
        let secret = namespace.secret(name)?;
        (secret["data"] == data(&[("password", &value)])).then_some(())
    });
    start.elapsed()
}

#[test]
fn two_thousand_objects_that_cannot_be_opened_do_not_delay_a_good_one() {
    let plane = Own::take();
    let mut controller = plane.leading_controller();
    let (bad, good) = (plane.namespace("bad"), plane.namespace("good"));
    // How long it takes without any others depends on what else the machine does.
    let alone = time_until_secret(&good, "alone");
    let soon = Duration::from_secs(1).max(alone * 8);
    println!("alone: {alone:?}");
    let stranger = Identity::generate(KeyType::Hybrid);
    // Half of them for another cluster, half altered.
    let keyless = bad
        .draft("x")
        .value("a", "b")
        .to(stranger.recipient().clone())
        .manifest();
    let altered = {
        let mut manifest = bad.draft("x").value("a", "b").manifest();
        manifest["metadata"]["name"] = json!("moved");
        manifest
    };
    let create = |index: usize| {
        let mut manifest = if index.is_multiple_of(2) {
            keyless.clone()
        } else {
            altered.clone()
        };
        manifest["metadata"]["name"] = json!(format!("bad-{index}"));
        bad.api
            .create(&bad.sealed_secrets_path(), &manifest)
            .unwrap();
    };
    thread::scope(|scope| {
        for part in 0..8 {
            scope.spawn(move || (part..BAD).step_by(8).for_each(create));
        }
        // Amid the flood.
        thread::sleep(Duration::from_millis(500));
        let amid = time_until_secret(&good, "amid");
        println!("amid the flood: {amid:?}");
        assert!(amid < soon, "amid the flood: {amid:?}, alone {alone:?}");
    });
    // Afterwards, in the very namespace, while the keyless ones are retried.
    let beside = time_until_secret(&bad, "beside");
    println!("beside {BAD} bad ones: {beside:?}");
    wait_within(Duration::from_secs(120), "all bad ones are told", || {
        let objects = bad.api.list(&bad.sealed_secrets_path());
        let told =
            |object: &Value| says(object, "True", "Opened") || condition(object, "Ready").is_some();
        objects.iter().all(told).then_some(())
    });
    let after = time_until_secret(&bad, "after");
    println!("after {BAD} bad ones: {after:?}");
    assert!(after < soon, "{after:?}, alone {alone:?}");

    // A restart looks at all of them again.
    controller.process.kill().unwrap();
    let _again = plane.leading_controller();
    let restarted = time_until_secret(&good, "restarted");
    println!("after a restart: {restarted:?}");
    assert!(restarted < soon, "{restarted:?}, alone {alone:?}");
}
