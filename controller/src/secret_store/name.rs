//! Names of stores.

use sealkit_core::api::external::{SecretStoreRef, StoreKind};

use crate::object::Key;

/// A store by its name. Those of the cluster have no namespace.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StoreName {
    /// Its kind.
    pub kind: StoreKind,
    /// Its namespace; empty for those of the cluster.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl StoreName {
    /// The store that an object in this namespace refers to.
    pub fn of(reference: &SecretStoreRef, namespace: &str) -> Self {
        let kind = reference.kind;
        let namespace = match kind {
            StoreKind::SecretStore => namespace.to_owned(),
            StoreKind::ClusterSecretStore => String::new(),
        };
        Self {
            kind,
            namespace,
            name: reference.name.clone(),
        }
    }

    /// The store at this place: only those of the cluster have no namespace.
    pub fn at(key: &Key) -> Self {
        let kind = if key.namespace.is_empty() {
            StoreKind::ClusterSecretStore
        } else {
            StoreKind::SecretStore
        };
        Self {
            kind,
            namespace: key.namespace.clone(),
            name: key.name.clone(),
        }
    }

    /// Its place.
    pub(super) fn key(&self) -> Key {
        Key {
            namespace: self.namespace.clone(),
            name: self.name.clone(),
        }
    }
}
