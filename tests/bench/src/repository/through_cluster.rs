//! `seal reseal` by the cluster, against kubeseal and the least there is to do.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use futures::{StreamExt as _, TryStreamExt as _};
use http::Request;
use kube::core::PartialObjectMeta;
use sealkit_core::keys::{Identity, KeyType, Recipient};
use serde_json::{Value, json};

use super::peers::kubeseal;
use super::{PART, Tree, VALUES, start};
use crate::binaries::{Binaries, Peers};
use crate::cluster::{METADATA_ONLY, NAMESPACE, Ours, Plane, newest_recipient};
use crate::report::{Figure, Quantity, Target};
use crate::{Result, progress};

/// Files that kubeseal seals anew, one after the other.
const PEER_FILES: usize = 100;
/// Requests that `seal` has under way at once.
const AT_ONCE: usize = 6;
const COLLECTION: &str = "/apis/sealkit.dev/v1beta1/namespaces/bench/rewraprequests";

/// Measures a rotation over so many files.
pub fn run(files: usize, ours: &Binaries, peers: &Peers) -> Result<Vec<Figure>> {
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
    let identity = Identity::generate(KeyType::Hybrid);
    let recovery = identity.recipient();
    let tree = Tree::new(files, &old, recovery)?;
    tree.write_recovery(&identity)?;
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
    progress("  the same files offline");
    let third = Identity::generate(KeyType::Hybrid);
    tree.write_key("cluster.pub", third.recipient())?;
    let offline = [
        "reseal",
        "-q",
        "-i",
        "../recovery.key",
        "--accept-recipients",
    ];
    let (offline, _) = start(&ours.seal, &offline, &tree.root, None, 0)?;
    progress(format_args!("  a bare client, {requests} requests"));
    let envelope = envelope_of(&tree)?;
    let each = files.div_ceil(requests);
    // As large as they are with their answers.
    let whole = Bare {
        calls: Calls::CreateAndRead,
        envelopes: each * 2,
    };
    let service = Bare {
        calls: Calls::Service,
        envelopes: each,
    };
    let bare_whole = runtime.block_on(whole.run(&plane, requests, &envelope))?;
    let bare_service = runtime.block_on(service.run(&plane, requests, &envelope))?;
    drop(plane);
    let walls = Walls {
        cluster: wall,
        offline,
        bare_whole,
        bare_service,
        kubeseal: kubeseal(PEER_FILES, peers)?,
    };
    Ok(figures(files, requests, &walls, memory))
}

/// What each took for all files.
struct Walls {
    cluster: Duration,
    offline: Duration,
    bare_whole: Duration,
    bare_service: Duration,
    /// For [`PEER_FILES`] files; nothing where it cannot run.
    kubeseal: Option<Duration>,
}

fn figures(files: usize, requests: usize, walls: &Walls, memory: Quantity) -> Vec<Figure> {
    let Walls {
        cluster: wall,
        offline,
        bare_whole,
        bare_service,
        kubeseal,
    } = *walls;
    #[expect(clippy::cast_precision_loss, reason = "for ratios")]
    let per_second =
        |count: usize, wall: Duration| Quantity::PerSecond(count as f64 / wall.as_secs_f64());
    let speed = |wall: Duration| per_second(files, wall);
    let against_kubeseal = "`seal reseal` by the cluster, envelopes a second, against `kubeseal --re-encrypt`, which has one for each value";
    let what = |text: &str| format!("{files} files, {requests} requests: {text}");
    let kubeseal = match kubeseal {
        Some(wall_of_peer) => Figure::against(
            PART,
            what(against_kubeseal),
            speed(wall),
            per_second(PEER_FILES * VALUES, wall_of_peer),
            Some(Target::AtLeastShare(5.0)),
        ),
        None => Figure::note(
            PART,
            format!("{} (not to be had here)", what(against_kubeseal)),
            speed(wall),
        ),
    };
    vec![
        kubeseal,
        Figure::against(
            PART,
            what(
                "the same, against a bare client that creates and reads such requests with their answers",
            ),
            speed(wall),
            speed(bare_whole),
            None,
        ),
        Figure::against(
            PART,
            what(
                "the same, against one that makes all calls of client and controller: create, read, write the answer, read it, delete",
            ),
            speed(wall),
            speed(bare_service),
            None,
        ),
        Figure::against(
            PART,
            what(
                "the same, against what is the least there is to do: resealing offline, then creating and reading the requests with their answers",
            ),
            speed(wall),
            speed(offline + bare_whole),
            Some(Target::AtLeastShare(0.6)),
        ),
        Figure::against(
            PART,
            what("that least, against creating and reading alone"),
            speed(offline + bare_whole),
            speed(bare_whole),
            None,
        ),
        Figure::limited(
            PART,
            what("`seal reseal` by the cluster, peak memory"),
            memory,
            Quantity::Bytes(100_000_000),
        ),
    ]
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

/// A client that opens and seals nothing.
struct Bare {
    calls: Calls,
    /// Envelopes of one request.
    envelopes: usize,
}

#[derive(Clone, Copy)]
enum Calls {
    CreateAndRead,
    /// What client and controller have to do over the wire.
    Service,
}

impl Bare {
    async fn run(&self, plane: &Plane, requests: usize, envelope: &Value) -> Result<Duration> {
        let id = |index: usize| format!("{index:032b}").replace('0', "a").replace('1', "b");
        let envelopes: BTreeMap<String, &Value> = (0..self.envelopes)
            .map(|index| (id(index), envelope))
            .collect();
        let request = json!({
            "apiVersion": "sealkit.dev/v1beta1", "kind": "RewrapRequest",
            "metadata": {"generateName": "bare-", "namespace": NAMESPACE},
            "spec": {"envelopes": envelopes},
        });
        let start = Instant::now();
        futures::stream::iter(0..requests)
            .map(|_| self.one(plane, &request))
            .buffer_unordered(AT_ONCE)
            .try_collect::<Vec<()>>()
            .await?;
        Ok(start.elapsed())
    }

    async fn one(&self, plane: &Plane, request: &Value) -> Result<()> {
        let send = async |method: &str, path: &str, body: &Value| -> Result<PartialObjectMeta> {
            let request = Request::builder()
                .method(method)
                .uri(path)
                .header("content-type", "application/json")
                .header("accept", METADATA_ONLY)
                .body(serde_json::to_vec(body)?)?;
            Ok(plane.client.request(request).await?)
        };
        let read = async |path: &str| -> Result<Value> {
            Ok(plane
                .client
                .request(Request::get(path).body(Vec::new())?)
                .await?)
        };
        let made = send("POST", COLLECTION, request).await?;
        let path = format!("{COLLECTION}/{}", made.metadata.name.unwrap_or_default());
        let mut object = read(&path).await?;
        if matches!(self.calls, Calls::Service) {
            let envelopes = object["spec"]["envelopes"].take();
            let answer = json!({
                "apiVersion": object["apiVersion"], "kind": object["kind"],
                "metadata": object["metadata"],
                "status": {"observedGeneration": 1, "conditions": [], "envelopes": envelopes},
            });
            send("PUT", &format!("{path}/status"), &answer).await?;
            read(&path).await?;
            send("DELETE", &path, &json!({})).await?;
        }
        Ok(())
    }
}
