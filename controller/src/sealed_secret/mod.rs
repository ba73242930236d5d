//! SealedSecrets: triggers and wiring. Little is remembered about each object; specs are kept only
//! while they wait in the queue.

mod open;
mod reconcile;
mod state;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::ListParams;
use sealkit_core::api::{Reason, SealedSecret};
use sealkit_core::keys::Fingerprint;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::keys::{KeyUsers, Users};
use crate::kubernetes::ApiFailure;
use crate::lock::lock;
use crate::object::{Key, Namespaces, Raw, RawMeta, Version, Waiting, WaitingRoom, api};
use crate::queue::{Lane, Queue, Turns, Work};
use crate::reconciler::{Context, Pool, Reconciler, Retry, SLOW};
use crate::secret::{SecretListener, SecretWatch, Secrets};
use crate::telemetry::Metrics;
use crate::watch::{Change, FirstLists, all_pass, changes_of_strangers};

pub use open::verdict;
use state::{Known, is_judged, observe};

/// Bytes of objects that may be in memory while they wait for their turn or have it. The others are
/// read again when their turn comes.
const WAITING_BYTES: usize = 64 * 1024 * 1024;
/// Objects that may be read again, or reconciled although they are large, at once. Half of them may
/// be of one namespace.
const READS: usize = 8;
/// Bytes in memory up to which an object is not large.
const SMALL: usize = 256 * 1024;

const KIND: &str = "SealedSecret";

/// A SealedSecret as the API server sends it.
pub type SealedSecretObject = Raw<SealedSecret>;

/// The reconciler of SealedSecrets.
pub struct SealedSecrets {
    context: Context,
    /// Objects of one namespace reconciled at once.
    at_once: usize,
    queue: Queue<Key, Waiting<SealedSecret>>,
    /// The objects with templates.
    templated: Queue<Key, Waiting<SealedSecret>>,
    waiting: WaitingRoom,
    secrets: Secrets,
    secret_watch: Arc<SecretWatch>,
    /// Turns of objects that are read again.
    reads: Arc<Turns>,
    known: Mutex<HashMap<Key, Known>>,
    listed: FirstLists,
}

impl SealedSecrets {
    /// A reconciler that has observed nothing yet. It reconciles `at_once` objects of one namespace
    /// at once.
    pub fn new(
        context: Context,
        at_once: usize,
        secrets: Secrets,
        secret_watch: Arc<SecretWatch>,
    ) -> Arc<Self> {
        for namespaces in &context.served {
            context.health.expect_in(KIND, namespaces);
        }
        let this = Arc::new(Self {
            listed: FirstLists::of(&context.served),
            context,
            at_once: at_once.max(1),
            queue: Queue::new(at_once),
            templated: Queue::new(SLOW / 2),
            waiting: WaitingRoom::new(WAITING_BYTES),
            secrets,
            secret_watch,
            reads: Turns::new(READS, READS / 2),
            known: Mutex::default(),
        });
        let listener: Weak<dyn SecretListener> = Arc::<Self>::downgrade(&this);
        this.secret_watch.add_listener(listener);
        this
    }

    /// Is it known which keys this generation of this object needs? One that is being deleted needs
    /// none.
    fn is_judged(&self, metadata: &ObjectMeta) -> bool {
        let known = self.known();
        let known = known
            .get(&Key::of(metadata))
            .filter(|known| Some(&known.uid) == metadata.uid.as_ref());
        metadata.deletion_timestamp.is_some()
            || known.is_some_and(|known| {
                is_judged(known) && Some(known.seen.generation) == metadata.generation
            })
    }

    /// Opens the objects that were in sync when this process started: only then it is known which
    /// keys they need. Their statuses are not believed.
    fn open_recalled(&self) {
        let recalled: Vec<Key> = {
            let mut known = self.known();
            let idle = |known: &&mut Known| {
                !known.terminating && known.handled.is_some() && !is_judged(known)
            };
            let idle = known.iter_mut().filter_map(|(key, known)| {
                let known = Some(known).filter(idle)?;
                known.recheck();
                Some(key.clone())
            });
            idle.collect()
        };
        for key in recalled {
            self.queue.push(key, Lane::Background, Instant::now(), None);
        }
    }

    async fn watch_objects(self: Arc<Self>, namespaces: Namespaces) {
        // Then drift is noticed from the first object on.
        self.secret_watch.listed(&namespaces).await;
        let api: Api<SealedSecretObject> = api(&self.context.client, &namespaces);
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

    fn object_changed(&self, object: SealedSecretObject) {
        let key = Key::of(&object.metadata);
        let keys = self.context.keys.borrow().clone();
        let newest = keys.and_then(|keys| keys.newest);
        let newest = newest.map(|(fingerprint, _)| fingerprint);
        let work = {
            let mut known = self.known();
            // Under the lock: a change of the Secret is judged here, or by its listener afterwards.
            let secret = self.secret_watch.current(&key);
            let known = known.entry(key.clone()).or_default();
            observe(known, &object, secret.as_ref(), newest)
        };
        if let Some(work) = work {
            let payload = self.waiting.enter(object);
            self.queue
                .push(key, Lane::Fresh, Instant::now() + work, payload);
        }
    }

    fn object_gone(&self, key: &Key) {
        self.known().remove(key);
        self.queue.forget(key);
        self.templated.forget(key);
    }

    /// Reacts to keys that came, went or were superseded. Objects that failed for lack of a key are
    /// reconciled at once, the others in the background.
    async fn watch_keys(self: Arc<Self>) {
        let mut keys = self.context.keys.clone();
        keys.mark_unchanged();
        while keys.changed().await.is_ok() {
            let recheck = |(key, known): (&Key, &mut Known)| {
                known.recheck();
                let lane = if known.ready {
                    Lane::Background
                } else {
                    Lane::Fresh
                };
                (key.clone(), lane)
            };
            let targets: Vec<(Key, Lane)> = self.known().iter_mut().map(recheck).collect();
            for (key, lane) in targets {
                self.queue.push(key, lane, Instant::now(), None);
            }
        }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Key, Known>> {
        lock(&self.known)
    }
}

impl Reconciler for SealedSecrets {
    const KIND: &'static str = KIND;
    type Payload = Waiting<SealedSecret>;

    fn controller(_: &Key) -> &'static str {
        "sealedsecret"
    }

    fn queue(&self) -> &Queue<Key, Self::Payload> {
        &self.queue
    }

    fn workers(&self) -> usize {
        // Slow work in one namespace leaves a quarter of the workers to the others.
        (self.at_once * 4).div_ceil(3)
    }

    async fn triggers(self: &Arc<Self>) -> JoinSet<()> {
        let Context {
            mut keys, served, ..
        } = self.context.clone();
        let mut watches = JoinSet::new();
        // Once keys are known, objects can be opened from the first one on. A watch of keys without a
        // sender has ended.
        if keys.wait_for(Option::is_some).await.is_err() {
            watches.spawn(async {});
            return watches;
        }
        for namespaces in served {
            watches.spawn(self.clone().watch_objects(namespaces));
        }
        watches.spawn(self.clone().watch_keys());
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
        let reason = self.reconciled(work, pool).await?;
        Ok(reason.map_or("Unchanged", Reason::name))
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
        let needs_reseal = |known: &&Known| known.own.needs_reseal == Some(true);
        let reseal = known.values().filter(needs_reseal).count();
        metrics
            .needing_reseal
            .set(i64::try_from(reseal).unwrap_or(i64::MAX));
    }
}

impl KeyUsers for SealedSecrets {
    /// The objects that no other key opens. Those that are being deleted need none.
    fn users_of(&self, key: &Fingerprint) -> Users {
        let unwatched = self.context.health.unwatched_namespaces();
        if !unwatched.is_empty() {
            return Users::Unwatched(unwatched.into_keys().collect());
        }
        if !self.listed.are_complete() {
            return Users::Unknown;
        }
        self.open_recalled();
        let known = self.known();
        let named = |which: &dyn Fn(&Known) -> bool| {
            let live = known.iter().filter(|(_, known)| !known.terminating);
            let mut names: Vec<String> = live
                .filter(|(_, known)| which(known))
                .map(|(key, _)| key.to_string())
                .collect();
            names.sort();
            names
        };
        let failing = named(&|known| !is_judged(known) && known.failures > 0);
        if !failing.is_empty() {
            return Users::Failing(failing);
        }
        if !named(&|known| !is_judged(known)).is_empty() {
            return Users::Unknown;
        }
        Users::Known(named(&|known| known.own.needed.contains(key)))
    }

    fn is_current(&self) -> BoxFuture<'_, Result<bool, ApiFailure>> {
        async move {
            for namespaces in &self.context.served {
                let api: Api<RawMeta<SealedSecret>> = api(&self.context.client, namespaces);
                let judged = |object: &RawMeta<SealedSecret>| self.is_judged(&object.metadata);
                if !all_pass(&api, ListParams::default(), judged).await? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        .boxed()
    }
}

impl SecretListener for SealedSecrets {
    fn secret_changed(&self, key: &Key, current: Option<&Version>) {
        let wait = {
            let known = self.known();
            known.get(key).and_then(|known| known.drift_after(current))
        };
        if let Some(wait) = wait {
            let due = Instant::now() + wait;
            self.queue.push(key.clone(), Lane::Fresh, due, None);
        }
    }
}
