//! Several sources that merge into one Secret. No two SealedSecrets can, since each has the name of
//! its Secret; other kinds will, so the writer of Secrets is asked directly, on a real API server.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{Patch, PatchParams};
use sealkit_controller::testing::{
    Before, Consent, Desired, Freeze, Op, Origin, Ownership, Revision, Rights, SEALED_SECRET,
    Secrets, Values, WriteError,
};
use sealkit_tests::api::runtime;
use sealkit_tests::namespace::{Namespace, data};
use sealkit_tests::plane::Shared;
use serde_json::{Value, json};

use super::theirs;

/// Merges these keys into the Secret `db` for a source of this name.
fn merge(namespace: &Namespace, source: &str, values: &[(&str, &str)]) -> Result<Op, WriteError> {
    let bytes = |value: &str| value.as_bytes().to_vec().into();
    let desired = Desired {
        origin: Origin {
            kind: SEALED_SECRET,
            namespace: namespace.name.clone(),
            name: source.to_owned(),
            uid: format!("uid-of-{source}"),
        },
        name: "db".to_owned(),
        revision: Revision {
            generation: 1,
            content: format!("{values:?}"),
            values: Values::Public(format!("{values:?}")),
        },
        ownership: Ownership::Merge,
        adopt: false,
        consent: Consent::ByAnnotation,
        rights: Rights::Own,
        secret_type: None,
        immutable: false,
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        data: values
            .iter()
            .map(|(key, value)| ((*key).to_owned(), bytes(value)))
            .collect(),
        public_bytes: 1024,
    };
    let secrets = Secrets::new(namespace.api.kube(), Arc::new(Freeze::default()));
    let written = runtime().block_on(secrets.write(&desired, Before::default()));
    written.map(|(_, op)| op)
}

fn annotate(namespace: &Namespace, annotations: &Value) {
    let patch = json!({"metadata": {"annotations": annotations}});
    namespace
        .api
        .merge(&namespace.secret_path("db"), &patch)
        .unwrap();
}

#[test]
fn sources_that_share_a_secret_keep_the_keys_of_each_other() {
    let plane = Shared::get();
    let shop = plane.namespace("shared");
    theirs(&shop, false, &[("theirs", "kept")]);
    let refused = merge(&shop, "one", &[("a", "1")]);
    assert!(matches!(refused, Err(WriteError::Conflict(why)) if why.contains("consent")));
    annotate(
        &shop,
        &json!({"sealkit.dev/allow": "SealedSecret/one, SealedSecret/two"}),
    );

    assert_eq!(
        merge(&shop, "one", &[("a", "1"), ("b", "1")]),
        Ok(Op::Merge)
    );
    assert_eq!(
        merge(&shop, "two", &[("c", "2"), ("d", "2")]),
        Ok(Op::Merge)
    );
    let all = [
        ("a", "1"),
        ("b", "1"),
        ("c", "2"),
        ("d", "2"),
        ("theirs", "kept"),
    ];
    assert_eq!(shop.secret("db").unwrap()["data"], data(&all));
    // Each finds what it wrote as it wrote it.
    assert_eq!(merge(&shop, "one", &[("a", "1"), ("b", "1")]), Ok(Op::None));
    assert_eq!(merge(&shop, "two", &[("c", "2"), ("d", "2")]), Ok(Op::None));

    // One drops a key, the other changes one.
    assert_eq!(merge(&shop, "one", &[("a", "1")]), Ok(Op::Merge));
    assert_eq!(
        merge(&shop, "two", &[("c", "3"), ("d", "2")]),
        Ok(Op::Merge)
    );
    let left = [("a", "1"), ("c", "3"), ("d", "2"), ("theirs", "kept")];
    assert_eq!(shop.secret("db").unwrap()["data"], data(&left));

    // Neither takes a key of the other, whatever its value.
    for value in ["1", "guess"] {
        let refused = merge(&shop, "two", &[("a", value)]);
        assert!(matches!(refused, Err(WriteError::Conflict(why)) if why.contains("key a")));
    }
    assert_eq!(shop.secret("db").unwrap()["data"], data(&left));
}

/// What all sources once applied under one field manager, with one marker.
#[test]
fn an_upgrade_from_the_shared_field_manager_loses_nothing() {
    let plane = Shared::get();
    let shop = plane.namespace("shared");
    let created = theirs(&shop, false, &[("theirs", "kept")]);
    annotate(
        &shop,
        &json!({"sealkit.dev/allow": "SealedSecret/one,SealedSecret/two"}),
    );
    let before = json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {
            "name": "db", "namespace": shop.name,
            "labels": {"sealkit.dev/managed": "true"},
            "annotations": {
                "sealkit.dev/merged": format!("SealedSecret/{}/one/uid-of-one", shop.name),
                "sealkit.dev/generation": "1",
                "sealkit.dev/content": "x",
            },
        },
        "data": data(&[("a", "1"), ("b", "1")]),
    });
    let api: Api<Secret> = Api::namespaced(shop.api.kube(), &shop.name);
    let (former, patch) = (PatchParams::apply("sealkit-merge"), Patch::Apply(before));
    runtime()
        .block_on(api.patch("db", &former, &patch))
        .unwrap();

    // Not that of another source, which can merge all the same.
    let refused = merge(&shop, "two", &[("a", "1")]);
    assert!(matches!(refused, Err(WriteError::Conflict(why)) if why.contains("key a")));
    assert_eq!(merge(&shop, "two", &[("c", "2")]), Ok(Op::Merge));

    assert_eq!(
        merge(&shop, "one", &[("a", "1"), ("b", "1")]),
        Ok(Op::Merge)
    );
    let secret = shop.secret("db").unwrap();
    let all = [("a", "1"), ("b", "1"), ("c", "2"), ("theirs", "kept")];
    assert_eq!(secret["data"], data(&all));
    assert_eq!(secret["metadata"]["uid"], created["metadata"]["uid"]);
    let annotations = &secret["metadata"]["annotations"];
    assert_eq!(
        annotations["sealkit.dev/merged"],
        Value::Null,
        "{annotations}"
    );
    let managers = secret["metadata"]["managedFields"].as_array().unwrap();
    assert!(
        managers
            .iter()
            .all(|entry| entry["manager"] != "sealkit-merge")
    );
    // From then on it is as if it had always been so.
    assert_eq!(merge(&shop, "one", &[("b", "1")]), Ok(Op::Merge));
    let left = [("b", "1"), ("c", "2"), ("theirs", "kept")];
    assert_eq!(shop.secret("db").unwrap()["data"], data(&left));
}
