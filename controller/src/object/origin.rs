//! The resource that something is done for: a Secret written, an event published, a status set.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use sealkit_core::api::{GROUP, VERSION};
use sealkit_core::names;
use serde_json::{Value, json};

/// A kind of resource, in the words by which the API server knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Kind {
    /// API group.
    pub group: &'static str,
    /// Version under which we read and write it.
    pub version: &'static str,
    /// The kind.
    pub kind: &'static str,
    /// Its plural in paths.
    pub plural: &'static str,
}

/// SealedSecrets.
pub const SEALED_SECRET: Kind = ours("SealedSecret", "sealedsecrets");
/// RewrapRequests.
pub const REWRAP_REQUEST: Kind = ours("RewrapRequest", "rewraprequests");

/// SealingKeys.
pub const SEALING_KEY: Kind = ours("SealingKey", "sealingkeys");

const fn ours(kind: &'static str, plural: &'static str) -> Kind {
    Kind {
        group: GROUP,
        version: VERSION,
        kind,
        plural,
    }
}

impl Kind {
    /// `group/version`.
    pub fn api_version(&self) -> String {
        format!("{}/{}", self.group, self.version)
    }
}

/// One object of some kind.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    /// What it is.
    pub kind: Kind,
    /// Its namespace; empty for objects of the cluster.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
}

impl Origin {
    /// The object with this metadata.
    pub fn of(kind: Kind, metadata: &ObjectMeta) -> Self {
        let text = |field: &Option<String>| field.clone().unwrap_or_default();
        Self {
            kind,
            namespace: text(&metadata.namespace),
            name: text(&metadata.name),
            uid: text(&metadata.uid),
        }
    }

    /// Its path at the API server.
    pub fn path(&self) -> String {
        let Kind {
            group,
            version,
            plural,
            ..
        } = self.kind;
        let namespace = if self.namespace.is_empty() {
            String::new()
        } else {
            format!("/namespaces/{}", self.namespace)
        };
        format!("/apis/{group}/{version}{namespace}/{plural}/{}", self.name)
    }

    /// As events name what they are about (`ObjectReference`).
    pub fn reference(&self) -> Value {
        json!({
            "apiVersion": self.kind.api_version(),
            "kind": self.kind.kind,
            "name": self.name,
            "namespace": Some(&self.namespace).filter(|namespace| !namespace.is_empty()),
            "uid": self.uid,
        })
    }

    /// As the controller owner of what is made for it.
    pub fn owner_reference(&self) -> OwnerReference {
        OwnerReference {
            api_version: self.kind.api_version(),
            kind: self.kind.kind.to_owned(),
            name: self.name.clone(),
            uid: self.uid.clone(),
            controller: Some(true),
            block_owner_deletion: None,
        }
    }

    /// Does this owner reference name it, or an object of its name that existed before?
    pub fn is_lineage_of(&self, owner: &OwnerReference) -> bool {
        owner.kind == self.kind.kind
            && owner.name == self.name
            && owner.api_version.split('/').next() == Some(self.kind.group)
    }

    /// `<Kind>/<name>`: as people name it in an annotation of its namespace.
    pub fn title(&self) -> String {
        format!("{}/{}", self.kind.kind, self.name)
    }

    /// `<Kind>/<namespace>/<name>/<uid>`: as it marks what it made.
    pub fn marker(&self) -> String {
        format!("{}{}", self.lineage(), self.uid)
    }

    /// The marker without the UID: an object that was deleted and made again has the same. With
    /// the namespace in it, a copy of the marked object elsewhere belongs to nobody there.
    pub fn lineage(&self) -> String {
        format!("{}/{}/{}/", self.kind.kind, self.namespace, self.name)
    }

    /// 32 hex characters that stand for the title where a name is too long: not the UID, since an
    /// object that is made again goes on where the one before it stopped.
    pub fn digest(&self) -> String {
        names::digest(self.title().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use kube::Resource;
    use sealkit_core::api::{RewrapRequest, SealedSecret};

    use super::*;

    #[test]
    fn kinds_are_those_of_the_crds() {
        fn same<K: Resource<DynamicType = ()>>(kind: Kind) {
            assert_eq!(kind.api_version(), K::api_version(&()));
            assert_eq!((kind.kind, kind.plural), (&*K::kind(&()), &*K::plural(&())));
        }
        same::<SealedSecret>(SEALED_SECRET);
        same::<RewrapRequest>(REWRAP_REQUEST);
    }

    #[test]
    fn objects_of_the_cluster_have_no_namespace_in_their_path() {
        let mut origin = Origin {
            kind: SEALED_SECRET,
            namespace: "shop".into(),
            name: "db".into(),
            uid: "u".into(),
        };
        let path = "/apis/sealkit.dev/v1beta1/namespaces/shop/sealedsecrets/db";
        assert_eq!(origin.path(), path);
        assert_eq!(origin.marker(), "SealedSecret/shop/db/u");
        origin.namespace.clear();
        assert_eq!(origin.path(), "/apis/sealkit.dev/v1beta1/sealedsecrets/db");
        assert_eq!(origin.reference()["namespace"], Value::Null);
    }
}
