//! The webhook's configuration on a control plane, which reaches the controller by its address: there
//! are no Services without nodes.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sealkit_core::manifest::read_documents;
use serde_json::{Value, json};

use crate::api::ApiClient;
use crate::controller::Flags;
use crate::delivery::root;
use crate::plane::Plane;
use crate::wait::wait_until;

/// Where the configuration is.
pub const CONFIGURATIONS: &str =
    "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
/// The Secret with the certificate authorities.
pub const AUTHORITIES: &str = "/api/v1/namespaces/sealkit-system/secrets/seal-controller-webhook";

/// The flags of a controller that serves the webhook on this port of this machine.
pub fn flags(port: u16) -> Flags {
    Flags {
        more: vec![
            format!("--webhook-listen=127.0.0.1:{port}"),
            "--webhook-names=127.0.0.1".to_owned(),
        ],
        ..Flags::default()
    }
}

/// An installed configuration, for the objects of the cluster and of namespaces with the label
/// `webhook`. Dropping it removes it.
pub struct Webhook {
    api: ApiClient,
    name: String,
}

impl Webhook {
    /// Installs the one of `deploy/components/webhook`, calling this port, with this `failurePolicy`.
    pub fn install(plane: &Plane, port: u16, policy: &str) -> Self {
        let folder = root().join("deploy/components/webhook");
        let rights = folder.join("rbac.yaml");
        let apply = ["apply", "--server-side", "-f", rights.to_str().unwrap()];
        plane.servers.kubectl(&apply).unwrap();
        Self::with(plane, "sealkit", port, policy)
    }

    /// One of another name, which no controller keeps.
    pub fn with(plane: &Plane, name: &str, port: u16, policy: &str) -> Self {
        let path = root().join("deploy/components/webhook/configuration.yaml");
        let documents = read_documents(&std::fs::read(path).unwrap()).unwrap();
        let mut configuration = documents[0].object.clone();
        configuration["metadata"]["name"] = json!(name);
        for webhook in configuration["webhooks"].as_array_mut().unwrap() {
            let url = format!("https://127.0.0.1:{port}/validate");
            webhook["clientConfig"] = json!({"url": url});
            webhook["failurePolicy"] = json!(policy);
            webhook["namespaceSelector"] = json!({"matchLabels": {"webhook": "on"}});
        }
        plane.api.create(CONFIGURATIONS, &configuration).unwrap();
        Self {
            api: plane.api.clone(),
            name: name.to_owned(),
        }
    }

    /// Makes it judge the objects of a namespace.
    pub fn watch(&self, namespace: &str) {
        let label = json!({"metadata": {"labels": {"webhook": "on"}}});
        let path = format!("/api/v1/namespaces/{namespace}");
        self.api.merge(&path, &label).unwrap();
    }

    /// Waits until the API server refuses this object with this text: until it calls the webhook.
    pub fn wait_refused(&self, collection: &str, object: &Value, text: &str) {
        let dry_run = format!("{collection}?dryRun=All");
        wait_until(&format!("the webhook refuses with {text}"), || {
            let answer = self.api.create(&dry_run, object);
            answer.is_err_and(|refusal| refusal.message.contains(text))
        });
    }

    /// Makes the API server trust these certificates, in PEM.
    pub fn trust(&self, certificates: &str) {
        let path = format!("{CONFIGURATIONS}/{}", self.name);
        let mut webhooks = self.api.get(&path).unwrap()["webhooks"].take();
        for webhook in webhooks.as_array_mut().unwrap() {
            webhook["clientConfig"]["caBundle"] = json!(BASE64_STANDARD.encode(certificates));
        }
        let patch = json!({"webhooks": webhooks});
        self.api.merge(&path, &patch).unwrap();
    }

    /// The certificates that the API server trusts, in base64.
    pub fn trusted(&self) -> Value {
        let path = format!("{CONFIGURATIONS}/{}", self.name);
        let configuration = self.api.get(&path).unwrap();
        configuration["webhooks"][0]["clientConfig"]["caBundle"].clone()
    }
}

impl Drop for Webhook {
    fn drop(&mut self) {
        let _ = self.api.delete(&format!("{CONFIGURATIONS}/{}", self.name));
    }
}
