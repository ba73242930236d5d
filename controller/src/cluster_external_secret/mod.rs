//! ClusterExternalSecrets: one ExternalSecret in each selected namespace. They own them, so the garbage
//! collector deletes these when the ClusterExternalSecret goes. No namespace gets a finalizer.

mod place;
mod reconcile;
mod release;
mod template;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use futures::StreamExt;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use sealkit_core::api::Reason;
use sealkit_core::api::external::{ClusterExternalSecret, GROUP, VERSION};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::external_secret::{ExternalSecretListener, ExternalSecrets};
use crate::kubernetes::{ApiFailure, is_served};
use crate::lock::lock;
use crate::object::{Key, Kind, Namespaces, Raw};
use crate::queue::{Lane, Queue, Work};
use crate::reconciler::{Context, Pool, Reconciler, Retry};
use crate::secret_store::{SecretStores, StoreListener, StoreName, Stores};
use crate::status::Outcome;
use crate::telemetry::{Counts, Metrics, ObjectState};
use crate::watch::{Change, FirstLists, changes_of_strangers};

use place::Placed;

const KIND: &str = "ClusterExternalSecret";
/// ClusterExternalSecrets, as External Secrets names them.
const CLUSTER_EXTERNAL_SECRET: Kind = Kind {
    group: GROUP,
    version: VERSION,
    kind: KIND,
    plural: "clusterexternalsecrets",
};
/// Objects reconciled at once.
const AT_ONCE: usize = 2;

/// A ClusterExternalSecret as a watch shows it.
type Object = Raw<ClusterExternalSecret>;

/// Reconciles ClusterExternalSecrets.
pub struct ClusterExternalSecrets {
    context: Context,
    queue: Queue<Key, ()>,
    /// Knows the labels of namespaces.
    stores: Arc<Stores>,
    secret_stores: Arc<SecretStores>,
    known: Mutex<HashMap<Key, Known>>,
    listed: FirstLists,
}

/// What is remembered about a ClusterExternalSecret.
#[derive(Clone, Debug, Default)]
struct Known {
    uid: String,
    /// What was last observed of it, as a digest.
    seen: String,
    /// What the ExternalSecrets are to be, as a digest.
    content: String,
    /// Name of its ExternalSecrets, once known.
    name: String,
    /// Namespaces in which the ExternalSecret was found right, or written.
    placed: HashMap<String, Placed>,
    /// Selected namespaces without their ExternalSecret.
    failed: BTreeSet<String>,
    /// What the watch showed of ExternalSecrets during a reconcile, by namespace.
    meanwhile: HashMap<String, Option<Placed>>,
    /// The name for which ExternalSecrets in other namespaces were looked for.
    searched: Option<String>,
    /// When all ExternalSecrets are compared again.
    due: Option<Instant>,
    ready: bool,
    /// The result that was last told.
    told: Option<Outcome>,
    failures: u32,
    counts: Counts,
}

impl Known {
    /// Observes the ExternalSecret of a namespace. Is it another one than it should be?
    fn observe(&mut self, namespace: &str, now: Option<&Placed>) -> bool {
        self.meanwhile.insert(namespace.to_owned(), now.cloned());
        let placed = self.placed.get(namespace);
        if placed.is_some() && placed == now {
            return false;
        }
        self.placed.remove(namespace).is_some() || self.failed.contains(namespace)
    }

    /// Records where the ExternalSecrets are after a reconcile. Has one changed meanwhile?
    fn record(&mut self, placed: HashMap<String, Placed>, failed: BTreeSet<String>) -> bool {
        self.placed = placed;
        let wanted = self.placed.len();
        for (namespace, now) in std::mem::take(&mut self.meanwhile) {
            if self.placed.get(&namespace) != now.as_ref() {
                self.placed.remove(&namespace);
            }
        }
        self.failed = failed;
        self.placed.len() < wanted
    }
}

/// Does the cluster have the kind? Asks until the API server answers.
pub async fn are_served(client: &kube::Client) -> bool {
    is_served(client, CLUSTER_EXTERNAL_SECRET).await
}

impl ClusterExternalSecrets {
    /// A reconciler that has observed nothing yet. It serves the whole cluster, and is told of
    /// ExternalSecrets by their reconciler.
    pub fn new(
        context: Context,
        secret_stores: Arc<SecretStores>,
        external_secrets: &ExternalSecrets,
    ) -> Arc<Self> {
        context.health.expect(KIND);
        let this = Arc::new(Self {
            queue: Queue::new(AT_ONCE),
            stores: secret_stores.stores(),
            secret_stores,
            known: Mutex::default(),
            listed: FirstLists::of(&[Namespaces::All]),
            context,
        });
        let listener: Weak<dyn StoreListener> = Arc::<Self>::downgrade(&this);
        this.secret_stores.add_listener(listener);
        let listener: Weak<dyn ExternalSecretListener> = Arc::<Self>::downgrade(&this);
        external_secrets.add_listener(listener);
        this
    }

    async fn watch(self: Arc<Self>) {
        let api: Api<Object> = Api::all(self.context.client.clone());
        let mut changes = changes_of_strangers(&self.context, api, KIND, Namespaces::All).await;
        while let Some(change) = changes.next().await {
            match change {
                Change::Seen(object) => self.seen(&object),
                Change::Gone(key) => self.gone(&key),
                Change::Listed(list) => {
                    let gone = list.missing(self.known().keys());
                    gone.iter().for_each(|key| self.gone(key));
                    if self.listed.count(&list) {
                        self.context.health.ready(KIND);
                    }
                }
            }
        }
    }

    fn seen(&self, object: &Object) {
        let key = Key::of(&object.metadata);
        let seen = template::digest(object);
        {
            let mut all = self.known();
            let known = all.entry(key.clone()).or_default();
            if known.uid == object.uid() && known.seen == seen {
                return;
            }
            if known.uid != object.uid() {
                *known = Known {
                    uid: object.uid().to_owned(),
                    ..Known::default()
                };
            }
            known.seen = seen;
            known.failures = 0;
            // Whatever was asked for, a request to reconcile included: all is compared.
            known.due = Some(Instant::now());
        }
        self.queue.push(key, Lane::Fresh, Instant::now(), None);
    }

    fn gone(&self, key: &Key) {
        self.known().remove(key);
        self.queue.forget(key);
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Key, Known>> {
        lock(&self.known)
    }
}

impl ExternalSecretListener for ClusterExternalSecrets {
    /// Whoever wants another form looks again: also where that of somebody else was in the way.
    fn external_secret_changed(&self, external: &Key, now: Option<&ObjectMeta>) {
        let mut concerned = Vec::new();
        let of_its_name = |known: &Known| known.name == external.name;
        for (key, known) in self.known().iter_mut().filter(|(_, one)| of_its_name(one)) {
            if known.observe(&external.namespace, now.map(Placed::of).as_ref()) {
                concerned.push(key.clone());
            }
        }
        for key in concerned {
            self.queue.push(key, Lane::Fresh, Instant::now(), None);
        }
    }
}

impl StoreListener for ClusterExternalSecrets {
    fn store_changed(&self, _: &StoreName) {}

    /// A namespace may be selected now, or no longer. Few objects of this kind exist.
    fn namespace_changed(&self, _: &str) {
        let keys: Vec<Key> = self.known().keys().cloned().collect();
        for key in keys {
            self.queue.push(key, Lane::Fresh, Instant::now(), None);
        }
    }
}

impl Reconciler for ClusterExternalSecrets {
    const KIND: &'static str = KIND;
    type Payload = ();

    fn controller(_: &Key) -> &'static str {
        "clusterexternalsecret"
    }

    fn queue(&self) -> &Queue<Key, ()> {
        &self.queue
    }

    fn workers(&self) -> usize {
        AT_ONCE
    }

    async fn triggers(self: &Arc<Self>) -> JoinSet<()> {
        let mut watches = JoinSet::new();
        // The labels of namespaces are known then.
        self.secret_stores.listed(&Namespaces::All).await;
        if self.context.rules.take_over {
            watches.spawn(self.clone().release_namespaces());
        }
        watches.spawn(self.clone().watch());
        watches
    }

    async fn reconcile(&self, work: Work<Key, ()>, _: Pool) -> Result<&'static str, ApiFailure> {
        let start = Instant::now();
        let result = self.reconciled(&work.key).await;
        if let Some(known) = self.known().get_mut(&work.key) {
            let succeeded = result.is_ok() && known.ready;
            known.counts.count(start.elapsed(), succeeded);
        }
        Ok(result?.map_or("Unchanged", Reason::name))
    }

    fn failed(&self, key: &Key) -> Option<Retry> {
        let mut all = self.known();
        let known = all.get_mut(key)?;
        known.failures = known.failures.saturating_add(1);
        Some(Retry {
            failures: known.failures,
            latest: None,
        })
    }

    fn gauges(&self, metrics: &Metrics) {
        let all = self.known();
        metrics.count_ready(KIND, all.values().map(|known| known.ready));
        metrics
            .external
            .tell(all.iter().map(|(key, known)| ObjectState {
                kind: Self::controller(key),
                namespace: String::new(),
                name: key.name.clone(),
                ready: known.ready,
                counts: known.counts,
            }));
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

    use super::*;

    fn placed(generation: i64) -> Placed {
        Placed::of(&ObjectMeta {
            generation: Some(generation),
            ..ObjectMeta::default()
        })
    }

    #[test]
    fn only_a_change_of_what_was_made_concerns_its_maker() {
        let mut known = Known::default();
        known.placed.insert("shop".to_owned(), placed(1));
        known.failed.insert("taken".to_owned());
        assert!(!known.observe("shop", Some(&placed(1))), "an echo");
        assert!(
            !known.observe("elsewhere", Some(&placed(1))),
            "not selected"
        );
        assert!(known.observe("taken", None), "the way is free");
        assert!(known.observe("shop", Some(&placed(2))));
        assert!(!known.placed.contains_key("shop"));
    }

    #[test]
    fn a_change_during_a_reconcile_is_not_lost() {
        let made = || HashMap::from([("shop".to_owned(), placed(1))]);
        let mut known = Known::default();
        assert!(!known.observe("shop", Some(&placed(1))));
        assert!(!known.record(made(), BTreeSet::new()), "its own write");
        let mut known = Known::default();
        assert!(!known.observe("shop", None), "not known yet");
        assert!(known.record(made(), BTreeSet::new()));
        assert!(known.placed.is_empty() && known.meanwhile.is_empty());
    }
}
