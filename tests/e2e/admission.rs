//! The validating webhook, called by the real API server.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sealkit_core::keys::{Identity, KeyType};
use sealkit_rig::free_port;
use sealkit_tests::api::{Answer, Refusal};
use sealkit_tests::canary::{MARKER, Needle, unique_value};
use sealkit_tests::controller::Controller;
use sealkit_tests::namespace::Namespace;
use sealkit_tests::plane::{Own, Plane, SEALING_KEYS, Shared, name_of};
use sealkit_tests::wait::{wait_until, wait_within};
use sealkit_tests::webhook::{AUTHORITIES, Webhook, flags};
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

fn refused(answer: Answer) -> Refusal {
    answer.expect_err("it is refused")
}

#[test]
fn tampered_objects_are_refused_and_good_ones_are_not() {
    let plane = Own::take();
    let (controller, _webhook, shop) = serve(&plane);
    let collection = shop.sealed_secrets_path();
    let canary = Needle::new(MARKER.as_bytes());
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
        assert_eq!(canary.find(refusal.message.as_bytes()), None, "{index}");
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
    // Each value was opened in memory, and is told nowhere.
    for (what, text) in [("log", controller.log()), ("metrics", controller.metrics())] {
        assert_eq!(canary.find(text.as_bytes()), None, "the {what}");
    }
}

/// As with cert-manager: somebody else keeps the files, and tells API servers whom to trust.
#[test]
fn certificates_in_files_are_served_and_read_again() {
    let (plane, other) = (Own::take(), Shared::get());
    let file = |plane: &Plane, name: &str| {
        let keys = plane.servers.dir().join("keys");
        fs::read_to_string(keys.join(name)).unwrap()
    };
    let folder = tempfile::tempdir().unwrap();
    let serve = |of: &Plane| {
        for (name, from) in [("tls.crt", "server.crt"), ("tls.key", "server.key")] {
            fs::write(folder.path().join(name), file(of, from)).unwrap();
        }
    };
    serve(&plane);
    let port = free_port().unwrap();
    let webhook = Webhook::install(&plane, port, "Fail");
    webhook.trust(&file(&plane, "ca.crt"));
    let mut with_files = flags(port);
    let folder_flag = format!("--webhook-cert-dir={}", folder.path().display());
    with_files.more = vec![format!("--webhook-listen=127.0.0.1:{port}"), folder_flag];
    let mut controller = plane.controller(&with_files);
    controller.wait_leading();
    let shop = plane.namespace("admission");
    webhook.watch(&shop.name);
    let (collection, moved) = (shop.sealed_secrets_path(), moved(&shop));
    webhook.wait_refused(&collection, &moved, "ScopeMismatch");

    // Half a renewal is told, and the last good certificate goes on.
    fs::write(folder.path().join("tls.crt"), "no certificate").unwrap();
    wait_until("it is told", || {
        controller.log().contains("the webhook's certificate: ")
    });
    webhook.wait_refused(&collection, &moved, "ScopeMismatch");

    // The one of another authority.
    webhook.trust(&file(&other, "ca.crt"));
    webhook.wait_refused(&collection, &moved, "x509");
    serve(&other);
    webhook.wait_refused(&collection, &moved, "ScopeMismatch");
    let good = shop.draft("good").value("a", unique_value());
    shop.api.create(&collection, &good.manifest()).unwrap();
    let trusted = BASE64_STANDARD.encode(file(&other, "ca.crt"));
    assert_eq!(webhook.trusted(), trusted, "the controller leaves it alone");
}

#[test]
fn what_was_stored_before_never_gets_stuck() {
    let plane = Own::take();
    let (_controller, webhook, shop) = serve(&plane);
    let old = plane.namespace("before");
    let broken = moved(&old);
    old.apply(&broken);
    old.wait_stalled("moved", "ScopeMismatch");
    webhook.watch(&old.name);
    let changed = json!({"spec": {"suspend": true}});
    wait_until("a change of its spec is refused", || {
        let path = format!("{}?dryRun=All", old.sealed_path("moved"));
        old.api.merge(&path, &changed).is_err()
    });
    let path = old.sealed_path("moved");
    let finalizers =
        |names: &[&str]| json!({"metadata": {"finalizers": names, "labels": {"a": "b"}}});
    old.api
        .merge(&path, &finalizers(&["example.com/hold"]))
        .unwrap();
    old.apply(&broken);
    old.api.delete(&path).unwrap();
    old.api.merge(&path, &finalizers(&[])).unwrap();
    wait_until("it is gone", || old.api.get(&path).is_none());

    // A backup before its keys, and one that is not meant for this cluster.
    let stranger = Identity::generate(KeyType::Hybrid).recipient().clone();
    let early = shop.draft("early").value("a", unique_value()).to(stranger);
    let dry_run = [
        "apply",
        "--dry-run=server",
        "--warnings-as-errors",
        "-f",
        "-",
    ];
    let text = early.manifest().to_string();
    let warned = plane.servers.kubectl_with_input(&dry_run, &text);
    let warned = warned.unwrap_err().to_string();
    assert!(
        warned.contains("not checked, no key opens it yet"),
        "{warned}"
    );
    shop.apply(&early.manifest());
}

#[test]
fn stores_external_secrets_and_keys_in_use_are_judged_too() {
    let plane = Own::take();
    let (_controller, _webhook, shop) = serve(&plane);
    let api = &plane.api;
    let external = |version: &str, plural: &str| {
        format!(
            "/apis/external-secrets.io/{version}/namespaces/{}/{plural}",
            shop.name
        )
    };
    let object = |version: &str, kind: &str, spec: Value| {
        json!({
            "apiVersion": format!("external-secrets.io/{version}"), "kind": kind,
            "metadata": {"name": "s"}, "spec": spec,
        })
    };
    let entry = json!([{"secretKey": "a", "remoteRef": {"key": "db"}}]);
    let mut spec = json!({"secretStoreRef": {"name": "s"}, "data": entry});
    for version in ["v1", "v1beta1"] {
        spec["refreshInterval"] = json!("soon");
        let collection = external(version, "externalsecrets");
        let soon = object(version, "ExternalSecret", spec.clone());
        let refusal = refused(api.create(&collection, &soon));
        assert!(
            refusal.message.contains("refreshInterval is not"),
            "{refusal:?}"
        );
    }
    spec["refreshInterval"] = json!("1h");
    let good = object("v1", "ExternalSecret", spec);
    api.create(&external("v1", "externalsecrets"), &good)
        .unwrap();
    let vault = json!({"provider": {"vault": {"server": "https://v.example.com", "auth": {}}}});
    let store = object("v1", "SecretStore", vault);
    let refusal = refused(api.create(&external("v1", "secretstores"), &store));
    assert!(
        refusal.message.contains("InvalidProviderConfig"),
        "{refusal:?}"
    );

    shop.seal("db", &unique_value());
    shop.wait_ready("db");
    let key = plane.newest_key();
    let path = format!("{SEALING_KEYS}/{}", name_of(&key));
    let user = format!("1 objects need this key ({}/db)", shop.name);
    let revoke = json!({"spec": {"state": "Revoked"}});
    for answer in [api.merge(&path, &revoke), api.delete(&path)] {
        let refusal = refused(answer);
        assert!(refusal.message.contains(&user), "{refusal:?}");
    }
    api.merge(&path, &json!({"spec": {"state": "DecryptOnly"}}))
        .unwrap();
    let fingerprint = key["status"]["fingerprint"].clone();
    let force = json!({"sealkit.dev/force-revoke": fingerprint});
    api.merge(
        &path,
        &json!({"metadata": {"annotations": force}, "spec": {"state": "Revoked"}}),
    )
    .unwrap();
}

#[test]
fn while_the_webhook_is_away_the_policy_decides() {
    let plane = Shared::get();
    let shop = plane.namespace("away");
    let port = free_port().unwrap();
    let fails = Webhook::with(&plane, "away-fails", port, "Fail");
    fails.watch(&shop.name);
    let manifest = shop.draft("db").value("a", unique_value()).manifest();
    fails.wait_refused(
        &shop.sealed_secrets_path(),
        &manifest,
        "failed calling webhook",
    );
    drop(fails);
    let ignores = Webhook::with(&plane, "away-ignores", port, "Ignore");
    ignores.watch(&shop.name);
    wait_until("the other configuration is gone", || {
        shop.try_apply(&manifest).is_ok()
    });
    shop.apply(&moved(&shop));
    shop.wait_stalled("moved", "ScopeMismatch");
}

/// Hands connections on to the replicas that a Service would choose, in turn.
struct Balancer {
    port: u16,
    /// How many replicas from the end of the list get new connections.
    chosen: Arc<AtomicUsize>,
}

impl Balancer {
    fn start(replicas: Vec<u16>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let chosen = Arc::new(AtomicUsize::new(replicas.len()));
        let among = chosen.clone();
        thread::spawn(move || {
            for (turn, client) in listener.incoming().flatten().enumerate() {
                let chosen = &replicas[replicas.len() - among.load(Ordering::Relaxed)..];
                let replica = (Ipv4Addr::LOCALHOST, chosen[turn % chosen.len()]);
                if let Ok(server) = TcpStream::connect(replica) {
                    hand_on(&client, &server);
                    hand_on(&server, &client);
                }
            }
        });
        Self { port, chosen }
    }
}

fn hand_on(from: &TcpStream, to: &TcpStream) {
    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
    thread::spawn(move || {
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Both);
    });
}

/// How many certificates a `caBundle` has.
fn certificates(bundle: &Value) -> usize {
    let pem = BASE64_STANDARD.decode(bundle.as_str().unwrap()).unwrap();
    let pem = String::from_utf8(pem).unwrap();
    pem.matches("BEGIN CERTIFICATE").count()
}

/// How long one step of a change of authorities may take.
const CHANGE: Duration = Duration::from_secs(60);

/// How often the controllers logged this.
fn logged(controllers: &[&Controller], what: &str) -> usize {
    let count = |controller: &&Controller| controller.log().matches(what).count();
    controllers.iter().map(count).sum()
}

#[test]
fn no_call_fails_while_authorities_change_and_a_replica_ends() {
    let plane = Own::take();
    let ports = [free_port().unwrap(), free_port().unwrap()];
    let balancer = Balancer::start(ports.to_vec());
    let webhook = Webhook::install(&plane, balancer.port, "Fail");
    let flags = |port| {
        let mut flags = flags(port);
        // Longer than a busy machine keeps a replica or the API server from a look.
        flags
            .more
            .push("--webhook-ca-overlap-seconds=12".to_owned());
        flags
    };
    let mut first = plane.controller(&flags(ports[0]));
    first.wait_leading();
    let second = plane.controller(&flags(ports[1]));
    let is_ready =
        |controller: &Controller| controller.get("/readyz").is_some_and(|it| it.0 == 200);
    wait_until("the second replica is ready", || is_ready(&second));
    let shop = plane.namespace("load");
    webhook.watch(&shop.name);
    let (collection, moved) = (shop.sealed_secrets_path(), moved(&shop));
    webhook.wait_refused(&collection, &moved, "ScopeMismatch");

    let ended = AtomicBool::new(false);
    let good = shop.draft("good").value("a", unique_value()).manifest();
    let dry_run = format!("{collection}?dryRun=All");
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut calls = 0;
                while !ended.load(Ordering::Relaxed) {
                    shop.api.create(&dry_run, &good).unwrap();
                    let refusal = refused(shop.api.create(&dry_run, &moved));
                    assert!(refusal.message.contains("ScopeMismatch"), "{refusal:?}");
                    calls += 1;
                    thread::sleep(Duration::from_millis(20));
                }
                assert!(calls > 10, "{calls}");
            });
        }
        let all = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let before = webhook.trusted();
            let controllers = [&first, &second];
            let stored = "stored the certificate authorities";
            assert_eq!(
                logged(&controllers, stored),
                1,
                "the second one shares the first one's"
            );
            let damaged = json!({"data": {"ca.key": "bm8ga2V5"}});
            plane.api.merge(AUTHORITIES, &damaged).unwrap();
            let serving = "serving a new certificate";
            wait_within(CHANGE, "both serve what the new one signed", || {
                (logged(&controllers, serving) == 4).then_some(())
            });
            wait_within(CHANGE, "the old one is trusted no more", || {
                let now = webhook.trusted();
                (now != before && certificates(&now) == 1).then_some(())
            });
            assert_eq!(
                logged(&controllers, stored),
                3,
                "one began it, one ended it"
            );

            first.process.signal("TERM").unwrap();
            wait_until("the first replica is not ready", || !is_ready(&first));
            balancer.chosen.store(1, Ordering::Relaxed);
            wait_until("the first replica ends", || !first.process.is_running());
        }));
        ended.store(true, Ordering::Relaxed);
        all.unwrap();
    });
    assert!(second.metric("sealkit_admission_total", "denied") > 0.0);
}
