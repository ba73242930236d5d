//! What an API server asks, and how it is answered: `admission.k8s.io/v1`.

use sealkit_core::sealed::memory_size;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// Bytes of one warning; API servers cut longer ones.
const WARNING: usize = 256;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Review<'a> {
    api_version: String,
    #[serde(borrow)]
    request: Option<Request<'a>>,
}

/// What is asked. Objects stay text until somebody needs them.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request<'a> {
    /// Names the request in the answer.
    pub uid: String,
    /// The kind of the object.
    pub kind: GroupKind,
    /// The namespace; empty for cluster-scoped objects.
    #[serde(default)]
    pub namespace: String,
    /// The name.
    #[serde(default)]
    pub name: String,
    /// CREATE, UPDATE, DELETE or CONNECT.
    pub operation: String,
    /// The object as it would be; absent with DELETE.
    #[serde(borrow, default)]
    pub object: Option<&'a RawValue>,
    /// The object as it is; absent with CREATE.
    #[serde(borrow, default)]
    pub old_object: Option<&'a RawValue>,
}

/// A kind, whatever its version.
#[derive(Deserialize)]
pub struct GroupKind {
    /// API group.
    pub group: String,
    /// The kind.
    pub kind: String,
}

/// The parts of an object that say whether anything is to be judged.
#[derive(Default, Deserialize)]
struct Outline<'a> {
    #[serde(default)]
    metadata: Deletion,
    #[serde(borrow, default)]
    spec: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Deletion {
    #[serde(default)]
    deletion_timestamp: Option<serde::de::IgnoredAny>,
}

impl<'a> Request<'a> {
    /// Reads a review. `None` if it is no review of the version that we speak.
    pub fn read(text: &'a str) -> Option<Self> {
        let review: Review = serde_json::from_str(text).ok()?;
        let is_ours = review.api_version == "admission.k8s.io/v1";
        review.request.filter(|_| is_ours)
    }

    /// Is a spec new or changed? Everything else passes: whoever removes a finalizer or a label, or
    /// deletes an object, must not be stopped by what the object holds.
    pub fn has_news(&self) -> bool {
        match self.operation.as_str() {
            _ if self.is_settled() => false,
            "CREATE" => true,
            "UPDATE" => !is_same(outline(self.old_object).spec, outline(self.object).spec),
            _ => false,
        }
    }

    /// Roughly the bytes that its specs take while they are read; none that need not be.
    pub fn memory_size(&self) -> usize {
        if self.is_settled() {
            return 0;
        }
        let specs = [self.object, self.old_object].map(|text| outline(text).spec);
        let sizes = specs
            .into_iter()
            .flatten()
            .map(|spec| memory_size(spec.get()));
        sizes.sum()
    }

    /// Does it pass whatever its specs hold, without a look at them?
    fn is_settled(&self) -> bool {
        let new = outline(self.object);
        // API servers write both alike.
        let spec = |spec: Option<&'a RawValue>| spec.map(RawValue::get);
        new.metadata.deletion_timestamp.is_some()
            || self.operation == "UPDATE" && spec(new.spec) == spec(outline(self.old_object).spec)
    }
}

fn outline(text: Option<&RawValue>) -> Outline<'_> {
    let read = text.and_then(|text| serde_json::from_str(text.get()).ok());
    read.unwrap_or_default()
}

/// Do they say the same, spelled otherwise?
fn is_same(old: Option<&RawValue>, new: Option<&RawValue>) -> bool {
    let read = |text: &RawValue| serde_json::from_str::<Value>(text.get()).ok();
    let (old, new) = (old.and_then(read), new.and_then(read));
    old.is_some() && old == new
}

/// What becomes of a request. Texts are public.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It passes.
    Allowed,
    /// It passes, and this is told.
    Warned(String),
    /// It is refused: one word, and a sentence for people.
    Denied(&'static str, String),
}

impl Verdict {
    /// The word in metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Warned(_) => "warned",
            Self::Denied(..) => "denied",
        }
    }

    /// The review that answers the request of this uid.
    pub fn answer(&self, request: &Request<'_>) -> Value {
        let mut response = json!({"uid": request.uid, "allowed": true});
        let object = object_of(request);
        match self {
            Self::Allowed => {}
            Self::Warned(what) => {
                let mut warning = format!("{object}: {what}");
                if let Some((at, _)) = warning.char_indices().find(|(at, _)| *at > WARNING - 8) {
                    warning.truncate(at);
                    warning += "…";
                }
                response["warnings"] = json!([warning]);
            }
            Self::Denied(reason, what) => {
                response["allowed"] = json!(false);
                response["status"] = json!({
                    "code": 422, "reason": "Invalid", "status": "Failure",
                    "message": format!("{object}: {reason}: {what}"),
                });
            }
        }
        json!({
            "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response,
        })
    }
}

fn object_of(request: &Request<'_>) -> String {
    let (kind, name) = (&request.kind.kind, &request.name);
    if request.namespace.is_empty() {
        format!("{kind} {name}")
    } else {
        format!("{kind} {}/{name}", request.namespace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn review(operation: &str, old: &Value, new: &Value) -> String {
        let kind = json!({"group": "sealkit.dev", "version": "v1beta1", "kind": "SealedSecret"});
        json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
            "uid": "u", "kind": kind, "namespace": "shop", "name": "db", "operation": operation,
            "object": new, "oldObject": old,
        }})
        .to_string()
    }

    #[test]
    fn only_a_new_or_changed_spec_of_a_live_object_is_news() {
        let object = |spec: Value, metadata: Value| json!({"metadata": metadata, "spec": spec});
        let (a, b) = (json!({"scope": "strict", "suspend": true}), json!({}));
        let live = || json!({"labels": {"a": "b"}});
        let dying = || json!({"deletionTimestamp": "2030-01-01T00:00:00Z", "finalizers": []});
        let rows = [
            ("CREATE", Value::Null, object(a.clone(), live()), true),
            ("CREATE", Value::Null, json!({"metadata": {}}), true),
            (
                "UPDATE",
                object(a.clone(), json!({})),
                object(a.clone(), live()),
                false,
            ),
            (
                "UPDATE",
                object(a.clone(), live()),
                object(b.clone(), live()),
                true,
            ),
            (
                "UPDATE",
                object(a.clone(), live()),
                json!({"metadata": {}}),
                true,
            ),
            (
                "UPDATE",
                json!({"metadata": {}}),
                json!({"metadata": {}}),
                false,
            ),
            (
                "UPDATE",
                object(a.clone(), dying()),
                object(b, dying()),
                false,
            ),
            ("DELETE", object(a, live()), Value::Null, false),
        ];
        for (operation, old, new, is_news) in rows {
            let text = review(operation, &old, &new);
            let request = Request::read(&text).unwrap();
            assert_eq!(request.has_news(), is_news, "{text}");
        }
    }

    #[test]
    fn the_same_spec_in_another_order_is_the_same() {
        let raw = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
        let (one, other) = (raw(r#"{"a":1,"b":[2]}"#), raw(r#"{ "b": [2], "a": 1 }"#));
        assert!(is_same(Some(&one), Some(&other)));
        assert!(!is_same(Some(&one), Some(&raw(r#"{"a":1}"#))));
        let deep = raw(&format!("{}1{}", "[".repeat(300), "]".repeat(300)));
        let other = raw(&format!("{}2{}", "[".repeat(300), "]".repeat(300)));
        assert!(!is_same(Some(&deep), Some(&other)), "neither can be read");
    }

    #[test]
    fn answers_name_the_object_and_the_cause() {
        let text = review("CREATE", &Value::Null, &json!({}));
        let request = Request::read(&text).unwrap();
        assert_eq!(
            Verdict::Allowed.answer(&request)["response"]["allowed"],
            true
        );
        let denied = Verdict::Denied("ScopeMismatch", "it was moved".to_owned());
        let response = &denied.answer(&request)["response"];
        assert_eq!(
            (&response["allowed"], &response["uid"]),
            (&json!(false), &json!("u"))
        );
        let message = "SealedSecret shop/db: ScopeMismatch: it was moved";
        assert_eq!(response["status"]["message"], message);
        let warned = Verdict::Warned("é".repeat(400)).answer(&request);
        let warning = warned["response"]["warnings"][0].as_str().unwrap();
        assert!(
            warning.len() <= WARNING && warning.ends_with('…'),
            "{warning}"
        );
    }

    #[test]
    fn what_is_no_review_is_not_read() {
        let old = review("CREATE", &Value::Null, &json!({})).replace(".io/v1", ".io/v1beta1");
        for text in ["", "[]", "{}", &old] {
            assert!(Request::read(text).is_none(), "{text}");
        }
    }
}
