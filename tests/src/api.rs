//! The API server through raw requests: what it says, and not what a typed client makes of it.

use std::path::Path;
use std::sync::LazyLock;
use std::thread::sleep;
use std::time::{Duration, Instant};

use http::{Method, Request};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::wait::PATIENCE;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .unwrap();
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
});

/// The one runtime of all clients and watches.
pub fn runtime() -> &'static Runtime {
    &RUNTIME
}

/// Somebody who talks to an API server.
#[derive(Clone)]
pub struct ApiClient {
    client: Client,
}

/// The API server's refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP code; 0 without an answer.
    pub code: u16,
    /// One word.
    pub reason: String,
    /// For people.
    pub message: String,
}

/// What the API server said to a request.
pub type Answer = Result<Value, Refusal>;

impl ApiClient {
    /// The user of a kubeconfig.
    pub fn new(kubeconfig: &Path) -> Self {
        let kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
        let client = runtime().block_on(async {
            let options = KubeConfigOptions::default();
            let mut config = Config::from_custom_kubeconfig(kubeconfig, &options)
                .await
                .unwrap();
            // A test that takes the API server away wants to hear of it.
            config.default_retry = false;
            Client::try_from(config).unwrap()
        });
        Self { client }
    }

    /// For watches.
    pub fn kube(&self) -> Client {
        self.client.clone()
    }

    /// Reads one object; `None` where there is none.
    pub fn get(&self, path: &str) -> Option<Value> {
        match self.try_get(path) {
            Ok(object) => Some(object),
            Err(refusal) if refusal.code == 404 => None,
            Err(refusal) => panic!("GET {path}: {refusal:?}"),
        }
    }

    /// Reads whatever the path names.
    pub fn try_get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, None)
    }

    /// The items of a list.
    pub fn list(&self, path: &str) -> Vec<Value> {
        let mut list = self
            .try_get(path)
            .unwrap_or_else(|refusal| panic!("GET {path}: {refusal:?}"));
        serde_json::from_value(list["items"].take()).unwrap()
    }

    /// Creates an object in a collection.
    pub fn create(&self, collection: &str, object: &Value) -> Answer {
        self.send(Method::POST, collection, Some(("application/json", object)))
    }

    /// Replaces an object.
    pub fn replace(&self, path: &str, object: &Value) -> Answer {
        self.send(Method::PUT, path, Some(("application/json", object)))
    }

    /// Patches an object by JSON merge.
    pub fn merge(&self, path: &str, patch: &Value) -> Answer {
        self.send(
            Method::PATCH,
            path,
            Some(("application/merge-patch+json", patch)),
        )
    }

    /// Applies an object on the server's side, as GitOps tools do.
    pub fn apply(&self, path: &str, object: &Value) -> Answer {
        let path = format!("{path}?fieldManager=gitops&force=true");
        self.send(
            Method::PATCH,
            &path,
            Some(("application/apply-patch+yaml", object)),
        )
    }

    /// Deletes an object or a collection.
    pub fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, path, Some(("application/json", &json!({}))))
    }

    /// May this user do that, by the authorizer's own word? An empty namespace means all.
    pub fn may(&self, verb: &str, resource: &str, namespace: &str) -> bool {
        let (resource, group) = resource.split_once('.').unwrap_or((resource, ""));
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": {
                "verb": verb, "group": group, "resource": resource,
                "subresource": subresource, "namespace": namespace,
            }},
        });
        let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
        self.create(path, &review).unwrap()["status"]["allowed"]
            .as_bool()
            .unwrap()
    }

    fn send(&self, method: Method, path: &str, body: Option<(&str, &Value)>) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        let mut bytes = Vec::new();
        if let Some((content_type, body)) = body {
            request = request.header("content-type", content_type);
            bytes = serde_json::to_vec(body).unwrap();
        }
        let request = request.body(bytes).unwrap();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = runtime().block_on(self.client.request::<Value>(request.clone()));
            let answer = answer.map_err(|error| match error {
                kube::Error::Api(status) => Refusal {
                    code: status.code,
                    reason: status.reason,
                    message: status.message,
                },
                other => Refusal {
                    code: 0,
                    reason: String::new(),
                    message: other.to_string(),
                },
            });
            // 429: a changed CRD is taken into use.
            if answer.as_ref().is_err_and(|refusal| refusal.code == 429)
                && Instant::now() < deadline
            {
                sleep(Duration::from_millis(100));
                continue;
            }
            return answer;
        }
    }
}
