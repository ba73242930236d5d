//! What somebody changes in a Secret of ours is put right at once; what is theirs stays.

use sealkit_tests::canary::unique_value;
use sealkit_tests::namespace::{Namespace, data, resource_version, uid};
use sealkit_tests::plane::Shared;
use sealkit_tests::wait::{holds_for, wait_until};
use serde_json::{Value, json};
use std::time::Duration;

/// A Secret in sync, with a label and an annotation of its template.
fn in_sync(namespace: &Namespace, value: &str) -> Value {
    let template =
        json!({"metadata": {"labels": {"team": "shop"}, "annotations": {"note": "kept"}}});
    namespace.apply(
        &namespace
            .draft("db")
            .value("password", value)
            .template(template)
            .manifest(),
    );
    namespace.wait_ready("db");
    namespace.wait_value("db", value)
}

/// Everything but versions and field managers.
fn content(secret: &Value) -> Value {
    let mut secret = secret.clone();
    let metadata = secret["metadata"].as_object_mut().unwrap();
    for field in [
        "resourceVersion",
        "managedFields",
        "uid",
        "creationTimestamp",
    ] {
        metadata.remove(field);
    }
    secret
}

#[test]
fn every_change_of_ours_is_healed() {
    let plane = Shared::get();
    let shop = plane.namespace("shop");
    let value = unique_value();
    let good = in_sync(&shop, &value);
    let object = shop.sealed("db");
    let healed = |events: &[Value]| {
        events
            .iter()
            .filter(|event| event["reason"] == "Healed")
            .count()
    };
    let changes = [
        ("data changed", json!({"data": {"password": "Zm9v"}})),
        ("data removed", json!({"data": null})),
        ("foreign key added", json!({"data": {"intruder": "Zm9v"}})),
        (
            "our label removed",
            json!({"metadata": {"labels": {"sealkit.dev/managed": null}}}),
        ),
        (
            "template label removed",
            json!({"metadata": {"labels": {"team": null}}}),
        ),
        (
            "template label changed",
            json!({"metadata": {"labels": {"team": "other"}}}),
        ),
        (
            "template annotation removed",
            json!({"metadata": {"annotations": {"note": null}}}),
        ),
        (
            "source removed",
            json!({"metadata": {"annotations": {"sealkit.dev/source": null}}}),
        ),
        (
            "all markers removed",
            json!({"metadata": {"annotations": null, "labels": null, "ownerReferences": null}}),
        ),
        (
            "owner removed",
            json!({"metadata": {"ownerReferences": null}}),
        ),
    ];
    for (index, (what, change)) in changes.iter().enumerate() {
        let changed = shop.api.merge(&shop.secret_path("db"), change).unwrap();
        assert_ne!(content(&changed), content(&good), "{what}: it is a change");
        shop.wait_secret("db", &format!("is healed after: {what}"), |secret| {
            content(secret) == content(&good)
        });
        wait_until("it is told", || {
            healed(&shop.events(uid(&object))) == index + 1
        });
    }
    shop.wait_ready("db");
    wait_until("the version is on record", || {
        let version = shop.sealed("db")["status"]["target"]["resourceVersion"].clone();
        shop.secret("db").unwrap()["metadata"]["resourceVersion"] == version
    });
}

#[test]
fn a_deleted_secret_is_made_again() {
    let plane = Shared::get();
    let shop = plane.namespace("shop");
    let value = unique_value();
    let first = in_sync(&shop, &value);
    shop.api.delete(&shop.secret_path("db")).unwrap();
    let again = shop.wait_secret("db", "is made again", |secret| uid(secret) != uid(&first));
    assert_eq!(content(&again), content(&first));
    wait_until("the new one is on record", || {
        shop.sealed("db")["status"]["target"]["uid"] == again["metadata"]["uid"]
    });
    shop.wait_event(&shop.sealed("db"), "Healed");
}

#[test]
fn foreign_labels_and_annotations_stay() {
    let plane = Shared::get();
    let shop = plane.namespace("shop");
    let (value, next) = (unique_value(), unique_value());
    in_sync(&shop, &value);
    let theirs =
        json!({"metadata": {"labels": {"theirs": "yes"}, "annotations": {"theirs": "too"}}});
    let changed = shop.api.merge(&shop.secret_path("db"), &theirs).unwrap();
    // It is written once, so that nobody can tell whether its values were touched too.
    let written = shop.wait_secret("db", "is written", |secret| {
        resource_version(secret) != resource_version(&changed)
    });
    wait_until("the new version is on record", || {
        shop.sealed("db")["status"]["target"]["resourceVersion"] == resource_version(&written)
    });
    holds_for(
        Duration::from_millis(500),
        "the Secret is left alone",
        || resource_version(&shop.secret("db").unwrap()) == resource_version(&written),
    );
    let template = json!({"metadata": {"labels": {"added": "later"}}});
    shop.apply(
        &shop
            .draft("db")
            .value("password", &next)
            .template(template)
            .manifest(),
    );
    let secret = shop.wait_value("db", &next);
    let labels = json!({"theirs": "yes", "added": "later", "sealkit.dev/managed": "true"});
    assert_eq!(
        secret["metadata"]["labels"], labels,
        "labels that the template dropped are gone"
    );
    let annotations = &secret["metadata"]["annotations"];
    assert_eq!(
        (&annotations["theirs"], &annotations["note"]),
        (&json!("too"), &Value::Null)
    );
}

#[test]
fn keys_that_the_object_drops_leave_the_secret() {
    let plane = Shared::get();
    let shop = plane.namespace("shop");
    let (a, b) = (unique_value(), unique_value());
    shop.apply(&shop.draft("db").value("a", &a).value("b", &b).manifest());
    shop.wait_ready("db");
    assert_eq!(
        shop.secret("db").unwrap()["data"],
        data(&[("a", &a), ("b", &b)])
    );
    shop.apply(&shop.draft("db").value("b", &b).manifest());
    shop.wait_ready("db");
    assert_eq!(shop.secret("db").unwrap()["data"], data(&[("b", &b)]));
}
