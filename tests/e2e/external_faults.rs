//! What ExternalSecrets do while their provider misbehaves: they say what is wrong, quote nothing,
//! call it seldom, and leave every Secret as it is.

use std::collections::BTreeMap;
use std::env;
use std::thread::sleep;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sealkit_rig::{BaoCall, Fault, OpenBao, Proxy};
use sealkit_tests::canary::unique_value;
use sealkit_tests::controller::Flags;
use sealkit_tests::external::{Team, WAIT, property};
use sealkit_tests::namespace::{condition, data, resource_version};
use sealkit_tests::plane::{Own, Shared, unique};
use sealkit_tests::wait::wait_within;
use serde_json::{Value, json};

/// Longer than the longest pause between two calls of a provider that does not answer.
const RECOVERY: Duration = Duration::from_secs(50);
const GIB: usize = 1024 * 1024 * 1024;

fn put(team: &Team, key: &str, secret: &Value) {
    team.vault.put(&team.mount, key, secret).unwrap();
}

/// What an ExternalSecret takes from a store: a property of a key.
fn wants(store: &str, key: &str, name: &str) -> Value {
    json!({"secretStoreRef": {"name": store}, "data": [property("a", key, name)]})
}

fn wait_data(team: &Team, name: &str, expected: &Value) {
    wait_within(RECOVERY, &format!("{name} has its values"), || {
        let secret = team.namespace.secret(name)?;
        (secret["data"] == *expected).then_some(())
    });
}

/// Waits for a condition that contains this, of an object that is not Ready.
fn wait_says(team: &Team, name: &str, part: &str) {
    let mut last = Value::Null;
    let deadline = Instant::now() + RECOVERY;
    while Instant::now() < deadline {
        let object = team.look(name);
        last = object["status"]["conditions"].clone();
        let mut conditions = last.as_array().into_iter().flatten();
        let says = |text: &Value| text.as_str().is_some_and(|text| text.contains(part));
        let is_said = conditions.any(|one| says(&one["message"]) || says(&one["reason"]));
        if is_said && condition(&object, "Ready") != Some("True") {
            return;
        }
        sleep(Duration::from_millis(100));
    }
    panic!("{name} does not say {part:?}, but {last:#}");
}

/// The resourceVersions of Secrets, by their names.
fn versions(team: &Team, names: &[String]) -> BTreeMap<String, String> {
    let version = |name: &String| {
        let secret = team.namespace.secret(name).expect("the Secret");
        (name.clone(), resource_version(&secret).to_owned())
    };
    names.iter().map(version).collect()
}

fn wait_all_ready(team: &Team, names: &[String]) {
    wait_within(RECOVERY, "all are Ready", || {
        let ready = |name: &String| condition(&team.look(name), "Ready") == Some("True");
        names.iter().all(ready).then_some(())
    });
}

#[test]
fn an_outage_costs_few_calls_however_many_objects_there_are() {
    let plane = Own::take();
    let controller = plane.leading_controller();
    let mut bao = OpenBao::start().unwrap();
    let proxy = Proxy::start(bao.url()).unwrap();
    let team = Team::new(&plane, &bao);
    team.make("secretstores", &team.store("faulty", proxy.url()));
    let objects = count("SEALKIT_SOAK_OBJECTS", 80);
    let names: Vec<String> = (0..objects).map(|number| format!("db-{number}")).collect();
    for name in &names {
        put(&team, name, &json!({"a": unique_value()}));
        team.external(name, "1s", &wants("faulty", name, "a"));
    }
    wait_all_ready(&team, &names);
    let before = versions(&team, &names);
    let calls_in = |seconds: u64| {
        let start = proxy.requests();
        sleep(Duration::from_secs(seconds));
        proxy.requests() - start
    };
    assert!(calls_in(5) > 100, "each has a call in a second");
    // A session has eight calls under way at most; then one in a while.
    proxy.set(Fault::Reset);
    let (first, later) = (calls_in(20), calls_in(30));
    assert!((1..=24).contains(&first), "{first} calls at the beginning");
    assert!((1..=4).contains(&later), "{later} calls later");
    let away = || controller.metric("sealkit_store_sessions", "state=\"unavailable\"") > 0.0;
    assert!(away(), "the session is told to be unavailable");
    proxy.set(Fault::None);
    wait_all_ready(&team, &names);
    assert_eq!(versions(&team, &names), before, "no Secret is touched");
    assert!(!away(), "and open again");

    bao.seal().unwrap();
    wait_says(&team, "db-0", "Vault is sealed or in standby (503)");
    let sealed = calls_in(20);
    assert!(sealed <= 24, "{sealed} calls of a sealed server");
    bao.unseal().unwrap();
    wait_all_ready(&team, &names);
    assert_eq!(versions(&team, &names), before, "no Secret is touched");
}

#[test]
fn each_fault_is_named_and_touches_no_secret() {
    let plane = Own::take();
    let mut controller = plane.leading_controller();
    let bao = OpenBao::start().unwrap();
    let team = Team::new(&plane, &bao);
    let (value, stranger) = (unique_value(), Proxy::start(bao.url()).unwrap());
    put(&team, "db", &json!({"a": value}));
    let slow = Duration::from_millis(500);
    let rows = [
        ("reset", Fault::Reset, "Vault reset the connection"),
        ("cut", Fault::Cut, "Vault's answer broke off"),
        ("status", Fault::Status(500), "Vault failed (500)"),
        ("gateway", Fault::Status(502), "Vault failed (502)"),
        (
            "limited",
            Fault::TooManyRequests { retry_after: 1 },
            "Vault limits requests (429)",
        ),
        ("teapot", Fault::Status(418), "Vault answered 418 for"),
        ("no-vault", Fault::Status(404), "is not one of Vault"),
        ("page", Fault::Body("<html>cAnArY</html>"), "is no JSON"),
        ("empty", Fault::Body("{}"), "has no data"),
        (
            "shape",
            Fault::Body(r#"{"data": {"data": "cAnArY"}}"#),
            "has data that is no object",
        ),
        (
            "null",
            Fault::Body(r#"{"data": {"data": null}}"#),
            "Vault has no secret",
        ),
        (
            "redirect",
            Fault::Redirect(stranger.address()),
            "redirects to another place (307)",
        ),
        ("silent", Fault::Swallow, "Vault did not answer in time"),
        (
            "drip",
            Fault::Drip(slow),
            "Vault's answer did not end in time",
        ),
        (
            "huge",
            Fault::Huge(10 * GIB),
            "Vault's answer has more than 8 MiB",
        ),
    ];
    let mut names: Vec<String> = rows.iter().map(|(name, ..)| (*name).to_owned()).collect();
    names.push("gone".to_owned());
    let mut proxies = BTreeMap::new();
    for name in &names {
        let proxy = Proxy::start(bao.url()).unwrap();
        team.make("secretstores", &team.store(name, proxy.url()));
        team.external(name, "1s", &wants(name, "db", "a"));
        proxies.insert(name.as_str(), proxy);
    }
    wait_all_ready(&team, &names);
    let before = versions(&team, &names);
    for (name, fault, _) in &rows {
        proxies[name].set(*fault);
    }
    drop(proxies.remove("gone"));
    for (name, _, says) in &rows {
        wait_says(&team, name, says);
    }
    wait_says(&team, "gone", "the connection was refused");
    assert_eq!(versions(&team, &names), before, "no Secret is touched");
    assert_eq!(stranger.requests(), 0, "nobody follows a redirect");
    for name in &names {
        let object = team.look(name).to_string();
        let quotes = ["cAnArY", &value, bao.root_token(), "html"].map(|text| object.contains(text));
        assert_eq!(quotes, [false; 4], "{name}");
    }
    for proxy in proxies.values() {
        proxy.set(Fault::None);
    }
    names.pop();
    wait_all_ready(&team, &names);
    names.push("gone".to_owned());
    assert_eq!(versions(&team, &names), before, "no Secret is touched");
    controller.assert_lives_within_its_memory();
    let log = controller.log();
    assert!(!log.contains("cAnArY") && !log.contains(&value) && !log.contains(bao.root_token()));
}

#[test]
fn a_provider_that_wants_to_be_left_alone_is() {
    let (plane, bao) = (Shared::get(), OpenBao::shared().unwrap());
    let (team, proxy) = (Team::new(&plane, bao), Proxy::start(bao.url()).unwrap());
    team.make("secretstores", &team.store("faulty", proxy.url()));
    let names: Vec<String> = (0..10).map(|number| format!("db-{number}")).collect();
    for name in &names {
        put(&team, name, &json!({"a": unique_value()}));
        team.external(name, "1s", &wants("faulty", name, "a"));
    }
    wait_all_ready(&team, &names);
    proxy.set(Fault::TooManyRequests { retry_after: 8 });
    wait_says(&team, "db-0", "(429)");
    sleep(Duration::from_secs(2));
    let start = proxy.requests();
    sleep(Duration::from_secs(24));
    let calls = proxy.requests() - start;
    assert!(
        (1..=4).contains(&calls),
        "{calls} calls in three times the wait"
    );
    proxy.set(Fault::None);
    wait_all_ready(&team, &names);
}

#[test]
fn only_vault_says_that_a_secret_is_gone() {
    let (plane, bao) = (Shared::get(), OpenBao::shared().unwrap());
    let team = Team::new(&plane, bao);
    let mount = &team.mount;
    let write = |path: &str, body: Value| team.vault.write(path, &body).unwrap();
    put(&team, "db", &json!({"a": "one"}));
    put(&team, "db", &json!({"a": "two"}));
    let deleting = |name: &str, store: &str, key: &str| {
        let mut spec = wants(store, key, "a");
        spec["target"] = json!({"deletionPolicy": "Delete"});
        team.external(name, "1s", &spec);
    };
    deleting("latest", "vault", "db");
    wait_data(&team, "latest", &data(&[("a", "two")]));
    let pinned = json!({"data": [{"secretKey": "a",
        "remoteRef": {"key": "db", "property": "a", "version": "1"}}]});
    team.external("first", "1s", &pinned);
    wait_data(&team, "first", &data(&[("a", "one")]));

    // A deleted version is no secret, whatever its answer holds; undeleted, it is one again.
    let gone = || {
        wait_within(WAIT, "the Secret goes", || {
            team.namespace.secret("latest").is_none().then_some(())
        });
    };
    write(&format!("{mount}/delete/db"), json!({"versions": [2]}));
    gone();
    wait_data(&team, "first", &data(&[("a", "one")]));
    write(&format!("{mount}/undelete/db"), json!({"versions": [2]}));
    wait_data(&team, "latest", &data(&[("a", "two")]));
    write(&format!("{mount}/destroy/db"), json!({"versions": [2]}));
    gone();
    let destroyed = json!({"data": [{"secretKey": "a",
        "remoteRef": {"key": "db", "property": "a", "version": "2"}}]});
    team.external("second", "1s", &destroyed);
    wait_says(&team, "second", "Vault has no secret \"db\"");
    put(&team, "db", &json!({"a": "three"}));
    wait_data(&team, "latest", &data(&[("a", "three")]));

    // An engine of another version, and none at all, are mistakes and delete nothing.
    let old = unique("kv1");
    write(
        &format!("sys/mounts/{old}"),
        json!({"type": "kv", "options": {"version": "1"}}),
    );
    wait_within(WAIT, "the engine serves", || {
        let body = json!({"a": "old"});
        team.vault.write(&format!("{old}/db"), &body).ok()
    });
    let store = |name: &str, path: &str, version: &str| {
        let mut store = team.store(name, bao.url());
        store["spec"]["provider"]["vault"]["path"] = json!(path);
        store["spec"]["provider"]["vault"]["version"] = json!(version);
        team.make("secretstores", &store);
    };
    store("old", &old, "v1");
    store("v1-of-v2", mount, "v1");
    store("nowhere", "no-such-mount", "v2");
    deleting("old", "old", "db");
    wait_data(&team, "old", &data(&[("a", "old")]));
    for (name, says) in [
        ("v1-of-v2", "Vault has no KV engine of version 1"),
        ("nowhere", "Vault has no KV engine of version 2"),
    ] {
        deleting(name, name, "db");
        wait_says(&team, name, says);
    }
    let path = format!("{}/old", team.path("secretstores"));
    let moved = json!({"spec": {"provider": {"vault": {"path": "no-such-mount"}}}});
    team.api().merge(&path, &moved).unwrap();
    wait_says(&team, "old", "Vault has no KV engine of version 1");
    wait_data(&team, "old", &data(&[("a", "old")]));
}

#[test]
fn a_revoked_token_costs_one_login() {
    let plane = Shared::get();
    let bao = OpenBao::start().unwrap();
    let team = Team::new(&plane, &bao);
    let write = |path: &str, body: Value| team.vault.write(path, &body).unwrap();
    let policy = format!(
        "path \"{}/data/*\" {{ capabilities = [\"read\"] }}",
        team.mount
    );
    write("sys/policies/acl/reader", json!({"policy": policy}));
    write("sys/auth/userpass", json!({"type": "userpass"}));
    let user = json!({"password": "correct horse", "token_policies": "reader", "token_ttl": "1h"});
    write("auth/userpass/users/shop", user);
    team.secret("password", &[("password", "correct horse")]);
    let mut store = team.store("user", bao.url());
    store["spec"]["provider"]["vault"]["auth"] = json!({"userPass": {"path": "userpass", "username": "shop", "secretRef": {"name": "password"}}});
    team.make("secretstores", &store);
    let names: Vec<String> = (0..20).map(|number| format!("db-{number}")).collect();
    for name in &names {
        put(&team, name, &json!({"a": unique_value()}));
        team.external(name, "1s", &wants("user", name, "a"));
    }
    wait_all_ready(&team, &names);
    let logins = || -> Vec<BaoCall> {
        let mut calls = bao.calls().unwrap();
        calls.retain(|call| call.path == "auth/userpass/login/shop");
        calls
    };
    assert_eq!(logins().len(), 1, "one login for all");
    let accessor = logins().pop().unwrap().issued;
    write("auth/token/revoke-accessor", json!({"accessor": accessor}));
    let expected = unique_value();
    put(&team, "db-0", &json!({"a": expected}));
    wait_data(&team, "db-0", &data(&[("a", &expected)]));
    sleep(Duration::from_secs(5));
    assert_eq!(logins().len(), 2, "one more for all");
    wait_all_ready(&team, &names);
}

#[test]
fn values_of_any_size_and_letter_arrive_as_they_are() {
    let (plane, bao) = (Shared::get(), OpenBao::shared().unwrap());
    let team = Team::new(&plane, bao);
    // A server takes a little less than 1 MiB in one secret, and so does Kubernetes.
    let large = "\u{fc}x".repeat(300 * 1024);
    put(&team, "large", &json!({"a": large}));
    team.external("large", "1h", &wants("vault", "large", "a"));
    wait_data(&team, "large", &data(&[("a", &large)]));
    put(&team, "larger", &json!({"b": large}));
    let both = json!({"data": [property("a", "large", "a"), property("b", "larger", "b")]});
    team.external("too-large", "1h", &both);
    wait_says(&team, "too-large", "the Secret would be too large");
    assert_eq!(team.namespace.secret("too-large"), None);

    let many: serde_json::Map<String, Value> = (0..1_000)
        .map(|number| (format!("key-{number}"), Value::from(unique_value())))
        .collect();
    put(&team, "many", &Value::Object(many.clone()));
    team.external(
        "many",
        "1h",
        &json!({"dataFrom": [{"extract": {"key": "many"}}]}),
    );
    let encode = |value: &Value| Value::from(BASE64_STANDARD.encode(value.as_str().unwrap()));
    let expected = many.iter().map(|(key, value)| (key.clone(), encode(value)));
    wait_data(&team, "many", &expected.collect());

    let odd = json!({
        "nul": "a\u{0}b", "emoji": "\u{1f511}", "controls": "\u{1b}[31m\r\n\t\u{7f}", "empty": "",
        "separators": "\u{2028}\u{feff}", "quotes": "\"'\\`${x}{{ .a }}", "combining": "e\u{301}",
    });
    put(&team, "odd", &odd);
    team.external(
        "odd",
        "1h",
        &json!({"dataFrom": [{"extract": {"key": "odd"}}]}),
    );
    let expected = odd.as_object().unwrap().iter();
    wait_data(
        &team,
        "odd",
        &expected
            .map(|(key, value)| (key.clone(), encode(value)))
            .collect(),
    );
    let refusing = json!({"dataFrom": [{"extract": {"key": "odd", "nullBytePolicy": "Fail"}}]});
    team.external("no-nul", "1h", &refusing);
    wait_says(&team, "no-nul", "NUL");
}

/// A number that `make soak` sets higher than what is good for each run.
pub fn count(variable: &str, usual: u32) -> u32 {
    env::var(variable).map_or(usual, |count| count.parse().expect("a number"))
}

/// `SplitMix64`, so that a failure can be repeated.
pub fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[test]
fn kills_amid_refreshes_leave_no_secret_half_written() {
    const OBJECTS: u64 = 40;
    let plane = Own::take();
    let bao = OpenBao::start().unwrap();
    // A restarted container keeps the pod's name, and with it the lease.
    let same_pod = Flags {
        identity: Some("pod".to_owned()),
        ..Flags::default()
    };
    let mut first = plane.controller(&same_pod);
    first.wait_leading();
    let team = Team::new(&plane, &bao);
    let mut state = 20_261_129;
    // Both values of a secret say the same, so that halves of two versions are seen.
    let change = |number: u64, state: &mut u64| {
        let value = format!("{:x}", next(state));
        put(
            &team,
            &format!("db-{number}"),
            &json!({"a": value, "b": value}),
        );
        value
    };
    let mut newest = BTreeMap::new();
    for number in 0..OBJECTS {
        newest.insert(number, change(number, &mut state));
        let spec = json!({"dataFrom": [{"extract": {"key": format!("db-{number}")}}]});
        team.external(&format!("db-{number}"), "1s", &spec);
    }
    let whole = |number: u64| {
        let secret = team.namespace.secret(&format!("db-{number}"))?;
        assert_eq!(
            secret["data"]["a"], secret["data"]["b"],
            "db-{number} is half-written"
        );
        Some(secret)
    };
    drop(first);
    let mut writes = 0.0;
    for _ in 0..count("SEALKIT_SOAK_KILLS", 20) {
        let mut controller = plane.controller(&same_pod);
        for _ in 0..10 {
            let number = next(&mut state) % OBJECTS;
            newest.insert(number, change(number, &mut state));
        }
        sleep(Duration::from_millis(400 + next(&mut state) % 1_600));
        writes += controller.metric("sealkit_target_writes_total", "");
        controller.process.kill().unwrap();
        (0..OBJECTS).for_each(|number| drop(whole(number)));
    }
    assert!(writes > 40.0, "the kills fell amid work: {writes} writes");
    let _last = plane.controller(&same_pod);
    for (number, value) in &newest {
        wait_within(RECOVERY, "the newest value", || {
            let secret = whole(*number)?;
            (secret["data"] == data(&[("a", value), ("b", value)])).then_some(())
        });
    }
}
