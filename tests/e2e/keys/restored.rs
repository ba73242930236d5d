//! Identities that were lost, and what a backup brings back.

use std::time::Duration;

use sealkit_tests::namespace::condition;
use sealkit_tests::plane::{Own, SYSTEM_SECRETS, name_of};
use sealkit_tests::wait::{holds_for, wait_until};
use serde_json::{Value, json};

use super::{fingerprint, identity, path, ready_objects, wait_key_reason};

/// The same Secret for a new creation, with or without its annotations.
fn backup(secret: &Value, annotations: bool) -> Value {
    let mut secret = secret.clone();
    let old = secret["metadata"].take();
    secret["metadata"] = json!({"name": old["name"]});
    if annotations {
        secret["metadata"]["annotations"] = old["annotations"].clone();
        secret["metadata"]["labels"] = old["labels"].clone();
    }
    secret
}

#[test]
fn a_lost_identity_is_never_made_anew_and_works_again_once_restored() {
    let plane = Own::take();
    let controller = plane.leading_controller();
    let key = plane.newest_key();
    let lost = identity(&plane, &key).unwrap();
    let shop = plane.namespace("shop");
    ready_objects(&shop, 1);
    let before = shop.secret("db-0");
    plane
        .api
        .delete(&format!("{SYSTEM_SECRETS}/{}", name_of(&lost)))
        .unwrap();
    let missing = wait_key_reason(&plane, name_of(&key), "IdentityMissing");
    assert_eq!(condition(&missing, "Stalled"), Some("True"));
    assert_eq!(
        fingerprint(&missing),
        fingerprint(&key),
        "it still says which one to look for"
    );
    shop.wait_stalled("db-0", "NoMatchingKey");
    assert_eq!(shop.secret("db-0"), before, "what was opened stays");
    drop(controller);
    let _controller = plane.leading_controller();
    holds_for(
        Duration::from_secs(2),
        "no identity and no other key",
        || plane.identities().is_empty() && plane.sealing_keys().len() == 1,
    );
    plane
        .api
        .create(SYSTEM_SECRETS, &backup(&lost, true))
        .unwrap();
    let again = wait_key_reason(&plane, name_of(&key), "KeyAvailable");
    assert_eq!(
        again["status"]["state"], "Active",
        "its annotations came with it"
    );
    shop.wait_ready("db-0");
    assert_eq!(plane.sealing_keys().len(), 1);
}

#[test]
fn an_identity_restored_without_annotations_only_opens() {
    let plane = Own::take();
    let mut controller = plane.leading_controller();
    let key = plane.newest_key();
    let lost = identity(&plane, &key).unwrap();
    let shop = plane.namespace("shop");
    ready_objects(&shop, 1);
    controller.process.kill().unwrap();
    // A cluster made anew from a backup: the Secret comes alone.
    plane.api.delete(&path(&key)).unwrap();
    plane
        .api
        .delete(&format!("{SYSTEM_SECRETS}/{}", name_of(&lost)))
        .unwrap();
    plane
        .api
        .create(SYSTEM_SECRETS, &backup(&lost, false))
        .unwrap();
    let _controller = plane.leading_controller();
    let newest = plane.newest_key();
    assert_ne!(
        fingerprint(&newest),
        fingerprint(&key),
        "a new key is sealed to"
    );
    let restored = plane.sealing_key(&format!("key-{}", fingerprint(&key)));
    assert_eq!(restored["status"]["state"], "DecryptOnly");
    wait_until("it is to be resealed", || {
        shop.sealed("db-0")["status"]["needsReseal"] == true
    });
    shop.wait_ready("db-0");
    let secret = identity(&plane, &key).expect("labelled again");
    assert_eq!(
        secret["metadata"]["annotations"]["sealkit.dev/state"],
        "DecryptOnly"
    );
}

#[test]
fn an_identity_restored_beside_its_sealing_key_mends_it() {
    let plane = Own::take();
    let _controller = plane.leading_controller();
    let key = plane.newest_key();
    let lost = identity(&plane, &key).unwrap();
    plane
        .api
        .delete(&format!("{SYSTEM_SECRETS}/{}", name_of(&lost)))
        .unwrap();
    wait_key_reason(&plane, name_of(&key), "IdentityMissing");
    plane
        .api
        .create(SYSTEM_SECRETS, &backup(&lost, false))
        .unwrap();
    let mended = wait_key_reason(&plane, name_of(&key), "KeyAvailable");
    assert_eq!(
        mended["status"]["state"], "DecryptOnly",
        "no annotation says more"
    );
    assert_ne!(fingerprint(&plane.newest_key()), fingerprint(&key));
    assert_eq!(plane.sealing_keys().len(), 2, "one for each identity");
}
