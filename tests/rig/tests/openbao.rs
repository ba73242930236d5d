//! OpenBao and the proxy before it: what tests of external secrets stand on.
#![allow(clippy::unwrap_used)] // a failed step should end the test right there

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use sealkit_rig::{BaoCall, BaoClient, Fault, OpenBao, Proxy};
use serde_json::json;

#[test]
fn keys_are_written_read_listed_and_deleted() {
    let root = OpenBao::shared().unwrap().root();
    root.mount_kv("keys").unwrap();
    root.put("keys", "shop/db", &json!({"password": "one"}))
        .unwrap();
    root.put("keys", "shop/db", &json!({"password": "two"}))
        .unwrap();
    let value = |path: &str| root.read(path).unwrap()["data"]["data"]["password"].clone();
    assert_eq!(value("keys/data/shop/db"), "two");
    assert_eq!(value("keys/data/shop/db?version=1"), "one");
    let listed = root.list("keys/metadata/shop").unwrap();
    assert_eq!(listed["data"]["keys"], json!(["db"]));

    root.delete("keys/data/shop/db").unwrap();
    let answer = root.ask("GET", "keys/data/shop/db", None).unwrap();
    assert_eq!(answer.status, 404);
    let error = root.read("keys/data/shop/db").unwrap_err().to_string();
    assert!(error.contains("404") && !error.contains("two"), "{error}");
}

#[test]
fn namespaces_have_engines_of_their_own() {
    let bao = OpenBao::shared().unwrap();
    bao.root().write("sys/namespaces/team", &json!({})).unwrap();
    let team = bao.root().in_namespace("team");
    team.mount_kv("own").unwrap();
    team.put("own", "key", &json!({"a": "b"})).unwrap();
    team.read("own/data/key").unwrap();
    bao.root().read("own/data/key").unwrap_err();
    let calls = bao.calls().unwrap();
    assert!(
        calls
            .iter()
            .any(|call| call.namespace == "team/" && call.path == "own/data/key"),
        "{calls:?}"
    );
}

#[test]
fn logins_reads_and_refusals_are_counted() {
    let bao = OpenBao::shared().unwrap();
    let root = bao.root();
    root.mount_kv("counted").unwrap();
    root.put("counted", "key", &json!({"a": "b"})).unwrap();
    let policy = r#"path "counted/data/*" { capabilities = ["read"] }"#;
    root.write("sys/policies/acl/counted", &json!({"policy": policy}))
        .unwrap();
    root.write("sys/auth/counted", &json!({"type": "approle"}))
        .unwrap();
    let role = "auth/counted/role/app";
    root.write(role, &json!({"token_policies": "counted"}))
        .unwrap();
    let role_id = root.read(&format!("{role}/role-id")).unwrap();
    let secret_id = root
        .write(&format!("{role}/secret-id"), &json!({}))
        .unwrap();
    let login = json!({
        "role_id": role_id["data"]["role_id"],
        "secret_id": secret_id["data"]["secret_id"],
    });
    let session = BaoClient::new(bao.url(), "")
        .write("auth/counted/login", &login)
        .unwrap();
    let app = BaoClient::new(bao.url(), session["auth"]["client_token"].as_str().unwrap());
    app.read("counted/data/key").unwrap();
    app.read("counted/data/key").unwrap();

    let calls = bao.calls().unwrap();
    let logins: Vec<_> = with_path(&calls, "auth/counted/login").collect();
    assert_eq!(logins.len(), 1);
    let accessor = logins[0].issued.clone().unwrap();
    assert_eq!(session["auth"]["accessor"], accessor);
    let is_read =
        |call: &&BaoCall| call.operation == "read" && call.accessor.as_ref() == Some(&accessor);
    let reads: Vec<_> = with_path(&calls, "counted/data/key")
        .filter(is_read)
        .collect();
    assert_eq!(reads.len(), 2);
    assert!(reads.iter().all(|call| call.error.is_none()), "{reads:?}");

    // A session that ends early.
    root.write("auth/token/revoke-accessor", &json!({"accessor": accessor}))
        .unwrap();
    let refused = app.ask("GET", "counted/data/key", None).unwrap();
    assert_eq!(refused.status, 403);
    let calls = bao.calls().unwrap();
    let refusals = with_path(&calls, "counted/data/key")
        .filter(|call| call.error.as_deref().is_some_and(|e| e.contains("denied")));
    assert_eq!(refusals.count(), 1, "{calls:?}");
}

#[test]
fn sealed_and_killed_servers_come_back_with_their_data() {
    let mut bao = OpenBao::start().unwrap();
    let root = bao.root();
    root.put("secret", "key", &json!({"a": "b"})).unwrap();

    bao.seal().unwrap();
    let sealed = root.ask("GET", "secret/data/key", None).unwrap();
    assert_eq!(sealed.status, 503);
    bao.unseal().unwrap();
    root.read("secret/data/key").unwrap();

    bao.kill().unwrap();
    root.ask("GET", "secret/data/key", None).unwrap_err();
    bao.restart().unwrap();
    let value = root.read("secret/data/key").unwrap();
    assert_eq!(value["data"]["data"], json!({"a": "b"}));
    let calls = bao.calls().unwrap();
    let reads = with_path(&calls, "secret/data/key").filter(|call| call.operation == "read");
    assert_eq!(reads.count(), 2);

    let url = bao.url().to_owned();
    drop(bao);
    TcpStream::connect(url.trim_start_matches("http://")).unwrap_err();
}

#[test]
fn without_a_fault_answers_pass_as_they_are() {
    let bao = OpenBao::shared().unwrap();
    let proxy = Proxy::start(bao.url()).unwrap();
    bao.root().mount_kv("passed").unwrap();
    let root = BaoClient::new(proxy.url(), bao.root_token());
    // Long enough to be chunked.
    let long = json!({"long": "x".repeat(100_000)});
    root.put("passed", "key", &long).unwrap();
    let read = "passed/data/key";
    assert_eq!(root.read(read).unwrap()["data"]["data"], long);
    let request = format!(
        "GET /v1/{read} HTTP/1.1\r\nHost: rig\r\nX-Vault-Token: {}\r\n\r\n",
        bao.root_token()
    );
    let mut stream = connect(proxy.url());
    stream.write_all(request.as_bytes()).unwrap();
    let (head, _) = next_answer(&mut BufReader::new(stream));
    assert!(head.contains("Transfer-Encoding: chunked"), "{head}");
    assert_eq!(
        root.ask("GET", "passed/data/none", None).unwrap().status,
        404
    );
    assert_eq!((proxy.requests(), proxy.connections()), (4, 4));
}

#[test]
fn faults_change_while_a_connection_is_open() {
    let proxy = Proxy::start(OpenBao::shared().unwrap().url()).unwrap();
    let mut reader = BufReader::new(connect(proxy.url()));
    let mut status_with = |fault| {
        proxy.set(fault);
        reader.get_mut().write_all(HEALTH.as_bytes()).unwrap();
        next_answer(&mut reader)
            .0
            .split(' ')
            .nth(1)
            .map(str::to_owned)
    };
    assert_eq!(status_with(Fault::None).as_deref(), Some("200"));
    assert_eq!(status_with(Fault::Status(500)).as_deref(), Some("500"));
    assert_eq!(status_with(Fault::Status(503)).as_deref(), Some("503"));
    assert_eq!(status_with(Fault::None).as_deref(), Some("200"));
    assert_eq!((proxy.requests(), proxy.connections()), (4, 1));
}

#[test]
fn a_client_is_told_when_to_come_back() {
    let (answer, _) = health_with(Fault::TooManyRequests { retry_after: 7 });
    let answer = answer.unwrap();
    assert!(answer.starts_with("HTTP/1.1 429 "), "{answer}");
    assert!(answer.contains("\r\nRetry-After: 7\r\n"), "{answer}");
}

#[test]
fn delayed_and_dripping_answers_are_complete_and_late() {
    let (answer, time) = health_with(Fault::Delay(Duration::from_millis(300)));
    assert!(is_complete(&answer.unwrap()));
    assert!(time >= Duration::from_millis(300), "{time:?}");

    let (answer, time) = health_with(Fault::Drip(Duration::from_millis(2)));
    let answer = answer.unwrap();
    assert!(is_complete(&answer), "{answer}");
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let bytes = u32::try_from(body.len()).unwrap();
    assert!(time >= bytes * Duration::from_millis(2), "{time:?}");
}

#[test]
fn connections_are_reset_and_cut() {
    let (answer, _) = health_with(Fault::Reset);
    assert_eq!(answer.unwrap_err().kind(), io::ErrorKind::ConnectionReset);

    let (answer, _) = health_with(Fault::Cut);
    let answer = answer.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.contains(r#"{"initialized""#), "{answer}");
    assert!(!is_complete(&answer), "{answer}");
}

#[test]
fn swallowed_request_ends_with_the_proxy() {
    let proxy = Proxy::start(OpenBao::shared().unwrap().url()).unwrap();
    proxy.set(Fault::Swallow);
    let mut stream = connect(proxy.url());
    stream
        .set_read_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    stream.write_all(HEALTH.as_bytes()).unwrap();
    let silence = stream.read(&mut [0]).unwrap_err();
    assert_eq!(silence.kind(), io::ErrorKind::WouldBlock);
    assert_eq!(proxy.requests(), 1);

    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    drop(proxy);
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
}

#[test]
fn huge_answer_does_not_tell_its_length() {
    let (answer, _) = health_with(Fault::Huge(5_000_000));
    let answer = answer.unwrap();
    assert!(answer.len() > 5_000_000, "{}", answer.len());
    assert!(!answer.contains("Content-Length"));
    assert!(answer.ends_with("\r\n0\r\n\r\n"));
}

const HEALTH: &str = "GET /v1/sys/health HTTP/1.1\r\nHost: rig\r\n\r\n";

/// What one request for the server's health gets under a fault, and after how long.
fn health_with(fault: Fault) -> (io::Result<String>, Duration) {
    let proxy = Proxy::start(OpenBao::shared().unwrap().url()).unwrap();
    proxy.set(fault);
    let begin = Instant::now();
    let ask = || {
        let mut stream = connect(proxy.url());
        stream.write_all(
            HEALTH
                .replace("Host", "Connection: close\r\nHost")
                .as_bytes(),
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    (ask(), begin.elapsed())
}

fn connect(url: &str) -> TcpStream {
    let stream = TcpStream::connect(url.trim_start_matches("http://")).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    stream
}

/// The head, and as much of the body as the head promises.
fn next_answer(reader: &mut BufReader<TcpStream>) -> (String, Vec<u8>) {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert_ne!(reader.read_line(&mut head).unwrap(), 0, "{head}");
    }
    let mut body = vec![0; promised_length(&head).unwrap_or_default()];
    reader.read_exact(&mut body).unwrap();
    (head, body)
}

fn is_complete(answer: &str) -> bool {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    promised_length(head) == Some(body.len())
}

fn promised_length(head: &str) -> Option<usize> {
    head.lines()
        .find_map(|line| line.strip_prefix("Content-Length: "))
        .map(|length| length.parse().unwrap())
}

fn with_path<'a>(calls: &'a [BaoCall], path: &'a str) -> impl Iterator<Item = &'a BaoCall> {
    calls.iter().filter(move |call| call.path == path)
}
