//! A namespace that has no room for another Secret needs none for a Secret that exists.

use sealkit_tests::canary::unique_value;
use sealkit_tests::namespace::{Namespace, message};
use sealkit_tests::plane::Shared;
use sealkit_tests::wait::wait_until;
use serde_json::json;

/// Lets the namespace have one Secret, and waits until that counts.
fn fill(shop: &Namespace) {
    let quotas = format!("/api/v1/namespaces/{}/resourcequotas", shop.name);
    let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "one-secret"},
        "spec": {"hard": {"count/secrets": "1"}}});
    shop.api.create(&quotas, &quota).unwrap();
    wait_until("the quota is full", || {
        let quota = shop.api.get(&format!("{quotas}/one-secret"));
        quota.is_some_and(|quota| quota["status"]["used"]["count/secrets"] == "1")
    });
}

#[test]
fn a_secret_that_exists_needs_no_room_in_a_quota() {
    let plane = Shared::get();
    let shop = plane.namespace("shop");
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "db",
        "annotations": {"sealkit.dev/allow": "SealedSecret/db"}}, "data": {"password": "b2xk"}});
    shop.api.create(&shop.secrets_path(), &secret).unwrap();
    fill(&shop);
    let draft = |value: &str, immutable: bool| {
        let draft = shop.draft("db").target(json!({"adopt": true}));
        let draft = draft.template(json!({"immutable": immutable}));
        draft.value("password", value).manifest()
    };
    let adopted = unique_value();
    shop.apply(&draft(&adopted, false));
    shop.wait_value("db", &adopted);

    // A refusal is told as what it is.
    shop.seal("more", &unique_value());
    let refused = shop.wait_reason("more", "Unknown", "TargetWriteFailed");
    let said = message(&refused);
    assert!(
        said.contains("the ResourceQuota one-secret is exceeded"),
        "{said}"
    );
    shop.delete_sealed("more");

    // The old Secret makes room for one that replaces it.
    let [frozen, next] = [unique_value(), unique_value()];
    shop.apply(&draft(&frozen, true));
    shop.wait_value("db", &frozen);
    shop.apply(&draft(&next, true));
    shop.wait_value("db", &next);
    shop.wait_ready("db");
}
