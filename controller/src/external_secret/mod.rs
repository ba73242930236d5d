//! ExternalSecrets: values of a store become a Secret, which follows the store at an interval.

mod changes;
mod data;
mod event;
mod fate;
mod fetch;
mod observe;
mod plan;
mod recall;
mod reconcile;
mod rewrite;
mod schedule;
mod status;
mod take_over;
mod template;
mod template_from;
mod text;
mod versions;

use std::collections::{HashMap, HashSet};
use std::hash::RandomState;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, Weak};
use std::time::{Duration, SystemTime};

use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use sealkit_core::api::external::{CLUSTER_FORCE_SYNC, ExternalSecret, FORCE_SYNC, StoreKind};

use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::kubernetes::{ApiFailure, is_served, keeps_in_status};
use crate::lock::lock;
use crate::object::{
    Key, Kind, Known as KnownObject, Namespaces, News, Raw, Version, Waiting, WaitingRoom, api,
};
use crate::queue::{Lane, Queue, Turns, Work};
use crate::reconciler::{Context, Pool, Reconciler, Retry, SLOW};
use crate::secret::{SecretListener, SecretWatch, Secrets};
use crate::secret_store::{Identity, SecretStores, StoreListener, StoreName, Stores};
use crate::sources::{Source, SourceListener, SourceVersion, Sources, TOGETHER, Users};
use crate::telemetry::{Counts, Metrics, ObjectState};
use crate::watch::{Change, FirstLists, changes_of_strangers};

pub use observe::Forecasts;
pub use plan::verdict;
use recall::recall;
use schedule::Slot;

const KIND: &str = "ExternalSecret";
/// ExternalSecrets, as External Secrets names them.
const EXTERNAL_SECRET: Kind = Kind {
    group: sealkit_core::api::external::GROUP,
    version: sealkit_core::api::external::VERSION,
    kind: KIND,
    plural: "externalsecrets",
};

/// Bytes of objects that may be in memory while they wait for their turn or have it.
const WAITING_BYTES: usize = 16 * 1024 * 1024;
/// Objects with many bytes of values that are made at once.
const HEAVY_AT_ONCE: usize = 8;
/// At a start, objects in sync are refreshed within this time.
const START_WITHIN: Duration = Duration::from_secs(10);

/// An ExternalSecret as a watch shows it.
type ExternalSecretObject = Raw<ExternalSecret>;
type Known = KnownObject<Refresh>;

/// Whoever makes ExternalSecrets.
pub trait ExternalSecretListener: Send + Sync {
    /// An ExternalSecret was observed with this metadata; without any, it is gone.
    fn external_secret_changed(&self, key: &Key, now: Option<&ObjectMeta>);
}

/// What is remembered about an ExternalSecret.
#[derive(Clone, Debug, Default)]
struct Refresh {
    /// When it is refreshed next.
    due: Option<Instant>,
    /// Was a refresh asked for, that shares no earlier read?
    forced: bool,
    /// The annotations that ask for it, as they were last observed.
    force_sync: [Option<String>; 2],
    /// The stores that it names.
    stores: Vec<StoreName>,
    /// Who reads the same.
    slot: Slot,
    /// The secrets whose newest version it reads.
    newest: Vec<(StoreName, String)>,
    /// The sources of its templates, as an earlier process read them.
    sources: Vec<Source>,
    /// Name of its Secret.
    target: Option<String>,
    /// UID of the Secret that this process wrote for it.
    owned: Option<String>,
    /// Digest of the values that this process wrote last.
    values: Option<u64>,
    /// The last refresh that its status tells, as this process knows it.
    told: Option<Timestamp>,
    /// Is a finalizer of External Secrets to be removed?
    releases: bool,
    /// Does another controller refresh it too?
    contested: bool,
    /// Its reconciles.
    counts: Counts,
}

/// Reconciles ExternalSecrets.
pub struct ExternalSecrets {
    context: Context,
    at_once: usize,
    queue: Queue<Key, Waiting<ExternalSecret>>,
    /// The objects with templates.
    templated: Queue<Key, Waiting<ExternalSecret>>,
    waiting: WaitingRoom,
    /// Turns of objects with many bytes of values.
    heavy: Arc<Turns>,
    /// Makes digests of values.
    digests: RandomState,
    secrets: Secrets,
    secret_watch: Arc<SecretWatch>,
    stores: Arc<Stores>,
    secret_stores: Arc<SecretStores>,
    known: Mutex<HashMap<Key, Known>>,
    /// The objects by their Secrets.
    by_secret: Mutex<HashMap<Key, Key>>,
    /// The objects by the sources of their templates.
    users: Mutex<Users<Key>>,
    sources: Arc<Sources>,
    listeners: Mutex<Vec<Weak<dyn ExternalSecretListener>>>,
    listed: FirstLists,
    /// Does the API server keep what only our statuses have? Asked once.
    keeps_ours: OnceLock<bool>,
}

impl ExternalSecrets {
    /// A reconciler that has observed nothing yet.
    pub fn new(
        context: Context,
        at_once: usize,
        secrets: Secrets,
        secret_watch: Arc<SecretWatch>,
        secret_stores: Arc<SecretStores>,
        sources: Arc<Sources>,
    ) -> Arc<Self> {
        for namespaces in &context.served {
            context.health.expect_in(KIND, namespaces);
        }
        let this = Arc::new(Self {
            at_once: at_once.max(1),
            queue: Queue::new(at_once),
            templated: Queue::new(SLOW / 2),
            waiting: WaitingRoom::new(WAITING_BYTES),
            heavy: Turns::new(HEAVY_AT_ONCE, HEAVY_AT_ONCE / 2),
            digests: RandomState::new(),
            secrets,
            secret_watch,
            stores: secret_stores.stores(),
            secret_stores,
            known: Mutex::default(),
            by_secret: Mutex::default(),
            users: Mutex::default(),
            sources,
            listeners: Mutex::default(),
            listed: FirstLists::of(&context.served),
            keeps_ours: OnceLock::new(),
            context,
        });
        let listener: Weak<dyn SecretListener> = Arc::<Self>::downgrade(&this);
        this.secret_watch.add_listener(listener);
        let listener: Weak<dyn StoreListener> = Arc::<Self>::downgrade(&this);
        this.secret_stores.add_listener(listener);
        let listener: Weak<dyn SourceListener> = Arc::<Self>::downgrade(&this);
        this.sources.add_listener(listener);
        this
    }

    async fn watch_objects(self: Arc<Self>, namespaces: Namespaces) {
        self.secret_watch.listed(&namespaces).await;
        self.secret_stores.listed(&namespaces).await;
        let api: Api<ExternalSecretObject> = api(&self.context.client, &namespaces);
        let mut changes = changes_of_strangers(&self.context, api, KIND, namespaces).await;
        while let Some(change) = changes.next().await {
            match change {
                Change::Seen(object) => self.object_changed(object),
                Change::Gone(key) => self.object_gone(&key),
                Change::Listed(list) => {
                    let gone = list.missing(self.known().keys());
                    gone.iter().for_each(|key| self.object_gone(key));
                    if self.listed.count(&list) {
                        self.context.health.ready_in(KIND, list.namespaces());
                    }
                }
            }
        }
    }

    fn object_changed(&self, object: ExternalSecretObject) {
        let key = Key::of(&object.metadata);
        self.tell(&key, Some(&object.metadata));
        let annotations = object.metadata.annotations.as_ref();
        let force_sync = [FORCE_SYNC, CLUSTER_FORCE_SYNC]
            .map(|name| annotations.and_then(|all| all.get(name)).cloned());
        let (lane, due) = {
            let mut known = self.known();
            let known = known.entry(key.clone()).or_default();
            let newest = |spec: &_, namespace: &_| self.newest(spec, namespace);
            let news = known.observe(&object, |object| recall(object, SystemTime::now(), newest));
            let was_ready = news == News::New && known.ready;
            known.observe_refresh(object.status.as_ref());
            if !self.is_to_release(&object) {
                known.own.releases = false;
            } else if news != News::Same {
                known.own.releases = true;
            }
            let sources = std::mem::take(&mut known.own.sources);
            self.begins(&key, sources);
            if news != News::New && known.own.force_sync != force_sync {
                known.own.forced = true;
                known.recheck();
            }
            known.own.force_sync = force_sync;
            let secret = known.own.target.as_ref().map(|name| key.beside(name));
            if let Some(secret) = secret.clone().filter(|_| news == News::New) {
                lock(&self.by_secret).insert(secret, key.clone());
            }
            let secret = secret.and_then(|secret| self.secret_watch.current(&secret));
            let releases = known.own.releases.then_some(Duration::ZERO);
            let Some(work) = releases.or_else(|| known.work_after(secret.as_ref())) else {
                if let Some(due) = known.own.due.filter(|_| news == News::New) {
                    self.queue.push(key.clone(), Lane::Background, due, None);
                }
                return;
            };
            if was_ready {
                // What it holds is not older than the last process.
                let wait = Slot::of(&key).next(START_WITHIN, SystemTime::now());
                (Lane::Background, Instant::now() + wait)
            } else {
                (Lane::Fresh, Instant::now() + work)
            }
        };
        let payload = self.waiting.enter(object);
        self.queue.push(key, lane, due, payload);
    }

    fn object_gone(&self, key: &Key) {
        self.tell(key, None);
        let known = self.known().remove(key);
        if let Some(target) = known.and_then(|known| known.own.target) {
            lock(&self.by_secret).remove(&key.beside(&target));
        }
        lock(&self.users).remove(key);
        self.queue.forget(key);
        self.templated.forget(key);
    }

    /// Notifies this listener too, from now on.
    pub fn add_listener(&self, listener: Weak<dyn ExternalSecretListener>) {
        lock(&self.listeners).push(listener);
    }

    fn tell(&self, key: &Key, now: Option<&ObjectMeta>) {
        for listener in lock(&self.listeners).iter().filter_map(Weak::upgrade) {
            listener.external_secret_changed(key, now);
        }
    }

    /// Watches these sources for an object that this process has not rendered yet.
    fn begins(&self, key: &Key, sources: Vec<Source>) {
        if !sources.is_empty() {
            self.sources.want();
            lock(&self.users).begin(key, sources);
        }
    }

    /// Notes the sources that the templates of an object were read from. One that changed meanwhile is
    /// read again.
    fn uses(&self, key: &Key, sources: Vec<(Source, SourceVersion)>) {
        if !sources.is_empty() {
            self.sources.want();
        }
        if lock(&self.users).set(key, sources) {
            self.outdated([key.clone()]);
        }
    }

    /// The sources of these objects changed.
    fn outdated(&self, keys: impl IntoIterator<Item = Key>) {
        // Two that are made of each other go round no faster.
        let due = Instant::now() + TOGETHER;
        for key in keys {
            if let Some(known) = self.known().get_mut(&key) {
                known.recheck();
            }
            self.queue.push(key, Lane::Fresh, due, None);
        }
    }

    /// Returns once all objects in these namespaces were listed.
    pub async fn listed(&self, namespaces: &Namespaces) {
        self.listed.completed(namespaces).await;
    }

    fn keeps_ours(&self) -> bool {
        self.keeps_ours.get().is_some_and(|keeps| *keeps)
    }

    /// Those that this is true for look again. One of each slot goes first: a provider that reads many
    /// secrets with one call is asked for as many as possible.
    fn recheck(&self, concerns: impl Fn(&Key, &Known) -> bool) {
        let mut users: Vec<(Key, Slot)> = {
            let mut known = self.known();
            let users = known.iter_mut().filter(|(key, known)| concerns(key, known));
            users
                .map(|(key, known)| {
                    known.recheck();
                    (key.clone(), known.own.slot)
                })
                .collect()
        };
        let mut first = HashSet::new();
        users.sort_by_cached_key(|(_, slot)| !first.insert(*slot));
        for (key, _) in users {
            self.queue.push(key, Lane::Fresh, Instant::now(), None);
        }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Key, Known>> {
        lock(&self.known)
    }
}

/// Does the cluster have the kinds? Asks until the API server answers.
pub async fn are_served(client: &kube::Client) -> bool {
    is_served(client, EXTERNAL_SECRET).await
}

impl Reconciler for ExternalSecrets {
    const KIND: &'static str = KIND;
    type Payload = Waiting<ExternalSecret>;

    fn controller(_: &Key) -> &'static str {
        "externalsecret"
    }

    fn queue(&self) -> &Queue<Key, Self::Payload> {
        &self.queue
    }

    fn workers(&self) -> usize {
        // Slow work in one namespace leaves a quarter of the workers to the others.
        (self.at_once * 4).div_ceil(3)
    }

    async fn triggers(self: &Arc<Self>) -> JoinSet<()> {
        let Context { served, .. } = self.context.clone();
        let mut watches = JoinSet::new();
        let client = &self.context.client;
        let keeps_ours = keeps_in_status(client, EXTERNAL_SECRET, "observedGeneration").await;
        let _ = self.keeps_ours.set(keeps_ours);
        for namespaces in served {
            watches.spawn(self.clone().watch_objects(namespaces));
        }
        if let Some(every) = self.context.rules.watch_interval {
            watches.spawn(self.clone().watch_versions(every));
        }
        watches.spawn(self.clone().watch_changes());
        watches
    }

    fn slow_queue(&self) -> Option<&Queue<Key, Self::Payload>> {
        Some(&self.templated)
    }

    async fn reconcile(
        &self,
        work: Work<Key, Self::Payload>,
        pool: Pool,
    ) -> Result<&'static str, ApiFailure> {
        let (start, key) = (Instant::now(), work.key.clone());
        let result = self.reconciled(work, pool).await;
        if let Some(known) = self.known().get_mut(&key) {
            let succeeded = result.is_ok() && known.ready;
            known.own.counts.count(start.elapsed(), succeeded);
        }
        let reason = result?;
        Ok(reason.map_or("Unchanged", sealkit_core::api::Reason::name))
    }

    fn failed(&self, key: &Key) -> Option<Retry> {
        let failures = self.known().get_mut(key)?.failed();
        Some(Retry {
            failures,
            latest: None,
        })
    }

    fn gauges(&self, metrics: &Metrics) {
        let known = self.known();
        metrics.count_ready(KIND, known.values().map(|known| known.ready));
        metrics
            .external
            .tell(known.iter().map(|(key, known)| ObjectState {
                kind: Self::controller(key),
                namespace: key.namespace.clone(),
                name: key.name.clone(),
                ready: known.ready,
                counts: known.own.counts,
            }));
    }
}

impl StoreListener for ExternalSecrets {
    fn store_changed(&self, name: &StoreName) {
        self.recheck(|_, known| known.own.stores.contains(name));
    }

    fn namespace_changed(&self, namespace: &str) {
        let is_shared = |store: &StoreName| store.kind == StoreKind::ClusterSecretStore;
        self.recheck(|key, known| {
            key.namespace == namespace && !known.ready && known.own.stores.iter().any(is_shared)
        });
    }

    fn credentials_changed(&self, of: &HashSet<Identity>) {
        let concerns = |key: &Key, store: &StoreName| {
            let referent = Some(key.namespace.clone());
            of.contains(&(store.clone(), None)) || of.contains(&(store.clone(), referent))
        };
        self.recheck(|key, known| {
            !known.ready && known.own.stores.iter().any(|store| concerns(key, store))
        });
    }
}

impl SourceListener for ExternalSecrets {
    fn source_changed(&self, source: &Source, version: &str) {
        let outdated = lock(&self.users).outdated(source, version);
        self.outdated(outdated);
    }

    fn sources(&self) -> Vec<Source> {
        lock(&self.users).sources()
    }
}

impl SecretListener for ExternalSecrets {
    fn secret_changed(&self, secret: &Key, current: Option<&Version>) {
        let Some(key) = lock(&self.by_secret).get(secret).cloned() else {
            return;
        };
        let wait = {
            let known = self.known();
            known.get(&key).and_then(|known| known.drift_after(current))
        };
        if let Some(wait) = wait {
            self.queue
                .push(key, Lane::Fresh, Instant::now() + wait, None);
        }
    }
}
