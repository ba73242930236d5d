//! Keys only ever go down, whoever asks.

use std::time::Duration;

use sealkit_tests::api::{Answer, ApiClient};
use sealkit_tests::canary::unique_value;
use sealkit_tests::controller::Flags;
use sealkit_tests::namespace::{data, ready_condition, resource_version, uid};
use sealkit_tests::plane::{
    Own, Plane, SEALING_KEYS, SYSTEM, SYSTEM_SECRETS, name_of, recipient, unique,
};
use sealkit_tests::wait::{holds_for, wait_for, wait_until};
use serde_json::json;

use super::{fingerprint, manifest, path, ready_objects, rotate, wait_key_reason, wait_state};

/// A token of somebody with `sealkit-key-admin` and nothing else.
fn key_admin(plane: &Plane) -> ApiClient {
    let name = unique("key-admin");
    let admin = plane.service_account("default", &name);
    let subject = format!("--serviceaccount=default:{name}");
    plane
        .servers
        .kubectl(&[
            "create",
            "clusterrolebinding",
            &name,
            "--clusterrole=sealkit-key-admin",
            &subject,
        ])
        .unwrap();
    wait_until("the binding", || {
        admin.may("create", "sealingkeys.sealkit.dev", "")
    });
    admin
}

fn code(answer: Answer) -> u16 {
    answer.map_or_else(|refusal| refusal.code, |_| 200)
}

#[test]
fn a_key_admin_gains_nothing_by_editing_sealing_keys() {
    let plane = Own::take();
    let _controller = plane.leading_controller();
    let admin = key_admin(&plane);
    let first = plane.newest_key();
    for secret in plane.identities() {
        assert_eq!(
            code(admin.try_get(&format!("{SYSTEM_SECRETS}/{}", name_of(&secret)))),
            403
        );
    }
    assert_eq!(code(admin.try_get(SYSTEM_SECRETS)), 403);
    assert!(!admin.may("get", "secrets", SYSTEM) && !admin.may("create", "secrets", SYSTEM));
    let status = json!({"status": {"state": "Active"}});
    assert_eq!(
        code(admin.merge(&format!("{}/status", path(&first)), &status)),
        403
    );

    let second = rotate(&plane, &admin);
    wait_state(&plane, &first, "DecryptOnly");
    let revoked = rotate(&plane, &admin);
    let third = rotate(&plane, &admin);
    wait_state(&plane, &revoked, "DecryptOnly");
    admin
        .merge(&path(&revoked), &json!({"spec": {"state": "Revoked"}}))
        .unwrap();
    wait_state(&plane, &revoked, "Revoked");
    let never_again = [
        fingerprint(&first),
        fingerprint(&second),
        fingerprint(&revoked),
    ];
    let offered = || {
        let keys = plane.sealing_keys();
        let active = keys
            .into_iter()
            .filter(|key| key["status"]["state"] == "Active");
        active
            .map(|key| fingerprint(&key).to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(offered(), [fingerprint(&third)]);

    // Asked to be Active again; and again under a new object that claims what it likes.
    admin
        .merge(&path(&first), &json!({"spec": {"state": "Active"}}))
        .unwrap();
    for old in [&first, &revoked] {
        admin.delete(&path(old)).unwrap();
        let mut claim = manifest(name_of(old), &json!({"state": "Active"}));
        claim["metadata"]["annotations"] = json!({
            "sealkit.dev/state": "Active", "sealkit.dev/created-at": "2099-01-01T00:00:00Z",
            "sealkit.dev/fingerprint": fingerprint(old), "sealkit.dev/sealing-key": name_of(old),
        });
        // The controller may be faster than the claim.
        let answer = code(admin.create(SEALING_KEYS, &claim));
        assert!([200, 409].contains(&answer), "{answer}");
    }
    wait_state(&plane, &first, "DecryptOnly");
    wait_state(&plane, &revoked, "Revoked");
    holds_for(Duration::from_secs(1), "the third is offered", || {
        offered() == [fingerprint(&third)]
    });

    // Demoting the newest makes a new one, it brings none back.
    admin
        .merge(&path(&third), &json!({"spec": {"state": "DecryptOnly"}}))
        .unwrap();
    let fourth = wait_for("a fourth key", || {
        Some(plane.newest_key()).filter(|key| fingerprint(key) != fingerprint(&third))
    });
    assert!(!never_again.contains(&fingerprint(&fourth)));
    admin
        .merge(&path(&third), &json!({"spec": {"state": "Active"}}))
        .unwrap();
    holds_for(Duration::from_secs(1), "the fourth is offered", || {
        offered() == [fingerprint(&fourth)]
    });
    assert_eq!(plane.identities().len(), 5);

    // Naming a fingerprint that nobody holds makes no key.
    let mut lost = manifest("lost", &json!({}));
    lost["metadata"]["annotations"] = json!({"sealkit.dev/fingerprint": "0".repeat(32)});
    admin.create(SEALING_KEYS, &lost).unwrap();
    wait_key_reason(&plane, "lost", "IdentityMissing");
    let other = manifest("other", &json!({"algorithm": "X25519"}));
    admin.create(SEALING_KEYS, &other).unwrap();
    wait_key_reason(&plane, "other", "AlgorithmNotAllowed");
    assert_eq!(plane.identities().len(), 5);
}

#[test]
fn the_api_server_keeps_algorithm_and_revocation() {
    let plane = Own::take();
    let _controller = plane.leading_controller();
    let old = plane.newest_key();
    rotate(&plane, &plane.api);
    let refusal = plane
        .api
        .merge(&path(&old), &json!({"spec": {"algorithm": "X25519"}}))
        .unwrap_err();
    assert!(
        refusal.code == 422 && refusal.message.contains("algorithm cannot be changed"),
        "{refusal:?}"
    );
    plane
        .api
        .merge(&path(&old), &json!({"spec": {"state": "Revoked"}}))
        .unwrap();
    for state in ["Active", "DecryptOnly"] {
        let refusal = plane
            .api
            .merge(&path(&old), &json!({"spec": {"state": state}}))
            .unwrap_err();
        assert!(
            refusal.code == 422 && refusal.message.contains("stays revoked"),
            "{refusal:?}"
        );
    }
    wait_state(&plane, &old, "Revoked");
}

#[test]
fn a_key_in_use_is_revoked_only_by_force() {
    let plane = Own::take();
    let _controller = plane.leading_controller();
    let old = plane.newest_key();
    let shop = plane.namespace("shop");
    let value = unique_value();
    shop.seal("db", &value);
    let object = shop.wait_ready("db");
    let before = shop.secret("db").unwrap();
    rotate(&plane, &plane.api);
    wait_state(&plane, &old, "DecryptOnly");
    plane
        .api
        .merge(&path(&old), &json!({"spec": {"state": "Revoked"}}))
        .unwrap();
    let refused = wait_key_reason(&plane, name_of(&old), "InUse");
    let message = ready_condition(&refused)["message"].as_str().unwrap();
    assert!(message.contains(&format!("{}/db", shop.name)), "{message}");
    assert_eq!(refused["status"]["state"], "DecryptOnly");
    shop.wait_ready("db");
    let annotate = |value: &str| {
        let patch = json!({"metadata": {"annotations": {"sealkit.dev/force-revoke": value}}});
        plane.api.merge(&path(&old), &patch).unwrap();
    };
    annotate("yes");
    holds_for(Duration::from_secs(1), "a word is not enough", || {
        plane.sealing_key(name_of(&old))["status"]["state"] == "DecryptOnly"
    });
    annotate(fingerprint(&old));
    wait_state(&plane, &old, "Revoked");
    // In force at once: what was synced is retried for the grace, then stalled; its Secret stays.
    let failed = shop.wait_stalled("db", "NoMatchingKey");
    assert_eq!(
        resource_version(&shop.secret("db").unwrap()),
        resource_version(&before)
    );
    assert_eq!(before["data"], data(&[("password", &value)]));
    assert_eq!(uid(&failed), uid(&object));
    shop.seal("late", &unique_value());
    shop.wait_stalled("late", "NoMatchingKey");
    assert!(shop.secret("late").is_none());
}

#[test]
fn a_key_is_revoked_once_the_last_object_is_resealed() {
    let plane = Own::take();
    let _controller = plane.leading_controller();
    let old = plane.newest_key();
    let shop = plane.namespace("shop");
    ready_objects(&shop, 2);
    let new = recipient(&rotate(&plane, &plane.api));
    plane
        .api
        .merge(&path(&old), &json!({"spec": {"state": "Revoked"}}))
        .unwrap();
    wait_key_reason(&plane, name_of(&old), "InUse");
    shop.apply(
        &shop
            .draft("db-0")
            .value("password", unique_value())
            .to(new)
            .manifest(),
    );
    shop.wait_ready("db-0");
    // Deleted is enough: a finalizer of somebody else holds up nothing.
    let hold = |finalizers: &[&str]| {
        let patch = json!({"metadata": {"finalizers": finalizers}});
        shop.api.merge(&shop.sealed_path("db-1"), &patch).unwrap();
    };
    hold(&["example.com/hold"]);
    shop.delete_sealed("db-1");
    wait_state(&plane, &old, "Revoked");
    assert_eq!(shop.wait_ready("db-0")["status"]["needsReseal"], false);
    let unused = rotate(&plane, &plane.api);
    rotate(&plane, &plane.api);
    let revoke = json!({"spec": {"state": "Revoked"}});
    plane.api.merge(&path(&unused), &revoke).unwrap();
    wait_state(&plane, &unused, "Revoked");
    assert!(shop.api.get(&shop.sealed_path("db-1")).is_some());
    hold(&[]);
    wait_until("the deleted one is gone", || {
        shop.api.get(&shop.sealed_path("db-1")).is_none()
    });
    shop.wait_ready("db-0");
}

/// A revocation is final: what a process knew before it was frozen is no ground for one.
#[test]
fn a_frozen_leader_that_wakes_revokes_no_key_that_is_in_use() {
    let plane = Own::take();
    let mut first = plane.leading_controller();
    let old = plane.newest_key();
    rotate(&plane, &plane.api);
    wait_state(&plane, &old, "DecryptOnly");
    let mut second = plane.controller(&Flags::default());
    wait_until("the second could take over", || {
        second.get("/readyz").is_some_and(|(code, _)| code == 200)
    });
    first.process.signal("STOP").unwrap();
    second.wait_leading();
    // The first never sees an object that needs the key.
    let shop = plane.namespace("shop");
    let value = unique_value();
    let draft = shop.draft("db").value("password", &value);
    shop.apply(&draft.to(recipient(&old)).manifest());
    shop.wait_ready("db");
    let revoke = json!({"spec": {"state": "Revoked"}});
    plane.api.merge(&path(&old), &revoke).unwrap();
    wait_key_reason(&plane, name_of(&old), "InUse");
    first.process.signal("CONT").unwrap();
    wait_until("the first has ended or does not lead", || {
        !first.process.is_running() || !first.is_leading()
    });
    holds_for(Duration::from_secs(3), "the key opens", || {
        plane.sealing_key(name_of(&old))["status"]["state"] == "DecryptOnly"
    });
    let again = json!({"metadata": {"annotations": {"sealkit.dev/reconcile-requested-at": "now"}}});
    shop.api.merge(&shop.sealed_path("db"), &again).unwrap();
    wait_until("another look at the object", || {
        shop.sealed("db")["status"]["lastHandledReconcileAt"] == "now"
    });
    shop.wait_ready("db");
    shop.wait_value("db", &value);
}
