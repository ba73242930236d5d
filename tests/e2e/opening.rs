//! The main job: a sealed manifest becomes a Secret, and everybody is told.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use sealkit_tests::api::ApiClient;
use sealkit_tests::canary::unique_value;
use sealkit_tests::namespace::{condition, data, resource_version, uid};
use sealkit_tests::plane::Shared;
use sealkit_tests::program::program;
use serde_json::{Value, json};

/// Runs `seal` over a plain manifest as somebody who may read sealing keys and nothing else.
fn seal(plane: &Shared, folder: &Path, manifest: &Value) -> String {
    plane
        .servers
        .kubectl(&["create", "serviceaccount", "developer", "-n", "default"])
        .unwrap();
    let kubeconfig = plane
        .servers
        .service_account_kubeconfig("default", "developer", None)
        .unwrap();
    let plain = folder.join("plain.json");
    fs::write(&plain, manifest.to_string()).unwrap();
    let output = Command::new(program("seal"))
        .arg("--kubeconfig")
        .arg(kubeconfig)
        .arg("-f")
        .arg(&plain)
        .args(["-w", "sealed.yaml"])
        .current_dir(folder)
        .env("HOME", folder)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    fs::read_to_string(folder.join("sealed.yaml")).unwrap()
}

#[test]
fn a_manifest_sealed_by_the_command_becomes_a_secret() {
    let plane = Shared::get();
    let shop = plane.namespace("shop");
    let value = unique_value();
    let plain = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "db", "namespace": shop.name, "labels": {"team": "shop"},
            "annotations": {"note": "from git"}},
        "type": "kubernetes.io/basic-auth",
        "stringData": {"username": "admin", "password": value},
        "data": {"binary": "AP/+AA=="},
    });
    let folder = tempfile::tempdir().unwrap();
    let manifest = seal(&plane, folder.path(), &plain);
    assert!(!manifest.contains(&value), "sealed");
    plane
        .servers
        .kubectl_with_input(&["apply", "-f", "-"], &manifest)
        .unwrap();
    let wait = [
        "wait",
        "--for=condition=Ready",
        "--timeout=30s",
        "sealedsecret/db",
        "-n",
        &shop.name,
    ];
    plane.servers.kubectl(&wait).unwrap();

    let secret = shop
        .secret("db")
        .expect("Ready says that the Secret is there");
    let mut expected = data(&[("username", "admin"), ("password", &value)]);
    expected["binary"] = json!("AP/+AA==");
    assert_eq!(secret["data"], expected);
    assert_eq!(secret["type"], "kubernetes.io/basic-auth");
    let object = shop.sealed("db");
    let metadata = &secret["metadata"];
    assert_eq!(
        metadata["labels"],
        json!({"team": "shop", "sealkit.dev/managed": "true"})
    );
    assert_eq!(metadata["annotations"]["note"], "from git");
    let source = format!("SealedSecret/{}/db/{}", shop.name, uid(&object));
    assert_eq!(metadata["annotations"]["sealkit.dev/source"], *source);
    let owner = &metadata["ownerReferences"][0];
    assert_eq!(
        (&owner["kind"], &owner["controller"]),
        (&json!("SealedSecret"), &json!(true))
    );
    assert_eq!(owner["uid"], uid(&object));

    let status = &object["status"];
    assert_eq!(
        status["observedGeneration"],
        object["metadata"]["generation"]
    );
    assert_eq!(status["target"]["uid"], metadata["uid"]);
    assert_eq!(
        status["target"]["resourceVersion"],
        metadata["resourceVersion"]
    );
    assert_eq!(
        status["sealedTo"],
        json!([plane.newest_key()["status"]["fingerprint"]])
    );
    assert_eq!(status["needsReseal"], false);
    let event = shop.wait_event(&object, "Opened");
    assert_eq!(
        (&event["type"], &event["regarding"]["name"]),
        (&json!("Normal"), &json!("db"))
    );
    assert_eq!(plane.recorder.status_writes(uid(&object)).len(), 1);
}

#[test]
fn an_object_that_nobody_has_looked_at_is_in_progress() {
    let plane = Shared::get();
    let shop = plane.namespace("shop");
    let manifest = shop
        .draft("db")
        .value("password", unique_value())
        .manifest();
    // The answer to the create comes before any controller can see the object.
    let created = shop
        .api
        .create(&shop.sealed_secrets_path(), &manifest)
        .unwrap();
    assert_eq!(created["status"], json!({"observedGeneration": -1}));
    let object = shop.wait_ready("db");
    let versions = plane.recorder.versions(uid(&object));
    assert_eq!(
        versions.first().unwrap().observed(),
        -1,
        "and so says the watch"
    );
}

#[test]
fn kubectl_shows_columns_and_keeps_its_word_for_secrets() {
    let plane = Shared::get();
    let shop = plane.namespace("shop");
    shop.seal("db", &unique_value());
    shop.wait_ready("db");
    let get = |args: &[&str]| {
        let args = [&["get", "-n", &shop.name], args].concat();
        let table = plane.servers.kubectl(&args).unwrap();
        table
            .lines()
            .map(|line| line.split_whitespace().map(str::to_owned).collect())
            .collect::<Vec<Vec<_>>>()
    };
    let table = get(&["seal"]);
    assert_eq!(table[0], ["NAME", "READY", "REASON", "AGE"]);
    assert_eq!(table[1][..3], ["db", "True", "Opened"]);
    assert_eq!(
        get(&["sealedsecrets", "-o", "wide"])[0],
        ["NAME", "READY", "REASON", "RESEAL", "MESSAGE", "AGE"]
    );
    // A resource of category `secrets` would hide the core resource from this word.
    let secrets = get(&["secrets"]);
    assert_eq!(secrets[0], ["NAME", "TYPE", "DATA", "AGE"]);
    assert_eq!(secrets[1][..3], ["db", "Opaque", "1"]);
    let keys = get(&["sealingkeys"]);
    assert_eq!(
        keys[0],
        [
            "NAME",
            "ALGORITHM",
            "STATE",
            "FINGERPRINT",
            "READY",
            "CREATED"
        ]
    );
    assert_eq!(keys[1][1..3], ["mlkem768x25519", "Active"]);
    let everything = get(&["sealkit"]);
    assert!(
        everything
            .iter()
            .any(|row| row.iter().any(|cell| cell.contains("/db"))),
        "{everything:?}"
    );
}

#[test]
fn each_generation_gets_one_status_and_one_event() {
    let plane = Shared::get();
    let shop = plane.namespace("shop");
    let (first, second) = (unique_value(), unique_value());
    shop.seal("db", &first);
    shop.wait_ready("db");
    shop.wait_value("db", &first);
    shop.seal("db", &second);
    let object = shop.wait_ready("db");
    let before = shop.wait_value("db", &second);
    // Other bytes in Git, the same value: nobody can tell a guess from a change.
    shop.seal("db", &second);
    shop.wait_ready("db");
    let after = shop.wait_value("db", &second);
    assert_ne!(
        resource_version(&after),
        resource_version(&before),
        "it is written all the same"
    );
    let writes = plane.recorder.status_writes(uid(&object));
    let seen: Vec<_> = writes
        .iter()
        .map(|write| (write.observed(), write.condition("Ready")))
        .collect();
    assert_eq!(
        seen,
        [(1, Some("True")), (2, Some("True")), (3, Some("True"))]
    );
    let opened = || {
        shop.events(uid(&object))
            .iter()
            .filter(|event| event["reason"] == "Opened")
            .count()
    };
    sealkit_tests::wait::wait_until("three events", || opened() == 3);
}

#[test]
fn a_request_to_reconcile_is_echoed() {
    let plane = Shared::get();
    let shop = plane.namespace("shop");
    shop.seal("db", &unique_value());
    shop.wait_ready("db");
    let secret = shop.secret("db");
    let ask = json!({"metadata": {"annotations": {"sealkit.dev/reconcile-requested-at": "now"}}});
    shop.api.merge(&shop.sealed_path("db"), &ask).unwrap();
    sealkit_tests::wait::wait_until("the echo", || {
        shop.sealed("db")["status"]["lastHandledReconcileAt"] == "now"
    });
    assert_eq!(condition(&shop.sealed("db"), "Ready"), Some("True"));
    assert_eq!(shop.secret("db"), secret, "nothing to write");
}

#[test]
fn a_sealed_secret_takes_its_secret_along() {
    let plane = Shared::get();
    let shop = plane.namespace("shop");
    shop.seal("db", &unique_value());
    shop.wait_ready("db");
    let api: &ApiClient = &shop.api;
    api.delete(&shop.sealed_path("db")).unwrap();
    // The garbage collector learns of new kinds every 30 s only.
    sealkit_tests::wait::wait_within(
        std::time::Duration::from_secs(90),
        "the Secret goes",
        || shop.secret("db").is_none().then_some(()),
    );
}
