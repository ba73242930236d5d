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
use crate::queue::LONGEST_PAUSE;
use crate::status::Outcome;

/// The texts, in the order of the spec: for each entry those of the `ConfigMap`, of the Secret, and
/// the literal one. Nothing tells when they change: they are read at each refresh.
pub(super) async fn texts(
    client: &Client,
    namespace: &str,
    template: &Template,
) -> Result<Vec<Part>, NotMade> {
    let mut parts = Vec::new();
    for (at, from) in template.template_from.iter().enumerate() {
        let sources = [
            ("ConfigMap", "configmaps", &from.config_map),
            ("Secret", "secrets", &from.secret),
        ];
        for (kind, plural, source) in sources {
            let Some(source) = source else {
                continue;
            };
            let place = format!(
                "templateFrom[{at}], {kind} {}",
                names::printable(&source.name)
            );
            // It becomes a part of a path, and not every definition of the resource says what a name is.
            if !names::is_dns_subdomain(&source.name) {
                return Err(absent(&place, "it is no name"));
            }
            let path = format!("/api/v1/namespaces/{namespace}/{plural}/{}", source.name);
            let read = read_whole(client, &path).await;
            let object = read.map_err(|failure| unread(&place, &failure))?;
            let object = object.ok_or_else(|| absent(&place, "it does not exist"))?;
            parts.extend(items(from, source, &place, object, kind == "Secret")?);
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
