//! Hostile and broken objects get a status of their own and cost nobody else anything.

use sealkit_tests::canary::unique_value;
use sealkit_tests::namespace::{Namespace, condition, data, ready_condition, uid};
use sealkit_tests::plane::{Own, SYSTEM, Shared};
use sealkit_tests::wait::wait_for;
use serde_json::{Value, json};

/// One object of `count` envelopes with a value each.
pub(crate) fn envelopes(namespace: &Namespace, name: &str, count: usize) -> (Value, Value) {
    let values: Vec<(String, String)> = (0..count)
        .map(|index| (format!("k{index}"), unique_value()))
        .collect();
    let mut whole = namespace.draft(name).manifest();
    whole["spec"]["envelopes"] = json!({});
    for (key, value) in &values {
        let one = namespace.draft(name).value(key, value).manifest();
        for field in ["envelopes", "encryptedData"] {
            let part = one["spec"][field].as_object().unwrap().clone();
            whole["spec"][field].as_object_mut().unwrap().extend(part);
        }
    }
    let values: Vec<(&str, &str)> = values
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .collect();
    (whole, data(&values))
}

#[test]
fn sixty_four_envelopes_open_and_one_more_does_not() {
    let plane = Shared::get();
    let shop = plane.namespace("shop");
    let (good, values) = envelopes(&shop, "most", 64);
    shop.apply(&good);
    let (bad, _) = envelopes(&shop, "more", 65);
    let refusal = shop.try_apply(&bad).unwrap_err();
    assert!(
        refusal.message.contains("spec.envelopes: Too many: 65"),
        "{refusal:?}"
    );
    shop.wait_ready("most");
    assert_eq!(shop.secret("most").unwrap()["data"], values);
}

#[test]
fn malformed_objects_are_invalid_and_harm_no_other() {
    let plane = Shared::get();
    let shop = plane.namespace("shop");
    let valid = || {
        shop.draft("bad")
            .value("password", unique_value())
            .manifest()
    };
    let with = |pointer: &str, value: Value| {
        let mut manifest = valid();
        *manifest.pointer_mut(pointer).unwrap() = value;
        manifest
    };
    let in_envelope = |field: &str, value: Value| {
        let mut manifest = valid();
        let envelopes = manifest["spec"]["envelopes"].as_object_mut().unwrap();
        envelopes.values_mut().next().unwrap()[field] = value;
        manifest
    };
    let text = "A".repeat(1_250_000);
    // What no schema refuses: tests/e2e/schema.rs has the rest.
    let value = |end: &str| {
        format!(
            "sk1.dkygiqm6nibo27suvpmyknuwvetd3o33.{}{end}",
            "A".repeat(139)
        )
    };
    let bad = [
        ("not base64", in_envelope("ageFile", json!("?!"))),
        ("not age", in_envelope("ageFile", json!("bm90IGFnZQ=="))),
        ("no key at all", in_envelope("ageFile", json!(""))),
        ("no recipients", in_envelope("recipients", json!([]))),
        ("bad recipient", in_envelope("recipients", json!(["XYZ"]))),
        (
            "too many recipients",
            in_envelope(
                "recipients",
                json!([
                    "b99cab502b61ae411e7109b89c75b05a",
                    "a99cab502b61ae411e7109b89c75b05a"
                ]),
            ),
        ),
        ("no envelopes", with("/spec/envelopes", json!({}))),
        (
            "bad value",
            with("/spec/encryptedData/password", json!(value("?"))),
        ),
        (
            "too large",
            with("/spec/encryptedData/password", json!(value(&text))),
        ),
    ];
    for (what, manifest) in bad {
        let mut manifest = manifest;
        let name = what.replace(' ', "-");
        manifest["metadata"]["name"] = json!(name);
        shop.apply(&manifest);
        let object = shop.wait_stalled(&name, "InvalidSpec");
        assert!(shop.secret(&name).is_none(), "{what}");
        assert_eq!(
            plane.recorder.status_writes(uid(&object)).len(),
            1,
            "{what}: said once"
        );
    }
    let value = unique_value();
    shop.seal("good", &value);
    shop.wait_ready("good");
    shop.wait_value("good", &value);
}

#[test]
fn templates_cannot_make_powerful_secrets() {
    let plane = Shared::get();
    let shop = plane.namespace("shop");
    let refused = [
        json!({"type": "kubernetes.io/service-account-token", "metadata": {"annotations": {"kubernetes.io/service-account.name": "default"}}}),
        json!({"type": "bootstrap.kubernetes.io/token"}),
        json!({"type": "helm.sh/release.v1"}),
        json!({"type": "sealkit.dev/identity"}),
        json!({"metadata": {"labels": {"sealkit.dev/managed": "false"}}}),
        json!({"metadata": {"labels": {"sealkit.dev/fingerprint": "0"}}}),
        json!({"metadata": {"annotations": {"sealkit.dev/source": "SealedSecret/other/x"}}}),
        json!({"metadata": {"annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}"}}}),
        json!({"metadata": {"annotations": {"reflector.v1.k8s.emberstack.com/reflection-allowed": "true"}}}),
        json!({"metadata": {"annotations": {"replicator.v1.mittwald.de/replicate-to": "*"}}}),
        json!({"metadata": {"labels": {"kubed.appscode.com/sync": ""}}}),
    ];
    for (index, template) in refused.into_iter().enumerate() {
        let name = format!("refused-{index}");
        let draft = shop
            .draft(&name)
            .value("password", unique_value())
            .template(template.clone());
        shop.apply(&draft.manifest());
        shop.wait_stalled(&name, "InvalidSpec");
        assert!(shop.secret(&name).is_none(), "{template}");
    }
    // What the API server itself refuses is told by field, and a better template mends it.
    let draft = shop.draft("odd").value("password", unique_value());
    shop.apply(
        &draft
            .clone()
            .template(json!({"metadata": {"labels": {"not a label!": "x"}}}))
            .manifest(),
    );
    let object = shop.wait_stalled("odd", "TargetWriteFailed");
    let message = ready_condition(&object)["message"].as_str().unwrap();
    assert!(
        message.contains("422") && message.contains("metadata.labels"),
        "{message}"
    );
    shop.apply(&draft.manifest());
    shop.wait_ready("odd");
}

#[test]
fn the_controllers_own_namespace_takes_no_sealed_secrets() {
    let plane = Shared::get();
    let before = plane.identities();
    let mut system = plane.namespace("shop");
    system.name = SYSTEM.to_owned();
    let name = before[0]["metadata"]["name"].as_str().unwrap();
    for name in ["db", name] {
        system.seal(name, &unique_value());
        system.wait_stalled(name, "InvalidSpec");
    }
    assert!(system.secret("db").is_none());
    assert_eq!(plane.identities(), before, "identities are as they were");
    system.delete_sealed("db");
    system.delete_sealed(name);
}

/// Short as JSON, large in memory: a start finds all of them at once.
#[test]
fn objects_of_very_many_empty_texts_cost_little_memory() {
    let plane = Own::take();
    let mut controller = plane.leading_controller();
    let (evil, shop) = (plane.namespace("evil"), plane.namespace("shop"));
    let mut manifest = evil.draft("x").value("a", unique_value()).manifest();
    controller.stop();
    let envelopes = manifest["spec"]["envelopes"].as_object_mut().unwrap();
    envelopes.values_mut().next().unwrap()["recipients"] = json!(vec![""; 250_000]);
    let names: Vec<String> = (0..16).map(|index| format!("evil-{index}")).collect();
    for name in &names {
        manifest["metadata"]["name"] = json!(name);
        let path = evil.sealed_secrets_path();
        evil.api.create(&path, &manifest).unwrap();
    }
    let controller = plane.leading_controller();
    shop.seal("good", &unique_value());
    shop.wait_ready("good");
    for name in &names {
        evil.wait_stalled(name, "InvalidSpec");
    }
    let peak = controller.peak_memory() / 1024;
    println!("{} objects of empty texts: {peak} MiB", names.len());
    assert!(peak < 120, "{peak} MiB");
}

/// A CRD of another version, or one that somebody loosened, lets anything through.
#[test]
fn a_spec_of_any_shape_stops_no_watch() {
    let plane = Own::take();
    // A watch that began under the old schema goes on under it: the controller starts later.
    let earlier = plane.leading_controller();
    let shop = plane.namespace("shop");
    drop(earlier);
    let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/sealedsecrets.sealkit.dev";
    let original = plane.api.get(path).unwrap();
    let loosen = |schema: Value| {
        let mut crd = plane.api.get(path).unwrap();
        crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"] = schema;
        plane.api.replace(path, &crd).unwrap();
    };
    loosen(json!({"x-kubernetes-preserve-unknown-fields": true}));
    let specs = [
        json!({"envelopes": [1, 2], "encryptedData": {}}),
        json!({"envelopes": {}, "encryptedData": "text"}),
        json!({"encryptedData": {"a": 5}}),
        json!({"template": 7}),
        json!({"template": {"metadata": {"labels": ["a"]}}}),
        json!({"scope": ["strict"]}),
        json!({"scope": null}),
        json!({"suspend": "yes", "unknown": {"deep": [null]}}),
        json!([]),
        json!("text"),
    ];
    for (index, spec) in specs.iter().enumerate() {
        let name = format!("odd-{index}");
        let manifest = json!({
            "apiVersion": "sealkit.dev/v1beta1", "kind": "SealedSecret",
            "metadata": {"name": name, "namespace": shop.name}, "spec": spec,
        });
        // The API server takes the looser schema into use after a moment.
        wait_for("the loosened schema", || {
            let _ = shop.api.delete(&shop.sealed_path(&name));
            let object = shop
                .api
                .create(&shop.sealed_secrets_path(), &manifest)
                .ok()?;
            (object["spec"] == *spec).then_some(())
        });
    }
    let mut controller = plane.leading_controller();
    for index in 0..specs.len() {
        shop.wait_stalled(&format!("odd-{index}"), "InvalidSpec");
    }
    let value = unique_value();
    shop.seal("good", &value);
    shop.wait_ready("good");
    // And a start over all of them.
    controller.process.kill().unwrap();
    let again = plane.leading_controller();
    shop.api.delete(&shop.secret_path("good")).unwrap();
    shop.wait_value("good", &value);
    assert_eq!(condition(&shop.sealed("odd-0"), "Stalled"), Some("True"));
    drop(again);
    for index in 0..specs.len() {
        shop.delete_sealed(&format!("odd-{index}"));
    }
    loosen(
        original["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"].clone(),
    );
}
