//! Whom a cluster may seal to beside itself: the ConfigMap `sealkit-recipients`.

use std::collections::BTreeMap;

use http::Request;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind};
use sealkit_core::keys::TrustedRecipients;
use serde_json::{Value, json};

use super::Cluster;
use crate::error::{CommandError, Result};

const ROLE: &str = "the Role sealkit-trust in the controller's namespace allows it";
/// Field manager of what this command writes.
const MANAGER: &str = "seal";

/// The ConfigMap as it stands.
#[derive(Clone, Debug, Default)]
pub struct TrustedMap {
    /// Its entries.
    pub data: BTreeMap<String, String>,
    version: Option<String>,
}

impl Cluster {
    /// Reads it; empty where there is none.
    pub fn trusted(&self, namespace: &str) -> Result<TrustedMap> {
        let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "ConfigMap"));
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), namespace, &kind);
        let forbidden = "not allowed to read the ConfigMap sealkit-recipients";
        let found = self.call(api.get_opt(TrustedRecipients::NAME), forbidden, ROLE)?;
        let Some(mut found) = found else {
            return Ok(TrustedMap::default());
        };
        let data = found.data.get_mut("data").map(Value::take);
        let data = data
            .filter(|data| !data.is_null())
            .unwrap_or_else(|| json!({}));
        let data = serde_json::from_value(data).map_err(|_| {
            CommandError::cluster("the ConfigMap sealkit-recipients cannot be read")
        })?;
        Ok(TrustedMap {
            data,
            version: found.metadata.resource_version,
        })
    }

    /// Writes it, if it is still as it was read.
    pub fn write_trusted(
        &self,
        namespace: &str,
        old: &TrustedMap,
        data: &BTreeMap<String, String>,
    ) -> Result<()> {
        let mut body = manifest(namespace, data);
        body["metadata"]["resourceVersion"] = json!(old.version);
        let path = format!(
            "/api/v1/namespaces/{namespace}/configmaps/{}?fieldManager={MANAGER}",
            TrustedRecipients::NAME
        );
        let request = Request::patch(path)
            .header("content-type", "application/apply-patch+yaml")
            .body(body.to_string().into_bytes())
            .map_err(|_| CommandError::bug("the ConfigMap cannot be written"))?;
        let forbidden = "not allowed to write the ConfigMap sealkit-recipients";
        let call = async {
            match self.client.request::<Value>(request).await {
                Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
                answer => answer.map(|_| true),
            }
        };
        if self.call(call, forbidden, ROLE)? {
            return Ok(());
        }
        Err(CommandError::cluster(
            "somebody else manages the ConfigMap sealkit-recipients, or changed it just now",
        )
        .on(self.title())
        .hint("where it comes from Git: print it with -o yaml and commit it there"))
    }
}

/// The ConfigMap as a manifest.
pub fn manifest(namespace: &str, data: &BTreeMap<String, String>) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": TrustedRecipients::NAME, "namespace": namespace},
        "data": data,
    })
}
