//! Answers a RewrapRequest once, and deletes it when its time is over.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use kube::Api;
use sealkit_core::api::{Reason, RewrapRequest, RewrapRequestStatus, RewrappedEnvelope};
use sealkit_core::keys::TrustedRecipients;
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::RewrapRequests;
use super::answer::{Trusted, answer};
use crate::kubernetes::{self, ApiFailure, within};
use crate::object::{Key, Origin, REWRAP_REQUEST, Raw};
use crate::queue::Lane;
use crate::status::{self, Outcome};

/// How often an answer is made again because keys changed meanwhile.
const TRIES: usize = 3;
/// Result in metrics: deleted meanwhile, or created again.
const GONE: &str = "Gone";

/// A RewrapRequest as the API server sends it.
type RequestObject = Raw<RewrapRequest>;

impl RewrapRequests {
    /// Answers or deletes a request. Returns the result for metrics.
    pub(super) async fn reconciled(&self, key: &Key) -> Result<&'static str, ApiFailure> {
        let Some(known) = self.known().known.get(key).cloned() else {
            return Ok(GONE);
        };
        let origin = Origin {
            kind: REWRAP_REQUEST,
            namespace: key.namespace.clone(),
            name: key.name.clone(),
            uid: known.uid.clone(),
        };
        let (client, path) = (&self.context.client, origin.path());
        // Answered or not: a request that cannot be answered must not take a place for ever.
        if known.refused || Instant::now() >= known.ends {
            kubernetes::delete(client, &path, &known.uid).await?;
            return Ok("Deleted");
        }
        if !known.answered {
            let api: Api<RequestObject> = Api::namespaced(client.clone(), &key.namespace);
            let request = within(api.get_opt(&key.name)).await?;
            let Some(request) = request.filter(|request| request.uid() == known.uid) else {
                return Ok(GONE);
            };
            let outcome = self.answer(&origin, &request).await?;
            let mut requests = self.known();
            let same = requests
                .known
                .get_mut(key)
                .filter(|now| now.uid == known.uid);
            if let Some(known) = same {
                known.answered = true;
            }
            drop(requests);
            self.queue
                .push(key.clone(), Lane::Background, known.ends, None);
            return Ok(outcome.name());
        }
        self.queue
            .push(key.clone(), Lane::Background, known.ends, None);
        Ok("Unchanged")
    }

    /// Writes the status of a request and ignores the old one: anybody with the right may have
    /// written it.
    async fn answer(&self, origin: &Origin, request: &RequestObject) -> Result<Reason, ApiFailure> {
        let mut spec = request.spec().value;
        let envelopes = match spec.get_mut("envelopes").map(Value::take) {
            Some(Value::Object(envelopes)) => envelopes,
            _ => Map::new(),
        };
        let asked = envelopes.len();
        let answers = self.answers(&origin.namespace, Arc::new(envelopes)).await?;
        let (outcome, envelopes) = match answers {
            Ok(envelopes) => (summary(asked, &envelopes), envelopes),
            Err(broken) => (
                Outcome::Stalled(Reason::InvalidSpec, broken),
                BTreeMap::new(),
            ),
        };
        let generation = request.generation();
        let status = RewrapRequestStatus {
            observed_generation: Some(generation),
            conditions: status::conditions(&outcome, generation, false, &[], Timestamp::now()),
            envelopes,
        };
        let version = request.metadata.resource_version.as_deref();
        match status::write(&self.context.client, origin, version, None, &status).await {
            // Deleted meanwhile, or created again: the watch reports it.
            Ok(_)
            | Err(ApiFailure::Status {
                code: 404 | 422, ..
            }) => Ok(outcome.reason()),
            Err(failure) => Err(failure),
        }
    }

    /// The answers, made with the keys that are still in force when they are ready.
    async fn answers(
        &self,
        namespace: &str,
        envelopes: Arc<Map<String, Value>>,
    ) -> Result<Result<BTreeMap<String, RewrappedEnvelope>, String>, ApiFailure> {
        let trusted = Arc::new(self.trusted().await?);
        for _ in 0..TRIES {
            let Some(keys) = self.context.keys.borrow().clone() else {
                break;
            };
            let (envelopes, trusted) = (envelopes.clone(), trusted.clone());
            let (namespace, by) = (namespace.to_owned(), keys.clone());
            let made =
                tokio::task::spawn_blocking(move || answer(&namespace, &envelopes, &by, &trusted));
            // A panic becomes an answer.
            let made = made.await.unwrap_or_else(|_| {
                Err("internal error in the controller, see its log".to_owned())
            });
            // A key that was revoked meanwhile must open nothing, and nothing may be sealed to it.
            let now = self.context.keys.borrow().clone();
            if now.is_some_and(|now| now.same(&keys)) {
                return Ok(made);
            }
        }
        Ok(Err(
            "the cluster's keys are changing: send the request again".to_owned(),
        ))
    }

    /// Reads the ConfigMap for each request: nothing is sealed to a recipient that was removed from
    /// it.
    async fn trusted(&self) -> Result<Trusted, ApiFailure> {
        let name = TrustedRecipients::NAME;
        let namespace = &self.context.rules.namespace;
        let path = format!("/api/v1/namespaces/{namespace}/configmaps/{name}");
        let trouble = |text: String| Trusted {
            trouble: Some(text),
            ..Trusted::default()
        };
        let data = match kubernetes::read_whole(&self.context.client, &path).await {
            Ok(Some(mut map)) => map.get_mut("data").map(Value::take).unwrap_or_default(),
            Ok(None) => {
                return Ok(trouble(format!(
                    "there is no ConfigMap {namespace}/{name} that names recovery keys and other clusters"
                )));
            }
            Err(ApiFailure::Status { code: 403, .. }) => {
                return Ok(trouble(format!(
                    "the controller has no right to read ConfigMap {namespace}/{name}"
                )));
            }
            Err(failure) => return Err(failure),
        };
        // It may have thousands of keys, whose checks take their time.
        let parsed = tokio::task::spawn_blocking(move || {
            let data: BTreeMap<String, String> = serde_json::from_value(data).unwrap_or_default();
            TrustedRecipients::parse(&data)
        });
        Ok(match parsed.await {
            Ok(Ok(recipients)) => Trusted {
                recipients,
                trouble: None,
            },
            Ok(Err(error)) => trouble(format!(
                "ConfigMap {namespace}/{name} is malformed: {error}"
            )),
            Err(_) => trouble(format!(
                "internal error while reading ConfigMap {namespace}/{name}, see the controller's log"
            )),
        })
    }
}

fn summary(asked: usize, envelopes: &BTreeMap<String, RewrappedEnvelope>) -> Outcome {
    let refused = envelopes
        .values()
        .filter(|envelope| envelope.error.is_some())
        .count();
    let message = if refused == 0 {
        format!("{asked} envelopes answered")
    } else {
        format!("{refused} of {asked} envelopes were not rewrapped: status.envelopes says why")
    };
    Outcome::Ready(Reason::Rewrapped, message)
}
