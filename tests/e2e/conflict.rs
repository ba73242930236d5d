//! Secrets of somebody else are never touched; ours are never half-written.

use std::time::Duration;

use sealkit_tests::canary::unique_value;
use sealkit_tests::namespace::{Namespace, data, resource_version, uid};
use sealkit_tests::plane::{Own, Shared};
use sealkit_tests::secret_watch::SecretWatch;
use sealkit_tests::wait::holds_for;
use serde_json::{Value, json};

fn foreign(namespace: &Namespace, metadata: &Value) -> Value {
    let mut secret = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
        "metadata": {"name": "db"}, "data": data(&[("theirs", "kept")]),
    });
    for (field, value) in metadata.as_object().unwrap() {
        secret["metadata"][field] = value.clone();
    }
    namespace
        .api
        .create(&namespace.secrets_path(), &secret)
        .unwrap()
}

#[test]
fn a_foreign_secret_is_left_alone_and_replaced_once_it_is_gone() {
    let plane = Shared::get();
    let shop = plane.namespace("shop");
    let theirs = foreign(&shop, &json!({}));
    let value = unique_value();
    shop.seal("db", &value);
    let object = shop.wait_stalled("db", "TargetConflict");
    assert_eq!(
        shop.wait_event(&object, "TargetConflict")["type"],
        "Warning"
    );
    // Three more tries fall into this time.
    holds_for(Duration::from_secs(4), "the foreign Secret", || {
        shop.secret("db").as_ref() == Some(&theirs)
    });
    let stalled = shop.sealed("db");
    assert_eq!(
        resource_version(&stalled),
        resource_version(&object),
        "one status, however many tries"
    );
    shop.api.delete(&shop.secret_path("db")).unwrap();
    shop.wait_ready("db");
    shop.wait_value("db", &value);
    assert_eq!(plane.recorder.status_writes(uid(&object)).len(), 2);
}

#[test]
fn markers_of_others_make_no_secret_ours() {
    let plane = Shared::get();
    let claims = [
        json!({"labels": {"sealkit.dev/managed": "true"}}),
        json!({"labels": {"sealkit.dev/managed": "true"}, "annotations": {"sealkit.dev/source": "SealedSecret/NAMESPACE/other/x"}}),
        json!({"annotations": {"sealkit.dev/source": "SealedSecret/elsewhere/db/x"}}),
        json!({"annotations": {"sealkit.dev/source": "ExternalSecret/NAMESPACE/db/x"}}),
    ];
    for metadata in claims {
        let shop = plane.namespace("shop");
        let metadata: Value = metadata
            .to_string()
            .replace("NAMESPACE", &shop.name)
            .parse()
            .unwrap();
        let theirs = foreign(&shop, &metadata);
        shop.seal("db", &unique_value());
        shop.wait_stalled("db", "TargetConflict");
        assert_eq!(shop.secret("db"), Some(theirs));
    }
}

#[test]
fn a_secret_of_another_controller_is_theirs_whatever_its_markers() {
    let plane = Shared::get();
    let shop = plane.namespace("shop");
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "db"}});
    let map = shop
        .api
        .create(
            &format!("/api/v1/namespaces/{}/configmaps", shop.name),
            &map,
        )
        .unwrap();
    let owner = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "db", "uid": uid(&map), "controller": true}]);
    let theirs = foreign(
        &shop,
        &json!({
            "ownerReferences": owner,
            "labels": {"sealkit.dev/managed": "true"},
            "annotations": {"sealkit.dev/source": format!("SealedSecret/{}/db/x", shop.name)},
        }),
    );
    shop.seal("db", &unique_value());
    shop.wait_stalled("db", "TargetConflict");
    assert_eq!(shop.secret("db"), Some(theirs));
}

#[test]
fn a_secret_remade_by_somebody_else_is_theirs() {
    let plane = Own::take();
    let mut controller = plane.leading_controller();
    let shop = plane.namespace("shop");
    shop.seal("db", &unique_value());
    let object = shop.wait_ready("db");
    controller.process.kill().unwrap();
    shop.api.delete(&shop.secret_path("db")).unwrap();
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/basic-auth",
        "metadata": {"name": "db"}, "data": data(&[("username", "a"), ("password", "b")]),
    });
    let theirs = shop.api.create(&shop.secrets_path(), &secret).unwrap();
    let _controller = plane.leading_controller();
    shop.wait_stalled("db", "TargetConflict");
    assert_eq!(shop.secret("db"), Some(theirs));
    assert_eq!(uid(&shop.sealed("db")), uid(&object));
}

#[test]
fn a_recreated_object_takes_its_secret_back() {
    let plane = Own::take();
    let mut controller = plane.leading_controller();
    let shop = plane.namespace("shop");
    let (first, second) = (unique_value(), unique_value());
    shop.seal("db", &first);
    shop.wait_ready("db");
    controller.process.kill().unwrap();
    // Replaced by a GitOps tool; without its owner the collector leaves the Secret.
    let orphan = json!({"metadata": {"ownerReferences": null}});
    shop.api.merge(&shop.secret_path("db"), &orphan).unwrap();
    shop.delete_sealed("db");
    let again = shop.seal("db", &second);
    let _controller = plane.leading_controller();
    shop.wait_ready("db");
    let secret = shop.wait_value("db", &second);
    assert_eq!(secret["metadata"]["ownerReferences"][0]["uid"], uid(&again));
}

#[test]
fn what_kubernetes_cannot_change_is_replaced_and_never_half_written() {
    let plane = Shared::get();
    let shop = plane.namespace("shop");
    let watch = SecretWatch::start(&shop);
    let step = |template: Value, value: &str| {
        let draft = shop
            .draft("db")
            .value("username", "admin")
            .value("password", value);
        shop.apply(&draft.template(template.clone()).manifest());
        let object = shop.wait_ready("db");
        let secret = shop.secret("db").unwrap();
        let wanted = template
            .get("type")
            .cloned()
            .unwrap_or_else(|| json!("Opaque"));
        assert_eq!(secret["type"], wanted);
        assert_eq!(
            secret["data"],
            data(&[("username", "admin"), ("password", value)])
        );
        assert_eq!(
            secret["immutable"].as_bool(),
            template.get("immutable").and_then(Value::as_bool)
        );
        assert_eq!(object["status"]["target"]["uid"], uid(&secret));
        secret
    };
    let basic = |immutable: bool| {
        let mut template = json!({"type": "kubernetes.io/basic-auth"});
        if immutable {
            template["immutable"] = json!(true);
        }
        template
    };
    let values: Vec<String> = (0..5).map(|_| unique_value()).collect();
    let opaque = step(json!({}), &values[0]);
    let typed = step(basic(false), &values[1]);
    assert_ne!(uid(&opaque), uid(&typed), "another type: another Secret");
    let frozen = step(basic(true), &values[2]);
    assert_eq!(uid(&typed), uid(&frozen), "immutable can be set in place");
    let refrozen = step(basic(true), &values[3]);
    assert_ne!(uid(&frozen), uid(&refrozen), "but not changed");
    step(json!({}), &values[4]);

    // The type goes with the value, in everything that a watcher could have read.
    let whole: Vec<Value> = [
        ("Opaque", 0),
        ("kubernetes.io/basic-auth", 1),
        ("kubernetes.io/basic-auth", 2),
        ("kubernetes.io/basic-auth", 3),
        ("Opaque", 4),
    ]
    .map(|(type_, index)| {
        json!([
            type_,
            data(&[("username", "admin"), ("password", &values[index])])
        ])
    })
    .into();
    let mut seen: Vec<Value> = watch
        .versions("db")
        .iter()
        .map(|secret| json!([secret["type"], secret["data"]]))
        .collect();
    seen.dedup();
    assert_eq!(seen, whole);
}

#[test]
fn a_replacement_that_the_server_refuses_costs_nothing() {
    let plane = Shared::get();
    let shop = plane.namespace("shop");
    let (first, second) = (unique_value(), unique_value());
    shop.seal("db", &first);
    shop.wait_ready("db");
    let good = shop.wait_value("db", &first);
    let draft = shop.draft("db").value("password", &second);
    shop.apply(
        &draft
            .template(json!({"type": "kubernetes.io/tls"}))
            .manifest(),
    );
    shop.wait_stalled("db", "TargetWriteFailed");
    assert_eq!(shop.secret("db"), Some(good));
    shop.seal("db", &second);
    shop.wait_ready("db");
    shop.wait_value("db", &second);
}
