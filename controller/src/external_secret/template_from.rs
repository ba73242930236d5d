//! `target.template.templateFrom`: texts of `ConfigMaps` and Secrets of the same namespace.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use kube::Client;
use sealkit_core::api::Reason;
use sealkit_core::api::external::rules::Makes;
use sealkit_core::api::external::{Template, TemplateAs, TemplateFrom, TemplateSource};
use sealkit_core::{manifest, names};
use serde_json::Value;

use super::fetch::NotMade;
use super::template::Part;
use crate::kubernetes::{ApiFailure, read_whole};
use crate::object::Key;
use crate::queue::LONGEST_PAUSE;
use crate::sources::{Source, SourceKind, Used};
use crate::status::Outcome;

/// The texts, in the order of the spec: for each entry those of the `ConfigMap`, of the Secret, and
/// the literal one. `used` takes down what is read.
pub(super) async fn texts(
    client: &Client,
    namespace: &str,
    template: &Template,
    used: &Used,
) -> Result<Vec<Part>, NotMade> {
    let mut parts = Vec::new();
    for (at, from) in template.template_from.iter().enumerate() {
        let sources = [
            (SourceKind::ConfigMap, &from.config_map),
            (SourceKind::Secret, &from.secret),
        ];
        for (kind, source) in sources {
            let Some(source) = source else {
                continue;
            };
            let place = format!(
                "templateFrom[{at}], {} {}",
                kind.name(),
                names::printable(&source.name)
            );
            // It becomes a part of a path, and not every definition of the resource says what a name is.
            if !names::is_dns_subdomain(&source.name) {
                return Err(absent(&place, "it is no name"));
            }
            let path = format!(
                "/api/v1/namespaces/{namespace}/{}/{}",
                kind.plural(),
                source.name
            );
            let read = read_whole(client, &path).await;
            let object = read.map_err(|failure| unread(&place, &failure))?;
            let version = object
                .as_ref()
                .map(|object| &object["metadata"]["resourceVersion"]);
            let version = version.and_then(Value::as_str);
            used.note(kind, namespace, &source.name, version);
            let object = object.ok_or_else(|| absent(&place, "it does not exist"))?;
            parts.extend(items(
                from,
                source,
                &place,
                object,
                kind == SourceKind::Secret,
            )?);
        }
        if let Some(text) = &from.literal {
            parts.push(Part {
                place: format!("templateFrom[{at}].literal"),
                text: text.clone(),
                makes: from.makes().unwrap_or(Makes::Data),
                key: None,
                decoding: from.values_decoding_strategy,
            });
        }
    }
    Ok(parts)
}

/// Is it the Secret that is made of a template in its namespace?
pub(super) fn is_target(source: &Source, target: &str) -> bool {
    source.kind == SourceKind::Secret && source.key.name == target
}

/// The `ConfigMaps` and Secrets that a template names, but for the Secret `target` that is made of it:
/// whoever follows what he writes comes to no end.
pub(super) fn sources(namespace: &str, template: Option<&Template>, target: &str) -> Vec<Source> {
    let from = template
        .into_iter()
        .flat_map(|template| &template.template_from);
    let named = from.flat_map(|from| {
        [
            (SourceKind::ConfigMap, &from.config_map),
            (SourceKind::Secret, &from.secret),
        ]
    });
    let source = |(kind, source): (_, &Option<TemplateSource>)| {
        let name = source.as_ref()?.name.clone();
        let namespace = namespace.to_owned();
        let key = Key { namespace, name };
        Some(Source { kind, key }).filter(|source| !is_target(source, target))
    };
    named.filter_map(source).collect()
}

/// The texts of the keys that are asked for.
fn items(
    from: &TemplateFrom,
    source: &TemplateSource,
    place: &str,
    mut object: Value,
    is_secret: bool,
) -> Result<Vec<Part>, NotMade> {
    let mut parts = Vec::new();
    let mut fault = None;
    for item in &source.items {
        let key = names::printable(&item.key);
        let stored = object["data"][&item.key].as_str();
        let Some(text) = stored.and_then(|text| text_of(text, is_secret)) else {
            fault = Some(absent(place, &format!("it has no text {key:?}")));
            break;
        };
        parts.push(Part {
            place: format!("{place}, key {key}"),
            text,
            makes: from.makes().unwrap_or(Makes::Data),
            key: (item.template_as == TemplateAs::Values).then(|| item.key.clone()),
            decoding: from.values_decoding_strategy,
        });
    }
    manifest::wipe(&mut object);
    fault.map_or(Ok(parts), Err)
}

fn text_of(stored: &str, is_secret: bool) -> Option<String> {
    if is_secret {
        String::from_utf8(BASE64_STANDARD.decode(stored).ok()?).ok()
    } else {
        Some(stored.to_owned())
    }
}

fn absent(place: &str, what: &str) -> NotMade {
    let message = format!("target.template.{place}: {what}");
    let outcome = Outcome::Retrying(Reason::NotFound, message);
    (outcome, Some(LONGEST_PAUSE))
}

fn unread(place: &str, failure: &ApiFailure) -> NotMade {
    let reason = match failure.code() {
        403 => Reason::AccessDenied,
        _ => Reason::TemplateFailed,
    };
    let message = format!("target.template.{place}: could not be read: {failure}");
    (Outcome::Retrying(reason, message), Some(LONGEST_PAUSE))
}
