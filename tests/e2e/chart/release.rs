//! The life of a release on a real API server.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sealkit_core::sealed::Scope;
use sealkit_rig::{ControlPlane, Options, free_port};
use sealkit_tests::api::ApiClient;
use sealkit_tests::canary::unique_value;
use sealkit_tests::controller::Controller;
use sealkit_tests::namespace::Namespace;
use sealkit_tests::plane::{Plane, SYSTEM, SYSTEM_SECRETS};
use sealkit_tests::recorder::Recorder;
use sealkit_tests::wait::{wait_for, wait_until};
use sealkit_tests::webhook::CONFIGURATIONS;
use serde_json::Value;

use super::{Helm, container, flags_of, objects};

const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/sealkit-system/deployments/seal-controller";
const IMAGE: [&str; 2] = [
    "--set",
    "image.repository=registry.example.com/seal-controller",
];

#[test]
fn a_release_lives_through_upgrade_rollback_and_uninstallation() {
    let servers = ControlPlane::start(Options::default()).unwrap();
    let helm = Helm::new(servers.kubeconfig());
    let mut plane = install(servers, &helm);
    let state = tempfile::tempdir().unwrap();
    let state = state.path();
    let manifest = helm.run(&["get", "manifest", "sealkit"]);
    let all = objects(&manifest).len();
    assert_eq!(existing(&plane, &manifest).len(), all, "all objects");
    assert_releases_are_small(&plane);
    let first = deployment(&plane)["spec"].clone();

    let mut controller = start(&plane, state);
    let shop = plane.namespace("shop");
    let (secret, key) = (open(&shop, "db"), plane.newest_key());
    controller.stop();

    upgrade(&plane, &helm, &shop, state);

    helm.run(&["rollback", "sealkit", "1"]);
    assert_eq!(deployment(&plane)["spec"], first);
    let configuration = format!("{CONFIGURATIONS}/sealkit");
    assert!(plane.api.get(&configuration).is_none(), "no webhook again");
    let mut controller = start(&plane, state);
    shop.wait_ready("wide");
    controller.stop();

    helm.run(&["uninstall", "sealkit"]);
    let kept = existing(&plane, &manifest);
    let is_crd = |name: &String| name.starts_with("customresourcedefinition");
    assert!(kept.len() == 7 && kept.iter().all(is_crd), "{kept:?}");
    assert_same(&plane.sealing_keys()[0], &key);
    assert_same(&shop.secret("db").unwrap(), &secret);
    assert_eq!(plane.identities().len(), 1);

    // A later release goes on with them.
    helm.release("install", &IMAGE);
    // Tokens of the ServiceAccount that Helm has deleted are worth nothing any more.
    plane.controller_kubeconfig = kubeconfig(&plane.servers);
    let _controller = start(&plane, state);
    open(&shop, "later");
    assert_same(&plane.newest_key(), &key);
    assert_same(&shop.secret("db").unwrap(), &secret);
    assert_no_violations(&plane);
}

/// The controller follows other values, and keeps `caBundle` without Helm's knowledge.
fn upgrade(plane: &Plane, helm: &Helm, shop: &Namespace, state: &Path) {
    let port = format!("webhook.port={}", free_port().unwrap());
    let values = [
        "--set",
        "replicaCount=3,sealedSecrets.allowedScopes={strict},webhook.enabled=true",
        "--set",
        &port,
        // The API server of the rig reaches no Service.
        "--set",
        "webhook.namespaceSelector.matchLabels.webhook=on",
    ];
    helm.release("upgrade", &[&IMAGE[..], &values].concat());
    assert_eq!(deployment(plane)["spec"]["replicas"], 3);
    let mut controller = start(plane, state);
    let wide = shop.draft("wide").scope(Scope::NamespaceWide);
    shop.apply(&wide.value("password", unique_value()).manifest());
    shop.wait_stalled("wide", "InvalidSpec");

    let path = format!("{CONFIGURATIONS}/sealkit");
    let webhook = || plane.api.get(&path).expect("a configuration")["webhooks"][0].clone();
    let trusted = || webhook()["clientConfig"]["caBundle"].clone();
    wait_until("API servers trust the webhook", || trusted().is_string());
    let before = trusted();
    let timeout = ["--set", "webhook.timeoutSeconds=5"];
    helm.release("upgrade", &[&IMAGE[..], &values, &timeout].concat());
    assert_eq!(webhook()["timeoutSeconds"], 5);
    assert_eq!(trusted(), before);
    controller.stop();
}

#[test]
fn an_installation_by_kustomize_is_taken_over() {
    let plane = Plane::with("deploy/base");
    let helm = Helm::new(plane.servers.kubeconfig());
    let state = tempfile::tempdir().unwrap();
    let mut controller = start(&plane, state.path());
    let shop = plane.namespace("shop");
    let (secret, key) = (open(&shop, "db"), plane.newest_key());
    controller.stop();
    let before = deployment(&plane);

    let take = ["--take-ownership", "--force-conflicts"];
    helm.release("install", &[&take, &IMAGE[..]].concat());
    let after = deployment(&plane);
    assert_same(&after, &before);
    assert_eq!(
        container(&after)["image"],
        "registry.example.com/seal-controller:dev"
    );
    for object in [
        "apiextensions.k8s.io/v1/customresourcedefinitions/sealedsecrets.sealkit.dev",
        "rbac.authorization.k8s.io/v1/clusterroles/sealkit-controller",
    ] {
        let labels =
            plane.api.get(&format!("/apis/{object}")).unwrap()["metadata"]["labels"].clone();
        assert_eq!(labels["app.kubernetes.io/managed-by"], "Helm", "{object}");
    }
    let _controller = start(&plane, state.path());
    open(&shop, "later");
    assert_same(&plane.newest_key(), &key);
    assert_same(&shop.secret("db").unwrap(), &secret);
    assert_no_violations(&plane);
}

/// A control plane with a release of the chart.
fn install(servers: ControlPlane, helm: &Helm) -> Plane {
    helm.release("install", &[&["--create-namespace"], &IMAGE[..]].concat());
    let controller_kubeconfig = kubeconfig(&servers);
    let api = ApiClient::new(servers.kubeconfig());
    for plural in ["sealedsecrets", "sealingkeys", "rewraprequests"] {
        let path = format!("/apis/sealkit.dev/v1beta1/{plural}");
        wait_for("the resources are served", || api.try_get(&path).ok());
    }
    Plane {
        recorder: Recorder::start(&api),
        api,
        controller_kubeconfig,
        servers,
    }
}

/// The kubeconfig of the controller's ServiceAccount.
fn kubeconfig(servers: &ControlPlane) -> PathBuf {
    let hour = Some(Duration::from_hours(1));
    servers
        .service_account_kubeconfig(SYSTEM, "seal-controller", hour)
        .unwrap()
}

fn deployment(plane: &Plane) -> Value {
    plane.api.get(DEPLOYMENT).expect("a Deployment")
}

/// A controller as the Deployment of now starts it, once it leads.
fn start(plane: &Plane, state: &Path) -> Controller {
    let mut controller = plane.controller(&flags_of(&deployment(plane), state));
    controller.wait_leading();
    controller
}

/// Seals a value, and waits for its Secret.
fn open(shop: &Namespace, name: &str) -> Value {
    let value = unique_value();
    shop.seal(name, &value);
    shop.wait_ready(name);
    shop.wait_value(name, &value)
}

/// The names of those objects of a manifest that the cluster has.
fn existing(plane: &Plane, manifest: &str) -> Vec<String> {
    let arguments = ["get", "--ignore-not-found", "-o", "name", "-f", "-"];
    let names = plane.servers.kubectl_with_input(&arguments, manifest);
    names.unwrap().lines().map(str::to_owned).collect()
}

/// Helm keeps a release in a Secret, which may hold a mebibyte.
fn assert_releases_are_small(plane: &Plane) {
    let path = format!("{SYSTEM_SECRETS}?labelSelector=owner%3Dhelm");
    let releases = plane.api.list(&path);
    assert_eq!(releases.len(), 1);
    let size = releases[0]["data"]["release"].as_str().unwrap().len() * 3 / 4;
    assert!(size < 512 * 1024, "{size} bytes");
}

/// It is neither made again nor about to go.
fn assert_same(now: &Value, before: &Value) {
    assert_eq!(now["metadata"]["uid"], before["metadata"]["uid"]);
    assert!(now["metadata"].get("deletionTimestamp").is_none(), "{now}");
}

fn assert_no_violations(plane: &Plane) {
    let violations = plane.recorder.violations();
    assert!(violations.is_empty(), "{violations:#?}");
}
