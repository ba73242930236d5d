//! Health and metrics.

use sealkit_tests::canary::unique_value;
use sealkit_tests::namespace::data;
use sealkit_tests::plane::Shared;
use sealkit_tests::wait::wait_until;
use serde_json::json;

#[test]
fn probes_answer() {
    let plane = Shared::get();
    plane.controller(|controller| {
        for path in ["/healthz", "/readyz", "/livez"] {
            assert_eq!(controller.get(path), Some((200, "ok".to_owned())), "{path}");
        }
        assert_eq!(controller.get("/secrets").unwrap().0, 404);
    });
}

#[test]
fn metrics_count_what_happened() {
    let plane = Shared::get();
    let shop = plane.namespace("shop");
    let metric =
        |name: &str, labels: &str| plane.controller(|controller| controller.metric(name, labels));
    let counters = [
        (
            "sealkit_target_writes_total",
            r#"kind="SealedSecret",op="create""#,
        ),
        (
            "sealkit_target_writes_total",
            r#"kind="SealedSecret",op="patch""#,
        ),
        (
            "sealkit_target_writes_total",
            r#"kind="SealedSecret",op="replace""#,
        ),
        ("sealkit_drift_healed_total", r#"kind="SealedSecret""#),
        ("sealkit_open_failures_total", r#"reason="ScopeMismatch""#),
        (
            "sealkit_reconcile_total",
            r#"kind="SealedSecret",result="Opened""#,
        ),
        (
            "sealkit_reconcile_duration_seconds_count",
            r#"kind="SealedSecret""#,
        ),
        ("sealkit_queue_wait_seconds_count", r#"lane="fresh""#),
    ];
    let before = counters.map(|(name, labels)| metric(name, labels));
    let value = unique_value();
    shop.seal("db", &value);
    shop.wait_ready("db");
    shop.api
        .merge(
            &shop.secret_path("db"),
            &json!({"data": data(&[("password", "x")])}),
        )
        .unwrap();
    shop.wait_value("db", &value);
    let draft = shop
        .draft("db")
        .value("password", &value)
        .value("username", "a");
    shop.apply(
        &draft
            .template(json!({"type": "kubernetes.io/basic-auth"}))
            .manifest(),
    );
    shop.wait_ready("db");
    let mut moved = shop.draft("db").value("password", &value).manifest();
    moved["metadata"]["name"] = json!("moved");
    shop.apply(&moved);
    shop.wait_stalled("moved", "ScopeMismatch");
    for ((name, labels), before) in counters.into_iter().zip(before) {
        wait_until(&format!("{name}{{{labels}}} grows"), || {
            metric(name, labels) > before
        });
    }
    assert!(metric("sealkit_objects", r#"kind="SealedSecret",ready="true""#) >= 1.0);
    assert!(metric("sealkit_objects", r#"kind="SealedSecret",ready="false""#) >= 1.0);
    assert_eq!(metric("sealkit_leader", "").to_string(), "1");
    let fingerprint = plane.newest_key()["status"]["fingerprint"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(
        metric(
            "sealkit_key_age_seconds",
            &format!("fingerprint=\"{fingerprint}\"")
        ) >= 0.0
    );
    assert_eq!(metric("sealkit_build_info", "version=").to_string(), "1");
    every_metric_of_the_documentation_is_there(
        &plane.controller(|controller| controller.metrics()),
    );
}

fn every_metric_of_the_documentation_is_there(text: &str) {
    let types = [
        ("reconcile_duration_seconds", "histogram"),
        ("reconcile", "counter"),
        ("objects", "gauge"),
        ("open_failures", "counter"),
        ("target_writes", "counter"),
        ("drift_healed", "counter"),
        ("queue_depth", "gauge"),
        ("queue_wait_seconds", "histogram"),
        ("key_age_seconds", "gauge"),
        ("objects_needing_reseal", "gauge"),
        ("watch_errors", "counter"),
        ("leader", "gauge"),
        ("build", "info"),
    ];
    for (name, type_) in types {
        let line = format!("# TYPE sealkit_{name} {type_}");
        assert!(text.lines().any(|found| found == line), "{line}");
    }
    let described = text
        .lines()
        .filter(|line| line.starts_with("# TYPE "))
        .count();
    assert_eq!(described, types.len(), "a metric that nobody documents");
}
