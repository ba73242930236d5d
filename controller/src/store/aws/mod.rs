//! AWS: Secrets Manager and the Parameter Store, through the SDK of AWS.
//!
//! The SDK signs, retries and reads answers. What it reaches and whom it trusts is decided here:
//! credentials come from the store alone and never from the environment of the controller, except
//! for the identity that an administrator lends. Errors quote codes of AWS, and nothing else.

mod batch;
mod endpoint;
mod failure;
mod gather;
mod identity;
mod parameter_store;
mod queue;
mod refusals;
mod secrets_manager;
mod transport;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sdk_sts::config::BehaviorVersion;
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use aws_types::region::Region;
use sealkit_core::names;

use super::find::{pattern, read_at_once, within_time};
use super::{Find, Object, Read, StoreError};

use batch::Batches;
use gather::Gatherer;
use identity::Identity;
pub use identity::{AwsProof, AwsRole};
use parameter_store::{ParameterStore, Search};
pub use queue::Changes;
use queue::Queue;
use secrets_manager::{CURRENT, SecretsManager};

/// Reads of one session at once.
pub(super) const READS: usize = 4 * secrets_manager::BATCH;
const CONNECT: Duration = Duration::from_secs(5);
/// The longest time that a call may take, with its retries.
const CALL: Duration = Duration::from_secs(20);

/// A store of AWS, and what proves who asks.
pub struct AwsLogin<'a> {
    /// Is it the Parameter Store? Secrets Manager if not.
    pub is_parameter_store: bool,
    /// Its region.
    pub region: &'a str,
    /// Text in front of each key, except for searches.
    pub prefix: &'a str,
    /// What proves who asks.
    pub proof: AwsProof<'a>,
    /// Roles that are assumed from there, in order.
    pub roles: &'a [AwsRole],
    /// How often a call is tried, and the pause before the second time, where the store says so.
    pub retries: (Option<u32>, Option<Duration>),
}

/// What all calls of a store have in common.
struct Calls {
    region: Region,
    retries: RetryConfig,
}

impl Calls {
    fn behavior() -> BehaviorVersion {
        BehaviorVersion::v2026_01_12()
    }

    fn timeouts() -> TimeoutConfig {
        TimeoutConfig::builder()
            .connect_timeout(CONNECT)
            .operation_attempt_timeout(CALL / 2)
            .operation_timeout(CALL)
            .build()
    }
}

/// Secrets Manager or the Parameter Store under one identity. No Debug.
pub struct Aws {
    service: Service,
    gatherer: Gatherer,
    prefix: String,
    calls: Calls,
    identity: Identity,
}

enum Service {
    SecretsManager(Arc<SecretsManager>),
    ParameterStore(Arc<ParameterStore>),
}

impl Aws {
    /// Proves who asks, and assumes roles. Errors: [`StoreError::Config`], [`StoreError::Denied`],
    /// [`StoreError::Unavailable`].
    pub async fn open(login: &AwsLogin<'_>) -> Result<Self, StoreError> {
        // It becomes a part of a host's name.
        if !names::is_dns_label(login.region) {
            let what = "provider.aws.region is no name of a region";
            return Err(StoreError::Config(what.to_owned()));
        }
        let (attempts, pause) = login.retries;
        let mut retries =
            RetryConfig::standard().with_max_attempts(attempts.unwrap_or(3).clamp(1, 5));
        if let Some(pause) = pause {
            retries = retries.with_initial_backoff(pause.min(CALL / 4));
        }
        let calls = Calls {
            region: Region::new(login.region.to_owned()),
            retries,
        };
        let identity = Identity::issued(&login.proof, login.roles, &calls).await?;
        let (service, gatherer) = if login.is_parameter_store {
            let store = Arc::new(ParameterStore::new(&identity, &calls)?);
            let reader = store.clone();
            let serve = move |group| {
                let reader = reader.clone();
                async move { reader.serve(group).await }
            };
            (
                Service::ParameterStore(store),
                Gatherer::new(parameter_store::BATCH, serve),
            )
        } else {
            let store = Arc::new(SecretsManager::new(&identity, &calls)?);
            let reader = store.clone();
            let serve = move |group| {
                let reader = reader.clone();
                async move { reader.serve(group).await }
            };
            (
                Service::SecretsManager(store),
                Gatherer::new(secrets_manager::BATCH, serve),
            )
        };
        Ok(Self {
            service,
            gatherer,
            prefix: login.prefix.to_owned(),
            calls,
            identity,
        })
    }

    /// The service in metrics, as External Secrets names it.
    pub fn name(&self) -> &'static str {
        match &self.service {
            Service::SecretsManager(_) => "AWS/SecretsManager",
            Service::ParameterStore(_) => "AWS/ParameterStore",
        }
    }

    /// The call of a read in metrics, as External Secrets names it: one for each read, also where
    /// many go out together.
    pub fn call_of(&self, read: &Read) -> &'static str {
        match (&self.service, read) {
            (Service::SecretsManager(_), Read::Secret { .. }) => "GetSecretValue",
            (Service::SecretsManager(_), Read::Metadata { .. }) => "DescribeSecret",
            (Service::SecretsManager(_), Read::Find(_)) => "ListSecrets",
            (Service::ParameterStore(_), Read::Secret { .. }) => "GetParameter",
            (Service::ParameterStore(_), Read::Metadata { .. }) => "ListTagsForResource",
            (Service::ParameterStore(_), Read::Find(_)) => "GetParametersByPath",
        }
    }

    /// Does AWS refuse the credentials themselves? If not, a refusal is a matter of policies.
    pub fn is_refused(&self) -> bool {
        match &self.service {
            Service::SecretsManager(store) => store.is_refused(),
            Service::ParameterStore(store) => store.is_refused(),
        }
    }

    /// Does AWS know the identity?
    pub async fn check(&self) -> Result<(), StoreError> {
        self.live()?;
        if self.identity.is_issued {
            return Ok(());
        }
        identity::check(self.credentials(), &self.calls).await
    }

    /// Waits a while for messages of a queue.
    pub async fn changes(&self, queue: &str) -> Result<Changes, StoreError> {
        self.live()?;
        Queue::new(queue, &self.identity, &self.calls)?
            .receive()
            .await
    }

    /// Takes messages out of a queue.
    pub async fn acknowledge(&self, queue: &str, changes: &Changes) -> Result<(), StoreError> {
        Queue::new(queue, &self.identity, &self.calls)?
            .remove(changes)
            .await
    }

    fn credentials(&self) -> Credentials {
        self.identity.credentials.clone()
    }

    /// Error: [`StoreError::Expired`].
    fn live(&self) -> Result<(), StoreError> {
        match self.identity.replace_at {
            Some(at) if at <= SystemTime::now() => Err(StoreError::Expired),
            _ => Ok(()),
        }
    }

    /// The key as the service has it.
    pub fn resolved(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    /// Reads from the service.
    pub async fn read(&self, read: &Read) -> Result<Object, StoreError> {
        self.live()?;
        match read {
            Read::Secret { key, version } => {
                self.secret(self.resolved(key), version.as_deref()).await
            }
            Read::Metadata { key } => match &self.service {
                Service::SecretsManager(store) => store.tags(&self.resolved(key)).await,
                Service::ParameterStore(store) => store.tags(&self.resolved(key)).await,
            },
            Read::Find(find) => within_time(self.find(find)).await,
        }
    }

    async fn secret(&self, id: String, version: Option<&str>) -> Result<Object, StoreError> {
        match (&self.service, version) {
            (_, None) | (Service::SecretsManager(_), Some(CURRENT)) => {
                self.gatherer.read(&id).await
            }
            (Service::SecretsManager(store), Some(version)) => store.secret(&id, version).await,
            (Service::ParameterStore(_), Some(version)) => {
                check_label(version)?;
                self.gatherer.read(&format!("{id}:{version}")).await
            }
        }
    }

    /// Names are whole names: the prefix is for keys.
    async fn find(&self, find: &Find) -> Result<Object, StoreError> {
        if find.name.is_none() && find.tags.is_empty() {
            let what = "find in AWS needs name.regexp or tags";
            return Err(StoreError::Config(what.to_owned()));
        }
        let pattern = find.name.as_deref().map(pattern).transpose()?;
        let matches = |name: &str| {
            let pattern = pattern.as_ref();
            pattern.is_none_or(|pattern| pattern.is_match(name))
        };
        let names = match &self.service {
            Service::SecretsManager(store) => store.names(find, matches).await?,
            Service::ParameterStore(store) => match store.find(find, matches).await? {
                Search::Values(values) => return Ok(values),
                Search::Names(names) => names,
            },
        };
        let one = async |name: String| match self.gatherer.read(&name).await {
            // Deleted since it was listed.
            Err(StoreError::Missing(_)) => Ok(None),
            result => result.map(Some),
        };
        // As many as fill a few groups.
        read_at_once(READS, names, one).await
    }
}

/// The version of a parameter is a number or a label. It becomes a part of the name, of which a key
/// policy sees the key alone. Error: [`StoreError::NoProperty`].
fn check_label(version: &str) -> Result<(), StoreError> {
    let is_letter = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if version.chars().all(is_letter) {
        return Ok(());
    }
    let version = names::printable(version);
    let what = format!("{version:?} is neither a version nor a label of a parameter");
    Err(StoreError::NoProperty(what))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_makes_no_other_name_of_a_key() {
        for version in ["3", "live-2.0_a"] {
            assert_eq!(check_label(version), Ok(()));
        }
        for version in ["aws:ssm:eu-west-1:1:parameter/bank/db", "a/b", "a:b", "a b"] {
            let refused = check_label(version);
            assert!(
                matches!(refused, Err(StoreError::NoProperty(_))),
                "{version}"
            );
        }
    }

    #[tokio::test]
    async fn a_region_is_no_way_to_another_host() {
        for region in ["evil.example/", "a.b", "", "eu west", "x@y", "-eu"] {
            let opened = Aws::open(&AwsLogin {
                is_parameter_store: false,
                region,
                prefix: "",
                proof: AwsProof::Key {
                    id: "id",
                    secret: "secret",
                    session_token: None,
                },
                roles: &[],
                retries: (None, None),
            })
            .await;
            let error = opened.err().map(|error| error.to_string());
            assert!(
                error.is_some_and(|error| error.contains("region")),
                "{region:?}"
            );
        }
    }
}
