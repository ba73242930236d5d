//! Conditions of our resources: their types, and their reasons for programs.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Types of conditions that our resources have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum ConditionType {
    /// Work is in progress or will be retried. True or absent.
    Reconciling,
    /// Only a change of the spec or of keys helps. True or absent.
    Stalled,
    /// Mirrors Ready, for the recipes of other tools.
    Synced,
    /// Whether the observed generation is fully reconciled.
    Ready,
}

impl ConditionType {
    /// The word in statuses.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reconciling => "Reconciling",
            Self::Stalled => "Stalled",
            Self::Synced => "Synced",
            Self::Ready => "Ready",
        }
    }
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

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident,)+) => {
        /// Reasons of conditions and events. Never `Error`: Fleet reads that word as a failure.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason { $($(#[$doc])* $name,)+ }

        impl Reason {
            /// The word.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)+ }
            }
        }
    };
}

reasons! {
    /// The Secret is in sync with its SealedSecret.
    Opened,
    /// The Secret has what its store holds.
    Synced,
    /// The store has nothing any more, and so there is no Secret.
    SecretDeleted,
    /// No Secret exists to merge into, and none is to be made.
    SecretMissing,
    /// The store of an ExternalSecret does not exist, or may not be used from its namespace.
    StoreNotReady,
    /// The description of a store is at fault, or asks for what is not served.
    InvalidProviderConfig,
    /// The provider did not answer, or not with a secret.
    ProviderError,
    /// The Secret was made.
    Created,
    /// The Secret has new values.
    Updated,
    /// The Secret was deleted, since the store has nothing any more.
    Deleted,
    /// The Secret could not be made or brought up to date.
    UpdateFailed,
    /// The store lacks a value that may be left out.
    MissingProviderSecret,
    /// A store works.
    Valid,
    /// Whether a store works shows when it is used.
    ValidationUnknown,
    /// A store does not work, or not now.
    ValidationFailed,
    /// Altered, moved or damaged.
    DecryptFailed,
    /// An envelope's hints are not the recipients that it is sealed to.
    HintMismatch,
    /// Not sealed to the newest key.
    NeedsReseal,
    /// The private half of a SealingKey is gone.
    IdentityMissing,
    /// Sealed to keys that this cluster does not have.
    NoMatchingKey,
    /// Sealed for another object.
    ScopeMismatch,
    /// The resource breaks a rule that public text shows.
    InvalidSpec,
    /// The Secret belongs to somebody else.
    TargetConflict,
    /// The API server did not take the Secret.
    TargetWriteFailed,
    /// A template of `template.data` cannot be rendered.
    TemplateFailed,
    /// A bug in the controller: its log has the place in the code. It retries.
    ProcessingFailed,
    /// No Secret exists to merge into, or a store has no such value.
    NotFound,
    /// The resource says `suspend: true`.
    Suspended,
    /// The controller lacks the right to write the Secret, or the store refuses to be read.
    AccessDenied,
    /// Drift was corrected.
    Healed,
    /// Each envelope has an answer.
    Rewrapped,
    /// A workload gets new pods, since values changed that its pods read.
    Restarted,
    /// A workload is to get new pods, and could not be changed.
    RestartFailed,
    /// Being retried.
    ProgressingWithRetry,
    /// The key pair is available.
    KeyAvailable,
    /// A key is not revoked while objects need it.
    InUse,
    /// The algorithm is not among the allowed ones.
    AlgorithmNotAllowed,
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
    /// The generation of the spec that this condition describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// When the status last changed.
    #[schemars(with = "k8s_openapi::apimachinery::pkg::apis::meta::v1::Time")]
    pub last_transition_time: Timestamp,
    /// One word for programs.
    pub reason: String,
    /// A sentence for people. It never contains a value.
    pub message: String,
}
