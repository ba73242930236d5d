//! Health and metrics, also while somebody attacks the port that serves them.

use std::io::Write as _;
use std::net::TcpStream;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use sealkit_tests::canary::unique_value;
use sealkit_tests::controller::{Controller, Flags};
use sealkit_tests::namespace::data;
use sealkit_tests::plane::{Own, SYSTEM, Shared};
use sealkit_tests::wait::wait_until;
use serde_json::{Value, json};

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
        ("queue_overdue_seconds", "gauge"),
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
    // Documented, and there once a store is read or the webhook is asked, or where memory is limited.
    let later = [
        "store_reads",
        "store_sessions",
        "admission",
        "admission_duration_seconds",
        "memory_limit_bytes",
    ];
    // Those that External Secrets has too are without the prefix.
    let described = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE sealkit_")?.split(' ').next());
    for name in described {
        let is_known = types.iter().any(|(known, _)| *known == name) || later.contains(&name);
        assert!(is_known, "nobody documents {name}");
    }
}

/// Half the time that the kubelet waits for a probe. On a busy machine the kernel may drop a first
/// packet, which is sent again after a second.
const PROBE_TIME: Duration = Duration::from_millis(2_500);

#[test]
fn two_thousand_large_headers_cost_little_memory_and_delay_no_probe() {
    let plane = Own::take();
    let controller = leader(&plane);
    attack(&controller, 2_000, &"a".repeat(400_000));
    let mebibytes = controller.peak_memory() / 1024;
    // A quarter of what the deployment permits.
    assert!(mebibytes < 128, "{mebibytes} MiB");
}

#[test]
fn idle_connections_delay_no_probe_however_few_descriptors_are_left() {
    let plane = Own::take();
    let controller = leader(&plane);
    attack(&controller, 1_500, "");
    let few = "--nofile=100:100";
    run(
        "prlimit",
        &["--pid", &controller.process.id().to_string(), few],
    );
    attack(&controller, 1_500, "");
}

#[test]
fn the_network_policy_admits_prometheus_alone() {
    let plane = Shared::get();
    let path =
        format!("/apis/networking.k8s.io/v1/namespaces/{SYSTEM}/networkpolicies/seal-controller");
    let policy = plane.api.get(&path).expect("a network policy");
    let rules = policy["spec"]["ingress"].as_array().unwrap();
    assert_eq!(rules.len(), 1);
    let peers = rules[0]["from"].as_array().expect("not everybody");
    for peer in peers {
        for selector in ["namespaceSelector", "podSelector"] {
            let labels = peer[selector]["matchLabels"].as_object();
            assert!(labels.is_some_and(|labels| !labels.is_empty()), "{peer}");
        }
    }
}

/// A leader with the lease of the deployment, which a busy machine does not cost it.
fn leader(plane: &Own) -> Controller {
    let mut controller = plane.controller(&Flags {
        lease_seconds: 15,
        ..Flags::default()
    });
    controller.wait_leading();
    controller
}

/// Opens connections with a request that does not end and holds them for a while. Meanwhile every
/// probe must be answered in time.
fn attack(controller: &Controller, connections: usize, header: &str) {
    run("sh", &["-c", "prlimit --pid $PPID --nofile=$(ulimit -Hn):"]);
    let address = address(controller);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let probing = scope.spawn(|| {
            let mut slowest = Duration::ZERO;
            while !over.load(Ordering::Relaxed) {
                let start = Instant::now();
                let answer = controller.get("/livez");
                slowest = slowest.max(start.elapsed());
                assert_eq!(answer, Some((200, "ok".to_owned())));
                thread::sleep(Duration::from_millis(50));
            }
            slowest
        });
        let request = format!("GET /livez HTTP/1.1\r\nHost: x\r\nX-A: {header}");
        let held: Vec<_> = (0..connections)
            .filter_map(|_| {
                let mut stream = TcpStream::connect(&address).ok()?;
                stream
                    .set_write_timeout(Some(Duration::from_secs(3)))
                    .ok()?;
                // The controller may have closed it already.
                let _ = stream.write_all(request.as_bytes());
                Some(stream)
            })
            .collect();
        thread::sleep(Duration::from_secs(3));
        over.store(true, Ordering::Relaxed);
        let slowest = probing.join().unwrap();
        assert_eq!(held.len(), connections);
        assert!(slowest < PROBE_TIME, "{slowest:?}");
    });
}

/// Where the controller serves, as it logs it.
fn address(controller: &Controller) -> String {
    let log = controller.log();
    let line = log.lines().find(|line| line.contains("serving health"));
    let line: Value = serde_json::from_str(line.expect("the address")).unwrap();
    line["address"].as_str().unwrap().to_owned()
}

fn run(program: &str, arguments: &[&str]) {
    let status = Command::new(program).args(arguments).status().unwrap();
    assert!(status.success(), "{program} {arguments:?}: {status}");
}
