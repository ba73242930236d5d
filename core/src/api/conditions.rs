use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Types of conditions that our resources have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum ConditionType {
    /// Work is under way or retried. True or absent.
    Reconciling,
    /// Only a change of spec or keys helps. True or absent.
    Stalled,
    /// Mirror of Ready, for recipes of other tools.
    Synced,
    /// Is everything there, for the generation observed?
    Ready,
}

/// Status of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It does not.
    False,
    /// Not known yet.
    Unknown,
}

/// Reasons of conditions and events. Never `Error`: Fleet reads that word as a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "the names are the documentation")]
pub enum Reason {
    Opened,
    DecryptFailed,
    HintMismatch,
    NeedsReseal,
    IdentityMissing,
    NoMatchingKey,
    ScopeMismatch,
    InvalidSpec,
    TargetConflict,
    TargetWriteFailed,
    AccessDenied,
    Suspended,
    Healed,
    Progressing,
    ProgressingWithRetry,
    KeyAvailable,
    InUse,
    AlgorithmNotAllowed,
    NotSupported,
}

impl Reason {
    /// The word.
    pub fn name(self) -> String {
        format!("{self:?}")
    }
}

/// A condition, as Kubernetes' API conventions define it. `observedGeneration` is on every one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// Type of the condition.
    #[serde(rename = "type")]
    pub type_: String,
    /// True, False or Unknown.
    pub status: ConditionStatus,
    /// The generation of the spec that this is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// When the status last changed.
    #[schemars(with = "k8s_openapi::apimachinery::pkg::apis::meta::v1::Time")]
    pub last_transition_time: Timestamp,
    /// One word for programs.
    pub reason: String,
    /// A sentence for people. Never holds a value.
    pub message: String,
}
