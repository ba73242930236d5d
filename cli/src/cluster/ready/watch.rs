//! Watches over objects of which only metadata and status are kept.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::BoxStream;
use kube::api::{ApiResource, ObjectMeta};
use kube::core::DynamicResourceScope;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Resource};
use sealkit_core::api::readiness::{Readiness, Why};
use serde::Deserialize;
use serde_json::Value;

use super::board::Sight;
use crate::cluster::PAGE;
use crate::cluster::kinds::{ObjectKey, SecretsKind};

/// Seconds that one watch lasts; a connection that died is noticed a little later.
const WATCH: u32 = 60;
/// Pauses after errors.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(4);

/// Objects of one kind that are watched together.
#[derive(Clone, Debug)]
pub(crate) struct Scope {
    /// Their kind.
    pub kind: &'static SecretsKind,
    /// How the API server finds it.
    pub resource: ApiResource,
    /// Their namespace; all where there is none.
    pub namespace: Option<String>,
    /// The name of the only one.
    pub name: Option<String>,
    /// Labels that they have.
    pub selector: Option<String>,
    /// Are all of them awaited, and not only those that were named?
    pub whole: bool,
}

impl Scope {
    /// Watches over single objects: one for all of a kind and namespace.
    pub fn of_objects(objects: impl IntoIterator<Item = (ObjectKey, ApiResource)>) -> Vec<Self> {
        let mut scopes: BTreeMap<(String, String), Self> = BTreeMap::new();
        for (key, resource) in objects {
            let place = (key.kind.resource(), key.namespace.clone());
            let other = scopes.get_mut(&place);
            if let Some(scope) = other {
                scope.name = None;
                continue;
            }
            let scope = Self {
                kind: key.kind,
                resource,
                namespace: Some(key.namespace),
                name: Some(key.name),
                selector: None,
                whole: false,
            };
            scopes.insert(place, scope);
        }
        scopes.into_values().collect()
    }

    /// Would this object be in a list of it? Labels aside: what has them no more is gone.
    pub fn covers(&self, key: &ObjectKey) -> bool {
        let same = |mine: &Option<String>, of: &str| mine.as_deref().is_none_or(|mine| mine == of);
        self.kind == key.kind
            && same(&self.namespace, &key.namespace)
            && same(&self.name, &key.name)
    }

    /// The changes of these objects, without end.
    pub fn events(&self, client: Client) -> BoxStream<'static, watcher::Result<Event<Observed>>> {
        let api: Api<Observed> = match &self.namespace {
            Some(namespace) if self.kind.namespaced => {
                Api::namespaced_with(client, namespace, &self.resource)
            }
            _ => Api::all_with(client, &self.resource),
        };
        let mut config = watcher::Config::default().page_size(PAGE).timeout(WATCH);
        if let Some(name) = &self.name {
            config = config.fields(&format!("metadata.name={name}"));
        }
        if let Some(selector) = &self.selector {
            config = config.labels(selector);
        }
        watcher(api, config).backoff(Pauses(0)).boxed()
    }
}

/// An object; its spec is skipped while it is read.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Observed {
    metadata: ObjectMeta,
    #[serde(default)]
    status: Value,
}

impl Observed {
    /// Which one it is, and what it says.
    pub fn sight(&self, kind: &'static SecretsKind) -> (ObjectKey, Sight) {
        let ObjectMeta {
            namespace,
            name,
            generation,
            deletion_timestamp,
            ..
        } = &self.metadata;
        let key = ObjectKey {
            kind,
            namespace: namespace.clone().unwrap_or_default(),
            name: name.clone().unwrap_or_default(),
        };
        let readiness = if deletion_timestamp.is_some() {
            Readiness::Waiting(Why {
                reason: "Terminating".to_owned(),
                message: "it is being deleted".to_owned(),
            })
        } else {
            Readiness::of_status(kind.dialect, *generation, &self.status)
        };
        let generation = generation.unwrap_or_default();
        let sight = Sight {
            generation,
            readiness,
        };
        (key, sight)
    }

    /// What the API server calls this state of it.
    pub fn version(&self) -> &str {
        self.metadata
            .resource_version
            .as_deref()
            .unwrap_or_default()
    }
}

impl Resource for Observed {
    type DynamicType = ApiResource;
    type Scope = DynamicResourceScope;

    fn group(resource: &ApiResource) -> Cow<'_, str> {
        resource.group.as_str().into()
    }

    fn version(resource: &ApiResource) -> Cow<'_, str> {
        resource.version.as_str().into()
    }

    fn kind(resource: &ApiResource) -> Cow<'_, str> {
        resource.kind.as_str().into()
    }

    fn api_version(resource: &ApiResource) -> Cow<'_, str> {
        resource.api_version.as_str().into()
    }

    fn plural(resource: &ApiResource) -> Cow<'_, str> {
        resource.plural.as_str().into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// Growing pauses between attempts, short ones: somebody is waiting.
struct Pauses(u32);

impl Iterator for Pauses {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let pause = FIRST_PAUSE * 2u32.pow(self.0.min(8));
        self.0 += 1;
        Some(pause.min(LONGEST_PAUSE))
    }
}

impl Backoff for Pauses {
    fn reset(&mut self) {
        self.0 = 0;
    }
}
