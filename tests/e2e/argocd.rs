//! Argo CD's own controllers, and the gate between the wave of the secrets and the next.

use std::time::Duration;

use sealkit_core::manifest::read_documents;
use sealkit_rig::ArgoCd;
use sealkit_tests::canary::unique_value;
use sealkit_tests::delivery::{Delivery, root};
use sealkit_tests::namespace::{condition, data};
use sealkit_tests::wait::{holds_for, wait_for, wait_until};
use serde_json::Value;

const APPLICATIONS: &str = "/apis/argoproj.io/v1alpha1/namespaces/argocd/applications";
/// Longer than Argo CD takes to see a change of an object or a commit.
const SEVERAL_LOOKS: Duration = Duration::from_secs(8);

/// A delivery by Argo CD, with or without the health checks of `deploy/integrations/argocd`.
fn start(with_our_health: bool) -> (Delivery, ArgoCd) {
    let delivery = Delivery::start();
    let argo = ArgoCd::start(&delivery.plane.servers).unwrap();
    if with_our_health {
        let patch = root().join("deploy/integrations/argocd/argocd-cm.yaml");
        let verb = [
            "patch",
            "configmap",
            "argocd-cm",
            "-n",
            "argocd",
            "--patch-file",
        ];
        let arguments = [&verb[..], &[patch.to_str().unwrap()]].concat();
        delivery.plane.servers.kubectl(&arguments).unwrap();
    }
    (delivery, argo)
}

/// Makes Argo CD deliver the repository with the Application of `deploy/integrations/argocd`.
fn deliver(delivery: &Delivery) {
    let shipped = read_documents(include_bytes!(
        "../../deploy/integrations/argocd/application.yaml"
    ));
    let mut application = shipped.unwrap().remove(0).object;
    application["spec"]["source"]["repoURL"] = delivery.repository.url().into();
    application["spec"]["destination"]["namespace"] = delivery.shop.name.as_str().into();
    delivery
        .plane
        .api
        .create(APPLICATIONS, &application)
        .unwrap();
}

/// What Argo CD says about the newest sync: its phase, its message and the results of its objects.
fn sync(delivery: &Delivery) -> Value {
    let application = delivery.plane.api.get(&format!("{APPLICATIONS}/shop"));
    application.unwrap()["status"]["operationState"].take()
}

fn wait_message(delivery: &Delivery, part: &str) {
    wait_until(&format!("the sync says {part}"), || {
        sync(delivery)["message"]
            .as_str()
            .is_some_and(|message| message.contains(part))
    });
}

#[test]
fn argo_cd_holds_the_next_wave_while_a_sealed_secret_is_broken_and_keeps_the_last_good_secret() {
    let (delivery, _argo) = start(true);
    let (first, third) = (unique_value(), unique_value());
    delivery.commit(&delivery.db(&first).manifest(), "1");
    deliver(&delivery);
    delivery.wait_app("1", &first);

    delivery.commit(&delivery.broken(&first), "2");
    wait_until(
        "the sync fails, with the reason, for the SealedSecret",
        || {
            let results = sync(&delivery)["syncResult"]["resources"].take();
            let mut results = results.as_array().into_iter().flatten();
            results.any(|result| {
                result["kind"] == "SealedSecret"
                    && result["hookPhase"] == "Failed"
                    && result["message"].to_string().contains("is sealed for")
            })
        },
    );
    assert_eq!(
        condition(&delivery.shop.sealed("db"), "Stalled"),
        Some("True")
    );
    holds_for(
        SEVERAL_LOOKS,
        "the next wave waits, the Secret is the last good one",
        || delivery.app().as_deref() == Some("1") && delivery.has_value(&first),
    );

    delivery.commit(&delivery.db(&third).manifest(), "3");
    delivery.wait_instead("2", "3", &third);
}

#[test]
fn argo_cd_holds_the_next_wave_until_the_controller_has_seen_the_generation_of_the_commit() {
    let (mut delivery, _argo) = start(true);
    let (first, second) = (unique_value(), unique_value());
    delivery.stop_controller();
    delivery.commit(&delivery.db(&first).manifest(), "1");
    deliver(&delivery);
    delivery.wait_generation(1);
    wait_message(
        &delivery,
        "waiting for healthy state of sealkit.dev/SealedSecret/db",
    );
    delivery.is_held(SEVERAL_LOOKS, None, "1", &first);
    delivery.holds_an_update(SEVERAL_LOOKS, &second);

    // The way back is a commit like any other: the old ciphertext still opens.
    delivery.repository.revert().unwrap();
    delivery.wait_app("1", &first);
}

#[test]
fn argo_cd_does_not_wait_for_changed_objects_without_our_health_checks() {
    let (mut delivery, _argo) = start(false);
    let (first, second) = (unique_value(), unique_value());
    delivery.serve(&["mail", "post"]);
    commit_with_mail(&delivery, "mail", &delivery.db(&first).manifest(), "1");
    deliver(&delivery);
    wait_until("version 1", || delivery.app().as_deref() == Some("1"));
    delivery.shop.wait_ready("db");
    let mail = delivery.shop.secret("mail").expect("a Secret before it");

    delivery.stop_controller();
    commit_with_mail(&delivery, "post", &delivery.db(&second).manifest(), "2");
    wait_until("version 2", || delivery.app().as_deref() == Some("2"));
    assert!(delivery.has_value(&first), "nobody changed it");
    assert_eq!(delivery.shop.secret("mail").unwrap(), mail, "nor this one");
}

/// Commits the application of this version with this `SealedSecret` and an `ExternalSecret`.
fn commit_with_mail(delivery: &Delivery, key: &str, db: &Value, version: &str) {
    let mail = delivery.external(key).to_string();
    let repository = &delivery.repository;
    repository.write("secrets/mail.yaml", &mail).unwrap();
    delivery.commit(db, version);
}

#[test]
fn argo_cd_holds_the_next_wave_until_an_external_secret_has_its_newest_generation() {
    let (mut delivery, _argo) = start(true);
    delivery.serve(&["mail", "post"]);
    let same = delivery.db(&unique_value()).manifest();
    commit_with_mail(&delivery, "mail", &same, "1");
    deliver(&delivery);
    wait_until("version 1", || delivery.app().as_deref() == Some("1"));
    let first = delivery.shop.secret("mail").expect("a Secret before it");

    delivery.stop_controller();
    commit_with_mail(&delivery, "post", &same, "2");
    wait_message(&delivery, "waiting for healthy state");
    holds_for(SEVERAL_LOOKS, "the next wave waits", || {
        delivery.app().as_deref() == Some("1")
    });
    delivery.start_controller();
    wait_until("version 2", || delivery.app().as_deref() == Some("2"));
    let second = delivery.shop.secret("mail").unwrap();
    assert_ne!(second["data"], first["data"], "the application came first");
}

#[test]
fn argo_cd_delivers_the_app_of_apps_example() {
    let (delivery, _argo) = start(true);
    delivery.restore(include_str!("../keys/examples/production.key"));
    delivery.take("examples/argocd-app-of-apps");
    let root = delivery.repository.tree().join("root.yaml");
    let apply = ["apply", "--server-side", "-f", root.to_str().unwrap()];
    delivery.plane.servers.kubectl(&apply).unwrap();
    let api = &delivery.plane.api;
    for (environment, replicas) in [("staging", 1), ("production", 3)] {
        let namespace = format!("shop-{environment}");
        let path = format!("/apis/apps/v1/namespaces/{namespace}/deployments/shop");
        let shop = wait_for(&format!("the Deployment of {environment}"), || {
            api.get(&path)
        });
        assert_eq!(shop["spec"]["replicas"], replicas);
        let path = format!("/api/v1/namespaces/{namespace}/secrets/db");
        let secret = api.get(&path).expect("a Secret before it");
        let password = format!("example-of-{environment}");
        assert_eq!(
            secret["data"],
            data(&[("USER", "shop"), ("PASSWORD", &password)])
        );
    }
}
