//! What was altered or moved is refused, with the reason, and changes no Secret.

use sealkit_core::sealed::Scope;
use sealkit_tests::canary::unique_value;
use sealkit_tests::namespace::{Namespace, condition, data, resource_version, uid};
use sealkit_tests::plane::Shared;
use serde_json::{Value, json};

/// A good object with the keys `a` and `b`.
fn good(namespace: &Namespace, name: &str) -> Value {
    namespace
        .draft(name)
        .value("a", unique_value())
        .value("b", unique_value())
        .manifest()
}

/// Applies a bad object and expects it to be refused without a Secret.
fn refused(namespace: &Namespace, manifest: &Value, reason: &str) -> Value {
    namespace.apply(manifest);
    let name = manifest["metadata"]["name"].as_str().unwrap();
    let object = namespace.wait_stalled(name, reason);
    assert!(namespace.secret(name).is_none(), "{name} has no Secret");
    assert_eq!(object["status"]["target"], Value::Null);
    let event = namespace.wait_event(&object, reason);
    assert_eq!(event["type"], "Warning");
    object
}

#[test]
fn a_moved_or_altered_value_is_refused() {
    let plane = Shared::get();
    let shop = plane.namespace("shop");

    let mut swapped = good(&shop, "swapped");
    let values = swapped["spec"]["encryptedData"].as_object_mut().unwrap();
    let (a, b) = (values["a"].clone(), values["b"].clone());
    values.insert("a".into(), b);
    values.insert("b".into(), a);
    refused(&shop, &swapped, "DecryptFailed");

    let mut renamed_key = good(&shop, "renamed-key");
    let values = renamed_key["spec"]["encryptedData"]
        .as_object_mut()
        .unwrap();
    let a = values.remove("a").unwrap();
    values.insert("c".into(), a);
    refused(&shop, &renamed_key, "DecryptFailed");

    let mut tampered = good(&shop, "tampered");
    let value = tampered.pointer_mut("/spec/encryptedData/a").unwrap();
    // Any character after prefix and nonce; the last one may hold no whole bits.
    let mut text = value.as_str().unwrap().as_bytes().to_vec();
    let at = text.len() - 20;
    text[at] = if text[at] == b'A' { b'B' } else { b'A' };
    *value = String::from_utf8(text).unwrap().into();
    refused(&shop, &tampered, "DecryptFailed");

    let mut envelope = good(&shop, "envelope-bit");
    let envelopes = envelope["spec"]["envelopes"].as_object_mut().unwrap();
    let age_file = &mut envelopes.values_mut().next().unwrap()["ageFile"];
    let mut text = age_file.as_str().unwrap().as_bytes().to_vec();
    let at = text.len() - 40;
    text[at] = if text[at] == b'A' { b'B' } else { b'A' };
    *age_file = String::from_utf8(text).unwrap().into();
    refused(&shop, &envelope, "DecryptFailed");
}

#[test]
fn an_object_moved_elsewhere_is_refused() {
    let plane = Shared::get();
    let (shop, bank) = (plane.namespace("shop"), plane.namespace("bank"));

    let mut renamed = good(&shop, "db");
    renamed["metadata"]["name"] = json!("other");
    let object = refused(&shop, &renamed, "ScopeMismatch");
    let message = object["status"]["conditions"][0]["message"]
        .as_str()
        .unwrap();
    assert!(message.contains(&format!("{}/db", shop.name)), "{message}");

    let mut moved = good(&shop, "db");
    moved["metadata"]["namespace"] = json!(bank.name);
    refused(&bank, &moved, "ScopeMismatch");

    let mut widened = good(&shop, "widened");
    widened["spec"]["scope"] = json!("cluster-wide");
    refused(&shop, &widened, "ScopeMismatch");

    let wide = bank
        .draft("team")
        .scope(Scope::NamespaceWide)
        .value("a", unique_value())
        .manifest();
    let mut moved_wide = wide.clone();
    moved_wide["metadata"]["namespace"] = json!(shop.name);
    refused(&shop, &moved_wide, "ScopeMismatch");
    let mut renamed_wide = wide;
    renamed_wide["metadata"]["name"] = json!("may-be-renamed");
    bank.apply(&renamed_wide);
    bank.wait_ready("may-be-renamed");
}

#[test]
fn an_envelope_of_another_object_is_refused() {
    let plane = Shared::get();
    let shop = plane.namespace("shop");
    let (donor, mut thief) = (good(&shop, "donor"), good(&shop, "thief"));
    thief["spec"]["envelopes"] = donor["spec"]["envelopes"].clone();
    thief["spec"]["encryptedData"] = donor["spec"]["encryptedData"].clone();
    refused(&shop, &thief, "ScopeMismatch");

    let mut same_id = good(&shop, "same-id");
    let donated = donor["spec"]["envelopes"]
        .as_object()
        .unwrap()
        .values()
        .next()
        .unwrap();
    let envelopes = same_id["spec"]["envelopes"].as_object_mut().unwrap();
    *envelopes.values_mut().next().unwrap() = donated.clone();
    refused(&shop, &same_id, "ScopeMismatch");

    let mut dangling = good(&shop, "dangling");
    dangling["spec"]["envelopes"] = donor["spec"]["envelopes"].clone();
    refused(&shop, &dangling, "InvalidSpec");
}

#[test]
fn the_last_good_secret_stays_until_a_better_one_comes() {
    let plane = Shared::get();
    let shop = plane.namespace("shop");
    let (first, second) = (unique_value(), unique_value());
    shop.seal("db", &first);
    shop.wait_ready("db");
    let before = shop.wait_value("db", &first);

    let mut bad = shop.draft("db").value("password", &second).manifest();
    bad["spec"]["scope"] = json!("namespace-wide");
    shop.apply(&bad);
    let object = shop.wait_stalled("db", "ScopeMismatch");
    assert_eq!(
        object["status"]["target"]["resourceVersion"],
        resource_version(&before)
    );
    assert_eq!(shop.secret("db"), Some(before));

    // Half of it good is still bad: all or nothing.
    let mut half = shop
        .draft("db")
        .value("password", &second)
        .value("more", unique_value())
        .manifest();
    let more = half["spec"]["encryptedData"]["more"].clone();
    half["spec"]["encryptedData"]["other"] = more;
    shop.apply(&half);
    shop.wait_stalled("db", "DecryptFailed");
    assert_eq!(
        shop.secret("db").unwrap()["data"],
        data(&[("password", &first)])
    );

    shop.seal("db", &second);
    let object = shop.wait_ready("db");
    shop.wait_value("db", &second);
    let writes = plane.recorder.status_writes(uid(&object));
    let ready: Vec<_> = writes
        .iter()
        .map(|write| (write.observed(), write.condition("Ready").unwrap()))
        .collect();
    assert_eq!(
        ready,
        [(1, "True"), (2, "False"), (3, "False"), (4, "True")]
    );
    assert_eq!(condition(&object, "Stalled"), None);
}
