//! Places of objects: the whole cluster, or the namespaces that are served.

use std::collections::BTreeSet;
use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::NamespaceResourceScope;
use kube::{Api, Client};

use crate::queue::Grouped;
use crate::settings::Settings;

/// Namespace and name of an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl Key {
    /// That of an object with this metadata.
    pub fn of(metadata: &ObjectMeta) -> Self {
        Self {
            namespace: metadata.namespace.clone().unwrap_or_default(),
            name: metadata.name.clone().unwrap_or_default(),
        }
    }

    /// That of an object of this name in the same namespace.
    pub fn beside(&self, name: &str) -> Self {
        Self {
            namespace: self.namespace.clone(),
            name: name.to_owned(),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Namespaces take turns in the queue.
impl Grouped for Key {
    fn group(&self) -> &str {
        &self.namespace
    }
}

/// What one watch covers: the whole cluster, or one namespace.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Namespaces {
    /// The whole cluster.
    All,
    /// This namespace.
    One(String),
}

impl Namespaces {
    /// Is the object in it?
    pub fn covers(&self, key: &Key) -> bool {
        match self {
            Self::All => true,
            Self::One(namespace) => *namespace == key.namespace,
        }
    }

    /// The one namespace that it is.
    pub fn one(&self) -> Option<&str> {
        match self {
            Self::All => None,
            Self::One(namespace) => Some(namespace),
        }
    }
}

/// The objects of a kind in these namespaces.
pub fn api<K>(client: &Client, namespaces: &Namespaces) -> Api<K>
where
    K: kube::Resource<Scope = NamespaceResourceScope>,
    K::DynamicType: Default,
{
    match namespaces {
        Namespaces::All => Api::all(client.clone()),
        Namespaces::One(namespace) => Api::namespaced(client.clone(), namespace),
    }
}

/// What the controller serves: each namespace by itself, or the whole cluster at once.
pub fn served(settings: &Settings) -> Vec<Namespaces> {
    let namespaces: BTreeSet<&String> = settings.watch_namespaces.iter().collect();
    if namespaces.is_empty() {
        return vec![Namespaces::All];
    }
    namespaces
        .into_iter()
        .cloned()
        .map(Namespaces::One)
        .collect()
}
