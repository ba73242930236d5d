//! Opens a SealedSecret: from its text and the keys to the values, or to the reason why it does not
//! open.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use sealkit_core::api::rules::{self, Fault};
use sealkit_core::api::{Reason, SecretTemplate, TargetSpec};
use sealkit_core::keys::{Fingerprint, KeyType};
use sealkit_core::sealed::{
    self, Code, OpenError, OpenedEnvelope, OpenedValue, SealedObject, Search,
};
use sealkit_core::template::{self, TemplateError};
use serde_json::Value;

use super::SealedSecretObject;
use crate::admission::Verdict;
use crate::keys::Keys;
use crate::object::Spec;
use crate::render::{Contents, RenderError, Renderer};
use crate::settings::Rules;
use crate::status::Outcome;

/// A hundred times the time that the worst legal object needs.
const OPEN_WITHIN: Duration = Duration::from_secs(20);

/// Bytes of `{"apiVersion":…,"kind":…,"metadata":,"spec":}` around metadata and spec.
const FRAME: usize =
    r#"{"apiVersion":"sealkit.dev/v1beta1","kind":"SealedSecret","metadata":,"spec":}"#.len();

/// The content of an opened object. No Debug; values are wiped when dropped.
pub(super) struct OpenedObject {
    pub(super) data: Contents,
    pub(super) target: TargetSpec,
    pub(super) template: SecretTemplate,
    pub(super) sealed_to: Vec<Fingerprint>,
    /// Keys without which some envelope would not open.
    pub(super) needed: Vec<Fingerprint>,
    pub(super) hint_mismatch: bool,
    pub(super) needs_reseal: bool,
}

/// Why an object was not opened.
#[derive(Debug)]
pub(super) enum Failure {
    /// No held key opens it yet.
    Keyless(String),
    /// It may succeed at another time.
    Passing(Reason, String),
    /// It does not open as it is.
    Terminal(Reason, String),
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        let reason = match error.code() {
            Code::NoMatchingKey => return Self::Keyless(error.detail),
            Code::InvalidSpec => Reason::InvalidSpec,
            Code::DecryptFailed => Reason::DecryptFailed,
            Code::ScopeMismatch => Reason::ScopeMismatch,
        };
        Self::Terminal(reason, error.detail)
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        if fault.may_pass {
            Self::Passing(fault.reason, fault.message)
        } else {
            Self::Terminal(fault.reason, fault.message)
        }
    }
}

impl From<TemplateError> for Failure {
    fn from(error: TemplateError) -> Self {
        Fault::from(error).into()
    }
}

/// Opens an object outside the tasks that serve others: a hostile one costs only its own time, and
/// a panic ends in its own status.
pub(super) async fn open(
    object: Arc<SealedSecretObject>,
    spec: Arc<Spec>,
    keys: Arc<Keys>,
    own: &Arc<Rules>,
    renderer: &Renderer,
) -> Result<OpenedObject, Failure> {
    let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
    let (metadata, own) = (object.clone(), own.clone());
    let opened =
        tokio::task::spawn_blocking(move || open_now(&metadata.metadata, &spec, &keys, &own));
    // All of this is bounded. Should a library hang all the same, it costs a thread and not a
    // worker.
    let opened = tokio::time::timeout(OPEN_WITHIN, opened).await;
    let (values, mut opened) = opened
        .ok()
        .and_then(Result::ok)
        .unwrap_or_else(|| Err(internal_error()))?;
    let readable: Vec<_> = template::readable(&values).collect();
    let rendered = renderer.render(namespace, &opened.template.data, &readable);
    let rendered = rendered.await.map_err(|error| match error {
        RenderError::Template(error) => error.into(),
        RenderError::Process => internal_error(),
    })?;
    drop(readable);
    let include_raw = opened.template.include_raw.unwrap_or(true);
    opened.data = template::secret_data(rendered, values, include_raw);
    Ok(opened)
}

fn internal_error() -> Failure {
    let message = "internal error in the controller, see its log".to_owned();
    Failure::Passing(Reason::ProcessingFailed, message)
}

/// What the webhook says of an object: it is opened, and nothing of it is kept.
pub fn verdict(object: &SealedSecretObject, keys: &Keys, own: &Rules) -> Verdict {
    match open_now(&object.metadata, &object.spec(), keys, own) {
        Ok((_, opened)) if opened.hint_mismatch => Verdict::Warned(
            "an envelope lists other recipients than it is sealed to: reseal it".to_owned(),
        ),
        Ok(_) => Verdict::Allowed,
        // A backup may arrive before its keys.
        Err(Failure::Keyless(detail)) => {
            Verdict::Warned(format!("not checked, no key opens it yet: {detail}"))
        }
        Err(Failure::Passing(reason, detail)) => {
            Verdict::Warned(format!("not checked: {}: {detail}", reason.name()))
        }
        Err(Failure::Terminal(reason, detail)) => Verdict::Denied(reason.name(), detail),
    }
}

/// The values, and the object with no data yet.
fn open_now(
    metadata: &ObjectMeta,
    spec: &Spec,
    keys: &Keys,
    own: &Rules,
) -> Result<(BTreeMap<String, OpenedValue>, OpenedObject), Failure> {
    if metadata.namespace.as_ref() == Some(&own.namespace) {
        let message = "SealedSecrets are not allowed in the controller's own namespace".to_owned();
        return Err(Failure::Terminal(Reason::InvalidSpec, message));
    }
    let (target, template) = rules::target_and_template(&spec.value, &own.deny_template_metadata)?;
    // managedFields do not count, and were dropped when the object was read.
    let size = FRAME + sealed::json_size(metadata) + spec.json_size();
    let Value::Object(spec) = &spec.value else {
        return Err(Failure::Terminal(
            Reason::InvalidSpec,
            "spec is missing".to_owned(),
        ));
    };
    let name = |field: &Option<String>| field.clone().unwrap_or_default();
    let sealed = SealedObject::parse_spec(
        &name(&metadata.namespace),
        &name(&metadata.name),
        spec,
        size,
    )?;
    let scope = sealed.context().scope();
    if !own.allowed_scopes.contains(&scope) {
        let message = format!("scope {scope} is not allowed in this cluster (--allowed-scopes)");
        return Err(Failure::Terminal(Reason::InvalidSpec, message));
    }
    let opened = sealed::open(&sealed, &keys.ring, Search::Hinted)?;
    let stale = |envelope: &OpenedEnvelope| {
        keys.newest.is_some_and(|(newest, newest_type)| {
            !envelope.to.contains(&newest)
                || (envelope.key_type == KeyType::Classic && newest_type == KeyType::Hybrid)
        })
    };
    let envelopes = opened.envelopes.values();
    let sealed_to: BTreeSet<Fingerprint> = envelopes.clone().map(|e| e.opened_by).collect();
    let needed: BTreeSet<Fingerprint> = envelopes
        .clone()
        .filter(|envelope| {
            let other = |to: &Fingerprint| *to != envelope.opened_by && keys.ring.get(to).is_some();
            !envelope.to.iter().any(other)
        })
        .map(|envelope| envelope.opened_by)
        .collect();
    let hint_mismatch = !opened.hint_mismatch.is_empty();
    let object = OpenedObject {
        needs_reseal: hint_mismatch || envelopes.clone().any(stale),
        hint_mismatch,
        sealed_to: sealed_to.into_iter().collect(),
        needed: needed.into_iter().collect(),
        data: Contents::new(),
        target,
        template,
    };
    Ok((opened.values, object))
}

/// The outcome of a failure to open. `grace` is true while the key may still arrive.
pub(super) fn outcome(failure: &Failure, grace: bool) -> Outcome {
    match failure {
        Failure::Keyless(detail) if grace => {
            Outcome::Retrying(Reason::NoMatchingKey, detail.clone())
        }
        Failure::Keyless(detail) => Outcome::Stalled(Reason::NoMatchingKey, detail.clone()),
        Failure::Passing(reason, detail) => Outcome::Retrying(*reason, detail.clone()),
        Failure::Terminal(reason, detail) => Outcome::Stalled(*reason, detail.clone()),
    }
}
