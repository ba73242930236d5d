//! What a store refers to: values of Secrets and tokens of ServiceAccounts, each in the one namespace
//! that the store may reach.

use http::Request;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use sealkit_core::api::external::{SecretKeySelector, ServiceAccountSelector, StoreKind};
use sealkit_core::names;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::super::stores::StoreName;
use crate::kubernetes::{self, within};
use crate::store::{Object, StoreError};

/// Seconds that a token of a ServiceAccount is good for: one login.
const TOKEN_SECONDS: i64 = 600;

/// Reads what a store refers to, for objects of one namespace.
pub(super) struct Credentials<'a> {
    pub(super) client: &'a Client,
    pub(super) store: &'a StoreName,
    /// The namespace that uses the store.
    pub(super) user: &'a str,
}

impl<'a> Credentials<'a> {
    /// One value of a Secret that a store refers to.
    pub(super) async fn secret_value(
        &self,
        selector: &'a SecretKeySelector,
        default_key: &str,
    ) -> Result<Zeroizing<String>, StoreError> {
        let namespace = place(self.store, &selector.namespace, self.user)?;
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
        let text = text.map(Zeroizing::new);
        let text = text.map(|text| Zeroizing::new(text.trim().to_owned()));
        text.filter(|text| !text.is_empty()).ok_or_else(|| {
            let key = names::printable(key);
            StoreError::Absent(format!(
                "the store's Secret {title} has no text under {key:?}"
            ))
        })
    }

    /// A token of a ServiceAccount, for one login.
    pub(super) async fn service_account_token(
        &self,
        account: &'a ServiceAccountSelector,
        audiences: &[String],
    ) -> Result<Zeroizing<String>, StoreError> {
        let namespace = place(self.store, &account.namespace, self.user)?;
        let name = &account.name;
        let title = format!("{namespace}/{}", names::printable(name));
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token");
        let body = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
            "spec": {"audiences": audiences, "expirationSeconds": TOKEN_SECONDS},
        });
        let request = Request::post(path)
            .header("content-type", "application/json")
            .body(body.to_string().into_bytes())
            .map_err(|_| {
                StoreError::Config("the store's ServiceAccount has no valid name".to_owned())
            })?;
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
        StoreKind::ClusterSecretStore => Ok(named),
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
