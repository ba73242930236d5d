//! What an ExternalSecret does with its Secret: policies, ownership, templates and rewritten keys,
//! over a real OpenBao.

use std::time::Duration;

use sealkit_rig::OpenBao;
use sealkit_tests::canary::unique_value;
use sealkit_tests::controller::Flags;
use sealkit_tests::external::{Team, WAIT, property};
use sealkit_tests::namespace::{condition, data, ready_condition};
use sealkit_tests::plane::{Own, Shared};
use sealkit_tests::wait::{holds_for, wait_within};
use serde_json::{Value, json};

fn team() -> Team {
    Team::new(&Shared::get(), OpenBao::shared().unwrap())
}

fn put(team: &Team, key: &str, secret: &Value) {
    team.vault.put(&team.mount, key, secret).unwrap();
}

/// Deletes the newest version of a secret.
fn lose(team: &Team, key: &str) {
    let path = format!("{}/data/{key}", team.mount);
    team.vault.delete(&path).unwrap();
}

/// Another spec for an ExternalSecret.
fn change(team: &Team, name: &str, spec: &Value) {
    let path = format!("{}/{name}", team.path("externalsecrets"));
    team.api().merge(&path, &json!({"spec": spec})).unwrap();
}

/// The data of a Secret: `None` if it does not exist.
fn held(team: &Team, name: &str) -> Option<Value> {
    let secret = team.namespace.secret(name)?;
    Some(secret.get("data").cloned().unwrap_or(json!({})))
}

/// Waits until a Secret holds exactly these values, or does not exist.
fn wait_held(team: &Team, name: &str, values: Option<&[(&str, &str)]>) {
    let expected = values.map(data);
    let what = format!("{name} holds {values:?}");
    wait_within(WAIT, &what, || (held(team, name) == expected).then_some(()));
}

/// Waits for the reason of Ready.
fn wait_reason(team: &Team, name: &str, reason: &str) -> Value {
    wait_within(WAIT, &format!("{name}: {reason}"), || {
        let object = team.look(name);
        (ready_condition(&object)["reason"] == reason).then_some(object)
    })
}

/// A creation policy, a deletion policy, and whether the Secret exists before.
struct Case {
    creation: &'static str,
    deletion: &'static str,
    existing: bool,
}

/// All that the API server takes.
fn cases() -> Vec<Case> {
    let refused = [
        ("Merge", "Delete"),
        ("CreateOrMerge", "Delete"),
        ("None", "Delete"),
        ("None", "Merge"),
    ];
    let mut cases = Vec::new();
    for creation in ["Owner", "Orphan", "Merge", "CreateOrMerge", "None"] {
        for deletion in ["Retain", "Delete", "Merge"] {
            if refused.contains(&(creation, deletion)) {
                continue;
            }
            for existing in [false, true] {
                cases.push(Case {
                    creation,
                    deletion,
                    existing,
                });
            }
        }
    }
    cases
}

type Values = Option<Vec<(&'static str, &'static str)>>;

impl Case {
    fn name(&self) -> String {
        let there = if self.existing { "there" } else { "new" };
        format!("{}-{}-{there}", self.creation, self.deletion).to_lowercase()
    }

    /// What the Secret holds, and the reason of Ready, while the store has `a`.
    fn filled(&self) -> (Values, &'static str) {
        let values = match (self.creation, self.existing) {
            ("Owner" | "Orphan", _) | ("CreateOrMerge", false) => Some(vec![("a", "new")]),
            ("Merge", false) => return (None, "SecretMissing"),
            ("Merge" | "CreateOrMerge", true) => Some(vec![("a", "new"), ("theirs", "t")]),
            ("None", false) => None,
            _ => Some(vec![("a", "old"), ("theirs", "t")]),
        };
        (values, "SecretSynced")
    }

    /// The same once the store has nothing any more: `is_missing` if it lacks the key, and not only
    /// its members.
    fn emptied(&self, is_missing: bool) -> (Values, &'static str) {
        let (before, reason) = self.filled();
        match (self.deletion, self.creation) {
            ("Retain", _) if is_missing => (before, "SecretSyncedError"),
            ("Retain", _) => (before, "SecretSynced"),
            ("Delete", "Owner") => (None, "SecretDeleted"),
            ("Delete", _) => (before, "SecretSyncedError"),
            // Merge: its own keys go.
            (_, "Owner" | "Orphan") => (Some(vec![]), "SecretSynced"),
            _ => {
                let left = |values: Vec<(&'static str, &'static str)>| {
                    values.into_iter().filter(|(key, _)| *key != "a").collect()
                };
                (before.map(left), reason)
            }
        }
    }
}

#[test]
fn every_pair_of_policies_does_what_external_secrets_does() {
    let team = team();
    let fill = |value: Value| put(&team, "shared", &value);
    fill(json!({"a": "new"}));
    let cases = cases();
    for case in &cases {
        let name = case.name();
        if case.existing {
            team.secret(&name, &[("a", "old"), ("theirs", "t")]);
        }
        let target = json!({"creationPolicy": case.creation, "deletionPolicy": case.deletion});
        let spec = json!({"dataFrom": [{"extract": {"key": "shared"}}], "target": target});
        team.external(&name, "1s", &spec);
    }
    let all = |expected: &dyn Fn(&Case) -> (Values, &'static str)| {
        for case in &cases {
            let (values, reason) = expected(case);
            wait_held(&team, &case.name(), values.as_deref());
            wait_reason(&team, &case.name(), reason);
        }
    };
    all(&Case::filled);
    for case in &cases {
        let secret = team.namespace.secret(&case.name()).unwrap_or_default();
        let owners = secret["metadata"]["ownerReferences"].as_array();
        let owned = owners.is_some_and(|owners| owners[0]["kind"] == "ExternalSecret");
        assert_eq!(owned, case.creation == "Owner", "{}", case.name());
    }
    let said = |name: &str| ready_condition(&team.look(name))["message"].clone();
    assert_eq!(said("owner-retain-new"), "secret synced");
    let missing = "secret will not be created due to CreationPolicy=Merge";
    assert_eq!(said("merge-retain-new"), missing);

    fill(json!({}));
    wait_reason(&team, "owner-delete-new", "SecretDeleted");
    all(&|case| case.emptied(false));
    let deleted = "secret deleted due to DeletionPolicy=Delete";
    assert_eq!(said("owner-delete-new"), deleted);
    let retained = "secret retained due to DeletionPolicy=Retain";
    wait_within(WAIT, "it is retained", || {
        (said("orphan-retain-new") == retained).then_some(())
    });

    fill(json!({"a": "new"}));
    all(&Case::filled);
    // What is left out is told.
    put(&team, "kept", &json!({"b": "kept"}));
    let both = json!({
        "data": [property("a", "shared", "a"), property("b", "kept", "b")],
        "target": {"deletionPolicy": "Merge"},
    });
    team.external("some", "1s", &both);
    wait_held(&team, "some", Some(&[("a", "new"), ("b", "kept")]));
    lose(&team, "shared");
    wait_held(&team, "some", Some(&[("b", "kept")]));
    let without = "secret synced, without what the store lacks: Vault has no secret \"shared\"";
    wait_within(WAIT, without, || (said("some") == without).then_some(()));
    wait_reason(&team, "owner-delete-new", "SecretDeleted");
    all(&|case| case.emptied(true));
}

#[test]
fn policies_that_contradict_each_other_are_refused_by_the_api_server() {
    let team = team();
    for (creation, deletion) in [
        ("Merge", "Delete"),
        ("CreateOrMerge", "Delete"),
        ("None", "Delete"),
        ("None", "Merge"),
    ] {
        let object = json!({
            "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret",
            "metadata": {"name": "refused"},
            "spec": {
                "secretStoreRef": {"name": "vault"}, "data": [property("a", "shared", "a")],
                "target": {"creationPolicy": creation, "deletionPolicy": deletion},
            },
        });
        let answer = team.api().create(&team.path("externalsecrets"), &object);
        assert!(answer.is_err(), "{creation} {deletion}");
    }
}

#[test]
fn a_secret_of_another_owner_is_left_alone() {
    let team = team();
    put(&team, "db", &json!({"a": "b"}));
    let spec = |creation: &str| {
        json!({
            "data": [property("a", "db", "a")],
            "target": {"name": "shared", "creationPolicy": creation},
        })
    };
    team.external("first", "1s", &spec("Owner"));
    wait_held(&team, "shared", Some(&[("a", "b")]));
    let secret = team.namespace.secret("shared");
    for creation in ["Owner", "Orphan", "Merge", "CreateOrMerge"] {
        let name = creation.to_lowercase();
        team.external(&name, "1s", &spec(creation));
        let object = team.wait_message(&name, "has ExternalSecret first as its controller owner");
        assert_eq!(condition(&object, "Stalled"), Some("True"), "{creation}");
    }
    assert_eq!(team.namespace.secret("shared"), secret);
}

#[test]
fn two_resources_merge_into_one_secret_and_take_their_keys_along() {
    let team = team();
    put(&team, "db", &json!({"a": "1", "b": "2"}));
    team.secret("shared", &[("theirs", "t"), ("a", "old")]);
    let spec = |key: &str| {
        json!({
            "data": [property(key, "db", key)],
            "target": {"name": "shared", "creationPolicy": "Merge"},
        })
    };
    team.external("one", "1s", &spec("a"));
    team.external("two", "1s", &spec("b"));
    wait_held(
        &team,
        "shared",
        Some(&[("a", "1"), ("b", "2"), ("theirs", "t")]),
    );
    // A key that one of them no longer wants goes; those of the others stay.
    let entry = json!({"secretKey": "c", "remoteRef": {"key": "db", "property": "a"}});
    change(&team, "one", &json!({"data": [entry]}));
    wait_held(
        &team,
        "shared",
        Some(&[("b", "2"), ("c", "1"), ("theirs", "t")]),
    );
    // What somebody else writes over them is corrected.
    let drift = json!({"data": {"b": "eA=="}});
    team.api()
        .merge(&team.namespace.secret_path("shared"), &drift)
        .unwrap();
    wait_held(
        &team,
        "shared",
        Some(&[("b", "2"), ("c", "1"), ("theirs", "t")]),
    );
}

#[test]
fn with_ownership_consent_a_secret_of_somebody_else_needs_an_annotation() {
    let plane = Own::take();
    let flags = Flags {
        more: vec!["--external-secrets-ownership=consent".to_owned()],
        ..Flags::default()
    };
    let mut controller = plane.controller(&flags);
    controller.wait_leading();
    let team = Team::new(&plane, OpenBao::shared().unwrap());
    put(&team, "db", &json!({"a": "b"}));
    for (creation, wanted) in [
        ("Owner", "adopt"),
        ("Merge", "merge"),
        ("CreateOrMerge", "merge"),
    ] {
        let name = creation.to_lowercase();
        team.secret(&name, &[("theirs", "t")]);
        let target = json!({"creationPolicy": creation});
        let spec = json!({"data": [property("a", "db", "a")], "target": target});
        team.external(&name, "1s", &spec);
        let consent = format!("ExternalSecret/{name}:{wanted}");
        team.wait_message(
            &name,
            &format!("annotate it with sealkit.dev/allow: {consent}"),
        );
        wait_held(&team, &name, Some(&[("theirs", "t")]));
        let annotation = json!({"metadata": {"annotations": {"sealkit.dev/allow": consent}}});
        team.api()
            .merge(&team.namespace.secret_path(&name), &annotation)
            .unwrap();
        if creation == "Owner" {
            wait_held(&team, &name, Some(&[("a", "b")]));
        } else {
            wait_held(&team, &name, Some(&[("a", "b"), ("theirs", "t")]));
        }
    }
}

#[test]
fn an_immutable_secret_keeps_its_first_values() {
    let team = team();
    put(&team, "db", &json!({"a": "first"}));
    let spec = json!({"data": [property("a", "db", "a")], "target": {"immutable": true}});
    team.external("db", "1s", &spec);
    wait_held(&team, "db", Some(&[("a", "first")]));
    assert_eq!(team.namespace.secret("db").unwrap()["immutable"], true);
    put(&team, "db", &json!({"a": "second"}));
    team.wait_message("db", "secret is immutable");
    wait_held(&team, "db", Some(&[("a", "first")]));
    team.api()
        .delete(&team.namespace.secret_path("db"))
        .unwrap();
    wait_held(&team, "db", Some(&[("a", "second")]));
    wait_reason(&team, "db", "SecretSynced");
}

#[test]
fn refresh_policies_decide_when_the_store_is_read_again() {
    let plane = Own::take();
    let controller = plane.leading_controller();
    let team = Team::new(&plane, OpenBao::shared().unwrap());
    put(&team, "db", &json!({"a": "first", "b": "other"}));
    let spec = |policy: &str| json!({"data": [property("k", "db", "a")], "refreshPolicy": policy});
    team.external("once", "1s", &spec("CreatedOnce"));
    team.external("change", "1s", &spec("OnChange"));
    team.external("zero", "0s", &spec("Periodic"));
    let all = ["once", "change", "zero"];
    for name in all {
        wait_held(&team, name, Some(&[("k", "first")]));
        wait_reason(&team, name, "SecretSynced");
    }
    put(&team, "db", &json!({"a": "second", "b": "other"}));
    let first = data(&[("k", "first")]);
    let stay = || {
        all.iter()
            .all(|name| held(&team, name).as_ref() == Some(&first))
    };
    holds_for(Duration::from_secs(4), "nobody reads the store", stay);
    drop(controller);
    let _controller = plane.leading_controller();
    holds_for(Duration::from_secs(13), "nor at a start", stay);
    // A change of the spec is followed, but with CreatedOnce.
    for name in all {
        change(&team, name, &json!({"data": [property("k", "db", "b")]}));
    }
    wait_held(&team, "change", Some(&[("k", "other")]));
    wait_held(&team, "zero", Some(&[("k", "other")]));
    holds_for(Duration::from_secs(2), "it was created once", || {
        held(&team, "once").as_ref() == Some(&first)
    });
    // A Secret that is gone is made again.
    put(&team, "db", &json!({"a": "second", "b": "newer"}));
    for name in all {
        team.api()
            .delete(&team.namespace.secret_path(name))
            .unwrap();
        wait_held(&team, name, Some(&[("k", "newer")]));
    }
}

#[test]
fn the_secret_of_a_former_name_goes_even_if_the_controller_was_away() {
    let plane = Own::take();
    let controller = plane.leading_controller();
    let team = Team::new(&plane, OpenBao::shared().unwrap());
    put(&team, "db", &json!({"a": "b"}));
    let spec = json!({"data": [property("a", "db", "a")], "target": {"name": "before"}});
    team.external("db", "1h", &spec);
    wait_held(&team, "before", Some(&[("a", "b")]));
    wait_reason(&team, "db", "SecretSynced");
    drop(controller);
    change(&team, "db", &json!({"target": {"name": "after"}}));
    let _controller = plane.leading_controller();
    wait_held(&team, "after", Some(&[("a", "b")]));
    wait_held(&team, "before", None);
    assert_eq!(team.look("db")["status"]["binding"]["name"], "after");
    // A status alone gives no right to delete.
    team.secret("theirs", &[("x", "y")]);
    let status = format!("{}/db/status", team.path("externalsecrets"));
    let forged = json!({"status": {"binding": {"name": "theirs"}}});
    plane.api.merge(&status, &forged).unwrap();
    change(&team, "db", &json!({"target": {"name": "later"}}));
    wait_held(&team, "later", Some(&[("a", "b")]));
    wait_held(&team, "theirs", Some(&[("x", "y")]));
}

#[test]
fn keys_are_rewritten_in_order_and_none_is_lost() {
    let team = team();
    let value = unique_value();
    put(
        &team,
        "team/db",
        &json!({"db-user": "shop", "db-password": value}),
    );
    put(
        &team,
        "team/json",
        &json!({"one": "{\"a\": 1}", "two": "{\"b\": \"x\"}"}),
    );
    let with = |key: &str, rewrite: Value| json!({"dataFrom": [{"extract": {"key": key}, "rewrite": rewrite}]});
    let rename = json!([
        {"regexp": {"source": "^db-(.*)$", "target": "shop_${1}"}},
        {"transform": {"template": "{{ .value | upper }}"}},
    ]);
    team.external("renamed", "1s", &with("team/db", rename));
    wait_held(
        &team,
        "renamed",
        Some(&[("SHOP_USER", "shop"), ("SHOP_PASSWORD", &value)]),
    );
    team.external("merged", "1s", &with("team/json", json!([{"merge": {}}])));
    wait_held(&team, "merged", Some(&[("a", "1"), ("b", "x")]));
    for (name, rewrite, says) in [
        (
            "collides",
            json!([{"regexp": {"source": "-.*", "target": ""}}]),
            "both become \"db\"",
        ),
        (
            "dollar",
            json!([{"regexp": {"source": "^db-(.*)$", "target": "x-$1/"}}]),
            "is not a key that Kubernetes allows",
        ),
        (
            "pattern",
            json!([{"regexp": {"source": "(", "target": ""}}]),
            "dataFrom[0].rewrite[0].regexp.source",
        ),
        (
            "template",
            json!([{"transform": {"template": "{{ .key }}"}}]),
            "dataFrom[0].rewrite[0]: rendering failed",
        ),
        (
            "nojson",
            json!([{"merge": {}}]),
            "the value of \"db-password\" is no JSON object",
        ),
    ] {
        team.external(name, "1s", &with("team/db", rewrite));
        let object = team.wait_message(name, says);
        assert!(!object["status"].to_string().contains(&value), "{name}");
        assert_eq!(held(&team, name), None, "{name}");
    }
}

#[test]
fn secrets_are_found_by_name_and_metadata_is_fetched() {
    let team = team();
    for key in ["shop/db", "shop/mail", "web/db"] {
        put(&team, key, &json!({"k": key}));
    }
    let path = format!("{}/metadata/shop/db", team.mount);
    let metadata = json!({"custom_metadata": {"owner": "team-a", "stage": "prod"}});
    team.vault.write(&path, &metadata).unwrap();
    let fetch =
        |property: &str| json!({"key": "shop/db", "metadataPolicy": "Fetch", "property": property});
    let owner = json!({"data": [{"secretKey": "owner", "remoteRef": fetch("owner")}]});
    team.external("owner", "1s", &owner);
    wait_held(&team, "owner", Some(&[("owner", "team-a")]));
    team.external("all", "1s", &json!({"dataFrom": [{"extract": fetch("")}]}));
    team.namespace.wait_secret("all", "all metadata", |secret| {
        secret["data"]["stage"] == data(&[("stage", "prod")])["stage"]
    });

    let found =
        |find: Value, rewrite: Value| json!({"dataFrom": [{"find": find, "rewrite": rewrite}]});
    let all = json!({"path": "shop", "name": {"regexp": ".*"}});
    team.external("found", "1s", &found(all.clone(), json!([])));
    let (db, mail) = ("{\"k\":\"shop/db\"}", "{\"k\":\"shop/mail\"}");
    wait_held(
        &team,
        "found",
        Some(&[("shop_db", db), ("shop_mail", mail)]),
    );
    let last = json!([{"regexp": {"source": ".*/", "target": ""}}]);
    team.external("short", "1s", &found(all, last.clone()));
    wait_held(&team, "short", Some(&[("db", db), ("mail", mail)]));
    let both = json!({"name": {"regexp": "db$"}});
    team.external("both", "1s", &found(both, last));
    team.wait_message("both", "both become \"db\"");
    let none = json!({"name": {"regexp": "nothing"}});
    team.external("none", "1s", &found(none, json!([])));
    team.wait_message("none", "find matches no secret");
    assert_eq!(held(&team, "none"), None);
    change(
        &team,
        "none",
        &json!({"target": {"deletionPolicy": "Delete"}}),
    );
    wait_reason(&team, "none", "SecretDeleted");
}

/// What the templates are filled with.
fn put_shop(team: &Team) {
    let shop = json!({"user": "shop", "password": "a/b", "tier": "gold"});
    put(team, "db", &shop);
}

fn config_maps(team: &Team) -> String {
    format!("/api/v1/namespaces/{}/configmaps", team.namespace.name)
}

/// Creates the ConfigMap `texts`.
fn create_texts(team: &Team, texts: &Value) {
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "texts"}, "data": texts});
    team.api().create(&config_maps(team), &map).unwrap();
}

/// Items of a `templateFrom`: keys, and what their texts make.
fn items(keys: &[(&str, &str)]) -> Value {
    let item = |(key, as_): &(&str, &str)| json!({"key": key, "templateAs": as_});
    keys.iter().map(item).collect()
}

/// A spec whose template is filled with the secret `db`.
fn templated(template: &Value) -> Value {
    json!({"dataFrom": [{"extract": {"key": "db"}}], "target": {"template": template}})
}

#[test]
fn templates_come_from_config_maps_secrets_and_texts() {
    let team = team();
    put_shop(&team);
    let texts = json!({
        "url": "db://{{ .user }}:{{ .password | urlquery }}@h",
        "map": "{{ .user }}-key: {{ .password | quote }}\nport: 5432\n",
        "both": "from the ConfigMap",
        "labels": "tier: {{ .tier }}",
    });
    create_texts(&team, &texts);
    team.secret(
        "secret-texts",
        &[("hidden", "s-{{ .user }}"), ("both", "from the Secret")],
    );
    let from = json!([
        {"configMap": {"name": "texts", "items": items(&[("url", "Values"), ("map", "KeysAndValues"), ("both", "Values")])}},
        {"secret": {"name": "secret-texts", "items": items(&[("hidden", "Values"), ("both", "Values")])}},
        {"configMap": {"name": "texts", "items": items(&[("labels", "KeysAndValues")])}, "target": "Labels"},
        {"literal": "example.com/by: {{ .user }}", "target": "annotations"},
        {"literal": "decoded: aGVsbG8=", "valuesDecodingStrategy": "Base64"},
        {"literal": "port: 1\nown: lost"},
    ]);
    team.external(
        "made",
        "1s",
        &templated(&json!({"templateFrom": from, "data": {"own": "{{ .user }}"}})),
    );
    wait_held(
        &team,
        "made",
        Some(&[
            ("url", "db://shop:a%2Fb@h"),
            ("shop-key", "a/b"),
            ("port", "1"),
            ("both", "from the Secret"),
            ("hidden", "s-shop"),
            ("decoded", "hello"),
            ("own", "shop"),
        ]),
    );
    let made = team.namespace.secret("made").unwrap();
    assert_eq!(made["metadata"]["labels"]["tier"], "gold");
    assert_eq!(made["metadata"]["annotations"]["example.com/by"], "shop");
    // A change of the ConfigMap arrives with the next refresh.
    let patch = json!({"data": {"url": "changed"}});
    let path = format!("{}/texts", config_maps(&team));
    team.api().merge(&path, &patch).unwrap();
    team.namespace
        .wait_secret("made", "the new text", |secret| {
            secret["data"]["url"] == data(&[("url", "changed")])["url"]
        });
}

#[test]
fn templates_that_are_absent_or_forbidden_make_no_secret() {
    let team = team();
    put_shop(&team);
    create_texts(&team, &json!({}));
    let items = items(&[("absent", "Values")]);
    for (name, template, says) in [
        (
            "no-map",
            json!({"templateFrom": [{"configMap": {"name": "nothing", "items": items}}]}),
            "templateFrom[0], ConfigMap nothing: it does not exist",
        ),
        (
            "no-key",
            json!({"templateFrom": [{"configMap": {"name": "texts", "items": items}}]}),
            "templateFrom[0], ConfigMap texts: it has no text \"absent\"",
        ),
        (
            "no-yaml",
            json!({"templateFrom": [{"literal": "{{ .password }}"}]}),
            "templateFrom[0].literal: what it makes is no YAML map",
        ),
        (
            "source",
            json!({"templateFrom": [{"literal": "sealkit.dev/{{ .password }}: x", "target": "Annotations"}]}),
            "makes a label or annotation that templates may not set",
        ),
        (
            "target",
            json!({"templateFrom": [{"literal": "a: b", "target": "spec"}]}),
            "is none of Data, Annotations and Labels",
        ),
        (
            "finalizers",
            json!({"metadata": {"finalizers": ["example.com/x"]}}),
            "metadata.finalizers is not served",
        ),
        (
            "token",
            json!({"type": "kubernetes.io/service-account-token", "metadata": {"annotations": {"kubernetes.io/service-account.name": "default"}}}),
            "never creates",
        ),
        (
            "bootstrap",
            json!({"type": "bootstrap.kubernetes.io/token"}),
            "never creates",
        ),
        (
            "unknown",
            json!({"data": {"a": "{{ .user | snakecase }}"}}),
            "snakecase",
        ),
    ] {
        team.external(name, "1s", &templated(&template));
        let object = team.wait_message(name, says);
        assert!(!object["status"].to_string().contains("a/b"), "{name}");
        assert_eq!(held(&team, name), None, "{name}");
    }
}

#[test]
fn a_list_of_nothing_to_read_is_refused_wherever_it_comes_from() {
    let team = team();
    let object = json!({
        "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret",
        "metadata": {"name": "empty"}, "spec": {"secretStoreRef": {"name": "vault"}},
    });
    let answer = team.api().create(&team.path("externalsecrets"), &object);
    assert!(answer.is_err(), "the API server");
    let twice = json!({"data": [property("a", "db", "a"), property("a", "db", "b")]});
    team.external("twice", "1s", &twice);
    team.wait_message("twice", "data[1].secretKey: an earlier entry has \"a\" too");
    let generator =
        json!({"dataFrom": [{"sourceRef": {"generatorRef": {"kind": "Password", "name": "p"}}}]});
    team.external("generator", "1s", &generator);
    team.wait_message("generator", "a generatorRef is not served by Sealkit");
}
