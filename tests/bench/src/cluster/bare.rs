//! The bare client: what any controller has to do over the wire, and nothing else. It holds the
//! watches of ours and makes its writes, as many at once, and opens nothing.

use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use clap::Args;
use futures::StreamExt;
use http::Request;
use k8s_openapi::api::core::v1::Secret;
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};
use sealkit_core::api::SealedSecret;
use serde_json::{Map, Value, json};
use tokio::sync::{Mutex, mpsc};

use super::plane::METADATA_ONLY;
use crate::Result;

/// Objects worked on at once: the default of our controller.
const CONCURRENCY: usize = 32;
/// Events sent at once, as ours does.
const EVENTS_AT_ONCE: usize = 4;

/// Flags of the bare client.
#[derive(Args, Debug)]
pub struct BareArguments {
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
    runtime.block_on(work(value))
}

async fn work(value: String) -> Result<()> {
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

    let objects = watcher(
        Api::<SealedSecret>::all(client.clone()),
        watcher::Config::default(),
    );
    let new = objects.filter_map(|event| async {
        match event {
            Ok(Event::InitApply(object) | Event::Apply(object)) => {
                is_new(&object).then_some(object)
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

/// Nobody has written its status yet.
fn is_new(object: &SealedSecret) -> bool {
    object
        .status
        .as_ref()
        .is_none_or(|status| status.conditions.is_empty())
}

async fn write(client: &Client, object: &SealedSecret, value: &str) -> Result<()> {
    let secret = post(client, "v1", "secrets", &secret(object, value)).await?;
    let text = |field: Option<String>| field.unwrap_or_default();
    let condition = |type_: &str| {
        json!({
            "type": type_,
            "status": "True",
            "observedGeneration": 1,
            "lastTransitionTime": "2026-01-01T00:00:00Z",
            "reason": "Opened",
            "message": "the Secret is in sync with this resource",
        })
    };
    let (namespace, name) = place(object);
    let status = json!({
        "apiVersion": "sealkit.dev/v1beta1",
        "kind": "SealedSecret",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": object.metadata.uid,
            "resourceVersion": object.metadata.resource_version,
        },
        "status": {
            "observedGeneration": 1,
            "conditions": [condition("Synced"), condition("Ready")],
            "target": {
                "name": object.metadata.name,
                "uid": text(secret.metadata.uid),
                "resourceVersion": text(secret.metadata.resource_version),
            },
            "sealedTo": ["00000000000000000000000000000000"],
            "needsReseal": false,
        },
    });
    let path =
        format!("/apis/sealkit.dev/v1beta1/namespaces/{namespace}/sealedsecrets/{name}/status");
    let request = Request::put(path).header("content-type", "application/json");
    send(client, request, &status).await.map(drop)
}

fn secret(object: &SealedSecret, value: &str) -> Value {
    let (namespace, name) = place(object);
    let uid = object.metadata.uid.as_deref().unwrap_or_default();
    let data: Map<String, Value> = object
        .spec
        .encrypted_data
        .keys()
        .map(|key| (key.clone(), value.into()))
        .collect();
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {"sealkit.dev/managed": "true"},
            "annotations": {"sealkit.dev/source": format!("SealedSecret/{name}/{uid}")},
            "ownerReferences": [{
                "apiVersion": "sealkit.dev/v1beta1",
                "kind": "SealedSecret",
                "name": name,
                "uid": uid,
                "controller": true,
            }],
        },
        "type": "Opaque",
        "data": data,
    })
}

fn event(object: &SealedSecret) -> Value {
    let (namespace, name) = place(object);
    json!({
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": format!("{name}.0123456789abcdef"), "namespace": namespace},
        "eventTime": "2026-01-01T00:00:00.000000Z",
        "type": "Normal",
        "reason": "Opened",
        "action": "Reconcile",
        "note": "the Secret is in sync with this resource",
        "reportingController": "sealkit.dev/seal-controller",
        "reportingInstance": "bare-client",
        "regarding": {
            "apiVersion": "sealkit.dev/v1beta1",
            "kind": "SealedSecret",
            "name": name,
            "namespace": namespace,
            "uid": object.metadata.uid,
        },
    })
}

fn place(object: &SealedSecret) -> (&str, &str) {
    (
        object.metadata.namespace.as_deref().unwrap_or_default(),
        object.metadata.name.as_deref().unwrap_or_default(),
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
