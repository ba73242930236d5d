//! Kills and restarts lose nothing and write nothing twice.

use std::collections::BTreeMap;
use std::env;
use std::thread::sleep;
use std::time::Duration;

use sealkit_tests::canary::unique_value;
use sealkit_tests::controller::Flags;
use sealkit_tests::namespace::{Namespace, data, resource_version, says};
use sealkit_tests::plane::Own;
use sealkit_tests::wait::{holds_for, wait_until, wait_within};
use serde_json::{Value, json};

/// `SplitMix64`: the same numbers for the same seed, everywhere.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

const OBJECTS: u64 = 60;
const KILLS: u32 = 20;

/// One random change to objects or, behind the controller's back, to Secrets.
fn change(numbers: &mut Numbers, shop: &Namespace, wanted: &mut BTreeMap<String, Option<String>>) {
    let name = format!("db-{}", numbers.below(OBJECTS));
    let exists = wanted.get(&name).is_some_and(Option::is_some);
    // Drift may hit a Secret that is not there (any more).
    let patch = |patch: Value| drop(shop.api.merge(&shop.secret_path(&name), &patch));
    match numbers.below(10) {
        0 if exists => {
            shop.delete_sealed(&name);
            wanted.insert(name, None);
        }
        1 => drop(shop.api.delete(&shop.secret_path(&name))),
        2 => patch(json!({"data": {"password": "Zm9v", "intruder": "Zm9v"}})),
        3 => patch(json!({"metadata": {"labels": {"sealkit.dev/managed": null}}})),
        other => {
            let value = unique_value();
            let draft = shop.draft(&name).value("password", &value);
            // Now and then another type: deletion and creation.
            let typed = json!({"type": format!("example.com/{other}")});
            let draft = if other == 9 {
                draft.template(typed)
            } else {
                draft
            };
            shop.apply(&draft.manifest());
            wanted.insert(name, Some(value));
        }
    }
}

#[test]
fn twenty_kills_amid_a_flood_lose_nothing() {
    let seed = env::var("SEALKIT_SEED").map_or(20_260_117, |seed| seed.parse().expect("a number"));
    println!("SEALKIT_SEED={seed}");
    let mut numbers = Numbers(seed);
    let plane = Own::take();
    // A restarted container keeps the pod's name, and with it the lease.
    let same_pod = Flags {
        identity: Some("pod".to_owned()),
        ..Flags::default()
    };
    let first = plane.controller(&same_pod);
    let shop = plane.namespace("flood");
    drop(first);
    let others: Vec<Value> = (0..5)
        .map(|index| {
            let labels = if index % 2 == 0 { json!({}) } else { json!({"sealkit.dev/managed": "true"}) };
            let secret = json!({"apiVersion": "v1", "kind": "Secret",
                "metadata": {"name": format!("other-{index}"), "labels": labels}, "data": data(&[("a", "b")])});
            shop.api.create(&shop.secrets_path(), &secret).unwrap()
        })
        .collect();
    let mut wanted = BTreeMap::new();
    let mut writes = 0.0;
    for _ in 0..KILLS {
        let mut controller = plane.controller(&same_pod);
        for _ in 0..10 + numbers.below(20) {
            change(&mut numbers, &shop, &mut wanted);
        }
        sleep(Duration::from_millis(numbers.below(300)));
        writes += controller.metric("sealkit_target_writes_total", "");
        controller.process.kill().unwrap();
    }
    assert!(writes > 50.0, "the kills fell amid work: {writes} writes");

    let mut last = plane.controller(&same_pod);
    last.wait_leading();
    let (alive, dead): (Vec<_>, Vec<_>) = wanted.iter().partition(|(_, value)| value.is_some());
    assert!(
        alive.len() > 20 && !dead.is_empty(),
        "{} and {} objects",
        alive.len(),
        dead.len()
    );
    for (name, value) in alive {
        let value = value.as_ref().unwrap();
        wait_until(&format!("{name} is right (seed {seed})"), || {
            says(&shop.sealed(name), "True", "Opened")
                && shop
                    .secret(name)
                    .is_some_and(|secret| secret["data"] == data(&[("password", value)]))
        });
    }
    wait_within(
        Duration::from_secs(90),
        "Secrets of deleted objects go",
        || {
            dead.iter()
                .all(|(name, _)| shop.secret(name).is_none())
                .then_some(())
        },
    );
    for other in others {
        assert_eq!(
            shop.secret(other["metadata"]["name"].as_str().unwrap()),
            Some(other)
        );
    }
    let count = shop.api.list(&shop.secrets_path()).len();
    let expected = wanted.values().flatten().count() + 5;
    assert_eq!(count, expected, "and there are no other Secrets");
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
    assert_eq!(before.each_ref().map(Vec::len), [300, 300, 300, 1, 1]);
    for restart in ["stopped", "killed"] {
        if restart == "stopped" {
            assert_eq!(controller.stop().code(), Some(0));
        } else {
            controller.process.kill().unwrap();
        }
        controller = plane.leading_controller();
        holds_for(Duration::from_secs(2), "everything", || read() == before);
        assert_eq!(
            controller
                .metric("sealkit_objects", r#"ready="true""#)
                .to_string(),
            "300",
            "it knows them all"
        );
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
