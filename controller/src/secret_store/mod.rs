//! SecretStores and ClusterSecretStores: who may use which, whether they work, and a session with the
//! provider for each identity. What uses a store is told when it changes.

mod known;
mod login;
mod name;
mod reconcile;
mod stores;
mod usage;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use sealkit_core::api::external::{ClusterSecretStore, SecretStore, SecretStoreStatus, StoreKind};
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::kubernetes::ApiFailure;
use crate::lock::lock;
use crate::object::{Key, Namespaces, Raw, api};
use crate::queue::{Lane, Queue, Work};
use crate::reconciler::{Context, Pool, Reconciler, Retry};
use crate::sources::{Source, SourceListener, Sources, TOGETHER};
use crate::telemetry::{Counts, Metrics, ObjectState};
use crate::watch::{Change, FirstLists, List, changes_of_strangers};

use known::Annotations;
pub use known::verdict;
pub use name::StoreName;
pub use stores::{Identity, Stores};

const KIND: &str = "SecretStore";
/// Stores of one namespace that are checked at once.
const AT_ONCE: usize = 4;
/// Stores that are checked at once: slow ones of one namespace leave some to the others.
const WORKERS: usize = 2 * AT_ONCE;

/// Whoever uses stores.
pub trait StoreListener: Send + Sync {
    /// The store was changed, is gone, or works again.
    fn store_changed(&self, name: &StoreName);

    /// The labels of a namespace were changed: other stores may be open to it.
    fn namespace_changed(&self, namespace: &str);

    /// Stores have other credentials, which may work where those before did not.
    fn credentials_changed(&self, _: &HashSet<Identity>) {}
}

/// Checks the stores, and keeps what is known about them.
pub struct SecretStores {
    context: Context,
    queue: Queue<Key, ()>,
    stores: Arc<Stores>,
    listeners: Mutex<Vec<Weak<dyn StoreListener>>>,
    /// The last check of each store.
    checked: Mutex<HashMap<Key, Checked>>,
    /// How often a store is checked that does not say so itself.
    every: Duration,
    listed: FirstLists,
}

/// The last check of a store.
#[derive(Clone, Debug, Default)]
struct Checked {
    ready: bool,
    failures: u32,
    counts: Counts,
}

impl SecretStores {
    /// A reconciler that has observed nothing yet.
    pub fn new(
        context: Context,
        class: &str,
        every: Duration,
        sources: &Arc<Sources>,
    ) -> Arc<Self> {
        for namespaces in &context.served {
            context.health.expect_in(KIND, namespaces);
        }
        let this = Arc::new(Self {
            queue: Queue::new(AT_ONCE),
            stores: Arc::new(Stores::new(
                context.client.clone(),
                context.metrics.clone(),
                class,
                context.rules.allow_controller_identity,
                sources.clone(),
            )),
            listeners: Mutex::default(),
            checked: Mutex::default(),
            every,
            listed: FirstLists::of(watches(&context.served)),
            context,
        });
        let listener: Weak<dyn SourceListener> = Arc::<Self>::downgrade(&this);
        sources.add_listener(listener);
        this
    }

    /// The stores, for whoever reads from them.
    pub fn stores(&self) -> Arc<Stores> {
        self.stores.clone()
    }

    /// Notifies this listener too, from now on.
    pub fn add_listener(&self, listener: Weak<dyn StoreListener>) {
        lock(&self.listeners).push(listener);
    }

    /// Returns once all stores for these namespaces were listed.
    pub async fn listed(&self, namespaces: &Namespaces) {
        self.listed.completed(namespaces).await;
    }

    /// Watches the stores of one kind.
    async fn watch<S: StoreObject>(self: Arc<Self>, api: Api<S>, namespaces: Namespaces) {
        let kind = S::KIND;
        let context = &self.context;
        let mut changes = changes_of_strangers(context, api, kind.name(), namespaces).await;
        while let Some(change) = changes.next().await {
            match change {
                Change::Seen(store) => self.seen(&store),
                Change::Gone(key) => self.gone(&key),
                Change::Listed(list) => {
                    let lacks = |name: &StoreName| name.kind == kind && list.lacks(&name.key());
                    for name in self.stores.missing_from(lacks) {
                        self.gone(&name.key());
                    }
                    self.list_complete(&list);
                }
            }
        }
    }

    /// Watches the labels of namespaces, which selectors of stores ask for.
    async fn watch_namespaces(self: Arc<Self>) {
        let context = &self.context;
        let api: Api<Labelled> = Api::all(context.client.clone());
        let mut changes = changes_of_strangers(context, api, "Namespace", Namespaces::All).await;
        while let Some(change) = changes.next().await {
            match change {
                Change::Seen(namespace) => {
                    let (name, labels) = (namespace.metadata.name, namespace.metadata.labels);
                    self.labelled(&name.unwrap_or_default(), Some(labels.unwrap_or_default()));
                }
                Change::Gone(key) => self.labelled(&key.name, None),
                Change::Listed(list) => {
                    let lacks = |name: &str| {
                        list.lacks(&Key {
                            namespace: String::new(),
                            name: name.to_owned(),
                        })
                    };
                    for name in self.stores.namespaces_missing_from(lacks) {
                        self.labelled(&name, None);
                    }
                    self.list_complete(&list);
                }
            }
        }
    }

    fn list_complete(&self, list: &List) {
        if self.listed.count(list) {
            self.context.health.ready_in(KIND, list.namespaces());
        }
    }

    fn seen<S: StoreObject>(&self, store: &S) {
        let key = Key::of(store.meta());
        let name = StoreName::at(&key);
        let annotations = Annotations::of(store.meta());
        let (generation, spec) = store.described();
        let uid = store.meta().uid.as_deref().unwrap_or_default();
        if !self
            .stores
            .observe(&name, uid, generation, spec, annotations)
        {
            return;
        }
        lock(&self.checked).entry(key.clone()).or_default().failures = 0;
        self.queue.push(key, Lane::Fresh, Instant::now(), None);
        self.tell(|listener| listener.store_changed(&name));
    }

    fn gone(&self, key: &Key) {
        let name = StoreName::at(key);
        self.stores.gone(&name);
        lock(&self.checked).remove(key);
        self.queue.forget(key);
        self.tell(|listener| listener.store_changed(&name));
    }

    fn labelled(&self, namespace: &str, labels: Option<usage::Labels>) {
        if self.stores.observe_namespace(namespace, labels) {
            self.tell(|listener| listener.namespace_changed(namespace));
        }
    }

    fn tell(&self, what: impl Fn(&dyn StoreListener)) {
        let listeners = lock(&self.listeners).clone();
        for listener in listeners.iter().filter_map(Weak::upgrade) {
            what(&*listener);
        }
    }
}

impl SourceListener for SecretStores {
    fn source_changed(&self, source: &Source, version: &str) {
        let changed = self.stores.source_changed(source, version);
        if changed.is_empty() {
            return;
        }
        // Whoever writes a Secret again and again asks the provider no oftener.
        let due = Instant::now() + TOGETHER;
        for (name, _) in &changed {
            self.queue.push(name.key(), Lane::Fresh, due, None);
        }
        self.tell(|listener| listener.credentials_changed(&changed));
    }

    fn sources(&self) -> Vec<Source> {
        self.stores.sources()
    }
}

/// Stores of each served namespace; stores of the cluster, and the namespaces that may use them.
fn watches(served: &[Namespaces]) -> impl Iterator<Item = &Namespaces> {
    let more = if serves_cluster(served) { 2 } else { 0 };
    served
        .iter()
        .chain(std::iter::repeat_n(&Namespaces::All, more))
}

/// A controller that serves some namespaces only has no right on stores of the cluster.
fn serves_cluster(served: &[Namespaces]) -> bool {
    served.contains(&Namespaces::All)
}

/// A namespace as the watch shows it: its metadata.
type Labelled = crate::object::Labelled<Namespace>;

/// A store as a watch shows it.
trait StoreObject:
    kube::Resource<DynamicType = ()>
    + Clone
    + std::fmt::Debug
    + Send
    + serde::de::DeserializeOwned
    + 'static
{
    const KIND: StoreKind;

    /// Generation and spec.
    fn described(&self) -> (i64, Value);
}

impl StoreObject for Raw<SecretStore> {
    const KIND: StoreKind = StoreKind::SecretStore;

    fn described(&self) -> (i64, Value) {
        (self.generation(), self.spec().value)
    }
}

impl StoreObject for Raw<ClusterSecretStore> {
    const KIND: StoreKind = StoreKind::ClusterSecretStore;

    fn described(&self) -> (i64, Value) {
        (self.generation(), self.spec().value)
    }
}

impl Reconciler for SecretStores {
    const KIND: &'static str = KIND;
    type Payload = ();

    fn controller(key: &Key) -> &'static str {
        match StoreName::at(key).kind {
            StoreKind::SecretStore => "secretstore",
            StoreKind::ClusterSecretStore => "clustersecretstore",
        }
    }

    fn queue(&self) -> &Queue<Key, ()> {
        &self.queue
    }

    fn workers(&self) -> usize {
        WORKERS
    }

    async fn triggers(self: &Arc<Self>) -> JoinSet<()> {
        let mut watches = JoinSet::new();
        let Context { client, served, .. } = self.context.clone();
        for namespaces in served {
            let stores: Api<Raw<SecretStore>> = api(&client, &namespaces);
            watches.spawn(self.clone().watch(stores, namespaces));
        }
        if serves_cluster(&self.context.served) {
            let stores: Api<Raw<ClusterSecretStore>> = Api::all(client);
            watches.spawn(self.clone().watch(stores, Namespaces::All));
            watches.spawn(self.clone().watch_namespaces());
        }
        watches
    }

    async fn reconcile(&self, work: Work<Key, ()>, _: Pool) -> Result<&'static str, ApiFailure> {
        let start = Instant::now();
        let result = self.reconciled(&work.key).await;
        if let Some(checked) = lock(&self.checked).get_mut(&work.key) {
            checked.counts.count(start.elapsed(), result.is_ok());
        }
        let reason = result?;
        Ok(reason.map_or("Unchanged", sealkit_core::api::Reason::name))
    }

    fn failed(&self, key: &Key) -> Option<Retry> {
        let mut checked = lock(&self.checked);
        let checked = checked.get_mut(key)?;
        checked.failures = checked.failures.saturating_add(1);
        Some(Retry {
            failures: checked.failures,
            latest: None,
        })
    }

    fn gauges(&self, metrics: &Metrics) {
        self.stores.count_sessions();
        let checked = lock(&self.checked);
        metrics.count_ready(KIND, checked.values().map(|checked| checked.ready));
        metrics
            .external
            .tell(checked.iter().map(|(key, checked)| ObjectState {
                kind: Self::controller(key),
                namespace: key.namespace.clone(),
                name: key.name.clone(),
                ready: checked.ready,
                counts: checked.counts,
            }));
    }
}
