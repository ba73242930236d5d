//! The bare client: what any controller has to do over the wire, and nothing else. It holds the
//! watches of ours and makes its writes, as many at once, and opens nothing.

use std::fmt::Debug;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use clap::Args;
use futures::StreamExt;
use http::Request;
use k8s_openapi::api::core::v1::Secret;
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Resource};
use sealkit_core::api::SealedSecret;
use sealkit_core::api::external::ExternalSecret;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use tokio::sync::{Mutex, mpsc};

use super::plane::METADATA_ONLY;
use crate::Result;

/// Objects worked on at once: the default of our controller.
const CONCURRENCY: usize = 32;
/// Events sent at once, as ours does.
const EVENTS_AT_ONCE: usize = 4;
const MESSAGE: &str = "the Secret is in sync with this resource";

/// Flags of the bare client.
#[derive(Args, Debug)]
pub struct BareArguments {
    /// Kind of the objects
    #[arg(long, default_value = <SealedSecret as Source>::KIND)]
    kind: String,
    /// Bytes of a value of the Secrets that are written
    #[arg(long, default_value_t = super::trial::VALUE_SIZE)]
    value_size: usize,
}

/// Works until it is killed; the cluster is that of `KUBECONFIG`.
pub fn run(arguments: &BareArguments) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let value = BASE64_STANDARD.encode(vec![7; arguments.value_size]);
    match arguments.kind.as_str() {
        SealedSecret::KIND => runtime.block_on(work::<SealedSecret>(value)),
        ExternalSecret::KIND => runtime.block_on(work::<ExternalSecret>(value)),
        other => Err(format!("{other} is no kind that the bare client knows").into()),
    }
}

/// An object that a Secret is made of.
trait Source:
    Resource<DynamicType = ()> + DeserializeOwned + Clone + Debug + Send + Sync + 'static
{
    /// Its kind, as a flag spells it.
    const KIND: &'static str;
    /// Why its conditions are true.
    const REASON: &'static str;

    /// Has nobody written its status yet?
    fn is_new(&self) -> bool;

    /// The keys of its Secret.
    fn keys(&self) -> Vec<&String>;

    /// The status that our controller would write.
    fn status(&self, secret: &PartialObjectMeta) -> Value;
}

async fn work<S: Source>(value: String) -> Result<()> {
    let client = Client::try_from(kube::Config::infer().await?)?;
    let secrets = Api::<PartialObjectMeta<Secret>>::all(client.clone());
    let labelled = watcher::Config::default().labels("sealkit.dev/managed=true");
    tokio::spawn(watcher(secrets, labelled).for_each(|_| std::future::ready(())));

    let (events, queue) = mpsc::channel::<Value>(4096);
    let queue = Arc::new(Mutex::new(queue));
    for _ in 0..EVENTS_AT_ONCE {
        let (client, queue) = (client.clone(), queue.clone());
        tokio::spawn(async move {
            loop {
                let Some(event) = queue.lock().await.recv().await else {
                    break;
                };
                report(post(&client, "events.k8s.io/v1", "events", &event).await);
            }
        });
    }

    let objects = watcher(Api::<S>::all(client.clone()), watcher::Config::default());
    let new = objects.filter_map(|event| async {
        match event {
            Ok(Event::InitApply(object) | Event::Apply(object)) => {
                object.is_new().then_some(object)
            }
            _ => None,
        }
    });
    new.for_each_concurrent(CONCURRENCY, |object| {
        let (client, events, value) = (client.clone(), events.clone(), value.clone());
        async move {
            // Tasks, so that every core takes part.
            let written = tokio::spawn(async move {
                write(&client, &object, &value).await?;
                let _ = events.try_send(event(&object));
                Ok(())
            });
            report(written.await.map_err(Into::into).flatten());
        }
    })
    .await;
    Ok(())
}

impl Source for SealedSecret {
    const KIND: &'static str = "SealedSecret";
    const REASON: &'static str = "Opened";

    fn is_new(&self) -> bool {
        let status = self.status.as_ref();
        status.is_none_or(|status| status.conditions.is_empty())
    }

    fn keys(&self) -> Vec<&String> {
        self.spec.encrypted_data.keys().collect()
    }

    fn status(&self, secret: &PartialObjectMeta) -> Value {
        json!({
            "observedGeneration": 1,
            "conditions": [condition("Synced", Self::REASON), condition("Ready", Self::REASON)],
            "target": target(secret),
            "sealedTo": ["00000000000000000000000000000000"],
            "needsReseal": false,
        })
    }
}

impl Source for ExternalSecret {
    const KIND: &'static str = "ExternalSecret";
    const REASON: &'static str = "SecretSynced";

    fn is_new(&self) -> bool {
        let status = self.status.as_ref();
        status.is_none_or(|status| status.conditions.is_empty())
    }

    fn keys(&self) -> Vec<&String> {
        self.spec
            .data
            .iter()
            .map(|entry| &entry.secret_key)
            .collect()
    }

    fn status(&self, secret: &PartialObjectMeta) -> Value {
        json!({
            "observedGeneration": 1,
            "conditions": [condition("Ready", Self::REASON)],
            "target": target(secret),
            "binding": {"name": secret.metadata.name},
            "refreshTime": "2026-01-01T00:00:00Z",
            "syncedResourceVersion": format!("1-{}", "0".repeat(56)),
        })
    }
}

fn condition(type_: &str, reason: &str) -> Value {
    json!({
        "type": type_,
        "status": "True",
        "observedGeneration": 1,
        "lastTransitionTime": "2026-01-01T00:00:00Z",
        "reason": reason,
        "message": MESSAGE,
    })
}

fn target(secret: &PartialObjectMeta) -> Value {
    let metadata = &secret.metadata;
    json!({
        "name": metadata.name,
        "uid": metadata.uid,
        "resourceVersion": metadata.resource_version,
    })
}

async fn write<S: Source>(client: &Client, object: &S, value: &str) -> Result<()> {
    let secret = post(client, "v1", "secrets", &secret(object, value)).await?;
    let (namespace, name) = place(object);
    let status = json!({
        "apiVersion": S::api_version(&()),
        "kind": S::kind(&()),
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": object.meta().uid,
            "resourceVersion": object.meta().resource_version,
        },
        "status": object.status(&secret),
    });
    let path = S::url_path(&(), Some(namespace));
    let request =
        Request::put(format!("{path}/{name}/status")).header("content-type", "application/json");
    send(client, request, &status).await.map(drop)
}

fn secret<S: Source>(object: &S, value: &str) -> Value {
    let (namespace, name) = place(object);
    let uid = object.meta().uid.as_deref().unwrap_or_default();
    let kind = S::kind(&());
    let data: Map<String, Value> = object
        .keys()
        .into_iter()
        .map(|key| (key.clone(), value.into()))
        .collect();
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {"sealkit.dev/managed": "true"},
            "annotations": {"sealkit.dev/source": format!("{kind}/{name}/{uid}")},
            "ownerReferences": [{
                "apiVersion": S::api_version(&()),
                "kind": kind,
                "name": name,
                "uid": uid,
                "controller": true,
            }],
        },
        "type": "Opaque",
        "data": data,
    })
}

fn event<S: Source>(object: &S) -> Value {
    let (namespace, name) = place(object);
    json!({
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": format!("{name}.0123456789abcdef"), "namespace": namespace},
        "eventTime": "2026-01-01T00:00:00.000000Z",
        "type": "Normal",
        "reason": S::REASON,
        "action": "Reconcile",
        "note": MESSAGE,
        "reportingController": "sealkit.dev/seal-controller",
        "reportingInstance": "bare-client",
        "regarding": {
            "apiVersion": S::api_version(&()),
            "kind": S::kind(&()),
            "name": name,
            "namespace": namespace,
            "uid": object.meta().uid,
        },
    })
}

fn place(object: &impl Source) -> (&str, &str) {
    let metadata = object.meta();
    (
        metadata.namespace.as_deref().unwrap_or_default(),
        metadata.name.as_deref().unwrap_or_default(),
    )
}

async fn post(
    client: &Client,
    group_version: &str,
    plural: &str,
    body: &Value,
) -> Result<PartialObjectMeta> {
    let namespace = body["metadata"]["namespace"].as_str().unwrap_or_default();
    let root = if group_version.contains('/') {
        "apis"
    } else {
        "api"
    };
    let path = format!("/{root}/{group_version}/namespaces/{namespace}/{plural}");
    send(
        client,
        Request::post(path).header("content-type", "application/json"),
        body,
    )
    .await
}

async fn send(
    client: &Client,
    request: http::request::Builder,
    body: &Value,
) -> Result<PartialObjectMeta> {
    let request = request
        .header("accept", METADATA_ONLY)
        .body(serde_json::to_vec(body)?)?;
    Ok(client.request(request).await?)
}

/// A failure shows in the log, and as an object that never gets in sync.
fn report<T>(result: Result<T>) {
    if let Err(error) = result {
        eprintln!("{error}");
    }
}
