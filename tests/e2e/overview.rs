//! `seal status` and `seal doctor` over stores and ExternalSecrets.

use std::time::Duration;

use sealkit_rig::OpenBao;
use sealkit_tests::canary::unique_value;
use sealkit_tests::namespace::{Namespace, data};
use sealkit_tests::plane::{Own, unique};
use sealkit_tests::wait::wait_within;
use serde_json::{Value, json};

use crate::wait::Seal;

fn store(shop: &Namespace, name: &str, server: &str, mount: &str, auth: &Value) -> Value {
    json!({
        "apiVersion": "external-secrets.io/v1", "kind": "SecretStore",
        "metadata": {"name": name, "namespace": shop.name},
        "spec": {"provider": {"vault": {
            "server": server, "path": mount, "version": "v2", "auth": auth,
        }}},
    })
}

fn external(shop: &Namespace, name: &str, store: &str) -> Value {
    json!({
        "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret",
        "metadata": {"name": name, "namespace": shop.name},
        "spec": {"secretStoreRef": {"name": store}, "refreshInterval": "1h",
            "data": [{"secretKey": "a", "remoteRef": {"key": "team/db", "property": "a"}}]},
    })
}

fn codes(report: &Value) -> Vec<&str> {
    let troubles = report["troubles"].as_array().unwrap().iter();
    troubles
        .map(|trouble| trouble["code"].as_str().unwrap())
        .collect()
}

/// What `seal doctor` finds about stores and ExternalSecrets.
const TROUBLES: [&str; 5] = [
    "StoreWithoutAuth",
    "StoreNotReady",
    "StoreMissing",
    "ExternalSecretNotReady",
    "TwoControllers",
];

/// Asserts what the doctor says of the stores `nobody`, `closed` and `nowhere`.
fn assert_details(report: &Value, namespace: &str) {
    let detail = |code: &str| {
        let mut troubles = report["troubles"].as_array().unwrap().iter();
        let found = troubles.find(|trouble| trouble["code"] == code).unwrap();
        found["detail"].as_str().unwrap().to_owned()
    };
    for (code, says) in [
        (
            "StoreWithoutAuth",
            "SecretStore {}/nobody has no credentials",
        ),
        ("StoreNotReady", "SecretStore {}/closed is not Ready"),
        ("StoreMissing", "SecretStore {}/nowhere does not exist"),
        ("StoreMissing", "ExternalSecret {}/lost"),
    ] {
        let (detail, says) = (detail(code), says.replace("{}", namespace));
        assert!(detail.contains(&says), "{says}: {detail}");
    }
}

/// Asserts what `seal status -o json` says of the store `vault` and of the ExternalSecrets `good` and
/// `lost`.
fn assert_status(report: &Value) {
    let named = |list: &str, name: &str| {
        let mut objects = report[list].as_array().unwrap().iter();
        objects
            .find(|object| object["name"] == name)
            .unwrap()
            .clone()
    };
    let good = named("externalSecrets", "good");
    assert!(
        good["ready"] == true && good["lastRefresh"].is_string() && good["nextRefresh"].is_string(),
        "{good:#}"
    );
    let lost = named("externalSecrets", "lost");
    assert!(
        lost["ready"] == false && lost["nextRefresh"].is_null(),
        "{lost:#}"
    );
    let vault = named("stores", "vault");
    assert_eq!(vault["provider"], "vault");
    assert_eq!(vault["ready"], true);
    assert_eq!(vault["externalSecrets"], 1);
}

/// A Deployment that looks like External Secrets.
fn external_secrets(shop: &Namespace) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "external-secrets", "namespace": shop.name,
            "labels": {"app.kubernetes.io/name": "external-secrets"}},
        "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}},
            "spec": {"containers": [{"name": "c", "image": "example.com/external-secrets"}]}}},
    })
}

#[test]
fn stores_and_external_secrets_are_shown_and_what_is_wrong_with_them_is_found() {
    let (plane, bao) = (Own::take(), OpenBao::shared().unwrap());
    let _controller = plane.leading_controller();
    let shop = plane.namespace("overview");
    let seal = Seal::admin(&plane);
    let (mount, vault) = (unique("kv"), bao.root());
    vault.mount_kv(&mount).unwrap();
    vault
        .put(&mount, "team/db", &json!({"a": unique_value()}))
        .unwrap();
    let token = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "token"},
        "data": data(&[("token", bao.root_token())])});
    plane.api.create(&shop.secrets_path(), &token).unwrap();
    let make = |plural: &str, object: &Value| {
        let path = format!(
            "/apis/external-secrets.io/v1/namespaces/{}/{plural}",
            shop.name
        );
        plane.api.create(&path, object).unwrap();
    };
    let auth = json!({"tokenSecretRef": {"name": "token", "key": "token"}});
    make(
        "secretstores",
        &store(&shop, "vault", bao.url(), &mount, &auth),
    );
    make("externalsecrets", &external(&shop, "good", "vault"));
    seal.ends(0, &["wait", "--all", "-n", &shop.name, "--timeout", "40s"]);
    let scope = ["--context", "rig", "-n", &shop.name];
    let doctor = || {
        let output = seal.run(&[&["doctor", "-o", "json"][..], &scope].concat());
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    let healthy = doctor();
    assert!(
        codes(&healthy).iter().all(|code| !TROUBLES.contains(code)),
        "{healthy:#}"
    );

    make("externalsecrets", &external(&shop, "lost", "nowhere"));
    make(
        "secretstores",
        &store(&shop, "nobody", bao.url(), &mount, &json!({})),
    );
    let bad = store(&shop, "closed", "http://127.0.0.1:1", &mount, &auth);
    make("secretstores", &bad);
    let deployments = format!("/apis/apps/v1/namespaces/{}/deployments", shop.name);
    plane
        .api
        .create(&deployments, &external_secrets(&shop))
        .unwrap();
    let report = wait_within(Duration::from_secs(30), "everything is found", || {
        let report = doctor();
        TROUBLES
            .iter()
            .all(|code| codes(&report).contains(code))
            .then_some(report)
    });
    assert_details(&report, &shop.name);
    plane
        .api
        .delete(&format!("{deployments}/external-secrets"))
        .unwrap();

    let text = seal.ends(1, &[&["status"][..], &scope].concat());
    for part in ["STORE", "vault", "EXTERNALSECRETS", "NEXT REFRESH", "never"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_status(&seal.json(1, &[&["status"][..], &scope].concat()));
    assert!(!text.contains(bao.root_token()));
}
