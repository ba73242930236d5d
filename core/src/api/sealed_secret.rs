//! SealedSecret: encrypted values, and the Secret that is made from them.

#![allow(
    clippy::duplicated_attributes,
    reason = "each printer column has a name and a path"
)]

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Condition, admitted};
use crate::sealed::limits;
use crate::template;

/// Encrypted values, and the Secret that the controller of their cluster creates from them. Safe to
/// commit: only holders of a recipient's private key can read the values.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "sealkit.dev",
    version = "v1beta1",
    kind = "SealedSecret",
    namespaced,
    status = "SealedSecretStatus",
    shortname = "seal",
    category = "sealkit",
    derive = "PartialEq",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason"
    ),
    printcolumn(
        name = "Reseal",
        type_ = "boolean",
        json_path = ".status.needsReseal",
        priority = "1"
    ),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].message",
        priority = "1"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct SealedSecretSpec {
    /// What the values are bound to. Absent means strict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<ScopeSpec>,
    /// Envelopes by id. Each holds the data key of the values that name it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = limits::ENVELOPES))]
    #[x_kube(validation = admitted::ENVELOPE_IDS)]
    pub envelopes: BTreeMap<String, EnvelopeSpec>,
    /// The sealed values by key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = limits::VALUES))]
    #[x_kube(validation = admitted::SECRET_KEYS, validation = admitted::VALUES)]
    pub encrypted_data: BTreeMap<String, String>,
    /// How the Secret is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<TargetSpec>,
    /// What the Secret has besides the values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<SecretTemplate>,
    /// If true, the controller leaves the Secret as it is, whatever else this resource says.
    /// A suspended resource is not Ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
}

/// What sealed values are bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ScopeSpec {
    /// Namespace and name.
    Strict,
    /// Namespace only.
    NamespaceWide,
    /// Nothing.
    ClusterWide,
}

/// One envelope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EnvelopeSpec {
    /// Fingerprints of the recipients, one for each stanza in the age file.
    pub recipients: Vec<String>,
    /// Standard base64 of a binary age file.
    pub age_file: String,
}

/// How the Secret is written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TargetSpec {
    /// Who owns the Secret. Absent means Owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub creation_policy: Option<CreationPolicy>,
    /// Take over an existing Secret of this name that has no controller owner. The Secret must
    /// consent with the annotation `sealkit.dev/allow: SealedSecret/<name>:adopt`, or the controller's
    /// `--adopt-namespaces` must name its namespace. The Secret then belongs to this resource: with
    /// creationPolicy Owner, it is deleted with the resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopt: Option<bool>,
}

/// Who owns the Secret.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum CreationPolicy {
    /// This resource: the Secret is deleted with it.
    #[default]
    Owner,
    /// Nobody: the Secret stays when the resource is deleted.
    Orphan,
    /// Somebody else: the values are added to an existing Secret that consents.
    Merge,
}

/// What the Secret has besides the values.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretTemplate {
    /// Type of the Secret. Absent means Opaque.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub type_: Option<String>,
    /// Whether the Secret is immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub immutable: Option<bool>,
    /// Labels and annotations of the Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<TemplateMetadata>,
    /// Go templates by key of the Secret. They can read the values that were sealed with
    /// `--render`. A sealed value takes precedence over a template of the same key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = template::limits::ENTRIES))]
    #[x_kube(validation = admitted::SECRET_KEYS)]
    pub data: BTreeMap<String, String>,
    /// Whether the Secret also holds the sealed values themselves. Absent means true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub include_raw: Option<bool>,
}

/// Labels and annotations of the Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TemplateMetadata {
    /// Labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// What the controller observed and did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SealedSecretStatus {
    /// The generation that the conditions describe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Reconciling or Stalled first, then Synced, Ready last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// The Secret as last written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<TargetStatus>,
    /// Fingerprints of this cluster's keys that opened the envelopes.
    #[serde(default)]
    #[schemars(transform = without_default)]
    pub sealed_to: Vec<String>,
    /// Whether an envelope is not sealed to the newest key, is classic although that key is hybrid,
    /// or lists recipients other than those it is sealed to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub needs_reseal: Option<bool>,
    /// The last value of the annotation `sealkit.dev/reconcile-requested-at` that was handled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_reconcile_at: Option<String>,
}

/// The Secret as last written. If it is unchanged when the controller restarts, it is in sync.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TargetStatus {
    /// Name of the Secret.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// Its resourceVersion after the write.
    pub resource_version: String,
    /// True if the Secret belongs to somebody else and the controller only added keys to it
    /// (creationPolicy Merge).
    #[serde(default, skip_serializing_if = "is_false")]
    pub merged: bool,
}

/// The API server would add the default to every status.
fn without_default(schema: &mut schemars::Schema) {
    schema.remove("default");
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_false(value: &bool) -> bool {
    !value
}
