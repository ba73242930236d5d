//! What the cluster refuses in a SealedSecret in addition to the rules of the sealed format,
//! decided from public text alone. The controller, `seal verify` and sealing itself use these
//! rules, so that none of them accepts what another refuses.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::marks::{self, Mark};
use super::{CreationPolicy, Reason, SecretTemplate, TargetSpec};
use crate::names::printable;
use crate::template::{TemplateError, Templates};

/// Types of Secrets that are never created or sealed: each would grant more than its values.
pub const REFUSED_SECRET_TYPES: [&str; 4] = [
    "kubernetes.io/service-account-token",
    "bootstrap.kubernetes.io/token",
    "helm.sh/release.v1",
    super::IDENTITY_TYPE,
];
/// Labels and annotations of one template, counted together.
pub const TEMPLATE_NAMES: usize = 100;

/// A rule that an object breaks. The message holds public text only, escaped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// InvalidSpec, or TemplateFailed for a text that does not parse.
    pub reason: Reason,
    /// A sentence for people.
    pub message: String,
    /// May the same object pass at another time? Only if parsing ran out of time.
    pub may_pass: bool,
}

impl Fault {
    pub(super) fn invalid(message: String) -> Self {
        Self {
            reason: Reason::InvalidSpec,
            message,
            may_pass: false,
        }
    }
}

impl From<TemplateError> for Fault {
    fn from(error: TemplateError) -> Self {
        Self {
            reason: Reason::TemplateFailed,
            message: error.to_string(),
            may_pass: error.may_pass(),
        }
    }
}

/// Is this a type of Secrets that are never created or sealed?
pub fn is_refused_type(name: &str) -> bool {
    REFUSED_SECRET_TYPES.contains(&name)
}

/// Is a template forbidden to set a label or annotation of this name? Ours are, and those by which
/// other programs know what is theirs; one of kubectl's holds a copy of a whole manifest, including
/// values.
pub fn is_refused_metadata(name: &str) -> bool {
    name.starts_with(super::OWN_PREFIX) || marks::mark(name) == Some(Mark::Tracking)
}

/// Reads and checks `target` and `template` of a spec. `denied` are prefixes of labels and
/// annotations that the administrator denies to templates, in addition to our own.
pub fn target_and_template(
    spec: &Value,
    denied: &[String],
) -> Result<(TargetSpec, SecretTemplate), Fault> {
    let target: TargetSpec = part(spec, "target")?;
    let template: SecretTemplate = part(spec, "template")?;
    check_template(
        &template,
        target.creation_policy.unwrap_or_default(),
        denied,
    )?;
    Ok((target, template))
}

/// Parses the texts of `template.data`, of a template that [`check_template`] accepts. It is
/// separate, since the controller does this in another process.
pub fn texts(template: &SecretTemplate) -> Result<Templates, Fault> {
    Ok(Templates::parse(&template.data)?)
}

/// Checks a template, except for its texts: see [`texts`].
pub fn check_template(
    template: &SecretTemplate,
    policy: CreationPolicy,
    denied: &[String],
) -> Result<(), Fault> {
    let refuse = |message: String| Err(Fault::invalid(message));
    let merges = policy == CreationPolicy::Merge;
    if merges && (template.type_.is_some() || template.immutable == Some(true)) {
        return refuse(
            "creationPolicy Merge cannot set type or immutable: they belong to the Secret's owner"
                .to_owned(),
        );
    }
    if let Some(name) = template
        .type_
        .as_deref()
        .filter(|name| is_refused_type(name))
    {
        return refuse(format!(
            "Sealkit never creates or seals Secrets of type {name}"
        ));
    }
    let Some(metadata) = &template.metadata else {
        return Ok(());
    };
    let mut names = metadata.labels.keys().chain(metadata.annotations.keys());
    if names.clone().count() > TEMPLATE_NAMES {
        return refuse(format!(
            "the template has more than {TEMPLATE_NAMES} labels and annotations"
        ));
    }
    let is_denied = |name: &&String| {
        is_refused_metadata(name) || denied.iter().any(|prefix| name.starts_with(prefix))
    };
    match names.find(is_denied) {
        Some(name) => refuse(format!(
            "the template may not set the label or annotation {}",
            printable(name)
        )),
        None => Ok(()),
    }
}

/// Reads a part of the spec that does not belong to the sealed format. If it is absent or null, it
/// has its default.
fn part<T: DeserializeOwned + Default>(spec: &Value, name: &str) -> Result<T, Fault> {
    let Some(part) = spec.get(name).filter(|part| !part.is_null()) else {
        return Ok(T::default());
    };
    serde_json::from_value(part.clone()).map_err(|_| Fault::invalid(format!("{name} is malformed")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Specs, and the beginning of what the cluster says of them; empty where it takes them. The
    /// command line and the controller are held to the same rows in `tests/e2e/rules.rs`.
    #[test]
    fn every_rule_has_its_row() {
        let denied = ["replicator.v1.mittwald.de/".to_owned()];
        let names = |count: usize| -> Value {
            let name = |index| (format!("n{index}"), json!("x"));
            (0..count)
                .map(name)
                .collect::<serde_json::Map<_, _>>()
                .into()
        };
        let table = [
            (json!({}), ""),
            (json!({"target": null, "template": null}), ""),
            (
                json!({"target": {"creationPolicy": "Mine"}}),
                "target is malformed",
            ),
            (
                json!({"template": {"immutable": 7}}),
                "template is malformed",
            ),
            (
                json!({"template": {"type": "helm.sh/release.v1"}}),
                "Sealkit never creates or seals Secrets of type helm.sh/release.v1",
            ),
            (json!({"template": {"type": "example.com/x"}}), ""),
            (
                json!({"target": {"creationPolicy": "Merge"}, "template": {"type": "Opaque"}}),
                "creationPolicy Merge cannot set type or immutable",
            ),
            (
                json!({"target": {"creationPolicy": "Merge"}, "template": {"immutable": true}}),
                "creationPolicy Merge cannot set type or immutable",
            ),
            (
                json!({"target": {"creationPolicy": "Merge"}, "template": {"immutable": false}}),
                "",
            ),
            (
                json!({"template": {"metadata": {"labels": names(100)}}}),
                "",
            ),
            (
                json!({"template": {"metadata": {"labels": names(60), "annotations": names(41)}}}),
                "the template has more than 100",
            ),
            (
                json!({"template": {"metadata": {"labels": {"sealkit.dev/managed": "x"}}}}),
                "the template may not set the label or annotation sealkit.dev/managed",
            ),
            (
                json!({"template": {"metadata": {"annotations": {"kubectl.kubernetes.io/x": "x"}}}}),
                "the template may not set",
            ),
            (
                json!({"template": {"metadata": {"annotations": {
                    "argocd.argoproj.io/tracking-id": "shop:/Secret:team-a/live",
                }}}}),
                "the template may not set the label or annotation argocd.argoproj.io/tracking-id",
            ),
            (
                json!({"template": {"metadata": {
                    "labels": {"app.kubernetes.io/instance": "shop"},
                    "annotations": {"argocd.argoproj.io/sync-wave": "3"},
                }}}),
                "",
            ),
            (
                json!({"template": {"metadata": {"annotations": {
                    "replicator.v1.mittwald.de/replicate-to": "x",
                }}}}),
                "the template may not set",
            ),
        ];
        for (spec, begins) in table {
            let said = match target_and_template(&spec, &denied) {
                Ok(_) => String::new(),
                Err(fault) => {
                    assert_eq!(fault.reason, Reason::InvalidSpec);
                    fault.message
                }
            };
            assert_eq!(said.is_empty(), begins.is_empty(), "{spec}: {said}");
            assert!(said.starts_with(begins), "{spec}: {said}");
        }
    }

    #[test]
    fn texts_that_do_not_parse_have_a_reason_of_their_own() {
        let template = SecretTemplate {
            data: [("out".to_owned(), "{{ if }}".to_owned())].into(),
            ..SecretTemplate::default()
        };
        let Err(fault) = texts(&template) else {
            panic!()
        };
        assert_eq!(fault.reason, Reason::TemplateFailed);
        assert!(fault.message.starts_with("template.data[out]: line 1"));
    }
}
