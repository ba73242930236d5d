use std::time::Duration;

use sealkit_tests::canary::unique_value;
use sealkit_tests::controller::Flags;
use sealkit_tests::namespace::{Namespace, condition, data, uid};
use sealkit_tests::plane::{Own, Shared, unique};
use sealkit_tests::wait::wait_within;
use serde_json::{Value, json};

use super::{consent, theirs};

fn adopting(namespace: &Namespace, value: &str) -> Value {
    let target = json!({"adopt": true});
    let draft = namespace
        .draft("db")
        .value("password", value)
        .target(target);
    draft.manifest()
}

#[test]
fn adoption_takes_the_wish_and_the_consent() {
    let plane = Shared::get();
    let shop = plane.namespace("adopt");
    let value = unique_value();
    let before = theirs(&shop, false, &[("password", "old"), ("other", "gone")]);
    // Consent without the wish: adoption is asked for in Git, not guessed.
    consent(&shop);
    let consenting = shop.secret("db");
    shop.seal("db", &value);
    shop.wait_stalled("db", "TargetConflict");
    assert_eq!(shop.secret("db"), consenting);
    // The wish without consent.
    let none = json!({"metadata": {"annotations": {"sealkit.dev/allow": null}}});
    shop.api.merge(&shop.secret_path("db"), &none).unwrap();
    let silent = shop.secret("db");
    shop.apply(&adopting(&shop, &value));
    let object = shop.wait_stalled("db", "TargetConflict");
    let message = sealkit_tests::namespace::ready_condition(&object)["message"].to_string();
    assert!(
        message.contains("sealkit.dev/allow: SealedSecret/db"),
        "{message}"
    );
    assert_eq!(shop.secret("db"), silent);
    // Consent to another, and to another kind.
    for other in ["SealedSecret/web", "ExternalSecret/db", "db", "*"] {
        let patch = json!({"metadata": {"annotations": {"sealkit.dev/allow": other}}});
        shop.api.merge(&shop.secret_path("db"), &patch).unwrap();
        let again =
            json!({"metadata": {"annotations": {"sealkit.dev/reconcile-requested-at": other}}});
        shop.api.merge(&shop.sealed_path("db"), &again).unwrap();
        sealkit_tests::wait::wait_until("another look", || {
            shop.sealed("db")["status"]["lastHandledReconcileAt"] == other
        });
        assert_eq!(
            condition(&shop.sealed("db"), "Ready"),
            Some("False"),
            "{other}"
        );
    }
    // Both: it is owned from then on.
    consent(&shop);
    shop.wait_ready("db");
    let adopted = shop.wait_value("db", &value);
    assert_eq!(uid(&adopted), uid(&before), "adopted, not made anew");
    assert_eq!(adopted["data"], data(&[("password", &value)]));
    assert_eq!(
        adopted["metadata"]["labels"]["app"], "theirs",
        "labels of others stay"
    );
    assert_eq!(
        adopted["metadata"]["ownerReferences"][0]["kind"],
        "SealedSecret"
    );
    shop.delete_sealed("db");
    wait_within(Duration::from_secs(90), "the adopted Secret goes", || {
        shop.secret("db").is_none().then_some(())
    });
}

#[test]
fn no_consent_opens_secrets_of_controllers_and_of_powerful_types() {
    let plane = Shared::get();
    let shop = plane.namespace("adopt");
    plane
        .servers
        .kubectl(&["create", "serviceaccount", "victim", "-n", &shop.name])
        .unwrap();
    let token = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/service-account-token",
        "metadata": {"name": "db", "annotations": {
            "sealkit.dev/allow": "SealedSecret/db", "kubernetes.io/service-account.name": "victim"}},
    });
    shop.api.create(&shop.secrets_path(), &token).unwrap();
    for target in [json!({"adopt": true}), json!({"creationPolicy": "Merge"})] {
        let draft = shop
            .draft("db")
            .value("password", unique_value())
            .target(target);
        shop.apply(&draft.manifest());
        shop.wait_stalled("db", "TargetConflict");
    }
    let secret = shop.secret("db").unwrap();
    assert!(secret["data"].get("password").is_none());
    assert_eq!(secret["type"], "kubernetes.io/service-account-token");
}

#[test]
fn an_administrator_consents_for_a_namespace() {
    let plane = Own::take();
    let (open, closed) = (unique("open"), unique("closed"));
    let _controller = {
        let mut controller = plane.controller(&Flags {
            more: vec![format!("--adopt-namespaces={open},elsewhere")],
            ..Flags::default()
        });
        controller.wait_leading();
        controller
    };
    let recipient = sealkit_tests::plane::recipient(&plane.newest_key());
    for (name, expected) in [(&open, true), (&closed, false)] {
        let shop = Namespace::create(&plane.api, name, recipient.clone());
        let before = theirs(&shop, false, &[("password", "old")]);
        let value = unique_value();
        shop.apply(&adopting(&shop, &value));
        if expected {
            shop.wait_ready("db");
            assert_eq!(uid(&shop.wait_value("db", &value)), uid(&before));
        } else {
            shop.wait_stalled("db", "TargetConflict");
            assert_eq!(shop.secret("db"), Some(before));
        }
    }
}
