//! The life of the cluster's keys.

mod restored;
mod revoked;

use std::time::Duration;

use sealkit_tests::api::ApiClient;
use sealkit_tests::canary::unique_value;
use sealkit_tests::namespace::{Namespace, condition, ready_condition, uid};
use sealkit_tests::plane::{Own, Plane, SEALING_KEYS, name_of, recipient, unique};
use sealkit_tests::wait::{holds_for, wait_for, wait_until};
use serde_json::{Value, json};

fn path(key: &Value) -> String {
    format!("{SEALING_KEYS}/{}", name_of(key))
}

fn fingerprint(key: &Value) -> &str {
    key["status"]["fingerprint"].as_str().unwrap()
}

fn manifest(name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "sealkit.dev/v1beta1", "kind": "SealingKey", "metadata": {"name": name}, "spec": spec})
}

/// What `seal keys rotate` does: asks for a new key and waits until it is the newest.
fn rotate(plane: &Plane, api: &ApiClient) -> Value {
    let name = unique("rotated");
    api.create(SEALING_KEYS, &manifest(&name, &json!({})))
        .unwrap();
    wait_for("the new key is the newest", || {
        Some(plane.newest_key()).filter(|key| name_of(key) == name)
    })
}

fn wait_state(plane: &Plane, key: &Value, state: &str) -> Value {
    wait_for(&format!("{} is {state}", name_of(key)), || {
        let key = plane.sealing_key(name_of(key));
        let looked = key["status"]["observedGeneration"] == key["metadata"]["generation"];
        (looked && key["status"]["state"] == state).then_some(key)
    })
}

fn wait_key_reason(plane: &Plane, name: &str, reason: &str) -> Value {
    wait_for(&format!("SealingKey {name} says {reason}"), || {
        let key = plane.sealing_key(name);
        let looked = key["status"]["observedGeneration"] == key["metadata"]["generation"];
        (looked && ready_condition(&key)["reason"] == reason).then_some(key)
    })
}

/// The identity Secret of a key.
fn identity(plane: &Plane, key: &Value) -> Option<Value> {
    plane
        .identities()
        .into_iter()
        .find(|secret| secret["metadata"]["labels"]["sealkit.dev/fingerprint"] == fingerprint(key))
}

fn ready_objects(shop: &Namespace, count: usize) -> Vec<Value> {
    let names: Vec<String> = (0..count).map(|index| format!("db-{index}")).collect();
    names
        .iter()
        .for_each(|name| drop(shop.seal(name, &unique_value())));
    names.iter().map(|name| shop.wait_ready(name)).collect()
}

#[test]
fn a_new_key_supersedes_the_first_and_touches_no_secret() {
    let plane = Own::take();
    assert!(plane.sealing_keys().is_empty() && plane.identities().is_empty());
    let controller = plane.leading_controller();
    let first = plane.newest_key();
    assert_eq!(
        (plane.sealing_keys().len(), plane.identities().len()),
        (1, 1)
    );
    let secret = identity(&plane, &first).expect("found by its label");
    assert_eq!(secret["type"], "sealkit.dev/identity");
    assert_eq!(
        secret["metadata"].get("ownerReferences"),
        None,
        "a key's identity outlives its SealingKey"
    );
    assert_eq!(
        recipient(&first).fingerprint().to_string(),
        fingerprint(&first)
    );

    let shop = plane.namespace("shop");
    let objects = ready_objects(&shop, 3);
    let secrets = || shop.api.list(&shop.secrets_path());
    let before = secrets();
    let second = rotate(&plane, &plane.api);
    assert_ne!(fingerprint(&second), fingerprint(&first));
    let superseded = wait_state(&plane, &first, "DecryptOnly");
    assert_eq!(condition(&superseded, "Ready"), Some("True"));
    for object in &objects {
        let name = name_of(object);
        wait_until("it is to be resealed", || {
            shop.sealed(name)["status"]["needsReseal"] == true
        });
        shop.wait_ready(name);
        assert_eq!(shop.wait_event(object, "NeedsReseal")["type"], "Warning");
        assert_eq!(plane.recorder.status_writes(uid(object)).len(), 2);
    }
    assert_eq!(
        controller
            .metric("sealkit_objects_needing_reseal", "")
            .to_string(),
        "3"
    );
    assert_eq!(secrets(), before, "no Secret was written");

    let later = plane.namespace("later");
    later.seal("db", &unique_value());
    let object = later.wait_ready("db");
    assert_eq!(object["status"]["needsReseal"], false);
    assert_eq!(object["status"]["sealedTo"], json!([fingerprint(&second)]));
    assert_eq!(plane.identities().len(), 2);
}

#[test]
fn a_deleted_sealing_key_comes_back_with_its_identity() {
    let plane = Own::take();
    let _controller = plane.leading_controller();
    let key = plane.newest_key();
    let identities = plane.identities();
    let shop = plane.namespace("shop");
    ready_objects(&shop, 1);
    plane.api.delete(&path(&key)).unwrap();
    let again = wait_for("it is made again", || {
        let again = plane.api.get(&path(&key))?;
        (uid(&again) != uid(&key) && condition(&again, "Ready") == Some("True")).then_some(again)
    });
    for field in ["fingerprint", "recipient", "state", "createdAt"] {
        assert_eq!(again["status"][field], key["status"][field], "{field}");
    }
    holds_for(Duration::from_secs(1), "the one identity", || {
        plane.identities() == identities
    });
    assert_eq!(shop.wait_ready("db-0")["status"]["needsReseal"], false);
}

#[test]
fn a_forged_status_is_healed() {
    let plane = Own::take();
    let _controller = plane.leading_controller();
    let key = plane.newest_key();
    let forged = json!({"status": {"recipient": "age1pq1forged", "fingerprint": "0".repeat(32)}});
    plane
        .api
        .merge(&format!("{}/status", path(&key)), &forged)
        .unwrap();
    wait_until("the status is healed", || {
        plane.sealing_key(name_of(&key))["status"] == key["status"]
    });
}
