//! Removes the finalizers that External Secrets put on namespaces: without it, nobody else would, and
//! such a namespace could not be deleted.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::ListParams;
use sealkit_core::api::external::ESO_NAMESPACE_FINALIZER;

use super::ClusterExternalSecrets;
use crate::kubernetes::{self, ApiFailure};
use crate::object::RawMeta;
use crate::queue::pause;
use crate::watch::all_pass;

impl ClusterExternalSecrets {
    /// Releases all namespaces, and then does nothing more. It hinders nothing else: what it may not do
    /// yet, it tries again.
    pub(super) async fn release_namespaces(self: Arc<Self>) {
        let what = "finalizers of External Secrets on namespaces";
        for failures in 1.. {
            match self.released().await {
                Ok(count) => {
                    if count > 0 {
                        tracing::info!(count, "removed {what}");
                    }
                    break;
                }
                Err(failure) => {
                    let right = "patch on namespaces, which deploy/components/take-over grants";
                    tracing::warn!("cannot remove {what}: is there the right {right}? {failure}");
                }
            }
            tokio::time::sleep(pause(failures)).await;
        }
        std::future::pending::<()>().await;
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
        let mut first_failure = Ok(found.len());
        for (name, finalizer) in &found {
            let path = format!("/api/v1/namespaces/{name}");
            let removed = kubernetes::remove_finalizer(client, &path, finalizer).await;
            if let Err(failure) = removed {
                tracing::warn!(namespace = name, "cannot remove {finalizer}: {failure}");
                first_failure = first_failure.and(Err(failure));
            }
        }
        first_failure
    }
}
