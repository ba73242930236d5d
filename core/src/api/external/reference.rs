//! References to other objects.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{schema, words};

words! {
    /// Kinds of stores.
    #[derive(Default)]
    StoreKind {
        /// A store of the namespace.
        #[default]
        SecretStore = "SecretStore",
        /// A store of the cluster.
        ClusterSecretStore = "ClusterSecretStore",
    }
}

/// A reference to a store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct SecretStoreRef {
    /// Name of the store.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(schema_with = "schema::name")]
    pub name: String,
    /// Kind of the store. Absent means SecretStore.
    #[serde(default, skip_serializing_if = "super::is_default")]
    pub kind: StoreKind,
}

/// A reference to a generator. Sealkit does not serve generators yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GeneratorRef {
    /// API version. Absent means `generators.external-secrets.io/v1alpha1`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub api_version: String,
    /// Kind of the generator.
    pub kind: String,
    /// Name of the generator.
    #[schemars(schema_with = "schema::name")]
    pub name: String,
}

/// Where values come from if not from the store of the ExternalSecret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
pub enum SourceRef {
    /// Another store.
    StoreRef(SecretStoreRef),
    /// A generator.
    GeneratorRef(GeneratorRef),
}

/// A reference to a key of a Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct SecretKeySelector {
    /// Name of the Secret.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(schema_with = "schema::name")]
    pub name: String,
    /// Namespace of the Secret: only for a ClusterSecretStore. If it is absent there, the Secret is
    /// read in the namespace of each ExternalSecret.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(schema_with = "schema::namespace")]
    pub namespace: String,
    /// Key in the Secret. Some fields have a default for it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(schema_with = "schema::key")]
    pub key: String,
}

/// A reference to a ServiceAccount, for which tokens are requested.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct ServiceAccountSelector {
    /// Name of the ServiceAccount.
    #[schemars(schema_with = "schema::name")]
    pub name: String,
    /// Namespace of the ServiceAccount: only for a ClusterSecretStore. If it is absent there, the
    /// ServiceAccount is that of the namespace of each ExternalSecret.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(schema_with = "schema::namespace")]
    pub namespace: String,
    /// Audiences of the token, besides those that the provider needs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub audiences: Vec<String>,
}

words! {
    /// Kinds of objects that hold CA certificates.
    CaProviderType {
        /// A Secret.
        Secret = "Secret",
        /// A ConfigMap.
        ConfigMap = "ConfigMap",
    }
}

/// A reference to the CA certificates of a server, in PEM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CaProvider {
    /// Kind of the object.
    #[serde(rename = "type")]
    pub type_: CaProviderType,
    /// Name of the object.
    #[schemars(schema_with = "schema::name")]
    pub name: String,
    /// Key in the object.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(schema_with = "schema::key")]
    pub key: String,
    /// Namespace of the object: only for a ClusterSecretStore.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(schema_with = "schema::namespace")]
    pub namespace: String,
}
