//! Events, which `kubectl describe` shows with an object.

use std::hash::{DefaultHasher, Hash, Hasher};

use jiff::Timestamp;
use kube::Client;
use sealkit_core::api::Reason;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::kubernetes::{self, ApiFailure};
use crate::object::Origin;

/// Events that may wait to be sent; further ones are dropped.
const BACKLOG: usize = 4096;

/// Severity of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// Nothing to do.
    Normal,
    /// Somebody should act.
    Warning,
}

/// Sends events of `events.k8s.io`, best effort. An event's name depends on its object, kind,
/// reason and occasion, so that one occasion has one event, even across restarts.
#[derive(Clone)]
pub struct Events {
    sender: mpsc::Sender<(String, Value)>,
}

impl EventKind {
    /// The word in events.
    const fn name(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

impl Events {
    /// Starts the tasks that send events.
    pub fn start(client: &Client, instance: &str) -> Self {
        let (sender, receiver) = mpsc::channel::<(String, Value)>(BACKLOG);
        let receiver = std::sync::Arc::new(tokio::sync::Mutex::new(receiver));
        for _ in 0..4 {
            let (client, receiver) = (client.clone(), receiver.clone());
            let instance = instance.to_owned();
            tokio::spawn(async move {
                loop {
                    let next = receiver.lock().await.recv().await;
                    let Some((namespace, mut event)) = next else {
                        break;
                    };
                    event["reportingInstance"] = instance.clone().into();
                    let path = format!("/apis/events.k8s.io/v1/namespaces/{namespace}/events");
                    match kubernetes::create(&client, &path, &event).await {
                        // Already exists: the same occasion was reported before.
                        Ok(_) | Err(ApiFailure::Status { code: 409, .. }) => {}
                        Err(failure) => tracing::debug!(%failure, "could not send an event"),
                    }
                }
            });
        }
        Self { sender }
    }

    /// Queues an event. A new `occasion` (a generation, say) makes a new event.
    pub fn publish(
        &self,
        origin: &Origin,
        kind: EventKind,
        reason: Reason,
        occasion: &str,
        message: &str,
    ) {
        let mut hasher = DefaultHasher::new();
        (origin, kind, reason, occasion).hash(&mut hasher);
        let base: String = origin.name.chars().take(200).collect();
        // Cluster-scoped objects have no namespace for their events.
        let namespace = match origin.namespace.as_str() {
            "" => "default".to_owned(),
            namespace => namespace.to_owned(),
        };
        let event = json!({
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {
                "name": format!("{}.{:016x}", base.trim_end_matches(['.', '-']), hasher.finish()),
                "namespace": namespace,
            },
            "eventTime": microseconds(Timestamp::now()),
            "type": kind.name(),
            "reason": reason.name(),
            "action": "Reconcile",
            "note": message.chars().take(1000).collect::<String>(),
            "reportingController": "sealkit.dev/seal-controller",
            "regarding": origin.reference(),
        });
        if self.sender.try_send((namespace, event)).is_err() {
            tracing::debug!("dropped an event, too many are waiting");
        }
    }
}

/// RFC 3339 with exactly six digits, as MicroTime requires.
fn microseconds(time: Timestamp) -> String {
    format!("{time:.6}")
}
