//! Changes that the provider itself tells, through the queue of a store: what changed is refreshed at
//! once. Whatever a message says, it only brings a read forward.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{AbortHandle, JoinSet};

use super::ExternalSecrets;
use crate::object::Namespaces;
use crate::queue::pause;
use crate::secret_store::StoreName;
use crate::store::{Changes, Session, StoreError};

/// How often stores are looked at for a queue.
const LOOK: Duration = Duration::from_secs(2);
/// Between two calls of a queue that fails, at most.
const LONGEST: u32 = 6;
/// Between two looks at one queue: whoever fills it gets no more reads than this allows.
const APART: Duration = Duration::from_millis(500);

impl ExternalSecrets {
    /// Listens to the queues of all stores that have one, without end.
    pub(super) async fn watch_changes(self: Arc<Self>) {
        // What a message says of an object that is not known yet would be lost.
        self.listed(&Namespaces::All).await;
        let mut listening = JoinSet::new();
        let mut running: HashMap<(StoreName, String), AbortHandle> = HashMap::new();
        loop {
            let queues: HashSet<_> = self.stores.queues().into_iter().collect();
            running.retain(|queue, task| {
                let stays = queues.contains(queue);
                if !stays {
                    task.abort();
                }
                stays && !task.is_finished()
            });
            for queue in queues {
                running.entry(queue.clone()).or_insert_with(|| {
                    let this = self.clone();
                    listening.spawn(async move { this.listen(&queue.0, &queue.1).await })
                });
            }
            while listening.try_join_next().is_some() {}
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn listen(&self, store: &StoreName, queue: &str) {
        let name = &store.name;
        let mut failures = 0;
        loop {
            match self.listen_once(store, queue).await {
                Ok(()) => failures = 0,
                Err(error) => {
                    failures += 1;
                    if failures == 1 {
                        tracing::warn!(store = name, "cannot read the store's queue: {error}");
                    }
                    tokio::time::sleep(pause(failures.min(LONGEST))).await;
                }
            }
            tokio::time::sleep(APART).await;
        }
    }

    async fn listen_once(&self, store: &StoreName, queue: &str) -> Result<(), StoreError> {
        let (session, changes) = self.stores.changes(store, queue).await?;
        self.changed(store, &session, &changes).await;
        // Earlier, it might be lost.
        session.acknowledge(queue, &changes).await
    }

    /// Refreshes the objects that read what changed, and shares no earlier read with them.
    async fn changed(&self, store: &StoreName, session: &Session, changes: &Changes) {
        let concerned: HashSet<(String, String)> = {
            let is_meant = |key: &str| {
                let resolved = session.resolved(key);
                resolved.is_ok_and(|key| changes.concern(&key))
            };
            let known = self.known();
            let reads = known.iter().flat_map(|(object, known)| {
                let of_store = known.own.newest.iter().filter(|(of, _)| of == store);
                of_store.map(|(_, key)| (object.namespace.clone(), key.clone()))
            });
            reads.filter(|(_, key)| is_meant(key)).collect()
        };
        for (namespace, key) in concerned {
            self.changed_version(&(store.clone(), namespace, key)).await;
        }
    }
}
