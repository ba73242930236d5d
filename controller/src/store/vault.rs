//! `HashiCorp` Vault, and OpenBao, which speaks the same: KV engines of version 1 and 2.
//!
//! Redirects are never followed, since they would carry the token to another host. Answers are
//! bounded in size and time. Errors name keys and HTTP statuses, and quote nothing of an answer.

use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Certificate, Client, RequestBuilder, Response, StatusCode, Url, redirect};
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::{Object, Read, StoreError};

const CONNECT: Duration = Duration::from_secs(5);
/// The longest time that a call may take.
const CALL: Duration = Duration::from_secs(20);
/// Bytes of an answer: a Secret holds 1 MiB, and JSON may escape each of them.
const ANSWER: usize = 8 * 1024 * 1024;

/// Where a Vault is and what proves who asks.
pub struct VaultLogin<'a> {
    /// URL of the server.
    pub server: &'a str,
    /// Certificates in PEM that its own must come from; those of the system if absent.
    pub ca: Option<&'a [u8]>,
    /// Namespace of an enterprise server, or of OpenBao.
    pub namespace: Option<&'a str>,
    /// More headers for every call.
    pub headers: &'a [(String, String)],
    /// Where the KV engine is mounted; if absent, keys begin with it.
    pub mount: Option<&'a str>,
    /// Is the KV engine of version 2?
    pub is_v2: bool,
    /// What proves who asks.
    pub proof: Proof<'a>,
}

/// What proves who asks.
pub enum Proof<'a> {
    /// A token.
    Token(&'a str),
    /// A login, which gives one.
    Login {
        /// Below `v1/`, such as `auth/approle/login`.
        path: &'a str,
        /// The JSON to send.
        body: &'a Value,
        /// The namespace to log in to, if it is another one.
        namespace: Option<&'a str>,
    },
}

/// A KV engine under one token. No Debug.
pub struct Vault {
    http: Client,
    server: Url,
    mount: Option<String>,
    is_v2: bool,
    token: Mutex<Token>,
}

struct Token {
    header: HeaderValue,
    /// When it is renewed; `None` if it is not ours to renew.
    renew_at: Option<Instant>,
    renewable: bool,
}

impl Vault {
    /// Logs in, if that is how it is proved who asks. Errors: [`StoreError::Config`],
    /// [`StoreError::Denied`], [`StoreError::Unavailable`].
    pub async fn open(login: &VaultLogin<'_>) -> Result<Self, StoreError> {
        let config = |what: &str| StoreError::Config(what.to_owned());
        let server: Url = login
            .server
            .parse()
            .map_err(|_| config("provider.vault.server is no URL"))?;
        if !matches!(server.scheme(), "http" | "https") || server.cannot_be_a_base() {
            return Err(config(
                "provider.vault.server must begin with http:// or https://",
            ));
        }
        let mut headers = HeaderMap::new();
        for (name, value) in login.headers {
            let name: HeaderName = name
                .parse()
                .map_err(|_| config("provider.vault.headers has a name that is none"))?;
            // Who asks is a matter of `auth` and `namespace` alone.
            if name.as_str().starts_with("x-vault-") || name == "host" || name == "authorization" {
                return Err(config(
                    "provider.vault.headers sets a header of Vault's own",
                ));
            }
            let value = HeaderValue::from_str(value)
                .map_err(|_| config("provider.vault.headers has a value that is none"))?;
            headers.insert(name, value);
        }
        headers.insert("x-vault-request", HeaderValue::from_static("true"));
        if let Some(namespace) = login.namespace {
            let namespace = HeaderValue::from_str(namespace)
                .map_err(|_| config("provider.vault.namespace is no namespace"))?;
            headers.insert("x-vault-namespace", namespace);
        }
        let mut client = Client::builder()
            .default_headers(headers)
            .redirect(redirect::Policy::none())
            .connect_timeout(CONNECT)
            .timeout(CALL);
        if let Some(pem) = login.ca {
            let certificates = Certificate::from_pem_bundle(pem)
                .ok()
                .filter(|all| !all.is_empty())
                .ok_or_else(|| config("provider.vault has a CA that is no certificate in PEM"))?;
            client = client.tls_certs_only(certificates);
        }
        let http = client
            .build()
            .map_err(|_| config("provider.vault makes no HTTP client"))?;
        let token = match &login.proof {
            Proof::Token(token) => Token {
                header: token_header(token)?,
                renew_at: None,
                renewable: false,
            },
            Proof::Login {
                path,
                body,
                namespace,
            } => {
                let url = below(&server, path.split('/'))?;
                let mut call = http.post(url).body(body.to_string());
                if let Some(namespace) = namespace {
                    let namespace = HeaderValue::from_str(namespace)
                        .map_err(|_| config("provider.vault.auth.namespace is no namespace"))?;
                    call = call.header("x-vault-namespace", namespace);
                }
                issued(call).await?
            }
        };
        Ok(Self {
            http,
            server,
            mount: login.mount.map(|mount| mount.trim_matches('/').to_owned()),
            is_v2: login.is_v2,
            token: Mutex::new(token),
        })
    }

    /// The token, renewed after two thirds of its life. Error: [`StoreError::Expired`].
    async fn token(&self) -> Result<HeaderValue, StoreError> {
        let mut token = self.token.lock().await;
        if token.renew_at.is_some_and(|at| at <= Instant::now()) {
            if !token.renewable {
                return Err(StoreError::Expired);
            }
            let url = below(&self.server, ["auth", "token", "renew-self"])?;
            let call = self.http.post(url).header(TOKEN, token.header.clone());
            *token = match issued(call).await {
                Err(error @ StoreError::Unavailable { .. }) => return Err(error),
                renewed => renewed.map_err(|_| StoreError::Expired)?,
            };
        }
        Ok(token.header.clone())
    }

    /// Does the server know the token no more? If it does, a refusal is a matter of policies.
    pub async fn is_refused(&self) -> bool {
        let header = self.token.lock().await.header.clone();
        let Ok(url) = below(&self.server, ["auth", "token", "lookup-self"]) else {
            return false;
        };
        let answer = self.http.get(url).header(TOKEN, header).send().await;
        answer.is_ok_and(|answer| answer.status() == StatusCode::FORBIDDEN)
    }

    /// Reads from the engine.
    pub async fn read(&self, read: &Read) -> Result<Object, StoreError> {
        match read {
            Read::Secret { key, version } => self.secret(key, version.as_deref()).await,
            Read::Metadata { .. } | Read::Find(_) => Err(StoreError::Config(
                "metadataPolicy and find are not served by Sealkit in vault".to_owned(),
            )),
        }
    }

    async fn secret(&self, key: &str, version: Option<&str>) -> Result<Object, StoreError> {
        let mut url = self.url(key)?;
        if let Some(version) = version {
            url.query_pairs_mut().append_pair("version", version);
        }
        let token = self.token().await?;
        let answer = sent(self.http.get(url).header(TOKEN, token)).await?;
        match answer.status() {
            StatusCode::OK => {}
            // Deleted versions too: their data is null.
            StatusCode::NOT_FOUND => {
                return Err(StoreError::Missing(format!("Vault has no secret {key:?}")));
            }
            StatusCode::FORBIDDEN => {
                let what =
                    format!("Vault refuses to read {key:?} (403): the token or its policies");
                return Err(StoreError::Denied(what));
            }
            status => return Err(failure(key, status, &answer)),
        }
        let body = body(answer).await?;
        let no_secret =
            |what: &str| StoreError::Answer(format!("Vault's answer for {key:?} {what}"));
        let mut answer: Value =
            serde_json::from_slice(&body).map_err(|_| no_secret("is no JSON"))?;
        let data = answer.get_mut("data").map(Value::take);
        let data = Object(data.unwrap_or_default());
        let _rest = Object(answer);
        if !self.is_v2 {
            return present(data, key);
        }
        let mut versioned = data;
        let Some(inner) = versioned.0.get_mut("data") else {
            return Err(no_secret("has no data: is the engine of version 1?"));
        };
        present(Object(inner.take()), key)
    }

    /// The URL of a key, by the rules that External Secrets has for `path` and `data/`. A key is one
    /// path below the mount: it cannot leave it, whatever characters it has.
    fn url(&self, key: &str) -> Result<Url, StoreError> {
        let path = self.path(key);
        let segments: Vec<&str> = path.split('/').collect();
        let is_bad = |segment: &&str| {
            segment.is_empty()
                || matches!(*segment, "." | "..")
                || segment.contains(|c: char| c.is_control() || c == '%' || c == '\\')
        };
        if segments.len() < 2 || segments.iter().any(is_bad) {
            let what = format!("{key:?} is no key: it needs a path without empty parts, . and ..");
            return Err(StoreError::Missing(what));
        }
        below(&self.server, segments)
    }

    fn path(&self, key: &str) -> String {
        let key = key.trim_matches('/');
        let Some(mount) = &self.mount else {
            if !self.is_v2 || key.contains("/data/") {
                return key.to_owned();
            }
            return match key.split_once('/') {
                Some((mount, rest)) => format!("{mount}/data/{rest}"),
                None => key.to_owned(),
            };
        };
        let below = key.strip_prefix(mount.as_str());
        let key = below.and_then(|rest| rest.strip_prefix('/')).unwrap_or(key);
        if self.is_v2 {
            let key = key.strip_prefix("data/").unwrap_or(key);
            format!("{mount}/data/{key}")
        } else {
            format!("{mount}/{key}")
        }
    }
}

const TOKEN: HeaderName = HeaderName::from_static("x-vault-token");

fn token_header(token: &str) -> Result<HeaderValue, StoreError> {
    let mut header = HeaderValue::from_str(token)
        .map_err(|_| StoreError::Config("the token has characters that no token has".to_owned()))?;
    header.set_sensitive(true);
    Ok(header)
}

/// A URL below `v1/`. Each segment is encoded.
fn below<'a>(server: &Url, segments: impl IntoIterator<Item = &'a str>) -> Result<Url, StoreError> {
    let mut url = server.clone();
    match url.path_segments_mut() {
        Ok(mut path) => path.pop_if_empty().push("v1").extend(segments),
        Err(()) => return Err(StoreError::Config("provider.vault.server".to_owned())),
    };
    Ok(url)
}

async fn sent(call: RequestBuilder) -> Result<Response, StoreError> {
    call.send().await.map_err(|error| {
        StoreError::unavailable(if error.is_timeout() {
            "Vault did not answer in time"
        } else {
            "Vault cannot be reached, or its certificate is not trusted"
        })
    })
}

/// The token that a login or a renewal gives.
async fn issued(call: RequestBuilder) -> Result<Token, StoreError> {
    let answer = sent(call).await?;
    let status = answer.status();
    if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
        return Err(failure("the login", status, &answer));
    }
    if !status.is_success() {
        let what = format!("Vault refuses the login ({})", status.as_u16());
        return Err(StoreError::Denied(what));
    }
    let body = body(answer).await?;
    let mut answer = Object(serde_json::from_slice(&body).unwrap_or_default());
    let auth = &mut answer.0["auth"];
    let token = auth["client_token"].as_str().map(token_header);
    let no_token = || StoreError::Answer("Vault's answer to the login has no token".to_owned());
    let life = Duration::from_secs(auth["lease_duration"].as_u64().unwrap_or_default());
    Ok(Token {
        header: token.ok_or_else(no_token)??,
        renew_at: (!life.is_zero()).then(|| Instant::now() + life * 2 / 3),
        renewable: auth["renewable"] == true,
    })
}

fn present(data: Object, key: &str) -> Result<Object, StoreError> {
    if data.0.is_null() {
        return Err(StoreError::Missing(format!("Vault has no secret {key:?}")));
    }
    Ok(data)
}

fn failure(key: &str, status: StatusCode, answer: &Response) -> StoreError {
    let code = status.as_u16();
    if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() {
        let retry_after = answer.headers().get(RETRY_AFTER);
        let seconds = retry_after.and_then(|value| value.to_str().ok()?.parse().ok());
        let what = match code {
            503 => "Vault is sealed or in standby (503)".to_owned(),
            429 => "Vault limits requests (429)".to_owned(),
            code => format!("Vault failed ({code})"),
        };
        return StoreError::Unavailable {
            what,
            retry_after: seconds.map(Duration::from_secs),
        };
    }
    StoreError::Answer(format!("Vault answered {code} for {key:?}"))
}

/// The body, within its bounds.
async fn body(mut answer: Response) -> Result<Zeroizing<Vec<u8>>, StoreError> {
    let mut body = Zeroizing::new(Vec::new());
    loop {
        let chunk = answer.chunk().await;
        let chunk = chunk.map_err(|_| StoreError::unavailable("Vault's answer broke off"))?;
        let Some(chunk) = chunk else {
            return Ok(body);
        };
        if body.len() + chunk.len() > ANSWER {
            return Err(StoreError::Answer("Vault's answer is too large".to_owned()));
        }
        body.extend_from_slice(&chunk);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn vault(mount: Option<&str>, is_v2: bool) -> Vault {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        Vault::open(&VaultLogin {
            server: "https://vault.example:8200/base/",
            ca: None,
            namespace: None,
            headers: &[],
            mount,
            is_v2,
            proof: Proof::Token("t"),
        })
        .await
        .unwrap()
    }

    #[tokio::test]
    async fn keys_become_paths_as_external_secrets_makes_them() {
        let rows = [
            (Some("secret"), true, "db", "secret/data/db"),
            (Some("secret"), true, "secret/db", "secret/data/db"),
            (Some("secret"), true, "secret/data/db", "secret/data/db"),
            (Some("secret"), true, "data/db", "secret/data/db"),
            (Some("/a/b/"), true, "/team/db/", "a/b/data/team/db"),
            (Some("secret"), true, "secrets/db", "secret/data/secrets/db"),
            (Some("secret"), false, "secret/db", "secret/db"),
            (Some("secret"), false, "data/db", "secret/data/db"),
            (None, true, "secret/team/db", "secret/data/team/db"),
            (None, true, "secret/data/team/db", "secret/data/team/db"),
            (None, false, "kv/team/db", "kv/team/db"),
            (Some("secret"), true, "a b?c#d", "secret/data/a%20b%3Fc%23d"),
        ];
        for (mount, is_v2, key, path) in rows {
            let url = vault(mount, is_v2).await.url(key).unwrap();
            let expected = format!("https://vault.example:8200/base/v1/{path}");
            assert_eq!(url.as_str(), expected, "{mount:?} {is_v2} {key}");
        }
    }

    #[tokio::test]
    async fn no_key_leaves_its_mount() {
        let vault = vault(Some("secret"), true).await;
        for key in [
            "../sys/seal",
            "a/../b",
            "a//b",
            ".",
            "",
            "a/%2e%2e/b",
            "a/\\..",
            "a\nb",
            "a/",
        ] {
            let refused = vault.url(key);
            assert!(refused.is_err() || key == "a/", "{key:?}: {refused:?}");
        }
    }

    #[tokio::test]
    async fn headers_do_not_say_who_asks() {
        for header in [
            "X-Vault-Token",
            "x-vault-namespace",
            "Authorization",
            "Host",
            "a b",
            "a\r\nb",
        ] {
            let refused = Vault::open(&VaultLogin {
                server: "https://vault.example",
                ca: None,
                namespace: None,
                headers: &[(header.to_owned(), "x".to_owned())],
                mount: None,
                is_v2: true,
                proof: Proof::Token("t"),
            })
            .await;
            assert!(
                matches!(refused.err(), Some(StoreError::Config(_))),
                "{header:?}"
            );
        }
    }
}
