//! A fresh control plane and a client of its administrator.

use std::collections::BTreeMap;
use std::path::Path;

use futures::TryStreamExt;
use http::Request;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::PartialObjectMeta;
use kube::{Client, Config};
pub use sealkit_core::api::METADATA_ONLY;
use sealkit_rig::{ControlPlane, Options};
use serde_json::Value;

use crate::{Result, progress};

/// Where all objects live.
pub const NAMESPACE: &str = "bench";

/// Objects that are created at once.
const AT_ONCE: usize = 32;

const LISTS_OF_METADATA: &str =
    "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";

/// A running control plane.
pub struct Plane {
    /// Its servers.
    pub control: ControlPlane,
    /// The administrator's client.
    pub client: Client,
}

impl Plane {
    /// Starts one, with the namespace of the objects.
    pub async fn start() -> Result<Self> {
        let control = ControlPlane::start(Options::default())?;
        control.kubectl(&["create", "namespace", NAMESPACE])?;
        let client = client(control.kubeconfig()).await?;
        Ok(Self { control, client })
    }

    /// Creates objects in a collection, many at once.
    pub async fn create(&self, path: &str, objects: Vec<Value>) -> Result<()> {
        progress(format_args!("  creating {} objects", objects.len()));
        futures::stream::iter(objects.into_iter().map(Ok))
            .try_for_each_concurrent(AT_ONCE, |object| async move {
                self.create_one(path, &object).await
            })
            .await
    }

    /// Creates one object in a collection.
    pub async fn create_one(&self, path: &str, object: &Value) -> Result<()> {
        let request = Request::post(path)
            .header("content-type", "application/json")
            .header("accept", METADATA_ONLY)
            .body(serde_json::to_vec(object)?)?;
        self.client.request::<PartialObjectMeta>(request).await?;
        Ok(())
    }

    /// The resourceVersions of a collection by name.
    pub async fn versions(&self, path: &str) -> Result<BTreeMap<String, String>> {
        let request = Request::get(path)
            .header("accept", LISTS_OF_METADATA)
            .body(Vec::new())?;
        let list: kube::core::ObjectList<PartialObjectMeta> = self.client.request(request).await?;
        let version =
            |item: PartialObjectMeta| Some((item.metadata.name?, item.metadata.resource_version?));
        Ok(list.items.into_iter().filter_map(version).collect())
    }
}

/// A client for a kubeconfig.
pub async fn client(kubeconfig: &Path) -> Result<Client> {
    let kubeconfig = Kubeconfig::read_from(kubeconfig)?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}

/// The path of a collection of the core group in the namespace of the objects.
pub fn core(plural: &str) -> String {
    format!("/api/v1/namespaces/{NAMESPACE}/{plural}")
}
