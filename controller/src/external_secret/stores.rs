//! The stores of the cluster, and a session for each identity under which one is used.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use sealkit_core::api::external::{
    ClusterSecretStore, ProviderChoice, SecretKeySelector, SecretStore, SecretStoreRef,
    SecretStoreSpec, StoreKind, VaultProvider, VaultVersion,
};
use sealkit_core::names;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::kubernetes::{self, within};
use crate::object::{Key, Raw};
use crate::store::{Session, StoreError, Vault, VaultLogin};

/// A store by its name. Those of the cluster have no namespace.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct StoreName {
    pub(super) kind: StoreKind,
    pub(super) namespace: String,
    pub(super) name: String,
}

impl StoreName {
    /// The store that an object in this namespace refers to.
    pub(super) fn of(reference: &SecretStoreRef, namespace: &str) -> Self {
        let kind = reference.kind;
        let namespace = match kind {
            StoreKind::SecretStore => namespace.to_owned(),
            StoreKind::ClusterSecretStore => String::new(),
        };
        Self {
            kind,
            namespace,
            name: reference.name.clone(),
        }
    }

    /// The store at this place.
    pub(super) fn at(kind: StoreKind, key: Key) -> Self {
        Self {
            kind,
            namespace: key.namespace,
            name: key.name,
        }
    }

    /// Its place.
    pub(super) fn key(&self) -> Key {
        Key {
            namespace: self.namespace.clone(),
            name: self.name.clone(),
        }
    }
}

/// A store as it was last observed.
#[derive(Clone)]
struct KnownStore {
    uid: String,
    generation: i64,
    /// The spec, or what is wrong with it.
    spec: Arc<Result<SecretStoreSpec, String>>,
}

/// A store under one identity: that of the store itself, or of the namespace that uses it.
type Identity = (StoreName, Option<String>);

/// A session, and UID and generation of the store that it was made from.
type Made = (String, i64, Arc<Session>);

/// See the module's documentation.
pub(super) struct Stores {
    client: Client,
    known: Mutex<HashMap<StoreName, KnownStore>>,
    sessions: Mutex<HashMap<Identity, Made>>,
}

impl Stores {
    pub(super) fn new(client: Client) -> Self {
        Self {
            client,
            known: Mutex::default(),
            sessions: Mutex::default(),
        }
    }

    /// Observes a store. Has its spec changed?
    pub(super) fn observe(&self, name: StoreName, uid: &str, generation: i64, spec: Value) -> bool {
        let mut known = lock(&self.known);
        let is_same = |store: &KnownStore| store.uid == uid && store.generation == generation;
        if known.get(&name).is_some_and(is_same) {
            return false;
        }
        // The place of a fault in public text.
        let spec =
            serde_json::from_value(spec).map_err(|error| names::printable(&error.to_string()));
        let store = KnownStore {
            uid: uid.to_owned(),
            generation,
            spec: Arc::new(spec),
        };
        known.insert(name, store);
        true
    }

    /// Forgets a store.
    pub(super) fn gone(&self, name: &StoreName) {
        lock(&self.known).remove(name);
        lock(&self.sessions).retain(|(store, _), _| store != name);
    }

    /// The stores that a list lacks.
    pub(super) fn missing_from(&self, lacks: impl Fn(&StoreName) -> bool) -> Vec<StoreName> {
        let known = lock(&self.known);
        known.keys().filter(|name| lacks(name)).cloned().collect()
    }

    /// The session of a store for objects of this namespace, and whether it is new. Error:
    /// [`StoreError::Config`] if the store does not exist or its spec is at fault.
    pub(super) async fn session(
        &self,
        name: &StoreName,
        namespace: &str,
    ) -> Result<(Arc<Session>, bool), StoreError> {
        let known = lock(&self.known).get(name).cloned();
        let Some(KnownStore {
            uid,
            generation,
            spec,
        }) = known
        else {
            return Err(StoreError::Absent(format!(
                "{} {} does not exist",
                name.kind.name(),
                names::printable(&name.name)
            )));
        };
        let spec = match &*spec {
            Ok(spec) => spec,
            Err(why) => return Err(StoreError::Config(format!("the store's spec: {why}"))),
        };
        if !spec.conditions.is_empty() && name.kind == StoreKind::ClusterSecretStore {
            let is_named = |condition: &sealkit_core::api::external::NamespaceCondition| {
                condition.namespaces.iter().any(|named| named == namespace)
            };
            // Selectors and expressions are not served yet: they allow nothing.
            if !spec.conditions.iter().any(is_named) {
                let what = format!("the store's conditions do not name the namespace {namespace}");
                return Err(StoreError::Absent(what));
            }
        }
        let provider = match spec.provider.choice() {
            Some(ProviderChoice::Vault(vault)) => vault,
            Some(ProviderChoice::Aws(_)) => return Err(not_served("provider aws")),
            Some(ProviderChoice::Kubernetes(_)) => return Err(not_served("provider kubernetes")),
            Some(ProviderChoice::Fake(_)) => return Err(not_served("provider fake")),
            Some(ProviderChoice::Unserved(other)) => {
                return Err(not_served(&format!("provider {}", names::printable(other))));
            }
            None => {
                return Err(StoreError::Config(
                    "the store names no provider, or two".to_owned(),
                ));
            }
        };
        let selector = token_selector(provider)?;
        let place = secret_namespace(name, selector, namespace)?;
        let referent = (selector.namespace.is_empty()
            && name.kind == StoreKind::ClusterSecretStore)
            .then(|| namespace.to_owned());
        let identity = (name.clone(), referent);
        let found = lock(&self.sessions).get(&identity).cloned();
        if let Some((_, _, session)) =
            found.filter(|(of, at, _)| (of.as_str(), *at) == (uid.as_str(), generation))
        {
            return Ok((session, false));
        }
        let token = self.secret_value(place, selector, "token").await?;
        let session = Arc::new(Session::new(vault(provider, &token)?));
        lock(&self.sessions).insert(identity, (uid, generation, session.clone()));
        Ok((session, true))
    }

    /// Ends a session that the provider refuses: its token may have been replaced.
    pub(super) fn end(&self, session: &Arc<Session>) {
        lock(&self.sessions).retain(|_, (_, _, other)| !Arc::ptr_eq(other, session));
    }

    /// One value of a Secret that a store refers to.
    async fn secret_value(
        &self,
        namespace: &str,
        selector: &SecretKeySelector,
        default_key: &str,
    ) -> Result<Zeroizing<String>, StoreError> {
        let key = if selector.key.is_empty() {
            default_key
        } else {
            &selector.key
        };
        let api: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        let secret = within(api.get_opt(&selector.name)).await;
        let secret = secret.map_err(|failure| {
            StoreError::unavailable(format!("the store's credentials cannot be read: {failure}"))
        })?;
        let title = format!("{namespace}/{}", names::printable(&selector.name));
        let Some(mut secret) = secret else {
            return Err(StoreError::Absent(format!(
                "the store's Secret {title} does not exist"
            )));
        };
        let value = secret.data.as_mut().and_then(|data| data.remove(key));
        kubernetes::wipe_secret(&mut secret);
        let value = value.map(|value| Zeroizing::new(value.0));
        let text = value.and_then(|value| String::from_utf8(value.to_vec()).ok());
        let text = text.map(|text| Zeroizing::new(text.trim().to_owned()));
        text.filter(|text| !text.is_empty()).ok_or_else(|| {
            let key = names::printable(key);
            StoreError::Absent(format!(
                "the store's Secret {title} has no text under {key:?}"
            ))
        })
    }
}

/// The namespace in which a store's Secret is. A store of a namespace reaches no other.
fn secret_namespace<'a>(
    store: &'a StoreName,
    selector: &'a SecretKeySelector,
    user: &'a str,
) -> Result<&'a str, StoreError> {
    let named = selector.namespace.as_str();
    match store.kind {
        StoreKind::SecretStore if named.is_empty() || named == store.namespace => {
            Ok(&store.namespace)
        }
        StoreKind::SecretStore => Err(StoreError::Config(
            "a SecretStore may not refer to a Secret of another namespace".to_owned(),
        )),
        // The identity of whoever uses it.
        StoreKind::ClusterSecretStore if named.is_empty() => Ok(user),
        StoreKind::ClusterSecretStore => Ok(named),
    }
}

fn token_selector(provider: &VaultProvider) -> Result<&SecretKeySelector, StoreError> {
    let Some(auth) = &provider.auth else {
        let what = "the store has no auth: the controller lends its own identity to nobody";
        return Err(StoreError::Config(what.to_owned()));
    };
    let others = [
        ("appRole", auth.app_role.is_some()),
        ("kubernetes", auth.kubernetes.is_some()),
        ("ldap", auth.ldap.is_some()),
        ("userPass", auth.user_pass.is_some()),
        ("jwt", auth.jwt.is_some()),
        ("cert", auth.cert.is_some()),
        ("iam", auth.iam.is_some()),
        ("gcp", auth.gcp.is_some()),
    ];
    let other = others.into_iter().find(|(_, is_set)| *is_set);
    match (&auth.token_secret_ref, other) {
        (Some(selector), None) => Ok(selector),
        (Some(_), Some(_)) => Err(StoreError::Config("auth names two methods".to_owned())),
        (None, Some((method, _))) => Err(not_served(&format!("vault auth {method}"))),
        (None, None) => Err(StoreError::Config("auth names no method".to_owned())),
    }
}

fn vault(provider: &VaultProvider, token: &str) -> Result<Vault, StoreError> {
    let unserved = [
        ("caProvider", provider.ca_provider.is_some()),
        (
            "tls",
            provider.tls.cert_secret_ref.is_some() || provider.tls.key_secret_ref.is_some(),
        ),
    ];
    if let Some((field, _)) = unserved.into_iter().find(|(_, is_set)| *is_set) {
        return Err(not_served(&format!("vault.{field}")));
    }
    let ca = if provider.ca_bundle.is_empty() {
        None
    } else {
        let pem = BASE64_STANDARD.decode(&provider.ca_bundle);
        Some(pem.map_err(|_| StoreError::Config("vault.caBundle is no Base64".to_owned()))?)
    };
    let text = |text: &'_ String| (!text.is_empty()).then(|| text.clone());
    let headers: Vec<(String, String)> = provider.headers.clone().into_iter().collect();
    Vault::new(&VaultLogin {
        server: &provider.server,
        ca: ca.as_deref(),
        namespace: text(&provider.namespace).as_deref(),
        headers: &headers,
        mount: text(&provider.path).as_deref(),
        is_v2: provider.version == VaultVersion::V2,
        token,
    })
}

fn not_served(what: &str) -> StoreError {
    StoreError::Config(format!("{what} is not served by Sealkit"))
}

/// The name of a store as a watch shows it.
pub(super) fn name_of(kind: StoreKind, metadata: &kube::core::ObjectMeta) -> StoreName {
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    StoreName {
        kind,
        namespace: text(&metadata.namespace),
        name: text(&metadata.name),
    }
}

/// A SecretStore as a watch shows it.
pub(super) type SecretStoreObject = Raw<SecretStore>;
/// A ClusterSecretStore as a watch shows it.
pub(super) type ClusterSecretStoreObject = Raw<ClusterSecretStore>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No code that can panic runs under these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(kind: StoreKind) -> StoreName {
        let reference = SecretStoreRef {
            name: "vault".to_owned(),
            kind,
        };
        StoreName::of(&reference, "shop")
    }

    #[test]
    fn a_store_of_a_namespace_reaches_no_other() {
        let selector = |namespace: &str| SecretKeySelector {
            namespace: namespace.to_owned(),
            ..SecretKeySelector::default()
        };
        let (own, all) = (
            store(StoreKind::SecretStore),
            store(StoreKind::ClusterSecretStore),
        );
        let place = |store, named: &str| {
            let selector = selector(named);
            secret_namespace(store, &selector, "shop")
                .map(str::to_owned)
                .ok()
        };
        assert_eq!(place(&own, ""), Some("shop".to_owned()));
        assert_eq!(place(&own, "shop"), Some("shop".to_owned()));
        assert_eq!(place(&own, "bank"), None);
        assert_eq!(
            place(&all, ""),
            Some("shop".to_owned()),
            "of whoever uses it"
        );
        assert_eq!(
            place(&all, "sealkit-stores"),
            Some("sealkit-stores".to_owned())
        );
    }

    #[test]
    fn a_store_without_auth_lends_no_identity() {
        let mut provider = VaultProvider::default();
        let what = |provider: &VaultProvider| token_selector(provider).unwrap_err().to_string();
        assert!(what(&provider).contains("lends its own identity to nobody"));
        provider.auth = Some(sealkit_core::api::external::VaultAuth::default());
        assert!(what(&provider).contains("no method"));
    }
}
