//! The validating webhook, called by the real API server.

use sealkit_rig::free_port;
use sealkit_tests::api::Refusal;
use sealkit_tests::canary::unique_value;
use sealkit_tests::controller::Controller;
use sealkit_tests::namespace::Namespace;
use sealkit_tests::plane::{Own, Plane};
use sealkit_tests::webhook::{Webhook, flags};
use serde_json::{Value, json};

use crate::tampered::tampered;

/// Objects of each sort through the API server; the rule itself has a thousand of them in the
/// controller's own tests.
const OBJECTS: usize = 70;

/// A leading controller with the webhook, which refuses whatever cannot be judged.
fn serve(plane: &Plane) -> (Controller, Webhook, Namespace) {
    let port = free_port().unwrap();
    let webhook = Webhook::install(plane, port, "Fail");
    let mut controller = plane.controller(&flags(port));
    controller.wait_leading();
    let shop = plane.namespace("admission");
    webhook.watch(&shop.name);
    let moved = moved(&shop);
    webhook.wait_refused(&shop.sealed_secrets_path(), &moved, "ScopeMismatch");
    (controller, webhook, shop)
}

/// An object that was sealed under another name.
fn moved(shop: &Namespace) -> Value {
    let mut moved = shop.draft("other").value("a", unique_value()).manifest();
    moved["metadata"]["name"] = json!("moved");
    moved
}

fn refused(answer: sealkit_tests::api::Answer) -> Refusal {
    answer.expect_err("it is refused")
}

#[test]
fn tampered_objects_are_refused_and_good_ones_are_not() {
    let plane = Own::take();
    let (controller, _webhook, shop) = serve(&plane);
    let collection = shop.sealed_secrets_path();
    for index in 0..OBJECTS {
        let refusal = refused(shop.api.create(&collection, &tampered(&shop, index)));
        let named = format!("SealedSecret {}/bad-{index}: ", shop.name);
        let cause = refusal.message.split_once(&named).expect(&refusal.message);
        let known = ["InvalidSpec: ", "DecryptFailed: ", "ScopeMismatch: "];
        assert!(
            known.iter().any(|known| cause.1.starts_with(known)),
            "{refusal:?}"
        );
        assert_eq!(refusal.code, 422);
        let value = unique_value();
        let good = shop.draft(&format!("good-{index}")).value("a", &value);
        shop.api.create(&collection, &good.manifest()).unwrap();
    }
    assert_eq!(shop.api.list(&collection).len(), OBJECTS);
    shop.wait_ready("good-0");
    let count = |result: &str| {
        let labels = format!("kind=\"SealedSecret\",result=\"{result}\"");
        controller.metric("sealkit_admission_total", &labels)
    };
    assert!(count("allowed") >= 70.0 && count("denied") >= 70.0);
}
