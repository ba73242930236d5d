//! Proving to an API server who asks, as `auth` or `authRef` says.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sealkit_core::api::external::{
    KubernetesAuth, KubernetesProvider, SecretKeySelector, ServiceAccountSelector,
};
use sealkit_core::{manifest, names};
use serde_json::Value;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::Credentials;
use super::credentials::TOKEN_SECONDS;
use crate::store::{Kubernetes, KubernetesLogin, Object, StoreError, Tls};

/// Names of the cluster's own API server, whose tokens are for it alone.
const OWN_SERVERS: [&str; 4] = [
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
];

/// How a store proves who asks.
pub(crate) enum Auth<'a> {
    Kubeconfig(&'a SecretKeySelector),
    Certificate {
        certificate: &'a SecretKeySelector,
        key: &'a SecretKeySelector,
    },
    Token(&'a SecretKeySelector),
    ServiceAccount(&'a ServiceAccountSelector),
}

/// The one way that the store names. Error: [`StoreError::Config`].
pub(super) fn auth(provider: &KubernetesProvider) -> Result<Auth<'_>, StoreError> {
    let config = |what: &str| StoreError::Config(what.to_owned());
    match (&provider.auth_ref, &provider.auth) {
        (Some(_), Some(_)) => Err(config("the store has both auth and authRef")),
        (Some(kubeconfig), None) => Ok(Auth::Kubeconfig(kubeconfig)),
        (None, None) => Err(config(
            "the store has no auth: the controller lends its own identity to nobody",
        )),
        (None, Some(KubernetesAuth::Cert(cert))) => match (&cert.client_cert, &cert.client_key) {
            (Some(certificate), Some(key)) => Ok(Auth::Certificate { certificate, key }),
            _ => Err(config("auth.cert needs clientCert and clientKey")),
        },
        (None, Some(KubernetesAuth::Token(token))) => {
            let token = token.bearer_token.as_ref();
            token
                .map(Auth::Token)
                .ok_or_else(|| config("auth.token needs bearerToken"))
        }
        (None, Some(KubernetesAuth::ServiceAccount(account))) => {
            if account.audiences.is_empty() && !is_own_server(&provider.server.url) {
                return Err(config(
                    "auth.serviceAccount needs audiences if server.url is not kubernetes.default: without any, the token would be good for this cluster",
                ));
            }
            Ok(Auth::ServiceAccount(account))
        }
    }
}

fn is_own_server(url: &str) -> bool {
    let host = url.strip_prefix("https://").unwrap_or(url);
    let host = host.strip_suffix('/').unwrap_or(host);
    let host = host.strip_suffix(":443").unwrap_or(host);
    OWN_SERVERS.contains(&host)
}

/// Does it use what is in the namespace of whoever uses the store?
pub(super) fn is_referent(provider: &KubernetesProvider, auth: &Auth<'_>) -> bool {
    let is_open_auth = match auth {
        Auth::Kubeconfig(selector) | Auth::Token(selector) => selector.namespace.is_empty(),
        Auth::Certificate { certificate, key } => {
            certificate.namespace.is_empty() || key.namespace.is_empty()
        }
        Auth::ServiceAccount(account) => account.namespace.is_empty(),
    };
    let ca = provider.server.ca_provider.as_ref();
    is_open_auth || ca.is_some_and(|ca| ca.namespace.is_empty())
}

/// Reads what the store refers to.
pub(super) async fn open(
    credentials: &Credentials<'_>,
    provider: &KubernetesProvider,
    auth: &Auth<'_>,
) -> Result<Kubernetes, StoreError> {
    let access = match auth {
        Auth::Kubeconfig(selector) => {
            let text = credentials.secret_value(selector, "kubeconfig").await?;
            kubeconfig(&text)?
        }
        Auth::Certificate { certificate, key } => Access {
            identity: Some(credentials.identity(certificate, key).await?),
            ..Access::of(credentials, provider).await?
        },
        Auth::Token(selector) => Access {
            token: Some(credentials.secret_value(selector, "token").await?),
            ..Access::of(credentials, provider).await?
        },
        Auth::ServiceAccount(account) => {
            let asked = Instant::now();
            let audiences = &account.audiences;
            let token = credentials.service_account_token(account, audiences);
            Access {
                token: Some(token.await?),
                renew_at: Some(asked + Duration::from_secs(TOKEN_SECONDS * 2 / 3)),
                ..Access::of(credentials, provider).await?
            }
        }
    };
    Kubernetes::open(&KubernetesLogin {
        server: &access.server,
        team: &credentials.team,
        tls: Tls {
            ca: access.ca.as_deref(),
            identity: access.identity.as_ref().map(|identity| identity.as_bytes()),
        },
        token: access.token.as_ref().map(|token| token.as_str()),
        renew_at: access.renew_at,
        namespace: &provider.remote_namespace,
    })
}

/// A server, and what proves to it who asks.
#[derive(Default)]
struct Access {
    server: String,
    ca: Option<Vec<u8>>,
    identity: Option<Zeroizing<String>>,
    token: Option<Zeroizing<String>>,
    renew_at: Option<Instant>,
}

impl Access {
    async fn of(
        credentials: &Credentials<'_>,
        provider: &KubernetesProvider,
    ) -> Result<Self, StoreError> {
        let server = &provider.server;
        let ca = credentials.ca(&server.ca_bundle, server.ca_provider.as_ref());
        Ok(Self {
            server: server.url.clone(),
            ca: ca.await?,
            ..Self::default()
        })
    }
}

/// What the current context of a kubeconfig says. Whatever would run a program, read a file of the
/// controller or trust any server is refused. Error: [`StoreError::Config`].
fn kubeconfig(text: &str) -> Result<Access, StoreError> {
    let config = |what: &str| StoreError::Config(format!("the store's kubeconfig {what}"));
    let kubeconfig = manifest::read_value(text).ok_or_else(|| config("is no YAML"))?;
    let kubeconfig = Object(kubeconfig);
    let named = |list: &str, kind: &str, name: &Value| {
        let list = kubeconfig.0[list].as_array().into_iter().flatten();
        let mut list = list.filter(|entry| entry["name"].is_string() && entry["name"] == *name);
        let found = list.next().map(|entry| &entry[kind]);
        found.ok_or_else(|| config(&format!("names no {kind} for its current-context")))
    };
    let context = named("contexts", "context", &kubeconfig.0["current-context"])?;
    let cluster = named("clusters", "cluster", &context["cluster"])?;
    let user = named("users", "user", &context["user"])?;
    let server = only(
        cluster,
        &["server", "certificate-authority-data"],
        &["disable-compression", "extensions"],
    )
    .map_err(|field| config(&format!("has {field}, which is not served by Sealkit")))?;
    let proof = only(
        user,
        &["token", "client-certificate-data", "client-key-data"],
        &["extensions"],
    )
    .map_err(|field| config(&format!("has {field}, which is not served by Sealkit")))?;
    let &[server, ca] = server.as_slice() else {
        return Err(config("has no cluster"));
    };
    let &[token, certificate, key] = proof.as_slice() else {
        return Err(config("has no user"));
    };
    let ca = decoded(ca, "certificate-authority-data")?;
    let identity = identity(certificate, key)?;
    if identity.is_none() && token.is_none() {
        return Err(config("has neither a token nor a client certificate"));
    }
    let server = server.ok_or_else(|| config("has no server"))?;
    Ok(Access {
        server: server.to_owned(),
        ca,
        identity,
        token: token.map(|token| Zeroizing::new(token.trim().to_owned())),
        renew_at: None,
    })
}

/// A client certificate and its private key, one after the other.
fn identity(
    certificate: Option<&str>,
    key: Option<&str>,
) -> Result<Option<Zeroizing<String>>, StoreError> {
    let text = |pem: Vec<u8>| {
        let pem = Zeroizing::new(pem);
        Zeroizing::new(String::from_utf8_lossy(&pem).into_owned())
    };
    let certificate = decoded(certificate, "client-certificate-data")?.map(text);
    let key = decoded(key, "client-key-data")?.map(text);
    match (certificate, key) {
        (Some(certificate), Some(key)) => Ok(Some(Zeroizing::new(format!(
            "{}\n{}\n",
            *certificate, *key
        )))),
        (None, None) => Ok(None),
        _ => Err(StoreError::Config(
            "the store's kubeconfig has a client certificate without its key, or a key alone"
                .to_owned(),
        )),
    }
}

fn decoded(data: Option<&str>, what: &str) -> Result<Option<Vec<u8>>, StoreError> {
    let data = data.map(|text| BASE64_STANDARD.decode(text.trim()));
    data.transpose().map_err(|_| {
        StoreError::Config(format!(
            "the store's kubeconfig has a {what} that is no Base64"
        ))
    })
}

/// The texts of these fields, if there are no others but those without effect. Error: the name of
/// another one.
fn only<'a>(
    object: &'a Value,
    fields: &[&str],
    ignored: &[&str],
) -> Result<Vec<Option<&'a str>>, String> {
    for (field, value) in object.as_object().into_iter().flatten() {
        let is_known = fields.contains(&field.as_str()) || ignored.contains(&field.as_str());
        if !is_known && !value.is_null() && *value != Value::Bool(false) {
            return Err(names::printable(field));
        }
    }
    let text = |field: &&str| object[*field].as_str().filter(|text| !text.is_empty());
    Ok(fields.iter().map(text).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config_with(cluster: &Value, user: &Value) -> String {
        json!({
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
            "clusters": [{"name": "k", "cluster": cluster}],
            "users": [{"name": "u", "user": user}],
        })
        .to_string()
    }

    #[test]
    fn a_kubeconfig_gives_a_server_and_a_token() {
        let text = config_with(
            &json!({"server": "https://a", "certificate-authority-data": "UEVN"}),
            &json!({"token": "t"}),
        );
        let access = kubeconfig(&text).ok().unwrap();
        assert_eq!(access.server, "https://a");
        assert_eq!(access.ca, Some(b"PEM".to_vec()));
        assert_eq!(access.token.as_deref().map(String::as_str), Some("t"));
    }

    #[test]
    fn a_kubeconfig_runs_nothing_reads_no_file_and_trusts_nobody() {
        let (server, token) = (json!({"server": "https://a"}), json!({"token": "t"}));
        let rows = [
            (server.clone(), json!({"exec": {"command": "sh"}}), "exec"),
            (
                server.clone(),
                json!({"auth-provider": {"name": "gcp"}}),
                "auth-provider",
            ),
            (
                server.clone(),
                json!({"tokenFile": "/var/run/token"}),
                "tokenFile",
            ),
            (
                server.clone(),
                json!({"client-key": "/key", "token": "t"}),
                "client-key",
            ),
            (server.clone(), json!({"as": "admin", "token": "t"}), "as"),
            (server.clone(), json!({}), "neither a token"),
            (
                json!({"server": "https://a", "insecure-skip-tls-verify": true}),
                token.clone(),
                "insecure",
            ),
            (
                json!({"server": "https://a", "proxy-url": "http://p"}),
                token.clone(),
                "proxy-url",
            ),
            (
                json!({"server": "https://a", "certificate-authority": "/ca"}),
                token.clone(),
                "certificate-authority",
            ),
            (json!({}), token.clone(), "no server"),
        ];
        for (cluster, user, says) in rows {
            let error = kubeconfig(&config_with(&cluster, &user)).err().unwrap();
            assert!(matches!(&error, StoreError::Config(_)), "{error}");
            assert!(error.to_string().contains(says), "{says}: {error}");
        }
        for text in [
            "",
            "a: [",
            "[]",
            "current-context: c",
            "contexts: [{name: null}]",
        ] {
            assert!(kubeconfig(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_token_without_audience_goes_to_the_own_server_only() {
        let account = |url: &str, audiences: &[&str]| {
            let mut provider = KubernetesProvider::default();
            url.clone_into(&mut provider.server.url);
            provider.auth = Some(KubernetesAuth::ServiceAccount(ServiceAccountSelector {
                name: "app".to_owned(),
                audiences: audiences
                    .iter()
                    .map(|&audience| audience.to_owned())
                    .collect(),
                ..ServiceAccountSelector::default()
            }));
            auth(&provider).err().map(|error| error.to_string())
        };
        assert_eq!(account("kubernetes.default", &[]), None);
        assert_eq!(account("https://kubernetes.default.svc:443/", &[]), None);
        assert_eq!(account("https://other.example", &["other"]), None);
        for url in [
            "https://other.example",
            "kubernetes.default.evil.example",
            "http://kubernetes.default",
        ] {
            assert!(
                account(url, &[]).is_some_and(|error| error.contains("audiences")),
                "{url}"
            );
        }
        let without = auth(&KubernetesProvider::default()).err().unwrap();
        assert!(without.to_string().contains("own identity to nobody"));
    }
}
