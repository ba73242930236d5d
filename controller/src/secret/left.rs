//! Secrets as External Secrets left them.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use sealkit_core::api::external::{ESO_DATA_HASH_ANNOTATION, ESO_MANAGED_LABEL, data_hash};

use super::{Ownership, Secrets};
use crate::kubernetes::{self, ApiFailure};
use crate::object::{Origin, Version};

/// A Secret that External Secrets made for a source, or merged into for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// Its version.
    pub version: Version,
    /// Has it the values that External Secrets wrote last? Whoever may write the Secret can say so.
    pub is_intact: bool,
}

impl Secrets {
    /// The Secret of this name, as External Secrets left it for the source. `None` if there is none, or
    /// if it belongs to somebody else.
    pub async fn left(
        &self,
        origin: &Origin,
        name: &str,
        ownership: Ownership,
    ) -> Result<Option<Left>, ApiFailure> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), &origin.namespace);
        let Some(mut secret) = kubernetes::within(api.get_opt(name)).await? else {
            return Ok(None);
        };
        let left = left_for(origin, ownership, &secret);
        kubernetes::wipe_secret(&mut secret);
        Ok(left)
    }
}

fn left_for(origin: &Origin, ownership: Ownership, secret: &Secret) -> Option<Left> {
    let meta = &secret.metadata;
    let labels = meta.labels.as_ref();
    let is_managed = labels
        .and_then(|all| all.get(ESO_MANAGED_LABEL))
        .is_some_and(|value| value == "true");
    let mut owners = meta.owner_references.iter().flatten();
    let controller = owners.find(|owner| owner.controller == Some(true));
    let is_owned =
        controller.is_some_and(|owner| origin.is_lineage_of(owner) && owner.uid == origin.uid);
    if !is_managed || ownership == Ownership::Owner && !is_owned {
        return None;
    }
    let data: BTreeMap<String, &[u8]> = (secret.data.iter().flatten())
        .map(|(key, value)| (key.clone(), value.0.as_slice()))
        .collect();
    let annotations = meta.annotations.as_ref();
    let hash = annotations.and_then(|all| all.get(ESO_DATA_HASH_ANNOTATION));
    Some(Left {
        version: Version::of(meta),
        // External Secrets lets whoever has an orphan change it.
        is_intact: ownership == Ownership::Orphan
            || hash.is_some_and(|hash| *hash == data_hash(&data)),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::object::Kind;

    fn secret(owner: &str, hash: &str) -> Secret {
        serde_json::from_value(json!({
            "metadata": {
                "name": "db", "uid": "s", "resourceVersion": "7",
                "labels": {ESO_MANAGED_LABEL: "true"},
                "annotations": {ESO_DATA_HASH_ANNOTATION: hash},
                "ownerReferences": [{
                    "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret", "name": "db",
                    "uid": owner, "controller": true, "blockOwnerDeletion": true,
                }],
            },
            // `value1` and `value2`.
            "data": {"foo": "dmFsdWUx", "bar": "dmFsdWUy"},
        }))
        .unwrap()
    }

    #[test]
    fn a_secret_counts_as_left_only_with_its_owner_and_as_intact_only_with_its_hash() {
        const HASH: &str = "1bed8bcbcb4547ffe19a19cd47d9078e84aa6598266d86b99f992d64";
        let origin = Origin {
            kind: Kind {
                group: "external-secrets.io",
                version: "v1",
                kind: "ExternalSecret",
                plural: "externalsecrets",
            },
            namespace: "shop".into(),
            name: "db".into(),
            uid: "u".into(),
        };
        let left = |ownership, secret: &Secret| {
            left_for(&origin, ownership, secret).map(|left| left.is_intact)
        };
        assert_eq!(left(Ownership::Owner, &secret("u", HASH)), Some(true));
        assert_eq!(left(Ownership::Owner, &secret("u", "x")), Some(false));
        assert_eq!(left(Ownership::Owner, &secret("other", HASH)), None);
        assert_eq!(left(Ownership::Merge, &secret("other", HASH)), Some(true));
        assert_eq!(left(Ownership::Orphan, &secret("u", "x")), Some(true));
        let mut unmanaged = secret("u", HASH);
        unmanaged.metadata.labels = None;
        assert_eq!(left(Ownership::Orphan, &unmanaged), None);
    }
}
