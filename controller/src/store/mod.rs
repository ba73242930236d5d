//! Where values come from: one file for each provider, and what all of them share. A session is one
//! provider under one identity; the values that were read through it are shared by whoever is
//! allowed the same identity, and by nobody else.

mod aws;
mod binary;
mod breaker;
mod fake;
mod find;
mod http;
mod kubernetes;
mod memory;
mod reads;
mod vault;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use sealkit_core::manifest;
use serde_json::Value;

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::telemetry::Metrics;

pub use aws::{Aws, AwsLogin, AwsProof, AwsRole, Changes};
pub use binary::{as_text, bytes};
pub use breaker::Breaker;
pub use fake::Fake;
pub use http::{Tls, no_way};
pub use kubernetes::{Kubernetes, KubernetesLogin};
pub use memory::Held;
use memory::search_place;
use reads::Reads;
pub use reads::Share;
pub use vault::{Consistency, Proof, Vault, VaultLogin};

/// Calls of one session at once. A provider that answers slowly must not keep all workers waiting.
const CALLS: usize = 8;
/// Searches of one session at once. Each makes many calls: whoever searches must not keep all others
/// who share the session from reading.
const SEARCHES: usize = 2;
/// How long somebody waits for others before he does something else.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// What to read from a store.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
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

impl Read {
    /// The call in metrics, as External Secrets names it.
    const fn name(&self) -> &'static str {
        match self {
            Self::Secret { .. } => "ReadSecretData",
            Self::Metadata { .. } => "ReadSecretMetadata",
            Self::Find(_) => "ListSecrets",
        }
    }
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
    /// Others wait for the provider already: nothing is known yet.
    #[error("many calls wait for the provider, which answers slowly")]
    Busy,
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
    /// Secrets Manager or the Parameter Store of AWS.
    Aws(Aws),
}

impl Provider {
    /// Reads from the provider, without any regard to earlier reads.
    async fn read(&self, read: &Read) -> Result<Object, StoreError> {
        match self {
            Self::Vault(vault) => binary::unmarked(vault.read(read).await?),
            Self::Kubernetes(kubernetes) => kubernetes.read(read).await,
            Self::Fake(fake) => binary::unmarked(fake.read(read).await?),
            Self::Aws(aws) => aws.read(read).await,
        }
    }

    /// Does the provider refuse the identity itself, and not only a key?
    async fn is_refused(&self) -> bool {
        match self {
            Self::Vault(vault) => vault.is_refused().await,
            Self::Kubernetes(kubernetes) => kubernetes.is_refused(),
            Self::Fake(_) => false,
            Self::Aws(aws) => aws.is_refused(),
        }
    }

    /// Does the provider answer, and know the identity?
    async fn check(&self) -> Result<(), StoreError> {
        match self {
            Self::Vault(vault) => vault.check().await,
            Self::Kubernetes(kubernetes) => kubernetes.check().await,
            Self::Fake(_) => Ok(()),
            Self::Aws(aws) => aws.check().await,
        }
    }

    /// The provider in metrics, as External Secrets names it.
    fn name(&self) -> &'static str {
        match self {
            Self::Vault(_) => "HashiCorp/Vault",
            Self::Kubernetes(_) => "Kubernetes",
            Self::Fake(_) => "Fake",
            Self::Aws(aws) => aws.name(),
        }
    }

    /// The call of a read in metrics, as External Secrets names it.
    fn call_of(&self, read: &Read) -> &'static str {
        match self {
            Self::Aws(aws) => aws.call_of(read),
            _ => read.name(),
        }
    }

    /// The key without what the provider ignores, so that one secret has one name.
    fn resolved(&self, key: &str) -> Result<String, StoreError> {
        match self {
            Self::Vault(vault) => vault.resolved(key),
            Self::Kubernetes(_) | Self::Fake(_) => Ok(key.to_owned()),
            Self::Aws(aws) => Ok(aws.resolved(key)),
        }
    }
}

/// A provider under one identity, and what was read of late.
pub struct Session {
    provider: Provider,
    reads: Reads,
    breaker: Breaker,
    /// Calls that are under way.
    calls: Semaphore,
    /// Those of them that search.
    searches: Semaphore,
    /// Whose places searches take.
    team: String,
    /// Where calls are counted.
    metrics: Option<Arc<Metrics>>,
}

impl Session {
    /// A session in which nothing was read yet, of a namespace or a store of the cluster.
    pub fn new(provider: Provider, team: &str) -> Self {
        let at_once = match &provider {
            // Many of them go out as one call.
            Provider::Aws(_) => aws::READS,
            _ => CALLS,
        };
        Self {
            provider,
            reads: Reads::default(),
            breaker: Breaker::default(),
            calls: Semaphore::new(at_once),
            searches: Semaphore::new(SEARCHES),
            team: team.to_owned(),
            metrics: None,
        }
    }

    /// The session, whose calls are counted from now on. The login was the first one.
    pub fn counted(mut self, metrics: Arc<Metrics>) -> Self {
        self.metrics = Some(metrics);
        self.count("Login", true);
        self
    }

    fn count(&self, call: &'static str, succeeded: bool) {
        if let Some(metrics) = &self.metrics {
            let provider = self.provider.name();
            metrics.external.called(provider, call, succeeded);
        }
    }

    /// Reads a secret, or shares what somebody read before. While the provider does not answer, one
    /// call in a while finds out whether it does again.
    pub async fn read(&self, read: &Read, share: Share) -> Result<Arc<Held>, StoreError> {
        let mut is_shared = true;
        let fetch = async || {
            is_shared = false;
            let _search = match read {
                Read::Find(_) => {
                    let turn = turn(&self.searches).await?;
                    Some((turn, search_place(&self.team).await?))
                }
                _ => None,
            };
            self.call(self.provider.call_of(read), self.provider.read(read))
                .await
        };
        let result = self.reads.get(read, share, fetch).await;
        if let Some(metrics) = &self.metrics {
            metrics.store.read(self.provider.name(), is_shared);
        }
        result
    }

    /// The provider in metrics, and whether it answered the last time.
    pub fn state(&self) -> (&'static str, bool) {
        (self.provider.name(), !self.breaker.is_open())
    }

    /// Shares no earlier read with those who come from now on.
    pub fn forget(&self, read: &Read) {
        self.reads.forget(read);
    }

    /// Does the provider answer, and know the identity?
    pub async fn check(&self) -> Result<(), StoreError> {
        self.call("LookupSelf", self.provider.check()).await
    }

    /// The key without what the provider ignores, so that one secret has one name.
    pub fn resolved(&self, key: &str) -> Result<String, StoreError> {
        self.provider.resolved(key)
    }

    async fn call<T>(
        &self,
        name: &'static str,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let _turn = turn(&self.calls).await?;
        self.breaker.admit()?;
        let result = call.await;
        self.breaker.record(result.as_ref().err());
        self.count(name, result.is_ok());
        result
    }

    /// Waits a while for changes that a queue tells. Error: [`StoreError::Config`] if the provider has
    /// none, and those of calls. No other call waits for it.
    pub async fn changes(&self, queue: &str) -> Result<Changes, StoreError> {
        let Provider::Aws(aws) = &self.provider else {
            return Err(StoreError::Config("the provider has no queues".to_owned()));
        };
        let changes = aws.changes(queue).await;
        self.count("ReceiveMessage", changes.is_ok());
        changes
    }

    /// Takes changes out of the queue, which would come again otherwise.
    pub async fn acknowledge(&self, queue: &str, changes: &Changes) -> Result<(), StoreError> {
        match &self.provider {
            Provider::Aws(aws) => aws.acknowledge(queue, changes).await,
            _ => Ok(()),
        }
    }

    /// Does the provider refuse the identity itself, and not only a key?
    pub async fn is_refused(&self) -> bool {
        self.provider.is_refused().await
    }
}

/// Waits a moment for a turn. Error: [`StoreError::Busy`].
async fn turn(turns: &Semaphore) -> Result<SemaphorePermit<'_>, StoreError> {
    let turn = tokio::time::timeout(PATIENCE, turns.acquire()).await;
    turn.ok().and_then(Result::ok).ok_or(StoreError::Busy)
}

/// What each parser of answers makes of a body that was asked for under this key: texts that the
/// value holds, or what the error says. For the search for bodies that break one.
pub fn parsed_answers(body: &[u8], key: &str) -> Vec<Result<String, String>> {
    let parsed = vault::parsed(body, key).into_iter();
    let parsed = parsed.chain(kubernetes::parsed(body, key));
    let text = |object: Object| object.0.to_string();
    parsed
        .map(|one| one.map(text).map_err(|error| error.to_string()))
        .collect()
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Session")
    }
}

#[cfg(test)]
mod tests {
    use sealkit_core::api::external::{FakeProvider, FakeValue};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn searches_that_take_long_leave_room_for_reads() {
        let value = FakeValue {
            key: "a".to_owned(),
            value: "v".to_owned(),
            version: String::new(),
        };
        let provider = FakeProvider {
            data: vec![value],
            ..FakeProvider::default()
        };
        let session = Session::new(Provider::Fake(Fake::new(&provider)), "shop");
        let share = Share::within(Duration::ZERO);
        let _long = (turn(&session.searches).await, turn(&session.searches).await);
        let search = session.read(&Read::Find(Find::default()), share).await;
        assert_eq!(search.err(), Some(StoreError::Busy));
        assert_eq!(session.calls.available_permits(), CALLS, "it waits outside");
        let (key, version) = ("a".to_owned(), None);
        let read = session.read(&Read::Secret { key, version }, share).await;
        assert!(read.is_ok());
    }
}
