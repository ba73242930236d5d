//! The controller lives within the memory of `deploy/base`, and serves others meanwhile, whatever a
//! tenant writes.

use std::fs;
use std::time::{Duration, Instant};

use sealkit_tests::canary::unique_value;
use sealkit_tests::controller::{Controller, Flags};
use sealkit_tests::namespace::{Namespace, condition, ready_condition, says};
use sealkit_tests::plane::Own;
use sealkit_tests::wait::{wait_for, wait_within};
use serde_json::{Value, json};

/// How soon an object of another namespace opens, whatever else is under way. On a quiet machine it
/// takes a tenth of a second; here, other tests run beside.
const SOON: Duration = Duration::from_secs(3);

/// Another namespace's object opens soon.
fn is_served(shop: &Namespace, name: &str) {
    let start = Instant::now();
    shop.seal(name, &unique_value());
    let opened = || says(&shop.sealed(name), "True", "Opened").then_some(());
    wait_within(SOON, "another namespace's object", opened);
    println!("{name}: {:?}", start.elapsed());
}

/// A gigabyte from one call, and 25 seconds and 1.6 GB for one pattern: both ended the controller,
/// again at each start.
#[test]
fn templates_that_explode_end_no_controller() {
    const REPLACED: &str = r#"{{ $r := "$0" }}{{ range 15 }}{{ $r = print $r $r }}{{ end }}{{ $t := "x" }}{{ range 15 }}{{ $t = print $t $t }}{{ end }}{{ regexReplaceAll "(?s).*" $t $r }}"#;
    const COMPILED: &str = r#"{{ $p := "\\pL" }}{{ range 15 }}{{ $p = print $p $p }}{{ end }}{{ regexMatch (print "(?i)" $p) "a" }}"#;
    let plane = Own::take();
    let mut controller = plane.leading_controller();
    let (evil, shop) = (plane.namespace("evil"), plane.namespace("shop"));
    for number in 0..20 {
        let text = [REPLACED, COMPILED][number % 2];
        let draft = evil.draft(&format!("evil-{number}")).value("unread", "v");
        evil.apply(&draft.template(json!({"data": {"out": text}})).manifest());
        if number % 5 == 0 {
            is_served(&shop, &format!("good-{number}"));
        }
    }
    wait_for("all are looked at", || {
        let objects = evil.api.list(&evil.sealed_secrets_path());
        let done = |object: &Value| condition(object, "Ready").is_some();
        objects.iter().all(done).then_some(())
    });
    for object in evil.api.list(&evil.sealed_secrets_path()) {
        assert_eq!(ready_condition(&object)["reason"], "TemplateFailed");
    }
    controller.assert_lives_within_its_memory();
}

/// Secrets with our label and a megabyte of metadata each, which any tenant may make.
#[test]
fn labelled_secrets_of_strangers_fit_into_memory() {
    let plane = Own::take();
    let mut controller = plane.leading_controller();
    let (evil, shop) = (plane.namespace("evil"), plane.namespace("shop"));
    for number in 0..300 {
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {
                "name": format!("large-{number}"), "labels": {"sealkit.dev/managed": "true"},
                "ownerReferences": [{
                    "apiVersion": "example.com/v1", "kind": "X", "name": "n".repeat(1_000_000),
                    "uid": format!("00000000-0000-0000-0000-{number:012}"),
                }],
            },
        });
        evil.api.create(&evil.secrets_path(), &secret).unwrap();
        if number % 100 == 0 {
            is_served(&shop, &format!("good-{number}"));
        }
    }
    controller.assert_lives_within_its_memory();
    // All of them at once.
    drop(controller);
    let mut controller = plane.leading_controller();
    is_served(&shop, "good-again");
    controller.assert_lives_within_its_memory();
}

/// An object that the controller had in hand when it died is not opened first again.
#[test]
fn what_was_in_hand_at_death_waits_until_others_are_served() {
    let plane = Own::take();
    let state = tempfile::tempdir().unwrap();
    let flags = Flags {
        more: vec![format!("--state-dir={}", state.path().display())],
        ..Flags::default()
    };
    let mut controller = plane.controller(&flags);
    controller.wait_leading();
    let (evil, shop) = (plane.namespace("evil"), plane.namespace("shop"));
    let in_hand = |controller: &mut Controller| {
        let file = state.path().join("in-hand");
        for number in 0..200 {
            evil.seal("suspect", &format!("{number}"));
            let is_taken = || {
                let text = fs::read_to_string(&file).unwrap();
                text.starts_with("now 0 SealedSecret").then_some(())
            };
            let start = Instant::now();
            while is_taken().is_none() && start.elapsed() < Duration::from_millis(200) {}
            controller.process.kill().unwrap();
            if is_taken().is_some() {
                return;
            }
            *controller = plane.controller(&flags);
            controller.wait_leading();
        }
        panic!("never in hand");
    };
    in_hand(&mut controller);
    let before = evil.sealed("suspect")["status"].clone();
    let mut controller = plane.controller(&flags);
    let start = Instant::now();
    controller.wait_leading();
    is_served(&shop, "good");
    assert_eq!(evil.sealed("suspect")["status"], before, "it waits");
    evil.wait_ready("suspect");
    assert!(start.elapsed() >= Duration::from_secs(9));
    let text = fs::read_to_string(state.path().join("in-hand")).unwrap();
    assert!(
        text.starts_with("end\n"),
        "nothing is suspected any more: {text}"
    );
}
