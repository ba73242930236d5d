//! Reads the identities and SealingKeys of the cluster.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;
use sealkit_core::api::identity::{FINGERPRINT, FORCE_REVOKE, StoredIdentity};
use sealkit_core::api::{Algorithm, KeyState, SealingKey, SealingKeySpec};
use serde::Deserialize;

use super::decide::Held;
use crate::kubernetes;
use crate::object::{Key, Raw, Version, reads, used_metadata};
use crate::watch::{Change, List};

/// A SealingKey as the API server sends it.
pub(super) type SealingKeyObject = Raw<SealingKey>;

/// An identity Secret as the API server sends it. Whoever may write it may give it metadata that a
/// Secret refuses.
#[derive(Clone, Deserialize)]
pub(super) struct IdentityObject {
    #[serde(deserialize_with = "used_metadata")]
    metadata: ObjectMeta,
    data: Option<BTreeMap<String, ByteString>>,
}

reads!([] IdentityObject as Secret, metadata_only: false);

/// Shows the name only: it holds a private key.
impl std::fmt::Debug for IdentityObject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "IdentityObject({:?})", self.metadata.name)
    }
}

impl From<IdentityObject> for Secret {
    fn from(object: IdentityObject) -> Self {
        Self {
            metadata: object.metadata,
            data: object.data,
            ..Self::default()
        }
    }
}

/// A SealingKey, whatever it holds. A spec that the schema does not allow asks for no key pair, and
/// for nothing to be sealed; a status that cannot be read is absent, and thus restored.
pub(super) fn read_sealing_key(object: SealingKeyObject) -> SealingKey {
    let spec = serde_json::from_value(object.spec().value);
    SealingKey {
        metadata: kept(object.metadata),
        spec: spec.unwrap_or(SealingKeySpec {
            algorithm: Algorithm::default(),
            state: KeyState::DecryptOnly,
        }),
        status: object.status,
    }
}

/// The state of the keys, from the watches and from the answers to our own writes.
#[derive(Default)]
pub(super) struct KeyReader {
    /// Identity Secrets by name.
    pub(super) held: BTreeMap<String, Held>,
    /// SealingKeys by name.
    pub(super) sealing_keys: BTreeMap<String, SealingKey>,
    /// All Secrets of the type of identities, also those that hold none.
    versions: BTreeMap<Key, Version>,
    /// Were identity Secrets and SealingKeys listed once?
    listed: (bool, bool),
}

impl KeyReader {
    /// Were both listed once?
    pub(super) fn is_complete(&self) -> bool {
        self.listed == (true, true)
    }

    /// Not complete again until both are listed again.
    pub(super) fn expect_lists(&mut self) {
        self.listed = (false, false);
    }

    /// Was this version of an identity Secret seen?
    pub(super) fn has_identity(&self, metadata: &ObjectMeta) -> bool {
        self.versions.get(&Key::of(metadata)) == Some(&Version::of(metadata))
    }

    /// Was this version of a SealingKey seen?
    pub(super) fn has_sealing_key(&self, metadata: &ObjectMeta) -> bool {
        let name = metadata.name.as_deref().unwrap_or_default();
        let seen = self.sealing_keys.get(name);
        seen.map(|seen| Version::of(&seen.metadata)) == Some(Version::of(metadata))
    }

    /// How many identity Secrets and SealingKeys were seen.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.versions.len(), self.sealing_keys.len())
    }

    /// Applies a change of an identity Secret.
    pub(super) fn secret(&mut self, change: Change<IdentityObject>) {
        match change {
            Change::Seen(secret) => {
                tracing::debug!(secret = secret.name_any(), "read an identity");
                self.insert_secret(secret.into());
            }
            Change::Gone(key) => {
                self.held.remove(&key.name);
                self.versions.remove(&key);
            }
            Change::Listed(list) => {
                self.versions.retain(|key, _| !list.lacks(key));
                self.held
                    .retain(|name, held| !lacks(&list, &held.namespace, name));
                self.listed.0 = true;
            }
        }
    }

    /// Applies a change of a SealingKey.
    pub(super) fn sealing_key(&mut self, change: Change<SealingKeyObject>) {
        match change {
            Change::Seen(key) => self.insert_sealing_key(read_sealing_key(key)),
            Change::Gone(key) => drop(self.sealing_keys.remove(&key.name)),
            Change::Listed(list) => {
                self.sealing_keys.retain(|name, _| !lacks(&list, "", name));
                self.listed.1 = true;
            }
        }
    }

    /// Reads an identity Secret. A Secret without exactly one identity is logged and left out.
    pub(super) fn insert_secret(&mut self, mut secret: Secret) {
        let name = secret.name_any();
        let (key, version) = (Key::of(&secret.metadata), Version::of(&secret.metadata));
        insert_newer(&mut self.versions, key, version);
        if let Some(stored) = StoredIdentity::read(&secret) {
            let held = Held {
                secret: name.clone(),
                namespace: secret.namespace().unwrap_or_default(),
                uid: secret.uid().unwrap_or_default(),
                resource_version: secret.resource_version().unwrap_or_default(),
                stored,
            };
            insert_newer(&mut self.held, name, held);
        } else {
            tracing::warn!(
                secret = name,
                "ignoring an identity Secret: it must hold exactly one age identity under the key `identity`"
            );
            self.held.remove(&name);
        }
        kubernetes::wipe_secret(&mut secret);
    }

    /// Inserts a SealingKey.
    pub(super) fn insert_sealing_key(&mut self, mut key: SealingKey) {
        key.metadata = kept(key.metadata);
        insert_newer(&mut self.sealing_keys, key.name_any(), key);
    }
}

/// What is remembered of a SealingKey's metadata: whoever may make one may give each a megabyte.
pub(super) fn kept(metadata: ObjectMeta) -> ObjectMeta {
    /// Twice the characters of a fingerprint: what is longer is none.
    const LONGEST: usize = 64;
    let ours = [FINGERPRINT, FORCE_REVOKE];
    let annotations = metadata.annotations.map(|mut all| {
        all.retain(|name, _| ours.contains(&name.as_str()));
        for text in all.values_mut() {
            *text = text.chars().take(LONGEST).collect();
        }
        all
    });
    ObjectMeta {
        annotations,
        name: metadata.name,
        uid: metadata.uid,
        resource_version: metadata.resource_version,
        generation: metadata.generation,
        creation_timestamp: metadata.creation_timestamp,
        deletion_timestamp: metadata.deletion_timestamp,
        ..ObjectMeta::default()
    }
}

fn lacks(list: &List, namespace: &str, name: &str) -> bool {
    list.lacks(&Key {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    })
}

/// An object with a version.
trait Versioned {
    fn uid_and_version(&self) -> (&str, &str);

    /// Is it an older version of the same object? Versions of one resource are growing numbers.
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

impl Versioned for Version {
    fn uid_and_version(&self) -> (&str, &str) {
        (&self.uid, &self.resource_version)
    }
}

/// Inserts an object unless a newer version is known: a watch lags behind the answers to our own
/// writes. Otherwise, a SealingKey would lose its fingerprint and get another identity.
fn insert_newer<K: Ord, T: Versioned>(known: &mut BTreeMap<K, T>, key: K, new: T) {
    if known.get(&key).is_none_or(|old| !new.is_older_than(old)) {
        known.insert(key, new);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

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
    fn older_versions_from_a_watch_are_ignored() {
        let mut reader = KeyReader::default();
        for (uid, version, kept) in [
            ("u", "10", "10"),
            ("u", "9", "10"),
            ("u", "11", "11"),
            ("made anew", "5", "5"),
        ] {
            reader.insert_sealing_key(key(uid, version));
            assert_eq!(reader.sealing_keys["a"].resource_version().unwrap(), kept);
        }
        let mut large = key("made anew", "6");
        let texts = [FINGERPRINT, "theirs"].map(|name| (name.to_owned(), "x".repeat(1_000_000)));
        large.metadata.annotations = Some(texts.into());
        reader.insert_sealing_key(large);
        let kept = serde_json::to_string(&reader.sealing_keys["a"]).unwrap();
        assert!(kept.len() < 500, "{}", kept.len());
        reader.sealing_key(Change::Gone(Key::of(&key("made anew", "5").metadata)));
        assert!(reader.sealing_keys.is_empty());
    }

    #[test]
    fn a_sealing_key_is_read_whatever_it_holds() {
        let time = "9999-12-31T23:59:59Z";
        let object = |spec: Value| {
            let object = json!({
                "metadata": {"name": "a", "managedFields": [{"time": time}]}, "spec": spec,
                "status": {"createdAt": time, "conditions": [{"lastTransitionTime": time}]},
            });
            read_sealing_key(serde_json::from_value(object).unwrap())
        };
        let key = object(json!({"state": "Active"}));
        assert_eq!((key.spec.state, key.status), (KeyState::Active, None));
        for strange in [json!({"state": "Strange"}), json!(7), json!(null)] {
            assert_eq!(object(strange).spec.state, KeyState::DecryptOnly);
        }
    }
}
