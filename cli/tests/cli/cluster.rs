//! A stand-in for an API server: answers every request the same way.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use sealkit_core::keys::{Identity, KeyType};
use serde_json::{Value, json};

use crate::support::{Desk, SECRET};

/// Serves this answer until the test ends. Returns a kubeconfig for it.
fn serve(status: u16, body: String) -> String {
    serve_each(move |_| (status, body.clone()))
}

/// Serves answers to requests, by their first lines. Returns a kubeconfig for it.
fn serve_each(answer: impl Fn(&str) -> (u16, String) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = Vec::new();
            let mut buffer = [0; 4096];
            while !request.windows(4).any(|window| window == b"\r\n\r\n") {
                match stream.read(&mut buffer) {
                    Ok(0) | Err(_) => break,
                    Ok(count) => request.extend_from_slice(&buffer[..count]),
                }
            }
            let request = String::from_utf8_lossy(&request);
            let (status, body) = answer(request.lines().next().unwrap_or_default());
            let _ = write!(
                stream,
                "HTTP/1.1 {status} x\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
        }
    });
    kubeconfig(&format!("http://{address}"))
}

fn kubeconfig(server: &str) -> String {
    json!({"apiVersion": "v1", "kind": "Config", "current-context": "dev",
        "contexts": [
            {"name": "dev", "context": {"cluster": "c", "user": "u", "namespace": "shop"}},
            {"name": "lost", "context": {"cluster": "nowhere", "user": "u"}},
        ],
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": {"token": "canary-token-of-kubeconfig"}}]})
    .to_string()
}

fn status(code: u16) -> String {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code,
        "reason": "x", "message": "canary-message-of-server"})
    .to_string()
}

fn key(name: &str, identity: &Identity, created: &str, state: &str) -> Value {
    let recipient = identity.recipient();
    json!({"apiVersion": "sealkit.dev/v1beta1", "kind": "SealingKey",
        "metadata": {"name": name, "generation": 1},
        "spec": {"algorithm": recipient.key_type().name(), "state": "Active"},
        "status": {"observedGeneration": 1, "recipient": recipient.to_string(), "fingerprint": recipient.fingerprint().to_string(),
            "createdAt": created, "state": state, "conditions": [{"type": "Ready", "status": "True",
            "reason": "KeyAvailable", "message": "", "lastTransitionTime": created}]}})
}

fn list(keys: &[Value]) -> String {
    json!({"apiVersion": "sealkit.dev/v1beta1", "kind": "SealingKeyList", "metadata": {}, "items": keys}).to_string()
}

fn with(kubeconfig: &str) -> Desk {
    let mut desk = Desk::new();
    desk.write("../home/kubeconfig", kubeconfig);
    let path = desk.path("../home/kubeconfig").display().to_string();
    desk.set("KUBECONFIG", &path);
    desk
}

#[test]
fn the_newest_active_key_is_sealed_to() {
    let (old, new, gone) = (
        Identity::generate(KeyType::Classic),
        Identity::generate(KeyType::Hybrid),
        Identity::generate(KeyType::Classic),
    );
    let keys = [
        key("old", &old, "2026-01-01T00:00:00Z", "Active"),
        key("new", &new, "2026-02-01T00:00:00Z", "Active"),
        key("newer", &gone, "2026-03-01T00:00:00Z", "DecryptOnly"),
    ];
    let desk = with(&serve(200, list(&keys)));
    let answer = desk.pipe(&["-w", "db.yaml"], SECRET).done();
    let print = new.fingerprint().to_string();
    assert!(
        answer.stderr.starts_with(&format!(
            "seal: note: sealed to the key {} of context dev (127.0.0.1:",
            &print[..16]
        )),
        "{}",
        answer.stderr
    );
    assert_eq!(desk.hints("db.yaml"), [[print.clone()]]);

    let table = desk.seal(&["keys", "list"]).done().stdout;
    let names: Vec<_> = table
        .lines()
        .map(|line| line.split_whitespace().next().unwrap())
        .collect();
    assert_eq!(names, ["NAME", "newer", "new", "old"]);
    let json: Value =
        serde_json::from_str(&desk.seal(&["keys", "list", "-o", "json"]).done().stdout).unwrap();
    assert_eq!(json["keys"][1]["fingerprint"], print);
    assert_eq!(json["keys"][0]["state"], "DecryptOnly");

    let fetched = desk.seal(&["keys", "fetch"]).done().stdout;
    assert!(
        fetched.starts_with("# context dev (127.0.0.1:")
            && fetched.contains(&format!("# fingerprint: {print}\n"))
    );
    desk.seal(&["keys", "fetch", "-w", "c.pub"]).done();
    desk.seal(&["keys", "fetch", "-w", "c.pub"]).done();
    assert_eq!(desk.read("c.pub"), fetched);
    desk.refused(
        &["keys", "fetch", "-w", "key"],
        "",
        3,
        "the file already exists and is not a recipient file",
    );

    desk.seal(&["init", "--cluster", "one", "--recovery-key", "../home/r"])
        .done();
    assert!(
        desk.read(".sealkit.yaml")
            .contains("\"one\": {recipients: [.sealkit/one.pub], context: \"dev\"}")
    );
    assert!(
        desk.read("../home/r").contains("AGE-SECRET-KEY-PQ-1"),
        "the recovery key has the clusters' type"
    );
    assert_eq!(
        desk.seal(&["keys", "fetch", "--cluster", "one"])
            .done()
            .stdout,
        fetched
    );
    desk.refused(
        &["keys", "fetch", "--cluster", "two"],
        "",
        3,
        "no cluster two in the config",
    );
}

#[test]
fn a_cluster_that_fails_exits_with_5_and_quotes_nothing() {
    let lying = {
        let mut lying = key(
            "a",
            &Identity::generate(KeyType::Classic),
            "2026-01-01T00:00:00Z",
            "Active",
        );
        lying["status"]["fingerprint"] = "0".repeat(32).into();
        lying
    };
    let table = [
        (
            serve(401, status(401)),
            "the cluster rejects your credentials",
        ),
        (serve(403, status(403)), "not allowed to read SealingKeys"),
        (
            serve(404, "404 page not found\n".to_owned()),
            "Sealkit is not installed in this cluster",
        ),
        (
            serve(500, status(500)),
            "the cluster answered with HTTP status 500",
        ),
        (
            serve(503, status(503)),
            "the cluster answered with HTTP status 503",
        ),
        (
            serve(200, "{\"canary-message-of-server\": ".to_owned()),
            "the cluster's answer cannot be read",
        ),
        (
            serve(200, list(&[])),
            "no sealing key that is Active and Ready",
        ),
        (
            serve(200, list(&[lying])),
            "shows a fingerprint that its public key does not have",
        ),
    ];
    for (kubeconfig, message) in table {
        let desk = with(&kubeconfig);
        for arguments in [
            &["-w", "db.yaml"][..],
            &["keys", "fetch", "-v"],
            &["init", "--cluster", "a", "--no-recovery"],
        ] {
            let answer = desk.refused(arguments, SECRET, 5, message);
            assert!(!answer.stderr.contains("canary"), "{}", answer.stderr);
            assert!(
                answer.stderr.contains("context dev (127.0.0.1:"),
                "{}",
                answer.stderr
            );
        }
    }
}

#[test]
fn a_missing_right_is_named_with_its_place_and_the_way_out() {
    let kubeconfig = serve_each(|request| {
        if request.contains("/sealedsecrets") {
            (403, status(403))
        } else {
            (200, list(&[]))
        }
    });
    let desk = with(&kubeconfig);
    let forbidden = "not allowed to list sealedsecrets.sealkit.dev in";
    for (arguments, place, has_way_out) in [
        (&["status"][..], "all namespaces", true),
        (&["status", "-n", "shop"], "the namespace shop", false),
    ] {
        let answer = desk.refused(arguments, "", 5, &format!("{forbidden} {place}"));
        assert_eq!(
            answer.stderr.contains("-n NAME"),
            has_way_out,
            "{}",
            answer.stderr
        );
    }
}

#[test]
fn an_unreachable_cluster_is_told_quickly() {
    let closed = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    for scheme in ["http", "https"] {
        let desk = with(&kubeconfig(&format!("{scheme}://{closed}")));
        let start = Instant::now();
        desk.refused(
            &["keys", "list"],
            "",
            5,
            "the cluster is unreachable (connection refused), context dev",
        );
        assert!(start.elapsed() < Duration::from_secs(5));
    }
}

#[test]
fn kubeconfigs_are_not_quoted() {
    let desk = with(
        "apiVersion: v1\nkind: Config\nusers: [{name: u, user: {token: canary-token-of-kubeconfig\n",
    );
    let answer = desk.refused(&["keys", "list"], "", 5, "not a kubeconfig");
    assert!(!answer.stderr.contains("canary"), "{}", answer.stderr);
    let desk = with(&kubeconfig("http://127.0.0.1:1"));
    desk.refused(
        &["keys", "list", "--context", "none"],
        "",
        5,
        "no such context in the kubeconfig, context none",
    );
    desk.refused(
        &["keys", "list", "--context", "lost"],
        "",
        5,
        "the context's cluster is not in the kubeconfig",
    );
    desk.refused(
        &["keys", "list", "--kubeconfig", "nowhere"],
        "",
        5,
        "the kubeconfig cannot be read, nowhere",
    );
}

#[test]
fn a_key_that_changed_in_the_cluster_is_noticed() {
    let make = || {
        list(&[key(
            "a",
            &Identity::generate(KeyType::Classic),
            "2026-01-01T00:00:00Z",
            "Active",
        )])
    };
    let desk = with(&serve(200, make()));
    desk.git_init();
    desk.pipe(&["-w", "db.yaml"], SECRET).done();
    desk.write("../home/kubeconfig", &serve(200, make()));
    desk.refused(
        &["-w", "web.yaml"],
        SECRET,
        3,
        "the recipients of context dev are ",
    );
    desk.pipe(&["-w", "web.yaml", "--accept-recipients"], SECRET)
        .done();
}

#[test]
fn in_a_pod_without_a_kubeconfig_its_own_cluster_is_meant() {
    let mut desk = Desk::new();
    desk.refused(&["keys", "list"], "", 5, "no kubeconfig found");
    desk.set("KUBERNETES_SERVICE_HOST", "127.0.0.1");
    desk.set("KUBERNETES_SERVICE_PORT", "1");
    let message = "the pod's ServiceAccount token cannot be read";
    desk.refused(&["keys", "list"], "", 5, message);
    let named = ["keys", "list", "--context", "prod"];
    desk.refused(&named, "", 5, "no kubeconfig found");
}

/// What `kubectl` gives to a plugin: a terminal or nothing. What is piped into `seal` is a value.
#[test]
fn what_is_piped_in_never_reaches_a_credential_plugin() {
    let identity = Identity::generate(KeyType::Classic);
    let keys = [key("a", &identity, "2026-01-01T00:00:00Z", "Active")];
    for version in ["v1", "v1beta1"] {
        let plain = serve(200, list(&keys));
        let mut config: Value = serde_json::from_str(&plain).unwrap();
        let desk = with(&plain);
        let answer = json!({"apiVersion": format!("client.authentication.k8s.io/{version}"),
            "kind": "ExecCredential", "status": {"token": "t"}});
        let script = format!("cat >> \"$HOME/seen\"; echo >> \"$HOME/calls\"; echo '{answer}'");
        config["users"][0]["user"] = json!({"exec": {
            "apiVersion": format!("client.authentication.k8s.io/{version}"),
            "command": "sh", "args": ["-c", script], "interactiveMode": "IfAvailable"}});
        if version == "v1beta1" {
            let plugin = config["users"][0]["user"]["exec"].as_object_mut();
            plugin.unwrap().remove("interactiveMode");
        }
        desk.write("../home/kubeconfig", &config.to_string());
        desk.pipe(&["-w", "db.yaml"], SECRET).done();
        desk.pipe(&["set", "db.yaml", "B"], "canary-value").done();
        let private = identity.to_secret_text();
        desk.write("../home/cluster.key", &private);
        let values = desk.values("../home/cluster.key", "db.yaml");
        assert_eq!(values["B"], "canary-value");
        assert!(desk.exists("../home/calls"), "the plugin was asked");
        assert_eq!(desk.read("../home/seen"), "");
    }
}

/// A proxy that connects every `CONNECT` to this address. Returns its own, and counts.
fn proxy(target: String) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut client = stream.unwrap();
            let mut request = Vec::new();
            let mut byte = [0];
            while !request.ends_with(b"\r\n\r\n") && client.read(&mut byte).unwrap_or(0) == 1 {
                request.push(byte[0]);
            }
            if !request.starts_with(b"CONNECT ") {
                continue;
            }
            counter.fetch_add(1, Ordering::Relaxed);
            let mut server = TcpStream::connect(&target).unwrap();
            client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
            let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut from, &mut to));
            std::thread::spawn(move || std::io::copy(&mut server, &mut client));
        }
    });
    (address, count)
}

#[test]
fn a_proxy_is_used_as_kubectl_uses_it() {
    let keys = [key(
        "a",
        &Identity::generate(KeyType::Classic),
        "2026-01-01T00:00:00Z",
        "Active",
    )];
    let direct = serve(200, list(&keys));
    let config: Value = serde_json::from_str(&direct).unwrap();
    let server = config["clusters"][0]["cluster"]["server"].as_str().unwrap();
    let (proxy, count) = proxy(server.strip_prefix("http://").unwrap().to_owned());
    let through = |server: &str, url: Option<&str>| {
        let mut config = config.clone();
        config["clusters"][0]["cluster"] = json!({"server": server, "proxy-url": url});
        with(&config.to_string())
    };
    let far = "http://api.corp.example:6443";
    let url = format!("http://{proxy}");

    through(far, Some(&url)).seal(&["keys", "list"]).done();
    assert_eq!(count.load(Ordering::Relaxed), 1, "proxy-url");
    let mut desk = through(far, None);
    desk.set("HTTP_PROXY", &url);
    desk.seal(&["keys", "list"]).done();
    assert_eq!(count.load(Ordering::Relaxed), 2, "environment");
    // This machine, and what NO_PROXY covers, needs none.
    let mut desk = through(server, None);
    desk.set("HTTP_PROXY", &url);
    desk.seal(&["keys", "list"]).done();
    assert_eq!(count.load(Ordering::Relaxed), 2, "loopback");
    // Empty entries and ports are no reason to end.
    let mut desk = through(far, None);
    desk.set("HTTP_PROXY", &url);
    desk.set("HTTPS_PROXY", &url);
    desk.set("NO_PROXY", ",localhost,,api.corp.example:443,");
    desk.seal(&["keys", "list"]).done();
    assert_eq!(
        count.load(Ordering::Relaxed),
        3,
        "NO_PROXY names another port"
    );
    // `proxy-url` beats NO_PROXY.
    let mut desk = through(far, Some(&url));
    desk.set("NO_PROXY", "*");
    desk.seal(&["keys", "list"]).done();
    assert_eq!(count.load(Ordering::Relaxed), 4, "proxy-url beats NO_PROXY");

    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);
    for scheme in ["http", "socks5"] {
        let desk = through(far, Some(&format!("{scheme}://{address}")));
        let said = "the proxy does not lead to the cluster";
        desk.refused(&["keys", "list"], "", 5, said);
    }
    let desk = through(far, Some("ftp://canary-user@proxy:21"));
    desk.refused(&["keys", "list"], "", 5, "the proxy has no valid URL");
}

/// Everybody calls their contexts otherwise. What a cluster is, its keys say.
#[test]
fn a_cluster_is_recognised_by_its_keys_whatever_the_context_is_called() {
    let created = "2026-01-01T00:00:00Z";
    let [ours, other] = std::array::from_fn(|_| Identity::generate(KeyType::Classic));
    let server = |identity: &Identity| serve(200, list(&[key("a", identity, created, "Active")]));
    let desk = with(&server(&ours));
    desk.git_init();
    let config = "version: 1\nclusters:\n  production: {recipients: [.sealkit/production.pub], context: prod-of-somebody}\n";
    desk.write(".sealkit.yaml", config);
    let recipient = ours.recipient();
    desk.write(".sealkit/production.pub", &format!("{recipient}\n"));
    // The name in the config is somebody else's.
    let named = ["keys", "fetch", "--cluster", "production"];
    let refused = desk.refused(
        &named,
        "",
        2,
        "knows no kubeconfig context of cluster production",
    );
    assert!(refused.stderr.contains("--context NAME"), "{refused:?}");
    // Named once, it is remembered.
    let once = [&named[..], &["--context", "dev"]].concat();
    let answer = desk.seal(&once).done();
    assert!(answer.stdout.contains(&recipient.to_string()), "{answer:?}");
    desk.seal(&named).done();
    // The same name, but another cluster.
    desk.write("../home/kubeconfig", &server(&other));
    for arguments in [&named[..], &once] {
        let refused = desk.refused(arguments, "", 3, "this is not cluster production");
        let keys = format!("production ({})", recipient.fingerprint().short());
        assert!(refused.stderr.contains(&keys), "{refused:?}");
    }
    // It has changed its key since.
    let keys = [
        key("b", &other, "2026-02-01T00:00:00Z", "Active"),
        key("a", &ours, created, "DecryptOnly"),
    ];
    desk.write("../home/kubeconfig", &serve(200, list(&keys)));
    let answer = desk.seal(&named).done();
    assert!(
        answer.stdout.contains(&other.recipient().to_string()),
        "{answer:?}"
    );
}

/// A config that comes with a pull chooses no cluster to write to.
#[test]
fn a_write_goes_to_a_context_that_only_the_config_names_after_a_question() {
    let ours = Identity::generate(KeyType::Classic);
    let created = "2026-01-01T00:00:00Z";
    let desk = with(&serve(200, list(&[key("a", &ours, created, "Active")])));
    desk.git_init();
    let config = "version: 1\nclusters:\n  production: {recipients: [.sealkit/production.pub], context: dev}\n";
    desk.write(".sealkit.yaml", config);
    desk.write(
        ".sealkit/production.pub",
        &format!("{}\n", ours.recipient()),
    );
    let rotate = ["keys", "rotate", "--cluster", "production"];
    desk.refused(&rotate, "", 2, "you must name the cluster");
}

/// As an API server answers right after a CRD was installed.
#[test]
fn a_server_that_asks_for_patience_is_asked_again() {
    let identity = Identity::generate(KeyType::Classic);
    let keys = list(&[key("a", &identity, "2026-01-01T00:00:00Z", "Active")]);
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let desk = with(&serve_each(move |_| {
        match count.fetch_add(1, Ordering::Relaxed) {
            0 | 1 => (429, status(429)),
            _ => (200, keys.clone()),
        }
    }));
    let answer = desk.seal(&["keys", "fetch"]).done();
    assert!(
        answer.stdout.contains(&identity.recipient().to_string()),
        "{answer:?}"
    );
    assert_eq!(asked.load(Ordering::Relaxed), 3);
}

/// Whoever fetches a key that somebody else rotated must not lose who it succeeds: clusters reseal by
/// that.
#[test]
fn a_fetched_key_says_whose_place_it_takes() {
    let [old, new] = std::array::from_fn(|_| Identity::generate(KeyType::Classic));
    let keys = [
        key("b", &new, "2026-02-01T00:00:00Z", "Active"),
        key("a", &old, "2026-01-01T00:00:00Z", "DecryptOnly"),
    ];
    let desk = with(&serve(200, list(&keys)));
    let first = "# supersedes: 00112233445566778899aabbccddeeff";
    desk.write("k.pub", &format!("{first}\n{}\n", old.recipient()));
    desk.seal(&["keys", "fetch", "-w", "k.pub"]).done();
    let text = desk.read("k.pub");
    let print = old.recipient().fingerprint();
    let lines = format!("{first}\n# supersedes: {print}\n{}\n", new.recipient());
    assert!(text.ends_with(&lines), "{text}");
    desk.seal(&["keys", "fetch", "-w", "k.pub"]).done();
    assert_eq!(desk.read("k.pub"), text, "once");
    // A key of another cluster is succeeded by nobody here.
    let stranger = Identity::generate(KeyType::Classic);
    desk.write("k.pub", &format!("{}\n", stranger.recipient()));
    desk.seal(&["keys", "fetch", "-w", "k.pub"]).done();
    assert!(!desk.read("k.pub").contains("supersedes"));
}
