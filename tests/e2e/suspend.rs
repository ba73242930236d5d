//! `spec.suspend`: hands off the Secret.

use std::time::Duration;

use sealkit_tests::canary::unique_value;
use sealkit_tests::namespace::uid;
use sealkit_tests::plane::Shared;
use sealkit_tests::wait::holds_for;
use serde_json::json;

#[test]
fn a_suspended_object_leaves_its_secret_alone_and_resumes() {
    let plane = Shared::get();
    let shop = plane.namespace("suspend");
    let (first, second) = (unique_value(), unique_value());
    shop.seal("db", &first);
    shop.wait_ready("db");
    let draft = shop.draft("db").value("password", &second);
    shop.apply(&draft.clone().suspended().manifest());
    let object = shop.wait_stalled("db", "Suspended");
    assert_eq!(shop.wait_event(&object, "Suspended")["type"], "Normal");
    let patch = json!({"data": {"password": "Zm9v"}});
    let edited = shop.api.merge(&shop.secret_path("db"), &patch).unwrap();
    holds_for(Duration::from_secs(2), "what a person wrote", || {
        shop.secret("db").as_ref() == Some(&edited)
    });
    assert!(!object["status"]["sealedTo"].as_array().unwrap().is_empty());
    shop.apply(&draft.manifest());
    shop.wait_ready("db");
    shop.wait_value("db", &second);
    assert_eq!(uid(&shop.secret("db").unwrap()), uid(&edited));
}

#[test]
fn a_suspended_object_makes_no_secret() {
    let plane = Shared::get();
    let shop = plane.namespace("suspend");
    let draft = shop.draft("db").value("password", unique_value());
    shop.apply(&draft.clone().suspended().manifest());
    let object = shop.wait_stalled("db", "Suspended");
    assert!(shop.secret("db").is_none());
    assert_eq!(plane.recorder.status_writes(uid(&object)).len(), 1);
    shop.apply(&draft.manifest());
    shop.wait_ready("db");
}
