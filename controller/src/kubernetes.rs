//! The Kubernetes API as all reconcilers use it: errors that quote nothing, and writes whose
//! answers have metadata only, so that no secret comes back over the wire.

use std::collections::BTreeMap;
use std::time::Duration;

use http::Request;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;
use sealkit_core::api::METADATA_ONLY;
use sealkit_core::names;
use serde::Deserialize;
use serde_json::{Value, json};
use zeroize::Zeroize;

use crate::object::{Kind, used_metadata};
use crate::store::no_way;

/// kubectl's copy of the manifest that it applied.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The manager of the fields of what the controller writes as a whole: the server takes it from
/// [`USER_AGENT`].
pub const FIELD_MANAGER: &str = "seal-controller";
/// How the controller names itself to the API server.
pub const USER_AGENT: &str = concat!("seal-controller/", env!("CARGO_PKG_VERSION"));

/// How long one call may take. The API server ends its own after a minute.
const CALL: Duration = Duration::from_secs(70);

/// The cause that the server gives for a field of another manager. It is reported as the reason,
/// since the server's own, `Conflict`, also means an old resourceVersion.
const FIELD_CONFLICT: &str = "FieldManagerConflict";

/// A failed call, without the server's message, which can quote the content of a Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApiFailure {
    /// The server answered: HTTP code, reason, paths of the fields at fault.
    Status {
        /// HTTP code.
        code: u16,
        /// The API's one-word reason.
        reason: String,
        /// Field paths, if the server names any.
        fields: Vec<String>,
        /// What in admission refused the object, if that did.
        refuser: Option<Refuser>,
    },
    /// No answer.
    Unreachable,
    /// No connection, for a reason that is no fault of the server: TLS or a proxy.
    NoWay(String),
}

/// What refuses an object that the caller has the right to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refuser {
    /// A `ResourceQuota`.
    Quota {
        /// Its name.
        name: String,
        /// Is it just full? Then one object makes room for another.
        just_full: bool,
    },
    /// A `ValidatingAdmissionPolicy` of this name.
    Policy(String),
    /// An admission webhook of this name.
    Webhook(String),
}

impl Refuser {
    /// Reads who refused from the beginning of the server's message, which the server itself writes
    /// and which comes before any text of a policy or webhook.
    fn of(message: &str) -> Option<Self> {
        let named = |name: &str| names::is_dns_subdomain(name).then(|| name.to_owned());
        let object = message.strip_prefix("secrets \"");
        let refusal = object.and_then(|text| text.split_once("\" is forbidden: "));
        let refusal = refusal
            .filter(|(object, _)| names::is_dns_subdomain(object))
            .map(|(_, refusal)| refusal);
        if let Some(rest) = refusal.and_then(|text| text.strip_prefix("exceeded quota: ")) {
            let (name, counts) = rest.split_once(", ")?;
            let just_full = is_just_full(counts);
            return named(name).map(|name| Self::Quota { name, just_full });
        }
        let policy = refusal.and_then(|text| text.strip_prefix("ValidatingAdmissionPolicy '"));
        if let Some((name, _)) = policy.and_then(|rest| rest.split_once('\'')) {
            return named(name).map(Self::Policy);
        }
        let rest = message.strip_prefix("admission webhook \"")?;
        let (name, _) = rest.split_once("\" denied the request")?;
        named(name).map(Self::Webhook)
    }
}

/// Is no more used than the quota allows, as its refusal counts? Only whole numbers are compared.
fn is_just_full(counts: &str) -> bool {
    let numbers = |list: &str| -> Option<Vec<(String, u64)>> {
        let entries = list.split(',').map(|entry| {
            let (name, number) = entry.split_once('=')?;
            Some((name.to_owned(), number.parse().ok()?))
        });
        entries.collect()
    };
    let used_and_limited = || {
        let (_, rest) = counts.split_once(", used: ")?;
        let (used, limited) = rest.split_once(", limited: ")?;
        Some((numbers(used)?, numbers(limited)?))
    };
    used_and_limited().is_some_and(|(used, limited)| {
        let mut pairs = used.iter().zip(&limited);
        used.len() == limited.len()
            && pairs.all(|(used, limited)| used.0 == limited.0 && used.1 <= limited.1)
    })
}

impl std::fmt::Display for Refuser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Quota { name, .. } => write!(f, "the ResourceQuota {name} is exceeded"),
            Self::Policy(name) => write!(f, "the ValidatingAdmissionPolicy {name} denies it"),
            Self::Webhook(name) => write!(f, "the admission webhook {name} denies it"),
        }
    }
}

impl ApiFailure {
    /// What in admission refused the object.
    pub fn refuser(&self) -> Option<&Refuser> {
        match self {
            Self::Status { refuser, .. } => refuser.as_ref(),
            Self::Unreachable | Self::NoWay(_) => None,
        }
    }

    /// Did the server refuse the request as such? It asks quotas, policies and webhooks about a new
    /// object before it looks whether one of that name exists.
    pub fn is_refusal(&self) -> bool {
        matches!(self.code(), 400 | 403 | 422) || self.refuser().is_some()
    }
}

impl ApiFailure {
    /// The HTTP code, 0 without an answer.
    pub fn code(&self) -> u16 {
        match self {
            Self::Status { code, .. } => *code,
            Self::Unreachable | Self::NoWay(_) => 0,
        }
    }
}

impl ApiFailure {
    /// Does an object of that name exist? (A quota answers 409 too, with another reason.)
    pub fn is_already_exists(&self) -> bool {
        matches!(self, Self::Status { reason, .. } if reason == "AlreadyExists")
    }

    /// Does another field manager own a field that was to be applied?
    pub fn is_field_conflict(&self) -> bool {
        matches!(self, Self::Status { reason, .. } if reason == FIELD_CONFLICT)
    }

    /// Was the object changed since it was read?
    pub fn is_outdated(&self) -> bool {
        self.code() == 409 && !self.is_field_conflict()
    }
}

impl std::fmt::Display for ApiFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unreachable => f.write_str("the API server did not answer"),
            Self::NoWay(why) => f.write_str(why),
            Self::Status {
                refuser: Some(refuser),
                ..
            } => refuser.fmt(f),
            Self::Status {
                code,
                reason,
                fields,
                refuser: None,
            } => {
                write!(f, "the API server answered {code} {reason}")?;
                if fields.is_empty() {
                    Ok(())
                } else {
                    write!(f, " for {}", fields.join(", "))
                }
            }
        }
    }
}

/// Why there is no connection to the API server, if TLS or a proxy is the reason.
pub fn no_way_to_server(error: &kube::Error) -> Option<String> {
    let untrusted = "is of an unknown CA: is the CA of the kubeconfig that of this cluster?";
    no_way("the API server", untrusted, error)
}

impl From<kube::Error> for ApiFailure {
    fn from(error: kube::Error) -> Self {
        let kube::Error::Api(status) = error else {
            return no_way_to_server(&error).map_or(Self::Unreachable, Self::NoWay);
        };
        let refuser = Refuser::of(&status.message);
        let causes = status
            .details
            .map(|details| details.causes)
            .unwrap_or_default();
        let field_conflict = causes.iter().any(|cause| cause.reason == FIELD_CONFLICT);
        // A field path may contain a key name, never a value. Webhooks write any reason and fields:
        // whatever does not look like a word or a path is left out, and so are duplicates.
        let mut fields: Vec<String> = causes
            .into_iter()
            .map(|cause| cause.field)
            .filter(|field| is_path(field))
            .collect();
        fields.sort();
        fields.dedup();
        fields.truncate(5);
        let is_word = status.reason.len() <= 40
            && status.reason.bytes().all(|byte| byte.is_ascii_alphabetic());
        let reason = if field_conflict {
            FIELD_CONFLICT.to_owned()
        } else if is_word {
            status.reason
        } else {
            "Refused".to_owned()
        };
        Self::Status {
            code: status.code,
            reason,
            fields,
            refuser,
        }
    }
}

/// What the server says to a write, whatever else the object holds.
#[derive(Deserialize)]
pub struct Answer {
    /// The metadata that we use.
    #[serde(default, deserialize_with = "used_metadata")]
    pub metadata: ObjectMeta,
}

/// `POST path` with a JSON body. Returns the answer's metadata.
pub async fn create(client: &Client, path: &str, body: &Value) -> Result<Answer, ApiFailure> {
    let request = Request::post(path).header("content-type", "application/json");
    send(client, request, body).await
}

/// `GET path`, metadata only.
pub async fn read(client: &Client, path: &str) -> Result<Answer, ApiFailure> {
    let request = Request::get(path).header("accept", METADATA_ONLY);
    let request = request
        .body(Vec::new())
        .map_err(|_| ApiFailure::Unreachable)?;
    within(client.request(request)).await
}

/// `GET path`, the whole object; `None` if it does not exist.
pub async fn read_whole(client: &Client, path: &str) -> Result<Option<Value>, ApiFailure> {
    let request = Request::get(path)
        .body(Vec::new())
        .map_err(|_| ApiFailure::Unreachable)?;
    match within(client.request(request)).await {
        Ok(object) => Ok(Some(object)),
        Err(ApiFailure::Status { code: 404, .. }) => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// The same as the text of the answer, for objects of strangers: what it takes in memory is known before
/// it is parsed.
pub async fn read_text(client: &Client, path: &str) -> Result<Option<String>, ApiFailure> {
    let request = Request::get(path)
        .body(Vec::new())
        .map_err(|_| ApiFailure::Unreachable)?;
    match within(client.request_text(request)).await {
        Ok(text) => Ok(Some(text)),
        Err(ApiFailure::Status { code: 404, .. }) => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// Does the status of this kind keep the field, by the schema that the API server publishes? Without
/// an answer, it does not.
pub async fn keeps_in_status(client: &Client, kind: Kind, field: &str) -> bool {
    #[derive(Deserialize)]
    struct Document {
        components: Components,
    }
    #[derive(Deserialize)]
    struct Components {
        schemas: BTreeMap<String, Schema>,
    }
    #[derive(Deserialize)]
    struct Schema {
        #[serde(default)]
        properties: BTreeMap<String, Schema>,
    }
    let path = format!("/openapi/v3/apis/{}/{}", kind.group, kind.version);
    let Ok(request) = Request::get(&path).body(Vec::new()) else {
        return false;
    };
    let Ok(document) = within(client.request::<Document>(request)).await else {
        return false;
    };
    let name = format!(".{}", kind.kind);
    let mut schemas = document.components.schemas.into_iter();
    schemas.any(|(of, schema)| {
        let status = schema.properties.get("status");
        of.ends_with(&name) && status.is_some_and(|status| status.properties.contains_key(field))
    })
}

/// Does the API server have this kind? Asks until it answers.
pub async fn is_served(client: &Client, kind: Kind) -> bool {
    let path = format!("/apis/{}/{}", kind.group, kind.version);
    loop {
        let request = Request::get(&path).body(Vec::new());
        let Ok(request) = request else {
            return false;
        };
        match within(client.request::<Value>(request)).await {
            Ok(list) => {
                let resources = list["resources"].as_array().map(Vec::as_slice);
                let mut names = resources.unwrap_or_default().iter().map(|one| &one["name"]);
                return names.any(|name| name == kind.plural);
            }
            Err(ApiFailure::Status {
                code: 403 | 404, ..
            }) => return false,
            Err(_) => tokio::time::sleep(Duration::from_secs(1)).await,
        }
    }
}

/// `DELETE path`, if the object still has this UID. Succeeds if it does not.
pub async fn delete(client: &Client, path: &str, uid: &str) -> Result<(), ApiFailure> {
    let body = serde_json::json!({
        "apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid},
    });
    let request = Request::delete(path).header("content-type", "application/json");
    match send(client, request, &body).await {
        Ok(_)
        | Err(ApiFailure::Status {
            code: 404 | 409, ..
        }) => Ok(()),
        Err(failure) => Err(failure),
    }
}

/// `PUT path`. Returns the answer's metadata.
pub async fn replace(client: &Client, path: &str, body: &Value) -> Result<Answer, ApiFailure> {
    let request = Request::put(path).header("content-type", "application/json");
    send(client, request, body).await
}

/// `PATCH path` as a merge patch. Returns the answer's metadata.
pub async fn merge_patch(client: &Client, path: &str, body: &Value) -> Result<Answer, ApiFailure> {
    let request = Request::patch(path).header("content-type", "application/merge-patch+json");
    send(client, request, body).await
}

/// Removes a finalizer of the object at `path`. Succeeds if it has none, or does not exist.
pub async fn remove_finalizer(
    client: &Client,
    path: &str,
    finalizer: &str,
) -> Result<(), ApiFailure> {
    // Most objects have no other.
    match remove_finalizer_at(client, path, finalizer, 0).await {
        Err(ApiFailure::Status { code: 422, .. }) => {}
        result => return result,
    }
    let all = read_finalizers(client, path).await?;
    let at = all.iter().flatten().position(|name| name == finalizer);
    match at {
        Some(at) => remove_finalizer_at(client, path, finalizer, at).await,
        None => Ok(()),
    }
}

/// Removes a finalizer, if it is the one at this place.
async fn remove_finalizer_at(
    client: &Client,
    path: &str,
    finalizer: &str,
    at: usize,
) -> Result<(), ApiFailure> {
    let place = format!("/metadata/finalizers/{at}");
    let patch = json!([
        {"op": "test", "path": place, "value": finalizer},
        {"op": "remove", "path": place},
    ]);
    let request = Request::patch(path).header("content-type", "application/json-patch+json");
    match send(client, request, &patch).await {
        Ok(_) | Err(ApiFailure::Status { code: 404, .. }) => Ok(()),
        Err(failure) => Err(failure),
    }
}

/// All finalizers of an object; `None` if it does not exist.
async fn read_finalizers(client: &Client, path: &str) -> Result<Option<Vec<String>>, ApiFailure> {
    #[derive(Deserialize)]
    struct Object {
        metadata: Finalizers,
    }
    #[derive(Deserialize)]
    struct Finalizers {
        #[serde(default)]
        finalizers: Vec<String>,
    }
    let request = Request::get(path).header("accept", METADATA_ONLY);
    let request = request
        .body(Vec::new())
        .map_err(|_| ApiFailure::Unreachable)?;
    match within(client.request::<Object>(request)).await {
        Ok(object) => Ok(Some(object.metadata.finalizers)),
        Err(ApiFailure::Status { code: 404, .. }) => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// `PATCH path` as a server-side apply, whose query says if by force. Returns the answer's metadata.
pub async fn apply(client: &Client, path: &str, body: &Value) -> Result<Answer, ApiFailure> {
    // JSON is YAML.
    let request = Request::patch(path).header("content-type", "application/apply-patch+yaml");
    send(client, request, body).await
}

async fn send(
    client: &Client,
    request: http::request::Builder,
    body: &Value,
) -> Result<Answer, ApiFailure> {
    let bytes = serde_json::to_vec(body).map_err(|_| ApiFailure::Unreachable)?;
    let request = request
        .header("accept", METADATA_ONLY)
        .body(bytes)
        .map_err(|_| ApiFailure::Unreachable)?;
    within(client.request(request)).await
}

/// A server that accepts a call and never answers holds up no worker for ever.
pub async fn within<T>(call: impl Future<Output = kube::Result<T>>) -> Result<T, ApiFailure> {
    match tokio::time::timeout(CALL, call).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(ApiFailure::Unreachable),
    }
}

/// Overwrites the values of a Secret, including kubectl's copy of the whole manifest.
pub fn wipe_secret(secret: &mut Secret) {
    for value in secret.data.iter_mut().flat_map(|data| data.values_mut()) {
        value.0.zeroize();
    }
    let annotations = secret.metadata.annotations.as_mut();
    if let Some(copy) = annotations.and_then(|all| all.get_mut(LAST_APPLIED)) {
        copy.zeroize();
    }
}

fn is_path(field: &str) -> bool {
    (1..=253).contains(&field.len())
        && field
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_.-/[]".contains(&byte))
}

#[cfg(test)]
mod tests {
    use kube::core::Status;
    use serde_json::json;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_server_that_never_answers_holds_nobody_up() {
        let answer: Result<(), _> = within(std::future::pending()).await;
        assert_eq!(answer, Err(ApiFailure::Unreachable));
    }

    #[test]
    fn texts_of_webhooks_are_not_quoted() {
        let status: Status = serde_json::from_value(json!({
            "status": "Failure", "code": 403, "reason": "denied: data.password is hunter2",
            "message": "hunter2",
            "details": {"causes": [
                {"field": "data is hunter2", "message": "hunter2", "reason": "x"},
                {"field": "data[.dockerconfigjson]", "message": "hunter2", "reason": "x"},
                {"field": "data[.dockerconfigjson]", "message": "hunter2", "reason": "x"},
            ]},
        }))
        .unwrap();
        let failure = ApiFailure::from(kube::Error::Api(status.boxed()));
        assert_eq!(
            failure.to_string(),
            "the API server answered 403 Refused for data[.dockerconfigjson]"
        );
    }

    #[test]
    fn who_refuses_is_read_from_what_the_server_itself_writes() {
        let quota = |used, limited| {
            format!(
                "secrets \"db\" is forbidden: exceeded quota: q, requested: count/secrets=1, used: count/secrets={used}, limited: count/secrets={limited}"
            )
        };
        let full = |just_full| {
            let name = "q".to_owned();
            Some(Refuser::Quota { name, just_full })
        };
        assert_eq!(Refuser::of(&quota("1", "1")), full(true));
        assert_eq!(Refuser::of(&quota("3", "1")), full(false));
        assert_eq!(Refuser::of(&quota("1k", "1k")), full(false));
        assert_eq!(
            Refuser::of(
                "secrets \"db\" is forbidden: ValidatingAdmissionPolicy 'p.example' with binding 'b' denied request: hunter2"
            ),
            Some(Refuser::Policy("p.example".into()))
        );
        assert_eq!(
            Refuser::of("admission webhook \"w.example\" denied the request: hunter2"),
            Some(Refuser::Webhook("w.example".into()))
        );
        for message in [
            "secrets is forbidden: User \"x\" cannot create resource \"secrets\"",
            "hunter2: secrets \"db\" is forbidden: exceeded quota: q, used",
            "admission webhook \"Hunter 2\" denied the request",
            "secrets \"db\" is forbidden: exceeded quota: hunter 2, requested",
        ] {
            assert_eq!(Refuser::of(message), None, "{message}");
        }
    }
}
