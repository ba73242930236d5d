//! Several controllers, one writer.

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::{Duration, Instant};

use sealkit_tests::canary::unique_value;
use sealkit_tests::controller::Flags;
use sealkit_tests::namespace::data;
use sealkit_tests::plane::{LEASE, Own};
use sealkit_tests::secret_watch::SecretWatch;
use sealkit_tests::wait::{holds_for, wait_until};
use serde_json::Value;

#[test]
fn the_second_waits_and_takes_over_when_the_first_is_killed() {
    let plane = Own::take();
    let mut first = plane.leading_controller();
    let mut second = plane.controller(&Flags::default());
    let shop = plane.namespace("shop");
    let values = [unique_value(), unique_value()];
    shop.seal("one", &values[0]);
    shop.wait_ready("one");
    holds_for(
        Duration::from_secs(3),
        "the second waits, and is ready to take over",
        || !second.is_leading() && second.get("/readyz").is_some_and(|(code, _)| code == 200),
    );
    assert_eq!(
        plane.api.get(LEASE).unwrap()["spec"]["holderIdentity"],
        *first.identity
    );
    assert_eq!(
        second.metric("sealkit_target_writes_total", "").to_string(),
        "0"
    );

    let object = shop.sealed("one");
    first.process.kill().unwrap();
    shop.seal("two", &values[1]);
    second.wait_leading();
    shop.wait_ready("two");
    shop.wait_value("two", &values[1]);
    assert_eq!(shop.sealed("one"), object, "nothing was to be done there");
    assert_eq!(
        second.metric("sealkit_target_writes_total", "").to_string(),
        "1"
    );
}

#[test]
fn a_frozen_leader_writes_nothing_wrong_when_it_wakes() {
    let plane = Own::take();
    let mut first = plane.leading_controller();
    let mut second = plane.controller(&Flags::default());
    let shop = plane.namespace("shop");
    let watch = SecretWatch::start(&shop);
    let names: Vec<String> = (0..40).map(|index| format!("db-{index}")).collect();
    let old: BTreeMap<&String, String> = names.iter().map(|name| (name, unique_value())).collect();
    // Frozen amid work: some are written, some are not, some requests are under way.
    for (index, name) in names.iter().enumerate() {
        shop.seal(name, &old[name]);
        if index == 30 {
            first.process.signal("STOP").unwrap();
        }
    }
    second.wait_leading();
    let new: BTreeMap<&String, String> = names.iter().map(|name| (name, unique_value())).collect();
    let (deleted, kept) = names.split_at(5);
    for name in kept {
        shop.seal(name, &new[name]);
    }
    for name in deleted {
        shop.delete_sealed(name);
    }
    let right = || {
        kept.iter().all(|name| {
            shop.secret(name)
                .is_some_and(|secret| secret["data"] == data(&[("password", &new[name])]))
        })
    };
    wait_until("the second writes", right);
    for name in kept {
        shop.wait_ready(name);
    }

    first.process.signal("CONT").unwrap();
    wait_until("the first has ended or does not lead", || {
        !first.process.is_running() || !first.is_leading()
    });
    holds_for(Duration::from_secs(2), "every Secret", right);
    assert!(second.is_leading());
    for name in kept {
        let seen = watch.versions(name);
        let mut values: Vec<&Value> = seen.iter().map(|secret| &secret["data"]).collect();
        values.dedup();
        let (old, new) = (
            data(&[("password", &old[name])]),
            data(&[("password", &new[name])]),
        );
        assert!(
            values == [&old, &new] || values == [&new],
            "{name} only went forward: {values:?}"
        );
    }
    let gone = || deleted.iter().all(|name| shop.secret(name).is_none());
    sealkit_tests::wait::wait_within(Duration::from_secs(90), "the collector", || {
        gone().then_some(())
    });
    holds_for(
        Duration::from_secs(1),
        "nothing of what was deleted comes back",
        gone,
    );
}

#[test]
fn a_stopped_leader_finishes_and_hands_over() {
    let plane = Own::take();
    let long = Flags {
        lease_seconds: 30,
        ..Flags::default()
    };
    let mut first = plane.controller(&long);
    first.wait_leading();
    let shop = plane.namespace("shop");
    let values: Vec<String> = (0..40).map(|_| unique_value()).collect();
    let seal = |index: usize| shop.seal(&format!("db-{index}"), &values[index]);
    (0..40).for_each(|index| drop(seal(index)));
    let start = Instant::now();
    let status = first.stop();
    assert_eq!(status.code(), Some(0), "{}", first.log());
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
    let lease = plane.api.get(LEASE).unwrap();
    assert_eq!(
        lease["spec"].get("holderIdentity"),
        None,
        "released: {lease:#}"
    );

    // Half a minute of lease was left.
    let start = Instant::now();
    let mut second = plane.controller(&long);
    wait_until("the second leads", || second.is_leading());
    assert!(
        start.elapsed() < Duration::from_secs(2),
        "{:?}",
        start.elapsed()
    );
    second.wait_leading();
    for (index, value) in values.iter().enumerate() {
        shop.wait_ready(&format!("db-{index}"));
        shop.wait_value(&format!("db-{index}"), value);
    }
}

#[test]
fn a_waiting_controller_stops_as_fast_and_leaves_the_lease() {
    let plane = Own::take();
    let mut first = plane.leading_controller();
    let mut second = plane.controller(&Flags::default());
    sleep(Duration::from_secs(1));
    let start = Instant::now();
    assert_eq!(second.stop().code(), Some(0));
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(
        plane.api.get(LEASE).unwrap()["spec"]["holderIdentity"],
        *first.identity
    );
    let shop = plane.namespace("shop");
    shop.seal("db", &unique_value());
    shop.wait_ready("db");
    assert!(first.process.is_running() && first.is_leading());
}
