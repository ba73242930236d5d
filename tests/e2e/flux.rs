//! Flux's own controllers, and the gate between secrets and what reads them.

use std::process::Command;
use std::time::Duration;

use sealkit_core::manifest::{Document, read_documents};
use sealkit_rig::{Flux, free_port};
use sealkit_tests::canary::unique_value;
use sealkit_tests::delivery::{Delivery, root};
use sealkit_tests::namespace::{condition, data, ready_condition};
use sealkit_tests::plane::Plane;
use sealkit_tests::wait::{holds_for, wait_for, wait_until};
use sealkit_tests::webhook::{Webhook, flags};
use serde_json::{Value, json};

/// Longer than Flux takes between two looks at the health of an object.
const SEVERAL_LOOKS: Duration = Duration::from_secs(8);
const KUSTOMIZATIONS: &str =
    "/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/flux-system/kustomizations";
const SOURCES: &str = "/apis/source.toolkit.fluxcd.io/v1/namespaces/flux-system/gitrepositories";

/// A delivery by Flux with the Kustomizations of `deploy/integrations/flux`.
fn start() -> (Delivery, Flux) {
    let delivery = Delivery::start();
    let flux = Flux::start(&delivery.plane.servers).unwrap();
    (delivery, flux)
}

/// Makes Flux deliver the repository with these Kustomizations.
fn deliver(delivery: &Delivery, kustomizations: &[Value]) {
    let api = &delivery.plane.api;
    let source = json!({
        "apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "GitRepository",
        "metadata": {"name": "flux-system"},
        "spec": {"url": delivery.repository.url(), "ref": {"branch": "main"}, "interval": "1s"},
    });
    api.create(SOURCES, &source).unwrap();
    for kustomization in kustomizations {
        api.create(KUSTOMIZATIONS, kustomization).unwrap();
    }
}

/// The Kustomizations that we ship.
fn shipped() -> Vec<Value> {
    let documents = read_documents(include_bytes!(
        "../../deploy/integrations/flux/kustomizations.yaml"
    ));
    let documents = documents.unwrap().into_iter();
    documents.map(|document| document.object).collect()
}

fn kustomization(plane: &Plane, name: &str) -> Value {
    let object = plane.api.get(&format!("{KUSTOMIZATIONS}/{name}"));
    object.expect("a Kustomization")
}

/// Waits until Ready is False with a message that contains this.
fn wait_failed(plane: &Plane, name: &str, part: &str) {
    wait_until(&format!("{name} fails with {part}"), || {
        let object = kustomization(plane, name);
        let ready = ready_condition(&object);
        ready["status"] == "False" && ready["message"].as_str().unwrap().contains(part)
    });
}

#[test]
fn flux_holds_the_apps_while_a_sealed_secret_is_broken_and_keeps_the_last_good_secret() {
    let (delivery, _flux) = start();
    let (first, third) = (unique_value(), unique_value());
    delivery.commit(&delivery.db(&first).manifest(), "1");
    deliver(&delivery, &shipped());
    delivery.wait_app("1", &first);

    delivery.commit(&delivery.broken(&first), "2");
    let named = format!("SealedSecret/{}/db", delivery.shop.name);
    wait_failed(&delivery.plane, "secrets", &named);
    wait_failed(
        &delivery.plane,
        "apps",
        "'flux-system/secrets' is not ready",
    );
    assert_eq!(
        condition(&delivery.shop.sealed("db"), "Stalled"),
        Some("True")
    );
    holds_for(
        SEVERAL_LOOKS,
        "the apps wait, the Secret is the last good one",
        || delivery.app().as_deref() == Some("1") && delivery.has_value(&first),
    );

    delivery.commit(&delivery.db(&third).manifest(), "3");
    delivery.wait_instead("2", "3", &third);

    // An urgent change of the application passes the gate without the dependency.
    delivery.commit(&delivery.broken(&first), "4");
    wait_failed(&delivery.plane, "secrets", &named);
    let path = format!("{KUSTOMIZATIONS}/apps");
    let urgent = json!({"spec": {"dependsOn": null}});
    delivery.plane.api.merge(&path, &urgent).unwrap();
    delivery.wait_app("4", &third);
}

#[test]
fn with_the_webhook_a_tampered_commit_leaves_a_whole_stage_untouched() {
    let (mut delivery, _flux) = start();
    delivery.stop_controller();
    let port = free_port().unwrap();
    let webhook = Webhook::install(&delivery.plane, port, "Fail");
    let mut controller = delivery.plane.controller(&flags(port));
    controller.wait_leading();
    let (first, third) = (unique_value(), unique_value());
    let (shop, broken) = (delivery.shop.clone(), delivery.broken(&first));
    webhook.watch(&shop.name);
    webhook.wait_refused(&shop.sealed_secrets_path(), &broken, "ScopeMismatch");
    delivery.commit(&delivery.db(&first).manifest(), "1");
    deliver(&delivery, &shipped());
    delivery.wait_app("1", &first);

    // A good object of the same stage, which comes first in the order of names.
    let good = shop
        .draft("a-good-one")
        .value("a", unique_value())
        .manifest();
    let file = "secrets/a-good-one.sealed.yaml";
    delivery.repository.write(file, &good.to_string()).unwrap();
    delivery.commit(&broken, "2");
    let named = format!("SealedSecret/{}/db dry-run failed", shop.name);
    wait_until("the dry run of the stage is refused with the cause", || {
        let conditions = kustomization(&delivery.plane, "secrets")["status"]["conditions"].clone();
        let mut all = conditions.as_array().into_iter().flatten();
        let ready = all.find(|condition| condition["type"] == "Ready");
        let message = ready
            .and_then(|ready| ready["message"].as_str())
            .unwrap_or_default();
        message.contains(&named) && message.contains("ScopeMismatch")
    });
    holds_for(
        Duration::from_secs(2),
        "nothing of the stage is applied",
        || {
            delivery
                .plane
                .api
                .get(&shop.sealed_path("a-good-one"))
                .is_none()
                && shop.sealed("db")["metadata"]["generation"] == 1
                && delivery.app().as_deref() == Some("1")
        },
    );
    assert_eq!(condition(&shop.sealed("db"), "Ready"), Some("True"));

    delivery.commit(&delivery.db(&third).manifest(), "3");
    delivery.wait_instead("2", "3", &third);
    shop.wait_ready("a-good-one");
}

#[test]
fn flux_holds_the_apps_until_the_controller_has_seen_the_generation_of_the_commit() {
    let (mut delivery, _flux) = start();
    let (first, second) = (unique_value(), unique_value());
    delivery.stop_controller();
    delivery.commit(&delivery.db(&first).manifest(), "1");
    deliver(&delivery, &shipped());
    delivery.wait_generation(1);
    delivery.is_held(SEVERAL_LOOKS, None, "1", &first);
    delivery.holds_an_update(SEVERAL_LOOKS, &second);

    // The way back is a commit like any other: the old ciphertext still opens. `flux reconcile source`
    // sets the annotation, so that nobody waits for the interval.
    let source = format!("{SOURCES}/flux-system");
    let patch = |patch| delivery.plane.api.merge(&source, &patch).unwrap();
    patch(json!({"spec": {"interval": "1h"}}));
    wait_until("the interval is known", || {
        let source = delivery.plane.api.get(&source).unwrap();
        source["status"]["observedGeneration"] == source["metadata"]["generation"]
    });
    delivery.repository.revert().unwrap();
    patch(json!({"metadata": {"annotations": {"reconcile.fluxcd.io/requestedAt": "now"}}}));
    delivery.wait_app("1", &first);
}

#[test]
fn flux_delivers_sealed_secrets_of_a_tenant_without_rights_on_secrets() {
    let (delivery, _flux) = start();
    let shop = &delivery.shop;
    let manifest = root().join("deploy/integrations/flux/applier.yaml");
    let apply = ["apply", "--server-side", "-n", &shop.name, "-f"];
    let servers = &delivery.plane.servers;
    servers
        .kubectl(&[&apply[..], &[manifest.to_str().unwrap()]].concat())
        .unwrap();
    let value = unique_value();
    delivery.commit(&delivery.db(&value).manifest(), "1");
    let [mut secrets, _] = <[Value; 2]>::try_from(shipped()).unwrap();
    secrets["spec"]["serviceAccountName"] = "applier".into();
    secrets["spec"]["sourceRef"]["namespace"] = "flux-system".into();
    secrets["metadata"]["namespace"] = shop.name.as_str().into();
    deliver(&delivery, &[]);
    let path = format!(
        "/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/{}/kustomizations",
        shop.name
    );
    delivery.plane.api.create(&path, &secrets).unwrap();
    shop.wait_secret("db", "is delivered", |_| true);
    assert!(delivery.has_value(&value));

    let plain = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "plain", "namespace": shop.name},
    });
    let repository = &delivery.repository;
    repository
        .write("secrets/plain.yaml", &plain.to_string())
        .unwrap();
    repository.commit("plain").unwrap();
    wait_until("Flux is refused", || {
        let object = delivery.plane.api.get(&format!("{path}/secrets")).unwrap();
        object["status"]["conditions"]
            .to_string()
            .contains("forbidden")
    });
    assert!(shop.secret("plain").is_none());

    std::fs::remove_dir_all(repository.tree().join("secrets")).unwrap();
    repository
        .write("secrets/kustomization.yaml", "resources: []")
        .unwrap();
    repository.commit("no secrets").unwrap();
    wait_until("the Secret is pruned", || shop.secret("db").is_none());
}

#[test]
fn flux_waits_for_a_new_external_secret_with_and_without_our_expression() {
    let (mut delivery, _flux) = start();
    delivery.stop_controller();
    let mail = delivery.external("mail").to_string();
    delivery
        .repository
        .write("secrets/mail.yaml", &mail)
        .unwrap();
    delivery.commit(&delivery.db(&unique_value()).manifest(), "1");
    // Alone: nothing else is to wait for.
    std::fs::remove_file(delivery.repository.tree().join("secrets/db.sealed.yaml")).unwrap();
    delivery
        .repository
        .commit("only the ExternalSecret")
        .unwrap();
    let [secrets, apps] = <[Value; 2]>::try_from(shipped()).unwrap();
    let mut unguarded = secrets.clone();
    unguarded["metadata"]["name"] = "unguarded".into();
    unguarded["spec"]["healthCheckExprs"].take();
    deliver(&delivery, &[unguarded]);
    let namespace = &delivery.shop.name;
    let applied =
        format!("/apis/external-secrets.io/v1/namespaces/{namespace}/externalsecrets/mail");
    wait_until("it is applied", || {
        delivery.plane.api.get(&applied).is_some()
    });
    holds_for(SEVERAL_LOOKS, "no status is not done", || {
        let object = kustomization(&delivery.plane, "unguarded");
        condition(&object, "Ready") != Some("True")
    });
    let path = format!("{KUSTOMIZATIONS}/unguarded");
    delivery.plane.api.delete(&path).unwrap();
    wait_until("it is pruned", || delivery.plane.api.get(&path).is_none());

    for kustomization in [secrets, apps] {
        delivery
            .plane
            .api
            .create(KUSTOMIZATIONS, &kustomization)
            .unwrap();
    }
    holds_for(SEVERAL_LOOKS, "the apps wait", || delivery.app().is_none());
    delivery.start_controller();
    holds_for(SEVERAL_LOOKS, "the apps wait for the store", || {
        delivery.app().is_none()
    });
    delivery.serve(&["mail"]);
    wait_until("the apps follow", || delivery.app().is_some());
    assert!(
        delivery.shop.secret("mail").is_some(),
        "the application came first"
    );
}

#[test]
fn flux_delivers_the_monorepo_example_to_staging() {
    let (delivery, _flux) = start();
    delivery.restore(include_str!("../keys/examples/staging.key"));
    delivery.take("examples/flux-monorepo");
    // What `flux bootstrap --path clusters/staging` makes.
    let root = json!({
        "apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization",
        "metadata": {"name": "flux-system"},
        "spec": {
            "sourceRef": {"kind": "GitRepository", "name": "flux-system"},
            "path": "./clusters/staging", "interval": "10m", "prune": true,
        },
    });
    deliver(&delivery, &[root]);
    let api = &delivery.plane.api;
    let shop = wait_for("the Deployment", || {
        api.get("/apis/apps/v1/namespaces/shop/deployments/shop")
    });
    assert_eq!(shop["spec"]["replicas"], 1, "the overlay of staging");
    let secret = |name: &str| api.get(&format!("/api/v1/namespaces/shop/secrets/{name}"));
    let expected = [("USER", "shop"), ("PASSWORD", "example-of-staging")];
    assert_eq!(secret("db").unwrap()["data"], data(&expected));
    assert_eq!(
        secret("mail").unwrap()["data"],
        data(&[("TOKEN", "example-of-mail")])
    );
}

#[test]
fn the_production_overlays_of_the_monorepo_example_build() {
    let kustomize = Flux::programs().unwrap().join("kustomize");
    let example = root().join("examples/flux-monorepo");
    for (folder, kinds) in [
        (
            "secrets/production",
            &["Namespace", "SealedSecret", "SealedSecret"][..],
        ),
        ("apps/production", &["Deployment"]),
    ] {
        let built = Command::new(&kustomize)
            .arg("build")
            .arg(example.join(folder))
            .output();
        let built = read_documents(&built.unwrap().stdout).unwrap();
        let found: Vec<_> = built.iter().map(Document::kind).collect();
        assert_eq!(found, kinds, "{folder}");
    }
}
