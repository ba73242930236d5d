//! Server-side apply, of few objects at once.

use futures::StreamExt as _;
use futures::stream;
use kube::Api;
use kube::api::{Patch, PatchParams, ValidationDirective};
use kube::core::Status;
use kube::core::response::StatusCause;
use sealkit_core::names::printable;
use serde_json::Value;

use super::interrupt::unless_interrupted;
use super::kinds::ObjectKey;
use super::manifests::Manifest;
use super::ready::{Observed, Sight};
use super::{Cluster, TIMEOUT, answer_error, timed_out};
use crate::error::{CommandError, Result};
use crate::terminal::safe;

/// Who owns the fields that are applied.
const FIELD_MANAGER: &str = "seal-preapply";
/// Requests at once.
const AT_ONCE: usize = 8;

/// How an object is applied.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Apply {
    /// Does the server only say what it would do?
    pub dry_run: bool,
    /// Are fields taken from other managers?
    pub force: bool,
}

/// What the server made of an object.
#[derive(Clone, Debug)]
pub(crate) struct Applied {
    /// Its resourceVersion; empty where a dry run would create it.
    pub version: String,
    /// Its generation, and what its status says of that.
    pub sight: Sight,
}

/// Why an object was not applied.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// Its namespace does not exist.
    NoNamespace,
    /// Anything else.
    Failed(CommandError),
}

/// The answer for one object.
pub(crate) type Answer = std::result::Result<Applied, Refusal>;

impl Cluster {
    /// Applies objects that do not need each other; the answers are in their order.
    pub fn apply(&self, manifests: &[&Manifest], how: Apply) -> Vec<Answer> {
        let calls = manifests
            .iter()
            .map(|manifest| self.apply_one(manifest, how));
        let answers = stream::iter(calls).buffered(AT_ONCE).collect();
        self.runtime.block_on(unless_interrupted(answers, || ()))
    }

    async fn apply_one(&self, manifest: &Manifest, how: Apply) -> Answer {
        let key = &manifest.key;
        let resource = manifest.resource();
        let api: Api<Observed> = if key.kind.namespaced {
            Api::namespaced_with(self.client.clone(), &key.namespace, &resource)
        } else {
            Api::all_with(self.client.clone(), &resource)
        };
        let patched = send(&api, &key.name, &manifest.object, how).await;
        let object = patched.map_err(|error| self.refusal(error.as_ref(), manifest))?;
        Ok(Applied {
            version: object.version().to_owned(),
            sight: object.sight(key.kind).1,
        })
    }

    /// Creates a namespace, or says that it would.
    pub fn apply_namespace(&self, name: &str, object: &Value, how: Apply) -> Result<()> {
        use kube::api::{ApiResource, GroupVersionKind};
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "Namespace"));
        let api: Api<Observed> = Api::all_with(self.client.clone(), &resource);
        let call = unless_interrupted(send(&api, name, object, how), || ());
        let done = self.runtime.block_on(call);
        done.map(|_| ()).map_err(|error| {
            let subject = format!("Namespace {}, {}", printable(name), self.title());
            match error {
                Some(kube::Error::Api(status)) => refused(&status, "namespaces", "")
                    .unwrap_or_else(|| answer_error(&kube::Error::Api(status))),
                Some(error) => answer_error(&error),
                None => timed_out(),
            }
            .on(subject)
        })
    }

    /// `None` as error means that no answer came in time.
    fn refusal(&self, error: Option<&kube::Error>, manifest: &Manifest) -> Refusal {
        let key = &manifest.key;
        let failed = |error: CommandError| {
            Refusal::Failed(error.on(format_args!("{}, {}", manifest.subject, self.title())))
        };
        match error {
            None => failed(timed_out()),
            Some(kube::Error::Api(status)) if status.code == 404 => {
                let missing = status.details.as_ref().map(|details| details.kind.as_str());
                if missing == Some("namespaces") {
                    Refusal::NoNamespace
                } else {
                    Refusal::Failed(self.no_kind(key))
                }
            }
            Some(error @ kube::Error::Api(status)) => {
                let told = refused(status, &key.kind.resource(), &key.namespace);
                failed(told.unwrap_or_else(|| answer_error(error)))
            }
            Some(error) => failed(answer_error(error)),
        }
    }

    /// The error for an object whose namespace does not exist and is not among the inputs.
    pub fn no_namespace(&self, manifest: &Manifest) -> CommandError {
        let ObjectKey { namespace, .. } = &manifest.key;
        CommandError::cluster(format_args!(
            "the namespace {} does not exist",
            printable(namespace)
        ))
        .on(format_args!("{}, {}", manifest.subject, self.title()))
        .hint("add its Namespace to the input, or create it first")
    }
}

async fn send(
    api: &Api<Observed>,
    name: &str,
    object: &Value,
    how: Apply,
) -> std::result::Result<Observed, Option<kube::Error>> {
    let params = PatchParams {
        dry_run: how.dry_run,
        force: how.force,
        field_manager: Some(FIELD_MANAGER.to_owned()),
        field_validation: Some(ValidationDirective::Strict),
    };
    let patch = Patch::Apply(object);
    let call = api.patch(name, &params, &patch);
    match tokio::time::timeout(TIMEOUT * 3, call).await {
        Err(_) => Err(None),
        Ok(answer) => answer.map_err(Some),
    }
}

/// A refusal in words. Texts of the server are left out, since they may quote the object; names of
/// fields, managers and webhooks are not.
fn refused(status: &Status, resource: &str, namespace: &str) -> Option<CommandError> {
    let causes = || status.details.iter().flat_map(|details| &details.causes);
    if let Some(webhook) = between(&status.message, "admission webhook \"", "\" denied") {
        let why = webhook
            .ends_with(".sealkit.dev")
            .then(|| status.message.split_once("denied the request: "))
            .flatten()
            .map(|(_, why)| format!(": {}", safe(why)));
        return Some(CommandError::cluster(format_args!(
            "the admission webhook {} denies the object{}",
            safe(webhook),
            why.unwrap_or_default()
        )));
    }
    if let Some((_, errors)) = status.message.split_once(NOT_TYPED) {
        return Some(invalid(&unlike_schema(errors)));
    }
    match status.code {
        403 => Some(
            CommandError::cluster(format_args!(
                "not allowed to apply {resource}{}",
                if namespace.is_empty() {
                    String::new()
                } else {
                    format!(" in the namespace {}", printable(namespace))
                }
            ))
            .hint("it needs the verbs create and patch: docs/pre-apply.md has a Role that allows them")
            .hint("or an admission policy denies it: `kubectl apply --dry-run=server` shows its message"),
        ),
        409 if causes().any(|cause| cause.reason == CONFLICT) => {
            let conflicts: Vec<_> = causes().filter(|cause| cause.reason == CONFLICT).collect();
            Some(
                CommandError::cluster(format_args!(
                    "other tools own fields of the object: {}",
                    owners(&conflicts)
                ))
                .hint("let one tool alone apply the object: leave it out here, or there")
                .hint("if the same pipeline applies it again later, pass --force-conflicts"),
            )
        }
        400 | 422 => {
            let fields: Vec<_> = causes().map(|cause| safe(&cause.field)).collect();
            let fields: Vec<_> = fields.into_iter().filter(|field| !field.is_empty()).collect();
            Some(invalid(&fields))
        }
        _ => None,
    }
}

fn invalid(fields: &[String]) -> CommandError {
    let place = if fields.is_empty() {
        String::new()
    } else {
        format!(" at {}", fields.join(", "))
    };
    CommandError::cluster(format_args!(
        "the API server finds the object invalid{place}"
    ))
    .hint("`kubectl apply --server-side --dry-run=server -f FILE` shows its message")
}

/// How the API server begins its message about fields that its schema does not have. Its code is
/// 500, as if it were at fault.
const NOT_TYPED: &str = "failed to create typed patch object (";

/// The fields of such a message. What it says of a value quotes it.
fn unlike_schema(errors: &str) -> Vec<String> {
    let errors = errors.split_once("): ").map_or("", |(_, errors)| errors);
    let fields = errors.lines().filter_map(|line| {
        let (field, why) = line.trim().strip_prefix('.')?.split_once(": ")?;
        let unknown = why == "field not declared in schema";
        let note = if unknown { " (no such field)" } else { "" };
        Some(format!("{}{note}", safe(field)))
    });
    fields.take(FIELDS).collect()
}

const CONFLICT: &str = "FieldManagerConflict";
/// Fields that are named.
const FIELDS: usize = 5;

/// Who owns which fields: `kustomize-controller (.spec.scope)`.
fn owners(conflicts: &[&StatusCause]) -> String {
    let mut managers: Vec<(&str, Vec<&str>)> = Vec::new();
    for cause in conflicts {
        let manager = between(&cause.message, "conflict with \"", "\"").unwrap_or("another tool");
        match managers.iter_mut().find(|(known, _)| *known == manager) {
            Some((_, fields)) => fields.push(&cause.field),
            None => managers.push((manager, vec![&cause.field])),
        }
    }
    let told = managers.iter().map(|(manager, fields)| {
        let more = fields.len().saturating_sub(FIELDS);
        let mut list: Vec<_> = fields
            .iter()
            .take(FIELDS)
            .map(|field| safe(field))
            .collect();
        if more > 0 {
            list.push(format!("{more} more"));
        }
        format!("{} ({})", safe(manager), list.join(", "))
    });
    told.collect::<Vec<_>>().join("; ")
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(start)?;
    rest.split_once(end).map(|(found, _)| found)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(status: Value) -> String {
        let status: Status = serde_json::from_value(status).unwrap();
        refused(&status, "sealedsecrets.sealkit.dev", "shop")
            .unwrap()
            .to_string()
    }

    #[test]
    fn refusals_name_fields_and_managers_but_quote_nothing() {
        let cause = |field: &str, manager: &str| {
            json!({"reason": CONFLICT, "field": field,
                "message": format!("conflict with \"{manager}\" using sealkit.dev/v1beta1")})
        };
        let conflict = json!({"status": "Failure", "code": 409, "reason": "Conflict",
        "message": "Apply failed", "details": {"causes": [
            cause(".spec.scope", "kustomize-controller"),
            cause(".spec.encryptedData.a", "kustomize-controller"),
            cause(".spec.scope", "argocd-controller"),
        ]}});
        assert_eq!(
            said(conflict),
            "other tools own fields of the object: kustomize-controller (.spec.scope, \
             .spec.encryptedData.a); argocd-controller (.spec.scope)"
        );
        let invalid = json!({"status": "Failure", "code": 422, "reason": "Invalid",
            "message": "canary", "details": {"causes": [
                {"reason": "FieldValueInvalid", "field": "spec.scope", "message": "canary"}]}});
        assert_eq!(
            said(invalid),
            "the API server finds the object invalid at spec.scope"
        );
        let untyped = |errors: &str| {
            said(json!({"status": "Failure", "code": 500, "message": format!(
                "failed to create typed patch object (shop/db; external-secrets.io/v1, \
                 Kind=ExternalSecret): {errors}")}))
        };
        assert_eq!(
            untyped(".spec.data[0].remoteref: field not declared in schema"),
            "the API server finds the object invalid at spec.data[0].remoteref (no such field)"
        );
        assert_eq!(
            untyped(
                "errors:\n  .spec.a: field not declared in schema\n  .spec.refreshInterval: \
                 expected string, got &value.valueUnstructured{Value:\"canary\"}"
            ),
            "the API server finds the object invalid at spec.a (no such field), spec.refreshInterval"
        );
        let webhook = |name: &str| {
            said(
                json!({"status": "Failure", "code": 403, "reason": "Forbidden",
                "message": format!("admission webhook \"{name}\" denied the request: why")}),
            )
        };
        assert_eq!(
            webhook("policy.example.com"),
            "the admission webhook policy.example.com denies the object"
        );
        assert_eq!(
            webhook("validate.sealkit.dev"),
            "the admission webhook validate.sealkit.dev denies the object: why"
        );
        let forbidden =
            json!({"status": "Failure", "code": 403, "reason": "Forbidden", "message": "canary"});
        assert_eq!(
            said(forbidden),
            "not allowed to apply sealedsecrets.sealkit.dev in the namespace shop"
        );
    }
}
