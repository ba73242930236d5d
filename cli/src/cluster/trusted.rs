//! The other recipients that a cluster may seal to: the ConfigMap `sealkit-recipients`.

use std::collections::{BTreeMap, BTreeSet};

use http::Request;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind};
use sealkit_core::keys::TrustedRecipients;
use serde_json::{Value, json};

use super::Cluster;
use crate::error::{CommandError, Result};

const ROLE: &str = "the Role sealkit-trust in the controller's namespace allows it";
/// Field manager of what this command writes.
const MANAGER: &str = "seal";

/// The ConfigMap as it was read.
#[derive(Clone, Debug, Default)]
pub(crate) struct TrustedMap {
    /// Its entries.
    pub data: BTreeMap<String, String>,
    version: Option<String>,
    /// Entries that somebody else manages.
    foreign: BTreeSet<String>,
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
        let managers = found.metadata.managed_fields.unwrap_or_default();
        let others = managers
            .into_iter()
            .filter(|entry| entry.manager.as_deref() != Some(MANAGER));
        let fields = others.filter_map(|entry| Some(entry.fields_v1?.0));
        let names = fields.flat_map(|fields| {
            let data = fields.get("f:data").and_then(Value::as_object).cloned();
            data.unwrap_or_default().into_iter().map(|(name, _)| name)
        });
        let names = names.filter_map(|name| name.strip_prefix("f:").map(str::to_owned));
        Ok(TrustedMap {
            data,
            version: found.metadata.resource_version,
            foreign: names.collect(),
        })
    }

    /// Writes it, if it is still as it was read.
    pub fn write_trusted(
        &self,
        namespace: &str,
        old: &TrustedMap,
        data: &BTreeMap<String, String>,
    ) -> Result<()> {
        let theirs = || {
            CommandError::cluster(
                "somebody else manages the ConfigMap sealkit-recipients, or has just changed it",
            )
            .on(self.title())
            .hint("if Git manages it, print it with -o yaml and commit the result")
        };
        // Only what changes: entries of others stay theirs, and are gone once they remove them.
        let names: BTreeSet<&String> = old.data.keys().chain(data.keys()).collect();
        let changed: BTreeMap<&String, Option<&String>> = names
            .into_iter()
            .filter(|name| old.data.get(*name) != data.get(*name))
            .map(|name| (name, data.get(name)))
            .collect();
        if changed.keys().any(|name| old.foreign.contains(*name)) {
            return Err(theirs());
        }
        let path = format!(
            "/api/v1/namespaces/{namespace}/configmaps/{}?fieldManager={MANAGER}",
            TrustedRecipients::NAME
        );
        // One that is not there yet is applied, since rights on one name do not cover creating.
        let (kind, body) = match &old.version {
            None => ("apply-patch+yaml", manifest(namespace, data)),
            Some(version) => {
                let metadata = json!({"resourceVersion": version});
                (
                    "merge-patch+json",
                    json!({"metadata": metadata, "data": changed}),
                )
            }
        };
        let request = Request::patch(path)
            .header("content-type", format!("application/{kind}"))
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
        Err(theirs())
    }
}

/// The ConfigMap as a manifest.
pub(crate) fn manifest(namespace: &str, data: &BTreeMap<String, String>) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": TrustedRecipients::NAME, "namespace": namespace},
        "data": data,
    })
}
