//! RewrapRequest: envelopes to be sealed to the successors of their recipients.

#![allow(
    clippy::duplicated_attributes,
    reason = "each printer column has a name and a path"
)]

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Condition, EnvelopeSpec, admitted};

/// Envelopes of one request.
pub const REWRAP_ENVELOPES: usize = 200;
/// Bytes of the envelopes of one request as compact JSON.
pub const REWRAP_BYTES: usize = 400 * 1024;
/// Requests of one namespace that are kept at once; further ones are deleted without an answer.
pub const REWRAP_REQUESTS: usize = 10;

/// Asks the controller to seal envelopes to the successors of their recipients: the cluster's
/// newest key, and the recipients that the ConfigMap `sealkit-recipients` names. The answer reveals
/// nothing, and the controller decrypts no value. It deletes a request after ten minutes.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "sealkit.dev",
    version = "v1beta1",
    kind = "RewrapRequest",
    namespaced,
    status = "RewrapRequestStatus",
    category = "sealkit",
    derive = "PartialEq",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].message"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct RewrapRequestSpec {
    /// Envelopes by id: at most 200, with at most 409,600 bytes as JSON. Strict and namespace-wide
    /// ones must be sealed for this namespace.
    #[serde(default)]
    #[schemars(extend("maxProperties" = REWRAP_ENVELOPES, "x-kubernetes-map-type" = "atomic"))]
    #[x_kube(
        validation = ("self == oldSelf", "a request cannot be changed: create another one"),
        validation = admitted::ENVELOPE_IDS
    )]
    pub envelopes: BTreeMap<String, EnvelopeSpec>,
}

/// The answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RewrapRequestStatus {
    /// The generation that was answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Stalled first if the request could not be answered, then Synced, Ready last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// The result for each envelope, by id.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("x-kubernetes-map-type" = "atomic"))]
    pub envelopes: BTreeMap<String, RewrappedEnvelope>,
}

/// The result for one envelope: the new envelope, or an error.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RewrappedEnvelope {
    /// Fingerprints of the recipients, one for each stanza in the age file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recipients: Vec<String>,
    /// Standard base64 of a binary age file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_file: Option<String>,
    /// Why there is no new envelope.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}
