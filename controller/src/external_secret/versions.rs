//! Looks at the versions of secrets between refreshes, where a version costs one small read: what
//! changed is refreshed at once.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream;

use sealkit_core::api::external::ExternalSecretSpec;

use tokio::time::Instant;

use super::ExternalSecrets;
use super::fetch::newest_of;
use crate::object::Key;
use crate::queue::Turns;
use crate::secret_store::StoreName;
use crate::store::{Read, Share};

/// Versions that are read at once.
const AT_ONCE: usize = 32;
/// Those of one namespace: a slow store leaves the others their looks.
const OF_ONE: usize = 4;

/// A secret for the objects of one namespace, which may have an identity of its own.
type Watched = (StoreName, String, String);

impl ExternalSecrets {
    /// Looks at all versions every so often, without end. Failures are for the refreshes to tell.
    pub(super) async fn watch_versions(self: Arc<Self>, every: Duration) {
        let mut seen = HashMap::new();
        loop {
            tokio::time::sleep(every).await;
            let versions = self.versions(every).await;
            let mut now = HashMap::new();
            for (watched, version) in versions {
                // What cannot be told now is compared with what was told last.
                let old = seen.remove(&watched);
                let Some(version) = version.or_else(|| old.clone()) else {
                    continue;
                };
                if old.is_some_and(|old| old != version) {
                    self.changed_version(&watched).await;
                }
                now.insert(watched, version);
            }
            seen = now;
        }
    }

    /// The versions of all that is watched, as far as they can be told before the next look.
    async fn versions(&self, every: Duration) -> Vec<(Watched, Option<String>)> {
        let turns = Turns::new(AT_ONCE, OF_ONE);
        let deadline = Instant::now() + every;
        let watched = self.watched();
        let all = watched.len().max(1);
        let looks = stream::iter(watched).map(|watched| async {
            let look = async {
                let _turn = turns.take(&watched.1).await;
                self.version(&watched, every / 2).await
            };
            let version = tokio::time::timeout_at(deadline, look).await;
            (watched, version.ok().flatten())
        });
        looks.buffer_unordered(all).collect().await
    }

    /// What is remembered of a spec: nothing, unless versions are watched, or a queue of the store tells
    /// what changed.
    pub(super) fn newest(
        &self,
        spec: &ExternalSecretSpec,
        namespace: &str,
    ) -> Vec<(StoreName, String)> {
        let mut newest = newest_of(spec, namespace);
        let is_watched = self.context.rules.watch_interval.is_some();
        newest.retain(|(store, _)| is_watched || self.stores.has_queue(store));
        newest
    }

    /// The secrets of stores that tell versions.
    fn watched(&self) -> HashSet<Watched> {
        let known = self.known();
        let ready = known.iter().filter(|(_, known)| known.ready);
        let all = ready.flat_map(|(object, known)| {
            let newest = known.own.newest.iter();
            let told = newest.filter(|(store, _)| self.stores.tells_versions(store));
            told.map(|(store, key)| (store.clone(), object.namespace.clone(), key.clone()))
        });
        all.collect()
    }

    async fn version(&self, (store, namespace, key): &Watched, window: Duration) -> Option<String> {
        let read = Read::Metadata { key: key.clone() };
        let share = Share::within(window);
        let metadata = self.stores.read(store, namespace, &read, share).await;
        let version = metadata
            .ok()?
            .0
            .get("current_version")?
            .as_str()?
            .to_owned();
        Some(version)
    }

    /// Refreshes the objects that read the secret, and shares no earlier read with them.
    pub(super) async fn changed_version(&self, (store, namespace, key): &Watched) {
        let read = Read::Secret {
            key: key.clone(),
            version: None,
        };
        self.stores.forget_read(store, namespace, &read).await;
        let reads = (store.clone(), key.clone());
        self.recheck(|object: &Key, known| {
            object.namespace == *namespace && known.own.newest.contains(&reads)
        });
    }
}
