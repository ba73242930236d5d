//! What a store refers to: values of Secrets and tokens of ServiceAccounts, each in the one namespace
//! that the store may reach.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::Request;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Api, Client};
use sealkit_core::api::external::{
    CaProvider, CaProviderType, SecretKeySelector, ServiceAccountSelector, StoreKind,
};
use sealkit_core::names;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::super::StoreName;
use crate::kubernetes::{self, within};
use crate::sources::{SourceKind, Used};
use crate::store::{Object, StoreError};

/// Seconds that a token of a ServiceAccount is good for: one login.
pub(super) const TOKEN_SECONDS: u64 = 600;

/// Reads what a store refers to, for objects of one namespace.
pub(super) struct Credentials<'a> {
    pub(super) client: &'a Client,
    pub(super) store: &'a StoreName,
    /// The namespace that uses the store.
    pub(super) user: &'a str,
    /// May stores of the cluster use the controller's own identity?
    pub(super) lends_identity: bool,
    /// Whose places large answers take: the namespace, or the store if it serves several.
    pub(super) team: String,
    /// Takes down what is read.
    pub(super) used: &'a Used,
}

impl Credentials<'_> {
    fn note(&self, kind: SourceKind, namespace: &str, name: &str, read: Option<&ObjectMeta>) {
        let version = read.and_then(|metadata| metadata.resource_version.as_deref());
        self.used.note(kind, namespace, name, version);
    }

    /// One value of a Secret that a store refers to.
    pub(super) async fn secret_value(
        &self,
        selector: &SecretKeySelector,
        default_key: &str,
    ) -> Result<Zeroizing<String>, StoreError> {
        let namespace = place(self.store, &selector.namespace, self.user)?;
        let key = if selector.key.is_empty() {
            default_key
        } else {
            &selector.key
        };
        check_name(&selector.name)?;
        let api: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        let secret = within(api.get_opt(&selector.name)).await;
        let secret = secret.map_err(|failure| {
            StoreError::unavailable(format!("the store's credentials cannot be read: {failure}"))
        })?;
        let name = &selector.name;
        let read = secret.as_ref().map(|secret| &secret.metadata);
        self.note(SourceKind::Secret, namespace, name, read);
        let title = format!("{namespace}/{}", names::printable(name));
        let Some(mut secret) = secret else {
            return Err(StoreError::Absent(format!(
                "the store's Secret {title} does not exist"
            )));
        };
        let value = secret.data.as_mut().and_then(|data| data.remove(key));
        kubernetes::wipe_secret(&mut secret);
        let value = value.map(|value| Zeroizing::new(value.0));
        let text = value.as_ref().and_then(|value| str::from_utf8(value).ok());
        let text = text.map(|text| Zeroizing::new(text.trim().to_owned()));
        text.filter(|text| !text.is_empty()).ok_or_else(|| {
            let key = names::printable(key);
            StoreError::Absent(format!(
                "the store's Secret {title} has no text under {key:?}"
            ))
        })
    }

    /// A client certificate and its private key, one after the other in PEM.
    pub(super) async fn identity(
        &self,
        certificate: &SecretKeySelector,
        key: &SecretKeySelector,
    ) -> Result<Zeroizing<String>, StoreError> {
        let certificate = self.secret_value(certificate, "tls.crt").await?;
        let key = self.secret_value(key, "tls.key").await?;
        Ok(Zeroizing::new(format!("{}\n{}\n", *certificate, *key)))
    }

    /// The CA certificates of a server in PEM, from the store itself or from where it says; `None`
    /// if it says nothing.
    pub(super) async fn ca(
        &self,
        bundle: &str,
        provider: Option<&CaProvider>,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        match provider {
            _ if !bundle.is_empty() => ca_bundle(bundle).map(Some),
            Some(provider) => {
                let text = match provider.type_ {
                    CaProviderType::Secret => {
                        self.secret_value(&ca_selector(provider), CA_KEY).await?
                    }
                    CaProviderType::ConfigMap => self.config_map_value(provider).await?,
                };
                Ok(Some(text.as_bytes().to_vec()))
            }
            None => Ok(None),
        }
    }

    async fn config_map_value(
        &self,
        provider: &CaProvider,
    ) -> Result<Zeroizing<String>, StoreError> {
        let namespace = place(self.store, &provider.namespace, self.user)?;
        let name = names::printable(&provider.name);
        let title = format!("{namespace}/{name}");
        let key = Some(provider.key.as_str()).filter(|key| !key.is_empty());
        let key = key.unwrap_or(CA_KEY);
        check_name(&provider.name)?;
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), namespace);
        let map = within(api.get_opt(&provider.name)).await;
        let map = map.map_err(|failure| match failure.code() {
            403 => StoreError::Absent(format!(
                "the controller may not read the store's ConfigMap {title}: see docs/external-secrets.md"
            )),
            _ => StoreError::unavailable(format!("the store's CA cannot be read: {failure}")),
        })?;
        let read = map.as_ref().map(|map| &map.metadata);
        self.note(SourceKind::ConfigMap, namespace, &provider.name, read);
        let Some(map) = map else {
            let what = format!("the store's ConfigMap {title} does not exist");
            return Err(StoreError::Absent(what));
        };
        let text = map.data.and_then(|mut data| data.remove(key));
        let text = text.ok_or_else(|| {
            let key = names::printable(key);
            StoreError::Absent(format!("the store's ConfigMap {title} has no {key:?}"))
        });
        text.map(Zeroizing::new)
    }

    /// The annotations of a ServiceAccount.
    pub(super) async fn service_account_annotations(
        &self,
        account: &ServiceAccountSelector,
    ) -> Result<BTreeMap<String, String>, StoreError> {
        let namespace = place(self.store, &account.namespace, self.user)?;
        let title = format!("{namespace}/{}", names::printable(&account.name));
        check_name(&account.name)?;
        let api: Api<ServiceAccount> = Api::namespaced(self.client.clone(), namespace);
        let found = within(api.get_metadata(&account.name)).await;
        let found = found.map_err(|failure| match failure.code() {
            403 => StoreError::Absent(format!(
                "the controller may not read the ServiceAccount {title}: see docs/external-secrets-aws.md"
            )),
            404 => StoreError::Absent(format!("the ServiceAccount {title} does not exist")),
            _ => StoreError::unavailable(format!(
                "the ServiceAccount {title} cannot be read: {failure}"
            )),
        })?;
        Ok(found.metadata.annotations.unwrap_or_default())
    }

    /// A token of a ServiceAccount, for one login.
    pub(super) async fn service_account_token(
        &self,
        account: &ServiceAccountSelector,
        audiences: &[String],
    ) -> Result<Zeroizing<String>, StoreError> {
        let namespace = place(self.store, &account.namespace, self.user)?;
        let name = &account.name;
        let title = format!("{namespace}/{}", names::printable(name));
        check_name(name)?;
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token");
        let body = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
            "spec": {"audiences": audiences, "expirationSeconds": TOKEN_SECONDS},
        });
        let request = Request::post(path)
            .header("content-type", "application/json")
            .body(body.to_string().into_bytes())
            .map_err(|_| not_a_name(name))?;
        let answer = within(self.client.request::<Value>(request)).await;
        let answer = answer.map_err(|failure| match failure.code() {
        403 => StoreError::Absent(format!(
            "the controller may not create a token of the ServiceAccount {title}: see docs/external-secrets.md"
        )),
        404 => StoreError::Absent(format!("the ServiceAccount {title} does not exist")),
        _ => StoreError::unavailable(format!("no token of the ServiceAccount {title}: {failure}")),
    })?;
        let answer = Object(answer);
        let token = answer.0["status"]["token"].as_str();
        let token = token.map(|token| Zeroizing::new(token.to_owned()));
        token.ok_or_else(|| {
            StoreError::unavailable(format!("no token of the ServiceAccount {title}"))
        })
    }
}

/// The key of CA certificates where `caProvider` names none: that of `kube-root-ca.crt`.
const CA_KEY: &str = "ca.crt";

fn ca_selector(provider: &CaProvider) -> SecretKeySelector {
    SecretKeySelector {
        name: provider.name.clone(),
        namespace: provider.namespace.clone(),
        key: provider.key.clone(),
    }
}

/// A `caBundle` in PEM. It is Base64; some tools encode it twice.
fn ca_bundle(text: &str) -> Result<Vec<u8>, StoreError> {
    let decoded = |text: &[u8]| {
        let text: Vec<u8> = text
            .iter()
            .copied()
            .filter(|byte| !byte.is_ascii_whitespace())
            .collect();
        BASE64_STANDARD.decode(text).ok()
    };
    let once = decoded(text.as_bytes());
    let once = once.ok_or_else(|| StoreError::Config("caBundle is no Base64".to_owned()))?;
    Ok(decoded(&once).unwrap_or(once))
}

/// A name becomes a part of a path. Not every definition of the resources says what a name is.
fn check_name(name: &str) -> Result<(), StoreError> {
    names::is_dns_subdomain(name)
        .then_some(())
        .ok_or_else(|| not_a_name(name))
}

fn not_a_name(name: &str) -> StoreError {
    let name = names::printable(name);
    StoreError::Config(format!("the store refers to {name:?}, which is no name"))
}

/// The namespace in which a store's reference is. A store of a namespace reaches no other.
fn place<'a>(store: &'a StoreName, named: &'a str, user: &'a str) -> Result<&'a str, StoreError> {
    match store.kind {
        StoreKind::SecretStore if named.is_empty() || named == store.namespace => {
            Ok(&store.namespace)
        }
        StoreKind::SecretStore => Err(StoreError::Config(
            "a SecretStore may not refer to another namespace".to_owned(),
        )),
        // The identity of whoever uses it.
        StoreKind::ClusterSecretStore if named.is_empty() => Ok(user),
        StoreKind::ClusterSecretStore if names::is_dns_label(named) => Ok(named),
        StoreKind::ClusterSecretStore => Err(not_a_name(named)),
    }
}

#[cfg(test)]
mod tests {
    use sealkit_core::api::external::SecretStoreRef;

    use super::*;

    fn store(kind: StoreKind) -> StoreName {
        let reference = SecretStoreRef {
            name: "vault".to_owned(),
            kind,
        };
        StoreName::of(&reference, "shop")
    }

    #[test]
    fn a_ca_bundle_is_base64_once_or_twice() {
        let pem = "-----BEGIN CERTIFICATE-----\nTUlJ\n-----END CERTIFICATE-----\n";
        let once = BASE64_STANDARD.encode(pem);
        let twice = BASE64_STANDARD.encode(&once);
        for bundle in [once.clone(), format!("{once}\n"), twice] {
            assert_eq!(ca_bundle(&bundle).unwrap(), pem.as_bytes(), "{bundle}");
        }
        assert!(matches!(ca_bundle(pem), Err(StoreError::Config(_))));
    }

    #[test]
    fn a_name_leads_nowhere_else() {
        assert!(check_name("vault-token.v1").is_ok());
        for name in [
            "",
            "..",
            "../../bank/secrets/db",
            "a/token",
            "a?watch=true",
            "a%2fb",
        ] {
            assert!(
                matches!(check_name(name), Err(StoreError::Config(_))),
                "{name}"
            );
        }
    }

    #[test]
    fn a_store_of_a_namespace_reaches_no_other() {
        let (own, all) = (
            store(StoreKind::SecretStore),
            store(StoreKind::ClusterSecretStore),
        );
        let place = |store, named: &str| place(store, named, "shop").map(str::to_owned).ok();
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
}
