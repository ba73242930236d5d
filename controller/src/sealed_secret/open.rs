use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use sealkit_core::api::{
    CreationPolicy, REFUSED_SECRET_TYPES, Reason, SecretTemplate, TargetSpec, is_refused_metadata,
};
use sealkit_core::keys::{Fingerprint, KeyType};
use sealkit_core::sealed::{self, Code, OpenError, OpenedEnvelope, SealedObject, Search};
use sealkit_core::template::{TemplateError, Templates};
use serde::de::DeserializeOwned;
use serde_json::Value;
use zeroize::Zeroizing;

use super::SealedSecretObject;
use super::state::Spec;
use crate::keys::Keys;
use crate::queue::Turns;
use crate::settings::Settings;
use crate::status::Outcome;

/// A hundred times what the worst legal object needs.
const OPEN_WITHIN: Duration = Duration::from_secs(20);

/// Labels and annotations that a template may have.
const TEMPLATE_NAMES: usize = 100;

/// Bytes of `{"apiVersion":…,"kind":…,"metadata":,"spec":}` around metadata and spec.
const FRAME: usize =
    r#"{"apiVersion":"sealkit.dev/v1beta1","kind":"SealedSecret","metadata":,"spec":}"#.len();

/// What an object holds once opened. No Debug; values are wiped when dropped.
pub(super) struct OpenedObject {
    pub(super) data: BTreeMap<String, Zeroizing<Vec<u8>>>,
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
    /// No held key opens it, yet.
    Keyless(String),
    /// It may work at another time.
    Passing(Reason, String),
    /// It will not open as it is.
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

impl From<TemplateError> for Failure {
    fn from(error: TemplateError) -> Self {
        if error.may_pass() {
            Self::Passing(Reason::TemplateFailed, error.to_string())
        } else {
            Self::Terminal(Reason::TemplateFailed, error.to_string())
        }
    }
}

/// Opens an object apart from the tasks that serve others: a hostile one costs its own time, and
/// a panic ends in its own status.
pub(super) async fn open(
    object: Arc<SealedSecretObject>,
    spec: Arc<Spec>,
    keys: Arc<Keys>,
    settings: &Settings,
    renders: &Arc<Turns>,
) -> Result<OpenedObject, Failure> {
    let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
    if namespace == settings.namespace {
        let message = "the controller's own namespace takes no SealedSecrets".to_owned();
        return Err(Failure::Terminal(Reason::InvalidSpec, message));
    }
    let has_templates = spec
        .value
        .pointer("/template/data")
        .and_then(Value::as_object)
        .is_some_and(|data| !data.is_empty());
    let place = if has_templates {
        Some(renders.take(namespace).await)
    } else {
        None
    };
    let settings = settings.clone();
    let opened =
        tokio::task::spawn_blocking(move || open_now(&object.metadata, &spec, &keys, &settings));
    // Everything in there is bounded; should a library hang all the same, it costs a thread and
    // not a worker.
    let opened = tokio::time::timeout(OPEN_WITHIN, opened).await;
    drop(place);
    opened.ok().and_then(Result::ok).unwrap_or_else(|| {
        let message = "the object could not be processed".to_owned();
        Err(Failure::Terminal(Reason::InvalidSpec, message))
    })
}

fn open_now(
    metadata: &ObjectMeta,
    spec: &Spec,
    keys: &Keys,
    settings: &Settings,
) -> Result<OpenedObject, Failure> {
    let target: TargetSpec = field(&spec.value, "target")?;
    let template = template(
        &spec.value,
        target.creation_policy.unwrap_or_default(),
        settings,
    )?;
    // Without managedFields: they were dropped when the object was read.
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
    let mut templates = Templates::parse(&template.data)?;
    let scope = sealed.context().scope();
    if !settings.allowed_scopes.contains(&scope) {
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
    Ok(OpenedObject {
        needs_reseal: hint_mismatch || envelopes.clone().any(stale),
        hint_mismatch,
        sealed_to: sealed_to.into_iter().collect(),
        needed: needed.into_iter().collect(),
        data: templates.secret_data(opened.values, template.include_raw.unwrap_or(true))?,
        target,
        template,
    })
}

/// A part of the spec that is no concern of the format.
fn field<T: DeserializeOwned + Default>(spec: &Value, name: &str) -> Result<T, Failure> {
    let Some(part) = spec.get(name).filter(|part| !part.is_null()) else {
        return Ok(T::default());
    };
    serde_json::from_value(part.clone())
        .map_err(|_| Failure::Terminal(Reason::InvalidSpec, format!("{name} is malformed")))
}

/// The template, checked against what templates may not set.
fn template(
    spec: &Value,
    policy: CreationPolicy,
    settings: &Settings,
) -> Result<SecretTemplate, Failure> {
    let refuse = |message: String| Err(Failure::Terminal(Reason::InvalidSpec, message));
    let template: SecretTemplate = field(spec, "template")?;
    if policy == CreationPolicy::Merge
        && (template.type_.is_some() || template.immutable == Some(true))
    {
        return refuse(
            "type and immutable belong to whoever owns the Secret, creationPolicy Merge sets neither"
                .to_owned(),
        );
    }
    if let Some(name) = template
        .type_
        .as_deref()
        .filter(|name| REFUSED_SECRET_TYPES.contains(name))
    {
        return refuse(format!("Secrets of type {name} are never made"));
    }
    let metadata = template.metadata.clone().unwrap_or_default();
    if metadata.labels.len() + metadata.annotations.len() > TEMPLATE_NAMES {
        return refuse(format!(
            "the template has more than {TEMPLATE_NAMES} labels and annotations"
        ));
    }
    let denied = metadata
        .labels
        .keys()
        .chain(metadata.annotations.keys())
        .find(|name| {
            is_refused_metadata(name)
                || settings
                    .deny_template_metadata
                    .iter()
                    .any(|prefix| name.starts_with(prefix))
        });
    if let Some(name) = denied {
        let name = sealkit_core::names::printable(name);
        return refuse(format!(
            "the template may not set the label or annotation {name}"
        ));
    }
    Ok(template)
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
