//! From a Secret manifest to a SealedSecret: names, scope, refusals, limits.

pub(crate) mod destination;
pub(crate) mod foreign;
pub(crate) mod held;
mod marks;
mod merged_template;
pub(crate) mod merging;
pub(crate) mod opened;
pub(crate) mod output;
pub(crate) mod piece;
pub(crate) mod stream;
pub(crate) mod target;
pub(crate) mod template_file;
pub(crate) mod values;

use std::collections::BTreeMap;

use sealkit_core::api::rules::{self, is_refused_metadata, is_refused_type};
use sealkit_core::api::{
    EnvelopeSpec, ScopeSpec, SealedSecret, SealedSecretSpec, SecretTemplate, TemplateMetadata,
};
use sealkit_core::keys::RecipientSet;
use sealkit_core::manifest::{SecretManifest, to_yaml_in_blocks, with_template_text};
use sealkit_core::names;
use sealkit_core::sealed::{
    Context, Scope, SealError, Sealed, SealedObject, SealedView, compact_size, envelope_id, limits,
    seal,
};
use serde_json::Value;

use crate::error::{CommandError, Result};
use crate::terminal::Terminal;
use marks::SortedMarks;
use piece::unwritable;
use target::SealTarget;
use template_file::TemplateFile;

/// A Secret, sealed.
pub(crate) struct SealedItem {
    /// Where it goes.
    pub target: SealTarget,
    /// The new envelope and the values under it.
    pub sealed: Sealed,
    /// The whole resource.
    pub object: SealedSecret,
    /// The text of the file of `--template`.
    pub template_text: Option<String>,
    /// May templates read the values?
    pub render: bool,
    /// What became of the marks of other programs.
    pub marks: SortedMarks,
}

impl SealedItem {
    /// The resource as YAML. The template stands as in its file if that says all of it.
    pub fn yaml(&self) -> Result<String> {
        let yaml = to_yaml_in_blocks(&[&self.object]).map_err(unwritable)?;
        let text = self.template_text.as_deref();
        let same = text.and_then(|text| with_template_text(&yaml, text));
        Ok(same.unwrap_or(yaml))
    }
}

/// Seals a Secret.
pub(crate) fn seal_manifest(
    manifest: &SecretManifest,
    target: SealTarget,
    recipients: &RecipientSet,
    render: bool,
    given: Option<&TemplateFile>,
) -> Result<SealedItem> {
    if let Some(refused) = manifest
        .secret_type
        .as_deref()
        .filter(|name| is_refused_type(name))
    {
        return Err(CommandError::input(format_args!("Secrets of type {refused} cannot be sealed"))
            .hint("the controller writes no Secrets of this type, because they grant more than access to their values"));
    }
    let context =
        Context::new(target.scope, &target.namespace, &target.name).map_err(CommandError::input)?;
    let sealed =
        seal(&manifest.values, &context, recipients, render).map_err(|error| match error {
            SealError::TooLarge { .. } => {
                CommandError::input(&error).hint("split it into several Secrets")
            }
            SealError::Age => CommandError::bug(&error),
            SealError::KeyName(_) => CommandError::input(&error),
        })?;
    let marks = SortedMarks::of(manifest);
    let template = given.map(|given| &given.template);
    let object = resource(manifest, &target, &sealed, template, &marks);
    Ok(SealedItem {
        target,
        sealed,
        object,
        template_text: given.map(|given| given.text.clone()),
        render,
        marks,
    })
}

fn resource(
    manifest: &SecretManifest,
    target: &SealTarget,
    sealed: &Sealed,
    given: Option<&SecretTemplate>,
    marks: &SortedMarks,
) -> SealedSecret {
    let envelope = EnvelopeSpec {
        recipients: sealed.envelope.recipients.clone(),
        age_file: sealed.envelope.age_file.clone(),
    };
    let spec = SealedSecretSpec {
        scope: Some(match target.scope {
            Scope::Strict => ScopeSpec::Strict,
            Scope::NamespaceWide => ScopeSpec::NamespaceWide,
            Scope::ClusterWide => ScopeSpec::ClusterWide,
        }),
        // An envelope without values is for nothing.
        envelopes: [(sealed.id.to_string(), envelope)]
            .into_iter()
            .filter(|_| !sealed.values.is_empty())
            .collect(),
        encrypted_data: sealed.values.clone(),
        template: template(manifest, given, marks),
        ..Default::default()
    };
    let mut object = SealedSecret::new(&target.name, spec);
    object.metadata.namespace =
        Some(target.namespace.clone()).filter(|namespace| !namespace.is_empty());
    let own = |texts: &BTreeMap<String, String>| (!texts.is_empty()).then(|| texts.clone());
    object.metadata.labels = own(&marks.labels);
    object.metadata.annotations = own(&marks.annotations);
    object
}

/// What the manifest says beside its values, and over it what the template file says.
fn template(
    manifest: &SecretManifest,
    given: Option<&SecretTemplate>,
    marks: &SortedMarks,
) -> Option<SecretTemplate> {
    let mut metadata = TemplateMetadata {
        labels: manifest.labels.clone(),
        annotations: manifest.annotations.clone(),
    };
    for texts in [&mut metadata.labels, &mut metadata.annotations] {
        texts.retain(|name, _| !marks.has(name) && !is_refused_metadata(name));
    }
    let mut template = given.cloned().unwrap_or_default();
    if let Some(given) = template.metadata.take() {
        metadata.labels.extend(given.labels);
        metadata.annotations.extend(given.annotations);
    }
    template.metadata = (metadata != TemplateMetadata::default()).then_some(metadata);
    template.type_ = template.type_.or_else(|| manifest.secret_type.clone());
    template.immutable = template
        .immutable
        .or_else(|| manifest.immutable.then_some(true));
    (template != SecretTemplate::default()).then_some(template)
}

/// Checks an object as it will stand in a file, before it is written: the controller would refuse
/// what this refuses.
fn check_limits(object: &Value, target: &SealTarget, terminal: Terminal) -> Result<SealedObject> {
    let title = &target.title();
    let count = SealedView::of(object).envelopes().count();
    let size = compact_size(object);
    if count > limits::ENVELOPES {
        return Err(CommandError::input(format_args!(
            "the object has {count} envelopes, but at most {} are opened",
            limits::ENVELOPES
        ))
        .on(title)
        .hint("put all values under one envelope, with a private key: `seal reseal --fold -i KEYFILE FILE`")
        .hint(format_args!(
            "or set several values in one run, so that they share an envelope; these have one each: {}",
            single_keys(object).join(", ")
        )));
    }
    let checked = SealedObject::parse_in(object, &target.namespace).map_err(|error| {
        CommandError::input(format_args!("{}: {}", error.code(), error.detail)).on(title)
    })?;
    // Prefixes that an administrator denies to templates are known to the cluster alone.
    rules::target_and_template(&object["spec"], &[]).map_err(|fault| {
        CommandError::input(format_args!("{}: {}", fault.reason.name(), fault.message)).on(title)
    })?;
    if count >= limits::ENVELOPES_WARN {
        terminal.warning(format_args!(
            "{title} has {count} envelopes of at most {}, one for each run that set values: put all values under one, with a private key: `seal reseal --fold -i KEYFILE FILE`",
            limits::ENVELOPES
        ));
    }
    if size >= limits::OBJECT_BYTES_WARN {
        terminal.warning(format_args!(
            "{title} has {size} bytes: `kubectl apply` and Argo CD without server-side apply keep a copy in an annotation, which holds at most 262144"
        ));
    }
    Ok(checked)
}

/// Keys that have an envelope of their own, in order.
fn single_keys(object: &Value) -> Vec<String> {
    let mut users = std::collections::BTreeMap::<_, Vec<&str>>::new();
    for (key, value) in SealedView::of(object).values() {
        users.entry(envelope_id(value)).or_default().push(key);
    }
    let mut keys: Vec<&str> = users
        .into_values()
        .filter(|keys| keys.len() == 1)
        .flatten()
        .collect();
    keys.sort_unstable();
    keys.into_iter().map(names::printable).collect()
}
