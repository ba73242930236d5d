//! What `deploy/` holds beside what the other tests run under.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use sealkit_tests::plane::{SYSTEM, Shared};
use sealkit_tests::program::program;
use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

#[test]
fn the_base_comes_with_a_budget_and_a_network_policy() {
    let plane = Shared::get();
    let path = format!("/apis/policy/v1/namespaces/{SYSTEM}/poddisruptionbudgets/seal-controller");
    let budget = plane.api.get(&path).expect("a budget");
    assert_eq!(budget["spec"]["minAvailable"], 1);
    let path =
        format!("/apis/networking.k8s.io/v1/namespaces/{SYSTEM}/networkpolicies/seal-controller");
    let policy = plane.api.get(&path).expect("a network policy");
    let path = format!("/apis/apps/v1/namespaces/{SYSTEM}/deployments/seal-controller");
    let deployment = plane.api.get(&path).expect("a deployment");
    let labels = &deployment["spec"]["template"]["metadata"]["labels"];
    for selector in [&policy["spec"]["podSelector"], &budget["spec"]["selector"]] {
        assert_eq!(
            &selector["matchLabels"], labels,
            "it selects the controller's pods"
        );
    }
    let ports = &deployment["spec"]["template"]["spec"]["containers"][0]["ports"];
    assert_eq!(
        policy["spec"]["ingress"][0]["ports"][0]["port"],
        ports[0]["name"]
    );
}

/// With these, Kubernetes would delete Secrets and identities of the whole cluster.
#[test]
fn no_gitops_tool_deletes_crds_or_the_namespace() {
    let plane = Shared::get();
    let folder = root().join("deploy/base");
    let built = plane
        .servers
        .kubectl(&["kustomize", folder.to_str().unwrap()])
        .unwrap();
    let objects = sealkit_core::manifest::read_documents(built.as_bytes()).unwrap();
    let kept = objects
        .iter()
        .filter(|it| ["CustomResourceDefinition", "Namespace"].contains(&it.kind()));
    let mut count = 0;
    for object in kept {
        let annotations = &object.object["metadata"]["annotations"];
        let argo = &annotations["argocd.argoproj.io/sync-options"];
        assert_eq!(argo, "Prune=false,Delete=false", "{}", object.kind());
        assert_eq!(annotations["kustomize.toolkit.fluxcd.io/prune"], "disabled");
        count += 1;
    }
    assert_eq!(count, 8);
}

#[test]
fn the_examples_name_image_and_namespaces() {
    let plane = Shared::get();
    for (example, namespaces) in [
        ("install", None),
        ("install-namespaced", Some("team-a,team-b")),
    ] {
        let folder = root().join("examples").join(example);
        let folder = folder.to_str().unwrap();
        let built = plane.servers.kubectl(&["kustomize", folder]).unwrap();
        let objects = sealkit_core::manifest::read_documents(built.as_bytes()).unwrap();
        let deployment = objects.iter().find(|it| it.kind() == "Deployment").unwrap();
        let container = &deployment.object["spec"]["template"]["spec"]["containers"][0];
        assert_eq!(
            container["image"],
            "registry.example.com/seal-controller:dev"
        );
        let variables = container["env"].as_array().unwrap();
        let named = variables
            .iter()
            .find(|it| it["name"] == "SEALKIT_WATCH_NAMESPACES");
        assert_eq!(named.map(|it| it["value"].as_str().unwrap()), namespaces);
    }
}

/// The objects of the base with a component.
fn base_with(component: &str) -> Vec<Value> {
    let folder = tempfile::tempdir_in(root().join("target")).unwrap();
    let text = format!(
        "components: [../../deploy/components/{component}]\nresources: [../../deploy/base]\n"
    );
    std::fs::write(folder.path().join("kustomization.yaml"), text).unwrap();
    let built = Shared::get()
        .servers
        .kubectl(&["kustomize", folder.path().to_str().unwrap()])
        .unwrap();
    let objects = sealkit_core::manifest::read_documents(built.as_bytes()).unwrap();
    objects
        .into_iter()
        .map(|document| document.object)
        .collect()
}

fn named<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let is_it = |object: &&Value| object["kind"] == kind && object["metadata"]["name"] == name;
    objects.iter().find(is_it).expect(name)
}

#[test]
fn the_webhook_is_a_component_that_fits_the_controller() {
    let objects = base_with("webhook");
    let configuration = named(&objects, "ValidatingWebhookConfiguration", "sealkit");
    let service = named(&objects, "Service", "seal-controller-webhook");
    let deployment = named(&objects, "Deployment", "seal-controller");
    let policy = named(&objects, "NetworkPolicy", "seal-controller");
    for webhook in configuration["webhooks"].as_array().unwrap() {
        let called = &webhook["clientConfig"]["service"];
        assert_eq!(called["name"], service["metadata"]["name"]);
        assert_eq!(called["namespace"], SYSTEM);
    }
    let pod = &deployment["spec"]["template"];
    assert_eq!(service["spec"]["selector"], pod["metadata"]["labels"]);
    let container = &pod["spec"]["containers"][0];
    let port = container["ports"].as_array().unwrap().last().unwrap();
    assert_eq!(service["spec"]["ports"][0]["targetPort"], port["name"]);
    assert_eq!(
        policy["spec"]["ingress"][1]["ports"][0]["port"],
        port["name"]
    );
    let address = container["env"].as_array().unwrap().last().unwrap();
    let listen = format!("0.0.0.0:{}", port["containerPort"]);
    assert_eq!(address["value"], listen, "{address}");
    assert_eq!(address["name"], "SEALKIT_WEBHOOK_LISTEN");
}

#[test]
fn monitoring_is_a_component_that_fits_the_service() {
    let objects = base_with("monitoring");
    let monitor = named(&objects, "ServiceMonitor", "seal-controller");
    let service = named(&objects, "Service", "seal-controller");
    assert_eq!(monitor["metadata"]["namespace"], SYSTEM);
    assert_eq!(
        monitor["spec"]["selector"]["matchLabels"],
        service["metadata"]["labels"]
    );
    assert_eq!(
        monitor["spec"]["endpoints"][0]["port"],
        service["spec"]["ports"][0]["name"]
    );
}

/// The image is this folder and nothing else; without a container engine, a changed root proves
/// that the controller finds all that it loads.
#[test]
fn the_image_holds_all_that_the_controller_loads() {
    let folder = tempfile::tempdir().unwrap();
    let binary = program("seal-controller");
    let made = Command::new(root().join("deploy/image/rootfs"))
        .arg(&binary)
        .arg(folder.path())
        .status();
    assert!(made.unwrap().success());
    let run = Command::new("unshare")
        .args(["--user", "--map-root-user", "--root"])
        .arg(folder.path())
        .args(["/seal-controller", "--version"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(said.starts_with("seal-controller "), "{run:?}");
    assert!(!folder.path().join("bin/sh").exists(), "no shell");
    let authorities = folder.path().join("etc/ssl/certs/ca-certificates.crt");
    let authorities = std::fs::read_to_string(authorities).unwrap();
    assert!(authorities.contains("-----BEGIN CERTIFICATE-----"));
    let temporary = std::fs::metadata(folder.path().join("tmp")).unwrap();
    assert_eq!(temporary.permissions().mode() & 0o7777, 0o1777);
}
