//! What is known about one store: its description, and what it allows.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::object::HasStatus;
use sealkit_core::api::Reason;
use sealkit_core::api::external::{
    EVENT_QUEUE, KEY_POLICY, ProviderChoice, SecretStoreSpec, StoreKind, VaultVersion,
};
use sealkit_core::names;
use serde_json::Value;

use super::StoreName;
use super::login::Login;
use super::usage::{Conditions, KeyPolicy};
use crate::admission::Verdict;
use crate::object::{Key, Raw};
use crate::store::{Read, Session, StoreError};

/// A store as it was last observed.
pub(super) struct KnownStore {
    pub(super) uid: String,
    pub(super) generation: i64,
    /// Its annotations that say something.
    annotations: Annotations,
    /// What it says, or what is wrong with it.
    described: Result<Described, String>,
    /// Is it that of another class of controllers?
    pub(super) is_foreign: bool,
}

/// The annotations of a store that say something. Those of SecretStores say nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Annotations {
    /// The key policy.
    policy: Option<String>,
    /// The URL of the queue that tells what changed.
    queue: Option<String>,
}

impl Annotations {
    pub(super) fn of(metadata: &ObjectMeta) -> Self {
        let annotation = |name| metadata.annotations.as_ref()?.get(name).cloned();
        let is_shared = metadata.namespace.is_none();
        Self {
            policy: annotation(KEY_POLICY),
            queue: annotation(EVENT_QUEUE).filter(|_| is_shared),
        }
    }
}

impl KnownStore {
    /// A store with this spec, as a controller of a class sees it.
    pub(super) fn new(
        name: &StoreName,
        uid: &str,
        generation: i64,
        spec: Value,
        annotations: Annotations,
        class: &str,
    ) -> Self {
        let named = spec["controller"].as_str().unwrap_or_default();
        Self {
            uid: uid.to_owned(),
            generation,
            is_foreign: !named.is_empty() && named != class,
            described: Described::parse(name, spec, annotations.policy.as_deref()),
            annotations,
        }
    }

    /// Is it the same description?
    pub(super) fn is_same(&self, uid: &str, generation: i64, annotations: &Annotations) -> bool {
        (self.uid.as_str(), self.generation) == (uid, generation)
            && self.annotations == *annotations
    }

    /// The queue that tells which of its secrets changed: of a store of the cluster over AWS.
    pub(super) fn queue(&self) -> Option<&str> {
        let queue = self.annotations.queue.as_deref()?;
        let described = self.described().ok().filter(|_| !self.is_foreign)?;
        let is_aws = matches!(
            described.spec.provider.choice(),
            Some(ProviderChoice::Aws(_))
        );
        is_aws.then_some(queue)
    }

    /// The description. Error: [`StoreError::Config`].
    pub(super) fn described(&self) -> Result<&Described, StoreError> {
        let described = self.described.as_ref();
        described.map_err(|why| StoreError::Config(why.clone()))
    }

    /// How the store proves who asks. Error: [`StoreError::Config`].
    pub(super) fn login(&self) -> Result<Login<'_>, StoreError> {
        Login::of(&self.described()?.spec)
    }

    /// A key policy holds before anything is read, for the key as the provider resolves it. Error:
    /// [`StoreError::Denied`].
    pub(super) fn check_policy(
        &self,
        session: &Session,
        namespace: &str,
        read: &Read,
    ) -> Result<(), StoreError> {
        let Some(policy) = &self.described()?.policy else {
            return Ok(());
        };
        let refused = |what: String| {
            Err(StoreError::Denied(format!(
                "the store's key policy does not allow the namespace {namespace} to read {what}"
            )))
        };
        match read {
            Read::Secret { key, .. } | Read::Metadata { key } => {
                let resolved = session.resolved(key)?;
                if policy.allows(namespace, &resolved) {
                    return Ok(());
                }
                refused(format!("{:?}", names::printable(&resolved)))
            }
            Read::Find(_) if policy.allows_all(namespace) => Ok(()),
            Read::Find(_) => refused("all keys, which find needs".to_owned()),
        }
    }

    /// Does the provider tell the version of a secret for less than a read of it?
    pub(super) fn tells_versions(&self) -> bool {
        self.described().is_ok_and(|described| {
            matches!(
                described.spec.provider.choice(),
                Some(ProviderChoice::Vault(vault)) if vault.version == VaultVersion::V2
            )
        })
    }
}

/// What the webhook says of a store, as a controller of a class sees it. A provider that Sealkit does
/// not serve may be meant for another controller.
pub fn verdict<K>(kind: StoreKind, object: &Raw<K>, class: &str) -> Verdict
where
    K: HasStatus,
{
    let metadata = &object.metadata;
    let key = Key::of(metadata);
    let name = StoreName {
        kind,
        namespace: key.namespace,
        name: key.name,
    };
    let annotations = Annotations::of(metadata);
    let spec = object.spec().value;
    let store = KnownStore::new(&name, object.uid(), 0, spec, annotations, class);
    let choice = |described: &Described| match described.spec.provider.choice() {
        Some(ProviderChoice::Unserved(provider)) => Some(names::printable(provider)),
        _ => None,
    };
    if store.is_foreign {
        return Verdict::Allowed;
    }
    if let Some(provider) = store.described.as_ref().ok().and_then(choice) {
        return Verdict::Warned(format!("provider {provider} is not served by Sealkit"));
    }
    match store.login() {
        Ok(_) => Verdict::Allowed,
        Err(error) => Verdict::Denied(Reason::InvalidProviderConfig.name(), error.to_string()),
    }
}

/// The description of a store.
pub(super) struct Described {
    pub(super) spec: SecretStoreSpec,
    pub(super) conditions: Conditions,
    policy: Option<KeyPolicy>,
}

impl Described {
    fn parse(name: &StoreName, spec: Value, policy: Option<&str>) -> Result<Self, String> {
        // The place of a fault in public text.
        let spec: SecretStoreSpec = serde_json::from_value(spec).map_err(|error| {
            format!("the store's spec: {}", names::printable(&error.to_string()))
        })?;
        let is_shared = name.kind == StoreKind::ClusterSecretStore;
        let (conditions, policy) = if is_shared {
            (
                Conditions::parse(&spec.conditions)?,
                policy.map(KeyPolicy::parse).transpose()?,
            )
        } else {
            (Conditions::parse(&[])?, None)
        };
        Ok(Self {
            spec,
            conditions,
            policy,
        })
    }
}
