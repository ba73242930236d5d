//! SealingKey: the public half of one of the cluster's key pairs.

#![allow(
    clippy::duplicated_attributes,
    reason = "each printer column has a name and a path"
)]

use std::str::FromStr;

use jiff::Timestamp;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Condition;
use crate::keys::KeyType;

/// The public half of one of the cluster's key pairs. Everybody may read it; the private half stays
/// in a Secret in the controller's namespace.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "sealkit.dev",
    version = "v1beta1",
    kind = "SealingKey",
    status = "SealingKeyStatus",
    category = "sealkit",
    derive = "PartialEq",
    printcolumn(name = "Algorithm", type_ = "string", json_path = ".spec.algorithm"),
    printcolumn(name = "State", type_ = "string", json_path = ".status.state"),
    printcolumn(
        name = "Fingerprint",
        type_ = "string",
        json_path = ".status.fingerprint"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(name = "Created", type_ = "date", json_path = ".status.createdAt")
)]
#[serde(rename_all = "camelCase")]
pub struct SealingKeySpec {
    /// The type of the key pair. Cannot be changed.
    #[serde(default)]
    #[x_kube(validation = ("self == oldSelf", "algorithm cannot be changed: create another SealingKey"))]
    pub algorithm: Algorithm,
    /// What the key may be used for. Revoked is final.
    #[serde(default)]
    #[x_kube(validation = ("oldSelf != 'Revoked' || self == 'Revoked'", "a revoked key stays revoked"))]
    pub state: KeyState,
}

/// Types of key pairs, by the names of their age stanzas.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum Algorithm {
    /// Hybrid, post-quantum. The default.
    #[default]
    #[serde(rename = "mlkem768x25519")]
    Hybrid,
    /// Classic.
    #[serde(rename = "X25519")]
    Classic,
}

impl From<Algorithm> for KeyType {
    fn from(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Hybrid => Self::Hybrid,
            Algorithm::Classic => Self::Classic,
        }
    }
}

impl From<KeyType> for Algorithm {
    fn from(key_type: KeyType) -> Self {
        match key_type {
            KeyType::Hybrid => Self::Hybrid,
            KeyType::Classic => Self::Classic,
        }
    }
}

/// What a key may be used for.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum KeyState {
    /// Seal and open.
    #[default]
    Active,
    /// Open only.
    DecryptOnly,
    /// Neither. Final.
    Revoked,
}

impl KeyState {
    /// The word in specs, statuses and annotations.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "Active",
            Self::DecryptOnly => "DecryptOnly",
            Self::Revoked => "Revoked",
        }
    }
}

impl FromStr for KeyState {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        [Self::Active, Self::DecryptOnly, Self::Revoked]
            .into_iter()
            .find(|state| state.name() == text)
            .ok_or(())
    }
}

/// What the controller reports about the key pair. It restores this status if somebody changes it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SealingKeyStatus {
    /// The generation that the conditions describe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The public key to seal to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipient: Option<String>,
    /// Its fingerprint, 32 hex characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// When the key pair was created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::Time>")]
    pub created_at: Option<Timestamp>,
    /// The state in force: DecryptOnly if a newer key has superseded this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<KeyState>,
    /// Reconciling or Stalled first, then Synced, Ready last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}
