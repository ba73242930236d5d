//! The stores of the cluster as they were last observed, and a session for each identity under which
//! one is used.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kube::Client;
use sealkit_core::names;
use serde_json::Value;
use tokio::time::Instant;

use super::StoreName;
use super::known::{Annotations, KnownStore};
use super::login::Login;
use super::usage::Labels;
use crate::lock::lock;
use crate::sources::{Source, Sources, Used, Users};
use crate::store::{Breaker, Changes, Held, PATIENCE, Read, Session, Share, StoreError};
use crate::telemetry::Metrics;

/// How long a session lasts: credentials that were replaced or taken away end it, even if the provider
/// still takes the old ones.
const SESSION: Duration = Duration::from_hours(1);
/// How long a login may take, whatever the store asks for on the way to it.
const LOGIN: Duration = Duration::from_secs(60);

/// A store under one identity: that of the store itself, or of the namespace that uses it.
pub type Identity = (StoreName, Option<String>);

/// The session of an identity. Whoever needs one waits while it is made.
#[derive(Default)]
struct Slot {
    made: Option<Made>,
    breaker: Breaker,
}

/// A session, and the store that it was made from.
struct Made {
    uid: String,
    generation: i64,
    at: Instant,
    session: Arc<Session>,
}

impl Made {
    /// Was it made from the store as it is now, and not too long ago?
    fn is_of(&self, store: &KnownStore) -> bool {
        (self.uid.as_str(), self.generation) == (store.uid.as_str(), store.generation)
            && self.at.elapsed() < SESSION
    }
}

/// See the module's documentation.
pub struct Stores {
    client: Client,
    metrics: Arc<Metrics>,
    /// The class of controllers that this one is of.
    class: String,
    /// May stores of the cluster use the controller's own identity?
    lends_identity: bool,
    known: Mutex<HashMap<StoreName, Arc<KnownStore>>>,
    sessions: Mutex<HashMap<Identity, Arc<tokio::sync::Mutex<Slot>>>>,
    /// The labels of all namespaces, if they are watched.
    labels: Mutex<HashMap<String, Labels>>,
    /// The Secrets and `ConfigMaps` that logins were made with.
    sources: Arc<Sources>,
    users: Mutex<Users<Identity>>,
}

impl Stores {
    pub(super) fn new(
        client: Client,
        metrics: Arc<Metrics>,
        class: &str,
        lends_identity: bool,
        sources: Arc<Sources>,
    ) -> Self {
        Self {
            client,
            metrics,
            class: class.to_owned(),
            lends_identity,
            known: Mutex::default(),
            sessions: Mutex::default(),
            labels: Mutex::default(),
            sources,
            users: Mutex::default(),
        }
    }

    /// Observes a store. Has its description changed?
    pub(super) fn observe(
        &self,
        name: &StoreName,
        uid: &str,
        generation: i64,
        spec: Value,
        annotations: Annotations,
    ) -> bool {
        let mut known = lock(&self.known);
        let old = known.get(name);
        if old.is_some_and(|store| store.is_same(uid, generation, &annotations)) {
            return false;
        }
        let store = KnownStore::new(name, uid, generation, spec, annotations, &self.class);
        known.insert(name.clone(), Arc::new(store));
        true
    }

    /// Forgets a store.
    pub(super) fn gone(&self, name: &StoreName) {
        lock(&self.known).remove(name);
        lock(&self.sessions).retain(|(store, _), _| store != name);
        lock(&self.users).retain(|(store, _)| store != name);
    }

    /// The stores that a list lacks.
    pub(super) fn missing_from(&self, lacks: impl Fn(&StoreName) -> bool) -> Vec<StoreName> {
        let known = lock(&self.known);
        known.keys().filter(|name| lacks(name)).cloned().collect()
    }

    /// The store as it was last observed.
    pub(super) fn known(&self, name: &StoreName) -> Option<Arc<KnownStore>> {
        lock(&self.known).get(name).cloned()
    }

    /// Is it a store of another class of controllers? Then what uses it is theirs too.
    pub fn is_foreign(&self, name: &StoreName) -> bool {
        lock(&self.known)
            .get(name)
            .is_some_and(|store| store.is_foreign)
    }

    /// Observes the labels of a namespace, `None` if it is gone. Have they changed?
    pub(super) fn observe_namespace(&self, namespace: &str, labels: Option<Labels>) -> bool {
        let mut all = lock(&self.labels);
        if all.get(namespace) == labels.as_ref() {
            return false;
        }
        if let Some(labels) = labels {
            all.insert(namespace.to_owned(), labels);
        } else {
            all.remove(namespace);
            // The next namespace of this name may be somebody else's, who brings his own credentials.
            let of = Some(namespace);
            lock(&self.sessions).retain(|(_, referent), _| referent.as_deref() != of);
            lock(&self.users).retain(|(_, referent)| referent.as_deref() != of);
        }
        true
    }

    /// The namespaces for whose name and labels this is true.
    pub fn namespaces(&self, selects: impl Fn(&str, &Labels) -> bool) -> Vec<String> {
        let all = lock(&self.labels);
        let selected = all.iter().filter(|(name, labels)| selects(name, labels));
        selected.map(|(name, _)| name.clone()).collect()
    }

    /// The namespaces that a list lacks.
    pub(super) fn namespaces_missing_from(&self, lacks: impl Fn(&str) -> bool) -> Vec<String> {
        let all = lock(&self.labels);
        all.keys().filter(|name| lacks(name)).cloned().collect()
    }

    /// The store, if the namespace may use it. Errors: [`StoreError::Absent`],
    /// [`StoreError::Config`].
    fn usable(&self, name: &StoreName, namespace: &str) -> Result<Arc<KnownStore>, StoreError> {
        let store = self.known(name).ok_or_else(|| {
            StoreError::Absent(format!(
                "{} {} does not exist",
                name.kind.name(),
                names::printable(&name.name)
            ))
        })?;
        if let Ok(described) = store.described()
            && !described
                .conditions
                .allow(namespace, lock(&self.labels).get(namespace))
        {
            let what = format!("the store's conditions do not name the namespace {namespace}");
            return Err(StoreError::Absent(what));
        }
        Ok(store)
    }

    /// Where the session is kept.
    fn slot(
        &self,
        name: &StoreName,
        login: &Login<'_>,
        namespace: &str,
    ) -> Arc<tokio::sync::Mutex<Slot>> {
        let identity = (name.clone(), login.referent(name, namespace));
        lock(&self.sessions).entry(identity).or_default().clone()
    }

    /// The session of a store under the identity of whoever uses it, and whether it is new. Errors:
    /// [`StoreError::Config`], [`StoreError::Busy`], and those of a login.
    async fn session(
        &self,
        name: &StoreName,
        store: &KnownStore,
        namespace: &str,
    ) -> Result<(Arc<Session>, bool), StoreError> {
        let login = store.login()?;
        let slot = self.slot(name, &login, namespace);
        let slot = tokio::time::timeout(PATIENCE, slot.lock_owned()).await;
        let mut slot = slot.map_err(|_| StoreError::Busy)?;
        if let Some(made) = slot.made.as_ref().filter(|made| made.is_of(store)) {
            return Ok((made.session.clone(), false));
        }
        // During an outage, one login in a while asks whether it is over.
        slot.breaker.admit()?;
        let lends = self.lends_identity;
        let identity = (name.clone(), login.referent(name, namespace));
        let used = Used::default();
        lock(&self.users).begin(&identity, Vec::new());
        let made = login.open(&self.client, name, namespace, lends, &used);
        let made = tokio::time::timeout(LOGIN, made).await;
        let is_outdated = self.uses(&identity, &used);
        let made = made.unwrap_or_else(|_| {
            let limit = LOGIN.as_secs();
            let what = format!("the login took more than {limit} seconds");
            Err(StoreError::unavailable(what))
        });
        slot.breaker.record(made.as_ref().err());
        let session = Arc::new(made?.counted(self.metrics.clone()));
        slot.made = Some(Made {
            uid: store.uid.clone(),
            generation: store.generation,
            at: Instant::now(),
            session: session.clone(),
        });
        if is_outdated {
            // Whoever comes next logs in with what is there now.
            lock(&self.sessions).remove(&identity);
        }
        Ok((session, true))
    }

    /// Sets the gauge of sessions. One that is being made or ended just now is left out.
    pub(super) fn count_sessions(&self) {
        let slots: Vec<_> = lock(&self.sessions).values().cloned().collect();
        let state = |slot: Arc<tokio::sync::Mutex<Slot>>| {
            let slot = slot.try_lock().ok()?;
            let (provider, answers) = slot.made.as_ref()?.session.state();
            Some((provider, answers && !slot.breaker.is_open()))
        };
        let states = slots.into_iter().filter_map(state);
        self.metrics.store.set_sessions(states);
    }

    /// Notes what a login was made with, or failed with. Did it change meanwhile?
    fn uses(&self, identity: &Identity, used: &Used) -> bool {
        let used = used.take();
        if !used.is_empty() {
            self.sources.want();
        }
        lock(&self.users).set(identity, used)
    }

    /// What logins were made with.
    pub(super) fn sources(&self) -> Vec<Source> {
        lock(&self.users).sources()
    }

    /// Ends the sessions of logins with another version of the source than this one. Returns whose
    /// they were.
    pub(super) fn source_changed(&self, source: &Source, version: &str) -> HashSet<Identity> {
        let outdated = lock(&self.users).outdated(source, version);
        let mut sessions = lock(&self.sessions);
        for identity in &outdated {
            sessions.remove(identity);
        }
        outdated.into_iter().collect()
    }

    /// Does the store work under its own identity? `None` if it has none: each namespace that uses it
    /// brings its own.
    pub(super) async fn check(&self, name: &StoreName) -> Option<Result<(), StoreError>> {
        let store = self.known(name)?;
        match store.login() {
            Ok(login) if login.referent(name, "").is_some() => return None,
            Ok(_) => {}
            Err(error) => return Some(Err(error)),
        }
        let check = async {
            let (session, is_new) = self.session(name, &store, &name.namespace).await?;
            match session.check().await {
                Err(StoreError::Denied(_) | StoreError::Expired) if !is_new => {
                    self.end(name, &store, &name.namespace, &session).await?;
                    let (session, _) = self.session(name, &store, &name.namespace).await?;
                    session.check().await
                }
                result => result,
            }
        };
        Some(check.await)
    }

    /// Reads from a store, for objects of this namespace. A session that is refused is made again
    /// once: its token may have been replaced.
    pub async fn read(
        &self,
        name: &StoreName,
        namespace: &str,
        read: &Read,
        share: Share,
    ) -> Result<Arc<Held>, StoreError> {
        let store = self.usable(name, namespace)?;
        let (session, is_new) = self.session(name, &store, namespace).await?;
        store.check_policy(&session, namespace, read)?;
        match session.read(read, share).await {
            // A refusal is a matter of policies, unless the server knows the token no more.
            Err(error @ (StoreError::Denied(_) | StoreError::Expired)) if !is_new => {
                if matches!(error, StoreError::Denied(_)) && !session.is_refused().await {
                    return Err(error);
                }
                self.end(name, &store, namespace, &session).await?;
                let (session, _) = self.session(name, &store, namespace).await?;
                session.read(read, share).await
            }
            result => result,
        }
    }

    /// The stores with a queue that tells which of their secrets changed, and its URL.
    pub fn queues(&self) -> Vec<(StoreName, String)> {
        let known = lock(&self.known);
        let queues = known
            .iter()
            .filter_map(|(name, store)| Some((name.clone(), store.queue()?.to_owned())));
        queues.collect()
    }

    /// Has it a queue that tells which of its secrets changed?
    pub fn has_queue(&self, name: &StoreName) -> bool {
        self.known(name)
            .is_some_and(|store| store.queue().is_some())
    }

    /// Waits a while for what the queue of a store tells, under the store's own identity. Returns the
    /// session that takes it out of the queue.
    pub async fn changes(
        &self,
        name: &StoreName,
        queue: &str,
    ) -> Result<(Arc<Session>, Changes), StoreError> {
        let gone = || StoreError::Absent("the store does not exist".to_owned());
        let store = self.known(name).ok_or_else(gone)?;
        if store.login()?.referent(name, "").is_some() {
            let what = "a queue needs a store with credentials of its own";
            return Err(StoreError::Config(what.to_owned()));
        }
        let (session, is_new) = self.session(name, &store, &name.namespace).await?;
        match session.changes(queue).await {
            Err(error @ (StoreError::Denied(_) | StoreError::Expired)) if !is_new => {
                if matches!(error, StoreError::Denied(_)) && !session.is_refused().await {
                    return Err(error);
                }
                self.end(name, &store, &name.namespace, &session).await?;
                let (session, _) = self.session(name, &store, &name.namespace).await?;
                let changes = session.changes(queue).await?;
                Ok((session, changes))
            }
            result => result.map(|changes| (session, changes)),
        }
    }

    /// Does the provider tell the version of a secret for less than a read of it?
    pub fn tells_versions(&self, name: &StoreName) -> bool {
        let known = self.known(name);
        known.is_some_and(|store| store.tells_versions())
    }

    /// Shares no earlier read with those who come from now on.
    pub async fn forget_read(&self, name: &StoreName, namespace: &str, read: &Read) {
        let Ok(store) = self.usable(name, namespace) else {
            return;
        };
        if let Ok((session, _)) = self.session(name, &store, namespace).await {
            session.forget(read);
        }
    }

    /// Ends a session whose identity the provider refuses: its credentials may have been replaced.
    /// It waits for nobody who logs in elsewhere.
    async fn end(
        &self,
        name: &StoreName,
        store: &KnownStore,
        namespace: &str,
        session: &Arc<Session>,
    ) -> Result<(), StoreError> {
        let slot = self.slot(name, &store.login()?, namespace);
        let slot = tokio::time::timeout(PATIENCE, slot.lock()).await;
        let mut slot = slot.map_err(|_| StoreError::Busy)?;
        let is_it = |made: &Made| Arc::ptr_eq(&made.session, session);
        if slot.made.as_ref().is_some_and(is_it) {
            slot.made = None;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http::{Request, Response};
    use kube::client::Body;
    use sealkit_core::api::external::StoreKind;
    use serde_json::json;
    use tower::service_fn;

    use super::*;

    /// An API server whose Secrets all hold a token.
    fn stores() -> Stores {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let answer = async |_: Request<Body>| {
            let secret = json!({"metadata": {"name": "a"}, "data": {"token": "dA=="}});
            Ok::<_, Infallible>(Response::new(Body::from(secret.to_string().into_bytes())))
        };
        let client = Client::new(service_fn(answer), "default");
        Stores::new(
            client,
            Arc::new(Metrics::new()),
            "default",
            false,
            Arc::default(),
        )
    }

    /// A store of the cluster for which each namespace brings a token of its own.
    fn shared(stores: &Stores) -> (StoreName, Arc<KnownStore>) {
        let name = StoreName {
            kind: StoreKind::ClusterSecretStore,
            namespace: String::new(),
            name: "vault".to_owned(),
        };
        let auth = json!({"tokenSecretRef": {"name": "token"}});
        let vault = json!({"server": "https://vault.example", "path": "kv", "auth": auth});
        let spec = json!({"provider": {"vault": vault}});
        assert!(stores.observe(&name, "u1", 1, spec, Annotations::default()));
        let store = stores.known(&name).unwrap();
        (name, store)
    }

    #[tokio::test]
    async fn a_session_ends_with_its_namespace() {
        let stores = stores();
        let (name, store) = shared(&stores);
        stores.observe_namespace("shop", Some(Labels::new()));
        let is_new = async |namespace| stores.session(&name, &store, namespace).await.unwrap().1;
        assert!(is_new("shop").await && is_new("bank").await);
        assert!(!is_new("shop").await);
        stores.observe_namespace("shop", None);
        stores.observe_namespace("shop", Some(Labels::new()));
        assert!(is_new("shop").await, "somebody else may have made it");
        assert!(!is_new("bank").await);
    }

    #[tokio::test]
    async fn a_login_that_hangs_keeps_no_other_session_from_being_replaced() {
        let stores = stores();
        let (name, store) = shared(&stores);
        let (session, _) = stores.session(&name, &store, "shop").await.unwrap();
        let slot = stores.slot(&name, &store.login().unwrap(), "bank");
        let _login = slot.lock().await;
        let end = stores.end(&name, &store, "shop", &session);
        let ended = tokio::time::timeout(Duration::from_secs(10), end).await;
        ended.expect("it waits for nobody").unwrap();
        assert!(stores.session(&name, &store, "shop").await.unwrap().1);
    }
}
