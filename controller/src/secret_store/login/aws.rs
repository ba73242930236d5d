//! Logging in to AWS, as `auth`, `role` and the session tags say.

use std::time::Duration;

use sealkit_core::api::external::{
    AwsProvider, AwsService, RetrySettings, SecretKeySelector, ServiceAccountSelector,
    SessionTagsPolicy, StoreKind, duration,
};
use sealkit_core::names;

use super::super::StoreName;
use super::Credentials;
use super::not_served;
use crate::store::{Aws, AwsLogin, AwsProof, AwsRole, StoreError};

const ROLE: &str = "eks.amazonaws.com/role-arn";
const AUDIENCE: &str = "eks.amazonaws.com/audience";
/// Whom a token is for, if the ServiceAccount does not say so.
const STS: &str = "sts.amazonaws.com";
/// The tags that tell AWS who asks: namespace, name and kind of the store.
const OWN_TAGS: [&str; 3] = ["esoNamespace", "esoStoreName", "esoStoreKind"];

/// How a store proves who asks.
pub(crate) enum Auth<'a> {
    /// An access key, its secret and a session token.
    Key(
        &'a SecretKeySelector,
        &'a SecretKeySelector,
        Option<&'a SecretKeySelector>,
    ),
    ServiceAccount(&'a ServiceAccountSelector),
    /// The controller's own identity.
    Controller,
}

/// The way that `auth` names. Error: [`StoreError::Config`].
pub(super) fn auth(provider: &AwsProvider) -> Result<Auth<'_>, StoreError> {
    let config = |what: &str| StoreError::Config(what.to_owned());
    if provider.service == AwsService::CertificateManager {
        return Err(not_served("service CertificateManager of provider aws"));
    }
    match (&provider.auth.jwt, &provider.auth.secret_ref) {
        (Some(_), Some(_)) => Err(config("auth names two methods")),
        (Some(jwt), None) => {
            let account = jwt.service_account_ref.as_ref();
            let account = account.ok_or_else(|| config("auth.jwt has no serviceAccountRef"))?;
            Ok(Auth::ServiceAccount(account))
        }
        (None, Some(key)) => match (&key.access_key_id, &key.secret_access_key) {
            (Some(id), Some(secret)) => Ok(Auth::Key(id, secret, key.session_token.as_ref())),
            _ => Err(config(
                "auth.secretRef needs accessKeyIDSecretRef and secretAccessKeySecretRef",
            )),
        },
        (None, None) => Ok(Auth::Controller),
    }
}

/// Does it use what is in the namespace of whoever uses the store, or tell AWS which that is?
pub(super) fn is_referent(provider: &AwsProvider, auth: &Auth<'_>) -> bool {
    let is_open = match auth {
        Auth::Key(id, secret, token) => {
            let mut all = [Some(*id), Some(*secret), *token].into_iter().flatten();
            all.any(|selector| selector.namespace.is_empty())
        }
        Auth::ServiceAccount(account) => account.namespace.is_empty(),
        Auth::Controller => false,
    };
    is_open || provider.session_tags_policy != SessionTagsPolicy::None
}

/// Reads what the store refers to, and logs in.
pub(super) async fn open(
    credentials: &Credentials<'_>,
    provider: &AwsProvider,
    auth: &Auth<'_>,
    retry: Option<&RetrySettings>,
) -> Result<Aws, StoreError> {
    let (id, secret, session_token);
    let (role, token);
    let proof = match auth {
        Auth::Key(id_ref, secret_ref, token_ref) => {
            id = credentials.secret_value(id_ref, "access-key").await?;
            secret = credentials
                .secret_value(secret_ref, "secret-access-key")
                .await?;
            session_token = match token_ref {
                Some(selector) => Some(credentials.secret_value(selector, "session-token").await?),
                None => None,
            };
            AwsProof::Key {
                id: &id,
                secret: &secret,
                session_token: session_token.as_ref().map(|token| token.as_str()),
            }
        }
        Auth::ServiceAccount(account) => {
            (role, token) = web_identity(credentials, account).await?;
            AwsProof::WebIdentity {
                role: &role,
                token: &token,
            }
        }
        Auth::Controller => {
            check_lent(credentials)?;
            AwsProof::Controller
        }
    };
    Aws::open(&AwsLogin {
        is_parameter_store: provider.service == AwsService::ParameterStore,
        region: &provider.region,
        prefix: &provider.prefix,
        proof,
        roles: &roles(provider, credentials.store, credentials.user),
        retries: retries(retry)?,
    })
    .await
}

/// May the store use the controller's own identity?
fn check_lent(credentials: &Credentials<'_>) -> Result<(), StoreError> {
    let what = match credentials.store.kind {
        StoreKind::SecretStore => {
            "the store has no auth: the controller lends its own identity to no SecretStore"
        }
        StoreKind::ClusterSecretStore if credentials.lends_identity => return Ok(()),
        StoreKind::ClusterSecretStore => {
            "the store has no auth: the controller lends its own identity only with --allow-controller-identity"
        }
    };
    Err(StoreError::Config(what.to_owned()))
}

/// The role of a ServiceAccount, and a token of it.
async fn web_identity(
    credentials: &Credentials<'_>,
    account: &ServiceAccountSelector,
) -> Result<(String, zeroize::Zeroizing<String>), StoreError> {
    let annotations = credentials.service_account_annotations(account).await?;
    let named = |name: &str| annotations.get(name).filter(|value| !value.is_empty());
    let role = named(ROLE).ok_or_else(|| {
        let name = names::printable(&account.name);
        StoreError::Absent(format!(
            "the ServiceAccount {name} has no annotation {ROLE}"
        ))
    })?;
    let audience = named(AUDIENCE).map_or(STS, String::as_str);
    let mut audiences = vec![audience.to_owned()];
    audiences.extend(account.audiences.iter().cloned());
    let token = credentials.service_account_token(account, &audiences);
    Ok((role.clone(), token.await?))
}

/// The roles in order. As with External Secrets, only the last one gets the external ID and the tags.
fn roles(provider: &AwsProvider, store: &StoreName, user: &str) -> Vec<AwsRole> {
    let plain = |arn: &String| AwsRole {
        arn: arn.clone(),
        ..AwsRole::default()
    };
    let mut roles: Vec<AwsRole> = provider.additional_roles.iter().map(plain).collect();
    if provider.role.is_empty() {
        return roles;
    }
    let tags = &provider.session_tags;
    let mut tags: Vec<(String, String)> = tags
        .iter()
        .map(|tag| (tag.key.clone(), tag.value.clone()))
        .collect();
    if provider.session_tags_policy == SessionTagsPolicy::Custom {
        tags.extend(provider.custom_session_tags.clone());
    }
    // No store says who asks, whatever its policy. AWS ignores the case of tags.
    tags.retain(|(key, _)| OWN_TAGS.iter().all(|own| !own.eq_ignore_ascii_case(key)));
    if provider.session_tags_policy != SessionTagsPolicy::None {
        let who = [user, store.name.as_str(), store.kind.name()];
        let own = OWN_TAGS.into_iter().zip(who);
        tags.extend(own.map(|(key, value)| (key.to_owned(), value.to_owned())));
    }
    roles.push(AwsRole {
        arn: provider.role.clone(),
        external_id: Some(provider.external_id.clone()).filter(|id| !id.is_empty()),
        tags,
        transitive_tags: provider.transitive_tag_keys.clone(),
    });
    roles
}

/// How often a call is tried, and the pause before the second time.
fn retries(
    settings: Option<&RetrySettings>,
) -> Result<(Option<u32>, Option<Duration>), StoreError> {
    let Some(settings) = settings else {
        return Ok((None, None));
    };
    let attempts = settings
        .max_retries
        .and_then(|times| u32::try_from(times).ok());
    let interval = &settings.retry_interval;
    if interval.is_empty() {
        return Ok((attempts, None));
    }
    let pause = duration(interval);
    let pause = pause.ok_or_else(|| {
        StoreError::Config("retrySettings.retryInterval is not a duration".to_owned())
    })?;
    Ok((attempts, Some(pause)))
}

#[cfg(test)]
mod tests {
    use sealkit_core::api::external::SecretStoreRef;
    use serde_json::{Value, json};

    use super::*;

    fn provider(more: &Value) -> AwsProvider {
        let mut provider = json!({"service": "SecretsManager", "region": "eu-west-1"});
        for (field, value) in more.as_object().unwrap() {
            provider[field] = value.clone();
        }
        serde_json::from_value(provider).unwrap()
    }

    fn store() -> StoreName {
        let reference = SecretStoreRef {
            name: "aws".to_owned(),
            kind: StoreKind::ClusterSecretStore,
        };
        StoreName::of(&reference, "shop")
    }

    #[test]
    fn a_store_names_one_way_to_prove_who_asks() {
        let key = json!({"accessKeyIDSecretRef": {"name": "a", "namespace": "n"},
            "secretAccessKeySecretRef": {"name": "a", "namespace": "n"}});
        let account = json!({"serviceAccountRef": {"name": "a"}});
        let of = |auth: Value| provider(&json!({"auth": auth}));
        for (auth_value, says) in [
            (json!({"secretRef": key, "jwt": account}), "two methods"),
            (json!({"jwt": {}}), "no serviceAccountRef"),
            (json!({"secretRef": {}}), "needs accessKeyIDSecretRef"),
        ] {
            let provider = of(auth_value);
            let error = auth(&provider).err().unwrap();
            assert!(error.to_string().contains(says), "{error}");
        }
        let is_referent =
            |provider: &AwsProvider| is_referent(provider, &auth(provider).ok().unwrap());
        assert!(!is_referent(&of(json!({"secretRef": key}))));
        assert!(is_referent(&of(json!({"jwt": account}))));
        let own = provider(&json!({}));
        assert!(matches!(auth(&own), Ok(Auth::Controller)) && !is_referent(&own));
        let tagged = provider(&json!({"sessionTagsPolicy": "Simple"}));
        assert!(is_referent(&tagged), "AWS is told the namespace");
        let unserved = provider(&json!({"service": "CertificateManager"}));
        let error = auth(&unserved).err().unwrap().to_string();
        assert!(
            error.contains("CertificateManager of provider aws is not served"),
            "{error}"
        );
    }

    #[test]
    fn the_last_role_gets_the_external_id_and_the_tags() {
        let provider = provider(&json!({
            "role": "last", "additionalRoles": ["one", "two"], "externalID": "id",
            "sessionTags": [{"key": "esoNamespace", "value": "other"}, {"key": "team", "value": "a"}],
            "sessionTagsPolicy": "Custom", "customSessionTags": {"cost": "b"},
            "transitiveTagKeys": ["team"],
        }));
        let roles = roles(&provider, &store(), "shop");
        let arns: Vec<&str> = roles.iter().map(|role| role.arn.as_str()).collect();
        assert_eq!(arns, ["one", "two", "last"]);
        assert!(
            roles[..2]
                .iter()
                .all(|role| role.tags.is_empty() && role.external_id.is_none())
        );
        let tags = [
            ("team", "a"),
            ("cost", "b"),
            ("esoNamespace", "shop"),
            ("esoStoreName", "aws"),
            ("esoStoreKind", "ClusterSecretStore"),
        ];
        assert_eq!(
            roles[2].tags,
            tags.map(|(key, value)| (key.to_owned(), value.to_owned()))
        );
        assert_eq!(roles[2].external_id.as_deref(), Some("id"));
        assert_eq!(roles[2].transitive_tags, ["team"]);
    }

    #[test]
    fn no_store_says_who_asks() {
        for policy in ["None", "Simple", "Custom"] {
            let provider = provider(&json!({
                "role": "last", "sessionTagsPolicy": policy,
                "sessionTags": [
                    {"key": "esoNamespace", "value": "bank"}, {"key": "ESONAMESPACE", "value": "bank"},
                ],
                "customSessionTags": {"EsoStoreName": "bank", "esoStoreKind": "bank"},
            }));
            let roles = roles(&provider, &store(), "shop");
            let mut tags = roles[0].tags.iter();
            assert!(tags.all(|(_, value)| value != "bank"), "{policy}");
        }
    }

    #[test]
    fn retries_are_those_of_the_store() {
        let settings = |times, interval: &str| RetrySettings {
            max_retries: times,
            retry_interval: interval.to_owned(),
        };
        let pause = Some(Duration::from_secs(1));
        assert_eq!(
            retries(Some(&settings(Some(4), "1s"))),
            Ok((Some(4), pause))
        );
        assert_eq!(retries(Some(&settings(None, ""))), Ok((None, None)));
        assert_eq!(retries(Some(&settings(Some(-1), ""))), Ok((None, None)));
        assert!(retries(Some(&settings(None, "soon"))).is_err());
    }
}
