//! SecretStore and ClusterSecretStore: where values are, and how they are read.

#![allow(
    clippy::duplicated_attributes,
    reason = "each printer column has a name and a path"
)]

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{AwsProvider, FakeProvider, KubernetesProvider, VaultProvider, schema, words};
use crate::api::Condition;

/// Where values are, and how they are read.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "external-secrets.io",
    version = "v1",
    kind = "SecretStore",
    doc = "Where the ExternalSecrets of a namespace find values.",
    namespaced,
    status = "SecretStoreStatus",
    shortname = "ss",
    category = "external-secrets",
    derive = "PartialEq",
    printcolumn(
        name = "AGE",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    ),
    printcolumn(
        name = "Status",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason"
    ),
    printcolumn(
        name = "Capabilities",
        type_ = "string",
        json_path = ".status.capabilities"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct SecretStoreSpec {
    /// The class of controllers that serves the store. Absent means every controller.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub controller: String,
    /// The provider: exactly one.
    pub provider: Provider,
    /// How often a request is tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_settings: Option<RetrySettings>,
    /// How often the store is validated: seconds, or a Go duration. Absent or 0 means the
    /// controller's own interval.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh_interval: Option<IntOrString>,
    /// Namespaces that may use a ClusterSecretStore: those that meet one of the conditions. Without
    /// any condition, all may.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<NamespaceCondition>,
}

/// A store of the cluster. Its spec is that of a SecretStore.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "external-secrets.io",
    version = "v1",
    kind = "ClusterSecretStore",
    doc = "Where the ExternalSecrets of all namespaces find values.",
    status = "SecretStoreStatus",
    shortname = "css",
    category = "external-secrets",
    derive = "PartialEq",
    printcolumn(
        name = "AGE",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    ),
    printcolumn(
        name = "Status",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason"
    ),
    printcolumn(
        name = "Capabilities",
        type_ = "string",
        json_path = ".status.capabilities"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    )
)]
#[serde(transparent)]
pub struct ClusterSecretStoreSpec(pub SecretStoreSpec);

/// The provider of a store.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
pub struct Provider {
    /// Vault or OpenBao.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vault: Option<VaultProvider>,
    /// AWS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aws: Option<AwsProvider>,
    /// Kubernetes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kubernetes: Option<KubernetesProvider>,
    /// Values in the store itself, for tests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fake: Option<FakeProvider>,
    /// Providers that Sealkit does not serve, which are kept as they are.
    #[serde(flatten)]
    pub unserved: BTreeMap<String, Value>,
}

/// The one provider that a store has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ProviderChoice<'a> {
    /// Vault or OpenBao.
    Vault(&'a VaultProvider),
    /// AWS.
    Aws(&'a AwsProvider),
    /// Kubernetes.
    Kubernetes(&'a KubernetesProvider),
    /// Values in the store itself.
    Fake(&'a FakeProvider),
    /// One that Sealkit does not serve, by its name.
    Unserved(&'a str),
}

impl Provider {
    /// The provider; `None` if there is not exactly one.
    pub fn choice(&self) -> Option<ProviderChoice<'_>> {
        let served = [
            self.vault.as_ref().map(ProviderChoice::Vault),
            self.aws.as_ref().map(ProviderChoice::Aws),
            self.kubernetes.as_ref().map(ProviderChoice::Kubernetes),
            self.fake.as_ref().map(ProviderChoice::Fake),
        ];
        let unserved = self
            .unserved
            .keys()
            .map(|name| ProviderChoice::Unserved(name));
        let mut all = served.into_iter().flatten().chain(unserved);
        all.next().filter(|_| all.next().is_none())
    }
}

/// How often a request is tried again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RetrySettings {
    /// How many times at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_retries: Option<i32>,
    /// The time between them, as a Go duration.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub retry_interval: String,
}

/// Namespaces that may use a ClusterSecretStore: those that one of the fields names.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NamespaceCondition {
    /// By their labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<LabelSelector>,
    /// By their names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::namespaces")]
    pub namespaces: Vec<String>,
    /// By regular expressions that match a part of their names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespace_regexes: Vec<String>,
}

/// What the controller observed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretStoreStatus {
    /// The generation that the conditions describe.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready.
    #[serde(
        default,
        deserialize_with = "schema::lenient",
        skip_serializing_if = "Vec::is_empty"
    )]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
    /// What the store can do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<Capabilities>,
}

words! {
    /// What a store can do.
    Capabilities {
        /// Its values can be read.
        ReadOnly = "ReadOnly",
        /// Values can be written to it.
        WriteOnly = "WriteOnly",
        /// Both.
        ReadWrite = "ReadWrite",
    }
}
