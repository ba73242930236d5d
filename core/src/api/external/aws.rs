//! The provider `aws`: AWS Secrets Manager and the Parameter Store.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{SecretKeySelector, ServiceAccountSelector, words};

/// AWS Secrets Manager or the Parameter Store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct AwsProvider {
    /// The service.
    pub service: AwsService,
    /// Its region.
    pub region: String,
    /// How the controller authenticates. Absent means with its own identity.
    #[serde(default, skip_serializing_if = "super::is_default")]
    pub auth: AwsAuth,
    /// ARN of the role that is assumed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub role: String,
    /// ARNs of roles that are assumed before it, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub additional_roles: Vec<String>,
    /// External ID for assuming roles.
    #[serde(
        rename = "externalID",
        default,
        skip_serializing_if = "String::is_empty"
    )]
    pub external_id: String,
    /// Session tags for assuming roles.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub session_tags: Vec<Tag>,
    /// Keys of session tags that the next role gets too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub transitive_tag_keys: Vec<String>,
    /// Which session tags are added.
    #[serde(default)]
    pub session_tags_policy: SessionTagsPolicy,
    /// Session tags for sessionTagsPolicy Custom.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 50))]
    #[x_kube(validation = (
        "!self.exists(key, key in ['esoNamespace', 'esoStoreName', 'esoStoreKind'])",
        "esoNamespace, esoStoreName and esoStoreKind are set by the controller"
    ))]
    pub custom_session_tags: BTreeMap<String, String>,
    /// Text in front of each key.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub prefix: String,
    /// How Secrets Manager deletes: only for resources that push values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secrets_manager: Option<AwsSecretsManager>,
}

words! {
    /// A service of AWS.
    AwsService {
        /// Secrets Manager.
        SecretsManager = "SecretsManager",
        /// The Parameter Store of Systems Manager.
        ParameterStore = "ParameterStore",
        /// Certificate Manager. Sealkit does not serve it yet.
        CertificateManager = "CertificateManager",
    }
}

/// How the controller authenticates to AWS.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AwsAuth {
    /// With an access key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<AwsCredentials>,
    /// With the token of a ServiceAccount that has the annotation `eks.amazonaws.com/role-arn`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwt: Option<AwsJwtAuth>,
}

/// An access key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AwsCredentials {
    /// Its ID.
    #[serde(
        rename = "accessKeyIDSecretRef",
        skip_serializing_if = "Option::is_none"
    )]
    pub access_key_id: Option<SecretKeySelector>,
    /// Its secret.
    #[serde(
        rename = "secretAccessKeySecretRef",
        skip_serializing_if = "Option::is_none"
    )]
    pub secret_access_key: Option<SecretKeySelector>,
    /// The session token, if the access key is temporary.
    #[serde(
        rename = "sessionTokenSecretRef",
        skip_serializing_if = "Option::is_none"
    )]
    pub session_token: Option<SecretKeySelector>,
}

/// The token of a ServiceAccount.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AwsJwtAuth {
    /// The ServiceAccount.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_account_ref: Option<ServiceAccountSelector>,
}

/// A session tag.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Tag {
    /// Its key.
    pub key: String,
    /// Its value.
    pub value: String,
}

words! {
    /// Which session tags are added when a role is assumed.
    #[derive(Default)]
    SessionTagsPolicy {
        /// None.
        #[default]
        None = "None",
        /// The namespace of the ExternalSecret, and name and kind of the store.
        Simple = "Simple",
        /// Besides these, those of `customSessionTags`.
        Custom = "Custom",
    }
}

/// How Secrets Manager deletes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AwsSecretsManager {
    /// Without a recovery window.
    #[serde(default, skip_serializing_if = "super::is_default")]
    pub force_delete_without_recovery: bool,
    /// The recovery window in days.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recovery_window_in_days: Option<i64>,
}
