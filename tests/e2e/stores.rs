//! SecretStores and ClusterSecretStores: their statuses, and who may use which.

use std::time::Duration;

use sealkit_rig::OpenBao;
use sealkit_tests::canary::unique_value;
use sealkit_tests::external::{Team, WAIT, property};
use sealkit_tests::namespace::{condition, data, ready_condition};
use sealkit_tests::plane::{Shared, unique};
use sealkit_tests::wait::{holds_for, wait_within};
use serde_json::{Value, json};

const CLUSTER_STORES: &str = "/apis/external-secrets.io/v1/clustersecretstores";

/// Waits until the store says this in its condition Ready.
fn wait_reason(team: &Team, path: &str, reason: &str) -> Value {
    wait_within(WAIT, reason, || {
        let store = team.api().get(path)?;
        (ready_condition(&store)["reason"] == reason).then_some(store)
    })
}

/// A store of the cluster over the team's engine, with the team's token.
fn cluster_store(team: &Team, bao: &OpenBao, more: &Value) -> String {
    let name = unique("store");
    let mut store = team.store(&name, bao.url());
    store["kind"] = json!("ClusterSecretStore");
    let auth = &mut store["spec"]["provider"]["vault"]["auth"]["tokenSecretRef"];
    auth["namespace"] = json!(team.namespace.name);
    for (field, value) in more["spec"].as_object().into_iter().flatten() {
        store["spec"][field] = value.clone();
    }
    if let Some(annotations) = more.get("annotations") {
        store["metadata"]["annotations"] = annotations.clone();
    }
    team.api().create(CLUSTER_STORES, &store).unwrap();
    name
}

/// Makes an ExternalSecret from a store of the cluster.
fn wants(team: &Team, name: &str, store: &str, key: &str) {
    let spec = json!({
        "secretStoreRef": {"name": store, "kind": "ClusterSecretStore"},
        "data": [property("a", key, "a")],
    });
    team.external(name, "1h", &spec);
}

fn wait_made(team: &Team, name: &str, value: &str) {
    let expected = data(&[("a", value)]);
    team.namespace
        .wait_secret(name, "it is made", |secret| secret["data"] == expected);
}

#[test]
fn a_store_tells_whether_it_works_and_why_not() {
    let (plane, bao) = (Shared::get(), OpenBao::shared().unwrap());
    let team = Team::new(&plane, bao);
    let path = |name: &str| format!("{}/{name}", team.path("secretstores"));
    let works = wait_reason(&team, &path("vault"), "Valid");
    assert_eq!(condition(&works, "Ready"), Some("True"));
    assert_eq!(works["status"]["capabilities"], "ReadOnly");
    assert_eq!(works["status"]["observedGeneration"], 1);

    let mut wrong = team.store("wrong", bao.url());
    wrong["spec"]["provider"]["vault"]["auth"]["tokenSecretRef"]["name"] = json!("later");
    team.make("secretstores", &wrong);
    let absent = wait_reason(&team, &path("wrong"), "ValidationFailed");
    assert_eq!(condition(&absent, "Reconciling"), Some("True"));
    let says = ready_condition(&absent)["message"].to_string();
    assert!(says.contains("later does not exist"), "{says}");
    let spec = json!({"secretStoreRef": {"name": "wrong"}, "data": [property("a", "db", "a")]});
    let value = unique_value();
    let secret = json!({"a": value});
    team.vault.put(&team.mount, "db", &secret).unwrap();
    team.external("db", "1h", &spec);
    team.wait_message("db", "later does not exist");

    // A token that is refused, then a good one: nobody touches the store or the ExternalSecret.
    team.secret("later", &[("token", "s.wrong")]);
    let refused = wait_within(WAIT, "the token is refused", || {
        let store = team.api().get(&path("wrong"))?;
        let message = ready_condition(&store)["message"].to_string();
        message.contains("does not know the token").then_some(store)
    });
    assert!(!refused.to_string().contains("s.wrong"));
    team.secret("later", &[("token", bao.root_token())]);
    wait_made(&team, "db", &value);
    wait_reason(&team, &path("wrong"), "Valid");
    let metrics = plane.controller(|controller| controller.metrics());
    let namespace = &team.namespace.name;
    for (metric, labels) in [
        ("externalsecret_sync_calls_total", "name=\"db\""),
        ("externalsecret_status_condition", "name=\"db\""),
        ("secretstore_status_condition", "name=\"wrong\""),
    ] {
        let is_it = |line: &&str| {
            line.starts_with(metric) && line.contains(labels) && line.contains(namespace.as_str())
        };
        assert!(metrics.lines().any(|line| is_it(&line)), "{metric}");
    }
    let calls = "externalsecret_provider_api_calls_count{provider=\"HashiCorp/Vault\"";
    assert!(metrics.contains(calls));
    assert!(!metrics.contains(&value));

    let mut unserved = team.store("unserved", bao.url());
    unserved["spec"]["provider"] = json!({"gcpsm": {"projectID": "p"}});
    team.make("secretstores", &unserved);
    let stalled = wait_reason(&team, &path("unserved"), "InvalidProviderConfig");
    assert_eq!(condition(&stalled, "Stalled"), Some("True"));
}

#[test]
fn a_store_of_another_class_and_what_uses_it_are_left_alone() {
    let (plane, bao) = (Shared::get(), OpenBao::shared().unwrap());
    let team = Team::new(&plane, bao);
    let mut other = team.store("other", bao.url());
    other["spec"]["controller"] = json!("eso");
    team.make("secretstores", &other);
    let mut own = team.store("own", bao.url());
    own["spec"]["controller"] = json!("default");
    team.make("secretstores", &own);
    let secret = json!({"a": "b"});
    team.vault.put(&team.mount, "db", &secret).unwrap();
    let spec = |store: &str| json!({"secretStoreRef": {"name": store}, "data": [property("a", "db", "a")]});
    team.external("theirs", "1h", &spec("other"));
    team.external("ours", "1h", &spec("own"));
    wait_made(&team, "ours", "b");
    holds_for(Duration::from_secs(2), "theirs is left alone", || {
        let store = format!("{}/other", team.path("secretstores"));
        let unobserved = json!({"observedGeneration": -1});
        team.look("theirs")["status"] == unobserved
            && team.namespace.secret("theirs").is_none()
            && team.api().get(&store).unwrap()["status"] == unobserved
    });
}

#[test]
fn conditions_say_which_namespaces_may_use_a_store_of_the_cluster() {
    let (plane, bao) = (Shared::get(), OpenBao::shared().unwrap());
    let (team, other) = (Team::new(&plane, bao), Team::new(&plane, bao));
    let value = unique_value();
    let secret = json!({"a": value});
    team.vault.put(&team.mount, "db", &secret).unwrap();
    let named = json!({"spec": {"conditions": [{"namespaces": [team.namespace.name]}]}});
    let named = cluster_store(&team, bao, &named);
    let expression = format!("^{}$", other.namespace.name);
    let expression = json!({"spec": {"conditions": [{"namespaceRegexes": [expression]}]}});
    let expression = cluster_store(&team, bao, &expression);
    let tier = unique("tier");
    let selected = json!({"spec": {"conditions": [
        {"namespaceSelector": {"matchLabels": {"tier": tier}}},
    ]}});
    let selected = cluster_store(&team, bao, &selected);
    for (user, store, allowed) in [
        (&team, &named, true),
        (&other, &named, false),
        (&team, &expression, false),
        (&other, &expression, true),
        (&team, &selected, false),
    ] {
        wants(user, store, store, "db");
        if allowed {
            wait_made(user, store, &value);
        } else {
            user.wait_message(store, "conditions do not name the namespace");
            assert_eq!(user.namespace.secret(store), None);
        }
    }
    // A label opens the store at once.
    let namespace = format!("/api/v1/namespaces/{}", team.namespace.name);
    let label = json!({"metadata": {"labels": {"tier": tier}}});
    team.api().merge(&namespace, &label).unwrap();
    wait_made(&team, &selected, &value);
}

#[test]
fn a_key_policy_holds_however_a_key_is_written() {
    let (plane, bao) = (Shared::get(), OpenBao::shared().unwrap());
    let (team, other) = (Team::new(&plane, bao), Team::new(&plane, bao));
    let value = unique_value();
    for key in ["shop/db", "bank/db"] {
        let secret = json!({"a": value});
        team.vault.put(&team.mount, key, &secret).unwrap();
    }
    let policy = json!({&team.namespace.name: ["shop/**"]}).to_string();
    let policy = json!({"annotations": {"sealkit.dev/key-policy": policy}});
    let store = cluster_store(&team, bao, &policy);
    let mount = &team.mount;
    for (number, key) in ["shop/db", "/shop/db/"].into_iter().enumerate() {
        let name = format!("good-{number}");
        wants(&team, &name, &store, key);
        wait_made(&team, &name, &value);
    }
    let prefixed = format!("{mount}/data/shop/db");
    wants(&team, "prefixed", &store, &prefixed);
    wait_made(&team, "prefixed", &value);
    for (number, key) in [
        "bank/db".to_owned(),
        format!("{mount}/bank/db"),
        format!("{mount}/data/bank/db"),
        "shop/../bank/db".to_owned(),
        "shop/%2e%2e/bank/db".to_owned(),
        "SHOP/db".to_owned(),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("bad-{number}");
        wants(&team, &name, &store, &key);
        let told = wait_within(WAIT, &key, || {
            let object = team.look(&name);
            let ready = ready_condition(&object)["message"].to_string();
            (ready.contains("key policy does not allow") || ready.contains("is no key"))
                .then_some(ready)
        });
        assert_eq!(team.namespace.secret(&name), None, "{told}");
    }
    wants(&other, "other", &store, "shop/db");
    other.wait_message("other", "key policy does not allow");
    // Whoever may find may read everything.
    let find = json!({
        "secretStoreRef": {"name": store, "kind": "ClusterSecretStore"},
        "dataFrom": [{"find": {"name": {"regexp": ".*"}}}],
    });
    team.external("find", "1h", &find);
    team.wait_message("find", "all keys, which find needs");
}
