//! The stores of the cluster, and a session for each identity under which one is used.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kube::Client;
use sealkit_core::api::external::{
    ClusterSecretStore, SecretStore, SecretStoreRef, SecretStoreSpec, StoreKind,
};
use sealkit_core::names;
use serde_json::Value;

use super::login::Login;
use crate::object::{Key, Raw};
use crate::store::{Breaker, Object, Read, Session, StoreError};

/// A store by its name. Those of the cluster have no namespace.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct StoreName {
    pub(super) kind: StoreKind,
    pub(super) namespace: String,
    pub(super) name: String,
}

impl StoreName {
    /// The store that an object in this namespace refers to.
    pub(super) fn of(reference: &SecretStoreRef, namespace: &str) -> Self {
        let kind = reference.kind;
        let namespace = match kind {
            StoreKind::SecretStore => namespace.to_owned(),
            StoreKind::ClusterSecretStore => String::new(),
        };
        Self {
            kind,
            namespace,
            name: reference.name.clone(),
        }
    }

    /// The store at this place.
    pub(super) fn at(kind: StoreKind, key: Key) -> Self {
        Self {
            kind,
            namespace: key.namespace,
            name: key.name,
        }
    }

    /// Its place.
    pub(super) fn key(&self) -> Key {
        Key {
            namespace: self.namespace.clone(),
            name: self.name.clone(),
        }
    }
}

/// A store as it was last observed.
#[derive(Clone)]
struct KnownStore {
    uid: String,
    generation: i64,
    /// The spec, or what is wrong with it.
    spec: Arc<Result<SecretStoreSpec, String>>,
}

/// A store under one identity: that of the store itself, or of the namespace that uses it.
type Identity = (StoreName, Option<String>);

/// The session of an identity. Whoever needs one waits while it is made.
#[derive(Default)]
struct Slot {
    /// UID and generation of the store that it was made from.
    made: Option<(String, i64, Arc<Session>)>,
    breaker: Breaker,
}

/// See the module's documentation.
pub(super) struct Stores {
    client: Client,
    known: Mutex<HashMap<StoreName, KnownStore>>,
    sessions: Mutex<HashMap<Identity, Arc<tokio::sync::Mutex<Slot>>>>,
}

impl Stores {
    pub(super) fn new(client: Client) -> Self {
        Self {
            client,
            known: Mutex::default(),
            sessions: Mutex::default(),
        }
    }

    /// Observes a store. Has its spec changed?
    pub(super) fn observe(&self, name: StoreName, uid: &str, generation: i64, spec: Value) -> bool {
        let mut known = lock(&self.known);
        let is_same = |store: &KnownStore| store.uid == uid && store.generation == generation;
        if known.get(&name).is_some_and(is_same) {
            return false;
        }
        // The place of a fault in public text.
        let spec =
            serde_json::from_value(spec).map_err(|error| names::printable(&error.to_string()));
        let store = KnownStore {
            uid: uid.to_owned(),
            generation,
            spec: Arc::new(spec),
        };
        known.insert(name, store);
        true
    }

    /// Forgets a store.
    pub(super) fn gone(&self, name: &StoreName) {
        lock(&self.known).remove(name);
        lock(&self.sessions).retain(|(store, _), _| store != name);
    }

    /// The stores that a list lacks.
    pub(super) fn missing_from(&self, lacks: impl Fn(&StoreName) -> bool) -> Vec<StoreName> {
        let known = lock(&self.known);
        known.keys().filter(|name| lacks(name)).cloned().collect()
    }

    /// The session of a store for objects of this namespace, and whether it is new. Errors:
    /// [`StoreError::Absent`], [`StoreError::Config`], and those of a login.
    async fn session(
        &self,
        name: &StoreName,
        namespace: &str,
    ) -> Result<(Arc<Session>, bool), StoreError> {
        let known = lock(&self.known).get(name).cloned();
        let Some(KnownStore {
            uid,
            generation,
            spec,
        }) = known
        else {
            return Err(StoreError::Absent(format!(
                "{} {} does not exist",
                name.kind.name(),
                names::printable(&name.name)
            )));
        };
        let spec = match &*spec {
            Ok(spec) => spec,
            Err(why) => return Err(StoreError::Config(format!("the store's spec: {why}"))),
        };
        check_conditions(name, spec, namespace)?;
        let login = Login::of(spec)?;
        let identity = (name.clone(), login.referent(name, namespace));
        let slot = lock(&self.sessions).entry(identity).or_default().clone();
        let mut slot = slot.lock().await;
        if let Some((of, at, session)) = &slot.made
            && (of.as_str(), *at) == (uid.as_str(), generation)
        {
            return Ok((session.clone(), false));
        }
        // During an outage, one login in a while asks whether it is over.
        slot.breaker.admit()?;
        let made = login.open(&self.client, name, namespace).await;
        slot.breaker.record(made.as_ref().err());
        let session = Arc::new(made?);
        slot.made = Some((uid, generation, session.clone()));
        Ok((session, true))
    }

    /// Reads from a store, for objects of this namespace. A session that is refused is made again
    /// once: its token may have been replaced.
    pub(super) async fn read(
        &self,
        name: &StoreName,
        namespace: &str,
        read: &Read,
        window: Duration,
    ) -> Result<Arc<Object>, StoreError> {
        let (session, is_new) = self.session(name, namespace).await?;
        match session.read(read, window).await {
            // A refusal is a matter of policies, unless the server knows the token no more.
            Err(error @ (StoreError::Denied(_) | StoreError::Expired)) if !is_new => {
                if matches!(error, StoreError::Denied(_)) && !session.is_refused().await {
                    return Err(error);
                }
                self.end(&session).await;
                let (session, _) = self.session(name, namespace).await?;
                session.read(read, window).await
            }
            result => result,
        }
    }

    /// Ends a session whose identity the provider refuses: its credentials may have been replaced.
    async fn end(&self, session: &Arc<Session>) {
        let slots: Vec<_> = lock(&self.sessions).values().cloned().collect();
        for slot in slots {
            let mut slot = slot.lock().await;
            if slot
                .made
                .as_ref()
                .is_some_and(|(_, _, made)| Arc::ptr_eq(made, session))
            {
                slot.made = None;
            }
        }
    }
}

/// A store of the cluster says which namespaces may use it.
fn check_conditions(
    name: &StoreName,
    spec: &SecretStoreSpec,
    namespace: &str,
) -> Result<(), StoreError> {
    if spec.conditions.is_empty() || name.kind == StoreKind::SecretStore {
        return Ok(());
    }
    let mut named = spec.conditions.iter().flat_map(|one| &one.namespaces);
    // Selectors and expressions are not served yet: they allow nothing.
    if named.any(|named| named == namespace) {
        return Ok(());
    }
    let what = format!("the store's conditions do not name the namespace {namespace}");
    Err(StoreError::Absent(what))
}

/// The error for what somebody may ask for, later.
pub(super) fn not_served(what: &str) -> StoreError {
    StoreError::Config(format!("{what} is not served by Sealkit"))
}

/// The name of a store as a watch shows it.
pub(super) fn name_of(kind: StoreKind, metadata: &kube::core::ObjectMeta) -> StoreName {
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    StoreName {
        kind,
        namespace: text(&metadata.namespace),
        name: text(&metadata.name),
    }
}

/// A SecretStore as a watch shows it.
pub(super) type SecretStoreObject = Raw<SecretStore>;
/// A ClusterSecretStore as a watch shows it.
pub(super) type ClusterSecretStoreObject = Raw<ClusterSecretStore>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No code that can panic runs under these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
