//! Envelopes that the cluster seals to the successors of their recipients: RewrapRequests.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::ControlFlow::{Break, Continue};
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _};
use http::header::{ACCEPT, HeaderValue};
use kube::ResourceExt as _;
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, PostParams, WatchEvent, WatchParams,
};
use kube::core::PartialObjectMeta;
use sealkit_core::api::{
    REWRAP_BYTES, REWRAP_ENVELOPES, RewrapRequest, RewrapRequestStatus, RewrappedEnvelope,
};
use sealkit_core::names::printable;
use sealkit_core::sealed::EnvelopeId;
use serde_json::{Map, Value, json};

use super::wait::Wait;
use super::{Cluster, TIMEOUT, answer_error, timed_out};
use crate::error::{CommandError, Result};
use crate::terminal::safe;

/// Requests at once: a namespace may have ten.
const AT_ONCE: usize = 6;
/// Bytes of the envelopes of one request, before and after: well below the limit.
const BATCH_BYTES: usize = REWRAP_BYTES / 100 * 85;
/// For one answer.
const ANSWER: Wait = Wait {
    within: Duration::from_mins(1),
    pause: Duration::from_millis(500),
};
/// For room in a namespace that has too many requests already.
const ROOM: Wait = Wait {
    within: Duration::from_mins(2),
    pause: Duration::from_millis(500),
};
/// What comes back from a creation.
const METADATA_ONLY: &str =
    "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";

/// What gives the rights.
const ROLE: &str = "the Role sealkit-rewrap of deploy/rewrap allows it";

/// An envelope to be rewrapped.
pub(crate) struct Ask {
    /// Namespace of the request.
    pub namespace: String,
    /// Id of the envelope.
    pub id: EnvelopeId,
    /// The envelope as it stands in the manifest.
    pub envelope: Value,
    /// Bytes that it will have, or has.
    pub size: usize,
}

/// Why there is no new envelope, in words.
#[derive(Clone, Debug)]
pub(crate) struct Refused(pub String);

/// Requests that are being deleted.
type Leaving = RefCell<tokio::task::JoinSet<()>>;

/// An envelope as it goes into a manifest.
pub(crate) type Answer = std::result::Result<Value, Refused>;

/// What became of one request.
enum RewrapAnswer {
    Answered(Answers),
    /// None of its envelopes will be answered.
    Refused(Refused),
}

impl RewrapAnswer {
    /// The answer to one of its envelopes.
    fn to(&self, ask: &Ask) -> Answer {
        match self {
            Self::Answered(all) => answer_of(ask, all),
            Self::Refused(refused) => Err(refused.clone()),
        }
    }
}

/// Why a request was not answered this time.
enum Trouble {
    /// There are too many in the namespace.
    Full,
    Failed(CommandError),
}

impl Cluster {
    /// Asks for all of them; `answered` hears of each, by its index, as answers come. The error is
    /// what ended the work before its end.
    pub fn rewrap(&self, asks: &[Ask], answered: impl FnMut(usize, Answer)) -> Result<()> {
        self.runtime
            .block_on(self.rewrap_all(asks, answered))
            .map_err(|error| error.on(self.title()))
    }

    async fn rewrap_all(
        &self,
        asks: &[Ask],
        mut answered: impl FnMut(usize, Answer),
    ) -> Result<()> {
        // Answered requests are deleted while others are still running.
        let leaving = RefCell::new(tokio::task::JoinSet::new());
        let failed = Cell::new(false);
        let request = async |batch: Vec<usize>| {
            // Running requests finish; no new one is started.
            if failed.get() {
                return None;
            }
            let answer = self.request(asks, &batch, &leaving).await;
            failed.set(failed.get() || answer.is_err());
            Some(answer.map(|answer| (batch, answer)))
        };
        let requests = futures::stream::iter(batches(asks))
            .map(request)
            .buffer_unordered(AT_ONCE);
        futures::pin_mut!(requests);
        let mut result = Ok(());
        while let Some(finished) = requests.next().await {
            match finished {
                // Not begun any more.
                None => {}
                Some(Err(error)) => result = result.and(Err(error)),
                Some(Ok((batch, answer))) => {
                    for index in batch {
                        answered(index, answer.to(&asks[index]));
                    }
                }
            }
        }
        let mut leaving = leaving.take();
        while leaving.join_next().await.is_some() {}
        result
    }

    /// One request, until it is answered or refused.
    async fn request(
        &self,
        asks: &[Ask],
        batch: &[usize],
        leaving: &Leaving,
    ) -> Result<RewrapAnswer> {
        let asked = ROOM.until(
            async |_| match self.try_request(asks, batch, leaving).await {
                Ok(outcome) => Ok(Break(outcome)),
                Err(Trouble::Failed(error)) => Err(error),
                Err(Trouble::Full) => Ok(Continue(())),
            },
        );
        Ok(match asked.await? {
            Break(outcome) => outcome,
            Continue(()) => RewrapAnswer::Refused(Refused(format!(
                "namespace {} already has too many RewrapRequests: somebody else is resealing, or abandoned requests have not expired yet; they do so after ten minutes",
                safe(&asks[batch[0]].namespace)
            ))),
        })
    }

    async fn try_request(
        &self,
        asks: &[Ask],
        batch: &[usize],
        leaving: &Leaving,
    ) -> std::result::Result<RewrapAnswer, Trouble> {
        let namespace = &asks[batch[0]].namespace;
        // It becomes part of a path, and comes from a file.
        if !sealkit_core::names::is_dns_label(namespace) {
            let refused = format!("{} is not a valid namespace name", printable(namespace));
            return Ok(RewrapAnswer::Refused(Refused(refused)));
        }
        let envelopes: Map<String, Value> = batch
            .iter()
            .map(|index| (asks[*index].id.to_string(), asks[*index].envelope.clone()))
            .collect();
        let kind = ApiResource::erase::<RewrapRequest>(&());
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), namespace, &kind);
        let mut request =
            DynamicObject::new("", &kind).data(json!({"spec": {"envelopes": envelopes}}));
        request.metadata.name = None;
        request.metadata.generate_name = Some("reseal-".to_owned());
        let made = match bounded(self.create(&api, &request)).await? {
            Ok(made) => made,
            Err(error) => return refusal(namespace, &error),
        };
        let name = made.name_any();
        let answer = answer(&api, &made).await;
        // It would end by itself.
        leaving.borrow_mut().spawn(async move {
            let _ = bounded(api.delete(&name, &DeleteParams::default())).await;
        });
        answer.map(RewrapAnswer::Answered)
    }

    /// Creates a request. It is as large as requests may be, and not sent back: only its metadata.
    async fn create(
        &self,
        api: &Api<DynamicObject>,
        request: &DynamicObject,
    ) -> kube::Result<PartialObjectMeta> {
        let body = serde_json::to_vec(request).map_err(kube::Error::SerdeError)?;
        let mut call = kube::core::Request::new(api.resource_url())
            .create(&PostParams::default(), body)
            .map_err(kube::Error::BuildRequest)?;
        let accept = HeaderValue::from_static(METADATA_ONLY);
        call.headers_mut().insert(ACCEPT, accept);
        self.client.request(call).await
    }
}

/// The answers to the envelopes of a request, by their ids.
type Answers = BTreeMap<String, RewrappedEnvelope>;

/// Waits for the status of a request.
async fn answer(
    api: &Api<DynamicObject>,
    made: &PartialObjectMeta,
) -> std::result::Result<Answers, Trouble> {
    let name = made.name_any();
    let mut version = made.resource_version().unwrap_or_default();
    let waited = ANSWER.until(async |elapsed| {
        let left = ANSWER.within.saturating_sub(elapsed);
        match tokio::time::timeout(left, watch(api, &name, &version, left)).await {
            Ok(Ok(Seen::Answer(answers))) => return Ok(Break(answers)),
            Ok(Ok(Seen::Deleted)) => return Err(Trouble::Full),
            Ok(Err(error @ kube::Error::Api(_))) => return Err(unread(&error)),
            // A watch ends for many reasons, and something may have happened meanwhile.
            Ok(Ok(Seen::End) | Err(_)) | Err(_) => {}
        }
        let Some(object) = bounded(api.get_opt(&name))
            .await?
            .map_err(|error| unread(&error))?
        else {
            return Err(Trouble::Full);
        };
        version = object.resource_version().unwrap_or_default();
        Ok(answered(&object).map_or(Continue(()), Break))
    });
    match waited.await? {
        Break(answers) => Ok(answers),
        Continue(()) => Err(Trouble::Failed(
            CommandError::cluster(format_args!(
                "the controller did not answer within {} seconds",
                ANSWER.within.as_secs()
            ))
            .hint("is the controller running, and does it support RewrapRequests? see its log"),
        )),
    }
}

/// What a watch of one request came to.
enum Seen {
    Answer(Answers),
    /// Somebody took the request away.
    Deleted,
    /// Nothing of that, and the watch is over.
    End,
}

/// Watches a request until it is answered or gone, or until the watch ends.
async fn watch(
    api: &Api<DynamicObject>,
    name: &str,
    version: &str,
    left: Duration,
) -> kube::Result<Seen> {
    let params = WatchParams::default()
        .fields(&format!("metadata.name={name}"))
        .timeout(u32::try_from(left.as_secs().clamp(1, 60)).unwrap_or(60));
    let mut events = api.watch(&params, version).await?.boxed();
    while let Some(event) = events.try_next().await? {
        match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                if let Some(answers) = answered(&object) {
                    return Ok(Seen::Answer(answers));
                }
            }
            WatchEvent::Deleted(_) => return Ok(Seen::Deleted),
            WatchEvent::Bookmark(_) => {}
            WatchEvent::Error(_) => break,
        }
    }
    Ok(Seen::End)
}

/// Why an answer was not read.
fn unread(error: &kube::Error) -> Trouble {
    Trouble::Failed(match error {
        kube::Error::Api(status) if status.code == 403 => {
            CommandError::cluster("not allowed to read RewrapRequests, which hold the answers")
                .hint(ROLE)
        }
        error => answer_error(error),
    })
}

/// The answer, if there is one.
fn answered(object: &DynamicObject) -> Option<Answers> {
    let status = object.data.get("status")?;
    let status: RewrapRequestStatus = serde_json::from_value(status.clone()).ok()?;
    if status.observed_generation != object.metadata.generation {
        return None;
    }
    // A request that was refused as a whole says so once.
    let ready = status
        .conditions
        .last()
        .filter(|_| status.envelopes.is_empty());
    let all = |message: &str| RewrappedEnvelope {
        error: Some(message.to_owned()),
        ..RewrappedEnvelope::default()
    };
    Some(match ready {
        None => status.envelopes,
        Some(ready) => BTreeMap::from([(String::new(), all(&ready.message))]),
    })
}

fn answer_of(ask: &Ask, all: &Answers) -> Answer {
    let nothing = || Refused("the cluster gave no answer for it".to_owned());
    let envelope = all
        .get(ask.id.as_str())
        .or_else(|| all.get(""))
        .ok_or_else(nothing)?;
    match (&envelope.age_file, &envelope.error) {
        (Some(age_file), None) => {
            Ok(json!({"recipients": envelope.recipients, "ageFile": age_file}))
        }
        (_, Some(error)) => Err(Refused(format!("the cluster says: {}", safe(error)))),
        (None, None) => Err(nothing()),
    }
}

async fn bounded<T>(
    call: impl Future<Output = kube::Result<T>>,
) -> std::result::Result<kube::Result<T>, Trouble> {
    tokio::time::timeout(TIMEOUT * 2, call)
        .await
        .map_err(|_| Trouble::Failed(timed_out()))
}

/// What a refused creation means: for these envelopes, for now, or for all.
fn refusal(namespace: &str, error: &kube::Error) -> std::result::Result<RewrapAnswer, Trouble> {
    let refused = |text: String| Ok(RewrapAnswer::Refused(Refused(text)));
    let kube::Error::Api(status) = error else {
        return Err(Trouble::Failed(answer_error(error)));
    };
    let about = status.details.as_ref().map(|details| details.kind.as_str());
    match status.code {
        // 429: the API server is starting, or busy.
        429 => Err(Trouble::Full),
        403 if status.message.contains("exceeded quota") => Err(Trouble::Full),
        403 => refused(format!(
            "not allowed to create RewrapRequests in namespace {}: {ROLE}",
            safe(namespace)
        )),
        404 if about == Some("namespaces") => {
            refused(format!("the cluster has no namespace {}", safe(namespace)))
        }
        404 => Err(Trouble::Failed(
            CommandError::cluster("the Sealkit of this cluster does not support RewrapRequests")
                .hint("update it, including its CRDs, or reseal with a private key: -i FILE"),
        )),
        // Such as a webhook's: of these envelopes, whatever it says.
        400..=499 if !matches!(status.code, 401 | 408) => refused(format!(
            "the cluster answered HTTP status {} to a RewrapRequest in namespace {}",
            status.code,
            safe(namespace)
        )),
        _ => Err(Trouble::Failed(answer_error(error))),
    }
}

/// Indices of the asks of each request: of one namespace, each id once, within the limits.
/// Namespaces take turns.
fn batches(asks: &[Ask]) -> Vec<Vec<usize>> {
    let mut namespaces: BTreeMap<&str, VecDeque<usize>> = BTreeMap::new();
    for (index, ask) in asks.iter().enumerate() {
        namespaces
            .entry(&ask.namespace)
            .or_default()
            .push_back(index);
    }
    let mut batches = Vec::new();
    while !namespaces.is_empty() {
        for waiting in namespaces.values_mut() {
            let (mut batch, mut ids, mut size, mut later) =
                (Vec::new(), BTreeSet::new(), 0, VecDeque::new());
            while let Some(index) = waiting.pop_front() {
                // Two files may hold one envelope.
                if !ids.insert(asks[index].id) {
                    later.push_back(index);
                    continue;
                }
                size += asks[index].size;
                if !batch.is_empty() && (size > BATCH_BYTES || batch.len() == REWRAP_ENVELOPES) {
                    waiting.push_front(index);
                    break;
                }
                batch.push(index);
            }
            for index in later.into_iter().rev() {
                waiting.push_front(index);
            }
            batches.push(batch);
        }
        namespaces.retain(|_, waiting| !waiting.is_empty());
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_keep_to_namespaces_ids_and_limits() {
        let ask = |namespace: &str, id: u16, size: usize| Ask {
            namespace: namespace.to_owned(),
            id: EnvelopeId::of(&[id.to_be_bytes(); 16].concat().try_into().unwrap(), false),
            envelope: Value::Null,
            size,
        };
        let asks = [
            ask("a", 1, 10),
            ask("b", 2, 10),
            ask("a", 1, 10),
            ask("a", 3, 10),
        ];
        let made = batches(&asks);
        assert_eq!(made, [vec![0, 3], vec![1], vec![2]]);
        let many: Vec<Ask> = (0..450).map(|id| ask("a", id, 10)).collect();
        let sizes = |asks: &[Ask]| batches(asks).iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(sizes(&many), [200, 200, 50]);
        let large: Vec<Ask> = (0..4).map(|id| ask("a", id, BATCH_BYTES / 2)).collect();
        assert_eq!(sizes(&large), [2, 2]);
        // One that exceeds the limit by itself is sent alone: the cluster refuses it in words.
        assert_eq!(
            sizes(&[ask("a", 1, REWRAP_BYTES * 2), ask("a", 2, 1)]),
            [1, 1]
        );
        assert!(batches(&[]).is_empty());
    }
}
