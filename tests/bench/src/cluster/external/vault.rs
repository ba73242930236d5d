//! The store of a trial: a real OpenBao with keys, and what its audit log tells.

use std::fmt;
use std::ops::Sub;

use rand_core::{OsRng, RngCore};
use sealkit_rig::{BaoClient, OpenBao};
use serde_json::{Map, Value, json};

use super::super::plane::Plane;
use super::super::trial::VALUE_SIZE;
use crate::{Result, progress};

/// Where the credentials of the store are.
const SYSTEM: &str = "vault";
/// The name of the `ClusterSecretStore`.
pub const STORE: &str = "vault";
/// How long a token lives: longer than any trial.
const TOKEN_TTL: &str = "4h";

/// An OpenBao with keys, in which both contestants log in with an AppRole.
pub struct Vault {
    bao: OpenBao,
    keys: usize,
    values: usize,
    role_id: String,
    secret_id: String,
    /// Calls before any contestant made one.
    own_calls: usize,
}

impl Vault {
    /// Starts one with so many keys, each with so many values.
    pub fn start(keys: usize, values: usize) -> Result<Self> {
        progress(format_args!("  OpenBao: {keys} keys"));
        let bao = OpenBao::start()?;
        let root = bao.root();
        root.write("sys/auth/approle", &json!({"type": "approle"}))?;
        let rules = r#"path "secret/data/*" { capabilities = ["read"] }"#;
        root.write("sys/policies/acl/bench", &json!({"policy": rules}))?;
        let role = "auth/approle/role/bench";
        root.write(
            role,
            &json!({"token_policies": "bench", "token_ttl": TOKEN_TTL}),
        )?;
        let text = |answer: &Value, field: &str| -> Result<String> {
            let text = answer["data"][field].as_str();
            Ok(text.ok_or("OpenBao gives no AppRole")?.to_owned())
        };
        let role_id = text(&root.read(&format!("{role}/role-id"))?, "role_id")?;
        let secret_id = root.write(&format!("{role}/secret-id"), &json!({}))?;
        let mut vault = Self {
            secret_id: text(&secret_id, "secret_id")?,
            role_id,
            bao,
            keys,
            values,
            own_calls: 0,
        };
        for number in 0..keys {
            vault.put(&vault.key(number))?;
        }
        vault.own_calls = vault.bao.calls()?.len();
        Ok(vault)
    }

    /// The key that an object of this number reads.
    pub fn key(&self, number: usize) -> String {
        format!("app/{:05}", number % self.keys)
    }

    /// Writes a key, with new values.
    pub fn put(&self, key: &str) -> Result<()> {
        let values: Map<_, _> = (0..self.values)
            .map(|number| (property(number), random_text().into()))
            .collect();
        self.put_value(key, &Value::Object(values))
    }

    /// Writes a key.
    pub fn put_value(&self, key: &str, value: &Value) -> Result<()> {
        let root: BaoClient = self.bao.root();
        Ok(root.put("secret", key, value)?)
    }

    /// Makes the store in a cluster.
    pub fn install(&self, plane: &Plane) -> Result<()> {
        let secret_ref = json!({"name": "approle", "namespace": SYSTEM, "key": "secret-id"});
        let objects = json!({"apiVersion": "v1", "kind": "List", "items": [
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM}},
            {"apiVersion": "v1", "kind": "Secret",
                "metadata": {"name": "approle", "namespace": SYSTEM},
                "stringData": {"secret-id": self.secret_id}},
            {"apiVersion": "external-secrets.io/v1", "kind": "ClusterSecretStore",
                "metadata": {"name": STORE},
                "spec": {"provider": {"vault": {
                    "server": self.bao.url(), "path": "secret", "version": "v2",
                    "auth": {"appRole": {
                        "path": "approle", "roleId": self.role_id, "secretRef": secret_ref,
                    }},
                }}}},
        ]});
        plane
            .control
            .kubectl_with_input(&["apply", "-f", "-"], &objects.to_string())?;
        Ok(())
    }

    /// What contestants asked for so far.
    pub fn calls(&self) -> Result<Calls> {
        let mut calls = Calls::default();
        for call in self.bao.calls()?.iter().skip(self.own_calls) {
            let counter = match call.path.as_str() {
                path if path.starts_with("secret/data/") => &mut calls.reads,
                "auth/approle/login" => &mut calls.logins,
                "auth/token/lookup-self" => &mut calls.lookups,
                "auth/token/revoke-self" => &mut calls.revocations,
                _ => &mut calls.others,
            };
            *counter += 1;
        }
        Ok(calls)
    }
}

/// How often a provider was asked.
#[derive(Clone, Copy, Debug, Default)]
pub struct Calls {
    /// Reads of a secret.
    pub reads: usize,
    /// Logins.
    pub logins: usize,
    /// Look-ups of the own token.
    pub lookups: usize,
    /// Revocations of the own token.
    pub revocations: usize,
    /// Anything else.
    pub others: usize,
}

impl Calls {
    /// All of them.
    pub fn total(&self) -> usize {
        self.reads + self.around()
    }

    /// What is no read.
    pub fn around(&self) -> usize {
        self.logins + self.lookups + self.revocations + self.others
    }
}

impl Sub for Calls {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            reads: self.reads - before.reads,
            logins: self.logins - before.logins,
            lookups: self.lookups - before.lookups,
            revocations: self.revocations - before.revocations,
            others: self.others - before.others,
        }
    }
}

impl fmt::Display for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            reads,
            logins,
            lookups,
            revocations,
            others,
        } = self;
        write!(
            f,
            "{reads} reads, {logins} logins, {lookups} look-ups, {revocations} revocations, {others} others"
        )
    }
}

/// The name of a value in a key.
pub fn property(number: usize) -> String {
    format!("value-{number}")
}

fn random_text() -> String {
    let mut bytes = [0; VALUE_SIZE];
    OsRng.fill_bytes(&mut bytes);
    bytes
        .iter()
        .map(|byte| char::from(b'a' + byte % 26))
        .collect()
}
