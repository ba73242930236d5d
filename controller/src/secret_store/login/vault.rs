//! Logging in to Vault, as `auth` says.

use sealkit_core::api::external::{
    SecretKeySelector, ServiceAccountSelector, VaultAppRole, VaultAuth, VaultCertAuth,
    VaultJwtAuth, VaultKubernetesAuth, VaultProvider, VaultUserPassAuth, VaultVersion,
};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::Credentials;
use super::not_served;
use crate::store::{Consistency, Object, Proof, StoreError, Tls, Vault, VaultLogin};

/// How a store proves who asks.
pub(crate) enum Auth<'a> {
    Token(&'a SecretKeySelector),
    /// A login with the client certificate of TLS, and its private key.
    Certificate {
        path: String,
        role: &'a str,
        certificate: &'a SecretKeySelector,
        key: &'a SecretKeySelector,
    },
    /// A login below `auth/`, with fields of its body.
    Login {
        path: String,
        fields: Vec<(&'static str, Field<'a>)>,
    },
}

/// A field of a login.
pub(crate) enum Field<'a> {
    Text(&'a str),
    /// A key of a Secret, and the key if it names none.
    Secret(&'a SecretKeySelector, &'static str),
    /// A token of a ServiceAccount for these audiences.
    ServiceAccount(&'a ServiceAccountSelector, Vec<String>),
}

/// The one way that `auth` names. Error: [`StoreError::Config`].
pub(super) fn auth(provider: &VaultProvider) -> Result<Auth<'_>, StoreError> {
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
    if let Some(selector) = &auth.token_secret_ref {
        Ok(Auth::Token(selector))
    } else if let Some(role) = &auth.app_role {
        Ok(app_role(role))
    } else if let Some(user) = &auth.user_pass {
        user_pass(user)
    } else if let Some(kubernetes) = &auth.kubernetes {
        service_account(kubernetes)
    } else if let Some(jwt) = &auth.jwt {
        json_web_token(jwt)
    } else if let Some(cert) = &auth.cert {
        certificate(cert)
    } else {
        Err(not_served(&format!("vault auth {method}")))
    }
}

fn config(what: &str) -> StoreError {
    StoreError::Config(what.to_owned())
}

/// The path of a login at a mount.
fn path(mount: &str, rest: &str) -> String {
    format!("auth/{}/login{rest}", mount.trim_matches('/'))
}

fn app_role(role: &VaultAppRole) -> Auth<'_> {
    let id = match &role.role_ref {
        Some(selector) => Field::Secret(selector, "role-id"),
        None => Field::Text(&role.role_id),
    };
    Auth::Login {
        path: path(&role.path, ""),
        fields: vec![
            ("role_id", id),
            ("secret_id", Field::Secret(&role.secret_ref, "secret-id")),
        ],
    }
}

fn user_pass(user: &VaultUserPassAuth) -> Result<Auth<'_>, StoreError> {
    let selector = user.secret_ref.as_ref();
    let selector = selector.ok_or_else(|| config("auth.userPass has no secretRef"))?;
    Ok(Auth::Login {
        path: path(&user.path, &format!("/{}", user.username)),
        fields: vec![("password", Field::Secret(selector, "password"))],
    })
}

fn service_account(kubernetes: &VaultKubernetesAuth) -> Result<Auth<'_>, StoreError> {
    let token = match (&kubernetes.service_account_ref, &kubernetes.secret_ref) {
        (Some(account), _) => Field::ServiceAccount(account, account.audiences.clone()),
        (None, Some(selector)) => Field::Secret(selector, "token"),
        (None, None) => {
            return Err(config(
                "auth.kubernetes needs serviceAccountRef or secretRef: the controller lends its own identity to nobody",
            ));
        }
    };
    Ok(Auth::Login {
        path: path(&kubernetes.mount_path, ""),
        fields: vec![("role", Field::Text(&kubernetes.role)), ("jwt", token)],
    })
}

fn json_web_token(jwt: &VaultJwtAuth) -> Result<Auth<'_>, StoreError> {
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
    Ok(Auth::Login {
        path: path(&jwt.path, ""),
        fields: vec![("role", Field::Text(&jwt.role)), ("jwt", token)],
    })
}

fn certificate(cert: &VaultCertAuth) -> Result<Auth<'_>, StoreError> {
    let (Some(certificate), Some(key)) = (&cert.client_cert, &cert.secret_ref) else {
        return Err(config("auth.cert needs clientCert and secretRef"));
    };
    Ok(Auth::Certificate {
        path: path(&cert.path, ""),
        role: &cert.vault_role,
        certificate,
        key,
    })
}

/// The methods that are named, in words.
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

/// Does it use what is in the namespace of whoever uses the store?
pub(super) fn is_referent(provider: &VaultProvider, auth: &Auth<'_>) -> bool {
    let is_open = |field: &Field<'_>| match field {
        Field::Text(_) => false,
        Field::Secret(selector, _) => selector.namespace.is_empty(),
        Field::ServiceAccount(account, _) => account.namespace.is_empty(),
    };
    let tls = [&provider.tls.cert_secret_ref, &provider.tls.key_secret_ref];
    let mut tls = tls.into_iter().flatten();
    let ca = provider.ca_provider.as_ref();
    let is_open_auth = match auth {
        Auth::Token(selector) => selector.namespace.is_empty(),
        Auth::Certificate {
            certificate, key, ..
        } => certificate.namespace.is_empty() || key.namespace.is_empty(),
        Auth::Login { fields, .. } => fields.iter().any(|(_, field)| is_open(field)),
    };
    is_open_auth
        || tls.any(|selector| selector.namespace.is_empty())
        || ca.is_some_and(|ca| ca.namespace.is_empty())
}

/// Reads what the store refers to, and logs in.
pub(super) async fn open(
    credentials: &Credentials<'_>,
    provider: &VaultProvider,
    auth: &Auth<'_>,
) -> Result<Vault, StoreError> {
    let ca = provider.ca_provider.as_ref();
    let ca = credentials.ca(&provider.ca_bundle, ca).await?;
    let identity = identity(credentials, provider, auth).await?;
    let token;
    let mut body = Object(json!({}));
    let login_namespace = provider.auth.as_ref().map_or("", |auth| &auth.namespace);
    let proof = match auth {
        Auth::Token(selector) => {
            token = credentials.secret_value(selector, "token").await?;
            Proof::Token(&token)
        }
        Auth::Certificate { path, role, .. } => {
            if !role.is_empty() {
                body.0["name"] = Value::from(*role);
            }
            Proof::Login {
                path,
                body: &body.0,
                namespace: given(login_namespace),
            }
        }
        Auth::Login { path, fields } => {
            for (name, field) in fields {
                let text = field_value(credentials, field).await?;
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
        team: &credentials.team,
        tls: Tls {
            ca: ca.as_deref(),
            identity: identity.as_ref().map(|identity| identity.as_bytes()),
        },
        namespace: given(&provider.namespace),
        headers: &headers,
        mount: given(&provider.path),
        is_v2: provider.version == VaultVersion::V2,
        consistency: consistency(provider),
        proof,
    };
    Vault::open(&login).await
}

/// The client certificate for TLS: that of the login, or else that of `tls`.
async fn identity(
    credentials: &Credentials<'_>,
    provider: &VaultProvider,
    auth: &Auth<'_>,
) -> Result<Option<Zeroizing<String>>, StoreError> {
    let tls = &provider.tls;
    let (certificate, key) = match (auth, &tls.cert_secret_ref, &tls.key_secret_ref) {
        (
            Auth::Certificate {
                certificate, key, ..
            },
            ..,
        ) => (*certificate, *key),
        (_, Some(certificate), Some(key)) => (certificate, key),
        (_, None, None) => return Ok(None),
        _ => {
            return Err(StoreError::Config(
                "vault.tls needs both certSecretRef and keySecretRef".to_owned(),
            ));
        }
    };
    credentials.identity(certificate, key).await.map(Some)
}

/// As External Secrets reads the two fields.
fn consistency(provider: &VaultProvider) -> Consistency {
    match (provider.read_your_writes, provider.forward_inconsistent) {
        (true, true) => Consistency::Forwarded,
        (false, false) => Consistency::Eventual,
        _ => Consistency::AfterLogin,
    }
}

/// An absent text is empty.
fn given(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

async fn field_value(
    credentials: &Credentials<'_>,
    field: &Field<'_>,
) -> Result<Zeroizing<String>, StoreError> {
    match field {
        Field::Text(text) => Ok(Zeroizing::new((*text).to_owned())),
        Field::Secret(selector, key) => credentials.secret_value(selector, key).await,
        Field::ServiceAccount(account, audiences) => {
            credentials.service_account_token(account, audiences).await
        }
    }
}

#[cfg(test)]
mod tests {
    use sealkit_core::api::external::VaultAppRole;

    use super::*;

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
        assert!(is_referent(&provider, &chosen));
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
