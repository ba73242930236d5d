//! The custom resources of the group `external-secrets.io` as External Secrets defines them, so
//! that its manifests apply unchanged: [`ExternalSecret`], [`ClusterExternalSecret`],
//! [`SecretStore`] and [`ClusterSecretStore`].
//!
//! An optional text that is absent is an empty text here, because External Secrets does not tell
//! the two apart. Durations are texts in Go's format (`1h30m`, `15s`, `0`).

mod aws;
mod cluster_external_secret;
mod duration;
mod external_secret;
mod fake;
mod hash;
mod kubernetes;
mod reference;
mod remote;
pub mod rules;
mod schema;
mod secret_store;
mod target;
#[cfg(test)]
mod tests;
mod vault;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

pub use aws::{
    AwsAuth, AwsCredentials, AwsJwtAuth, AwsProvider, AwsSecretsManager, AwsService,
    SessionTagsPolicy, Tag,
};
pub use cluster_external_secret::{
    ClusterExternalSecret, ClusterExternalSecretSpec, ClusterExternalSecretStatus,
    ExternalSecretMetadata, FailedNamespace,
};
pub use duration::{canonical as canonical_duration, duration};
pub use external_secret::{
    Binding, ExternalSecret, ExternalSecretSpec, ExternalSecretStatus, RefreshPolicy, SyncWindow,
    SyncWindowKind, SyncWindows,
};
pub use fake::{FakeProvider, FakeValue};
pub use hash::{
    ESO_CREATED_BY_LABEL, ESO_DATA_HASH_ANNOTATION, ESO_FINALIZER, ESO_MANAGED_LABEL,
    ESO_NAMESPACE_FINALIZER, created_by, data_hash, eso_field_manager, synced_resource_version,
};
pub use kubernetes::{
    CertificateAuth, KubernetesAuth, KubernetesProvider, KubernetesServer, TokenAuth,
};
pub use reference::{
    CaProvider, CaProviderType, GeneratorRef, SecretKeySelector, SecretStoreRef,
    ServiceAccountSelector, SourceRef, StoreKind,
};
pub use remote::{
    ConflictPolicy, ConversionStrategy, Data, DataFrom, DecodingStrategy, Find, FindName,
    MergeStrategy, MetadataPolicy, NullBytePolicy, PriorityPolicy, RemoteRef, Rewrite,
    RewriteMerge, RewriteRegexp, RewriteTransform,
};
pub use secret_store::{
    Capabilities, ClusterSecretStore, ClusterSecretStoreSpec, NamespaceCondition, Provider,
    ProviderChoice, RetrySettings, SecretStore, SecretStoreSpec, SecretStoreStatus,
};
pub use target::{
    CreationPolicy, DeletionPolicy, EngineVersion, Manifest, MergePolicy, Target, Template,
    TemplateAs, TemplateFrom, TemplateItem, TemplateMetadata, TemplateSource,
};
pub use vault::{
    VaultAppRole, VaultAuth, VaultCertAuth, VaultCheckAndSet, VaultClientTls, VaultJwtAuth,
    VaultKubernetesAuth, VaultProvider, VaultServiceAccountToken, VaultUserPassAuth, VaultVersion,
};

/// API group of the resources.
pub const GROUP: &str = "external-secrets.io";
/// The stored version.
pub const VERSION: &str = "v1";
/// The older version, which is served too.
pub const OLD_VERSION: &str = "v1beta1";
/// Annotation whose change forces a refresh.
pub const FORCE_SYNC: &str = "force-sync";
/// Annotation of a ClusterExternalSecret whose change forces a refresh of all its ExternalSecrets,
/// which get it too.
pub const CLUSTER_FORCE_SYNC: &str = "external-secrets.io/force-sync";
/// Annotation of a ClusterSecretStore: which keys each namespace may read, as a JSON object of globs
/// of namespaces with lists of globs of keys. The first namespace that matches counts.
pub const KEY_POLICY: &str = "sealkit.dev/key-policy";
/// Annotation of a ClusterSecretStore over AWS with the URL of a queue of SQS that tells which secrets
/// changed. Sealkit's own.
pub const EVENT_QUEUE: &str = "sealkit.dev/event-queue";

/// An enum whose variants are words in manifests.
macro_rules! words {
    (
        $(#[$attribute:meta])*
        $name:ident { $($(#[$variant_attribute:meta])* $variant:ident = $word:literal,)+ }
    ) => {
        $(#[$attribute])*
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, Hash,
            serde::Serialize, serde::Deserialize, schemars::JsonSchema,
        )]
        pub enum $name { $($(#[$variant_attribute])* #[serde(rename = $word)] $variant,)+ }

        impl $name {
            /// The word in manifests.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }
    };
}
use words;

/// Does an enum have its default, so that it need not be written?
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// The CRDs of the group, as in `deploy/crds`.
pub(super) fn custom_resource_definitions() -> Vec<CustomResourceDefinition> {
    [
        ExternalSecret::crd(),
        SecretStore::crd(),
        ClusterSecretStore::crd(),
        ClusterExternalSecret::crd(),
    ]
    .map(schema::served_in_both_versions)
    .into()
}
