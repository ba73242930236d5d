//! What an input says beside its values, against the object in the file that takes them.

use std::collections::BTreeMap;

use sealkit_core::api::{SecretTemplate, TemplateMetadata};
use sealkit_core::manifest::{Document, SealedEdit};
use sealkit_core::sealed::SealedView;
use serde_json::json;

use super::SealedItem;
use crate::error::{CommandError, Result};
use crate::terminal::Terminal;

/// Labels or annotations.
type Texts = BTreeMap<String, String>;

/// Takes over what the input says beside its values. What it does not say stays, or goes with
/// `prune`.
pub(super) fn take_template(
    edit: &mut SealedEdit,
    document: &Document,
    item: &SealedItem,
    prune: bool,
) {
    let own = &item.object.metadata;
    for (field, given) in [("labels", &own.labels), ("annotations", &own.annotations)] {
        if let Some(given) = given {
            let mut texts = own_texts(document, field);
            texts.extend(given.clone());
            edit.metadata.insert(field.to_owned(), json!(texts));
        }
    }
    let template = taken(&held_template(document), item, prune);
    edit.template = serde_json::to_value(template).ok();
}

fn held_template(document: &Document) -> SecretTemplate {
    SealedView::of(&document.object)
        .template()
        .and_then(|template| serde_json::from_value(template.clone()).ok())
        .unwrap_or_default()
}

/// Labels or annotations of the SealedSecret itself.
fn own_texts(document: &Document, field: &str) -> Texts {
    let own = document.object.pointer(&format!("/metadata/{field}"));
    own.and_then(|own| serde_json::from_value(own.clone()).ok())
        .unwrap_or_default()
}

/// The template of the input over that of the file. Texts go only where `--template` brings others.
fn taken(held: &SecretTemplate, item: &SealedItem, prune: bool) -> SecretTemplate {
    let given = item.object.spec.template.clone().unwrap_or_default();
    let mut template = if prune {
        SecretTemplate::default()
    } else {
        held.clone()
    };
    let mut metadata = template.metadata.take().unwrap_or_default();
    if let Some(given) = given.metadata {
        metadata.labels.extend(given.labels);
        metadata.annotations.extend(given.annotations);
    }
    template.metadata = (metadata != TemplateMetadata::default()).then_some(metadata);
    template.type_ = given.type_.or(template.type_);
    template.immutable = given.immutable.or(template.immutable);
    template.include_raw = given.include_raw.or(held.include_raw);
    template.data = if given.data.is_empty() {
        held.data.clone()
    } else {
        given.data
    };
    template
}

/// The file keeps its template: says so where the new values come with another one.
pub(super) fn check_template(
    document: &Document,
    item: &SealedItem,
    terminal: Terminal,
) -> Result<()> {
    let held = held_template(document);
    let empty = SecretTemplate::default();
    let given = item.object.spec.template.as_ref().unwrap_or(&empty);
    let title = item.target.title();
    if (!given.data.is_empty() && given.data != held.data)
        || (given.include_raw.is_some() && given.include_raw != held.include_raw)
    {
        let what = format_args!("the file already holds {title}, which keeps its template");
        return Err(CommandError::input(what)
            .hint("nothing was changed; to take the new one over, pass --update-template"));
    }
    if given.type_.is_some() && given.type_ != held.type_ {
        terminal.warning(format_args!(
            "{title}: the file keeps its template, and with it the type {}; --update-template takes the new one over",
            sealkit_core::names::printable(held.type_.as_deref().unwrap_or("Opaque")),
        ));
    }
    let left = left_out(document, item, &held);
    if !left.is_empty() {
        terminal.warning(format_args!(
            "{title}: the file keeps what it says, and these of the input do not reach it: {}; --update-template takes them over",
            left.join(", ")
        ));
    }
    if !held.data.is_empty() && !item.render {
        terminal.warning(format_args!(
            "{title}: templates in the file cannot read the new values: they are sealed without --render"
        ));
    }
    Ok(())
}

/// What the input says beside its values and the file does not, in words.
fn left_out(document: &Document, item: &SealedItem, held: &SecretTemplate) -> Vec<String> {
    let mut left = Vec::new();
    let mut compare = |what: &str, given: &Texts, held: &Texts| {
        let differs = given
            .iter()
            .filter(|(name, text)| held.get(*name) != Some(text));
        left.extend(
            differs.map(|(name, _)| format!("{what} {}", sealkit_core::names::printable(name))),
        );
    };
    let empty = TemplateMetadata::default();
    let given = item.object.spec.template.as_ref();
    let metadata = given
        .and_then(|template| template.metadata.as_ref())
        .unwrap_or(&empty);
    let kept = held.metadata.as_ref().unwrap_or(&empty);
    compare("label", &metadata.labels, &kept.labels);
    compare("annotation", &metadata.annotations, &kept.annotations);
    let own = |field| own_texts(document, field);
    let object = &item.object.metadata;
    let none = Texts::new();
    let (labels, annotations) = (object.labels.as_ref(), object.annotations.as_ref());
    compare(
        "label of the SealedSecret",
        labels.unwrap_or(&none),
        &own("labels"),
    );
    compare(
        "annotation of the SealedSecret",
        annotations.unwrap_or(&none),
        &own("annotations"),
    );
    let immutable = given.and_then(|template| template.immutable);
    if immutable == Some(true) && held.immutable != immutable {
        left.push("immutable: true".to_owned());
    }
    left
}
