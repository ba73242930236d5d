//! Acts on the decisions about keys: generates key pairs, writes SealingKeys and their statuses.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::runtime::watcher::{self, watcher};
use kube::{Api, Client, ResourceExt};
use sealkit_core::api::identity::{
    CREATED_ANNOTATION, FINGERPRINT, IDENTITY_TYPE, SEALING_KEY_ANNOTATION, STATE_ANNOTATION,
    identity_secret,
};
use sealkit_core::api::{
    Algorithm, KeyState, Reason, SealingKey, SealingKeySpec, SealingKeyStatus,
};
use sealkit_core::keys::{Fingerprint, Identity};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::decide::{Action, World, decide, to_be_revoked, write_status};
use super::reader::{IdentityObject, KeyReader, SealingKeyObject, kept, read_sealing_key};
use super::{KeyUsers, Keys, Leading, Users};
use crate::kubernetes::{self, ApiFailure, within};
use crate::object::{Namespaces, Origin, RawMeta, SEALING_KEY};
use crate::reconciler::caught;
use crate::status::{self, Outcome};
use crate::telemetry::{Health, Metrics};
use crate::watch::{Change, PAGE, all_pass, changes};

/// Its name in logs, metrics and readiness.
pub const NAME: &str = "SealingKey";
/// Longest pause after a failed step.
const MAX_PAUSE: Duration = Duration::from_secs(30);
/// Rounds of deciding and acting before changes from the watches are read again.
const ROUNDS: usize = 8;
/// Pause between two looks at whether a new leader saw everything.
const DOUBT: Duration = Duration::from_millis(250);
/// Looks after which a new leader reads the keys again.
const DOUBTS: u32 = 4;
/// How often a revocation that waits for its objects is reconsidered.
const RECHECK: Duration = Duration::from_secs(5);

/// Keeps identities and SealingKeys in sync. It always reads them, and acts while this replica
/// leads.
pub struct KeyReconciler {
    client: Client,
    namespace: String,
    identities: Api<IdentityObject>,
    sealing_keys: Api<SealingKeyObject>,
    allowed: Vec<Algorithm>,
    leading: Leading,
    keys: watch::Sender<Option<Arc<Keys>>>,
    /// Did this leader see what the API server has? Told once it did.
    confirmed: watch::Sender<bool>,
    seen: KeyReader,
}

/// What a step came to.
enum Step {
    /// Nothing is left to do, or this replica does not lead.
    Done,
    /// This replica leads and did not see all that the API server has.
    Outdated,
}

impl KeyReconciler {
    /// A reconciler for the identities of `namespace`. Sends the keys in force, and, once it leads,
    /// that these are the keys that the API server has.
    pub fn new(
        client: Client,
        namespace: &str,
        allowed: Vec<Algorithm>,
        leading: Leading,
        keys: watch::Sender<Option<Arc<Keys>>>,
        confirmed: watch::Sender<bool>,
    ) -> Self {
        Self {
            namespace: namespace.to_owned(),
            identities: Api::namespaced(client.clone(), namespace),
            sealing_keys: Api::all(client.clone()),
            client,
            allowed,
            leading,
            keys,
            confirmed,
            seen: KeyReader::default(),
        }
    }

    /// Runs until the task is dropped.
    pub async fn run(mut self, health: Arc<Health>, metrics: Arc<Metrics>) {
        let (mut secrets, mut sealing_keys) = self.watches(&health, &metrics);
        let mut pause = Duration::ZERO;
        let mut leading = self.leading.clone();
        let mut doubts = 0;
        loop {
            let due = if pause.is_zero() { RECHECK } else { pause };
            tokio::select! {
                Some(change) = secrets.next() => self.seen.secret(change),
                Some(change) = sealing_keys.next() => self.seen.sealing_key(change),
                Ok(()) = leading.changed() => {}
                () = tokio::time::sleep(due) => {}
            }
            if !self.seen.is_complete() {
                continue;
            }
            // A bug of ours in one step must not stop the reconciles of keys.
            let step = caught(self.step()).await;
            health.ready(NAME);
            pause = match step {
                Some(Ok(Step::Done)) => Duration::ZERO,
                // A watch may lag for a moment; one that is cut off does not notice.
                Some(Ok(Step::Outdated)) if doubts < DOUBTS => {
                    doubts += 1;
                    DOUBT
                }
                Some(Ok(Step::Outdated)) => {
                    tracing::warn!(
                        "the keys that this replica read are outdated, reading them again"
                    );
                    doubts = 0;
                    (secrets, sealing_keys) = self.watches(&health, &metrics);
                    self.seen.expect_lists();
                    DOUBT
                }
                Some(Err(failure)) => {
                    tracing::warn!(%failure, "could not reconcile keys, will retry");
                    longer(pause)
                }
                None => {
                    tracing::error!("reconciling keys panicked, will retry");
                    longer(pause)
                }
            };
        }
    }

    fn watches(
        &self,
        health: &Arc<Health>,
        metrics: &Metrics,
    ) -> (
        BoxStream<'static, Change<IdentityObject>>,
        BoxStream<'static, Change<SealingKeyObject>>,
    ) {
        let all = Namespaces::All;
        let config = watcher::Config::default().page_size(PAGE);
        let of_type = config.clone().fields(&format!("type={IDENTITY_TYPE}"));
        let secrets = watcher(self.identities.clone(), of_type);
        let secrets = changes(secrets, "Secret", all.clone(), health.clone(), metrics);
        let keys = watcher(self.sealing_keys.clone(), config);
        let keys = changes(keys, NAME, all, health.clone(), metrics);
        (secrets, keys)
    }

    /// Acts until nothing is left to do. The server's answers are applied at once, so that nothing
    /// is done twice before a watch reports it. A failed action does not prevent the others; the
    /// first failure is returned.
    async fn step(&mut self) -> Result<Step, ApiFailure> {
        let leader = self.leading.borrow().clone();
        // What a replica read while it waited may be old: its watches may have been cut off.
        let is_new = leader.is_some() && !*self.confirmed.borrow();
        if is_new && !self.is_up_to_date().await? {
            return Ok(Step::Outdated);
        }
        let leads = leader.is_some();
        let users = match leader {
            Some(leader) => {
                let asked = to_be_revoked(&self.seen.held, &self.seen.sealing_keys);
                users(asked, &*leader).await
            }
            // A replica that does not lead knows no users, and decides about no revocation.
            None => BTreeMap::new(),
        };
        let usage = |key: &Fingerprint| users.get(key).cloned().unwrap_or(Users::Unknown);
        for _ in 0..ROUNDS {
            let (actions, keys) = decide(&World {
                held: &self.seen.held,
                sealing_keys: &self.seen.sealing_keys,
                allowed: &self.allowed,
                usage: &usage,
                now: now(),
            });
            self.publish(keys);
            if leads {
                self.confirmed.send_replace(true);
            }
            if actions.is_empty() || !leads {
                return Ok(Step::Done);
            }
            let mut first_failure = Ok(());
            for action in actions {
                let result = self.act(action).await;
                first_failure = first_failure.and(result);
            }
            first_failure?;
        }
        Ok(Step::Done)
    }

    /// Was everything seen that the API server has? Reads names and versions, not the keys.
    async fn is_up_to_date(&self) -> Result<bool, ApiFailure> {
        let (mut identities, mut keys) = (0, 0);
        let has_identity = |secret: &RawMeta<Secret>| {
            identities += 1;
            self.seen.has_identity(&secret.metadata)
        };
        let api: Api<RawMeta<Secret>> = Api::namespaced(self.client.clone(), &self.namespace);
        let of_type = ListParams::default().fields(&format!("type={IDENTITY_TYPE}"));
        if !all_pass(&api, of_type, has_identity).await? {
            return Ok(false);
        }
        let has_key = |key: &RawMeta<SealingKey>| {
            keys += 1;
            self.seen.has_sealing_key(&key.metadata)
        };
        let api: Api<RawMeta<SealingKey>> = Api::all(self.client.clone());
        let all = all_pass(&api, ListParams::default(), has_key).await?;
        Ok(all && self.seen.counts() == (identities, keys))
    }

    fn publish(&self, keys: Keys) {
        self.keys.send_if_modified(|current| {
            let changed = current.as_ref().is_none_or(|current| !current.same(&keys));
            if changed {
                *current = Some(Arc::new(keys));
            }
            changed
        });
    }

    async fn act(&mut self, action: Action) -> Result<(), ApiFailure> {
        match action {
            Action::Generate {
                sealing_key,
                algorithm,
                created_at,
            } => self.generate(sealing_key, algorithm, created_at).await,
            Action::Annotate {
                secret,
                fingerprint,
                state,
                created_at,
                sealing_key,
            } => {
                let labels = json!({FINGERPRINT: fingerprint.to_string()});
                let annotations = json!({
                    STATE_ANNOTATION: state.name(),
                    CREATED_ANNOTATION: created_at.to_string(),
                    SEALING_KEY_ANNOTATION: sealing_key,
                });
                let state = state.name();
                tracing::info!(secret, %fingerprint, state, "annotating an identity");
                self.annotate(&secret, &labels, &annotations).await
            }
            Action::NameIdentity {
                sealing_key,
                fingerprint,
            } => self.name_identity(&sealing_key, fingerprint).await,
            Action::CreateSealingKey {
                name,
                algorithm,
                state,
            } => self.create_sealing_key(name, algorithm, state).await,
            Action::WriteStatus {
                sealing_key,
                status,
            } => self.write_status(&sealing_key, status).await,
        }
    }

    /// Sets labels and annotations of an identity Secret, if it is as it was seen.
    async fn annotate(
        &mut self,
        secret: &str,
        labels: &Value,
        annotations: &Value,
    ) -> Result<(), ApiFailure> {
        let held = self.seen.held.get(secret);
        let patch = json!({"metadata": {
            "uid": held.map(|held| &held.uid),
            "resourceVersion": held.map(|held| &held.resource_version),
            "labels": labels,
            "annotations": annotations,
        }});
        let (params, patch) = (PatchParams::default(), Patch::Merge(patch));
        let patched = within(self.identities.patch(secret, &params, &patch)).await?;
        self.seen.insert_secret(patched.into());
        Ok(())
    }

    /// Creates a SealingKey: of this name, or of one that the server chooses.
    async fn create_sealing_key(
        &mut self,
        name: Option<String>,
        algorithm: Algorithm,
        state: KeyState,
    ) -> Result<(), ApiFailure> {
        let mut key = SealingKey::new("", SealingKeySpec { algorithm, state });
        key.metadata.generate_name = name.is_none().then(|| "key-".to_owned());
        key.metadata.name = name;
        let params = PostParams::default();
        let api: Api<SealingKey> = Api::all(self.client.clone());
        let key = within(api.create(&params, &key)).await?;
        let state = state.name();
        tracing::info!(sealing_key = key.name_any(), state, "created a SealingKey");
        self.seen.insert_sealing_key(key);
        Ok(())
    }

    /// Generates a key pair. The Secret is named after the SealingKey's UID, so that a create whose
    /// answer was lost cannot happen twice.
    async fn generate(
        &mut self,
        sealing_key: String,
        algorithm: Algorithm,
        created_at: Timestamp,
    ) -> Result<(), ApiFailure> {
        let Some(key) = self.seen.sealing_keys.get(&sealing_key) else {
            return Ok(());
        };
        let name = format!("sealing-key-{}", key.uid().unwrap_or_default());
        let identity = Identity::generate(algorithm.into());
        let fingerprint = identity.fingerprint();
        let mut secret = identity_secret(&identity, name, &sealing_key, created_at);
        let api: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        let created = api.create(&PostParams::default(), &secret).await;
        kubernetes::wipe_secret(&mut secret);
        match created.map_err(ApiFailure::from) {
            Ok(created) => self.seen.insert_secret(created),
            Err(failure) => {
                let message = format!("could not store the key pair: {failure}");
                let outcome = Outcome::Retrying(Reason::TargetWriteFailed, message);
                let status = key.status.clone().unwrap_or_default();
                if let Some(Action::WriteStatus {
                    sealing_key,
                    status,
                }) = write_status(key, status, &outcome, now())
                {
                    self.write_status(&sealing_key, status).await?;
                }
                return Err(failure);
            }
        }
        tracing::info!(sealing_key, %fingerprint, "created a key pair");
        self.name_identity(&sealing_key, fingerprint).await
    }

    /// Writes into the annotation of a SealingKey whose it is.
    async fn name_identity(
        &mut self,
        sealing_key: &str,
        fingerprint: Fingerprint,
    ) -> Result<(), ApiFailure> {
        let mut metadata = self.precondition(sealing_key);
        metadata["annotations"] = json!({FINGERPRINT: fingerprint.to_string()});
        let patch = Patch::Merge(json!({"metadata": metadata}));
        let key = self
            .sealing_keys
            .patch(sealing_key, &PatchParams::default(), &patch)
            .await?;
        self.seen.insert_sealing_key(read_sealing_key(key));
        Ok(())
    }

    async fn write_status(
        &mut self,
        name: &str,
        status: SealingKeyStatus,
    ) -> Result<(), ApiFailure> {
        let Some(key) = self.seen.sealing_keys.get_mut(name) else {
            return Ok(());
        };
        let origin = Origin::of(SEALING_KEY, &key.metadata);
        let version = key.metadata.resource_version.as_deref();
        let old = key.status.as_ref();
        let written = status::write(&self.client, &origin, version, old, &status).await?;
        if let Some(metadata) = written {
            key.metadata = kept(metadata);
            key.status = Some(status);
        }
        Ok(())
    }

    /// A late write of a former leader must fail: UID and resourceVersion as last seen.
    fn precondition(&self, sealing_key: &str) -> Value {
        let meta = self
            .seen
            .sealing_keys
            .get(sealing_key)
            .map(|key| &key.metadata);
        json!({
            "uid": meta.and_then(|meta| meta.uid.as_ref()),
            "resourceVersion": meta.and_then(|meta| meta.resource_version.as_ref()),
        })
    }
}

/// The users of the keys whose revocation is requested. A revocation is final: that a key has none is
/// believed only where the leader knows every object as it is now. Where it cannot say, the users
/// stay unknown, and everything else goes on.
async fn users(
    asked: impl IntoIterator<Item = Fingerprint>,
    leader: &dyn KeyUsers,
) -> BTreeMap<Fingerprint, Users> {
    let asked = asked.into_iter();
    let users: BTreeMap<_, _> = asked.map(|key| (key, leader.users_of(&key))).collect();
    let none = Users::Known(Vec::new());
    if users.values().all(|users| *users != none) {
        return users;
    }
    match leader.is_current().await {
        Ok(true) => users,
        Ok(false) => BTreeMap::new(),
        Err(failure) => {
            tracing::warn!(%failure, "could not compare the objects, a revocation waits");
            BTreeMap::new()
        }
    }
}

fn longer(pause: Duration) -> Duration {
    (pause * 2).clamp(Duration::from_secs(1), MAX_PAUSE)
}

/// The time in whole seconds, as Kubernetes stores it.
fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use futures::future::BoxFuture;
    use sealkit_core::keys::KeyType;

    use super::*;

    /// A leader that knows no users, and this about itself.
    struct Leader(Result<bool, ApiFailure>);

    impl KeyUsers for Leader {
        fn users_of(&self, _: &Fingerprint) -> Users {
            Users::Known(Vec::new())
        }

        fn is_current(&self) -> BoxFuture<'_, Result<bool, ApiFailure>> {
            std::future::ready(self.0.clone()).boxed()
        }
    }

    #[tokio::test]
    async fn users_are_unknown_unless_the_leader_knows_every_object() {
        let key = Identity::generate(KeyType::Classic).fingerprint();
        for (current, known) in [
            (Ok(true), true),
            (Ok(false), false),
            (Err(ApiFailure::Unreachable), false),
        ] {
            let users = users([key], &Leader(current)).await;
            assert_eq!(users.contains_key(&key), known);
        }
    }
}
