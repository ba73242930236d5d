use std::time::Duration;

use sealkit_tests::canary::unique_value;
use sealkit_tests::namespace::{Namespace, data, message, resource_version, uid};
use sealkit_tests::plane::Shared;
use sealkit_tests::wait::{holds_for, wait_until};
use serde_json::{Value, json};

use super::{consent, theirs};

fn merging(namespace: &Namespace, values: &[(&str, &str)]) -> Value {
    let target = json!({"creationPolicy": "Merge"});
    let mut draft = namespace.draft("db").target(target);
    for (key, value) in values {
        draft = draft.value(key, value);
    }
    draft.manifest()
}

#[test]
fn keys_are_added_changed_and_removed_and_the_rest_stays() {
    let plane = Shared::get();
    let shop = plane.namespace("merge");
    let before = theirs(&shop, true, &[("theirs", "kept")]);
    let (a, b, c) = (unique_value(), unique_value(), unique_value());
    shop.apply(&merging(&shop, &[("a", &a), ("b", &b)]));
    let object = shop.wait_ready("db");
    let secret = shop.secret("db").unwrap();
    assert_eq!(
        secret["data"],
        data(&[("a", &a), ("b", &b), ("theirs", "kept")])
    );
    assert_eq!(uid(&secret), uid(&before));
    assert!(secret["metadata"].get("ownerReferences").is_none());
    assert_eq!(object["status"]["target"]["merged"], true);

    // A key changes, one goes, one comes.
    shop.apply(&merging(&shop, &[("a", &c), ("c", &c)]));
    shop.wait_ready("db");
    let secret = shop.secret("db").unwrap();
    assert_eq!(
        secret["data"],
        data(&[("a", &c), ("c", &c), ("theirs", "kept")])
    );
    assert_eq!(secret["metadata"]["labels"]["app"], "theirs");

    // Drift in our keys is healed; theirs may do what they like, and nobody writes a status.
    let drift = json!({"data": {"c": null, "theirs": "bmV3", "more": "bmV3"}});
    shop.api.merge(&shop.secret_path("db"), &drift).unwrap();
    let right = data(&[("a", &c), ("c", &c), ("theirs", "new"), ("more", "new")]);
    wait_until("the key is back", || {
        shop.secret("db").unwrap()["data"] == right
    });
    shop.wait_ready("db");
    let writes = || plane.recorder.status_writes(uid(&object)).len();
    let (count, version) = (writes(), resource_version(&shop.sealed("db")).to_owned());
    for turn in 0..3 {
        let patch = json!({"data": {"theirs": format!("bmV{turn}")}});
        shop.api.merge(&shop.secret_path("db"), &patch).unwrap();
    }
    holds_for(Duration::from_secs(2), "the status", || {
        resource_version(&shop.sealed("db")) == version
    });
    assert_eq!(writes(), count, "their changes are no news of ours");

    // The Secret is not ours: it stays, with what was merged.
    shop.delete_sealed("db");
    holds_for(Duration::from_secs(3), "the Secret", || {
        shop.secret("db")
            .is_some_and(|secret| secret["data"]["theirs"].is_string())
    });
}

/// Applying without force succeeds where the value is equal: the answer must not depend on that.
#[test]
fn a_key_of_somebody_else_is_a_conflict_whatever_its_value() {
    let plane = Shared::get();
    let mut told = Vec::new();
    for guess in ["kept", "wrong"] {
        let shop = plane.namespace("merge");
        let before = theirs(&shop, true, &[("theirs", "kept")]);
        shop.apply(&merging(
            &shop,
            &[("theirs", guess), ("a", &unique_value())],
        ));
        let object = shop.wait_stalled("db", "TargetConflict");
        assert_eq!(shop.secret("db"), Some(before), "all or nothing");
        told.push(message(&object).replace(&shop.name, ""));
        assert_eq!(plane.recorder.status_writes(uid(&object)).len(), 1);
    }
    assert_eq!(told[0], told[1]);
    assert!(told[0].contains("key theirs"), "{}", told[0]);
}

/// An annotation may hold as much as a value does: kubectl's last-applied one holds them all.
#[test]
fn metadata_of_somebody_else_is_a_conflict_whatever_its_value() {
    let plane = Shared::get();
    let mut told = Vec::new();
    for guess in ["theirs", "wrong"] {
        let shop = plane.namespace("merge");
        let before = theirs(&shop, true, &[("theirs", "kept")]);
        let mut manifest = merging(&shop, &[("a", &unique_value())]);
        manifest["spec"]["template"] = json!({"metadata": {"labels": {"app": guess}}});
        shop.apply(&manifest);
        let object = shop.wait_stalled("db", "TargetConflict");
        assert_eq!(shop.secret("db"), Some(before), "all or nothing");
        told.push(message(&object).replace(&shop.name, ""));
    }
    assert_eq!(told[0], told[1]);
    assert!(told[0].contains("label app"), "{}", told[0]);

    let shop = plane.namespace("merge");
    theirs(&shop, true, &[]);
    let mut manifest = merging(&shop, &[("a", &unique_value())]);
    manifest["spec"]["template"] = json!({"metadata": {"labels": {"tier": "one"}}});
    shop.apply(&manifest);
    shop.wait_ready("db");
    manifest["spec"]["template"] = json!({"metadata": {"labels": {"tier": "two"}}});
    shop.apply(&manifest);
    shop.wait_ready("db");
    let labels = shop.secret("db").unwrap()["metadata"]["labels"].clone();
    assert_eq!(
        (&labels["tier"], &labels["app"]),
        (&json!("two"), &json!("theirs"))
    );
}

#[test]
fn a_key_that_somebody_takes_over_is_theirs_from_then_on() {
    let plane = Shared::get();
    let shop = plane.namespace("merge");
    theirs(&shop, true, &[]);
    let value = unique_value();
    shop.apply(&merging(&shop, &[("a", &value)]));
    shop.wait_ready("db");
    let taken = json!({"data": {"a": "dGFrZW4="}});
    shop.api.merge(&shop.secret_path("db"), &taken).unwrap();
    let object = shop.wait_stalled("db", "TargetConflict");
    assert!(message(&object).contains("key a"), "{}", message(&object));
    assert_eq!(shop.secret("db").unwrap()["data"]["a"], "dGFrZW4=");
}

#[test]
fn a_merge_waits_for_the_secret_and_for_consent() {
    let plane = Shared::get();
    let shop = plane.namespace("merge");
    let value = unique_value();
    shop.apply(&merging(&shop, &[("a", &value)]));
    shop.wait_reason("db", "Unknown", "NotFound");
    assert!(shop.secret("db").is_none(), "Merge makes no Secret");
    theirs(&shop, false, &[("theirs", "kept")]);
    shop.wait_stalled("db", "TargetConflict");
    consent(&shop);
    shop.wait_ready("db");
    assert_eq!(
        shop.secret("db").unwrap()["data"],
        data(&[("a", &value), ("theirs", "kept")])
    );
}

#[test]
fn consent_to_a_merge_is_none_to_adoption() {
    let plane = Shared::get();
    let shop = plane.namespace("merge");
    theirs(&shop, true, &[("theirs", "kept")]);
    let value = unique_value();
    shop.apply(&merging(&shop, &[("a", &value)]));
    shop.wait_ready("db");
    let merged = shop.secret("db").unwrap();
    // Not by another policy, not by the consent to merge, not after it is gone, not by a status that
    // remembers it.
    for consent in [json!("SealedSecret/db:merge"), json!(null)] {
        let annotations = json!({"metadata": {"annotations": {"sealkit.dev/allow": consent}}});
        shop.api
            .merge(&shop.secret_path("db"), &annotations)
            .unwrap();
        for target in [
            json!({}),
            json!({"creationPolicy": "Orphan"}),
            json!({"adopt": true}),
            json!({"creationPolicy": "Orphan", "adopt": true}),
        ] {
            let draft = shop.draft("db").value("a", &value).target(target.clone());
            shop.apply(&draft.manifest());
            shop.wait_stalled("db", "TargetConflict");
            let secret = shop.secret("db").unwrap();
            assert_eq!(secret["data"], merged["data"], "{consent} {target}");
            assert!(
                secret["metadata"].get("ownerReferences").is_none(),
                "{consent} {target}"
            );
        }
    }
}

#[test]
fn a_secret_of_our_own_is_not_merged_into_and_types_are_not_merged() {
    let plane = Shared::get();
    let shop = plane.namespace("merge");
    let value = unique_value();
    shop.seal("db", &value);
    shop.wait_ready("db");
    consent(&shop);
    shop.apply(&merging(&shop, &[("a", &value)]));
    let object = shop.wait_stalled("db", "TargetConflict");
    assert!(
        message(&object).contains("creationPolicy"),
        "{}",
        message(&object)
    );
    for template in [
        json!({"type": "kubernetes.io/tls"}),
        json!({"immutable": true}),
    ] {
        let mut manifest = merging(&shop, &[("a", &value)]);
        manifest["spec"]["template"] = template;
        shop.apply(&manifest);
        shop.wait_stalled("db", "InvalidSpec");
    }
}
