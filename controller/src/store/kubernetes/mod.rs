//! Secrets of this or another cluster, in one namespace, under one identity.

mod answer;

use std::sync::atomic::{AtomicBool, Ordering};

use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{StatusCode, Url};
use sealkit_core::api::METADATA_ONLY;
use sealkit_core::names;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::find::{NAMES, pattern, read_all, too_large, within_time};
use super::http::{Http, Tls, below, server};
use super::{Find, Object, Read, StoreError};

/// Names in one page of a list.
const PAGE: &str = "500";

/// Where an API server is and what proves who asks: a client certificate in `tls`, or a token.
pub struct KubernetesLogin<'a> {
    /// URL of the server, whose scheme can be left out.
    pub server: &'a str,
    /// Whose places large answers take: the namespace, or the store of the cluster.
    pub team: &'a str,
    /// Whom to trust, and as whom to be known, in TLS.
    pub tls: Tls<'a>,
    /// A bearer token.
    pub token: Option<&'a str>,
    /// When another token is needed; `None` if this one is not ours to replace.
    pub renew_at: Option<Instant>,
    /// The namespace whose Secrets are read.
    pub namespace: &'a str,
}

/// The Secrets of a namespace under one identity. No Debug.
pub struct Kubernetes {
    http: Http,
    server: Url,
    namespace: String,
    renew_at: Option<Instant>,
    /// Did the server refuse the identity the last time?
    is_refused: AtomicBool,
}

impl Kubernetes {
    /// Asks nothing of the server yet. Error: [`StoreError::Config`].
    pub fn open(login: &KubernetesLogin<'_>) -> Result<Self, StoreError> {
        let config = |what: &str| StoreError::Config(what.to_owned());
        let url = if login.server.contains("://") {
            login.server.to_owned()
        } else {
            format!("https://{}", login.server)
        };
        let server = server("provider.kubernetes.server.url", &url)?;
        if !names::is_dns_label(login.namespace) {
            return Err(config(
                "provider.kubernetes.remoteNamespace is no namespace",
            ));
        }
        let mut headers = HeaderMap::new();
        if let Some(token) = login.token {
            let bearer = Zeroizing::new(format!("Bearer {token}"));
            let mut bearer = HeaderValue::from_str(&bearer)
                .map_err(|_| config("the token has characters that no token has"))?;
            bearer.set_sensitive(true);
            headers.insert(AUTHORIZATION, bearer);
        }
        Ok(Self {
            http: Http::new("the API server", login.team, headers, login.tls)?,
            server,
            namespace: login.namespace.to_owned(),
            renew_at: login.renew_at,
            is_refused: AtomicBool::new(false),
        })
    }

    /// Does the server refuse the identity itself, and not only a Secret?
    pub fn is_refused(&self) -> bool {
        self.is_refused.load(Ordering::Relaxed)
    }

    /// Does the server answer, and know the identity?
    pub async fn check(&self) -> Result<(), StoreError> {
        let url = below(&self.server, ["version"]);
        self.body_for("the server", url, "application/json").await?;
        Ok(())
    }

    /// Reads Secrets.
    pub async fn read(&self, read: &Read) -> Result<Object, StoreError> {
        match read {
            Read::Secret { key, version } => {
                if version.is_some() {
                    return Err(StoreError::NoProperty(format!(
                        "{key:?} has no versions: a Secret of Kubernetes has none"
                    )));
                }
                self.secret(key).await
            }
            Read::Metadata { key } => {
                let url = self.url(Some(key))?;
                let body = self.body_for(key, url, METADATA_ONLY).await?;
                answer::metadata(&body, key)
            }
            Read::Find(find) => within_time(self.find(find)).await,
        }
    }

    async fn secret(&self, name: &str) -> Result<Object, StoreError> {
        let url = self.url(Some(name))?;
        let body = self.body_for(name, url, "application/json").await?;
        answer::secret(&body, name)
    }

    /// All Secrets with these labels, or those with such a name.
    async fn find(&self, find: &Find) -> Result<Object, StoreError> {
        if !find.path.is_empty() {
            return Err(StoreError::Config(
                "find.path is not served by provider kubernetes: remoteNamespace says where to search"
                    .to_owned(),
            ));
        }
        let mut names = self.names(&selector(find)?).await?;
        if let (Some(name), true) = (&find.name, find.tags.is_empty()) {
            let pattern = pattern(name)?;
            names.retain(|name| pattern.is_match(name));
        }
        let read = async |name: String| match self.secret(&name).await {
            // Deleted meanwhile.
            Err(StoreError::Missing(_)) => Ok(None),
            found => found.map(Some),
        };
        read_all(names, read).await
    }

    /// The names of all Secrets that a selector selects.
    async fn names(&self, selector: &str) -> Result<Vec<String>, StoreError> {
        let (mut names, mut next) = (Vec::new(), String::new());
        loop {
            let mut url = self.url(None)?;
            url.query_pairs_mut()
                .append_pair("limit", PAGE)
                .append_pair("labelSelector", selector)
                .append_pair("continue", &next);
            let accept = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
            let body = self.body_for("a list", url, accept).await?;
            let (page, more) = answer::names(&body)?;
            names.extend(page);
            if names.len() > NAMES {
                return Err(too_large(&format!("looks at more than {NAMES} Secrets")));
            }
            match more {
                Some(more) => next = more,
                None => return Ok(names),
            }
        }
    }

    /// Where a Secret is, or all of them.
    fn url(&self, name: Option<&str>) -> Result<Url, StoreError> {
        if let Some(name) = name.filter(|name| !names::is_dns_subdomain(name)) {
            let what = format!("{name:?} is no name of a Secret");
            return Err(StoreError::NoProperty(what));
        }
        let path = ["api", "v1", "namespaces", &self.namespace, "secrets"];
        Ok(below(&self.server, path.into_iter().chain(name)))
    }

    /// The body of a good answer. Errors: [`StoreError::Missing`], [`StoreError::Denied`],
    /// [`StoreError::Expired`] and those without a good answer.
    async fn body_for(
        &self,
        subject: &str,
        url: Url,
        accept: &'static str,
    ) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        if self.renew_at.is_some_and(|at| at <= Instant::now()) {
            return Err(StoreError::Expired);
        }
        let answer = self
            .http
            .send(self.http.get(url).header(ACCEPT, accept))
            .await?;
        let status = answer.status();
        let refuses = status == StatusCode::UNAUTHORIZED;
        self.is_refused.store(refuses, Ordering::Relaxed);
        match status {
            StatusCode::OK => self.http.body(answer).await,
            StatusCode::NOT_FOUND => {
                let body = self.http.body(answer).await?;
                Err(answer::not_found(&body, subject))
            }
            StatusCode::UNAUTHORIZED => Err(StoreError::Denied(
                "the API server does not know the store's identity (401)".to_owned(),
            )),
            StatusCode::FORBIDDEN => Err(StoreError::Denied(format!(
                "the store's identity may not read {subject:?} in the namespace {} (403)",
                self.namespace
            ))),
            _ => Err(self.http.failure(&format!("{subject:?}"), &answer, &[])),
        }
    }
}

/// What each parser makes of a body.
pub(super) fn parsed(body: &[u8], key: &str) -> Vec<Result<Object, StoreError>> {
    vec![
        answer::secret(body, key),
        answer::metadata(body, key),
        answer::names(body).map(|(names, _)| Object(names.into())),
        Err(answer::not_found(body, key)),
    ]
}

/// The label selector for tags. Error: [`StoreError::Config`].
fn selector(find: &Find) -> Result<String, StoreError> {
    let is_plain = |text: &str| {
        let is_letter = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
        text.chars().all(is_letter)
    };
    let mut tags = find.tags.iter();
    if !tags.all(|(key, value)| !key.is_empty() && is_plain(key) && is_plain(value)) {
        let what = "find.tags has a label that Kubernetes does not allow";
        return Err(StoreError::Config(what.to_owned()));
    }
    let tags = find
        .tags
        .iter()
        .map(|(key, value)| format!("{key}={value}"));
    Ok(tags.collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kubernetes() -> Kubernetes {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        Kubernetes::open(&KubernetesLogin {
            server: "kubernetes.default",
            team: "shop",
            tls: Tls::default(),
            token: Some("t"),
            renew_at: None,
            namespace: "shop",
        })
        .ok()
        .unwrap()
    }

    #[test]
    fn a_key_is_the_name_of_a_secret_and_nothing_else() {
        let url = kubernetes().url(Some("db.v1")).unwrap();
        let expected = "https://kubernetes.default/api/v1/namespaces/shop/secrets/db.v1";
        assert_eq!(url.as_str(), expected);
        for key in ["", "..", "../pods", "a/b", "A", "a?watch=true", "a%2fb"] {
            let refused = kubernetes().url(Some(key));
            assert!(matches!(refused, Err(StoreError::NoProperty(_))), "{key:?}");
        }
    }

    #[test]
    fn tags_select_labels_and_nothing_else() {
        let find = |key: &str, value: &str| Find {
            tags: [(key.to_owned(), value.to_owned())].into(),
            ..Find::default()
        };
        assert_eq!(selector(&find("a/b", "c.d")).unwrap(), "a/b=c.d");
        for (key, value) in [
            ("a", "b,c"),
            ("!a", ""),
            ("", "b"),
            ("a in (b)", ""),
            ("a", "b=c"),
        ] {
            let refused = selector(&find(key, value));
            assert!(
                matches!(refused, Err(StoreError::Config(_))),
                "{key:?} {value:?}"
            );
        }
    }
}
