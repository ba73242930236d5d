//! ExternalSecret: a Secret that is made of values in a store.

#![allow(
    clippy::duplicated_attributes,
    reason = "each printer column has a name and a path"
)]

use jiff::Timestamp;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Data, DataFrom, SecretStoreRef, Target, schema, words};
use crate::api::{Condition, TargetStatus};

/// A Secret that the controller makes of values in a store, and refreshes.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "external-secrets.io",
    version = "v1",
    kind = "ExternalSecret",
    doc = "A Secret that the controller makes of values in a store, and refreshes.",
    namespaced,
    status = "ExternalSecretStatus",
    shortname = "es",
    category = "external-secrets",
    derive = "PartialEq",
    selectable = ".spec.secretStoreRef.name",
    selectable = ".spec.secretStoreRef.kind",
    selectable = ".spec.target.name",
    selectable = ".spec.refreshInterval",
    printcolumn(
        name = "StoreType",
        type_ = "string",
        json_path = ".spec.secretStoreRef.kind"
    ),
    printcolumn(
        name = "Store",
        type_ = "string",
        json_path = ".spec.secretStoreRef.name"
    ),
    printcolumn(
        name = "Refresh Interval",
        type_ = "string",
        json_path = ".spec.refreshInterval"
    ),
    printcolumn(
        name = "Status",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(name = "Last Sync", type_ = "date", json_path = ".status.refreshTime")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "has(self.data) && size(self.data) > 0 || has(self.dataFrom) && size(self.dataFrom) > 0",
    "set data or dataFrom: there is nothing to read"
))]
pub struct ExternalSecretSpec {
    /// The store. An entry can name another one.
    #[serde(default, skip_serializing_if = "super::is_default")]
    pub secret_store_ref: SecretStoreRef,
    /// When the values are read again. Absent means Periodic.
    #[serde(default, skip_serializing_if = "super::is_default")]
    pub refresh_policy: RefreshPolicy,
    /// How often the values are read with refreshPolicy Periodic, as a Go duration: `1h30m`, `15s`.
    /// With `0`, they are read only when the spec changes.
    #[serde(default = "one_hour")]
    pub refresh_interval: String,
    /// When the values may be read. Sealkit does not serve it yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sync_windows: Option<SyncWindows>,
    /// The Secret.
    #[serde(default)]
    pub target: Target,
    /// Keys of the Secret, one by one. They take precedence over `dataFrom`, and later ones over
    /// earlier ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub data: Vec<Data>,
    /// Keys of the Secret, many at once. Later ones take precedence.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("maxItems" = 1000))]
    pub data_from: Vec<DataFrom>,
}

fn one_hour() -> String {
    "1h0m0s".to_owned()
}

impl Default for ExternalSecretSpec {
    fn default() -> Self {
        Self {
            secret_store_ref: SecretStoreRef::default(),
            refresh_policy: RefreshPolicy::default(),
            refresh_interval: one_hour(),
            sync_windows: None,
            target: Target::default(),
            data: Vec::new(),
            data_from: Vec::new(),
        }
    }
}

words! {
    /// When values are read again.
    #[derive(Default)]
    RefreshPolicy {
        /// Never: only until the Secret exists.
        CreatedOnce = "CreatedOnce",
        /// Every `refreshInterval`.
        #[default]
        Periodic = "Periodic",
        /// When the ExternalSecret changes.
        OnChange = "OnChange",
    }
}

/// When values may be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SyncWindows {
    /// What the windows mean.
    pub kind: SyncWindowKind,
    /// The windows.
    #[schemars(length(min = 1))]
    pub windows: Vec<SyncWindow>,
}

words! {
    /// What windows mean.
    SyncWindowKind {
        /// Values are read only within a window.
        Allow = "allow",
        /// Values are not read within a window.
        Deny = "deny",
    }
}

/// A window of time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SyncWindow {
    /// When it begins: five fields of cron in UTC, or `@daily` and the like.
    pub schedule: String,
    /// How long it lasts, as a Go duration.
    pub duration: String,
}

/// What the controller observed and did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExternalSecretStatus {
    /// The generation that the conditions describe.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// When the values were last read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::time")]
    pub refresh_time: Option<Timestamp>,
    /// The generation, and a hash of the labels and annotations, at the last refresh.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub synced_resource_version: String,
    /// The Secret, for the Service Binding specification.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub binding: Option<Binding>,
    /// The Secret as it was last written or found right. Only Sealkit has this field: a controller
    /// that starts refreshes nothing before it is due.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<TargetStatus>,
    /// Ready, or Deleted.
    #[serde(
        default,
        deserialize_with = "schema::lenient",
        skip_serializing_if = "Vec::is_empty"
    )]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
}

/// A reference to a Secret of the same namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Binding {
    /// Name of the Secret.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
}
