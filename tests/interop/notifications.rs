//! What Flux and Argo CD make of the notifications in `deploy/integrations`.

use std::fs;
use std::path::Path;
use std::process::Command;

use sealkit_core::manifest::read_documents;
use sealkit_rig::ArgoCd;
use serde_json::{Value, json};

use crate::peers::{go, text, tree};

#[test]
fn flux_knows_every_field_of_our_alert_and_provider() {
    let path = tree("deploy/integrations/flux/notifications.yaml");
    let documents = read_documents(&fs::read(path).unwrap()).unwrap();
    let objects: Vec<Value> = documents.into_iter().map(|one| one.object).collect();
    let mut lines = String::new();
    for object in &objects {
        lines += &format!("{object}\n");
    }
    text(&mut go("notifications", "notifications"), lines.as_bytes());

    let [provider, alert] = &objects[..] else {
        panic!("not a Provider and an Alert")
    };
    assert_eq!(
        alert["spec"]["providerRef"]["name"],
        provider["metadata"]["name"]
    );
    // The Kustomization that we ship, which the alert is about.
    let shipped = tree("deploy/integrations/flux/kustomizations.yaml");
    let shipped = read_documents(&fs::read(shipped).unwrap()).unwrap();
    let source = &alert["spec"]["eventSources"][0];
    let is_it = |object: &Value| {
        source["kind"] == object["kind"] && source["name"] == object["metadata"]["name"]
    };
    assert!(shipped.iter().any(|document| is_it(&document.object)));
}

/// What `argocd` prints when it tries our notifications on an Application.
fn try_notifications(folder: &Path, arguments: &[&str], resources: &Value) -> String {
    let application = json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Application",
        "metadata": {"name": "delivery", "namespace": "argocd"},
        "status": {"operationState": {
            "phase": "Running", "syncResult": {"revision": "abc", "resources": resources},
        }},
    });
    fs::write(folder.join("application.json"), application.to_string()).unwrap();
    // It wants to know a cluster, and does not call it.
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "none",
        "contexts": [{"name": "none", "context": {"cluster": "none", "user": "none"}}],
        "clusters": [{"name": "none", "cluster": {"server": "http://127.0.0.1:1"}}],
        "users": [{"name": "none", "user": {}}],
    });
    let path = folder.join("kubeconfig.json");
    fs::write(&path, kubeconfig.to_string()).unwrap();
    let mut argocd = Command::new(ArgoCd::programs().unwrap().join("argocd"));
    argocd.current_dir(folder).env("KUBECONFIG", path);
    argocd.args(["admin", "notifications"]).args(arguments);
    argocd.args(["application.json", "--secret", ":empty", "--config-map"]);
    argocd.arg(tree(
        "deploy/integrations/argocd/argocd-notifications-cm.yaml",
    ));
    text(&mut argocd, b"")
}

#[test]
fn argo_cd_tells_which_secret_failed_and_only_then() {
    let folder = tempfile::tempdir().unwrap();
    let resource = |kind: &str, name: &str, phase: &str| {
        json!({
            "kind": kind, "namespace": "shop", "name": name, "status": "Synced",
            "hookPhase": phase, "message": format!("what {name} says"),
        })
    };
    let failed = json!([
        resource("SealedSecret", "db", "Failed"),
        resource("SealedSecret", "mail", "Succeeded"),
        resource("ConfigMap", "app", "Running"),
    ]);
    let others = json!([
        resource("SealedSecret", "db", "Succeeded"),
        resource("Deployment", "app", "Failed"),
    ]);
    let trigger = ["trigger", "run", "on-secret-failed"];
    let fires = |resources: &Value| {
        let printed = try_notifications(folder.path(), &trigger, resources);
        printed.trim_end().ends_with("true")
    };
    assert!(fires(&failed));
    assert!(!fires(&others));
    assert!(!fires(&Value::Null));
    let template = ["template", "notify", "secret-failed"];
    let told = try_notifications(folder.path(), &template, &failed);
    assert!(
        told.contains("SealedSecret shop/db: what db says"),
        "{told}"
    );
    assert!(
        !told.contains("mail") && !told.contains("app says"),
        "{told}"
    );
}
