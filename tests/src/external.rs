//! Teams that keep their values in OpenBao, for tests of ExternalSecrets.

use std::time::Duration;

use sealkit_rig::{BaoClient, OpenBao};
use serde_json::{Value, json};

use crate::api::ApiClient;
use crate::namespace::{Namespace, data, ready_condition};
use crate::plane::{Plane, unique};
use crate::wait::wait_within;

/// How long the controller may take for what it does at once on a quiet machine.
pub const WAIT: Duration = Duration::from_secs(20);

/// A namespace with a KV engine of its own, and a store for it.
pub struct Team {
    /// The namespace.
    pub namespace: Namespace,
    /// OpenBao as root.
    pub vault: BaoClient,
    /// Where the engine is mounted.
    pub mount: String,
}

impl Team {
    /// A namespace, a KV engine, and the store `vault` over it with OpenBao's root token.
    pub fn new(plane: &Plane, bao: &OpenBao) -> Self {
        let mount = unique("kv");
        let vault = bao.root();
        vault.mount_kv(&mount).unwrap();
        let team = Self {
            namespace: plane.namespace("external"),
            vault,
            mount,
        };
        team.secret("vault-token", &[("token", bao.root_token())]);
        team.make("secretstores", &team.store("vault", bao.url()));
        team
    }

    /// A SecretStore over the engine.
    pub fn store(&self, name: &str, server: &str) -> Value {
        json!({
            "apiVersion": "external-secrets.io/v1", "kind": "SecretStore",
            "metadata": {"name": name},
            "spec": {"provider": {"vault": {
                "server": server, "path": self.mount, "version": "v2",
                "auth": {"tokenSecretRef": {"name": "vault-token", "key": "token"}},
            }}},
        })
    }

    /// The API server.
    pub fn api(&self) -> &ApiClient {
        &self.namespace.api
    }

    /// Makes or changes a Secret.
    pub fn secret(&self, name: &str, values: &[(&str, &str)]) {
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": data(values),
        });
        let path = self.namespace.secrets_path();
        if self.api().get(&self.namespace.secret_path(name)).is_some() {
            self.api()
                .merge(&self.namespace.secret_path(name), &secret)
                .unwrap();
        } else {
            self.api().create(&path, &secret).unwrap();
        }
    }

    /// The path of a kind of External Secrets in the namespace.
    pub fn path(&self, plural: &str) -> String {
        let namespace = &self.namespace.name;
        format!("/apis/external-secrets.io/v1/namespaces/{namespace}/{plural}")
    }

    /// Makes an object.
    pub fn make(&self, plural: &str, object: &Value) {
        self.api().create(&self.path(plural), object).unwrap();
    }

    /// Makes an ExternalSecret from the store `vault`; `spec` adds or replaces fields.
    pub fn external(&self, name: &str, interval: &str, spec: &Value) -> Value {
        let mut object = json!({
            "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret",
            "metadata": {"name": name},
            "spec": {"secretStoreRef": {"name": "vault"}, "refreshInterval": interval},
        });
        for (field, value) in spec.as_object().unwrap() {
            object["spec"][field] = value.clone();
        }
        self.make("externalsecrets", &object);
        object
    }

    /// The ExternalSecret as it is now.
    pub fn look(&self, name: &str) -> Value {
        let path = format!("{}/{name}", self.path("externalsecrets"));
        self.api().get(&path).expect("the ExternalSecret")
    }

    /// Waits for a message that contains this, of an object that is not Ready.
    pub fn wait_message(&self, name: &str, part: &str) -> Value {
        wait_within(WAIT, part, || {
            let object = self.look(name);
            let ready = ready_condition(&object);
            let says = ready["message"]
                .as_str()
                .is_some_and(|text| text.contains(part));
            (says && ready["status"] != "True").then_some(object)
        })
    }
}

/// An entry of `data`: this key, from this property of a secret.
pub fn property(key: &str, remote: &str, property: &str) -> Value {
    json!({"secretKey": key, "remoteRef": {"key": remote, "property": property}})
}
