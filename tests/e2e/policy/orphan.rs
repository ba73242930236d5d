use std::time::Duration;

use sealkit_tests::canary::unique_value;
use sealkit_tests::namespace::{data, uid};
use sealkit_tests::plane::Shared;
use sealkit_tests::wait::{holds_for, wait_within};
use serde_json::{Value, json};

fn owners(secret: &Value) -> usize {
    secret["metadata"]["ownerReferences"]
        .as_array()
        .map_or(0, Vec::len)
}

#[test]
fn an_orphan_survives_and_is_taken_back() {
    let plane = Shared::get();
    let shop = plane.namespace("orphan");
    let (first, second) = (unique_value(), unique_value());
    let draft = |value: &str| {
        let target = json!({"creationPolicy": "Orphan"});
        let draft = shop.draft("db").value("password", value).target(target);
        draft.manifest()
    };
    shop.apply(&draft(&first));
    shop.wait_ready("db");
    let secret = shop.wait_value("db", &first);
    assert_eq!(owners(&secret), 0);
    // Drift is healed as for an owned one.
    let patch = json!({"data": {"password": "Zm9v", "intruder": "Zm9v"}});
    shop.api.merge(&shop.secret_path("db"), &patch).unwrap();
    shop.wait_value("db", &first);

    shop.delete_sealed("db");
    // Longer than the collector takes for an owned one that it knows.
    holds_for(Duration::from_secs(5), "the orphan", || {
        shop.secret("db").is_some()
    });
    shop.apply(&draft(&second));
    shop.wait_ready("db");
    let again = shop.wait_value("db", &second);
    assert_eq!(uid(&again), uid(&secret), "the same Secret, not another");
}

#[test]
fn the_policy_can_change_both_ways() {
    let plane = Shared::get();
    let shop = plane.namespace("orphan");
    let value = unique_value();
    let apply = |target: Value| {
        let draft = shop.draft("db").value("password", &value).target(target);
        shop.apply(&draft.manifest());
        shop.wait_ready("db");
        shop.secret("db").unwrap()
    };
    let owned = apply(json!({"creationPolicy": "Owner"}));
    assert_eq!(owners(&owned), 1);
    let orphan = apply(json!({"creationPolicy": "Orphan"}));
    assert_eq!((owners(&orphan), uid(&orphan)), (0, uid(&owned)));
    let owned = apply(json!({}));
    assert_eq!((owners(&owned), uid(&orphan)), (1, uid(&owned)));
    assert_eq!(owned["data"], data(&[("password", &value)]));
    shop.delete_sealed("db");
    wait_within(Duration::from_secs(90), "the owned Secret goes", || {
        shop.secret("db").is_none().then_some(())
    });
}
