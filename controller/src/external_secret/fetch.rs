//! Observes the values: what the spec asks for, from the stores that it names.

use std::sync::Arc;
use std::time::Duration;

use sealkit_core::api::Reason;
use sealkit_core::api::external::{
    DeletionPolicy, ExternalSecretSpec, RemoteRef, SecretStoreRef, SourceRef,
};

use super::stores::StoreName;
use super::{ExternalSecrets, data};
use crate::queue::LONGEST_PAUSE;
use crate::render::Contents;
use crate::status::Outcome;
use crate::store::{Object, Read, StoreError};

impl ExternalSecrets {
    /// All values: those of `dataFrom` first, in order; later ones win.
    pub(super) async fn fetch(
        &self,
        spec: &ExternalSecretSpec,
        namespace: &str,
        window: Duration,
    ) -> Result<Contents, StoreError> {
        let mut contents = Contents::new();
        for entry in &spec.data_from {
            let Some(remote) = &entry.extract else {
                continue;
            };
            let store = store_of(entry.source_ref.as_ref(), spec);
            let found = self.read(store, secret(remote), namespace, window).await;
            if let Some(found) = unless_missing(found, spec)? {
                contents.extend(data::values(&found.0, remote)?);
            }
        }
        for entry in &spec.data {
            let remote = &entry.remote_ref;
            let store = store_of(entry.source_ref.as_ref(), spec);
            let found = self.read(store, secret(remote), namespace, window).await;
            if let Some(found) = unless_missing(found, spec)? {
                contents.insert(entry.secret_key.clone(), data::value(&found.0, remote)?);
            }
        }
        Ok(contents)
    }

    /// Reads from one store.
    async fn read(
        &self,
        store: &SecretStoreRef,
        read: Read,
        namespace: &str,
        window: Duration,
    ) -> Result<Arc<Object>, StoreError> {
        let store = StoreName::of(store, namespace);
        self.stores.read(&store, namespace, &read, window).await
    }
}

/// The secret that is asked for.
fn secret(remote: &RemoteRef) -> Read {
    Read::Secret {
        key: remote.key.clone(),
        version: Some(remote.version.clone()).filter(|version| !version.is_empty()),
    }
}

/// What a failure to read means, and the longest pause until the next try.
pub(super) fn not_fetched(error: &StoreError) -> (Outcome, Option<Duration>) {
    let message = error.to_string();
    let (reason, retry) = match error {
        StoreError::Config(_) => {
            return (
                Outcome::Stalled(Reason::InvalidProviderConfig, message),
                None,
            );
        }
        StoreError::Absent(_) => (Reason::StoreNotReady, LONGEST_PAUSE),
        StoreError::Denied(_) => (Reason::AccessDenied, LONGEST_PAUSE),
        StoreError::Missing(_) | StoreError::NoProperty(_) => (Reason::NotFound, LONGEST_PAUSE),
        StoreError::Answer(_) => (Reason::ProviderError, LONGEST_PAUSE),
        StoreError::Expired | StoreError::Unavailable { .. } => {
            (Reason::ProviderError, Duration::from_secs(30))
        }
    };
    (Outcome::Retrying(reason, message), Some(retry))
}

/// A secret that the store does not have is no failure if `deletionPolicy` says what to do then.
fn unless_missing(
    secret: Result<Arc<Object>, StoreError>,
    spec: &ExternalSecretSpec,
) -> Result<Option<Arc<Object>>, StoreError> {
    match secret {
        Err(StoreError::Missing(_)) if spec.target.deletion_policy != DeletionPolicy::Retain => {
            Ok(None)
        }
        secret => secret.map(Some),
    }
}

fn store_of<'a>(source: Option<&'a SourceRef>, spec: &'a ExternalSecretSpec) -> &'a SecretStoreRef {
    match source {
        Some(SourceRef::StoreRef(store)) => store,
        _ => &spec.secret_store_ref,
    }
}

/// The stores that the spec names, each once.
pub(super) fn stores_of(spec: &ExternalSecretSpec, namespace: &str) -> Vec<StoreName> {
    let sources = (spec.data.iter().map(|entry| entry.source_ref.as_ref()))
        .chain(spec.data_from.iter().map(|entry| entry.source_ref.as_ref()));
    let mut stores = Vec::new();
    for source in sources {
        let store = StoreName::of(store_of(source, spec), namespace);
        if !stores.contains(&store) {
            stores.push(store);
        }
    }
    stores
}
