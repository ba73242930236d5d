//! Observes the values: what the spec asks for, from the stores that it names.

use std::sync::Arc;
use std::time::Duration;

use sealkit_core::api::Reason;
use sealkit_core::api::external::{
    DataFrom, DeletionPolicy, ExternalSecretSpec, Find, MetadataPolicy, RemoteRef, SecretStoreRef,
    SourceRef,
};
use tokio::time::Instant;

use super::plan::Plan;
use super::rewrite::rewritten;
use super::{ExternalSecrets, data};
use crate::queue::LONGEST_PAUSE;
use crate::render::Contents;
use crate::secret_store::StoreName;
use crate::status::Outcome;
use crate::store::{self, Held, Object, Read, Share, StoreError};

/// What the stores have.
pub(super) struct Fetched {
    /// The values by the keys of the Secret.
    pub(super) data: Contents,
    /// What they lack and the policy leaves out, as they say it.
    pub(super) missing: Vec<String>,
}

/// Why nothing was made, and the longest pause until the next try.
pub(super) type NotMade = (Outcome, Option<Duration>);

impl ExternalSecrets {
    /// All values: those of `dataFrom` first, in order; later ones win. They are wanted since this
    /// moment.
    pub(super) async fn fetch(&self, plan: &Plan, since: Instant) -> Result<Fetched, NotMade> {
        let (spec, namespace) = (&plan.spec, &plan.origin.namespace);
        let share = Share {
            window: plan.window,
            // What belongs together is read together.
            since: if reads_one(spec) {
                since
            } else {
                Instant::now()
            },
        };
        let failed = |error: StoreError| not_fetched(&error);
        let mut contents = Contents::new();
        let mut missing = Vec::new();
        let mut bytes = 0;
        for (at, entry) in spec.data_from.iter().enumerate() {
            let Some(read) = asked(entry) else {
                continue;
            };
            let store = store_of(entry.source_ref.as_ref(), spec);
            let found = self.read(store, read, namespace, share).await;
            if let Some(found) = unless_missing(found, spec, &mut missing).map_err(failed)? {
                let values = values_of(entry, &found).map_err(failed)?;
                let values = if entry.rewrite.is_empty() {
                    values
                } else {
                    let renderer = &self.context.renderer;
                    let place = format!("dataFrom[{at}]");
                    rewritten(renderer, namespace, &place, &entry.rewrite, values).await?
                };
                bytes += values.values().map(|value| value.len()).sum::<usize>();
                contents.extend(values);
                check_size(bytes)?;
            }
        }
        for entry in &spec.data {
            // An object may ask a large text for thousands of properties: others get their turns between.
            tokio::task::yield_now().await;
            let remote = &entry.remote_ref;
            let store = store_of(entry.source_ref.as_ref(), spec);
            let found = self.read(store, secret(remote), namespace, share).await;
            if let Some(found) = unless_missing(found, spec, &mut missing).map_err(failed)? {
                let value = data::value(&found.0, remote).map_err(failed)?;
                bytes += value.len();
                contents.insert(entry.secret_key.clone(), value);
                check_size(bytes)?;
            }
        }
        Ok(Fetched {
            data: contents,
            missing,
        })
    }

    /// Reads from one store.
    async fn read(
        &self,
        store: &SecretStoreRef,
        read: Read,
        namespace: &str,
        share: Share,
    ) -> Result<Arc<Held>, StoreError> {
        let store = StoreName::of(store, namespace);
        self.stores.read(&store, namespace, &read, share).await
    }
}

/// Does the spec ask for one secret of one store, whatever it takes of it?
fn reads_one(spec: &ExternalSecretSpec) -> bool {
    let data = spec.data.iter();
    let data = data.map(|entry| {
        (
            store_of(entry.source_ref.as_ref(), spec),
            Some(secret(&entry.remote_ref)),
        )
    });
    let from = spec.data_from.iter();
    let from = from.map(|entry| (store_of(entry.source_ref.as_ref(), spec), asked(entry)));
    let mut reads = data.chain(from);
    let first = reads.next();
    reads.all(|read| Some(read) == first)
}

/// What no Secret can hold is not gathered first.
fn check_size(bytes: usize) -> Result<(), NotMade> {
    /// A Secret holds 1 MiB. Later entries may replace earlier ones.
    const MOST: usize = 2 * 1024 * 1024;
    if bytes <= MOST {
        return Ok(());
    }
    let what = "the values have more than 2 MiB together, which no Secret can hold".to_owned();
    Err((
        Outcome::Retrying(Reason::TargetWriteFailed, what),
        Some(LONGEST_PAUSE),
    ))
}

/// What an entry of `dataFrom` asks a store for.
fn asked(entry: &DataFrom) -> Option<Read> {
    let find = |find: &Find| {
        let name = find.name.as_ref().map(|name| name.regexp.clone());
        Read::Find(store::Find {
            path: find.path.clone(),
            name: name.filter(|name| !name.is_empty()),
            tags: find.tags.clone(),
        })
    };
    let extract = entry.extract.as_ref().map(secret);
    extract.or_else(|| entry.find.as_ref().map(find))
}

/// The values that an entry of `dataFrom` gives, under the keys of the store if it rewrites them.
fn values_of(entry: &DataFrom, found: &Object) -> Result<Contents, StoreError> {
    let (values, how) = match (&entry.extract, &entry.find) {
        (Some(remote), _) => (data::extracted(&found.0, remote)?, remote.into()),
        (None, Some(find)) => (data::members(&found.0, "what find found")?, find.into()),
        (None, None) => return Ok(Contents::new()),
    };
    if entry.rewrite.is_empty() {
        data::converted(values, how)
    } else {
        Ok(values)
    }
}

/// The secret that is asked for, or its metadata.
fn secret(remote: &RemoteRef) -> Read {
    if remote.metadata_policy == MetadataPolicy::Fetch {
        let key = remote.key.clone();
        return Read::Metadata { key };
    }
    Read::Secret {
        key: remote.key.clone(),
        version: Some(remote.version.clone()).filter(|version| !version.is_empty()),
    }
}

/// What a failure to read means, and the longest pause until the next try.
fn not_fetched(error: &StoreError) -> NotMade {
    let message = error.to_string();
    let (reason, retry) = match error {
        StoreError::Config(_) => {
            return (
                Outcome::Stalled(Reason::InvalidProviderConfig, message),
                None,
            );
        }
        StoreError::Absent(_) => (Reason::StoreNotReady, LONGEST_PAUSE),
        StoreError::Denied(_) => (Reason::AccessDenied, LONGEST_PAUSE),
        StoreError::Missing(_) | StoreError::NoProperty(_) => (Reason::NotFound, LONGEST_PAUSE),
        StoreError::Answer(_) => (Reason::ProviderError, LONGEST_PAUSE),
        StoreError::Busy => (Reason::ProgressingWithRetry, LONGEST_PAUSE),
        StoreError::Expired | StoreError::Unavailable { .. } => {
            (Reason::ProviderError, Duration::from_secs(30))
        }
    };
    (Outcome::Retrying(reason, message), Some(retry))
}

/// A secret that the store does not have is no failure if `deletionPolicy` says what to do then.
fn unless_missing(
    secret: Result<Arc<Held>, StoreError>,
    spec: &ExternalSecretSpec,
    missing: &mut Vec<String>,
) -> Result<Option<Arc<Held>>, StoreError> {
    match secret {
        Err(StoreError::Missing(what)) if spec.target.deletion_policy != DeletionPolicy::Retain => {
            missing.push(what);
            Ok(None)
        }
        secret => secret.map(Some),
    }
}

fn store_of<'a>(source: Option<&'a SourceRef>, spec: &'a ExternalSecretSpec) -> &'a SecretStoreRef {
    match source {
        Some(SourceRef::StoreRef(store)) => store,
        _ => &spec.secret_store_ref,
    }
}

/// The stores that the spec names, each once.
pub(super) fn stores_of(spec: &ExternalSecretSpec, namespace: &str) -> Vec<StoreName> {
    let sources = (spec.data.iter().map(|entry| entry.source_ref.as_ref()))
        .chain(spec.data_from.iter().map(|entry| entry.source_ref.as_ref()));
    let mut stores = Vec::new();
    for source in sources {
        let store = StoreName::of(store_of(source, spec), namespace);
        if !stores.contains(&store) {
            stores.push(store);
        }
    }
    stores
}

/// Bytes of keys that are remembered of one object. Whoever makes objects chooses how many it has and
/// how long they are; those beyond it wait for the refresh.
const REMEMBERED: usize = 8 * 1024;

/// The secrets whose newest version the spec names one by one, each once.
pub(super) fn newest_of(spec: &ExternalSecretSpec, namespace: &str) -> Vec<(StoreName, String)> {
    let data = spec.data.iter();
    let data = data.map(|entry| (entry.source_ref.as_ref(), &entry.remote_ref));
    let from = spec.data_from.iter();
    let from = from.filter_map(|entry| Some((entry.source_ref.as_ref(), entry.extract.as_ref()?)));
    let (mut newest, mut bytes) = (Vec::new(), 0);
    for (source, remote) in data.chain(from) {
        let store = store_of(source, spec);
        let size = store.name.len() + namespace.len() + remote.key.len();
        if !remote.version.is_empty() || bytes + size > REMEMBERED {
            continue;
        }
        let read = (StoreName::of(store, namespace), remote.key.clone());
        if !newest.contains(&read) {
            newest.push(read);
            bytes += size;
        }
    }
    newest
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn little_is_remembered_of_an_object_with_long_keys() {
        let entry = |key: String| json!({"secretKey": "a", "remoteRef": {"key": key}});
        let long = (0..2_000).map(|at| entry(format!("{at}{}", "x".repeat(500))));
        let all: Vec<_> = long.chain([entry("db".to_owned())]).collect();
        let spec = json!({"secretStoreRef": {"name": "vault"}, "data": all});
        let spec: ExternalSecretSpec = serde_json::from_value(spec).unwrap();
        let newest = newest_of(&spec, "shop");
        let bytes: usize = newest.iter().map(|(_, key)| key.len()).sum();
        assert!(!newest.is_empty() && bytes <= REMEMBERED, "{bytes}");
    }
}
