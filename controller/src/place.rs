//! Where objects are: in the whole cluster, or in the namespaces that are served.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::NamespaceResourceScope;
use kube::{Api, Client};

use crate::settings::Settings;

/// Namespace and name.
pub type Key = (String, String);

/// A namespace, or the whole cluster.
pub type Place = Option<String>;

/// Namespace and name of an object.
pub fn key_of(metadata: &ObjectMeta) -> Key {
    (
        metadata.namespace.clone().unwrap_or_default(),
        metadata.name.clone().unwrap_or_default(),
    )
}

/// Is the object in this place?
pub fn covers(place: &Place, key: &Key) -> bool {
    place.as_ref().is_none_or(|namespace| *namespace == key.0)
}

/// The objects of a kind in a place.
pub fn api<K>(client: &Client, place: &Place) -> Api<K>
where
    K: kube::Resource<Scope = NamespaceResourceScope>,
    K::DynamicType: Default,
{
    match place {
        None => Api::all(client.clone()),
        Some(namespace) => Api::namespaced(client.clone(), namespace),
    }
}

/// The namespaces to serve, each once; `None` alone for the whole cluster.
pub fn places(settings: &Settings) -> Vec<Place> {
    let namespaces: BTreeSet<&String> = settings.watch_namespaces.iter().collect();
    if namespaces.is_empty() {
        vec![None]
    } else {
        namespaces.into_iter().cloned().map(Some).collect()
    }
}
