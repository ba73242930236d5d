//! ExternalSecrets over AWS, by moto: the controller signs, retries and reads as it does there.

mod batches;
mod faults;
mod identity;
mod parameter_store;
mod queue;
mod secrets_manager;

use std::time::Duration;

use sealkit_rig::{Moto, MotoCall, Proxy, RigError};
use sealkit_tests::api::ApiClient;
use sealkit_tests::controller::{Controller, Flags};
use sealkit_tests::namespace::{Namespace, condition, data, ready_condition};
use sealkit_tests::plane::{Own, unique};
use sealkit_tests::wait::wait_within;
use serde_json::{Value, json};

const WAIT: Duration = Duration::from_secs(30);

/// A controller whose AWS is a server of its own, behind a proxy, and a namespace with a store.
struct World {
    // Dropped first, while its API server is there.
    controller: Controller,
    flags: Flags,
    namespace: Namespace,
    moto: Moto,
    proxy: Proxy,
    plane: Own,
}

/// The access key in the Secret `aws`.
const KEY: &str = "AKIAWORLDKEY";
const SECRET_KEY: &str = "w0rld/s3cr3t+k3y";

impl World {
    fn start() -> Self {
        Self::with(&[], &[])
    }

    /// With more flags and variables of the controller.
    fn with(flags: &[&str], more: &[(&'static str, &str)]) -> Self {
        Self::on(Moto::start, flags, more)
    }

    /// With an AWS that verifies signatures, and the trust policies of roles. It does not know the
    /// access key in the Secret `aws`.
    fn strict() -> Self {
        Self::on(Moto::start_strict, &[], &[])
    }

    fn on(
        moto: fn() -> Result<Moto, RigError>,
        flags: &[&str],
        more: &[(&'static str, &str)],
    ) -> Self {
        let plane = Own::take();
        let moto = moto().unwrap();
        let proxy = Proxy::start(moto.url()).unwrap();
        let variables = [
            "AWS_SECRETSMANAGER_ENDPOINT",
            "AWS_SSM_ENDPOINT",
            "AWS_STS_ENDPOINT",
            "AWS_SQS_ENDPOINT",
        ];
        let flags = Flags {
            log: "trace",
            // A restarted container keeps the pod's name, and with it the lease.
            identity: Some("pod".to_owned()),
            more: flags.iter().map(|flag| (*flag).to_owned()).collect(),
            // What somebody might have set for other reasons: no credentials of a store.
            environment: variables
                .map(|name| (name, proxy.url().to_owned()))
                .into_iter()
                .chain([("AWS_ACCESS_KEY_ID", "AKIAENVIRONMENT".to_owned())])
                .chain([("AWS_SECRET_ACCESS_KEY", "environment".to_owned())])
                .chain(
                    more.iter()
                        .map(|(name, value)| (*name, (*value).to_owned())),
                )
                .collect(),
            ..Flags::default()
        };
        let mut controller = plane.controller(&flags);
        controller.wait_leading();
        let world = Self {
            controller,
            flags,
            namespace: plane.namespace("aws"),
            moto,
            proxy,
            plane,
        };
        world.secret("aws", &[("id", KEY), ("key", SECRET_KEY)]);
        world.store("aws", &json!({"service": "SecretsManager"}));
        world.store("parameters", &json!({"service": "ParameterStore"}));
        world
    }

    /// Kills the controller, and starts it again as a container is.
    fn restart(&mut self) {
        self.controller.process.kill().unwrap();
        self.controller = self.plane.controller(&self.flags);
    }

    fn api(&self) -> &ApiClient {
        &self.namespace.api
    }

    /// Makes or changes a Secret.
    fn secret(&self, name: &str, values: &[(&str, &str)]) {
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": data(values),
        });
        let path = self.namespace.secret_path(name);
        let made = if self.api().get(&path).is_some() {
            self.api().merge(&path, &secret)
        } else {
            self.api().create(&self.namespace.secrets_path(), &secret)
        };
        made.unwrap();
    }

    /// Makes a SecretStore with the access key of the Secret `aws`; `more` adds or replaces fields of
    /// the provider.
    fn store(&self, name: &str, more: &Value) {
        let path = self.path("secretstores");
        let store = store("SecretStore", name, "", more);
        self.api().create(&path, &store).unwrap();
    }

    /// The same as a ClusterSecretStore, whose name is one of its own.
    fn cluster_store(&self, more: &Value) -> String {
        let name = unique("aws");
        let store = store("ClusterSecretStore", &name, &self.namespace.name, more);
        let path = "/apis/external-secrets.io/v1/clustersecretstores";
        self.api().create(path, &store).unwrap();
        name
    }

    fn path(&self, plural: &str) -> String {
        let namespace = &self.namespace.name;
        format!("/apis/external-secrets.io/v1/namespaces/{namespace}/{plural}")
    }

    /// Makes an ExternalSecret from the store `aws`; `spec` adds or replaces fields.
    fn external(&self, name: &str, spec: &Value) {
        let mut object = json!({
            "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret",
            "metadata": {"name": name},
            "spec": {"secretStoreRef": {"name": "aws"}, "refreshInterval": "1h"},
        });
        for (field, value) in spec.as_object().unwrap() {
            object["spec"][field] = value.clone();
        }
        let path = self.path("externalsecrets");
        self.api().create(&path, &object).unwrap();
    }

    fn look(&self, name: &str) -> Value {
        let path = format!("{}/{name}", self.path("externalsecrets"));
        self.api().get(&path).expect("the ExternalSecret")
    }

    /// Has it refreshed now.
    fn force(&self, name: &str) {
        let path = format!("{}/{name}", self.path("externalsecrets"));
        let force = json!({"metadata": {"annotations": {"force-sync": unique("now")}}});
        self.api().merge(&path, &force).unwrap();
    }

    /// Waits until a Secret holds exactly this.
    fn wait_data(&self, name: &str, expected: &Value) -> Value {
        wait_within(WAIT, name, || {
            let secret = self.namespace.secret(name)?;
            (secret["data"] == *expected).then_some(secret)
        })
    }

    /// Waits for a message that contains this, of an object that is not Ready.
    fn wait_message(&self, name: &str, part: &str) -> Value {
        wait_within(WAIT, part, || {
            let object = self.look(name);
            let ready = ready_condition(&object);
            let message = ready["message"].as_str().unwrap_or_default();
            (message.contains(part) && ready["status"] != "True").then_some(object)
        })
    }

    fn wait_ready(&self, name: &str) {
        wait_within(WAIT, name, || {
            (condition(&self.look(name), "Ready") == Some("True")).then_some(())
        });
    }

    /// Makes a secret in Secrets Manager.
    fn put(&self, name: &str, text: &str) {
        let secret = json!({"Name": name, "SecretString": text});
        self.moto
            .call("secretsmanager.CreateSecret", &secret)
            .unwrap();
    }

    /// Makes a user of IAM. Returns the ID of an access key, and its secret.
    fn user(&self, name: &str) -> [String; 2] {
        let name = [("UserName", name)];
        self.moto.iam("CreateUser", &name).unwrap();
        let made = self.moto.iam("CreateAccessKey", &name).unwrap();
        ["AccessKeyId", "SecretAccessKey"].map(|field| {
            let (_, rest) = made.split_once(&format!("<{field}>")).unwrap();
            rest.split_once('<').unwrap().0.to_owned()
        })
    }

    /// Calls of the controller so far, of one operation.
    fn calls(&self, operation: &str) -> Vec<MotoCall> {
        let mut calls = self.moto.calls().unwrap();
        calls.retain(|call| call.operation == operation);
        calls
    }

    /// None of these texts is in the log, the metrics, an event or a status.
    fn assert_quiet(&self, texts: &[&str]) {
        let objects = self.api().list(&self.path("externalsecrets"));
        let stores = self.api().list(&self.path("secretstores"));
        let events = self.api().list("/apis/events.k8s.io/v1/events");
        let places = [
            ("log", self.controller.log()),
            ("metrics", self.controller.metrics()),
            ("objects", Value::from(objects).to_string()),
            ("stores", Value::from(stores).to_string()),
            ("events", Value::from(events).to_string()),
        ];
        for (place, content) in &places {
            assert!(!content.is_empty());
            for text in texts {
                let needle = sealkit_tests::canary::Needle::new(text.as_bytes());
                let found = needle.find(content.as_bytes());
                assert_eq!(found, None, "{text} in the {place}");
            }
        }
    }
}

fn store(kind: &str, name: &str, namespace: &str, more: &Value) -> Value {
    let key = |key: &str| {
        let mut selector = json!({"name": "aws", "key": key});
        if !namespace.is_empty() {
            selector["namespace"] = json!(namespace);
        }
        selector
    };
    let mut store = json!({
        "apiVersion": "external-secrets.io/v1", "kind": kind, "metadata": {"name": name},
        "spec": {"provider": {"aws": {
            "service": "SecretsManager", "region": Moto::REGION,
            "auth": {"secretRef": {
                "accessKeyIDSecretRef": key("id"), "secretAccessKeySecretRef": key("key"),
            }},
        }}},
    });
    for (field, value) in more.as_object().unwrap() {
        store["spec"]["provider"]["aws"][field] = value.clone();
    }
    store
}

/// An entry of `data`.
fn entry(key: &str, remote: &Value) -> Value {
    json!({"secretKey": key, "remoteRef": remote})
}
