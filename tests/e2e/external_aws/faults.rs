//! What ExternalSecrets do while AWS misbehaves: they say what is wrong, quote nothing, and leave
//! every Secret as it is.

use std::collections::BTreeMap;
use std::thread::sleep;

use sealkit_rig::Fault;
use sealkit_tests::canary::unique_value;
use sealkit_tests::namespace::resource_version;

use super::*;
use crate::external_faults::{count, next};

/// An ExternalSecret and a store of the same name, whose calls are tried once.
fn external_of_its_own_store(world: &World, name: &str) {
    world.store(name, &json!({"retrySettings": {"maxRetries": 1}}));
    let spec = json!({
        "secretStoreRef": {"name": name},
        "data": [entry("a", &json!({"key": "db"}))],
    });
    world.external(name, &spec);
}

#[test]
fn each_fault_is_named_and_touches_no_secret() {
    let world = World::start();
    let value = unique_value();
    world.put("db", &value);
    let skew = Fault::Refuse {
        text: "secretsmanager.GetSecretValue",
        status: 400,
        body: r#"{"__type":"InvalidSignatureException","message":"Signature expired: cAnArY"}"#,
    };
    let rows = [
        ("cut", Fault::Cut, "AWS cannot be reached"),
        ("status", Fault::Status(503), "AWS failed (503)"),
        (
            "limited",
            Fault::TooManyRequests { retry_after: 1 },
            "AWS limits requests (429)",
        ),
        (
            "page",
            Fault::Body("<html>cAnArY</html>"),
            "AWS's answer is malformed or too large",
        ),
        ("empty", Fault::Body("{}"), "AWS's answer has no value"),
        (
            "skew",
            skew,
            "AWS refuses the credentials (InvalidSignatureException)",
        ),
        ("silent", Fault::Swallow, "AWS did not answer in time"),
        (
            "drip",
            Fault::Drip(Duration::from_secs(1)),
            "AWS did not answer in time",
        ),
    ];
    for (name, ..) in rows {
        external_of_its_own_store(&world, name);
    }
    let versions = || -> BTreeMap<&str, String> {
        let version = |name| {
            let secret = world.namespace.secret(name).expect("the Secret");
            (name, resource_version(&secret).to_owned())
        };
        rows.iter().map(|(name, ..)| version(name)).collect()
    };
    for (name, ..) in rows {
        world.wait_ready(name);
    }
    let before = versions();
    for (name, fault, says) in rows {
        let calls = world.proxy.requests();
        world.proxy.set(fault);
        world.force(name);
        // What has begun keeps its fault, so that the slow ones are slow together.
        wait_within(WAIT, name, || {
            (world.proxy.requests() > calls).then_some(())
        });
        if name != "silent" {
            let object = world.wait_message(name, says);
            assert!(!object.to_string().contains("cAnArY"), "{object}");
        }
    }
    world.wait_message("silent", "AWS did not answer in time");
    assert_eq!(versions(), before, "no Secret is touched");
    world.assert_quiet(&[&value, SECRET_KEY]);
    assert!(!world.controller.log().contains("cAnArY"));
}

#[test]
fn aws_is_left_alone_as_long_as_it_wants() {
    let world = World::start();
    for number in 0..10 {
        world.put(&format!("db-{number}"), "value");
        let spec = json!({
            "refreshInterval": "1s",
            "data": [entry("a", &json!({"key": format!("db-{number}")}))],
        });
        world.external(&format!("db-{number}"), &spec);
    }
    for number in 0..10 {
        world.wait_ready(&format!("db-{number}"));
    }
    world.proxy.set(Fault::TooManyRequests { retry_after: 20 });
    world.wait_message("db-0", "AWS limits requests (429)");
    // What is under way ends.
    sleep(Duration::from_secs(2));
    let before = world.proxy.requests();
    sleep(Duration::from_secs(5));
    assert_eq!(world.proxy.requests(), before, "calls within the wait");
    wait_within(WAIT, "it is asked again", || {
        (world.proxy.requests() > before).then_some(())
    });
}

#[test]
fn kills_amid_refreshes_from_aws_leave_no_secret_half_written() {
    const OBJECTS: u64 = 20;
    let mut world = World::start();
    let mut state = 20_261_129;
    let mut newest = BTreeMap::new();
    // Both values of a secret say the same, so that halves of two versions are seen.
    let text = |value: &str| json!({"a": value, "b": value}).to_string();
    for number in 0..OBJECTS {
        let (name, value) = (format!("db-{number}"), format!("{:x}", next(&mut state)));
        world.put(&name, &text(&value));
        newest.insert(name.clone(), value);
        let spec = json!({"refreshInterval": "1s", "dataFrom": [{"extract": {"key": name}}]});
        world.external(&name, &spec);
    }
    let whole = |world: &World, name: &str| {
        let secret = world.namespace.secret(name)?;
        let values = &secret["data"];
        assert_eq!(values["a"], values["b"], "{name} is half-written");
        Some(values.clone())
    };
    for _ in 0..count("SEALKIT_SOAK_KILLS", 10) {
        for _ in 0..5 {
            let name = format!("db-{}", next(&mut state) % OBJECTS);
            let value = format!("{:x}", next(&mut state));
            let change = json!({"SecretId": name, "SecretString": text(&value)});
            world
                .moto
                .call("secretsmanager.PutSecretValue", &change)
                .unwrap();
            newest.insert(name, value);
        }
        sleep(Duration::from_millis(400 + next(&mut state) % 1_600));
        world.restart();
        for name in newest.keys() {
            whole(&world, name);
        }
    }
    for (name, value) in &newest {
        wait_within(Duration::from_mins(1), "the newest value", || {
            let expected = data(&[("a", value), ("b", value)]);
            (whole(&world, name)? == expected).then_some(())
        });
    }
}
