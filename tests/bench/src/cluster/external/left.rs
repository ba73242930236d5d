//! Records objects as External Secrets leaves them: `tests/vectors/left-by-external-secrets.json`, over
//! which the end-to-end tests start our controller.

use std::path::Path;
use std::time::{Duration, Instant};

use http::Request;
use serde_json::{Value, json};

use super::super::contestant::Contestant as _;
use super::super::plane::{NAMESPACE, Plane};
use super::super::trial;
use super::contestant::External;
use super::vault::STORE;
use crate::{Result, progress};

/// How long the peer may take.
const WITHIN: Duration = Duration::from_mins(2);

/// What the store holds. These values are public.
fn values() -> Value {
    json!({
        "team/db": {"user": "shop", "password": "left <by> &co", "port": 5432},
        "team/api": {"token": "left-token"},
    })
}

/// The objects: one for each way in which a Secret is made.
fn objects() -> Vec<Value> {
    let one =
        json!([{"secretKey": "PASSWORD", "remoteRef": {"key": "team/db", "property": "password"}}]);
    let absent = json!([{"secretKey": "X", "remoteRef": {"key": "team/nothing"}}]);
    let object = |name: &str, spec: Value| {
        let mut object = json!({
            "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {
                "refreshInterval": "24h",
                "secretStoreRef": {"kind": "ClusterSecretStore", "name": STORE},
            },
        });
        for (field, value) in spec.as_object().into_iter().flatten() {
            object["spec"][field] = value.clone();
        }
        object
    };
    let mut owned = object("owned", json!({"data": one}));
    owned["metadata"]["labels"] = json!({"team": "shop", "app.kubernetes.io/instance": "shop"});
    owned["metadata"]["annotations"] = json!({"note": "n"});
    let template = json!({
        "metadata": {"labels": {"team": "{{ .user }}"}, "annotations": {"note": "n"}},
        "data": {"url": "postgres://{{ .user }}@db:{{ .port }}", "whole": "{{ . | toJson }}"},
    });
    let extract = json!([{"extract": {"key": "team/db"}}]);
    vec![
        owned,
        object(
            "templated",
            json!({"target": {"name": "config", "template": template}, "dataFrom": extract}),
        ),
        object("extracted", json!({"dataFrom": extract})),
        object(
            "orphan",
            json!({"data": one, "target": {"creationPolicy": "Orphan"}}),
        ),
        object(
            "merged",
            json!({"data": one, "target": {"name": "theirs", "creationPolicy": "Merge"}}),
        ),
        object(
            "nowhere",
            json!({"data": one, "target": {"creationPolicy": "None"}}),
        ),
        object("once", json!({"data": one, "refreshPolicy": "CreatedOnce"})),
        object("changed", json!({"data": one, "refreshPolicy": "OnChange"})),
        object("never", json!({"data": one, "refreshInterval": "0"})),
        object(
            "immutable",
            json!({"data": one, "target": {"immutable": true}}),
        ),
        object(
            "removed",
            json!({"data": absent, "target": {"deletionPolicy": "Delete"}}),
        ),
        object(
            "missing",
            json!({"data": one, "target": {"name": "nobodys", "creationPolicy": "Merge"}}),
        ),
        object("failing", json!({"data": absent})),
    ]
}

/// A `ClusterExternalSecret` for the namespace.
fn cluster_object() -> Value {
    json!({
        "apiVersion": "external-secrets.io/v1", "kind": "ClusterExternalSecret",
        "metadata": {"name": "spread"},
        "spec": {
            "externalSecretName": "spread",
            "externalSecretMetadata": {"labels": {"team": "shop"}},
            "namespaceSelectors": [{"matchLabels": {"kubernetes.io/metadata.name": NAMESPACE}}],
            "refreshTime": "1m",
            "externalSecretSpec": {
                "refreshInterval": "24h",
                "secretStoreRef": {"kind": "ClusterSecretStore", "name": STORE},
                "data": [{"secretKey": "TOKEN", "remoteRef": {"key": "team/api", "property": "token"}}],
            },
        },
    })
}

/// Lets the peer make them, and writes what it leaves.
pub async fn record(peer: &External, file: &Path) -> Result<()> {
    for (key, value) in values().as_object().into_iter().flatten() {
        peer.vault.put_value(key, value)?;
    }
    let plane = Plane::start().await?;
    peer.install(&plane)?;
    let theirs = json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": "theirs", "namespace": NAMESPACE}, "data": {"theirs": "a2VwdA=="},
    });
    plane
        .create_one(&super::super::plane::core("secrets"), &theirs)
        .await?;
    let objects = objects();
    let count = objects.len() + 1;
    let path = peer.collection().path(NAMESPACE);
    plane.create(&path, objects).await?;
    let cluster = "/apis/external-secrets.io/v1/clusterexternalsecrets";
    plane.create_one(cluster, &cluster_object()).await?;
    let mut process = peer.start(&plane)?;
    let start = Instant::now();
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let all = list(&plane, &path).await?;
        let has_status = |object: &&Value| object["status"]["conditions"][0]["type"] == "Ready";
        if all.iter().filter(has_status).count() == count {
            break;
        }
        if start.elapsed() > WITHIN {
            return Err(format!("{} of {count} objects have a status", all.len()).into());
        }
    }
    // The last status may not be the last write.
    tokio::time::sleep(Duration::from_secs(5)).await;
    trial::stop(&mut process)?;
    let namespaces = list(&plane, "/api/v1/namespaces").await?;
    let ours = |object: &&Value| object["metadata"]["name"] == NAMESPACE;
    let left = json!({
        "why": "What External Secrets Operator left, recorded by `sealkit-bench left`. The values are public.",
        "store": values(),
        "namespace": namespaces.iter().find(ours),
        "clusterExternalSecrets": list(&plane, cluster).await?,
        "externalSecrets": list(&plane, &path).await?,
        "secrets": list(&plane, &super::super::plane::core("secrets")).await?,
    });
    std::fs::write(file, format!("{:#}\n", without_noise(left)))?;
    progress(format_args!("{}", file.display()));
    Ok(())
}

/// Without what the API server keeps for itself.
fn without_noise(mut value: Value) -> Value {
    match &mut value {
        Value::Object(fields) => {
            for noise in ["managedFields", "resourceVersion", "creationTimestamp"] {
                fields.remove(noise);
            }
            for field in fields.values_mut() {
                *field = without_noise(field.take());
            }
        }
        Value::Array(items) => {
            for item in items {
                *item = without_noise(item.take());
            }
        }
        _ => {}
    }
    value
}

async fn list(plane: &Plane, path: &str) -> Result<Vec<Value>> {
    let list: Value = plane
        .client
        .request(Request::get(path).body(Vec::new())?)
        .await?;
    Ok(list["items"].as_array().cloned().unwrap_or_default())
}
