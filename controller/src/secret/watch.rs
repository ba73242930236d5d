//! The one watch on the Secrets that Sealkit wrote: metadata only, shared by all reconcilers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};

use futures::StreamExt;
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use tokio::task::JoinSet;

use super::MANAGED_LABEL;
use crate::lock::lock;
use crate::object::{Key, Namespaces, RawMeta, Version, api};
use crate::telemetry::{Health, Metrics};
use crate::watch::{Change, FirstLists, changes, of_strangers};

/// Its name in logs, metrics and readiness.
const NAME: &str = "Secret";

/// A listener for changed Secrets. A source whose Secret has another name than its own keeps its
/// own index.
pub trait SecretListener: Send + Sync {
    /// The Secret now has the version `current`, or is gone. Called without any lock held, and also
    /// if nothing changed: after an interruption, the watch reports all Secrets again.
    fn secret_changed(&self, key: &Key, current: Option<&Version>);
}

/// The versions of all labelled Secrets in the served namespaces.
pub struct SecretWatch {
    client: Client,
    health: Arc<Health>,
    metrics: Arc<Metrics>,
    served: Vec<Namespaces>,
    current: Mutex<HashMap<Key, Version>>,
    listeners: Mutex<Vec<Weak<dyn SecretListener>>>,
    listed: FirstLists,
}

impl SecretWatch {
    /// A watch that has observed nothing yet.
    pub fn new(
        client: Client,
        served: Vec<Namespaces>,
        health: Arc<Health>,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        health.expect(NAME);
        Arc::new(Self {
            client,
            health,
            metrics,
            listed: FirstLists::of(served.len()),
            served,
            current: Mutex::default(),
            listeners: Mutex::default(),
        })
    }

    /// Notifies this listener too, from now on.
    pub fn add_listener(&self, listener: Weak<dyn SecretListener>) {
        lock(&self.listeners).push(listener);
    }

    /// The last observed version of the Secret.
    pub fn current(&self, key: &Key) -> Option<Version> {
        lock(&self.current).get(key).cloned()
    }

    /// Returns once all Secrets were listed.
    pub async fn listed(&self) {
        self.listed.completed().await;
    }

    /// Watches without end.
    pub async fn run(self: Arc<Self>) {
        let mut watches = JoinSet::new();
        for namespaces in self.served.clone() {
            watches.spawn(self.clone().watch(namespaces));
        }
        self.listed().await;
        self.health.ready(NAME);
        // If one ends, the others end with it.
        watches.join_next().await;
    }

    async fn watch(self: Arc<Self>, namespaces: Namespaces) {
        let api = api::<RawMeta<Secret>>(&self.client, &namespaces);
        // Anybody may put the label on any Secret.
        let label = format!("{MANAGED_LABEL}=true");
        let stream = of_strangers(&self.client, api, Some(&label)).await;
        let mut changes = changes(stream, NAME, namespaces, self.health.clone(), &self.metrics);
        while let Some(change) = changes.next().await {
            match change {
                Change::Seen(secret) => {
                    let (key, seen) = (Key::of(&secret.metadata), Version::of(&secret.metadata));
                    lock(&self.current).insert(key.clone(), seen.clone());
                    self.changed(&key, Some(&seen));
                }
                Change::Gone(key) => self.gone(&key),
                Change::Listed(list) => {
                    let gone = list.missing(lock(&self.current).keys());
                    gone.iter().for_each(|key| self.gone(key));
                    self.listed.count(&list);
                }
            }
        }
    }

    fn gone(&self, key: &Key) {
        lock(&self.current).remove(key);
        self.changed(key, None);
    }

    fn changed(&self, key: &Key, current: Option<&Version>) {
        let listeners = lock(&self.listeners).clone();
        for listener in listeners.iter().filter_map(Weak::upgrade) {
            listener.secret_changed(key, current);
        }
    }
}
