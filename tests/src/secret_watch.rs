//! Every version of every Secret of a namespace that anybody could have read.

use std::sync::{Arc, Mutex, PoisonError};

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};
use serde_json::Value;
use tokio::task::JoinHandle;

use crate::api::runtime;
use crate::namespace::Namespace;
use crate::wait::wait_until;

/// Collects as long as it lives.
pub struct SecretWatch {
    namespace: Namespace,
    seen: Arc<Mutex<Vec<Value>>>,
    task: JoinHandle<()>,
}

impl SecretWatch {
    /// Starts collecting.
    pub fn start(namespace: &Namespace) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let api: Api<Secret> = Api::namespaced(namespace.api.kube(), &namespace.name);
        let collected = seen.clone();
        let task = runtime().spawn(async move {
            let mut events = watcher(api, watcher::Config::default())
                .default_backoff()
                .boxed();
            while let Some(event) = events.next().await {
                if let Ok(Event::Apply(secret) | Event::InitApply(secret)) = event {
                    let secret = serde_json::to_value(secret).unwrap();
                    collected
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push(secret);
                }
            }
        });
        Self {
            namespace: namespace.clone(),
            seen,
            task,
        }
    }

    /// All versions of a Secret, once its present one was seen.
    pub fn versions(&self, name: &str) -> Vec<Value> {
        if let Some(secret) = self.namespace.secret(name) {
            let version = &secret["metadata"]["resourceVersion"];
            wait_until("the watch sees the newest version", || {
                self.all(name)
                    .iter()
                    .any(|seen| seen["metadata"]["resourceVersion"] == *version)
            });
        }
        self.all(name)
    }

    /// How many versions were seen so far, of all Secrets.
    pub fn count(&self) -> usize {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }

    fn all(&self, name: &str) -> Vec<Value> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.iter()
            .filter(|secret| secret["metadata"]["name"] == name)
            .cloned()
            .collect()
    }
}

impl Drop for SecretWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}
