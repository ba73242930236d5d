//! SealedSecrets: triggers and wiring. What is remembered of each object is small; specs are kept
//! only while they wait in the queue.

mod open;
mod reconcile;
mod state;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::Secret;
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};
use sealkit_core::keys::Fingerprint;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::freeze::Freeze;
use crate::keys::{KeysReceiver, Users};
use crate::place::{Key, Place, api, covers, key_of, places};
use crate::queue::{Lane, Queue, Turns, drained, pause};
use crate::settings::Settings;
use crate::target::MANAGED_LABEL;
use crate::telemetry::{Events, Health, KindReady, LaneLabel, Metrics};

pub use state::SealedSecretObject;
use state::{Known, Version};

/// Bytes of objects that may be in memory while they wait for their turn and have it; the others
/// are read again then.
const WAITING_BYTES: usize = 64 * 1024 * 1024;
/// Objects that are read again at once, and large ones until they are dealt with; half of them of
/// one namespace.
const READS: usize = 8;
/// Bytes of an object in memory that is not large.
const SMALL: usize = 256 * 1024;
/// Renders at once, half of them of one namespace: each may need 100 MiB and a quarter of a second
/// if its author wants it so.
const RENDERS: usize = 2;
/// Objects of one page of a list, where the server cannot stream it: each may have more than a
/// megabyte.
const PAGE: u32 = 20;

/// Drift in short order that is put right without a pause.
const HEALS_AT_ONCE: u32 = 5;

const KIND: &str = "SealedSecret";

/// Everything that the reconciler of SealedSecrets works with.
pub struct SealedSecrets {
    client: Client,
    settings: Settings,
    keys: KeysReceiver,
    queue: Queue<Key, Waiting>,
    waiting_bytes: Arc<AtomicUsize>,
    freeze: Arc<Freeze>,
    /// For objects that are read again.
    reads: Arc<Turns>,
    /// For objects with templates.
    renders: Arc<Turns>,
    state: Mutex<State>,
    events: Events,
    metrics: Arc<Metrics>,
    /// Where to watch: each place for itself.
    places: Vec<Place>,
    /// Places whose objects were listed once.
    listed: AtomicUsize,
}

/// An object that waits for its turn with its spec, or has it.
struct Waiting {
    object: Arc<SealedSecretObject>,
    bytes: usize,
    /// The bytes of all that wait.
    total: Arc<AtomicUsize>,
}

impl Waiting {
    /// Nothing where too much waits already.
    fn new(object: SealedSecretObject, total: &Arc<AtomicUsize>) -> Option<Self> {
        let bytes = object.waiting_size();
        let fits = total.fetch_add(bytes, Ordering::Relaxed) + bytes <= WAITING_BYTES;
        let waiting = Self {
            object: Arc::new(object),
            bytes,
            total: total.clone(),
        };
        fits.then_some(waiting)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.total.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[derive(Default)]
struct State {
    known: HashMap<Key, Known>,
    /// UID and resourceVersion of every labelled Secret.
    secrets: HashMap<Key, Version>,
}

impl SealedSecrets {
    /// A reconciler that has seen nothing yet.
    pub fn new(
        client: Client,
        settings: Settings,
        keys: KeysReceiver,
        events: Events,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        let state = Mutex::default();
        let at_once = settings.concurrency;
        let places = places(&settings);
        Arc::new(Self {
            client,
            settings,
            keys,
            queue: Queue::new(at_once),
            waiting_bytes: Arc::default(),
            freeze: Arc::default(),
            reads: Turns::new(READS, READS / 2),
            renders: Turns::new(RENDERS, RENDERS / 2),
            state,
            events,
            metrics,
            places,
            listed: AtomicUsize::new(0),
        })
    }

    /// Which objects could not be opened without a key. Those that are being deleted need none.
    pub fn users_of(&self, key: &Fingerprint) -> Users {
        if self.listed.load(Ordering::Relaxed) < self.places.len() {
            return Users::Unknown;
        }
        let state = self.state();
        let named = |which: &dyn Fn(&Known) -> bool| {
            let live = state.known.iter().filter(|(_, known)| !known.terminating);
            let mut names: Vec<String> = live
                .filter(|(_, known)| which(known))
                .map(|((namespace, name), _)| format!("{namespace}/{name}"))
                .collect();
            names.sort();
            names
        };
        let failing = named(&|known| known.handled.is_none() && known.failures > 0);
        if !failing.is_empty() {
            return Users::Failing(failing);
        }
        if !named(&|known| known.handled.is_none()).is_empty() {
            return Users::Unknown;
        }
        Users::Known(named(&|known| known.needed.contains(key)))
    }

    /// Sets the gauges that are read from memory.
    pub fn scrape(&self) {
        let mut counts = [0; 2];
        let mut reseal = 0;
        for known in self.state().known.values() {
            counts[usize::from(known.ready)] += 1;
            reseal += i64::from(known.needs_reseal == Some(true));
        }
        for (index, ready) in ["false", "true"].into_iter().enumerate() {
            let label = KindReady { kind: KIND, ready };
            self.metrics
                .objects
                .get_or_create(&label)
                .set(counts[index]);
        }
        self.metrics.needing_reseal.set(reseal);
        for lane in [Lane::Fresh, Lane::Background] {
            let depth = i64::try_from(self.queue.depth(lane)).unwrap_or(i64::MAX);
            self.metrics
                .queue_depth
                .get_or_create(&LaneLabel { lane: lane.name() })
                .set(depth);
        }
    }

    /// Runs watches and workers until the queue is closed.
    pub async fn run(self: Arc<Self>, health: Arc<Health>) {
        let mut keys = self.keys.clone();
        let mut tasks = tokio::task::JoinSet::new();
        let (secrets_listed, mut secrets_ready) = watch::channel(0);
        for place in &self.places {
            let task =
                self.clone()
                    .watch_secrets(place.clone(), health.clone(), secrets_listed.clone());
            tasks.spawn(task);
        }
        drop(secrets_listed);
        if keys.wait_for(Option::is_some).await.is_err() {
            return;
        }
        if secrets_ready
            .wait_for(|listed| *listed == self.places.len())
            .await
            .is_err()
        {
            return;
        }
        for place in &self.places {
            tasks.spawn(self.clone().watch_objects(place.clone(), health.clone()));
        }
        tasks.spawn(self.clone().watch_keys());
        let freeze = self.freeze.clone();
        tasks.spawn(async move { freeze.watch().await });
        let mut workers = tokio::task::JoinSet::new();
        // Slow work in one namespace leaves a quarter of the workers to the others.
        for _ in 0..(self.settings.concurrency.max(1) * 4).div_ceil(3) {
            workers.spawn(self.clone().work());
        }
        drained(workers, tasks).await;
    }

    /// Hands out no more work; writes under way are finished.
    pub fn stop(&self) {
        self.queue.close();
    }

    /// `listed` counts the places whose first list is complete.
    async fn watch_secrets(
        self: Arc<Self>,
        place: Place,
        health: Arc<Health>,
        listed: watch::Sender<usize>,
    ) {
        let config = watcher::Config::default().labels(&format!("{MANAGED_LABEL}=true"));
        let stream = watcher(
            api::<PartialObjectMeta<Secret>>(&self.client, &place),
            config,
        );
        let mut first = true;
        let mut stream = crate::watch::events(stream, "Secret", health, self.metrics.clone());
        let mut list = HashMap::new();
        while let Some(event) = stream.next().await {
            match event {
                Event::Init => list = HashMap::new(),
                Event::InitApply(secret) => {
                    list.insert(key_of(&secret.metadata), Version::of(&secret.metadata));
                }
                Event::InitDone => {
                    let list = std::mem::take(&mut list);
                    let gone_or_changed: Vec<Key> = {
                        let mut state = self.state();
                        state.secrets.retain(|key, _| !covers(&place, key));
                        state.secrets.extend(list);
                        let state = &*state;
                        let drifted = |(key, known): &(&Key, &Known)| {
                            covers(&place, key) && known.drifted(state.secrets.get(*key))
                        };
                        state
                            .known
                            .iter()
                            .filter(drifted)
                            .map(|(key, _)| key.clone())
                            .collect()
                    };
                    for key in gone_or_changed {
                        self.queue.push(key, Lane::Fresh, Instant::now(), None);
                    }
                    if std::mem::take(&mut first) {
                        listed.send_modify(|listed| *listed += 1);
                    }
                }
                Event::Apply(secret) => self.secret_changed(&secret, true),
                Event::Delete(secret) => self.secret_changed(&secret, false),
            }
        }
    }

    fn secret_changed(&self, secret: &PartialObjectMeta<Secret>, exists: bool) {
        let key = key_of(&secret.metadata);
        let heals = {
            let mut state = self.state();
            if exists {
                state
                    .secrets
                    .insert(key.clone(), Version::of(&secret.metadata));
            } else {
                state.secrets.remove(&key);
            }
            let version = state.secrets.get(&key);
            let drifted = |known: &&Known| known.drifted(version);
            state
                .known
                .get(&key)
                .filter(drifted)
                .map(|known| known.heals.0)
        };
        if let Some(heals) = heals {
            // Put right at once; but two writers that do not give in must not burn the API server.
            let wait = match heals.checked_sub(HEALS_AT_ONCE) {
                None => Duration::ZERO,
                Some(more) => pause(more + 1),
            };
            self.queue
                .push(key, Lane::Fresh, Instant::now() + wait, None);
        }
    }

    async fn watch_objects(self: Arc<Self>, place: Place, health: Arc<Health>) {
        let api: Api<SealedSecretObject> = api(&self.client, &place);
        // One after the other: no page of large objects in memory, and none to wait for.
        let config = if crate::watch::streams_lists(&self.client, api.resource_url()).await {
            watcher::Config::default().streaming_lists()
        } else {
            watcher::Config::default().page_size(PAGE)
        };
        let stream = watcher(api, config);
        let mut first = true;
        let mut stream = crate::watch::events(stream, KIND, health.clone(), self.metrics.clone());
        let mut listing = std::collections::HashSet::new();
        while let Some(event) = stream.next().await {
            match event {
                Event::Init => listing.clear(),
                Event::InitApply(object) => {
                    listing.insert(key_of(&object.metadata));
                    self.object_changed(object);
                }
                Event::InitDone => {
                    let gone: Vec<Key> = {
                        let state = self.state();
                        state
                            .known
                            .keys()
                            .filter(|key| covers(&place, key) && !listing.contains(*key))
                            .cloned()
                            .collect()
                    };
                    gone.iter().for_each(|key| self.object_gone(key));
                    listing = std::collections::HashSet::new();
                    if std::mem::take(&mut first) {
                        let listed = 1 + self.listed.fetch_add(1, Ordering::Relaxed);
                        health.set_ready(listed == self.places.len());
                    }
                }
                Event::Apply(object) => self.object_changed(object),
                Event::Delete(object) => self.object_gone(&key_of(&object.metadata)),
            }
        }
    }

    fn object_changed(&self, mut object: SealedSecretObject) {
        object.metadata.managed_fields = None;
        let key = key_of(&object.metadata);
        let newest = self.keys.borrow().as_ref().and_then(|keys| keys.newest);
        let work = {
            let mut state = self.state();
            let state = &mut *state;
            let secret = state.secrets.get(&key);
            let known = state.known.entry(key.clone()).or_default();
            known.observe(&object, secret, newest.map(|(fingerprint, _)| fingerprint))
        };
        if work {
            let payload = Waiting::new(object, &self.waiting_bytes);
            self.queue.push(key, Lane::Fresh, Instant::now(), payload);
        }
    }

    fn object_gone(&self, key: &Key) {
        self.state().known.remove(key);
        self.queue.forget(key);
    }

    /// Keys that came, went or were superseded: objects that failed for lack of one open at once,
    /// the others are judged anew in the background.
    async fn watch_keys(self: Arc<Self>) {
        let mut keys = self.keys.clone();
        keys.mark_unchanged();
        while keys.changed().await.is_ok() {
            let targets: Vec<(Key, Lane)> = {
                let mut state = self.state();
                let recheck = |(key, known): (&Key, &mut Known)| {
                    known.recheck();
                    (
                        key.clone(),
                        if known.ready {
                            Lane::Background
                        } else {
                            Lane::Fresh
                        },
                    )
                };
                state.known.iter_mut().map(recheck).collect()
            };
            for (key, lane) in targets {
                self.queue.push(key, lane, Instant::now(), None);
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code that can panic runs under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
