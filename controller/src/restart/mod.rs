//! Restarts workloads that ask for it when values change that their pods read. One reconciler for each
//! kind of workload. Only metadata is watched; a workload that asks is read when its turn comes.
//!
//! What is owed is the difference between the record on the workload and the marks on its Secrets. A
//! restart and its record are one write, so a process that dies owes or has done each restart, never
//! both.

mod plan;
mod reconcile;
mod workload;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use futures::StreamExt;
use kube::Api;
use sealkit_core::names;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::kubernetes::{ApiFailure, is_served};
use crate::lock::lock;
use crate::object::{Key, Labelled, Namespaces, Version, api};
use crate::queue::{Lane, Queue, Work};
use crate::reconciler::{Context, Pool, Reconciler, Retry};
use crate::secret::{SecretListener, SecretWatch};
use crate::telemetry::Metrics;
use crate::watch::{Change, changes_of_strangers, may_list};

use workload::Asked;
pub use workload::{Rollout, Workload};

/// Workloads of one kind and namespace that are looked at at once.
const AT_ONCE: usize = 2;
/// Workloads of one kind that are looked at at once.
const WORKERS: usize = AT_ONCE + 1;

/// Restarts of one workload within [`TOGETHER`] that do not make its window longer, and how often it
/// doubles then.
const RESTARTS_AT_ONCE: u32 = 3;
const DOUBLINGS: u32 = 6;
const TOGETHER: Duration = Duration::from_mins(15);

/// Restarts the workloads of one kind.
pub struct Restarts<W> {
    context: Context,
    queue: Queue<Key, ()>,
    /// How long changes are collected.
    window: Duration,
    state: Mutex<State>,
    kind: PhantomData<fn() -> W>,
}

/// The workloads that ask for restarts.
#[derive(Default)]
struct State {
    known: HashMap<Key, Known>,
    /// Who reads a Secret.
    readers: HashMap<Key, HashSet<Key>>,
}

/// What is remembered about a workload.
#[derive(Clone, Debug, Default)]
struct Known {
    uid: String,
    /// A digest of what was last observed of it.
    seen: String,
    /// The Secrets that it was last found to read.
    secrets: BTreeSet<String>,
    /// Since when a restart is owed.
    owed: Option<Instant>,
    /// When it was restarted last.
    last: Option<Instant>,
    /// Restarts in quick succession.
    restarts: u32,
    failures: u32,
}

impl Known {
    /// How long changes are collected: longer and longer if they do not end, since each restart costs
    /// new pods, and whoever writes to a store may change a value every second.
    fn window(&self, window: Duration) -> Duration {
        let more = self
            .restarts
            .saturating_sub(RESTARTS_AT_ONCE)
            .min(DOUBLINGS);
        window * 2u32.pow(more)
    }

    /// The restart that was owed is made.
    fn restarted(&mut self) {
        let again = self.last.is_some_and(|last| last.elapsed() < TOGETHER);
        self.restarts = if again {
            self.restarts.saturating_add(1)
        } else {
            1
        };
        self.last = Some(Instant::now());
        self.owed = None;
    }
}

impl State {
    /// Sets which Secrets a workload reads. Their changes are told from now on.
    fn reads(&mut self, key: &Key, secrets: &BTreeSet<String>) {
        let Some(known) = self.known.get_mut(key) else {
            return;
        };
        let old = std::mem::replace(&mut known.secrets, secrets.clone());
        for name in secrets.difference(&old) {
            let readers = self.readers.entry(key.beside(name)).or_default();
            readers.insert(key.clone());
        }
        for name in old.difference(secrets) {
            let secret = key.beside(name);
            if let Some(readers) = self.readers.get_mut(&secret) {
                readers.remove(key);
                if readers.is_empty() {
                    self.readers.remove(&secret);
                }
            }
        }
    }

    fn forget(&mut self, key: &Key) {
        self.reads(key, &BTreeSet::new());
        self.known.remove(key);
    }
}

/// Does the cluster have Rollouts? Asks until the API server answers.
pub async fn rollouts_are_served(client: &kube::Client) -> bool {
    is_served(client, Rollout::KIND).await
}

impl<W: Workload> Restarts<W> {
    /// A reconciler that has observed nothing yet, and is told of Secrets from now on.
    pub fn new(context: Context, window: Duration, secrets: &SecretWatch) -> Arc<Self> {
        let this = Arc::new(Self {
            context,
            queue: Queue::new(AT_ONCE),
            window,
            state: Mutex::default(),
            kind: PhantomData,
        });
        let listener: Weak<dyn SecretListener> = Arc::<Self>::downgrade(&this);
        secrets.add_listener(listener);
        this
    }

    async fn watch(self: Arc<Self>, namespaces: Namespaces) {
        let kind = Self::KIND;
        let api: Api<Labelled<W>> = api(&self.context.client, &namespaces);
        may_list(&api, kind, "none is restarted").await;
        let mut changes = changes_of_strangers(&self.context, api, kind, namespaces).await;
        while let Some(change) = changes.next().await {
            match change {
                Change::Seen(workload) => self.seen(&workload),
                Change::Gone(key) => self.gone(&key),
                Change::Listed(list) => {
                    let gone = list.missing(self.state().known.keys());
                    gone.iter().for_each(|key| self.gone(key));
                }
            }
        }
    }

    fn seen(&self, workload: &Labelled<W>) {
        let metadata = &workload.metadata;
        let key = Key::of(metadata);
        let asked = Asked::of(metadata.annotations.as_ref());
        // One that asks for nothing any more has a record to lose.
        if asked == Asked::default() || metadata.deletion_timestamp.is_some() {
            return self.gone(&key);
        }
        let uid = metadata.uid.clone().unwrap_or_default();
        let seen = format!("{:?} {asked:?}", metadata.generation);
        let seen = names::digest(seen.as_bytes());
        {
            let mut state = self.state();
            if state.known.get(&key).is_some_and(|known| known.uid != uid) {
                state.forget(&key);
            }
            let known = state.known.entry(key.clone()).or_default();
            if known.seen == seen {
                return;
            }
            known.uid = uid;
            known.seen = seen;
            known.failures = 0;
        }
        self.queue.push(key, Lane::Fresh, Instant::now(), None);
    }

    fn gone(&self, key: &Key) {
        self.state().forget(key);
        self.queue.forget(key);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl<W: Workload> SecretListener for Restarts<W> {
    fn secret_changed(&self, secret: &Key, _: Option<&Version>) {
        let readers = self.state().readers.get(secret).cloned();
        for key in readers.into_iter().flatten() {
            self.queue.push(key, Lane::Fresh, Instant::now(), None);
        }
    }
}

impl<W: Workload> Reconciler for Restarts<W> {
    const KIND: &'static str = W::KIND.kind;
    type Payload = ();

    fn controller(_: &Key) -> &'static str {
        W::CONTROLLER
    }

    fn queue(&self) -> &Queue<Key, ()> {
        &self.queue
    }

    fn workers(&self) -> usize {
        WORKERS
    }

    async fn triggers(self: &Arc<Self>) -> JoinSet<()> {
        let mut watches = JoinSet::new();
        for namespaces in self.context.served.clone() {
            watches.spawn(self.clone().watch(namespaces));
        }
        watches
    }

    async fn reconcile(&self, work: Work<Key, ()>, _: Pool) -> Result<&'static str, ApiFailure> {
        self.reconciled(&work.key).await
    }

    fn failed(&self, key: &Key) -> Option<Retry> {
        let mut state = self.state();
        let known = state.known.get_mut(key)?;
        known.failures = known.failures.saturating_add(1);
        Some(Retry {
            failures: known.failures,
            latest: None,
        })
    }

    fn gauges(&self, _: &Metrics) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn windows_grow_while_restarts_do_not_end() {
        let window = Duration::from_secs(10);
        let mut known = Known::default();
        let mut windows = Vec::new();
        for _ in 0..12 {
            windows.push(known.window(window).as_secs());
            known.restarted();
            tokio::time::advance(Duration::from_mins(1)).await;
        }
        assert_eq!(
            windows,
            [10, 10, 10, 10, 20, 40, 80, 160, 320, 640, 640, 640]
        );
        tokio::time::advance(TOGETHER).await;
        known.restarted();
        assert_eq!(known.window(window), window);
    }

    #[test]
    fn the_readers_of_a_secret_are_those_that_name_it_now() {
        let key = |name: &str| Key {
            namespace: "shop".to_owned(),
            name: name.to_owned(),
        };
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let mut state = State::default();
        state.reads(&key("gone"), &names(&["db"]));
        for workload in ["one", "two"] {
            state.known.insert(key(workload), Known::default());
            state.reads(&key(workload), &names(&["db", "tls"]));
        }
        assert_eq!(state.readers[&key("db")], [key("one"), key("two")].into());
        state.reads(&key("one"), &names(&["tls"]));
        assert_eq!(state.readers[&key("db")], [key("two")].into());
        state.forget(&key("two"));
        assert!(!state.readers.contains_key(&key("db")));
        assert_eq!(state.readers[&key("tls")], [key("one")].into());
    }
}
