//! Reads the identities and SealingKeys of the cluster.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;
use kube::core::PartialObjectMeta;
use sealkit_core::api::SealingKey;
use sealkit_core::api::identity::{FINGERPRINT, FORCE_REVOKE, StoredIdentity};

use super::decide::Held;
use crate::kubernetes;
use crate::object::{Key, Version};
use crate::watch::{Change, List};

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

    /// Was exactly this seen? `identities` and `sealing_keys` are what the API server has now.
    pub(super) fn has_seen(
        &self,
        identities: &[PartialObjectMeta<Secret>],
        sealing_keys: &[PartialObjectMeta<SealingKey>],
    ) -> bool {
        let has_identity = |secret: &PartialObjectMeta<Secret>| {
            let seen = self.versions.get(&Key::of(&secret.metadata));
            seen == Some(&Version::of(&secret.metadata))
        };
        let has_key = |key: &PartialObjectMeta<SealingKey>| {
            let seen = self.sealing_keys.get(&key.name_any());
            seen.map(|seen| Version::of(&seen.metadata)) == Some(Version::of(&key.metadata))
        };
        identities.len() == self.versions.len()
            && sealing_keys.len() == self.sealing_keys.len()
            && identities.iter().all(has_identity)
            && sealing_keys.iter().all(has_key)
    }

    /// Applies a change of an identity Secret.
    pub(super) fn secret(&mut self, change: Change<Secret>) {
        match change {
            Change::Seen(secret) => {
                tracing::debug!(secret = secret.name_any(), "read an identity");
                self.insert_secret(secret);
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
    pub(super) fn sealing_key(&mut self, change: Change<SealingKey>) {
        match change {
            Change::Seen(key) => self.insert_sealing_key(key),
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
    use sealkit_core::api::{Algorithm, KeyState, SealingKeySpec};

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
            reader.sealing_key(Change::Seen(key(uid, version)));
            assert_eq!(reader.sealing_keys["a"].resource_version().unwrap(), kept);
        }
        let mut large = key("made anew", "6");
        let texts = [FINGERPRINT, "theirs"].map(|name| (name.to_owned(), "x".repeat(1_000_000)));
        large.metadata.annotations = Some(texts.into());
        reader.sealing_key(Change::Seen(large));
        let kept = serde_json::to_string(&reader.sealing_keys["a"]).unwrap();
        assert!(kept.len() < 500, "{}", kept.len());
        reader.sealing_key(Change::Gone(Key::of(&key("made anew", "5").metadata)));
        assert!(reader.sealing_keys.is_empty());
    }
}
