//! The resource for which a Secret is written, an event published or a status set.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use sealkit_core::api::{GROUP, VERSION};
use sealkit_core::names;
use serde_json::{Value, json};

use super::Key;

/// A kind of resource, as the API server names it.
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
    /// Its kind.
    pub kind: Kind,
    /// Its namespace; empty for cluster-scoped objects.
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

    /// Its namespace and name.
    pub fn key(&self) -> Key {
        Key {
            namespace: self.namespace.clone(),
            name: self.name.clone(),
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

    /// The `ObjectReference` by which events name it.
    pub fn reference(&self) -> Value {
        json!({
            "apiVersion": self.kind.api_version(),
            "kind": self.kind.kind,
            "name": self.name,
            "namespace": Some(&self.namespace).filter(|namespace| !namespace.is_empty()),
            "uid": self.uid,
        })
    }

    /// The owner reference that makes it the controller owner of an object.
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

    /// `<Kind>/<name>`, as people name it in an annotation in its namespace.
    pub fn title(&self) -> String {
        format!("{}/{}", self.kind.kind, self.name)
    }

    /// `<Kind>/<namespace>/<name>/<uid>`, with which it marks its Secrets.
    pub fn marker(&self) -> String {
        format!("{}{}", self.lineage(), self.uid)
    }

    /// The marker without the UID, so that it is the same for an object that was deleted and
    /// created again. It includes the namespace, so that a copy of a marked Secret elsewhere
    /// belongs to nobody there.
    pub fn lineage(&self) -> String {
        format!("{}/{}/{}/", self.kind.kind, self.namespace, self.name)
    }

    /// 32 hex characters that stand for the title where a name would be too long. They do not
    /// depend on the UID, since an object that is created again continues where the old one
    /// stopped.
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
    fn cluster_scoped_objects_have_no_namespace_in_their_path() {
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
