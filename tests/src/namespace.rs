//! A namespace of one test: its objects, and waiting for what becomes of them.

use std::thread::sleep;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sealkit_core::keys::Recipient;
use serde_json::{Value, json};

use crate::api::{Answer, ApiClient};
use crate::sealing::Draft;
use crate::status_rules::status_of;
use crate::wait::{PATIENCE, wait_for};

/// A namespace. It stays when the test ends: the control plane goes as a whole.
#[derive(Clone)]
pub struct Namespace {
    /// The administrator.
    pub api: ApiClient,
    /// Its name.
    pub name: String,
    recipient: Recipient,
}

impl Namespace {
    /// Creates a namespace; drafts in it are sealed to `recipient`.
    pub fn create(api: &ApiClient, name: &str, recipient: Recipient) -> Self {
        let namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        api.create("/api/v1/namespaces", &namespace).unwrap();
        Self {
            api: api.clone(),
            name: name.to_owned(),
            recipient,
        }
    }

    /// A namespace that is there already.
    pub fn existing(api: &ApiClient, name: &str, recipient: &Recipient) -> Self {
        Self {
            api: api.clone(),
            name: name.to_owned(),
            recipient: recipient.clone(),
        }
    }

    /// A `SealedSecret` to be filled, sealed to the newest key at the namespace's creation.
    pub fn draft(&self, name: &str) -> Draft {
        Draft::new(&self.name, name, self.recipient.clone())
    }

    /// A `SealedSecret` with one value under the key `password`, applied.
    pub fn seal(&self, name: &str, value: &str) -> Value {
        self.apply(&self.draft(name).value("password", value).manifest())
    }

    /// Applies a `SealedSecret` as GitOps tools do.
    pub fn apply(&self, manifest: &Value) -> Value {
        self.try_apply(manifest).unwrap()
    }

    /// Applies a `SealedSecret`, or hears why not.
    pub fn try_apply(&self, manifest: &Value) -> Answer {
        let name = manifest["metadata"]["name"].as_str().unwrap();
        self.api.apply(&self.sealed_path(name), manifest)
    }

    /// A `SealedSecret`.
    pub fn sealed(&self, name: &str) -> Value {
        self.api
            .get(&self.sealed_path(name))
            .unwrap_or_else(|| panic!("no SealedSecret {name}"))
    }

    /// Deletes a `SealedSecret`.
    pub fn delete_sealed(&self, name: &str) {
        self.api.delete(&self.sealed_path(name)).unwrap();
    }

    /// Where a `SealedSecret` is.
    pub fn sealed_path(&self, name: &str) -> String {
        format!("{}/{name}", self.sealed_secrets_path())
    }

    /// Where `SealedSecrets` are.
    pub fn sealed_secrets_path(&self) -> String {
        format!(
            "/apis/sealkit.dev/v1beta1/namespaces/{}/sealedsecrets",
            self.name
        )
    }

    /// Where a Secret is.
    pub fn secret_path(&self, name: &str) -> String {
        format!("{}/{name}", self.secrets_path())
    }

    /// Where Secrets are.
    pub fn secrets_path(&self) -> String {
        format!("/api/v1/namespaces/{}/secrets", self.name)
    }

    /// A Secret, if there is one.
    pub fn secret(&self, name: &str) -> Option<Value> {
        self.api.get(&self.secret_path(name))
    }

    /// Waits until `accept` likes the Secret.
    pub fn wait_secret(&self, name: &str, what: &str, accept: impl Fn(&Value) -> bool) -> Value {
        let what = format!("the Secret {}/{name} {what}", self.name);
        wait_for(&what, || self.secret(name).filter(|secret| accept(secret)))
    }

    /// Waits until the Secret has exactly this value under `password`.
    pub fn wait_value(&self, name: &str, value: &str) -> Value {
        self.wait_secret(name, "has its value", |secret| {
            secret["data"] == data(&[("password", value)])
        })
    }

    /// Waits until the object is Ready, for its newest generation.
    pub fn wait_ready(&self, name: &str) -> Value {
        self.wait_reason(name, "True", "Opened")
    }

    /// Waits until Ready has this status and reason, for the newest generation.
    pub fn wait_reason(&self, name: &str, ready: &str, reason: &str) -> Value {
        self.wait_says(name, &format!("Ready {ready} {reason}"), |object| {
            says(object, ready, reason)
        })
    }

    /// Waits until the object is Stalled for this reason.
    pub fn wait_stalled(&self, name: &str, reason: &str) -> Value {
        self.wait_says(name, &format!("Stalled {reason}"), |object| {
            says(object, "False", reason) && condition(object, "Stalled") == Some("True")
        })
    }

    /// Waits until `accept` likes the object; the status says what went wrong better than a clock.
    fn wait_says(&self, name: &str, what: &str, accept: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let object = self.sealed(name);
            if accept(&object) {
                return object;
            }
            let status = &object["status"];
            assert!(
                Instant::now() < deadline,
                "{}/{name} does not say {what}: {status:#}",
                self.name
            );
            sleep(Duration::from_millis(40));
        }
    }

    /// Waits until the controller has looked at the newest generation.
    pub fn wait_looked(&self, name: &str) -> Value {
        wait_for(&format!("a look at {}/{name}", self.name), || {
            let object = self.sealed(name);
            let looked = object["status"]["observedGeneration"] == object["metadata"]["generation"];
            looked.then_some(object)
        })
    }

    /// The events about an object, by its UID.
    pub fn events(&self, uid: &str) -> Vec<Value> {
        let path = format!("/apis/events.k8s.io/v1/namespaces/{}/events", self.name);
        let mut events = self.api.list(&path);
        events.retain(|event| event["regarding"]["uid"] == uid);
        events
    }

    /// Waits for an event about an object.
    pub fn wait_event(&self, object: &Value, reason: &str) -> Value {
        let what = format!("an event {reason} about {}", object["metadata"]["name"]);
        wait_for(&what, || {
            self.events(uid(object))
                .into_iter()
                .find(|event| event["reason"] == reason)
        })
    }
}

/// Does the object say this of its newest generation?
pub fn says(object: &Value, ready: &str, reason: &str) -> bool {
    object["status"]["observedGeneration"] == object["metadata"]["generation"]
        && condition(object, "Ready") == Some(ready)
        && ready_condition(object)["reason"] == reason
}

/// The status of a condition of an object.
pub fn condition<'a>(object: &'a Value, type_: &str) -> Option<&'a str> {
    status_of(object["status"]["conditions"].as_array()?, type_)
}

/// The last condition of an object.
pub fn ready_condition(object: &Value) -> &Value {
    static NONE: Value = Value::Null;
    object["status"]["conditions"]
        .as_array()
        .and_then(|list| list.last())
        .unwrap_or(&NONE)
}

/// What the object says for people.
pub fn message(object: &Value) -> &str {
    ready_condition(object)["message"].as_str().unwrap()
}

/// The UID of an object.
pub fn uid(object: &Value) -> &str {
    object["metadata"]["uid"].as_str().unwrap()
}

/// The resourceVersion of an object.
pub fn resource_version(object: &Value) -> &str {
    object["metadata"]["resourceVersion"].as_str().unwrap()
}

/// `data` of a Secret with these values.
pub fn data(values: &[(&str, &str)]) -> Value {
    values
        .iter()
        .map(|(key, value)| {
            (
                (*key).to_owned(),
                Value::from(BASE64_STANDARD.encode(value)),
            )
        })
        .collect()
}
