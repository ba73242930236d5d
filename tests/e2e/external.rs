//! ExternalSecrets over a real OpenBao.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sealkit_rig::OpenBao;
use sealkit_tests::canary::unique_value;
use sealkit_tests::controller::Flags;
use sealkit_tests::external::{Team, WAIT, property};
use sealkit_tests::namespace::{condition, data, ready_condition};
use sealkit_tests::plane::{Own, Shared, unique};
use sealkit_tests::wait::{holds_for, wait_within};
use serde_json::{Value, json};

#[test]
fn a_secret_follows_the_store_at_its_interval() {
    let (plane, bao) = (Shared::get(), OpenBao::shared().unwrap());
    let team = Team::new(&plane, bao);
    let (first, second) = (unique_value(), unique_value());
    let put = |password: &str| {
        let secret = json!({"user": "shop", "password": password, "port": 5432});
        team.vault.put(&team.mount, "team/db", &secret).unwrap();
    };
    put(&first);
    let spec = json!({"data": [property("PASSWORD", "team/db", "password")]});
    team.external("db", "2s", &spec);
    let all = json!({
        "dataFrom": [{"extract": {"key": "team/db"}}], "target": {"name": "db-all"},
    });
    team.external("all", "2s", &all);
    let has = |name: &str, values: &[(&str, &str)]| {
        let expected = data(values);
        let secret = || {
            let secret = team.namespace.secret(name)?;
            (secret["data"] == expected).then_some(secret)
        };
        wait_within(WAIT, "the Secret follows", secret)
    };
    let made = has("db", &[("PASSWORD", &first)]);
    assert_eq!(
        made["metadata"]["ownerReferences"][0]["kind"],
        "ExternalSecret"
    );
    has(
        "db-all",
        &[("user", "shop"), ("password", &first), ("port", "5432")],
    );
    let object = wait_within(WAIT, "it is Ready", || {
        let object = team.look("db");
        (condition(&object, "Ready") == Some("True")).then_some(object)
    });
    assert_eq!(ready_condition(&object)["reason"], "SecretSynced");
    assert!(object["status"]["refreshTime"].is_string(), "{object:#}");
    team.namespace.wait_event(&object, "Created");

    put(&second);
    has("db", &[("PASSWORD", &second)]);
    has(
        "db-all",
        &[("user", "shop"), ("password", &second), ("port", "5432")],
    );
    team.namespace.wait_event(&object, "Updated");
    // Drift is corrected.
    let path = team.namespace.secret_path("db");
    let drift = json!({"data": {"PASSWORD": "eA=="}});
    team.api().merge(&path, &drift).unwrap();
    has("db", &[("PASSWORD", &second)]);
    let status = team.look("db")["status"].clone();
    let object = format!("{}/db", team.path("externalsecrets"));
    holds_for(
        Duration::from_secs(5),
        "a refresh without news is quiet",
        || {
            let now = team.api().get(&object).unwrap();
            now["status"]["conditions"] == status["conditions"]
        },
    );
    // It goes with its source.
    team.api().delete(&object).unwrap();
    // The garbage collector learns of a kind within half a minute.
    wait_within(Duration::from_secs(90), "the Secret goes", || {
        team.namespace.secret("db").is_none().then_some(())
    });
}

#[test]
fn many_who_want_one_key_share_its_reads_and_one_session() {
    let plane = Shared::get();
    let mut bao = OpenBao::start().unwrap();
    let team = Team::new(&plane, &bao);
    let value = unique_value();
    team.vault
        .put(&team.mount, "shared", &json!({"a": value}))
        .unwrap();
    let spec = json!({"data": [property("a", "shared", "a"), property("b", "shared", "a")]});
    let reads = |bao: &OpenBao| {
        let calls = bao.calls().unwrap();
        let path = format!("{}/data/shared", team.mount);
        calls
            .iter()
            .filter(|call| call.operation == "read" && call.path == path)
            .count()
    };
    for number in 0..40 {
        team.external(&format!("db-{number}"), "10s", &spec);
    }
    wait_within(WAIT, "all have their Secrets", || {
        let made = |number: u32| team.namespace.secret(&format!("db-{number}")).is_some();
        (0..40).all(made).then_some(())
    });
    // Eighty entries: within a second one read, and they did not come within one second.
    assert!(reads(&bao) <= 12, "{}", reads(&bao));
    let before = reads(&bao);
    std::thread::sleep(Duration::from_secs(20));
    let more = reads(&bao) - before;
    assert!((1..=4).contains(&more), "{more} reads in two intervals");

    // An outage costs few calls, touches no Secret and is told.
    let secret = team.namespace.secret("db-0").unwrap();
    bao.seal().unwrap();
    team.wait_message("db-0", "sealed or in standby (503)");
    bao.unseal().unwrap();
    wait_within(Duration::from_secs(60), "all recover", || {
        let ready =
            |number: u32| condition(&team.look(&format!("db-{number}")), "Ready") == Some("True");
        (0..40).all(ready).then_some(())
    });
    assert_eq!(team.namespace.secret("db-0").unwrap(), secret);
}

#[test]
fn what_is_wrong_is_told_and_the_last_good_secret_stays() {
    let (plane, bao) = (Shared::get(), OpenBao::shared().unwrap());
    let team = Team::new(&plane, bao);
    let value = unique_value();
    team.vault
        .put(&team.mount, "db", &json!({"a": value}))
        .unwrap();
    let one = |store: &str, key: &str, name: &str| json!({"secretStoreRef": {"name": store}, "data": [property("a", key, name)]});
    team.external("good", "1s", &one("vault", "db", "a"));
    team.namespace.wait_secret("good", "it is made", |secret| {
        secret["data"] == data(&[("a", &value)])
    });
    team.external("no-key", "1s", &one("vault", "nothing/here", "a"));
    team.external("no-property", "1s", &one("vault", "db", "b"));
    team.external("no-store", "1s", &one("other", "db", "a"));
    team.external("leaves", "1s", &one("vault", "../sys/policies", "a"));
    team.external("soon", "soon", &one("vault", "db", "a"));
    for (name, says) in [
        ("no-key", "Vault has no secret \"nothing/here\""),
        ("no-property", "db has no property \"b\""),
        ("no-store", "SecretStore other does not exist"),
        ("leaves", "is no key"),
        ("soon", "refreshInterval is not a duration"),
    ] {
        team.wait_message(name, says);
        assert_eq!(team.namespace.secret(name), None, "{name}");
    }
    // A store that arrives later mends it at once.
    team.make("secretstores", &team.store("other", bao.url()));
    team.namespace
        .wait_secret("no-store", "it is made", |secret| {
            secret["data"] == data(&[("a", &value)])
        });

    // A token that is refused, and replaced.
    let secret = team.namespace.secret("good").unwrap();
    team.secret("vault-token", &[("token", "s.wrong")]);
    let refused = team.wait_message("good", "(403)");
    assert!(!refused.to_string().contains("s.wrong"));
    assert_eq!(team.namespace.secret("good").unwrap(), secret);
    team.secret("vault-token", &[("token", bao.root_token())]);
    wait_within(Duration::from_secs(60), "it recovers", || {
        (condition(&team.look("good"), "Ready") == Some("True")).then_some(())
    });
}

#[test]
fn a_store_reaches_no_other_namespace_and_lends_no_identity() {
    let (plane, bao) = (Shared::get(), OpenBao::shared().unwrap());
    let (team, other) = (Team::new(&plane, bao), Team::new(&plane, bao));
    team.vault
        .put(&team.mount, "db", &json!({"a": "b"}))
        .unwrap();
    let spec = |store: &str| json!({"secretStoreRef": {"name": store}, "data": [property("a", "db", "a")]});
    let mut foreign = team.store("foreign", bao.url());
    foreign["spec"]["provider"]["vault"]["auth"]["tokenSecretRef"]["namespace"] =
        json!(other.namespace.name);
    team.make("secretstores", &foreign);
    let mut without = team.store("without", bao.url());
    without["spec"]["provider"]["vault"]
        .as_object_mut()
        .unwrap()
        .remove("auth");
    team.make("secretstores", &without);
    let mut unserved = team.store("unserved", bao.url());
    unserved["spec"]["provider"] = json!({"gcpsm": {"projectID": "p"}});
    team.make("secretstores", &unserved);
    let mut header = team.store("header", bao.url());
    header["spec"]["provider"]["vault"]["headers"] = json!({"X-Vault-Token": "x"});
    team.make("secretstores", &header);
    for (store, says) in [
        ("foreign", "may not refer to another namespace"),
        ("without", "lends its own identity to nobody"),
        ("unserved", "provider gcpsm is not served by Sealkit"),
        ("header", "a header of Vault's own"),
    ] {
        team.external(store, "1s", &spec(store));
        let object = team.wait_message(store, says);
        assert_eq!(condition(&object, "Stalled"), Some("True"), "{store}");
        assert_eq!(team.namespace.secret(store), None);
    }
}

/// What changed while no controller ran is found; nothing else costs a call or a write.
#[test]
fn a_start_reads_only_what_is_due_and_finds_what_changed_meanwhile() {
    let plane = Own::take();
    let bao = OpenBao::start().unwrap();
    let controller = plane.leading_controller();
    let team = Team::new(&plane, &bao);
    let (first, second) = (unique_value(), unique_value());
    let put = |value: &str| {
        let secret = json!({"a": value});
        team.vault.put(&team.mount, "db", &secret).unwrap();
    };
    put(&first);
    let spec = json!({"data": [property("a", "db", "a")]});
    let names = ["db", "once", "drifts", "changes", "forced"];
    for name in names {
        team.external(name, if name == "once" { "0" } else { "1h" }, &spec);
    }
    let has = |name: &str, value: &str| {
        let expected = data(&[("a", value)]);
        team.namespace
            .wait_secret(name, "it follows", |secret| secret["data"] == expected)
    };
    let before = names.map(|name| has(name, &first));
    let statuses = || names.map(|name| team.look(name)["status"].clone());
    let told = wait_within(WAIT, "all are Ready", || {
        let ready = |status: &Value| status["target"]["resourceVersion"].is_string();
        Some(statuses()).filter(|all| all.iter().all(ready))
    });
    let reads = || {
        let path = format!("{}/data/db", team.mount);
        let calls = bao.calls().unwrap();
        calls
            .iter()
            .filter(|call| call.path == path && call.operation == "read")
            .count()
    };
    let seen = reads();
    drop(controller);
    let again = plane.leading_controller();
    std::thread::sleep(Duration::from_secs(12));
    assert_eq!(reads(), seen, "a start reads nothing before it is due");
    for (name, before) in names.into_iter().zip(&before) {
        assert_eq!(team.namespace.secret(name).as_ref(), Some(before), "{name}");
    }
    assert_eq!(statuses(), told, "nor does it write");

    drop(again);
    put(&second);
    let drift = json!({"data": {"a": "eA=="}});
    team.api()
        .merge(&team.namespace.secret_path("drifts"), &drift)
        .unwrap();
    let object = |name: &str| format!("{}/{name}", team.path("externalsecrets"));
    let change = json!({"spec": {"target": {"immutable": false}, "refreshInterval": "2h"}});
    team.api().merge(&object("changes"), &change).unwrap();
    let force = json!({"metadata": {"annotations": {"force-sync": "1"}}});
    team.api().merge(&object("forced"), &force).unwrap();
    let _controller = plane.leading_controller();
    for name in ["drifts", "changes", "forced"] {
        has(name, &second);
    }
    for name in ["db", "once"] {
        assert_eq!(
            team.namespace.secret(name).unwrap()["data"],
            before[0]["data"]
        );
    }
    // The annotation forces a refresh of a running controller too.
    team.api().merge(&object("once"), &force).unwrap();
    has("once", &second);
}

#[test]
fn a_template_makes_the_secret_of_the_values() {
    let (plane, bao) = (Shared::get(), OpenBao::shared().unwrap());
    let team = Team::new(&plane, bao);
    let value = unique_value();
    let secret = json!({"user": "shop", "password": value, "team": "web"});
    team.vault.put(&team.mount, "db", &secret).unwrap();
    let with = |template: Value| json!({"dataFrom": [{"extract": {"key": "db"}}], "target": {"template": template}});
    team.external(
        "url",
        "1s",
        &with(json!({
            "type": "example.com/url",
            "metadata": {"labels": {"team": "{{ .team }}"}, "annotations": {"example.com/by": "{{ .user | upper }}"}},
            "data": {"url": "postgres://{{ .user }}:{{ .password | urlquery }}@db/shop"},
        })),
    );
    let made = team.namespace.wait_secret("url", "it is made", |secret| {
        !secret["data"]["url"].is_null()
    });
    let url = format!("postgres://shop:{value}@db/shop");
    assert_eq!(made["data"], data(&[("url", &url)]));
    assert_eq!(made["type"], "example.com/url");
    assert_eq!(made["metadata"]["labels"]["team"], "web");
    assert_eq!(made["metadata"]["annotations"]["example.com/by"], "SHOP");

    team.external(
        "both",
        "1s",
        &with(json!({"mergePolicy": "Merge", "data": {"user": "{{ .user }}-2"}})),
    );
    let both = data(&[("user", "shop-2"), ("password", &value), ("team", "web")]);
    team.namespace
        .wait_secret("both", "values and template", |secret| {
            secret["data"] == both
        });

    for (name, template, says) in [
        (
            "syntax",
            json!({"data": {"a": "{{ if }}"}}),
            "target.template.data[a]: line 1",
        ),
        (
            "missing",
            json!({"data": {"a": "{{ .nothing }}"}}),
            "the store does not have",
        ),
        (
            "token",
            json!({"type": "kubernetes.io/service-account-token"}),
            "never creates",
        ),
        (
            "replicated",
            json!({"metadata": {"annotations": {"reflector.v1.k8s.emberstack.com/reflection-allowed": "true"}}}),
            "may not set the label or annotation",
        ),
    ] {
        team.external(name, "1s", &with(template));
        let object = team.wait_message(name, says);
        assert!(!object.to_string().contains(&value), "{name}");
        assert_eq!(team.namespace.secret(name), None, "{name}");
    }
}

#[test]
fn what_the_store_loses_is_kept_deleted_or_left_out_as_the_policy_says() {
    let (plane, bao) = (Shared::get(), OpenBao::shared().unwrap());
    let team = Team::new(&plane, bao);
    let put = || {
        for key in ["one", "two"] {
            team.vault
                .put(&team.mount, key, &json!({"a": key}))
                .unwrap();
        }
    };
    put();
    let with = |policy: &str| {
        json!({
            "data": [property("one", "one", "a"), property("two", "two", "a")],
            "target": {"deletionPolicy": policy},
        })
    };
    let names = ["Retain", "Delete", "Merge"].map(str::to_lowercase);
    for (name, policy) in names.iter().zip(["Retain", "Delete", "Merge"]) {
        team.external(name, "1s", &with(policy));
    }
    let both = data(&[("one", "one"), ("two", "two")]);
    let has = |name: &str, expected: &Value| {
        team.namespace
            .wait_secret(name, "its values", |secret| secret["data"] == *expected);
    };
    names.iter().for_each(|name| has(name, &both));

    let lose = |key: &str| {
        team.vault
            .delete(&format!("{}/data/{key}", team.mount))
            .unwrap();
    };
    lose("one");
    let two = data(&[("two", "two")]);
    has("delete", &two);
    has("merge", &two);
    team.wait_message("retain", "Vault has no secret \"one\"");
    has("retain", &both);
    // A property that is missing is a mistake, whatever the policy says.
    team.vault
        .put(&team.mount, "two", &json!({"b": "x"}))
        .unwrap();
    team.wait_message("delete", "has no property");
    has("delete", &two);

    lose("two");
    wait_within(WAIT, "the Secret is deleted", || {
        team.namespace.secret("delete").is_none().then_some(())
    });
    let object = wait_within(WAIT, "it says so", || {
        let object = team.look("delete");
        (ready_condition(&object)["reason"] == "SecretDeleted").then_some(object)
    });
    assert_eq!(condition(&object, "Ready"), Some("True"));
    team.namespace.wait_secret("merge", "no values", |secret| {
        secret["data"]
            .as_object()
            .is_none_or(serde_json::Map::is_empty)
    });
    has("retain", &both);
    put();
    has("delete", &both);
    has("merge", &both);

    // Another name: the Secret of the old one goes.
    let path = format!("{}/delete", team.path("externalsecrets"));
    team.api()
        .merge(&path, &json!({"spec": {"target": {"name": "renamed"}}}))
        .unwrap();
    has("renamed", &both);
    wait_within(WAIT, "the old one goes", || {
        team.namespace.secret("delete").is_none().then_some(())
    });
    // A Secret of somebody else is neither taken over nor deleted.
    team.vault
        .put(&team.mount, "kept", &json!({"x": "y"}))
        .unwrap();
    let owner = json!({"data": [property("x", "kept", "x")], "target": {"name": "theirs"}});
    team.external("owner", "1s", &owner);
    has("theirs", &data(&[("x", "y")]));
    team.external("theirs", "1s", &with("Delete"));
    team.wait_message("theirs", "theirs");
    lose("one");
    lose("two");
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!(
        team.namespace.secret("theirs").unwrap()["data"],
        data(&[("x", "y")])
    );
}

/// A policy of the vault that reads a mount, and nothing else.
fn policy(team: &Team, name: &str) {
    let text = format!(
        "path \"{}/data/*\" {{ capabilities = [\"read\"] }}",
        team.mount
    );
    team.vault
        .write(
            &format!("sys/policies/acl/{name}"),
            &json!({"policy": text}),
        )
        .unwrap();
}

/// A store that logs in as `auth` says.
fn store_with(team: &Team, name: &str, url: &str, auth: Value) {
    let mut store = team.store(name, url);
    store["spec"]["provider"]["vault"]["auth"] = auth;
    team.make("secretstores", &store);
}

#[test]
fn one_login_lasts_for_many_reads_and_is_renewed() {
    let plane = Shared::get();
    let bao = OpenBao::start().unwrap();
    let team = Team::new(&plane, &bao);
    policy(&team, "reader");
    let write = |path: &str, body: Value| team.vault.write(path, &body).unwrap();
    write("sys/auth/approle", json!({"type": "approle"}));
    let role = json!({"token_policies": "reader", "token_ttl": "9s", "token_max_ttl": "30s"});
    write("auth/approle/role/shop", role);
    let role_id = team.vault.read("auth/approle/role/shop/role-id").unwrap();
    let role_id = role_id["data"]["role_id"].as_str().unwrap();
    let secret_id = write("auth/approle/role/shop/secret-id", json!({}));
    let secret_id = secret_id["data"]["secret_id"].as_str().unwrap();
    team.secret("approle", &[("secret-id", secret_id)]);
    let secret_ref = json!({"name": "approle", "key": "secret-id"});
    store_with(
        &team,
        "by-role",
        bao.url(),
        json!({"appRole": {"path": "approle", "roleId": role_id, "secretRef": secret_ref}}),
    );

    let value = unique_value();
    for key in 0..5 {
        team.vault
            .put(&team.mount, &format!("key-{key}"), &json!({"a": value}))
            .unwrap();
    }
    let spec = |key: u32| {
        let remote = format!("key-{key}");
        json!({"secretStoreRef": {"name": "by-role"}, "data": [property("a", &remote, "a")]})
    };
    for number in 0..20 {
        team.external(&format!("db-{number}"), "1s", &spec(number % 5));
    }
    let expected = data(&[("a", &value)]);
    for number in 0..20 {
        team.namespace
            .wait_secret(&format!("db-{number}"), "it is made", |secret| {
                secret["data"] == expected
            });
    }
    let calls = |operation: &str| {
        let calls = bao.calls().unwrap();
        let path = |call: &&sealkit_rig::BaoCall| call.path == operation;
        calls.iter().filter(path).count()
    };
    assert_eq!(calls("auth/approle/login"), 1, "twenty objects, one login");
    // Past its life: it was renewed, until it could not be any more.
    std::thread::sleep(Duration::from_secs(36));
    assert!(calls("auth/token/renew-self") >= 2);
    assert!(
        (2..=3).contains(&calls("auth/approle/login")),
        "{}",
        calls("auth/approle/login")
    );
    // A revoked token: one more login, and nobody notices.
    let issued = bao
        .calls()
        .unwrap()
        .iter()
        .rev()
        .find_map(|call| call.issued.clone())
        .unwrap();
    let before = calls("auth/approle/login");
    write("auth/token/revoke-accessor", json!({"accessor": issued}));
    let newer = unique_value();
    team.vault
        .put(&team.mount, "key-0", &json!({"a": newer}))
        .unwrap();
    let expected = data(&[("a", &newer)]);
    team.namespace
        .wait_secret("db-0", "it follows", |secret| secret["data"] == expected);
    assert!(calls("auth/approle/login") - before <= 2);
    // A key that the policy does not allow ends no session.
    team.external(
        "denied",
        "1s",
        &json!({"secretStoreRef": {"name": "by-role"}, "data": [property("a", "sys/x", "a")]}),
    );
    let secret = team.namespace.secret("db-1").unwrap();
    team.wait_message("denied", "Vault");
    assert_eq!(
        team.namespace.secret("db-1").unwrap()["data"],
        secret["data"]
    );
}

#[test]
fn a_service_account_logs_in_where_the_controller_may_ask_for_its_token() {
    let plane = Own::take();
    let _controller = plane.leading_controller();
    let bao = OpenBao::start().unwrap();
    let team = Team::new(&plane, &bao);
    policy(&team, "reader");
    let namespace = team.namespace.name.clone();
    let kubectl = |arguments: &[&str]| plane.servers.kubectl(arguments).unwrap();
    for name in ["app", "reviewer"] {
        kubectl(&["create", "serviceaccount", name, "-n", &namespace]);
    }
    let reviewer = format!("--serviceaccount={namespace}:reviewer");
    let binding = unique("reviewer");
    kubectl(&[
        "create",
        "clusterrolebinding",
        &binding,
        "--clusterrole=system:auth-delegator",
        &reviewer,
    ]);
    let reviewer = kubectl(&["create", "token", "reviewer", "-n", &namespace]);
    let write = |path: &str, body: Value| team.vault.write(path, &body).unwrap();
    write("sys/auth/kubernetes", json!({"type": "kubernetes"}));
    write(
        "auth/kubernetes/config",
        json!({
            "kubernetes_host": plane.servers.url(), "kubernetes_ca_cert": plane.servers.ca_pem(),
            "token_reviewer_jwt": reviewer.trim(),
        }),
    );
    write(
        "auth/kubernetes/role/shop",
        json!({
            "bound_service_account_names": "app", "bound_service_account_namespaces": namespace,
            "token_policies": "reader", "token_ttl": "1h",
        }),
    );
    let auth = json!({"kubernetes": {"mountPath": "kubernetes", "role": "shop", "serviceAccountRef": {"name": "app"}}});
    store_with(&team, "by-account", bao.url(), auth);
    let value = unique_value();
    team.vault
        .put(&team.mount, "db", &json!({"a": value}))
        .unwrap();
    let spec =
        json!({"secretStoreRef": {"name": "by-account"}, "data": [property("a", "db", "a")]});
    team.external("db", "1s", &spec);
    team.wait_message("db", "may not create a token of the ServiceAccount");
    assert_eq!(team.namespace.secret("db"), None);
    kubectl(&[
        "create",
        "clusterrole",
        "tokens",
        "--verb=create",
        "--resource=serviceaccounts/token",
    ]);
    let controller = "--serviceaccount=sealkit-system:seal-controller";
    kubectl(&[
        "create",
        "rolebinding",
        "tokens",
        "-n",
        &namespace,
        "--clusterrole=tokens",
        controller,
    ]);
    let expected = data(&[("a", &value)]);
    team.namespace
        .wait_secret("db", "it is made", |secret| secret["data"] == expected);
    kubectl(&["delete", "clusterrole", "tokens"]);
    kubectl(&["delete", "clusterrolebinding", &binding]);
}

#[test]
fn a_thousand_objects_cost_as_many_reads_as_keys() {
    let plane = Own::take();
    let bao = OpenBao::start().unwrap();
    let mut controller = plane.leading_controller();
    let team = Team::new(&plane, &bao);
    for key in 0..100 {
        let secret = json!({"a": unique_value(), "b": "b"});
        team.vault
            .put(&team.mount, &format!("key-{key}"), &secret)
            .unwrap();
    }
    let spec = |number: u32| {
        let key = format!("key-{}", number % 100);
        json!({"data": [property("a", &key, "a"), property("b", &key, "b")]})
    };
    let start = std::time::Instant::now();
    for number in 0..1_000 {
        team.external(&format!("db-{number}"), "1h", &spec(number));
    }
    let made = || team.api().list(&team.namespace.secrets_path()).len() > 1_000;
    wait_within(Duration::from_secs(60), "a thousand Secrets", || {
        made().then_some(())
    });
    println!("a thousand Secrets: {:?}", start.elapsed());
    let path = format!("{}/data/", team.mount);
    let calls = bao.calls().unwrap();
    let reads = calls
        .iter()
        .filter(|call| call.operation == "read" && call.path.starts_with(&path));
    let reads = reads.count();
    assert!((100..=110).contains(&reads), "{reads} reads");
    controller.assert_lives_within_its_memory();
    // The log is as talkative as it gets.
    let log = controller.log();
    assert!(!log.contains(bao.root_token()), "the token");
    for number in 0..100 {
        let secret = team.namespace.secret(&format!("db-{number}")).unwrap();
        let value = secret["data"]["a"].as_str().unwrap();
        let plain = BASE64_STANDARD.decode(value).unwrap();
        assert!(!log.contains(value) && !log.contains(std::str::from_utf8(&plain).unwrap()));
    }
}

/// One small read for each key and store, and nothing more while nothing changes.
#[test]
fn a_new_version_is_refreshed_at_once_where_versions_are_watched() {
    let plane = Own::take();
    let bao = OpenBao::start().unwrap();
    let _controller = plane.controller(&Flags {
        more: vec!["--watch-interval=2s".to_owned()],
        ..Flags::default()
    });
    let team = Team::new(&plane, &bao);
    let (first, second) = (unique_value(), unique_value());
    let put = |value: &str| {
        let secret = json!({"a": value});
        team.vault.put(&team.mount, "db", &secret).unwrap();
    };
    put(&first);
    let spec = json!({"data": [property("a", "db", "a"), property("b", "db", "a")]});
    for number in 0..5 {
        team.external(&format!("db-{number}"), "1h", &spec);
    }
    let have = |value: &str| {
        let expected = data(&[("a", value), ("b", value)]);
        wait_within(WAIT, "all follow", || {
            let has = |number: u32| {
                let secret = team.namespace.secret(&format!("db-{number}"));
                secret.is_some_and(|secret| secret["data"] == expected)
            };
            (0..5).all(has).then_some(())
        });
    };
    have(&first);
    std::thread::sleep(Duration::from_secs(5));
    let calls = |section: &str| {
        let path = format!("{}/{section}/db", team.mount);
        let calls = bao.calls().unwrap();
        let reads = calls
            .iter()
            .filter(|call| call.operation == "read" && call.path == path);
        reads.count()
    };
    let (reads, looks) = (calls("data"), calls("metadata"));
    std::thread::sleep(Duration::from_secs(10));
    assert_eq!(calls("data"), reads, "nothing changed");
    let more = calls("metadata") - looks;
    assert!((3..=6).contains(&more), "{more} looks in ten seconds");
    put(&second);
    have(&second);
    assert!(calls("data") <= reads + 2, "they share the read");
}
