//! RewrapRequests: the controller seals envelopes to the successors of their recipients, for people
//! who reseal a repository through its cluster. It sees no value. Requests live for ten minutes.
//! Only their metadata is kept; each is read when its turn comes.

mod answer;
mod reconcile;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures::StreamExt;
use sealkit_core::api::{REWRAP_REQUESTS, RewrapRequest};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::kubernetes::ApiFailure;
use crate::lock::lock;
use crate::object::{Key, Namespaces, RawMeta, api};
use crate::queue::{Lane, Queue, Work};
use crate::reconciler::{Context, Pool, Reconciler, Retry};
use crate::telemetry::Metrics;
use crate::watch::{Change, changes_of_strangers};

const KIND: &str = "RewrapRequest";
/// How long a request is kept after it was created.
const LIFE: Duration = Duration::from_mins(10);
/// How long it is kept at least after it was first observed, whatever the clocks say.
const LEAST: Duration = Duration::from_mins(1);
/// Requests of one namespace answered at once.
const AT_ONCE: usize = 4;
/// Requests answered at once: a flood in one namespace leaves a worker to the others.
const WORKERS: usize = AT_ONCE + 1;

/// The reconciler of RewrapRequests.
pub struct RewrapRequests {
    context: Context,
    queue: Queue<Key, ()>,
    known: Mutex<Requests>,
}

/// All requests.
#[derive(Default)]
struct Requests {
    known: HashMap<Key, KnownRequest>,
    /// How many requests that are not refused each namespace has.
    kept: HashMap<String, usize>,
}

impl Requests {
    /// Adds a request. It is refused if its namespace has too many.
    fn insert(&mut self, key: Key, mut known: KnownRequest) {
        self.remove(&key);
        let kept = self.kept.entry(key.namespace.clone()).or_default();
        known.refused |= *kept >= REWRAP_REQUESTS;
        *kept += usize::from(!known.refused);
        self.known.insert(key, known);
    }

    fn remove(&mut self, key: &Key) {
        let Some(known) = self.known.remove(key) else {
            return;
        };
        if let Some(kept) = self.kept.get_mut(&key.namespace).filter(|_| !known.refused) {
            *kept -= 1;
            if *kept == 0 {
                self.kept.remove(&key.namespace);
            }
        }
    }
}

/// What is remembered about a request.
#[derive(Clone)]
struct KnownRequest {
    uid: String,
    /// Is it one too many in its namespace, or being deleted? Then it gets no answer and takes no
    /// place.
    refused: bool,
    /// Was it answered by this process? A status proves nothing: anybody with the right may have
    /// written it.
    answered: bool,
    failures: u32,
    /// When it is deleted.
    ends: Instant,
}

impl RewrapRequests {
    /// A reconciler that has observed nothing yet.
    pub fn new(context: Context) -> Arc<Self> {
        Arc::new(Self {
            context,
            queue: Queue::new(AT_ONCE),
            known: Mutex::default(),
        })
    }

    async fn watch(self: Arc<Self>, namespaces: Namespaces) {
        let api = api::<RawMeta<RewrapRequest>>(&self.context.client, &namespaces);
        let mut changes = changes_of_strangers(&self.context, api, KIND, namespaces).await;
        while let Some(change) = changes.next().await {
            match change {
                Change::Seen(request) => self.seen(&request),
                Change::Gone(key) => self.gone(&key),
                Change::Listed(list) => {
                    let gone = list.missing(self.known().known.keys());
                    gone.iter().for_each(|key| self.gone(key));
                }
            }
        }
    }

    fn seen(&self, request: &RawMeta<RewrapRequest>) {
        let key = Key::of(&request.metadata);
        let uid = request.metadata.uid.clone().unwrap_or_default();
        let made = request.metadata.creation_timestamp.as_ref();
        let age = made.map_or(Duration::ZERO, |made| {
            Duration::try_from(jiff::Timestamp::now().duration_since(made.0)).unwrap_or_default()
        });
        // It is being deleted, and a finalizer of somebody keeps it: it must not take a place.
        let leaving = request.metadata.deletion_timestamp.is_some();
        {
            let mut requests = self.known();
            let known = requests.known.get(&key).filter(|known| known.uid == uid);
            if known.is_some_and(|known| known.refused || !leaving) {
                return;
            }
            let entry = KnownRequest {
                uid,
                refused: leaving,
                answered: leaving,
                failures: 0,
                ends: Instant::now() + LIFE.saturating_sub(age).max(LEAST),
            };
            requests.insert(key.clone(), entry);
        }
        if leaving {
            return self.queue.forget(&key);
        }
        self.queue.push(key, Lane::Fresh, Instant::now(), None);
    }

    fn gone(&self, key: &Key) {
        self.known().remove(key);
        self.queue.forget(key);
    }

    fn known(&self) -> MutexGuard<'_, Requests> {
        lock(&self.known)
    }
}

impl Reconciler for RewrapRequests {
    const KIND: &'static str = KIND;
    type Payload = ();

    fn controller(_: &Key) -> &'static str {
        "rewraprequest"
    }

    fn queue(&self) -> &Queue<Key, ()> {
        &self.queue
    }

    fn workers(&self) -> usize {
        WORKERS
    }

    async fn triggers(self: &Arc<Self>) -> JoinSet<()> {
        let mut watches = JoinSet::new();
        let Context {
            mut keys, served, ..
        } = self.context.clone();
        // The keys must be known before the first answer. A watch of keys without a sender has
        // ended.
        if keys.wait_for(Option::is_some).await.is_err() {
            watches.spawn(async {});
            return watches;
        }
        for namespaces in served {
            watches.spawn(self.clone().watch(namespaces));
        }
        watches
    }

    async fn reconcile(&self, work: Work<Key, ()>, _: Pool) -> Result<&'static str, ApiFailure> {
        self.reconciled(&work.key).await
    }

    fn failed(&self, key: &Key) -> Option<Retry> {
        let mut requests = self.known();
        let known = requests.known.get_mut(key)?;
        known.failures = known.failures.saturating_add(1);
        // It is deleted at its end, whatever the pause.
        let ends = known.ends;
        Some(Retry {
            failures: known.failures,
            latest: (Instant::now() < ends).then_some(ends),
        })
    }

    fn gauges(&self, _: &Metrics) {}
}
