use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Patch, PatchParams, PostParams};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, ResourceExt};
use sealkit_core::api::{Algorithm, IDENTITY_TYPE, KeyState, Reason, SealingKey, SealingKeySpec};
use sealkit_core::keys::{Identity, parse_identity_file};
use serde_json::{Value, json};
use tokio::sync::watch;
use zeroize::Zeroizing;

use super::decide::{Action, Held, World, decide, write_status};
use super::{
    CREATED_ANNOTATION, FINGERPRINT, Keys, KeysReceiver, SEALING_KEY_ANNOTATION, STATE_ANNOTATION,
    Usage,
};
use crate::kubernetes::{self, ApiFailure};
use crate::status::Outcome;
use crate::telemetry::{Health, Metrics};

/// Longest pause after a failed step.
const MAX_PAUSE: Duration = Duration::from_secs(30);
/// Rounds of deciding and acting before the watches are heard again.
const ROUNDS: usize = 8;
/// How often revocations that waited for their objects are looked at again.
const RECHECK: Duration = Duration::from_secs(5);

/// Keeps identities and SealingKeys in step. One task of the leader.
pub struct KeyReconciler {
    secrets: Api<Secret>,
    sealing_keys: Api<SealingKey>,
    allowed: Vec<Algorithm>,
    usage: Usage,
    keys: watch::Sender<Option<Arc<Keys>>>,
    held: BTreeMap<String, Held>,
    known: BTreeMap<String, SealingKey>,
}

impl KeyReconciler {
    /// A reconciler for the identities of `namespace`, and the receiver of the keys in force.
    pub fn new(
        client: Client,
        namespace: &str,
        allowed: Vec<Algorithm>,
        usage: Usage,
    ) -> (Self, KeysReceiver) {
        let (keys, receiver) = watch::channel(None);
        let reconciler = Self {
            secrets: Api::namespaced(client.clone(), namespace),
            sealing_keys: Api::all(client),
            allowed,
            usage,
            keys,
            held: BTreeMap::new(),
            known: BTreeMap::new(),
        };
        (reconciler, receiver)
    }

    /// Runs until the task is dropped.
    pub async fn run(mut self, health: Arc<Health>, metrics: Arc<Metrics>) {
        let config = watcher::Config::default().fields(&format!("type={IDENTITY_TYPE}"));
        let secrets = watcher(self.secrets.clone(), config);
        let mut secrets = crate::watch::events(secrets, "Secret", health.clone(), metrics.clone());
        let keys = watcher(self.sealing_keys.clone(), watcher::Config::default());
        let mut keys = crate::watch::events(keys, "SealingKey", health, metrics);
        let mut listed = (false, false);
        // What a list is replaced by once it is complete.
        let (mut new_held, mut new_known) = (BTreeMap::new(), BTreeMap::new());
        let mut pause = Duration::ZERO;
        loop {
            let due = if pause.is_zero() { RECHECK } else { pause };
            tokio::select! {
                Some(event) = secrets.next() => match event {
                    Event::Init => new_held = BTreeMap::new(),
                    Event::InitApply(secret) => insert_held(&mut new_held, secret),
                    Event::InitDone => {
                        take_over(&mut self.held, std::mem::take(&mut new_held));
                        listed.0 = true;
                    }
                    Event::Apply(secret) => insert_held(&mut self.held, secret),
                    Event::Delete(secret) => {
                        self.held.remove(&secret.name_any());
                    }
                },
                Some(event) = keys.next() => match event {
                    Event::Init => new_known = BTreeMap::new(),
                    Event::InitApply(key) => {
                        new_known.insert(key.name_any(), key);
                    }
                    Event::InitDone => {
                        take_over(&mut self.known, std::mem::take(&mut new_known));
                        listed.1 = true;
                    }
                    Event::Apply(key) => insert_newer(&mut self.known, key.name_any(), key),
                    Event::Delete(key) => {
                        self.known.remove(&key.name_any());
                    }
                },
                () = tokio::time::sleep(due) => {}
            }
            if listed != (true, true) {
                continue;
            }
            pause = match self.step().await {
                Ok(()) => Duration::ZERO,
                Err(failure) => {
                    tracing::warn!(%failure, "keys could not be brought up to date, will be retried");
                    (pause * 2).clamp(Duration::from_secs(1), MAX_PAUSE)
                }
            };
        }
    }

    /// Acts until nothing is left to do. Answers of the server are taken over at once, so that
    /// nothing is done twice before a watch tells of it. One step that fails does not keep the
    /// others; the first failure is returned.
    async fn step(&mut self) -> Result<(), ApiFailure> {
        for _ in 0..ROUNDS {
            let (actions, keys) = decide(&World {
                held: &self.held,
                sealing_keys: &self.known,
                allowed: &self.allowed,
                usage: &*self.usage,
                now: now(),
            });
            self.publish(keys);
            if actions.is_empty() {
                return Ok(());
            }
            let mut first_failure = Ok(());
            for action in actions {
                let result = self.act(action).await;
                first_failure = first_failure.and(result);
            }
            first_failure?;
        }
        Ok(())
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
            } => {
                self.generate(sealing_key, algorithm, created_at).await?;
            }
            Action::Annotate {
                secret,
                fingerprint,
                state,
                created_at,
                sealing_key,
            } => {
                let held = self.held.get(&secret);
                let patch = json!({"metadata": {
                    "uid": held.map(|held| &held.uid),
                    "resourceVersion": held.map(|held| &held.resource_version),
                    "labels": {FINGERPRINT: fingerprint.to_string()},
                    "annotations": {
                        STATE_ANNOTATION: format!("{state:?}"),
                        CREATED_ANNOTATION: created_at.to_string(),
                        SEALING_KEY_ANNOTATION: sealing_key,
                    },
                }});
                tracing::info!(secret, %fingerprint, ?state, "identity annotated");
                let patched = self
                    .secrets
                    .patch(&secret, &PatchParams::default(), &Patch::Merge(patch))
                    .await?;
                insert_held(&mut self.held, patched);
            }
            Action::CreateSealingKey {
                name,
                algorithm,
                state,
            } => {
                let mut key = SealingKey::new("", SealingKeySpec { algorithm, state });
                if let Some(name) = name {
                    key.metadata.name = Some(name);
                } else {
                    key.metadata.name = None;
                    key.metadata.generate_name = Some("key-".to_owned());
                }
                let key = self
                    .sealing_keys
                    .create(&PostParams::default(), &key)
                    .await?;
                tracing::info!(sealing_key = key.name_any(), ?state, "SealingKey created");
                self.known.insert(key.name_any(), key);
            }
            Action::WriteStatus {
                sealing_key,
                status,
            } => {
                let metadata = self.precondition(&sealing_key);
                self.patch_status(
                    sealing_key,
                    &json!({"metadata": metadata, "status": status}),
                )
                .await?;
            }
        }
        Ok(())
    }

    /// Makes a key pair. The Secret's name comes from the SealingKey's UID, so that a create whose
    /// answer was lost cannot happen twice.
    async fn generate(
        &mut self,
        sealing_key: String,
        algorithm: Algorithm,
        created_at: Timestamp,
    ) -> Result<(), ApiFailure> {
        let Some(key) = self.known.get(&sealing_key) else {
            return Ok(());
        };
        let name = format!("sealing-key-{}", key.uid().unwrap_or_default());
        let identity = Identity::generate(algorithm.into());
        let fingerprint = identity.fingerprint();
        let mut secret = identity_secret(&identity, name, &sealing_key, created_at);
        let created = self.secrets.create(&PostParams::default(), &secret).await;
        kubernetes::wipe(&mut secret);
        match created.map_err(ApiFailure::from) {
            Ok(created) => insert_held(&mut self.held, created),
            Err(failure) => {
                let message = format!("the key pair could not be stored: {failure}");
                let outcome = Outcome::Retrying(Reason::TargetWriteFailed, message);
                let status = key.status.clone().unwrap_or_default();
                if let Some(Action::WriteStatus {
                    sealing_key,
                    status,
                }) = write_status(key, status, &outcome, now())
                {
                    let metadata = self.precondition(&sealing_key);
                    self.patch_status(
                        sealing_key,
                        &json!({"metadata": metadata, "status": status}),
                    )
                    .await?;
                }
                return Err(failure);
            }
        }
        tracing::info!(sealing_key, %fingerprint, "new key pair");
        let mut metadata = self.precondition(&sealing_key);
        metadata["annotations"] = json!({FINGERPRINT: fingerprint.to_string()});
        let patch = Patch::Merge(json!({"metadata": metadata}));
        let key = self
            .sealing_keys
            .patch(&sealing_key, &PatchParams::default(), &patch)
            .await?;
        self.known.insert(sealing_key, key);
        Ok(())
    }

    async fn patch_status(&mut self, name: String, patch: &Value) -> Result<(), ApiFailure> {
        let patch = Patch::Merge(patch);
        let key = self
            .sealing_keys
            .patch_status(&name, &PatchParams::default(), &patch)
            .await?;
        self.known.insert(name, key);
        Ok(())
    }

    /// A late write of a former leader must fail: UID and resourceVersion as last seen.
    fn precondition(&self, sealing_key: &str) -> Value {
        let meta = self.known.get(sealing_key).map(|key| &key.metadata);
        json!({
            "uid": meta.and_then(|meta| meta.uid.as_ref()),
            "resourceVersion": meta.and_then(|meta| meta.resource_version.as_ref()),
        })
    }
}

/// What has a version.
trait Versioned {
    fn uid_and_version(&self) -> (&str, &str);

    /// The same object, as it was before? Versions of one resource are numbers that grow.
    fn is_older_than(&self, other: &Self) -> bool {
        let ((uid, version), (other_uid, other_version)) =
            (self.uid_and_version(), other.uid_and_version());
        let versions = (version.parse::<u64>(), other_version.parse::<u64>());
        uid == other_uid && matches!(versions, (Ok(version), Ok(other)) if version < other)
    }
}

impl Versioned for Held {
    fn uid_and_version(&self) -> (&str, &str) {
        (&self.uid, &self.resource_version)
    }
}

impl Versioned for SealingKey {
    fn uid_and_version(&self) -> (&str, &str) {
        let meta = &self.metadata;
        (
            meta.uid.as_deref().unwrap_or_default(),
            meta.resource_version.as_deref().unwrap_or_default(),
        )
    }
}

/// A watch runs behind the answers to our own writes: what it shows of before is not taken for
/// the present. A SealingKey would lose its fingerprint, and get another identity.
fn insert_newer<T: Versioned>(known: &mut BTreeMap<String, T>, name: String, new: T) {
    if known.get(&name).is_none_or(|old| !new.is_older_than(old)) {
        known.insert(name, new);
    }
}

/// Replaces what is known by a list.
fn take_over<T: Versioned>(known: &mut BTreeMap<String, T>, list: BTreeMap<String, T>) {
    known.retain(|name, _| list.contains_key(name));
    for (name, new) in list {
        insert_newer(known, name, new);
    }
}

/// The time in whole seconds, which is what Kubernetes keeps.
fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

fn identity_secret(
    identity: &Identity,
    name: String,
    sealing_key: &str,
    created_at: Timestamp,
) -> Secret {
    let fingerprint = identity.fingerprint();
    let text = identity.to_secret_text();
    let mut file = Zeroizing::new(String::with_capacity(text.len() + 1));
    file.push_str(&text);
    file.push('\n');
    let mut secret = Secret {
        type_: Some(IDENTITY_TYPE.to_owned()),
        data: Some(BTreeMap::from([(
            "identity".to_owned(),
            k8s_openapi::ByteString(file.as_bytes().to_vec()),
        )])),
        ..Secret::default()
    };
    secret.metadata.name = Some(name);
    secret.metadata.labels = Some(BTreeMap::from([(
        FINGERPRINT.to_owned(),
        fingerprint.to_string(),
    )]));
    secret.metadata.annotations = Some(BTreeMap::from([
        (
            STATE_ANNOTATION.to_owned(),
            format!("{:?}", KeyState::Active),
        ),
        (CREATED_ANNOTATION.to_owned(), created_at.to_string()),
        (SEALING_KEY_ANNOTATION.to_owned(), sealing_key.to_owned()),
    ]));
    secret
}

/// Reads an identity Secret; one that holds no identity is logged and left out.
fn insert_held(held: &mut BTreeMap<String, Held>, mut secret: Secret) {
    let name = secret.name_any();
    if let Some(identity) = read_identity(&secret) {
        let label = secret.labels().get(FINGERPRINT).cloned();
        let annotation = |name: &str| secret.annotations().get(name).cloned();
        let parsed = Held {
            secret: name.clone(),
            uid: secret.uid().unwrap_or_default(),
            resource_version: secret.resource_version().unwrap_or_default(),
            label_is_right: label == Some(identity.fingerprint().to_string()),
            identity,
            state: annotation(STATE_ANNOTATION).and_then(|state| match state.as_str() {
                "Active" => Some(KeyState::Active),
                "DecryptOnly" => Some(KeyState::DecryptOnly),
                "Revoked" => Some(KeyState::Revoked),
                _ => None,
            }),
            created_at: annotation(CREATED_ANNOTATION).and_then(|time| time.parse().ok()),
            sealing_key: annotation(SEALING_KEY_ANNOTATION),
        };
        insert_newer(held, name, parsed);
    } else {
        tracing::warn!(
            secret = name,
            "holds no single age identity under the key `identity`"
        );
        held.remove(&name);
    }
    kubernetes::wipe(&mut secret);
}

fn read_identity(secret: &Secret) -> Option<Identity> {
    let bytes = &secret.data.as_ref()?.get("identity")?.0;
    let mut identities = parse_identity_file(std::str::from_utf8(bytes).ok()?).ok()?;
    (identities.len() == 1).then(|| identities.remove(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(uid: &str, version: &str) -> SealingKey {
        let spec = SealingKeySpec {
            algorithm: Algorithm::Hybrid,
            state: KeyState::Active,
        };
        let mut key = SealingKey::new("a", spec);
        key.metadata.uid = Some(uid.to_owned());
        key.metadata.resource_version = Some(version.to_owned());
        key
    }

    #[test]
    fn what_a_watch_shows_of_before_is_not_taken_over() {
        let mut known = BTreeMap::from([("a".to_owned(), key("u", "10"))]);
        let version = |known: &BTreeMap<String, SealingKey>| known["a"].resource_version().unwrap();
        insert_newer(&mut known, "a".to_owned(), key("u", "9"));
        assert_eq!(version(&known), "10");
        take_over(
            &mut known,
            BTreeMap::from([("a".to_owned(), key("u", "9"))]),
        );
        assert_eq!(version(&known), "10");
        insert_newer(&mut known, "a".to_owned(), key("u", "11"));
        assert_eq!(version(&known), "11");
        insert_newer(&mut known, "a".to_owned(), key("made anew", "5"));
        assert_eq!(version(&known), "5", "another object");
        take_over(&mut known, BTreeMap::new());
        assert!(known.is_empty());
    }
}
