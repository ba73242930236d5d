//! `seal reseal` by the cluster, against a bare client that creates and reads as many objects of
//! the same size.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use futures::{StreamExt as _, TryStreamExt as _};
use http::Request;
use kube::core::PartialObjectMeta;
use sealkit_core::keys::{Identity, KeyType, Recipient};
use serde_json::{Value, json};

use super::{PART, Tree, start};
use crate::binaries::Binaries;
use crate::cluster::{METADATA_ONLY, NAMESPACE, Ours, Plane, newest_recipient};
use crate::report::{Figure, Quantity, Target};
use crate::{Result, progress};

/// Requests that `seal` has under way at once.
const AT_ONCE: usize = 4;
const COLLECTION: &str = "/apis/sealkit.dev/v1beta1/namespaces/bench/rewraprequests";

/// Measures a rotation over so many files.
pub fn run(files: usize, ours: &Binaries) -> Result<Vec<Figure>> {
    progress(format_args!(
        "{PART}: {files} files, resealed by the cluster"
    ));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let plane = runtime.block_on(Plane::start())?;
    let controller = Ours::controller(ours);
    let process = controller.serve(&plane)?;
    let old = newest_recipient(&plane)?;
    let recovery = Identity::generate(KeyType::Hybrid).recipient().clone();
    let tree = Tree::new(files, &old, &recovery)?;
    let trusted = format!("--from-literal=recovery.pub={recovery}");
    let name = "sealkit-recipients";
    let system = "--namespace=sealkit-system";
    plane
        .control
        .kubectl(&["create", "configmap", name, system, &trusted])?;
    let new = rotate(&plane, &old)?;
    tree.write_key("cluster.pub", &new)?;

    progress("  seal reseal --context");
    let kubeconfig = plane.control.kubeconfig();
    let reseal = ["reseal", "-q", "--context", "rig"];
    let (wall, memory) = start(&ours.seal, &reseal, &tree.root, Some(kubeconfig), 0)?;
    start(&ours.seal, &["reseal", "--check"], &tree.root, None, 0)?;
    let requests = controller
        .metric(
            "sealkit_reconcile_total",
            "kind=\"RewrapRequest\",result=\"Rewrapped\"",
        )
        .ok_or("the controller counts no requests")?;
    let requests = requests.max(1);

    // It would delete what is too much for a namespace.
    drop(process);
    progress(format_args!("  a bare client, {requests} requests"));
    let envelope = envelope_of(&tree)?;
    // As many and as large as they are with their answers.
    let whole = bare_requests(files, requests, &envelope, 2);
    let asked = bare_requests(files, requests, &envelope, 1);
    let bare_whole = runtime.block_on(create_and_read(&plane, whole))?;
    let bare_asked = runtime.block_on(create_and_read(&plane, asked))?;
    #[expect(clippy::cast_precision_loss, reason = "for ratios")]
    let speed = |wall: Duration| Quantity::PerSecond(files as f64 / wall.as_secs_f64());
    let what = |text: &str| format!("{files} files, {requests} requests: {text}");
    Ok(vec![
        Figure::against(
            PART,
            what(
                "`seal reseal` by the cluster, envelopes a second, against a bare client that creates and reads such requests with their answers",
            ),
            speed(wall),
            speed(bare_whole),
            Some(Target::AtLeastShare(0.5)),
        ),
        Figure::against(
            PART,
            what("the same, against one that creates and reads them without answers"),
            speed(wall),
            speed(bare_asked),
            None,
        ),
        Figure::limited(
            PART,
            what("`seal reseal` by the cluster, peak memory"),
            memory,
            Quantity::Bytes(100_000_000),
        ),
    ])
}

/// A new key of the cluster.
fn rotate(plane: &Plane, old: &Recipient) -> Result<Recipient> {
    let key = json!({
        "apiVersion": "sealkit.dev/v1beta1", "kind": "SealingKey",
        "metadata": {"name": "next"}, "spec": {},
    });
    plane
        .control
        .kubectl_with_input(&["create", "-f", "-"], &key.to_string())?;
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let path = "-o=jsonpath={.status.recipient}";
        let text = plane
            .control
            .kubectl(&["get", "sealingkey", "next", path])?;
        match text.trim().parse::<Recipient>() {
            Ok(new) if new != *old => return Ok(new),
            _ if Instant::now() > deadline => return Err("the controller made no key".into()),
            _ => std::thread::sleep(Duration::from_millis(100)),
        }
    }
}

/// Any envelope of the tree.
fn envelope_of(tree: &Tree) -> Result<Value> {
    let text = fs::read(tree.root.join("part-000/object-00000.sealed.yaml"))?;
    let documents = sealkit_core::manifest::read_documents(&text)?;
    let envelopes = documents[0].object.pointer("/spec/envelopes");
    let envelopes = envelopes.and_then(Value::as_object);
    let first = envelopes.and_then(|all| all.values().next());
    Ok(first.ok_or("no envelope")?.clone())
}

/// Requests over so many files, each envelope so many times.
fn bare_requests(files: usize, requests: usize, envelope: &Value, times: usize) -> Vec<Value> {
    let each = files.div_ceil(requests) * times;
    let envelopes: BTreeMap<String, &Value> = (0..each)
        .map(|index| (format!("{index:016x}"), envelope))
        .collect();
    let request = json!({
        "apiVersion": "sealkit.dev/v1beta1", "kind": "RewrapRequest",
        "metadata": {"generateName": "bare-", "namespace": NAMESPACE},
        "spec": {"envelopes": envelopes},
    });
    vec![request; requests]
}

async fn create_and_read(plane: &Plane, requests: Vec<Value>) -> Result<Duration> {
    let start = Instant::now();
    futures::stream::iter(requests)
        .map(|request| async move {
            let post = Request::post(COLLECTION)
                .header("content-type", "application/json")
                .header("accept", METADATA_ONLY)
                .body(serde_json::to_vec(&request)?)?;
            let made: PartialObjectMeta = plane.client.request(post).await?;
            let name = made.metadata.name.unwrap_or_default();
            let get = Request::get(format!("{COLLECTION}/{name}")).body(Vec::new())?;
            plane.client.request::<Value>(get).await?;
            Ok::<_, crate::Failure>(())
        })
        .buffer_unordered(AT_ONCE)
        .try_collect::<Vec<()>>()
        .await?;
    Ok(start.elapsed())
}
