use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Patch, PatchParams, PostParams};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, ResourceExt};
use sealkit_core::api::{Algorithm, KeyState, SealingKey, SealingKeySpec};
use sealkit_core::keys::{Identity, parse_identity_file};
use serde_json::json;
use tokio::sync::watch;
use zeroize::{Zeroize, Zeroizing};

use super::decide::{Action, Held, World, decide};
use super::{
    CREATED_ANNOTATION, FINGERPRINT, IDENTITY_TYPE, Keys, KeysReceiver, SEALING_KEY_ANNOTATION,
    STATE_ANNOTATION, Usage,
};
use crate::kubernetes::ApiFailure;
use crate::telemetry::{Health, Metrics};

/// Longest pause after a failed step.
const MAX_PAUSE: Duration = Duration::from_secs(30);
/// How often revocations that waited for their objects are looked at again.
const RECHECK: Duration = Duration::from_secs(30);

/// Keeps identities and SealingKeys in step. One task; only the leader acts, every replica knows
/// the keys.
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
                        self.held = std::mem::take(&mut new_held);
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
                        self.known = std::mem::take(&mut new_known);
                        listed.1 = true;
                    }
                    Event::Apply(key) => {
                        self.known.insert(key.name_any(), key);
                    }
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
    /// nothing is done twice before a watch tells of it.
    async fn step(&mut self) -> Result<(), ApiFailure> {
        loop {
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
            for action in actions {
                self.act(action).await?;
            }
        }
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
            } => {
                let identity = Identity::generate(algorithm.into());
                let fingerprint = identity.fingerprint();
                tracing::info!(sealing_key, %fingerprint, "new key pair");
                let mut secret = identity_secret(&identity, &sealing_key);
                let created = self.secrets.create(&PostParams::default(), &secret).await;
                wipe(&mut secret);
                insert_held(&mut self.held, created?);
                let patch =
                    json!({"metadata": {"annotations": {FINGERPRINT: fingerprint.to_string()}}});
                let key = self
                    .sealing_keys
                    .patch(&sealing_key, &PatchParams::default(), &Patch::Merge(patch))
                    .await?;
                self.known.insert(sealing_key, key);
            }
            Action::Annotate {
                secret,
                fingerprint,
                state,
                created_at,
                sealing_key,
            } => {
                let patch = json!({"metadata": {
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
                let uid = self.known.get(&sealing_key).and_then(ResourceExt::uid);
                let patch = json!({"metadata": {"uid": uid}, "status": status});
                let key = self
                    .sealing_keys
                    .patch_status(&sealing_key, &PatchParams::default(), &Patch::Merge(patch))
                    .await?;
                self.known.insert(sealing_key, key);
            }
        }
        Ok(())
    }
}

/// The time in whole seconds, which is what Kubernetes keeps.
fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

fn identity_secret(identity: &Identity, sealing_key: &str) -> Secret {
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
    secret.metadata.name = Some(format!("sealing-key-{}", fingerprint.short()));
    secret.metadata.labels = Some(BTreeMap::from([(
        FINGERPRINT.to_owned(),
        fingerprint.to_string(),
    )]));
    secret.metadata.annotations = Some(BTreeMap::from([
        (
            STATE_ANNOTATION.to_owned(),
            format!("{:?}", KeyState::Active),
        ),
        (CREATED_ANNOTATION.to_owned(), now().to_string()),
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
        held.insert(name, parsed);
    } else {
        tracing::warn!(
            secret = name,
            "holds no single age identity under the key `identity`"
        );
        held.remove(&name);
    }
    wipe(&mut secret);
}

fn read_identity(secret: &Secret) -> Option<Identity> {
    let bytes = &secret.data.as_ref()?.get("identity")?.0;
    let mut identities = parse_identity_file(std::str::from_utf8(bytes).ok()?).ok()?;
    (identities.len() == 1).then(|| identities.remove(0))
}

fn wipe(secret: &mut Secret) {
    for value in secret.data.iter_mut().flat_map(|data| data.values_mut()) {
        value.0.zeroize();
    }
}
