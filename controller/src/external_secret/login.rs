//! From a store's `auth` to a session: which Secrets and ServiceAccounts it may use, and the login.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::Request;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use sealkit_core::api::external::{
    SecretKeySelector, ServiceAccountSelector, StoreKind, VaultAuth, VaultProvider, VaultVersion,
};
use sealkit_core::names;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::stores::{StoreName, not_served};
use crate::kubernetes::{self, within};
use crate::store::{Object, Proof, Session, StoreError, Vault, VaultLogin};

/// Seconds that a token of a ServiceAccount is good for: one login.
const TOKEN_SECONDS: i64 = 600;

/// How a store proves who asks.
pub(super) enum Auth<'a> {
    Token(&'a SecretKeySelector),
    /// A login below `auth/`, with fields of its body.
    Login {
        path: String,
        fields: Vec<(&'static str, Field<'a>)>,
    },
}

/// A field of a login.
pub(super) enum Field<'a> {
    Text(&'a str),
    /// A key of a Secret, and the key if it names none.
    Secret(&'a SecretKeySelector, &'static str),
    /// A token of a ServiceAccount for these audiences.
    ServiceAccount(&'a ServiceAccountSelector, Vec<String>),
}

/// The one way that `auth` names. Error: [`StoreError::Config`].
pub(super) fn auth(provider: &VaultProvider) -> Result<Auth<'_>, StoreError> {
    let config = |what: &str| StoreError::Config(what.to_owned());
    let Some(auth) = &provider.auth else {
        return Err(config(
            "the store has no auth: the controller lends its own identity to nobody",
        ));
    };
    let mut named = methods(auth);
    let method = named.next().ok_or_else(|| config("auth names no method"))?;
    if named.next().is_some() {
        return Err(config("auth names two methods"));
    }
    let path = |mount: &str, rest: &str| format!("auth/{}/login{rest}", mount.trim_matches('/'));
    if let Some(selector) = &auth.token_secret_ref {
        return Ok(Auth::Token(selector));
    }
    if let Some(role) = &auth.app_role {
        let id = match &role.role_ref {
            Some(selector) => Field::Secret(selector, "role-id"),
            None => Field::Text(&role.role_id),
        };
        return Ok(Auth::Login {
            path: path(&role.path, ""),
            fields: vec![
                ("role_id", id),
                ("secret_id", Field::Secret(&role.secret_ref, "secret-id")),
            ],
        });
    }
    if let Some(user) = &auth.user_pass {
        let selector = user.secret_ref.as_ref();
        let selector = selector.ok_or_else(|| config("auth.userPass has no secretRef"))?;
        return Ok(Auth::Login {
            path: path(&user.path, &format!("/{}", user.username)),
            fields: vec![("password", Field::Secret(selector, "password"))],
        });
    }
    if let Some(kubernetes) = &auth.kubernetes {
        let token = match (&kubernetes.service_account_ref, &kubernetes.secret_ref) {
            (Some(account), _) => Field::ServiceAccount(account, account.audiences.clone()),
            (None, Some(selector)) => Field::Secret(selector, "token"),
            (None, None) => {
                return Err(config(
                    "auth.kubernetes needs serviceAccountRef or secretRef: the controller lends its own identity to nobody",
                ));
            }
        };
        return Ok(Auth::Login {
            path: path(&kubernetes.mount_path, ""),
            fields: vec![("role", Field::Text(&kubernetes.role)), ("jwt", token)],
        });
    }
    if let Some(jwt) = &auth.jwt {
        let token = match (&jwt.secret_ref, &jwt.kubernetes_service_account_token) {
            (Some(selector), _) => Field::Secret(selector, "jwt"),
            (None, Some(token)) => {
                let account = &token.service_account_ref;
                let named = [&token.audiences, &account.audiences];
                let named = named.into_iter().find(|all| !all.is_empty());
                let audiences = named.cloned().unwrap_or_else(|| vec!["vault".to_owned()]);
                Field::ServiceAccount(account, audiences)
            }
            (None, None) => return Err(config("auth.jwt has no token")),
        };
        return Ok(Auth::Login {
            path: path(&jwt.path, ""),
            fields: vec![("role", Field::Text(&jwt.role)), ("jwt", token)],
        });
    }
    Err(not_served(&format!("vault auth {method}")))
}

fn methods(auth: &VaultAuth) -> impl Iterator<Item = &'static str> {
    let methods = [
        ("token", auth.token_secret_ref.is_some()),
        ("appRole", auth.app_role.is_some()),
        ("kubernetes", auth.kubernetes.is_some()),
        ("ldap", auth.ldap.is_some()),
        ("userPass", auth.user_pass.is_some()),
        ("jwt", auth.jwt.is_some()),
        ("cert", auth.cert.is_some()),
        ("iam", auth.iam.is_some()),
        ("gcp", auth.gcp.is_some()),
    ];
    methods
        .into_iter()
        .filter_map(|(method, is_set)| is_set.then_some(method))
}

/// The namespace whose identity a store of the cluster uses, if its references name none: that of
/// whoever uses it.
pub(super) fn referent(auth: &Auth<'_>, store: &StoreName, user: &str) -> Option<String> {
    let is_open = |field: &Field<'_>| match field {
        Field::Text(_) => false,
        Field::Secret(selector, _) => selector.namespace.is_empty(),
        Field::ServiceAccount(account, _) => account.namespace.is_empty(),
    };
    let is_referent = match auth {
        Auth::Token(selector) => selector.namespace.is_empty(),
        Auth::Login { fields, .. } => fields.iter().any(|(_, field)| is_open(field)),
    };
    (is_referent && store.kind == StoreKind::ClusterSecretStore).then(|| user.to_owned())
}

/// Reads what the store refers to, and logs in.
pub(super) async fn session(
    client: &Client,
    provider: &VaultProvider,
    auth: &Auth<'_>,
    store: &StoreName,
    user: &str,
) -> Result<Session, StoreError> {
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
    let token;
    let mut body = Object(json!({}));
    let login_namespace = provider.auth.as_ref().map_or("", |auth| &auth.namespace);
    let proof = match auth {
        Auth::Token(selector) => {
            token = secret_value(client, store, selector, "token", user).await?;
            Proof::Token(&token)
        }
        Auth::Login { path, fields } => {
            for (name, field) in fields {
                let text = field_value(client, store, field, user).await?;
                body.0[*name] = Value::from(text.as_str());
            }
            Proof::Login {
                path,
                body: &body.0,
                namespace: given(login_namespace),
            }
        }
    };
    let headers: Vec<(String, String)> = provider.headers.clone().into_iter().collect();
    let login = VaultLogin {
        server: &provider.server,
        ca: ca.as_deref(),
        namespace: given(&provider.namespace),
        headers: &headers,
        mount: given(&provider.path),
        is_v2: provider.version == VaultVersion::V2,
        proof,
    };
    Ok(Session::new(Vault::open(&login).await?))
}

/// An absent text is empty.
fn given(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

async fn field_value(
    client: &Client,
    store: &StoreName,
    field: &Field<'_>,
    user: &str,
) -> Result<Zeroizing<String>, StoreError> {
    match field {
        Field::Text(text) => Ok(Zeroizing::new((*text).to_owned())),
        Field::Secret(selector, key) => secret_value(client, store, selector, key, user).await,
        Field::ServiceAccount(account, audiences) => {
            let namespace = place(store, &account.namespace, user)?;
            service_account_token(client, namespace, &account.name, audiences).await
        }
    }
}

/// One value of a Secret that a store refers to.
async fn secret_value(
    client: &Client,
    store: &StoreName,
    selector: &SecretKeySelector,
    default_key: &str,
    user: &str,
) -> Result<Zeroizing<String>, StoreError> {
    let namespace = place(store, &selector.namespace, user)?;
    let key = if selector.key.is_empty() {
        default_key
    } else {
        &selector.key
    };
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
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
async fn service_account_token(
    client: &Client,
    namespace: &str,
    name: &str,
    audiences: &[String],
) -> Result<Zeroizing<String>, StoreError> {
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
    let answer = within(client.request::<Value>(request)).await;
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
    token.ok_or_else(|| StoreError::unavailable(format!("no token of the ServiceAccount {title}")))
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
    use sealkit_core::api::external::{SecretStoreRef, VaultAppRole};

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

    #[test]
    fn a_store_names_one_way_to_prove_who_asks() {
        let mut provider = VaultProvider::default();
        let what = |provider: &VaultProvider| auth(provider).err().map(|error| error.to_string());
        assert!(
            what(&provider)
                .unwrap()
                .contains("lends its own identity to nobody")
        );
        provider.auth = Some(VaultAuth::default());
        assert!(what(&provider).unwrap().contains("no method"));
        let named = provider.auth.as_mut().unwrap();
        named.token_secret_ref = Some(SecretKeySelector::default());
        assert_eq!(what(&provider), None);
        let named = provider.auth.as_mut().unwrap();
        named.app_role = Some(VaultAppRole {
            path: "approle".to_owned(),
            role_id: "r".to_owned(),
            role_ref: None,
            secret_ref: SecretKeySelector::default(),
        });
        assert!(what(&provider).unwrap().contains("two methods"));
        provider.auth.as_mut().unwrap().token_secret_ref = None;
        let chosen = auth(&provider).ok().unwrap();
        assert!(matches!(&chosen, Auth::Login { path, .. } if path == "auth/approle/login"));
        let all = store(StoreKind::ClusterSecretStore);
        assert_eq!(referent(&chosen, &all, "shop").as_deref(), Some("shop"));
        assert_eq!(
            referent(&chosen, &store(StoreKind::SecretStore), "shop"),
            None
        );
        provider.auth = Some(VaultAuth {
            iam: Some(json!({})),
            ..VaultAuth::default()
        });
        assert!(
            what(&provider)
                .unwrap()
                .contains("vault auth iam is not served")
        );
    }
}
