//! Who may do what, with real tokens of real `ServiceAccounts`.

use sealkit_tests::api::ApiClient;
use sealkit_tests::canary::unique_value;
use sealkit_tests::plane::{LEASE, SEALING_KEYS, SYSTEM, SYSTEM_SECRETS, Shared, name_of, unique};
use sealkit_tests::wait::wait_until;
use serde_json::json;

fn code(answer: sealkit_tests::api::Answer) -> u16 {
    answer.map_or_else(|refusal| refusal.code, |_| 200)
}

#[test]
fn an_editor_seals_in_one_namespace_and_reads_no_identity() {
    let plane = Shared::get();
    let (shop, bank) = (plane.namespace("shop"), plane.namespace("bank"));
    let editor = plane.service_account(&shop.name, "editor");
    let subject = format!("--serviceaccount={}:editor", shop.name);
    plane
        .servers
        .kubectl(&[
            "create",
            "rolebinding",
            "e",
            "-n",
            &shop.name,
            "--clusterrole=edit",
            &subject,
        ])
        .unwrap();
    wait_until("the aggregated role", || {
        editor.may("create", "sealedsecrets.sealkit.dev", &shop.name)
    });

    let value = unique_value();
    let manifest = shop.draft("db").value("password", &value).manifest();
    editor
        .create(&shop.sealed_secrets_path(), &manifest)
        .unwrap();
    shop.wait_ready("db");
    shop.wait_value("db", &value);
    let label = json!({"metadata": {"labels": {"a": "b"}}});
    editor.merge(&shop.sealed_path("db"), &label).unwrap();

    let elsewhere = bank.draft("db").value("password", &value).manifest();
    assert_eq!(
        code(editor.create(&bank.sealed_secrets_path(), &elsewhere)),
        403
    );
    let forged = json!({"status": {"needsReseal": true}});
    assert_eq!(
        code(editor.merge(&format!("{}/status", shop.sealed_path("db")), &forged)),
        403
    );
    let identity = plane.identities().pop().expect("an identity");
    let path = format!("{SYSTEM_SECRETS}/{}", name_of(&identity));
    assert!(plane.api.get(&path).is_some(), "it is there");
    assert_eq!(code(editor.try_get(&path)), 403);
    assert_eq!(code(editor.try_get(SYSTEM_SECRETS)), 403);
    let key = plane.newest_key();
    let path = format!("{SEALING_KEYS}/{}", name_of(&key));
    assert_eq!(
        code(editor.merge(&path, &json!({"spec": {"state": "Revoked"}}))),
        403
    );
    assert_eq!(code(editor.try_get(&path)), 200, "public");
    editor.delete(&shop.sealed_path("db")).unwrap();
}

#[test]
fn a_viewer_reads_sealed_secrets_only() {
    let plane = Shared::get();
    let shop = plane.namespace("shop");
    let viewer = plane.service_account(&shop.name, "viewer");
    let subject = format!("--serviceaccount={}:viewer", shop.name);
    plane
        .servers
        .kubectl(&[
            "create",
            "rolebinding",
            "v",
            "-n",
            &shop.name,
            "--clusterrole=view",
            &subject,
        ])
        .unwrap();
    wait_until("the aggregated role", || {
        viewer.may("list", "sealedsecrets.sealkit.dev", &shop.name)
    });
    let collection = shop.sealed_secrets_path();
    assert_eq!(code(viewer.try_get(&collection)), 200);
    let manifest = shop
        .draft("db")
        .value("password", unique_value())
        .manifest();
    assert_eq!(code(viewer.create(&collection, &manifest)), 403);
    assert_eq!(code(viewer.try_get(&shop.secrets_path())), 403);
}

#[test]
fn everybody_may_read_sealing_keys_and_nothing_else_of_ours() {
    let plane = Shared::get();
    let shop = plane.namespace("shop");
    let nobody = plane.service_account(&shop.name, "nobody");
    assert!(!nobody.list(SEALING_KEYS).is_empty());
    let verbs = [
        "get",
        "list",
        "watch",
        "create",
        "update",
        "patch",
        "delete",
        "deletecollection",
    ];
    for verb in verbs {
        let reads = ["get", "list", "watch"].contains(&verb);
        assert_eq!(
            nobody.may(verb, "sealingkeys.sealkit.dev", ""),
            reads,
            "{verb}"
        );
        assert!(
            !nobody.may(verb, "sealingkeys/status.sealkit.dev", ""),
            "{verb}"
        );
        for resource in [
            "sealedsecrets.sealkit.dev",
            "sealedsecrets/status.sealkit.dev",
            "secrets",
            "leases.coordination.k8s.io",
        ] {
            for namespace in [&shop.name, SYSTEM] {
                assert!(
                    !nobody.may(verb, resource, namespace),
                    "{verb} {resource} in {namespace}"
                );
            }
        }
    }
    assert_eq!(code(nobody.try_get(&shop.sealed_secrets_path())), 403);
}

/// What the controller may do: resource, namespace (`shop` is one of the test's) and verbs.
const GRANTED: [(&str, &str, &[&str]); 27] = [
    (
        "sealedsecrets.sealkit.dev",
        "shop",
        &["get", "list", "watch"],
    ),
    ("sealedsecrets/status.sealkit.dev", "shop", &["update"]),
    ("sealedsecrets/finalizers.sealkit.dev", "shop", &["update"]),
    (
        "sealingkeys.sealkit.dev",
        "",
        &["get", "list", "watch", "create", "patch"],
    ),
    ("sealingkeys/status.sealkit.dev", "", &["update"]),
    (
        "secrets",
        "shop",
        &["get", "list", "watch", "create", "patch", "delete"],
    ),
    ("events.events.k8s.io", "shop", &["create"]),
    // More rights on the one that is named.
    ("leases.coordination.k8s.io", SYSTEM, &["create"]),
    ("leases.coordination.k8s.io", "shop", &[]),
    (
        "rewraprequests.sealkit.dev",
        "shop",
        &["get", "list", "watch", "delete"],
    ),
    ("rewraprequests/status.sealkit.dev", "shop", &["update"]),
    (
        "externalsecrets.external-secrets.io",
        "shop",
        &["get", "list", "watch", "create", "update", "delete"],
    ),
    (
        "externalsecrets/status.external-secrets.io",
        "shop",
        &["update"],
    ),
    (
        "secretstores.external-secrets.io",
        "shop",
        &["get", "list", "watch"],
    ),
    (
        "clustersecretstores.external-secrets.io",
        "",
        &["get", "list", "watch"],
    ),
    (
        "clusterexternalsecrets.external-secrets.io",
        "",
        &["get", "list", "watch"],
    ),
    (
        "clusterexternalsecrets/status.external-secrets.io",
        "",
        &["update"],
    ),
    (
        "secretstores/status.external-secrets.io",
        "shop",
        &["update"],
    ),
    (
        "clustersecretstores/status.external-secrets.io",
        "",
        &["update"],
    ),
    ("configmaps", "shop", &["get", "list", "watch"]),
    ("configmaps", SYSTEM, &["get", "list", "watch"]),
    ("pods", "shop", &[]),
    ("serviceaccounts", "shop", &[]),
    ("serviceaccounts/token", "shop", &[]),
    ("clusterroles.rbac.authorization.k8s.io", "", &[]),
    ("customresourcedefinitions.apiextensions.k8s.io", "", &[]),
    ("namespaces", "", &["list", "watch"]),
];

#[test]
fn the_controller_may_do_what_its_manifest_says_and_no_more() {
    let plane = Shared::get();
    let shop = plane.namespace("shop");
    let controller = ApiClient::new(&plane.controller_kubeconfig);
    let everything = [
        "get",
        "list",
        "watch",
        "create",
        "update",
        "patch",
        "delete",
        "deletecollection",
        "impersonate",
        "escalate",
        "bind",
    ];
    for (resource, namespace, verbs) in GRANTED {
        let namespace = if namespace == "shop" {
            &shop.name
        } else {
            namespace
        };
        let found: Vec<&str> = everything
            .into_iter()
            .filter(|verb| controller.may(verb, resource, namespace))
            .collect();
        let mut expected = verbs.to_vec();
        expected.sort_by_key(|verb| everything.iter().position(|known| known == verb));
        assert_eq!(found, expected, "{resource} in {namespace:?}");
    }
    for user in ["users", "groups"] {
        assert!(!controller.may("impersonate", user, ""));
    }
}

#[test]
fn the_controller_has_rights_on_its_own_lease_alone() {
    let plane = Shared::get();
    let controller = ApiClient::new(&plane.controller_kubeconfig);
    let no_change = json!({"metadata": {"labels": {}}});
    assert_eq!(code(controller.try_get(LEASE)), 200);
    assert_eq!(code(controller.merge(LEASE, &no_change)), 200);

    // One of another controller in the same namespace.
    let other = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"namespace": SYSTEM, "name": unique("another-controller")},
    });
    let (collection, _) = LEASE.rsplit_once('/').unwrap();
    let path = format!("{collection}/{}", name_of(&other));
    let other = plane.api.create(collection, &other).unwrap();
    let answers = [
        controller.try_get(&path),
        controller.merge(&path, &no_change),
        controller.apply(&path, &other),
        controller.replace(&path, &other),
        controller.delete(&path),
        controller.try_get(collection),
    ];
    assert_eq!(answers.map(code), [403; 6]);
    assert_eq!(code(controller.delete(LEASE)), 403);
    plane.api.delete(&path).unwrap();
}
