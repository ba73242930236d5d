//! The provider `vault`: the KV engines of Vault and OpenBao.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{CaProvider, SecretKeySelector, ServiceAccountSelector, schema, words};

/// A KV engine of Vault or OpenBao.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VaultProvider {
    /// URL of the server.
    pub server: String,
    /// Where the engine is mounted. If absent, keys begin with it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// Version of the engine.
    #[serde(default)]
    pub version: VaultVersion,
    /// Namespace in Vault.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// CA certificates of the server: base64 of PEM.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(schema_with = "schema::bytes")]
    pub ca_bundle: String,
    /// CA certificates of the server in a Secret or ConfigMap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_provider: Option<CaProvider>,
    /// A client certificate for TLS.
    #[serde(default, skip_serializing_if = "super::is_default")]
    pub tls: VaultClientTls,
    /// Whether reads see the writes before them.
    #[serde(default, skip_serializing_if = "super::is_default")]
    pub read_your_writes: bool,
    /// Whether the active node answers when another one does not have the state yet.
    #[serde(default, skip_serializing_if = "super::is_default")]
    pub forward_inconsistent: bool,
    /// Headers of each request.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Conditional writes: only for resources that push values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub check_and_set: Option<VaultCheckAndSet>,
    /// How the controller authenticates. Absent means not at all, for a proxy that does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<VaultAuth>,
}

words! {
    /// Version of a KV engine.
    #[derive(Default)]
    VaultVersion {
        /// One without versions of values.
        V1 = "v1",
        /// One with versions of values.
        #[default]
        V2 = "v2",
    }
}

/// A client certificate for TLS. Either both are set or none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VaultClientTls {
    /// The certificate. The default key is `tls.crt`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert_secret_ref: Option<SecretKeySelector>,
    /// Its private key. The default key is `tls.key`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_secret_ref: Option<SecretKeySelector>,
}

/// Conditional writes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VaultCheckAndSet {
    /// Whether each write names the version that it replaces.
    #[serde(default, skip_serializing_if = "super::is_default")]
    pub required: bool,
}

/// How the controller authenticates: with the first method that is set, in the order of the fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VaultAuth {
    /// Namespace in Vault of the login, if another.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// With a token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_secret_ref: Option<SecretKeySelector>,
    /// With an AppRole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app_role: Option<VaultAppRole>,
    /// With the token of a ServiceAccount, which Vault has reviewed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kubernetes: Option<VaultKubernetesAuth>,
    /// With LDAP. Sealkit does not serve it yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::anything")]
    pub ldap: Option<Value>,
    /// With user name and password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_pass: Option<VaultUserPassAuth>,
    /// With a JWT.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwt: Option<VaultJwtAuth>,
    /// With a client certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert: Option<VaultCertAuth>,
    /// With an identity of AWS. Sealkit does not serve it yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::anything")]
    pub iam: Option<Value>,
    /// With an identity of Google Cloud. Sealkit does not serve it yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::anything")]
    pub gcp: Option<Value>,
}

/// An AppRole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VaultAppRole {
    /// Where the method is mounted.
    #[serde(default = "mounts::approle")]
    pub path: String,
    /// ID of the role.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub role_id: String,
    /// ID of the role in a Secret, instead of `roleId`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role_ref: Option<SecretKeySelector>,
    /// The secret ID.
    pub secret_ref: SecretKeySelector,
}

/// The token of a ServiceAccount, which Vault has reviewed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VaultKubernetesAuth {
    /// Where the method is mounted.
    #[serde(default = "mounts::kubernetes")]
    pub mount_path: String,
    /// Role in Vault.
    pub role: String,
    /// The ServiceAccount.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_account_ref: Option<ServiceAccountSelector>,
    /// A token in a Secret, instead of `serviceAccountRef`. The default key is `token`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretKeySelector>,
}

/// User name and password.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VaultUserPassAuth {
    /// Where the method is mounted.
    #[serde(default = "mounts::userpass")]
    pub path: String,
    /// The user name.
    pub username: String,
    /// The password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretKeySelector>,
}

/// A JWT.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VaultJwtAuth {
    /// Where the method is mounted.
    #[serde(default = "mounts::jwt")]
    pub path: String,
    /// Role in Vault. Absent means the default role of the method.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub role: String,
    /// The JWT.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretKeySelector>,
    /// The token of a ServiceAccount, instead of `secretRef`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kubernetes_service_account_token: Option<VaultServiceAccountToken>,
}

/// The token of a ServiceAccount as a JWT.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VaultServiceAccountToken {
    /// The ServiceAccount.
    pub service_account_ref: ServiceAccountSelector,
    /// Audiences of the token. Absent means `vault`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub audiences: Vec<String>,
    /// Life of the token in seconds. Absent means 600.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expiration_seconds: Option<i64>,
}

/// A client certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VaultCertAuth {
    /// Where the method is mounted.
    #[serde(default = "mounts::cert")]
    pub path: String,
    /// Role in Vault. Absent means whichever takes the certificate.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub vault_role: String,
    /// The certificate in PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_cert: Option<SecretKeySelector>,
    /// Its private key in PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretKeySelector>,
}

/// Where methods are mounted by default.
mod mounts {
    pub fn approle() -> String {
        "approle".to_owned()
    }

    pub fn kubernetes() -> String {
        "kubernetes".to_owned()
    }

    pub fn userpass() -> String {
        "userpass".to_owned()
    }

    pub fn jwt() -> String {
        "jwt".to_owned()
    }

    pub fn cert() -> String {
        "cert".to_owned()
    }
}
