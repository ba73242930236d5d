//! ClusterExternalSecret: one ExternalSecret in each of many namespaces.

#![allow(
    clippy::duplicated_attributes,
    reason = "each printer column has a name and a path"
)]

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ExternalSecretSpec, schema};
use crate::api::Condition;

/// An ExternalSecret that the controller makes in each selected namespace.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "external-secrets.io",
    version = "v1",
    kind = "ClusterExternalSecret",
    doc = "An ExternalSecret that the controller makes in each selected namespace.",
    status = "ClusterExternalSecretStatus",
    shortname = "ces",
    category = "external-secrets",
    derive = "PartialEq",
    printcolumn(
        name = "Store",
        type_ = "string",
        json_path = ".spec.externalSecretSpec.secretStoreRef.name"
    ),
    printcolumn(
        name = "Refresh Interval",
        type_ = "string",
        json_path = ".spec.refreshTime"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct ClusterExternalSecretSpec {
    /// The spec of each ExternalSecret.
    pub external_secret_spec: ExternalSecretSpec,
    /// Name of each ExternalSecret. Absent means the name of the ClusterExternalSecret.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(schema_with = "schema::name")]
    pub external_secret_name: String,
    /// Labels and annotations of each ExternalSecret.
    #[serde(default, skip_serializing_if = "super::is_default")]
    pub external_secret_metadata: ExternalSecretMetadata,
    /// Selects namespaces by their labels. Deprecated: use `namespaceSelectors`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<LabelSelector>,
    /// Select namespaces by their labels: those that match one of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespace_selectors: Vec<LabelSelector>,
    /// Selects namespaces by name, besides the selectors. Deprecated: use `namespaceSelectors` with
    /// the label `kubernetes.io/metadata.name`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::namespaces")]
    pub namespaces: Vec<String>,
    /// How often all ExternalSecrets are compared with the spec, as a Go duration. Absent means an
    /// hour. A change is corrected at once, whatever the interval.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub refresh_time: String,
}

/// Labels and annotations.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExternalSecretMetadata {
    /// Annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// What the controller observed and did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterExternalSecretStatus {
    /// The generation that the conditions describe.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Name of each ExternalSecret.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub external_secret_name: String,
    /// Selected namespaces without their ExternalSecret, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed_namespaces: Vec<FailedNamespace>,
    /// Namespaces that have their ExternalSecret.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub provisioned_namespaces: Vec<String>,
    /// Reconciling or Stalled, and Ready.
    #[serde(
        default,
        deserialize_with = "schema::lenient",
        skip_serializing_if = "Vec::is_empty"
    )]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
}

/// A namespace without its ExternalSecret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FailedNamespace {
    /// Its name.
    pub namespace: String,
    /// Why, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}
