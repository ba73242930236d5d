//! The webhook behind its Service.

use std::thread;
use std::time::Duration;

use sealkit_tests::canary::unique_value;
use sealkit_tests::wait::wait_until;
use serde_json::json;

use super::Installation;

/// With `failurePolicy: Fail`, a call that no replica answers is an object that is refused.
#[test]
fn the_webhook_loses_no_call_in_a_rolling_restart() {
    let Some(installation) = Installation::take() else {
        return;
    };
    let shop = installation.namespace("judged");
    installation.apply_with(
        "components: [../../deploy/components/webhook]
patches:
- target: {kind: ValidatingWebhookConfiguration}
  patch: '[{\"op\": \"replace\", \"path\": \"/webhooks/0/failurePolicy\", \"value\": \"Fail\"}]'
",
    );
    installation.wait_whole();
    let mut moved = shop
        .draft("db")
        .value("password", unique_value())
        .manifest();
    moved["metadata"]["name"] = json!("moved");
    let dry_run = format!("{}?dryRun=All", shop.sealed_secrets_path());
    wait_until("the webhook answers", || {
        let answer = installation.api.create(&dry_run, &moved);
        answer.is_err_and(|refusal| refusal.message.contains("ScopeMismatch"))
    });
    let refused: Vec<_> = thread::scope(|scope| {
        let arriving = scope.spawn(|| {
            let arrivals = (0..40).map(|index| {
                let draft = shop.draft(&format!("db-{index}"));
                thread::sleep(Duration::from_millis(100));
                shop.try_apply(&draft.value("password", unique_value()).manifest())
            });
            arrivals.filter_map(Result::err).collect()
        });
        let restart = ["rollout", "restart", "deploy/seal-controller"];
        installation.system(&restart).unwrap();
        installation.wait_whole();
        arriving.join().unwrap()
    });
    assert!(refused.is_empty(), "{refused:#?}");

    // With nobody to answer, they are refused.
    installation
        .system(&["delete", "deployment", "seal-controller"])
        .unwrap();
    wait_until("nobody answers", || {
        let answer = installation.api.create(&dry_run, &moved);
        answer.is_err_and(|refusal| refusal.message.contains("failed calling webhook"))
    });
}
