//! The port of the webhook, attacked by whoever reaches it: the controller lives within the memory of
//! `deploy/base`.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use sealkit_rig::free_port;
use sealkit_tests::controller::Flags;
use sealkit_tests::plane::Own;
use sealkit_tests::wait::wait_for;
use sealkit_tests::webhook::{Webhook, flags};
use serde_json::{Value, json};

/// How long one read or write may take.
const SOON: Duration = Duration::from_secs(5);

/// A connection to the webhook of a replica, which trusts what API servers trust.
fn tls(port: u16, bundle: &Value) -> StreamOwned<ClientConnection, TcpStream> {
    let pem = BASE64_STANDARD.decode(bundle.as_str().unwrap()).unwrap();
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        roots.add(certificate.unwrap()).unwrap();
    }
    let config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::from(IpAddr::from(Ipv4Addr::LOCALHOST));
    let client = ClientConnection::new(Arc::new(config), name).unwrap();
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.set_write_timeout(Some(SOON)).unwrap();
    StreamOwned::new(client, stream)
}

/// A review as large as the webhook reads, of an update between two specs.
fn large_review(old: &[u8], new: &[u8]) -> Vec<u8> {
    let frame = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": "u", "kind": {"group": "sealkit.dev", "version": "v1beta1", "kind": "SealedSecret"},
        "namespace": "shop", "name": "db", "operation": "UPDATE",
        "oldObject": {"metadata": {}, "spec": "SPEC"}, "object": {"metadata": {}, "spec": "SPEC"},
    }})
    .to_string();
    let parts: Vec<&str> = frame.split("\"SPEC\"").collect();
    let [head, between, tail] = parts[..] else {
        panic!("two specs")
    };
    [
        head.as_bytes(),
        old,
        between.as_bytes(),
        new,
        tail.as_bytes(),
    ]
    .concat()
}

/// Whoever reaches the port of the webhook sends the worst reviews that it reads, many at once, while
/// others begin requests that never end.
#[test]
fn large_reviews_end_no_controller() {
    const HALF: usize = 3 * 1024 * 1024;
    let plane = Own::take();
    let port = free_port().unwrap();
    let webhook = Webhook::install(&plane, port, "Ignore");
    // A node with many cores reads as many reviews at once.
    let threads = ("TOKIO_WORKER_THREADS", "16".to_owned());
    let mut controller = plane.controller(&Flags {
        environment: vec![threads],
        ..flags(port)
    });
    controller.wait_leading();
    let bundle = wait_for("a bundle", || {
        let bundle = webhook.trusted();
        bundle.is_string().then_some(bundle)
    });
    wait_for("the webhook serves", || {
        let mut stream = tls(port, &bundle);
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").ok()
    });
    let list = |item: &str, count: usize| format!("[{}{item}]", format!("{item},").repeat(count));
    let text = |byte: u8| [&b"\""[..], &vec![byte; HALF], b"\""].concat();
    // As many items as fit into a review, and as many as one may have.
    let [all, most] = [HALF / 2, 200_000];
    let worst = [
        large_review(list("0", all).as_bytes(), list("1", all).as_bytes()),
        large_review(list("0", most).as_bytes(), list("1", most).as_bytes()),
        large_review(list("{}", most).as_bytes(), list("[]", most).as_bytes()),
        large_review(&text(0xff), &text(0xfe)),
    ];
    let begun: Vec<_> = (0..150)
        .map(|_| {
            let mut stream = tls(port, &bundle);
            let head = format!(
                "POST /validate HTTP/1.1\r\nHost: x\r\nX-A: {}",
                "a".repeat(300_000)
            );
            let _ = stream.write_all(head.as_bytes());
            stream
        })
        .collect();
    std::thread::scope(|scope| {
        for thread in 0..24 {
            let (bundle, worst) = (&bundle, &worst);
            scope.spawn(move || {
                for turn in 0..4 {
                    let review = &worst[(thread + turn) % worst.len()];
                    let mut stream = tls(port, bundle);
                    let head = format!(
                        "POST /validate HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
                        review.len()
                    );
                    // It may be refused before it is read.
                    let _ = stream.write_all(head.as_bytes());
                    let _ = stream.write_all(review);
                    let _ = stream.read_to_end(&mut Vec::new());
                }
            });
        }
    });
    drop(begun);
    println!("{} KiB at most", controller.peak_memory());
    controller.assert_lives_within_its_memory();
}
