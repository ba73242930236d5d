//! The custom resources of the group `sealkit.dev`, one file each, those of [`external`], their
//! CRDs, and the [`rules`] for SealedSecrets.

mod admitted;
mod conditions;
pub mod external;
pub mod identity;
pub mod marks;
pub mod readiness;
mod rewrap_request;
pub mod rules;
mod sealed_secret;
mod sealing_key;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON,
};
use kube::CustomResourceExt;

pub use conditions::{Condition, ConditionStatus, ConditionType, Reason};
pub use identity::IDENTITY_TYPE;
pub use rewrap_request::{
    REWRAP_BYTES, REWRAP_ENVELOPES, REWRAP_REQUESTS, RewrapRequest, RewrapRequestSpec,
    RewrapRequestStatus, RewrappedEnvelope,
};
pub use sealed_secret::{
    CreationPolicy, EnvelopeSpec, ScopeSpec, SealedSecret, SealedSecretSpec, SealedSecretStatus,
    SecretTemplate, TargetSpec, TargetStatus, TemplateMetadata,
};
pub use sealing_key::{Algorithm, KeyState, SealingKey, SealingKeySpec, SealingKeyStatus};

/// API group of our own resources.
pub const GROUP: &str = "sealkit.dev";
/// The served version.
pub const VERSION: &str = "v1beta1";
/// The `Accept` header of requests that need no more than metadata in the answer: no Secret comes
/// back over the wire, and the server builds no large answer for nobody.
pub const METADATA_ONLY: &str =
    "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";
/// The default namespace of the controller.
pub const CONTROLLER_NAMESPACE: &str = "sealkit-system";
/// The lease of the leading replica, in the controller's namespace.
pub const LEASE: &str = "seal-controller";
/// Annotation whose change forces a reconcile; repeated in `status.lastHandledReconcileAt`.
pub const RECONCILE_REQUESTED_AT: &str = "sealkit.dev/reconcile-requested-at";

/// The command that lets the controller of a few namespaces serve this one.
pub fn watch_command(namespace: &str) -> String {
    format!("kubectl apply --server-side -n {namespace} -k deploy/namespaced/tenant")
}

/// Prefix of the labels and annotations that only Sealkit sets.
pub const OWN_PREFIX: &str = "sealkit.dev/";

/// All CRDs, as in `deploy/crds`.
pub fn custom_resource_definitions() -> Vec<CustomResourceDefinition> {
    let mut crds = vec![SealedSecret::crd(), SealingKey::crd(), RewrapRequest::crd()];
    crds.extend(external::custom_resource_definitions());
    crds.iter_mut().for_each(default_status);
    crds
}

/// Makes kstatus report an object that no controller has observed as InProgress, not Current: its
/// status begins with a generation that no object has. Flux's own kinds do the same.
fn default_status(crd: &mut CustomResourceDefinition) {
    for version in &mut crd.spec.versions {
        let status = version
            .schema
            .as_mut()
            .and_then(|schema| schema.open_api_v3_schema.as_mut())
            .and_then(|schema| schema.properties.as_mut())
            .and_then(|properties| properties.get_mut("status"));
        if let Some(status) = status {
            status.default = Some(JSON(serde_json::json!({"observedGeneration": -1})));
            status.nullable = None;
        }
    }
}
