//! Where values come from: one file for each provider, and what all of them share. A session is one
//! provider under one identity; the values that were read through it are shared by whoever is
//! allowed the same identity, and by nobody else.

mod breaker;
mod fake;
mod find;
mod http;
mod kubernetes;
mod reads;
mod vault;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use sealkit_core::manifest;
use serde_json::Value;

pub use breaker::Breaker;
pub use fake::Fake;
pub use http::Tls;
pub use kubernetes::{Kubernetes, KubernetesLogin};
use reads::Reads;
pub use vault::{Consistency, Proof, Vault, VaultLogin};

/// What to read from a store.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(dead_code, reason = "the data pipeline asks for them next")]
pub enum Read {
    /// One secret.
    Secret {
        /// The key, as the provider names secrets.
        key: String,
        /// A version, as the provider names versions; `None` for the newest.
        version: Option<String>,
    },
    /// What the provider knows about a secret, as a JSON object. Not every provider has it.
    Metadata {
        /// The key, as the provider names secrets.
        key: String,
    },
    /// All secrets that match, as a JSON object of names and secrets.
    Find(Find),
}

/// Which secrets to find. If both a name and tags are given, the provider decides which counts;
/// without either, all below the path match.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Find {
    /// Where the search begins, as the provider names secrets; empty for everywhere.
    pub path: String,
    /// A regular expression that matches a part of the name.
    pub name: Option<String>,
    /// Tags that a secret has, all of them.
    pub tags: BTreeMap<String, String>,
}

/// A secret of a provider: a JSON object, or a text, which may be JSON. Wiped when dropped; no
/// Debug.
pub struct Object(pub Value);

impl Drop for Object {
    fn drop(&mut self) {
        manifest::wipe(&mut self.0);
    }
}

/// Why a store gave nothing. Names keys and kinds of failures, never a value, a token or an answer
/// of the provider.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The store's own description is at fault: nothing helps until somebody changes it.
    #[error("{0}")]
    Config(String),
    /// The store, or what it refers to, does not exist, or not for this namespace.
    #[error("{0}")]
    Absent(String),
    /// The provider refuses the identity, or the identity the key.
    #[error("{0}")]
    Denied(String),
    /// The provider has no such secret.
    #[error("{0}")]
    Missing(String),
    /// The secret has no such property, or nothing can have such a key: a mistake, and not a secret
    /// that is gone.
    #[error("{0}")]
    NoProperty(String),
    /// The session is over: a new one may do.
    #[error("the session with the provider is over")]
    Expired,
    /// The provider answered something that is no secret.
    #[error("{0}")]
    Answer(String),
    /// The provider did not answer, or not now.
    #[error("{what}")]
    Unavailable {
        /// What happened.
        what: String,
        /// When it wants to be asked again.
        retry_after: Option<Duration>,
    },
}

impl StoreError {
    /// The provider did not answer.
    pub fn unavailable(what: impl Into<String>) -> Self {
        Self::Unavailable {
            what: what.into(),
            retry_after: None,
        }
    }
}

/// A provider under one identity. What can be read is decided here, who may read it elsewhere.
pub enum Provider {
    /// Vault or OpenBao.
    Vault(Vault),
    /// Secrets of a cluster.
    Kubernetes(Kubernetes),
    /// Values in the store itself.
    Fake(Fake),
}

impl Provider {
    /// Reads from the provider, without any regard to earlier reads.
    async fn read(&self, read: &Read) -> Result<Object, StoreError> {
        match self {
            Self::Vault(vault) => vault.read(read).await,
            Self::Kubernetes(kubernetes) => kubernetes.read(read).await,
            Self::Fake(fake) => fake.read(read).await,
        }
    }

    /// Does the provider refuse the identity itself, and not only a key?
    async fn is_refused(&self) -> bool {
        match self {
            Self::Vault(vault) => vault.is_refused().await,
            Self::Kubernetes(kubernetes) => kubernetes.is_refused(),
            Self::Fake(_) => false,
        }
    }
}

/// A provider under one identity, and what was read of late.
pub struct Session {
    provider: Provider,
    reads: Reads,
    breaker: Breaker,
}

impl Session {
    /// A session in which nothing was read yet.
    pub fn new(provider: Provider) -> Self {
        Self {
            provider,
            reads: Reads::default(),
            breaker: Breaker::default(),
        }
    }

    /// Reads a secret, or shares what somebody read less than `window` ago. While the provider does
    /// not answer, one call in a while finds out whether it does again.
    pub async fn read(
        &self,
        read: &Read,
        window: Duration,
    ) -> Result<std::sync::Arc<Object>, StoreError> {
        let fetch = async || {
            self.breaker.admit()?;
            let result = self.provider.read(read).await;
            self.breaker.record(result.as_ref().err());
            result
        };
        self.reads.get(read, window, fetch).await
    }

    /// Does the provider refuse the identity itself, and not only a key?
    pub async fn is_refused(&self) -> bool {
        self.provider.is_refused().await
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Session")
    }
}
