//! Flux and Argo CD deliver what a Git server holds.
#![allow(clippy::unwrap_used)] // a failed step should end the test right there

use std::thread;
use std::time::{Duration, Instant};

use sealkit_rig::{ArgoCd, ControlPlane, Flux, GitRepository, GitServer};
use serde_json::{Value, json};

fn apply(cluster: &ControlPlane, objects: &[Value]) {
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string();
    let arguments = ["apply", "--server-side", "-f", "-"];
    cluster.kubectl_with_input(&arguments, &list).unwrap();
}

/// Commits a ConfigMap of this namespace with this value.
fn commit(repository: &GitRepository, namespace: &str, value: &str) {
    let object = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "delivered", "namespace": namespace}, "data": {"value": value},
    });
    let text = object.to_string();
    repository.write("app/object.yaml", &text).unwrap();
    let kustomization = "resources: [object.yaml]\n";
    let path = "app/kustomization.yaml";
    repository.write(path, kustomization).unwrap();
    repository.commit(value).unwrap();
}

fn wait_for(cluster: &ControlPlane, namespace: &str, value: &str) {
    let end = Instant::now() + Duration::from_mins(1);
    let get = ["get", "configmap", "delivered", "-n", namespace, "-o"];
    let get = [&get[..], &["jsonpath={.data.value}"]].concat();
    while cluster.kubectl(&get).ok().as_deref() != Some(value) {
        assert!(Instant::now() < end, "{value} is not delivered");
        thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn flux_delivers_commits() {
    let cluster = ControlPlane::shared().unwrap();
    let _flux = Flux::start(cluster).unwrap();
    let git = GitServer::start().unwrap();
    let repository = git.repository("flux").unwrap();
    commit(&repository, "default", "first");
    let metadata = json!({"name": "app", "namespace": "flux-system"});
    let source = json!({
        "apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "GitRepository", "metadata": metadata,
        "spec": {"url": repository.url(), "ref": {"branch": "main"}, "interval": "1s"},
    });
    let kustomization = json!({
        "apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization",
        "metadata": metadata,
        "spec": {
            "sourceRef": {"kind": "GitRepository", "name": "app"},
            "path": "./app", "interval": "1m", "prune": true,
        },
    });
    apply(cluster, &[source, kustomization]);
    wait_for(cluster, "default", "first");
    commit(&repository, "default", "second");
    wait_for(cluster, "default", "second");
    repository.revert().unwrap();
    wait_for(cluster, "default", "first");
}

#[test]
fn argo_cd_delivers_commits() {
    let cluster = ControlPlane::shared().unwrap();
    let _argo = ArgoCd::start(cluster).unwrap();
    let git = GitServer::start().unwrap();
    let repository = git.repository("argo").unwrap();
    commit(&repository, "argo-app", "first");
    let application = json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Application",
        "metadata": {"name": "app", "namespace": "argocd"},
        "spec": {
            "project": "default",
            "source": {"repoURL": repository.url(), "targetRevision": "main", "path": "app"},
            "destination": {"server": "https://kubernetes.default.svc", "namespace": "argo-app"},
            "syncPolicy": {"automated": {}, "syncOptions": ["CreateNamespace=true"]},
        },
    });
    apply(cluster, &[application]);
    wait_for(cluster, "argo-app", "first");
    commit(&repository, "argo-app", "second");
    wait_for(cluster, "argo-app", "second");
}
