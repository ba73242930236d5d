//! The hashes that External Secrets writes: the SHA3-224 of a value as Go's `fmt` prints it with
//! `%+v`. They recognise what a running External Secrets has made, so that it need not be made
//! again. Those of data have no salt: they are compared, and never written.

use std::collections::BTreeMap;

use sha3::{Digest, Sha3_224};
use zeroize::Zeroizing;

/// Label that External Secrets sets to `true` on each Secret that it makes.
pub const ESO_MANAGED_LABEL: &str = "reconcile.external-secrets.io/managed";
/// Label of a Secret with [`created_by`].
pub const ESO_CREATED_BY_LABEL: &str = "reconcile.external-secrets.io/created-by";
/// Annotation of a Secret with [`data_hash`].
pub const ESO_DATA_HASH_ANNOTATION: &str = "reconcile.external-secrets.io/data-hash";
/// Finalizer that External Secrets puts on each ExternalSecret.
pub const ESO_FINALIZER: &str = "externalsecrets.external-secrets.io/externalsecret-cleanup";
/// Prefix of the finalizers that it puts on namespaces, which end with the name of a
/// ClusterExternalSecret.
pub const ESO_NAMESPACE_FINALIZER: &str = "externalsecrets.external-secrets.io/ces-";
/// Prefix of the field managers of External Secrets.
const ESO_FIELD_MANAGER: &str = "externalsecrets.external-secrets.io/";
/// Longest name of an ExternalSecret that stands in a field manager as it is.
const LONGEST_FIELD_MANAGER: usize = 63;

/// The hash of the data of a Secret, in hexadecimal.
pub fn data_hash<V: AsRef<[u8]>>(data: &BTreeMap<String, V>) -> String {
    // A byte is printed as at most three digits and a space.
    let size: usize = data
        .iter()
        .map(|(key, value)| key.len() + 4 * value.as_ref().len() + 4)
        .sum();
    let mut text = Zeroizing::new(String::with_capacity(size + 5));
    text.push_str("map[");
    for (at, (key, value)) in data.iter().enumerate() {
        text.push_str(if at == 0 { "" } else { " " });
        text.push_str(key);
        text.push_str(":[");
        for (at, byte) in value.as_ref().iter().enumerate() {
            text.push_str(if at == 0 { "" } else { " " });
            push_decimal(&mut text, *byte);
        }
        text.push(']');
    }
    text.push(']');
    sha3_224(&text)
}

/// Without an allocation of its own, which would leave a byte of a value behind.
fn push_decimal(text: &mut String, byte: u8) {
    for (unit, shows) in [(100, byte >= 100), (10, byte >= 10), (1, true)] {
        if shows {
            text.push(char::from(b'0' + byte / unit % 10));
        }
    }
}

/// The value of the label [`ESO_CREATED_BY_LABEL`] for an ExternalSecret.
pub fn created_by(namespace: &str, name: &str) -> String {
    sha3_224(&format!("{namespace}/{name}"))
}

/// `status.syncedResourceVersion` of an ExternalSecret with this generation and metadata.
pub fn synced_resource_version(
    generation: i64,
    annotations: &BTreeMap<String, String>,
    labels: &BTreeMap<String, String>,
) -> String {
    let map = |all: &BTreeMap<String, String>| {
        let entries = all.iter().map(|(name, value)| format!("{name}:{value}"));
        format!("map[{}]", entries.collect::<Vec<_>>().join(" "))
    };
    let (annotations, labels) = (map(annotations), map(labels));
    let hash = sha3_224(&format!("{{annotations:{annotations} labels:{labels}}}"));
    format!("{generation}-{hash}")
}

/// The field manager under which External Secrets writes the Secret of an ExternalSecret.
pub fn eso_field_manager(name: &str) -> String {
    if name.len() > LONGEST_FIELD_MANAGER {
        format!("{ESO_FIELD_MANAGER}sha3/{}", sha3_224(name))
    } else {
        format!("{ESO_FIELD_MANAGER}{name}")
    }
}

fn sha3_224(text: &str) -> String {
    let digest = Sha3_224::digest(text.as_bytes());
    data_encoding::HEXLOWER.encode(&digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(all: &[(&str, &str)]) -> BTreeMap<String, String> {
        let text = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        all.iter().map(text).collect()
    }

    /// The expected hashes come from Python's `hashlib` over the texts that Go prints; the first is
    /// also in External Secrets' own tests.
    #[test]
    fn hashes_are_those_of_external_secrets() {
        let data = |all: &[(&str, &str)]| data_hash(&texts(all));
        let example = data(&[("foo", "value1"), ("bar", "value2")]);
        assert_eq!(
            example,
            "1bed8bcbcb4547ffe19a19cd47d9078e84aa6598266d86b99f992d64"
        );
        assert_eq!(
            data(&[]),
            "74a974446e359fb3e6baff9bd0058950e6edd0f040888d9989b0a11b"
        );
        let binary = BTreeMap::from([("b".to_owned(), vec![0, 9, 10, 99, 100, 255])]);
        assert_eq!(
            data_hash(&binary),
            "735448569da73ad79421036cbe10669c76b7686406c69de2c3b0c890"
        );
        assert_eq!(
            created_by("shop", "db"),
            "5cb53bbbf776b3913df48671d8f6ea51a705aac7e8938ae122b52eba"
        );
        let version = synced_resource_version(3, &texts(&[("a", "b"), ("c", "")]), &texts(&[]));
        assert_eq!(
            version,
            "3-58e66a36688d128b60e4987008c9e29a69b41ec45827a18f9fe4e1f2"
        );
    }

    #[test]
    fn long_names_are_hashed_in_field_managers() {
        assert_eq!(
            eso_field_manager("db"),
            "externalsecrets.external-secrets.io/db"
        );
        let long = eso_field_manager(&"x".repeat(64));
        assert_eq!(
            long,
            "externalsecrets.external-secrets.io/sha3/0e1d228c9c6def7efe4fd9b55a5a89633e4347782cb6acf948482443"
        );
        assert!(!eso_field_manager(&"x".repeat(63)).contains("sha3"));
    }
}
