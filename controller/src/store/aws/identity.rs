//! Who asks AWS: an access key, the token of a ServiceAccount or the controller itself, and the roles
//! that are assumed from there.

use std::time::{Duration, SystemTime};

use aws_config::ecs::EcsCredentialsProvider;
use aws_config::imds::credentials::ImdsCredentialsProvider;
use aws_config::meta::credentials::CredentialsProviderChain;
use aws_config::provider_config::ProviderConfig;
use aws_config::web_identity_token::WebIdentityTokenCredentialsProvider;
use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials;
use aws_sdk_sts::types::Tag;

use super::endpoint::Service;
use super::failure::Failure;
use super::{Calls, transport};
use crate::store::StoreError;

/// What AWS's records show as the session of a ServiceAccount: the name that External Secrets has, which
/// policies of trust may ask for.
const WEB_SESSION: &str = "external-secrets-provider-aws";
/// The same for roles that are assumed from another identity.
const ROLE_SESSION: &str = "sealkit";
/// Credentials are replaced this long before they end, or after two thirds of a shorter life.
const SPARE: Duration = Duration::from_secs(300);

/// What proves who asks.
pub enum AwsProof<'a> {
    /// An access key.
    Key {
        /// Its ID.
        id: &'a str,
        /// Its secret.
        secret: &'a str,
        /// The session token of a temporary one.
        session_token: Option<&'a str>,
    },
    /// A token of a ServiceAccount.
    WebIdentity {
        /// ARN of the role that the token is good for.
        role: &'a str,
        /// The token.
        token: &'a str,
    },
    /// What the controller itself has from AWS: by its own ServiceAccount, its pod or its node.
    Controller,
}

/// A role to assume.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AwsRole {
    /// Its ARN.
    pub arn: String,
    /// The external ID that it asks for.
    pub external_id: Option<String>,
    /// Session tags, keys and values.
    pub tags: Vec<(String, String)>,
    /// Keys of tags that the next role gets too.
    pub transitive_tags: Vec<String>,
}

/// Credentials, and when they are to be replaced.
pub(super) struct Identity {
    pub(super) credentials: Credentials,
    pub(super) replace_at: Option<SystemTime>,
    /// Does the proof come from STS, so that AWS knows it?
    pub(super) is_issued: bool,
}

impl Identity {
    /// Proves who asks, and assumes the roles in order.
    pub(super) async fn issued(
        proof: &AwsProof<'_>,
        roles: &[AwsRole],
        calls: &Calls,
    ) -> Result<Self, StoreError> {
        let mut credentials = match proof {
            AwsProof::Key {
                id,
                secret,
                session_token,
            } => Credentials::from_keys(*id, *secret, session_token.map(str::to_owned)),
            AwsProof::WebIdentity { role, token } => web_identity(role, token, calls).await?,
            AwsProof::Controller => own(calls).await?,
        };
        for role in roles {
            credentials = assumed(role, credentials, calls).await?;
        }
        let replace_at = credentials.expiry().map(|end| {
            let life = end.duration_since(SystemTime::now()).unwrap_or_default();
            end - SPARE.min(life / 3)
        });
        Ok(Self {
            credentials,
            replace_at,
            is_issued: !matches!(proof, AwsProof::Key { .. }) || !roles.is_empty(),
        })
    }
}

/// A client of STS, with or without credentials.
fn sts(credentials: Option<Credentials>, calls: &Calls) -> Result<aws_sdk_sts::Client, StoreError> {
    let mut config = aws_sdk_sts::Config::builder()
        .behavior_version(Calls::behavior())
        .region(calls.region.clone())
        .http_client(transport::client()?)
        .retry_config(calls.retries.clone())
        .timeout_config(Calls::timeouts());
    config.set_endpoint_url(Service::Sts.endpoint()?);
    if let Some(credentials) = credentials {
        config = config.credentials_provider(credentials);
    }
    Ok(aws_sdk_sts::Client::from_conf(config.build()))
}

async fn web_identity(role: &str, token: &str, calls: &Calls) -> Result<Credentials, StoreError> {
    let answer = sts(None, calls)?
        .assume_role_with_web_identity()
        .role_arn(role)
        .role_session_name(WEB_SESSION)
        .web_identity_token(token)
        .send()
        .await
        .map_err(|error| Failure::of(&error).while_logging_in("AssumeRoleWithWebIdentity", role))?;
    credentials_of(answer.credentials)
}

async fn assumed(
    role: &AwsRole,
    credentials: Credentials,
    calls: &Calls,
) -> Result<Credentials, StoreError> {
    let mut tags = Vec::with_capacity(role.tags.len());
    for (key, value) in &role.tags {
        let tag = Tag::builder().key(key).value(value).build();
        tags.push(tag.map_err(|_| StoreError::Config("a session tag has no key".to_owned()))?);
    }
    let some = |list: &[String]| Some(list.to_vec()).filter(|list| !list.is_empty());
    let answer = sts(Some(credentials), calls)?
        .assume_role()
        .role_arn(&role.arn)
        .role_session_name(ROLE_SESSION)
        .set_external_id(role.external_id.clone())
        .set_tags(Some(tags).filter(|tags| !tags.is_empty()))
        .set_transitive_tag_keys(some(&role.transitive_tags))
        .send()
        .await
        .map_err(|error| Failure::of(&error).while_logging_in("AssumeRole", &role.arn))?;
    credentials_of(answer.credentials)
}

fn credentials_of(
    answer: Option<aws_sdk_sts::types::Credentials>,
) -> Result<Credentials, StoreError> {
    let no_credentials = || StoreError::Answer("AWS's answer has no credentials".to_owned());
    let answer = answer.ok_or_else(no_credentials)?;
    let expires = SystemTime::try_from(answer.expiration).map_err(|_| no_credentials())?;
    Ok(Credentials::new(
        answer.access_key_id,
        answer.secret_access_key,
        Some(answer.session_token),
        Some(expires),
        "sts",
    ))
}

/// The controller's own identity, in the order of the SDK: web identity, container, instance. No
/// keys of the environment or of files.
async fn own(calls: &Calls) -> Result<Credentials, StoreError> {
    let config = ProviderConfig::empty()
        .with_region(Some(calls.region.clone()))
        .with_http_client(transport::client()?)
        .with_retry_config(calls.retries.clone())
        .with_timeout_config(Calls::timeouts());
    let web = WebIdentityTokenCredentialsProvider::builder().configure(&config);
    let container = EcsCredentialsProvider::builder().configure(&config);
    let instance = ImdsCredentialsProvider::builder().configure(&config);
    let chain = CredentialsProviderChain::first_try("WebIdentity", web.build())
        .or_else("Container", container.build())
        .or_else("Instance", instance.build());
    // The errors of the SDK's own chain quote answers.
    let credentials = chain.provide_credentials().await;
    credentials
        .map_err(|_| StoreError::unavailable("AWS gives the controller no identity of its own"))
}

/// Does AWS know these credentials? It needs no permission. Error: [`StoreError::Denied`] if not.
pub(super) async fn check(credentials: Credentials, calls: &Calls) -> Result<(), StoreError> {
    let answer = sts(Some(credentials), calls)?.get_caller_identity().send();
    match answer.await {
        Err(error) if Failure::of(&error).is_of_identity() => {
            Err(Failure::of(&error).while_logging_in("GetCallerIdentity", ""))
        }
        // STS may be out of reach where the service is not.
        _ => Ok(()),
    }
}
