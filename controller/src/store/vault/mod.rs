//! `HashiCorp` Vault, and OpenBao, which speaks the same: KV engines of version 1 and 2.

mod answer;
mod check;
mod find;
mod path;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{RequestBuilder, Response, StatusCode, Url};
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::http::{Http, Tls, below, server};
use super::{Object, Read, StoreError};
use path::Engine;

/// Where a Vault is and what proves who asks.
pub struct VaultLogin<'a> {
    /// URL of the server.
    pub server: &'a str,
    /// Whose places large answers take: the namespace, or the store of the cluster.
    pub team: &'a str,
    /// Whom to trust, and as whom to be known, in TLS.
    pub tls: Tls<'a>,
    /// Namespace of an enterprise server, or of OpenBao.
    pub namespace: Option<&'a str>,
    /// More headers for every call.
    pub headers: &'a [(String, String)],
    /// Where the KV engine is mounted; if absent, keys begin with it.
    pub mount: Option<&'a str>,
    /// Is the KV engine of version 2?
    pub is_v2: bool,
    /// What a read sees that follows the login.
    pub consistency: Consistency,
    /// What proves who asks.
    pub proof: Proof<'a>,
}

/// Which state of a cluster of servers a read sees.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Consistency {
    /// That of the server that answers, which may not know the token yet.
    Eventual,
    /// One that has the login.
    AfterLogin,
    /// One that has the login: a server that does not have it asks the active one.
    Forwarded,
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
    http: Http,
    server: Url,
    engine: Engine,
    consistency: Consistency,
    token: Mutex<Token>,
}

struct Token {
    header: HeaderValue,
    /// The state of the servers that has it, if they told.
    state: Option<HeaderValue>,
    /// When it is renewed; `None` if it is not ours to renew.
    renew_at: Option<Instant>,
    renewable: bool,
}

impl Vault {
    /// Logs in, if that is how it is proved who asks. Errors: [`StoreError::Config`],
    /// [`StoreError::Denied`], [`StoreError::Unavailable`].
    pub async fn open(login: &VaultLogin<'_>) -> Result<Self, StoreError> {
        let config = |what: &str| StoreError::Config(what.to_owned());
        let server = server("provider.vault.server", login.server)?;
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
        if login.consistency == Consistency::Forwarded {
            let forward = HeaderValue::from_static("forward-active-node");
            headers.insert("x-vault-inconsistent", forward);
        }
        let http = Http::new("Vault", login.team, headers, login.tls)?;
        let token = match &login.proof {
            Proof::Token(token) => Token {
                header: token_header(token)?,
                state: None,
                renew_at: None,
                renewable: false,
            },
            Proof::Login {
                path,
                body,
                namespace,
            } => {
                let url = below(&server, ["v1"].into_iter().chain(path.split('/')));
                let mut call = http.post(url).body(body.to_string());
                if let Some(namespace) = namespace {
                    let namespace = HeaderValue::from_str(namespace)
                        .map_err(|_| config("provider.vault.auth.namespace is no namespace"))?;
                    call = call.header("x-vault-namespace", namespace);
                }
                issued(&http, call).await?
            }
        };
        Ok(Self {
            http,
            server,
            engine: Engine::new(login.mount, login.is_v2),
            consistency: login.consistency,
            token: Mutex::new(token),
        })
    }

    /// A `GET` with the token, which is renewed after two thirds of its life. Error:
    /// [`StoreError::Expired`].
    async fn get(&self, url: Url) -> Result<RequestBuilder, StoreError> {
        let mut token = self.token.lock().await;
        if token.renew_at.is_some_and(|at| at <= Instant::now()) {
            if !token.renewable {
                return Err(StoreError::Expired);
            }
            let url = below(&self.server, ["v1", "auth", "token", "renew-self"]);
            let call = self.http.post(url).header(TOKEN, token.header.clone());
            *token = match issued(&self.http, call).await {
                Err(error @ StoreError::Unavailable { .. }) => return Err(error),
                renewed => renewed.map_err(|_| StoreError::Expired)?,
            };
        }
        let mut call = self.http.get(url).header(TOKEN, token.header.clone());
        if let Some(state) = &token.state
            && self.consistency != Consistency::Eventual
        {
            call = call.header(STATE, state.clone());
        }
        Ok(call)
    }

    /// Does the server know the token no more? If it does, a refusal is a matter of policies.
    pub async fn is_refused(&self) -> bool {
        let header = self.token.lock().await.header.clone();
        let url = below(&self.server, ["v1", "auth", "token", "lookup-self"]);
        let answer = self.http.send(self.http.get(url).header(TOKEN, header));
        answer
            .await
            .is_ok_and(|answer| answer.status() == StatusCode::FORBIDDEN)
    }

    /// Reads from the engine.
    pub async fn read(&self, read: &Read) -> Result<Object, StoreError> {
        match read {
            Read::Secret { key, version } => self.secret(key, version.as_deref()).await,
            Read::Metadata { key } => self.metadata(key).await,
            Read::Find(find) => self.find(find).await,
        }
    }

    async fn secret(&self, key: &str, version: Option<&str>) -> Result<Object, StoreError> {
        let mut url = self.url(&self.engine.secret(key)?);
        if let Some(version) = version {
            url.query_pairs_mut().append_pair("version", version);
        }
        let body = self.body_for(key, url).await?;
        answer::secret(&body, key, self.engine.is_v2)
    }

    async fn metadata(&self, key: &str) -> Result<Object, StoreError> {
        if !self.engine.is_v2 {
            return Err(StoreError::Config(
                "metadataPolicy Fetch needs a KV engine of version 2: there is no metadata in version 1"
                    .to_owned(),
            ));
        }
        let url = self.url(&self.engine.metadata(key)?);
        let body = self.body_for(key, url).await?;
        answer::metadata(&body, key)
    }

    /// A URL of the engine.
    fn url(&self, path: &str) -> Url {
        below(&self.server, ["v1"].into_iter().chain(path.split('/')))
    }

    /// The body of a good answer. Errors: [`StoreError::Missing`], [`StoreError::Denied`] and those
    /// without a good answer.
    async fn body_for(&self, key: &str, url: Url) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        let answer = self.http.send(self.get(url).await?).await?;
        match answer.status() {
            StatusCode::OK => self.http.body(answer).await,
            StatusCode::NOT_FOUND => {
                let body = self.http.body(answer).await?;
                Err(answer::not_found(&body, key, self.engine.is_v2))
            }
            StatusCode::FORBIDDEN => Err(StoreError::Denied(format!(
                "Vault refuses to read {key:?} (403): the token or its policies"
            ))),
            _ => Err(self.http.failure(&format!("{key:?}"), &answer, &CODES)),
        }
    }
}

/// What each parser makes of a body.
pub(super) fn parsed(body: &[u8], key: &str) -> Vec<Result<Object, StoreError>> {
    let names = |names: Vec<String>| Object(names.into());
    vec![
        answer::secret(body, key, true),
        answer::secret(body, key, false),
        answer::metadata(body, key),
        answer::names(body, key).map(names),
        answer::issued(body).map(|_| Object(Value::Null)),
        Err(answer::not_found(body, key, true)),
    ]
}

const TOKEN: HeaderName = HeaderName::from_static("x-vault-token");
/// Which state of the servers an answer came from, or a request needs.
const STATE: HeaderName = HeaderName::from_static("x-vault-index");
/// Statuses that mean something of Vault's own.
const CODES: [(u16, &str); 3] = [
    (412, "does not have the state after the login yet"),
    (472, "is a standby of another region"),
    (503, "is sealed or in standby"),
];

fn token_header(token: &str) -> Result<HeaderValue, StoreError> {
    let mut header = HeaderValue::from_str(token)
        .map_err(|_| StoreError::Config("the token has characters that no token has".to_owned()))?;
    header.set_sensitive(true);
    Ok(header)
}

/// The token that a login or a renewal gives.
async fn issued(http: &Http, call: RequestBuilder) -> Result<Token, StoreError> {
    let answer = http.send(call).await?;
    let status = answer.status();
    if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS {
        let what = format!("Vault refuses the login ({})", status.as_u16());
        return Err(StoreError::Denied(what));
    }
    if !status.is_success() {
        return Err(http.failure("the login", &answer, &CODES));
    }
    let state = state_of(&answer);
    let issued = answer::issued(&http.body(answer).await?)?;
    Ok(Token {
        header: token_header(&issued.token)?,
        state,
        renew_at: (!issued.life.is_zero()).then(|| Instant::now() + issued.life * 2 / 3),
        renewable: issued.is_renewable,
    })
}

fn state_of(answer: &Response) -> Option<HeaderValue> {
    answer.headers().get(STATE).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn headers_do_not_say_who_asks() {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
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
                team: "shop",
                tls: Tls::default(),
                namespace: None,
                headers: &[(header.to_owned(), "x".to_owned())],
                mount: None,
                is_v2: true,
                consistency: Consistency::Eventual,
                proof: Proof::Token("t"),
            })
            .await;
            assert!(
                matches!(refused.err(), Some(StoreError::Config(_))),
                "{header:?}"
            );
        }
    }

    #[tokio::test]
    async fn each_part_of_a_path_is_encoded() {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let server = server("server", "https://vault.example:8200/base/").unwrap();
        let url = below(&server, "v1/secret/data/a b?c#d".split('/'));
        let expected = "https://vault.example:8200/base/v1/secret/data/a%20b%3Fc%23d";
        assert_eq!(url.as_str(), expected);
    }
}
