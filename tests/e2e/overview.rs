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
    let ours = [
        "StoreWithoutAuth",
        "StoreNotReady",
        "StoreMissing",
        "ExternalSecretNotReady",
        "TwoControllers",
    ];
    assert!(
        codes(&healthy).iter().all(|code| !ours.contains(code)),
        "{healthy:#}"
    );

    make("externalsecrets", &external(&shop, "lost", "nowhere"));
    make(
        "secretstores",
        &store(&shop, "nobody", bao.url(), &mount, &json!({})),
    );
    let bad = store(&shop, "closed", "http://127.0.0.1:1", &mount, &auth);
    make("secretstores", &bad);
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "external-secrets", "namespace": shop.name,
            "labels": {"app.kubernetes.io/name": "external-secrets"}},
        "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}},
            "spec": {"containers": [{"name": "c", "image": "example.com/external-secrets"}]}}},
    });
    let deployments = format!("/apis/apps/v1/namespaces/{}/deployments", shop.name);
    plane.api.create(&deployments, &deployment).unwrap();
    let report = wait_within(Duration::from_secs(30), "everything is found", || {
        let report = doctor();
        ours.iter()
            .all(|code| codes(&report).contains(code))
            .then_some(report)
    });
    let detail = |code: &str| {
        let mut troubles = report["troubles"].as_array().unwrap().iter();
        let found = troubles.find(|trouble| trouble["code"] == code).unwrap();
        found["detail"].as_str().unwrap().to_owned()
    };
    let name = &shop.name;
    assert!(
        detail("StoreWithoutAuth")
            .contains(&format!("SecretStore {name}/nobody has no credentials"))
    );
    assert!(detail("StoreNotReady").contains(&format!("SecretStore {name}/closed is not Ready")));
    let missing = detail("StoreMissing");
    assert!(
        missing.contains(&format!("SecretStore {name}/nowhere does not exist")),
        "{missing}"
    );
    assert!(
        missing.contains(&format!("ExternalSecret {name}/lost")),
        "{missing}"
    );
    plane
        .api
        .delete(&format!("{deployments}/external-secrets"))
        .unwrap();

    let text = seal.ends(0, &[&["status"][..], &scope].concat());
    for part in ["STORE", "vault", "EXTERNALSECRETS", "NEXT REFRESH", "never"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let report = seal.json(0, &[&["status"][..], &scope].concat());
    let externals = report["externalSecrets"].as_array().unwrap();
    let good = externals
        .iter()
        .find(|object| object["name"] == "good")
        .unwrap();
    assert!(
        good["ready"] == true && good["lastRefresh"].is_string() && good["nextRefresh"].is_string(),
        "{good:#}"
    );
    let lost = externals
        .iter()
        .find(|object| object["name"] == "lost")
        .unwrap();
    assert!(
        lost["ready"] == false && lost["nextRefresh"].is_null(),
        "{lost:#}"
    );
    let stores = report["stores"].as_array().unwrap();
    let vault = stores
        .iter()
        .find(|object| object["name"] == "vault")
        .unwrap();
    assert_eq!(
        (
            &vault["provider"],
            &vault["ready"],
            &vault["externalSecrets"]
        ),
        (&"vault".into(), &true.into(), &1.into())
    );
    assert!(!text.contains(bao.root_token()));
}
