//! A thousand tampered objects through the real servers: none becomes a Secret.

use std::thread;
use std::time::Duration;

use sealkit_tests::canary::unique_value;
use sealkit_tests::namespace::{Namespace, condition, ready_condition};
use sealkit_tests::plane::Own;
use sealkit_tests::wait::wait_within;
use serde_json::{Value, json};

const OBJECTS: usize = 1_000;

/// An object that was good, changed in one of seven ways.
pub(crate) fn tampered(shop: &Namespace, index: usize) -> Value {
    let name = format!("bad-{index}");
    let seal = |name: &str| {
        // Longer than the shortest, which the API server takes whole only.
        let draft = shop.draft(name).value("a", unique_value().repeat(8));
        draft.value("b", unique_value()).manifest()
    };
    let mut object = seal(&name);
    let other = seal("other");
    let values = object["spec"]["encryptedData"].clone();
    let text = |key: &str| values[key].as_str().unwrap().to_owned();
    let flip = |text: &str, at: usize| {
        let mut bytes = text.as_bytes().to_vec();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        Value::from(String::from_utf8(bytes).unwrap())
    };
    match index % 7 {
        0 => {
            // Without the dot after the id, the API server takes no value.
            let at = Some(22 + index % (text("a").len() - 24)).filter(|at| *at != 36);
            let at = at.unwrap_or(40);
            object["spec"]["encryptedData"]["a"] = flip(&text("a"), at);
        }
        1 => {
            let envelopes = object["spec"]["envelopes"].as_object_mut().unwrap();
            let envelope = envelopes.values_mut().next().unwrap();
            let key = envelope["ageFile"].as_str().unwrap().to_owned();
            envelope["ageFile"] = flip(&key, index % (key.len() - 4));
        }
        2 => object["spec"]["encryptedData"] = json!({"a": values["b"], "b": values["a"]}),
        3 => object["spec"]["encryptedData"] = json!({"c": values["a"], "b": values["b"]}),
        4 => {
            object["spec"] = other["spec"].clone();
        }
        5 => object["spec"]["scope"] = json!("namespace-wide"),
        _ => {
            object["spec"]["encryptedData"]["a"] =
                Value::from(text("a")[..text("a").len() - 8].to_owned());
        }
    }
    object
}

#[test]
fn a_thousand_tampered_objects_become_no_secret() {
    let plane = Own::take();
    let controller = plane.leading_controller();
    let shop = plane.namespace("tampered");
    thread::scope(|scope| {
        for part in 0..8 {
            let shop = &shop;
            scope.spawn(move || {
                for index in (part..OBJECTS).step_by(8) {
                    let object = tampered(shop, index);
                    shop.api
                        .create(&shop.sealed_secrets_path(), &object)
                        .unwrap();
                }
            });
        }
    });
    let objects = wait_within(Duration::from_secs(120), "all are judged", || {
        let objects = shop.api.list(&shop.sealed_secrets_path());
        let judged = |object: &Value| condition(object, "Stalled") == Some("True");
        objects.iter().all(judged).then_some(objects)
    });
    assert_eq!(objects.len(), OBJECTS);
    for object in &objects {
        let reason = ready_condition(object)["reason"].as_str().unwrap();
        let known = ["InvalidSpec", "DecryptFailed", "ScopeMismatch"];
        assert!(known.contains(&reason), "{reason}");
    }
    let secrets = shop.api.list(&shop.secrets_path());
    assert_eq!(secrets.len(), 0, "{secrets:#?}");
    assert_eq!(
        controller
            .metric("sealkit_target_writes_total", "")
            .to_string(),
        "0"
    );
    // The controller is well.
    let value = unique_value();
    shop.seal("good", &value);
    shop.wait_value("good", &value);
}
