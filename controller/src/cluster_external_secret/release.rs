//! Removes the finalizers that External Secrets put on namespaces: without it, nobody else would, and
//! such a namespace could not be deleted.

use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::ListParams;
use sealkit_core::api::external::ESO_NAMESPACE_FINALIZER;

use super::ClusterExternalSecrets;
use crate::kubernetes::{self, ApiFailure};
use crate::object::RawMeta;
use crate::watch::all_pass;

impl ClusterExternalSecrets {
    /// Releases all namespaces, once. What cannot be done is logged: it hinders nothing else.
    pub(super) async fn release_namespaces(&self) {
        let what = "finalizers of External Secrets on namespaces";
        match self.released().await {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "removed {what}"),
            Err(failure) => {
                let right = "patch on namespaces, which deploy/components/take-over grants";
                tracing::warn!("cannot remove {what} without the right {right}: {failure}");
            }
        }
    }

    async fn released(&self) -> Result<usize, ApiFailure> {
        let client = &self.context.client;
        let api: Api<RawMeta<Namespace>> = Api::all(client.clone());
        let mut found = Vec::new();
        all_pass(&api, ListParams::default(), |namespace| {
            let name = namespace.metadata.name.clone().unwrap_or_default();
            let finalizers = namespace.metadata.finalizers.iter().flatten();
            let theirs = finalizers.filter(|name| name.starts_with(ESO_NAMESPACE_FINALIZER));
            found.extend(theirs.map(|finalizer| (name.clone(), finalizer.clone())));
            true
        })
        .await?;
        for (name, finalizer) in &found {
            let path = format!("/api/v1/namespaces/{name}");
            kubernetes::remove_finalizer(client, &path, finalizer).await?;
        }
        Ok(found.len())
    }
}
