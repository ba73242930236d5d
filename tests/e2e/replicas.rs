//! Several controllers, one writer.

use std::collections::BTreeMap;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use sealkit_rig::OpenBao;
use sealkit_tests::canary::unique_value;
use sealkit_tests::controller::{Controller, Flags};
use sealkit_tests::external::{Team, property};
use sealkit_tests::namespace::{Namespace, data};
use sealkit_tests::plane::{LEASE, Own, SYSTEM, unique};
use sealkit_tests::secret_watch::SecretWatch;
use sealkit_tests::wait::{holds_for, wait_until, wait_within};
use serde_json::{Value, json};

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

/// How often a controller read an identity from a list or a watch.
fn identities_read(controller: &Controller) -> usize {
    controller.log().matches("read an identity").count()
}

/// A replica whose keys cannot be read would be a leader that opens nothing.
#[test]
fn a_waiting_replica_is_ready_once_it_could_take_over_and_reads_no_keys_anew() {
    let plane = Own::take();
    let mut first = plane.leading_controller();
    let shop = plane.namespace("shop");
    let kubectl = |args: &[&str]| plane.servers.kubectl(args).unwrap();
    let unique = unique("waiting");
    kubectl(&["create", "serviceaccount", &unique, "-n", SYSTEM]);
    let subject = format!("--serviceaccount={SYSTEM}:{unique}");
    let bind = |kind: &str, role: &str, name: &str| {
        let name = format!("{unique}-{name}");
        kubectl(&["create", kind, &name, "-n", SYSTEM, role, &subject]);
    };
    let hour = Some(Duration::from_hours(1));
    let kubeconfig = plane
        .servers
        .service_account_kubeconfig(SYSTEM, &unique, hour)
        .unwrap();
    let mut second = Controller::start(&kubeconfig, &plane.logs(), &Flags::default());
    let not_ready = |controller: &Controller, parts: &str| {
        controller.get("/readyz") == Some((503, format!("not ready, waiting for: {parts}")))
    };
    wait_until("neither lease nor keys", || {
        not_ready(&second, "Lease, SealingKey")
    });
    bind("rolebinding", "--role=sealkit-controller", "lease");
    wait_until("the lease", || not_ready(&second, "SealingKey"));
    holds_for(Duration::from_secs(2), "no keys, not ready", || {
        not_ready(&second, "SealingKey")
    });
    bind(
        "clusterrolebinding",
        "--clusterrole=sealkit-controller",
        "keys",
    );
    wait_until("ready", || {
        second.get("/readyz").is_some_and(|(code, _)| code == 200)
    });
    assert!(!second.is_leading());

    let before = identities_read(&second);
    assert!(before > 0);
    first.process.kill().unwrap();
    second.wait_leading();
    let value = unique_value();
    shop.seal("db", &value);
    shop.wait_ready("db");
    shop.wait_value("db", &value);
    assert_eq!(identities_read(&second), before, "no key is read again");
    drop(second);
    for (kind, name) in [("rolebinding", "lease"), ("clusterrolebinding", "keys")] {
        kubectl(&["delete", kind, &format!("{unique}-{name}"), "-n", SYSTEM]);
    }
}

#[test]
fn a_frozen_leader_writes_nothing_wrong_when_it_wakes() {
    let plane = Own::take();
    let flags = Flags {
        lease_seconds: 6,
        ..Flags::default()
    };
    let mut first = plane.controller(&flags);
    first.wait_leading();
    let mut second = plane.controller(&flags);
    let shop = plane.namespace("shop");
    let watch = SecretWatch::start(&shop);
    let names: Vec<String> = (0..120).map(|index| format!("db-{index}")).collect();
    let [before, old, new] = [(); 3].map(|()| values(&names));
    let (existing, created) = names.split_at(60);
    for name in existing {
        shop.seal(name, &before[name]);
    }
    existing.iter().for_each(|name| drop(shop.wait_ready(name)));
    // Everything comes at once, and the freeze amid it: some of it is written, some is not, and
    // dozens of requests are under way.
    let before_burst = watch.count();
    thread::scope(|scope| {
        scope.spawn(|| seal_all(&shop, &names, &old));
        while watch.count() < before_burst + 20 {
            sleep(Duration::from_millis(1));
        }
        first.process.signal("STOP").unwrap();
    });
    // While nobody leads: the second will never have seen the values in between.
    let (deleted, kept) = names.split_at(3);
    seal_all(&shop, kept, &new);
    for name in deleted {
        shop.delete_sealed(name);
    }
    assert!(
        !second.is_leading(),
        "the machine is too slow for this test"
    );
    second.wait_leading();
    let right = || {
        kept.iter().all(|name| {
            let expected = data(&[("password", &new[name])]);
            shop.secret(name)
                .is_some_and(|secret| secret["data"] == expected)
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
    let mut unwritten = 0;
    for name in kept {
        let seen = watch.versions(name);
        let mut found: Vec<&Value> = seen.iter().map(|secret| &secret["data"]).collect();
        found.dedup();
        let life = [&before, &old, &new].map(|values| data(&[("password", &values[name])]));
        let mut expected: Vec<&Value> = life.iter().collect();
        if created.contains(name) {
            expected.remove(0);
        }
        // The freeze may have come before the middle one.
        if !found.contains(&&life[1]) {
            unwritten += 1;
            expected.retain(|value| **value != life[1]);
        }
        assert_eq!(found, expected, "{name} only went forward");
    }
    assert!(
        (1..names.len()).contains(&unwritten),
        "the freeze came amid work: {unwritten}"
    );
    let gone = || deleted.iter().all(|name| shop.secret(name).is_none());
    wait_within(Duration::from_secs(90), "the collector", || {
        gone().then_some(())
    });
    holds_for(
        Duration::from_secs(1),
        "nothing of what was deleted comes back",
        gone,
    );
}

/// A Secret that nobody owns is collected by nobody: a create that comes late would stay.
#[test]
fn a_frozen_leader_makes_no_orphan_of_a_deleted_source_when_it_wakes() {
    let plane = Own::take();
    let mut controller = plane.leading_controller();
    let shop = plane.namespace("shop");
    let watch = SecretWatch::start(&shop);
    let names: Vec<String> = (0..120).map(|index| format!("db-{index}")).collect();
    let orphan = json!({"creationPolicy": "Orphan"});
    thread::scope(|scope| {
        for part in names.chunks(20) {
            let (shop, orphan) = (&shop, &orphan);
            scope.spawn(move || {
                for name in part {
                    let draft = shop.draft(name).value("password", unique_value());
                    shop.apply(&draft.target(orphan.clone()).manifest());
                }
            });
        }
        while watch.count() < 20 {
            sleep(Duration::from_millis(1));
        }
        controller.process.signal("STOP").unwrap();
    });
    for name in &names {
        shop.delete_sealed(name);
    }
    // Longer than a busy machine makes a process wait.
    sleep(Duration::from_secs(2));
    let secrets = || -> Vec<&String> {
        let there = |name: &&String| shop.secret(name).is_some();
        names.iter().filter(there).collect()
    };
    let before = secrets();
    assert!((1..names.len()).contains(&before.len()), "{}", before.len());
    controller.process.signal("CONT").unwrap();
    // It goes on with its work, and has seen all that was deleted once this one is done.
    wait_until("it leads again", || controller.is_leading());
    shop.seal("later", &unique_value());
    shop.wait_ready("later");
    // Requests that were on their way when it froze go through, and are taken back; so are some
    // that went through before, of objects that never were Ready.
    let none_late = || secrets().iter().all(|name| before.contains(name));
    wait_until("late creates are taken back", none_late);
    holds_for(Duration::from_secs(3), "no Secret comes late", none_late);
}

/// It has read values of a store, or is about to write them, when it freezes.
#[test]
fn a_frozen_leader_brings_no_older_value_of_a_store_back() {
    let plane = Own::take();
    let bao = OpenBao::shared().unwrap();
    let flags = Flags {
        lease_seconds: 6,
        ..Flags::default()
    };
    let mut first = plane.controller(&flags);
    first.wait_leading();
    let mut second = plane.controller(&flags);
    let team = Team::new(&plane, bao);
    let names: Vec<String> = (0..80).map(|index| format!("db-{index}")).collect();
    let put = |values: &BTreeMap<String, String>| {
        for name in &names {
            let secret = json!({"a": values[name]});
            team.vault.put(&team.mount, name, &secret).unwrap();
        }
    };
    let [old, new] = [(); 2].map(|()| values(&names));
    put(&old);
    let watch = SecretWatch::start(&team.namespace);
    let before = watch.count();
    thread::scope(|scope| {
        scope.spawn(|| {
            for name in &names {
                let spec = json!({"data": [property("a", name, "a")]});
                team.external(name, "1h", &spec);
            }
        });
        while watch.count() < before + 20 {
            sleep(Duration::from_millis(1));
        }
        first.process.signal("STOP").unwrap();
    });
    put(&new);
    // What the first has already written is due in an hour: the change asks for it.
    let force = json!({"metadata": {"annotations": {"force-sync": "1"}}});
    for name in &names {
        let path = format!("{}/{name}", team.path("externalsecrets"));
        team.api().merge(&path, &force).unwrap();
    }
    second.wait_leading();
    let right = || {
        names.iter().all(|name| {
            let expected = data(&[("a", &new[name])]);
            let secret = team.namespace.secret(name);
            secret.is_some_and(|secret| secret["data"] == expected)
        })
    };
    wait_until("the second writes", right);
    first.process.signal("CONT").unwrap();
    wait_until("the first has ended or does not lead", || {
        !first.process.is_running() || !first.is_leading()
    });
    holds_for(Duration::from_secs(2), "every Secret", right);
    for name in &names {
        let seen = watch.versions(name);
        let last = data(&[("a", &new[name])]);
        let turned = seen.iter().skip_while(|secret| secret["data"] != last);
        assert!(
            turned
                .map(|secret| &secret["data"])
                .all(|data| *data == last)
        );
    }
}

/// Applies one object for each name, many at once.
fn seal_all(shop: &Namespace, names: &[String], values: &BTreeMap<String, String>) {
    thread::scope(|scope| {
        for part in names.chunks(20) {
            scope.spawn(move || {
                for name in part {
                    shop.seal(name, &values[name]);
                }
            });
        }
    });
}

/// A value for each name.
fn values(names: &[String]) -> BTreeMap<String, String> {
    names
        .iter()
        .map(|name| (name.clone(), unique_value()))
        .collect()
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
