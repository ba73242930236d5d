//! The identity Secret: how a cluster stores the private half of a sealing key. The controller
//! writes it; `seal keys backup` and `restore` carry it from one cluster to another.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use zeroize::Zeroizing;

use super::KeyState;
use crate::keys::{Identity, parse_identity_file};

/// Type of the Secrets that hold the identities of a cluster.
pub const IDENTITY_TYPE: &str = "sealkit.dev/identity";
/// The only key of its data: an age identity file.
pub const IDENTITY_KEY: &str = "identity";
/// Label of an identity Secret and annotation of a SealingKey: 32 hex characters. For a Secret, it
/// is recomputed from the identity and never trusted.
pub const FINGERPRINT: &str = "sealkit.dev/fingerprint";
/// Annotation of an identity Secret: Active, DecryptOnly or Revoked.
pub const STATE_ANNOTATION: &str = "sealkit.dev/state";
/// Annotation of an identity Secret: when the key pair was created.
pub const CREATED_ANNOTATION: &str = "sealkit.dev/created-at";
/// Annotation of an identity Secret: the name of its SealingKey.
pub const SEALING_KEY_ANNOTATION: &str = "sealkit.dev/sealing-key";
/// Annotation of a SealingKey: revoke this fingerprint although objects need it.
pub const FORCE_REVOKE: &str = "sealkit.dev/force-revoke";

/// The content of an identity Secret. No Debug: it holds a private key.
#[derive(Clone)]
pub struct StoredIdentity {
    /// The key pair.
    pub identity: Identity,
    /// What it may be used for; `None` if the Secret does not say, as after some restores.
    pub state: Option<KeyState>,
    /// When it was created.
    pub created_at: Option<Timestamp>,
    /// The name of its SealingKey.
    pub sealing_key: Option<String>,
    /// Does the label hold the identity's fingerprint?
    pub label_is_right: bool,
}

impl StoredIdentity {
    /// Reads an identity Secret; `None` if it does not hold exactly one identity.
    pub fn read(secret: &Secret) -> Option<Self> {
        let identity = read_identity(&secret.data.as_ref()?.get(IDENTITY_KEY)?.0)?;
        let metadata = &secret.metadata;
        let label = metadata
            .labels
            .as_ref()
            .and_then(|all| all.get(FINGERPRINT));
        let annotation = |name| metadata.annotations.as_ref()?.get(name);
        Some(Self {
            state: annotation(STATE_ANNOTATION).and_then(|state| state.parse().ok()),
            created_at: annotation(CREATED_ANNOTATION).and_then(|time| time.parse().ok()),
            sealing_key: annotation(SEALING_KEY_ANNOTATION).cloned(),
            label_is_right: label == Some(&identity.fingerprint().to_string()),
            identity,
        })
    }
}

/// Reads the identity from what an identity Secret holds under [`IDENTITY_KEY`]; `None` if it is
/// not exactly one.
pub fn read_identity(bytes: &[u8]) -> Option<Identity> {
    let mut identities = parse_identity_file(std::str::from_utf8(bytes).ok()?).ok()?;
    (identities.len() == 1).then(|| identities.remove(0))
}

/// The Secret of a new key pair, Active. It holds a private key: wipe it.
pub fn identity_secret(
    identity: &Identity,
    name: String,
    sealing_key: &str,
    created_at: Timestamp,
) -> Secret {
    let text = identity.to_secret_text();
    let mut file = Zeroizing::new(String::with_capacity(text.len() + 1));
    file.push_str(&text);
    file.push('\n');
    let mut secret = Secret {
        type_: Some(IDENTITY_TYPE.to_owned()),
        data: Some(BTreeMap::from([(
            IDENTITY_KEY.to_owned(),
            ByteString(file.as_bytes().to_vec()),
        )])),
        ..Secret::default()
    };
    let fingerprint = (FINGERPRINT.to_owned(), identity.fingerprint().to_string());
    let annotations = [
        (STATE_ANNOTATION, KeyState::Active.name().to_owned()),
        (CREATED_ANNOTATION, created_at.to_string()),
        (SEALING_KEY_ANNOTATION, sealing_key.to_owned()),
    ];
    let annotations = annotations.map(|(name, value)| (name.to_owned(), value));
    secret.metadata.name = Some(name);
    secret.metadata.labels = Some([fingerprint].into());
    secret.metadata.annotations = Some(annotations.into());
    secret
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::KeyType;

    #[test]
    fn what_is_built_is_read() {
        let identity = Identity::generate(KeyType::Classic);
        let made = Timestamp::from_second(1_000).unwrap();
        let mut secret = identity_secret(&identity, "a".into(), "key-a", made);
        let read = StoredIdentity::read(&secret).unwrap();
        assert_eq!(read.identity.fingerprint(), identity.fingerprint());
        assert_eq!(read.state, Some(KeyState::Active));
        assert_eq!(read.created_at, Some(made));
        assert_eq!(read.sealing_key.as_deref(), Some("key-a"));
        assert!(read.label_is_right);

        secret.metadata.labels = None;
        secret.metadata.annotations = None;
        let read = StoredIdentity::read(&secret).unwrap();
        assert!(read.state.is_none() && read.created_at.is_none() && !read.label_is_right);
        let data = secret.data.as_mut().unwrap();
        data.insert(IDENTITY_KEY.into(), ByteString(b"no key".to_vec()));
        assert!(StoredIdentity::read(&secret).is_none());
    }
}
