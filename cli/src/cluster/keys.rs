//! The sealing keys of a cluster, and their private halves.

use std::collections::BTreeSet;
use std::ops::ControlFlow::{Break, Continue};
use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt as _;
use kube::api::{
    Api, ApiResource, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams, PostParams,
};
use sealkit_core::api::readiness::Readiness;
use sealkit_core::api::{
    Algorithm, IDENTITY_TYPE, KeyState, SealingKey, SealingKeySpec, SealingKeyStatus,
};
use sealkit_core::keys::{Fingerprint, Recipient};
use sealkit_core::names;

use super::Cluster;
use super::wait::Wait;
use crate::error::{CommandError, Result};
use crate::terminal::{Terminal, safe};

/// For the controller to make or end a key.
const KEY: Wait = Wait {
    within: Duration::from_secs(60),
    pause: Duration::from_millis(250),
};
/// How long a refusal must stand: the controller may not have looked at all objects yet.
const SETTLED: Duration = Duration::from_secs(8);

/// Who may do what.
const KEY_ADMIN: &str = "the ClusterRole sealkit-key-admin allows it";
const IDENTITY_ADMIN: &str =
    "ask who runs the cluster: you need rights on the Secrets that hold the private keys";

/// The key that a cluster wants to be sealed to.
#[derive(Debug)]
pub(crate) struct NewestKey {
    /// Name of the SealingKey.
    pub name: String,
    /// The public key.
    pub recipient: Recipient,
}

/// The fingerprint that a cluster says of a key.
pub(crate) fn fingerprint_of(key: &SealingKey) -> Option<Fingerprint> {
    let status = key.status.as_ref()?;
    status.fingerprint.as_ref()?.parse().ok()
}

impl Cluster {
    /// All sealing keys, newest first.
    pub fn sealing_keys(&self) -> Result<Vec<SealingKey>> {
        self.runtime.block_on(self.list_keys())
    }

    async fn list_keys(&self) -> Result<Vec<SealingKey>> {
        let api: Api<SealingKey> = Api::all(self.client.clone());
        let params = ListParams::default();
        let listed = self.send(
            self.patiently(|| api.list(&params)),
            "not allowed to read SealingKeys",
            "the ClusterRole sealkit-public-keys lets every authenticated user read them: ask who runs the cluster to restore it, or seal to a recipient file: -R FILE",
        );
        let mut keys = listed.await?.items;
        keys.sort_by_cached_key(|key| {
            let status = key.status.clone().unwrap_or_default();
            std::cmp::Reverse((status.created_at, status.fingerprint, key.name_any()))
        });
        Ok(keys)
    }

    /// The fingerprints of the keys that open: those that are not revoked.
    pub fn opening_keys(&self) -> Result<BTreeSet<Fingerprint>> {
        let keys = self.sealing_keys()?;
        let opens = keys.iter().filter_map(|key| {
            let status = key.status.as_ref()?;
            let fingerprint = status.fingerprint.as_ref()?.parse().ok()?;
            (status.state != Some(KeyState::Revoked)).then_some(fingerprint)
        });
        Ok(opens.collect())
    }

    /// Asks for a new key pair; the name of its SealingKey.
    pub fn make_key(&self, algorithm: Algorithm) -> Result<String> {
        let state = KeyState::Active;
        let mut key = SealingKey::new("", SealingKeySpec { algorithm, state });
        key.metadata.name = None;
        key.metadata.generate_name = Some("key-".to_owned());
        let api: Api<SealingKey> = Api::all(self.client.clone());
        let params = PostParams::default();
        let made = self.call(
            api.create(&params, &key),
            "not allowed to create SealingKeys",
            KEY_ADMIN,
        )?;
        Ok(made.name_any())
    }

    /// Waits until a key that was asked for can be sealed to, and every older one only opens.
    pub fn wait_for_key(&self, name: &str) -> Result<NewestKey> {
        let waited = KEY.until(async |_| {
            let keys = self.list_keys().await?;
            Ok(match newest(&keys) {
                Ok(key) if key.name == name => Break(key),
                _ => {
                    let meant = keys.iter().find(|key| key.name_any() == name);
                    Continue(meant.map(ready_message).unwrap_or_default())
                }
            })
        });
        match self.runtime.block_on(waited)? {
            Break(key) => Ok(key),
            Continue(said) => Err(CommandError::cluster(format_args!(
                "SealingKey {} is not Ready after {} seconds: {}",
                names::printable(name),
                KEY.within.as_secs(),
                safe(&said)
            ))
            .on(self.title())
            .hint("is the controller running? see its log, and `seal keys list`")),
        }
    }

    /// Asks for another state of a key. Returns the state that it then has, and what its status
    /// says.
    pub fn request_state(&self, name: &str, state: KeyState) -> Result<(Option<KeyState>, String)> {
        let api: Api<SealingKey> = Api::all(self.client.clone());
        let patch = Patch::Merge(serde_json::json!({"spec": {"state": state}}));
        let params = PatchParams::default();
        let patched = self.call(
            api.patch(name, &params, &patch),
            "not allowed to change SealingKeys",
            KEY_ADMIN,
        )?;
        let generation = patched.metadata.generation;
        let waited = KEY.until(async |elapsed| {
            let keys = self.list_keys().await?;
            let key = keys.iter().find(|key| key.name_any() == name);
            let status = key.and_then(|key| key.status.clone()).unwrap_or_default();
            let observed = status.observed_generation == generation;
            let done = observed && status.state == Some(state);
            // It may be refused at first, while the controller still looks at objects.
            let refused = observed && key.is_some_and(|key| !is_ready(key)) && elapsed >= SETTLED;
            let said = (status.state, key.map(ready_message).unwrap_or_default());
            Ok::<_, CommandError>(if done || refused {
                Break(said)
            } else {
                Continue(said)
            })
        });
        match self.runtime.block_on(waited)? {
            Break(said) | Continue(said) => Ok(said),
        }
    }

    /// The identity Secrets of the controller's namespace. They hold private keys: wipe them.
    pub fn identities(&self, namespace: &str) -> Result<Vec<serde_json::Value>> {
        let params = ListParams::default().fields(&format!("type={IDENTITY_TYPE}"));
        let api = self.secrets(namespace);
        let forbidden = "not allowed to list the Secrets of the controller's namespace";
        let list = self.call(api.list(&params), forbidden, IDENTITY_ADMIN)?;
        let values = list.items.into_iter().map(serde_json::to_value);
        values
            .collect::<std::result::Result<_, _>>()
            .map_err(|_| CommandError::bug("a Secret cannot be read"))
    }

    /// Creates an identity Secret.
    pub fn create_identity(&self, namespace: &str, secret: &serde_json::Value) -> Result<()> {
        let object: DynamicObject = serde_json::from_value(secret.clone())
            .map_err(|_| CommandError::bug("a Secret cannot be written"))?;
        let api = self.secrets(namespace);
        let forbidden = "not allowed to create Secrets in the controller's namespace";
        let params = PostParams::default();
        self.call(api.create(&params, &object), forbidden, IDENTITY_ADMIN)
            .map(|_| ())
    }

    fn secrets(&self, namespace: &str) -> Api<DynamicObject> {
        let secret = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "Secret"));
        Api::namespaced_with(self.client.clone(), namespace, &secret)
    }

    /// The newest key whose private half is lost, where the cluster has no other to seal to.
    pub fn lost_key(&self) -> Result<Option<NewestKey>> {
        let keys = self.sealing_keys()?;
        let lost = keys.iter().find_map(|key| {
            let status = key.status.as_ref()?;
            let is_lost = status.conditions.iter().any(|condition| {
                condition.reason == sealkit_core::api::Reason::IdentityMissing.name()
            });
            let recipient = status.recipient.as_ref()?.parse().ok()?;
            is_lost.then(|| NewestKey {
                name: key.name_any(),
                recipient,
            })
        });
        Ok(lost)
    }

    /// The key to seal to. Its fingerprint is computed here, not believed. Says so when a newer
    /// one is on its way.
    pub fn newest_key(&self, terminal: Terminal) -> Result<NewestKey> {
        let keys = self.sealing_keys()?;
        let newest = newest(&keys).map_err(|error| error.on(self.title()))?;
        if let Some(name) = awaited(&keys, &newest.name) {
            terminal.warning(format_args!(
                "SealingKey {name} is newer and not Ready yet; wait for it with \
                 `kubectl wait --for=condition=Ready sealingkeys.sealkit.dev/{name}`, {}",
                self.title()
            ));
        }
        Ok(newest)
    }
}

/// What the status says of a key.
fn ready_message(key: &SealingKey) -> String {
    let mut conditions = key.status.iter().flat_map(|status| &status.conditions);
    let ready = conditions.rfind(|condition| condition.type_ == "Ready");
    ready.map_or_else(|| "no status yet".to_owned(), |ready| ready.message.clone())
}

/// Is the key ready, for the generation that was asked?
pub(crate) fn is_ready(key: &SealingKey) -> bool {
    let empty = SealingKeyStatus::default();
    let status = key.status.as_ref().unwrap_or(&empty);
    Readiness::of(
        key.metadata.generation,
        status.observed_generation,
        &status.conditions,
    )
    .is_ready()
}

/// Whole days since a key was made.
pub(crate) fn age_in_days(key: &SealingKey) -> Option<i64> {
    let made = key.status.as_ref()?.created_at?;
    Some(Timestamp::now().duration_since(made).as_secs() / 86_400)
}

/// A key that was asked for after `newest` and that cannot be sealed to yet.
fn awaited(keys: &[SealingKey], newest: &str) -> Option<String> {
    let asked = |key: &SealingKey| key.metadata.creation_timestamp.clone();
    let newest = keys.iter().find(|key| key.name_any() == newest)?;
    keys.iter()
        .filter(|key| key.spec.state == KeyState::Active && !is_ready(key))
        .find(|key| asked(key) > asked(newest))
        .map(|key| names::printable(&key.name_any()))
}

fn newest(keys: &[SealingKey]) -> Result<NewestKey> {
    let usable = keys.iter().find_map(|key| {
        let status = key.status.as_ref()?;
        let active = status.state == Some(KeyState::Active) && is_ready(key);
        active.then_some((key, status))
    });
    let (key, status) = usable.ok_or_else(|| {
        CommandError::cluster("the cluster has no sealing key that is Active and Ready")
            .hint("see `seal keys list`; the controller makes a key when it starts")
    })?;
    let name = names::printable(&key.name_any());
    let recipient: Recipient = status
        .recipient
        .as_deref()
        .unwrap_or_default()
        .parse()
        .map_err(|error| {
            CommandError::cluster(format_args!(
                "the public key of SealingKey {name} is refused: {error}"
            ))
        })?;
    if status.fingerprint.as_deref() != Some(recipient.fingerprint().to_string().as_str()) {
        return Err(CommandError::cluster(format_args!(
            "the status of SealingKey {name} shows a fingerprint that its public key does not have"
        ))
        .hint("somebody may have changed its status: ask who runs the cluster before sealing"));
    }
    Ok(NewestKey {
        name: key.name_any(),
        recipient,
    })
}

#[cfg(test)]
mod tests {
    use sealkit_core::keys::{Identity, KeyType};
    use serde_json::json;

    use super::*;

    fn key(
        name: &str,
        recipient: &Recipient,
        created: &str,
        state: &str,
        ready: &str,
    ) -> SealingKey {
        serde_json::from_value(json!({
            "apiVersion": "sealkit.dev/v1beta1", "kind": "SealingKey",
            "metadata": {"name": name, "generation": 1},
            "spec": {},
            "status": {
                "observedGeneration": 1,
                "recipient": recipient.to_string(), "fingerprint": recipient.fingerprint().to_string(),
                "createdAt": created, "state": state,
                "conditions": [{"type": "Ready", "status": ready, "reason": "KeyAvailable",
                    "message": "", "lastTransitionTime": created}],
            },
        }))
        .unwrap()
    }

    #[test]
    fn only_active_and_ready_keys_are_sealed_to() {
        let recipient = Identity::generate(KeyType::Classic).recipient().clone();
        let new = |state, ready| key("a", &recipient, "2026-01-01T00:00:00Z", state, ready);
        assert_eq!(
            newest(&[new("Active", "True")]).unwrap().recipient,
            recipient
        );
        for (state, ready) in [
            ("DecryptOnly", "True"),
            ("Revoked", "True"),
            ("Active", "False"),
        ] {
            assert!(newest(&[new(state, ready)]).is_err(), "{state} {ready}");
        }
        assert!(
            newest(&[])
                .unwrap_err()
                .to_string()
                .contains("no sealing key")
        );
    }

    #[test]
    fn a_newer_key_that_is_on_its_way_is_named() {
        let recipient = Identity::generate(KeyType::Classic).recipient().clone();
        let made = |name: &str, ready: &str, at: &str| {
            let mut key = key(name, &recipient, "2026-01-01T00:00:00Z", "Active", ready);
            key.metadata.creation_timestamp = serde_json::from_value(json!(at)).ok();
            key
        };
        let old = made("old", "True", "2026-01-01T00:00:00Z");
        let table = [
            ("False", "2026-02-01T00:00:00Z", Some("new")),
            ("True", "2026-02-01T00:00:00Z", None),
            ("False", "2025-02-01T00:00:00Z", None),
        ];
        for (ready, at, expected) in table {
            let keys = [old.clone(), made("new", ready, at)];
            assert_eq!(awaited(&keys, "old").as_deref(), expected, "{ready} {at}");
        }
    }

    #[test]
    fn a_shown_fingerprint_that_is_not_the_keys_is_refused() {
        let recipient = Identity::generate(KeyType::Classic).recipient().clone();
        let mut lying = key("a", &recipient, "2026-01-01T00:00:00Z", "Active", "True");
        lying.status.as_mut().unwrap().fingerprint = Some("0".repeat(32));
        assert!(
            newest(&[lying])
                .unwrap_err()
                .to_string()
                .contains("a fingerprint that its public key does not have")
        );
    }
}
