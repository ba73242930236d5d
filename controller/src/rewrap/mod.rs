//! RewrapRequests: envelopes sealed to the successors of their recipients, for people who reseal a
//! repository through its cluster. No value is seen here. Requests live for ten minutes and are
//! known by their metadata only; each is read when its turn comes.

mod answer;
mod reconcile;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use kube::Client;
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::{self, Event, watcher};
use sealkit_core::api::{REWRAP_REQUESTS, RewrapRequest};
use tokio::time::Instant;

use crate::keys::KeysReceiver;
use crate::place::{Key, Place, api, covers, key_of, places};
use crate::queue::{Lane, Queue, drained};
use crate::settings::Settings;
use crate::telemetry::{Health, LaneLabel, Metrics};

const KIND: &str = "RewrapRequest";
/// Lane in metrics.
const LANE: &str = "rewrap";
/// Requests of one page of a list.
const PAGE: u32 = 50;
/// How long a request stays after it was made.
const LIFE: Duration = Duration::from_mins(10);
/// How long it stays at least after it was first seen, whatever the clocks say.
const LEAST: Duration = Duration::from_mins(1);
/// Requests of one namespace worked on at once.
const AT_ONCE: usize = 4;
/// Requests worked on at once: a flood in one namespace leaves a worker to the others.
const WORKERS: usize = AT_ONCE + 1;

/// Everything that the reconciler of RewrapRequests works with.
pub struct RewrapRequests {
    client: Client,
    settings: Settings,
    keys: KeysReceiver,
    queue: Queue<Key, ()>,
    known: Mutex<Requests>,
    metrics: Arc<Metrics>,
}

/// All requests.
#[derive(Default)]
struct Requests {
    known: HashMap<Key, Known>,
    /// How many each namespace has that are not refused.
    kept: HashMap<String, usize>,
}

impl Requests {
    /// Takes a request down, refused if its namespace has too many.
    fn insert(&mut self, key: Key, mut known: Known) {
        self.remove(&key);
        let kept = self.kept.entry(key.0.clone()).or_default();
        known.refused |= *kept >= REWRAP_REQUESTS;
        *kept += usize::from(!known.refused);
        self.known.insert(key, known);
    }

    fn remove(&mut self, key: &Key) {
        let Some(known) = self.known.remove(key) else {
            return;
        };
        if let Some(kept) = self.kept.get_mut(&key.0).filter(|_| !known.refused) {
            *kept -= 1;
            if *kept == 0 {
                self.kept.remove(&key.0);
            }
        }
    }
}

/// What is remembered of a request.
#[derive(Clone)]
struct Known {
    uid: String,
    /// One too many in its namespace, or on its way out: not answered, and in nobody's way.
    refused: bool,
    /// By this process: a status says nothing, anybody with the right may have written it.
    answered: bool,
    failures: u32,
    /// When it is deleted.
    ends: Instant,
}

impl RewrapRequests {
    /// A reconciler that has seen nothing yet.
    pub fn new(
        client: Client,
        settings: Settings,
        keys: KeysReceiver,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        Arc::new(Self {
            client,
            settings,
            keys,
            queue: Queue::new(AT_ONCE),
            known: Mutex::default(),
            metrics,
        })
    }

    /// Sets the gauge of what waits.
    pub fn scrape(&self) {
        // What waits for its end does not wait for an answer.
        let waiting = self
            .known()
            .known
            .values()
            .filter(|known| !known.answered)
            .count();
        self.metrics
            .queue_depth
            .get_or_create(&LaneLabel { lane: LANE })
            .set(i64::try_from(waiting).unwrap_or(i64::MAX));
    }

    /// Runs watches and workers until the queue is closed.
    pub async fn run(self: Arc<Self>, health: Arc<Health>) {
        if self.keys.clone().wait_for(Option::is_some).await.is_err() {
            return;
        }
        let mut watches = tokio::task::JoinSet::new();
        for place in places(&self.settings) {
            watches.spawn(self.clone().watch(place, health.clone()));
        }
        let mut workers = tokio::task::JoinSet::new();
        for _ in 0..WORKERS {
            workers.spawn(self.clone().work());
        }
        drained(workers, watches).await;
    }

    /// Hands out no more work; answers under way are finished.
    pub fn stop(&self) {
        self.queue.close();
    }

    async fn watch(self: Arc<Self>, place: Place, health: Arc<Health>) {
        let api = api::<PartialObjectMeta<RewrapRequest>>(&self.client, &place);
        // Even metadata may be large.
        let stream = watcher(api, watcher::Config::default().page_size(PAGE));
        let mut stream = crate::watch::events(stream, KIND, health, self.metrics.clone());
        let mut listed = HashSet::new();
        while let Some(event) = stream.next().await {
            match event {
                Event::Init => listed.clear(),
                Event::InitApply(request) => {
                    listed.insert(key_of(&request.metadata));
                    self.seen(&request);
                }
                Event::InitDone => {
                    let gone = |key: &&Key| covers(&place, key) && !listed.contains(*key);
                    let gone: Vec<Key> = self.known().known.keys().filter(gone).cloned().collect();
                    gone.iter().for_each(|key| self.gone(key));
                    listed = HashSet::new();
                }
                Event::Apply(request) => self.seen(&request),
                Event::Delete(request) => self.gone(&key_of(&request.metadata)),
            }
        }
    }

    fn seen(&self, request: &PartialObjectMeta<RewrapRequest>) {
        let key = key_of(&request.metadata);
        let uid = request.metadata.uid.clone().unwrap_or_default();
        let made = request.metadata.creation_timestamp.as_ref();
        let age = made.map_or(Duration::ZERO, |made| {
            Duration::try_from(jiff::Timestamp::now().duration_since(made.0)).unwrap_or_default()
        });
        // Deleted already, and kept by a finalizer of somebody: that is no reason to keep a place.
        let leaving = request.metadata.deletion_timestamp.is_some();
        {
            let mut requests = self.known();
            let known = requests.known.get(&key).filter(|known| known.uid == uid);
            if known.is_some_and(|known| known.refused || !leaving) {
                return;
            }
            let entry = Known {
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
        // No code that can panic runs under the lock.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
