use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use sealkit_core::api::{GROUP, Reason, RewrapRequestStatus, RewrappedEnvelope, VERSION};
use sealkit_core::keys::TrustedRecipients;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::answer::{Trusted, answer};
use super::{KIND, LANE, RewrapRequests};
use crate::kubernetes::{self, ApiFailure};
use crate::place::Key;
use crate::queue::{Lane, Work, pause};
use crate::status::{self, Outcome};
use crate::telemetry::{KindResult, LaneLabel, kind_label};

/// Answers that keys overtook are made anew so many times.
const TRIES: usize = 3;
/// In metrics: deleted meanwhile, or made anew.
const GONE: &str = "Gone";

impl RewrapRequests {
    /// One worker: until the queue is closed.
    pub(super) async fn work(self: Arc<Self>) {
        while let Some(Work { key, due, .. }) = self.queue.next().await {
            let lane = LaneLabel { lane: LANE };
            let waited = due.elapsed().as_secs_f64();
            self.metrics.queue_wait.get_or_create(&lane).observe(waited);
            let start = Instant::now();
            let result = self.reconcile(&key).await;
            self.metrics
                .reconcile_duration
                .get_or_create(&kind_label(KIND))
                .observe(start.elapsed().as_secs_f64());
            let label = KindResult {
                kind: KIND,
                result: result.as_ref().map_or("ApiFailure", |result| *result),
            };
            self.metrics.reconcile_total.get_or_create(&label).inc();
            if let Err(failure) = result {
                self.retry(&key, &failure);
            }
            self.queue.done(&key);
        }
    }

    /// What became of it, for metrics.
    async fn reconcile(&self, key: &Key) -> Result<&'static str, ApiFailure> {
        let Some(known) = self.known().known.get(key).cloned() else {
            return Ok(GONE);
        };
        let path = format!(
            "/apis/{GROUP}/{VERSION}/namespaces/{}/rewraprequests/{}",
            key.0, key.1
        );
        // Answered or not: one that cannot be answered takes no place for ever.
        if known.refused || Instant::now() >= known.ends {
            kubernetes::delete(&self.client, &path, &known.uid).await?;
            return Ok("Deleted");
        }
        if !known.answered {
            let Some(request) = kubernetes::read_whole(&self.client, &path).await? else {
                return Ok(GONE);
            };
            let uid = request.pointer("/metadata/uid").and_then(Value::as_str);
            if uid != Some(known.uid.as_str()) {
                return Ok(GONE);
            }
            let outcome = self.answer(key, request, &path, &known.uid).await?;
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

    /// Writes the status of a request.
    async fn answer(
        &self,
        key: &Key,
        mut request: Value,
        path: &str,
        uid: &str,
    ) -> Result<Reason, ApiFailure> {
        let envelopes = match request.pointer_mut("/spec/envelopes").map(Value::take) {
            Some(Value::Object(envelopes)) => envelopes,
            _ => Map::new(),
        };
        let asked = envelopes.len();
        let answers = self.answers(&key.0, Arc::new(envelopes)).await?;
        let (outcome, envelopes) = match answers {
            Ok(envelopes) => (told(asked, &envelopes), envelopes),
            Err(broken) => (
                Outcome::Stalled(Reason::InvalidSpec, broken),
                BTreeMap::new(),
            ),
        };
        let generation = request.pointer("/metadata/generation");
        let generation = generation.and_then(Value::as_i64).unwrap_or_default();
        let conditions = status::conditions(&outcome, generation, false, &[], Timestamp::now());
        // All of the status, whatever stood there, and nothing else: it is written at half the cost
        // of a patch, and the server keeps the rest.
        let body = json!({
            "apiVersion": format!("{GROUP}/{VERSION}"), "kind": KIND,
            "metadata": {
                "name": key.1, "namespace": key.0, "uid": uid,
                "resourceVersion": request.pointer("/metadata/resourceVersion"),
            },
            "status": RewrapRequestStatus {
                observed_generation: Some(generation),
                conditions,
                envelopes,
            },
        });
        match kubernetes::replace(&self.client, &format!("{path}/status"), &body).await {
            // Deleted meanwhile, or made anew: the watch tells.
            Ok(_)
            | Err(ApiFailure::Status {
                code: 404 | 422, ..
            }) => Ok(outcome.reason()),
            Err(failure) => Err(failure),
        }
    }

    /// The answers by the keys in force when they are ready.
    async fn answers(
        &self,
        namespace: &str,
        envelopes: Arc<Map<String, Value>>,
    ) -> Result<Result<BTreeMap<String, RewrappedEnvelope>, String>, ApiFailure> {
        let trusted = Arc::new(self.trusted().await?);
        for _ in 0..TRIES {
            let Some(keys) = self.keys.borrow().clone() else {
                break;
            };
            let (envelopes, trusted) = (envelopes.clone(), trusted.clone());
            let (namespace, by) = (namespace.to_owned(), keys.clone());
            let made =
                tokio::task::spawn_blocking(move || answer(&namespace, &envelopes, &by, &trusted));
            // A panic ends in the answer.
            let made = made
                .await
                .unwrap_or_else(|_| Err("the request could not be processed".to_owned()));
            // A key that was ended in the same second opens nothing, and is sealed to by nobody.
            let now = self.keys.borrow().clone();
            if now.is_some_and(|now| now.same(&keys)) {
                return Ok(made);
            }
        }
        Ok(Err("the keys of the cluster change, ask again".to_owned()))
    }

    /// Read for each request: whoever was taken out of it is not sealed to from then on.
    async fn trusted(&self) -> Result<Trusted, ApiFailure> {
        let name = TrustedRecipients::NAME;
        let namespace = &self.settings.namespace;
        let path = format!("/api/v1/namespaces/{namespace}/configmaps/{name}");
        let trouble = |text: String| Trusted {
            trouble: Some(text),
            ..Trusted::default()
        };
        let data = match kubernetes::read_whole(&self.client, &path).await {
            Ok(Some(mut map)) => map.get_mut("data").map(Value::take).unwrap_or_default(),
            Ok(None) => {
                return Ok(trouble(format!(
                    "there is no ConfigMap {namespace}/{name} that names recovery keys and other clusters"
                )));
            }
            Err(ApiFailure::Status { code: 403, .. }) => {
                return Ok(trouble(format!(
                    "the controller may not read ConfigMap {namespace}/{name}"
                )));
            }
            Err(failure) => return Err(failure),
        };
        let data: BTreeMap<String, String> = serde_json::from_value(data).unwrap_or_default();
        Ok(match TrustedRecipients::parse(&data) {
            Ok(recipients) => Trusted {
                recipients,
                trouble: None,
            },
            Err(error) => trouble(format!(
                "ConfigMap {namespace}/{name} is malformed, {error}"
            )),
        })
    }

    fn retry(&self, key: &Key, failure: &ApiFailure) {
        let (failures, ends) = {
            let mut requests = self.known();
            let Some(known) = requests.known.get_mut(key) else {
                return;
            };
            known.failures = known.failures.saturating_add(1);
            (known.failures, known.ends)
        };
        // 409: somebody changed the request meanwhile, or made it anew; look again at once, at first.
        let mut due = Instant::now();
        if failure.code() != 409 || failures > 1 {
            tracing::warn!(namespace = key.0, name = key.1, %failure, "request will be retried");
            due += pause(failures);
        }
        // Its end comes first.
        let due = if Instant::now() < ends {
            due.min(ends)
        } else {
            due
        };
        self.queue.push(key.clone(), Lane::Background, due, None);
    }
}

fn told(asked: usize, envelopes: &BTreeMap<String, RewrappedEnvelope>) -> Outcome {
    let refused = envelopes.values().filter(|one| one.error.is_some()).count();
    let message = if refused == 0 {
        format!("{asked} envelopes")
    } else {
        format!("{refused} of {asked} envelopes were not rewrapped, each says why")
    };
    Outcome::Ready(Reason::Rewrapped, message)
}
