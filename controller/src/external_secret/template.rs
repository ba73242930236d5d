//! `target.template`: data, labels, annotations and type of the Secret, from the values of the store.

use std::collections::BTreeMap;

use sealkit_core::api::external::{MergePolicy, Template};
use sealkit_core::api::{CreationPolicy, Reason, SecretTemplate, TemplateMetadata, rules};
use sealkit_core::names;
use sealkit_core::template::TemplateErrorKind;

use crate::render::{Contents, RenderError, Renderer};
use crate::status::Outcome;

/// What a template makes of the values.
pub(super) struct Rendered {
    pub(super) data: Contents,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) annotations: BTreeMap<String, String>,
    pub(super) secret_type: Option<String>,
}

/// A part of a template that is rendered. The engine knows it by its prefix and a number, since names
/// of labels are no keys of Secrets.
struct Part<'a> {
    prefix: &'static str,
    path: &'static str,
    texts: &'a BTreeMap<String, String>,
}

impl Part<'_> {
    fn name(&self, at: usize) -> String {
        format!("{}-{at}", self.prefix)
    }
}

fn parts(template: &Template) -> [Part<'_>; 3] {
    let part = |prefix, path, texts| Part {
        prefix,
        path,
        texts,
    };
    [
        part("data", "data", &template.data),
        part("label", "metadata.labels", &template.metadata.labels),
        part(
            "annotation",
            "metadata.annotations",
            &template.metadata.annotations,
        ),
    ]
}

/// Renders a template over the values of the store. The outcome says why it cannot: it names places
/// and limits, and no value.
pub(super) async fn rendered(
    renderer: &Renderer,
    namespace: &str,
    template: &Template,
    values: Contents,
    denied: &[String],
) -> Result<Rendered, Outcome> {
    check(template, denied)?;
    let parts = parts(template);
    let mut texts = BTreeMap::new();
    for part in &parts {
        let numbered = part.texts.values().enumerate();
        texts.extend(numbered.map(|(at, text)| (part.name(at), text.clone())));
    }
    let readable: Vec<_> = values
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_slice()))
        .collect();
    let results = renderer.render(namespace, &texts, &readable).await;
    drop(readable);
    let mut results = results.map_err(|error| failed(&parts, &error))?;
    let mut take = |part: &Part<'_>| -> Contents {
        let keys = part.texts.keys().enumerate();
        let taken =
            keys.filter_map(|(at, key)| Some((key.clone(), results.remove(&part.name(at))?)));
        taken.collect()
    };
    let [data, labels, annotations] = parts.each_ref().map(&mut take);
    // Without anything else that fills the Secret, the values themselves do.
    let keeps_values = template.data.is_empty() || template.merge_policy == MergePolicy::Merge;
    let mut all = if keeps_values {
        values
    } else {
        Contents::new()
    };
    all.extend(data);
    Ok(Rendered {
        data: all,
        labels: texts_of(labels),
        annotations: texts_of(annotations),
        secret_type: Some(template.type_.clone()).filter(|name| !name.is_empty()),
    })
}

/// The rules are those of all Secrets that Sealkit makes.
fn check(template: &Template, denied: &[String]) -> Result<(), Outcome> {
    let invalid = |what: String| Outcome::Stalled(Reason::InvalidSpec, what);
    let metadata = &template.metadata;
    let unserved = [
        (
            "target.template.templateFrom",
            !template.template_from.is_empty(),
        ),
        (
            "target.template.metadata.finalizers",
            !metadata.finalizers.is_empty(),
        ),
    ];
    if let Some((what, _)) = unserved.into_iter().find(|(_, is_set)| *is_set) {
        return Err(invalid(format!("{what} is not served by Sealkit")));
    }
    if let Some(key) = template.data.keys().find(|key| !names::is_secret_key(key)) {
        let key = names::printable(key);
        return Err(invalid(format!(
            "{key:?} is not a key that Kubernetes allows"
        )));
    }
    let same = SecretTemplate {
        type_: Some(template.type_.clone()).filter(|name| !name.is_empty()),
        metadata: Some(TemplateMetadata {
            labels: metadata.labels.clone(),
            annotations: metadata.annotations.clone(),
        }),
        ..SecretTemplate::default()
    };
    rules::check_template(&same, CreationPolicy::Owner, denied)
        .map_err(|fault| invalid(fault.message))
}

fn failed(parts: &[Part<'_>], error: &RenderError) -> Outcome {
    let RenderError::Template(error) = error else {
        let message = "internal error in the controller, see its log".to_owned();
        return Outcome::Retrying(Reason::ProcessingFailed, message);
    };
    let named = parts.iter().find_map(|part| {
        let at = error.key.strip_prefix(part.prefix)?.strip_prefix('-')?;
        let key = part.texts.keys().nth(at.parse().ok()?)?;
        Some(format!("{}[{}]", part.path, names::printable(key)))
    });
    let cause = match &error.cause {
        TemplateErrorKind::ValuesTooLarge => {
            "the values that templates may read have more than 64 KiB together".to_owned()
        }
        TemplateErrorKind::Render => "rendering failed: the template uses a value that the store \
            does not have or that is binary, or a function refused its arguments"
            .to_owned(),
        cause => cause.to_string(),
    };
    let message = format!("target.template.{}: {cause}", named.unwrap_or_default());
    if error.may_pass() {
        Outcome::Retrying(Reason::TemplateFailed, message)
    } else {
        Outcome::Stalled(Reason::TemplateFailed, message)
    }
}

/// What is rendered is text.
fn texts_of(contents: Contents) -> BTreeMap<String, String> {
    let text = |(key, value): (String, zeroize::Zeroizing<Vec<u8>>)| {
        (key, String::from_utf8_lossy(&value).into_owned())
    };
    contents.into_iter().map(text).collect()
}
