//! The provider `kubernetes`: Secrets of this or another cluster.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{CaProvider, SecretKeySelector, ServiceAccountSelector, schema};

/// Secrets of this or another cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KubernetesProvider {
    /// The API server.
    #[serde(default, skip_serializing_if = "super::is_default")]
    pub server: KubernetesServer,
    /// How the controller authenticates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<KubernetesAuth>,
    /// A kubeconfig in a Secret, instead of `server` and `auth`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_ref: Option<SecretKeySelector>,
    /// The namespace whose Secrets are read.
    #[serde(default = "default_namespace")]
    #[schemars(schema_with = "schema::namespace")]
    pub remote_namespace: String,
}

fn default_namespace() -> String {
    "default".to_owned()
}

impl Default for KubernetesProvider {
    fn default() -> Self {
        Self {
            server: KubernetesServer::default(),
            auth: None,
            auth_ref: None,
            remote_namespace: default_namespace(),
        }
    }
}

/// An API server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KubernetesServer {
    /// Its address. The scheme can be left out.
    #[serde(default = "own_server")]
    pub url: String,
    /// Its CA certificates: base64 of PEM.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(schema_with = "schema::bytes")]
    pub ca_bundle: String,
    /// Its CA certificates in a Secret or ConfigMap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_provider: Option<CaProvider>,
}

fn own_server() -> String {
    "kubernetes.default".to_owned()
}

impl Default for KubernetesServer {
    fn default() -> Self {
        Self {
            url: own_server(),
            ca_bundle: String::new(),
            ca_provider: None,
        }
    }
}

/// How the controller authenticates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
pub enum KubernetesAuth {
    /// With a client certificate.
    Cert(CertificateAuth),
    /// With a token.
    Token(TokenAuth),
    /// As a ServiceAccount of this cluster.
    ServiceAccount(ServiceAccountSelector),
}

/// A client certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CertificateAuth {
    /// The certificate in PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_cert: Option<SecretKeySelector>,
    /// Its private key in PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_key: Option<SecretKeySelector>,
}

/// A token.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenAuth {
    /// The token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bearer_token: Option<SecretKeySelector>,
}
