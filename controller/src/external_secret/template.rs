//! `target.template`: data, labels, annotations and type of the Secret, from the values of the store.

use std::collections::BTreeMap;

use sealkit_core::api::external::rules::Makes;
use sealkit_core::api::external::{DecodingStrategy, MergePolicy, Template};
use sealkit_core::api::{Reason, rules};
use sealkit_core::manifest;
use sealkit_core::names;
use sealkit_core::template::TemplateErrorKind;
use serde_json::Value;
use zeroize::{Zeroize, Zeroizing};

use super::data::decoded_bytes;
use crate::render::{Contents, RenderError, Renderer};
use crate::status::Outcome;

/// What a template makes of the values.
#[derive(Default)]
pub(super) struct Rendered {
    pub(super) data: Contents,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) annotations: BTreeMap<String, String>,
    pub(super) secret_type: Option<String>,
}

/// A text that is rendered, and where its result goes.
pub(super) struct Part {
    /// Its place in `target.template`, as errors name it.
    pub(super) place: String,
    /// The text.
    pub(super) text: String,
    /// What it makes.
    pub(super) makes: Makes,
    /// The key of the result; `None` if the result is a YAML map of keys and values.
    pub(super) key: Option<String>,
    /// How values that it makes are decoded.
    pub(super) decoding: DecodingStrategy,
}

/// The texts in the template itself.
fn own_parts(template: &Template) -> impl Iterator<Item = Part> {
    let metadata = &template.metadata;
    let groups = [
        ("data", Makes::Data, &template.data),
        ("metadata.labels", Makes::Labels, &metadata.labels),
        (
            "metadata.annotations",
            Makes::Annotations,
            &metadata.annotations,
        ),
    ];
    groups.into_iter().flat_map(|(place, makes, texts)| {
        texts.iter().map(move |(key, text)| Part {
            place: format!("{place}[{}]", names::printable(key)),
            text: text.clone(),
            makes,
            key: Some(key.clone()),
            decoding: DecodingStrategy::None,
        })
    })
}

/// Renders a template over the values of the store. `from` are the texts of `templateFrom`, over
/// which those of the template itself take precedence, and later ones over earlier ones. The outcome
/// says why it cannot: it names places and limits, and no value.
pub(super) async fn rendered(
    renderer: &Renderer,
    namespace: &str,
    template: &Template,
    from: Vec<Part>,
    values: Contents,
    denied: &[String],
) -> Result<Rendered, Outcome> {
    // Without anything else that fills the Secret, the values themselves do.
    let keeps_values = template.merge_policy == MergePolicy::Merge
        || template.data.is_empty() && template.template_from.is_empty();
    let parts: Vec<Part> = from.into_iter().chain(own_parts(template)).collect();
    let mut results = results(renderer, namespace, &parts, &values).await?;
    let mut all = Rendered {
        data: if keeps_values {
            values
        } else {
            Contents::new()
        },
        secret_type: Some(template.type_.clone()).filter(|name| !name.is_empty()),
        ..Rendered::default()
    };
    for (at, part) in parts.iter().enumerate() {
        let result = results.remove(&engine_name(at)).unwrap_or_default();
        put(&mut all, part, result).map_err(|what| at_fault(&part.place, &what))?;
    }
    check_names(&all, denied)?;
    Ok(all)
}

/// What the texts become, by [`engine_name`].
async fn results(
    renderer: &Renderer,
    namespace: &str,
    parts: &[Part],
    values: &Contents,
) -> Result<Contents, Outcome> {
    let texts = parts.iter().enumerate();
    let mut texts: BTreeMap<String, String> = texts
        .map(|(at, part)| (engine_name(at), part.text.clone()))
        .collect();
    let readable: Vec<_> = values
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_slice()))
        .collect();
    let results = renderer.render(namespace, &texts, &readable).await;
    // A Secret may hold them.
    texts.values_mut().for_each(Zeroize::zeroize);
    results.map_err(|error| failed(parts, &error))
}

/// The engine knows a text by a number, since names of labels are no keys of Secrets.
fn engine_name(at: usize) -> String {
    format!("text-{at}")
}

/// Puts what a text became where it belongs. Errors with what is wrong with it.
fn put(all: &mut Rendered, part: &Part, result: Zeroizing<Vec<u8>>) -> Result<(), String> {
    let entries = match &part.key {
        Some(key) => Contents::from([(key.clone(), result)]),
        None => entries_of(&result)?,
    };
    for (key, value) in entries {
        // A key that the text makes may hold a value, which no message tells.
        let title = match &part.key {
            Some(key) => format!("{:?}", names::printable(key)),
            None => "a key that it makes".to_owned(),
        };
        let value = decoded_bytes(value, part.decoding)
            .map_err(|what| format!("the value of {title} {what}"))?;
        match part.makes {
            Makes::Data if names::is_secret_key(&key) => {
                all.data.insert(key, value);
            }
            Makes::Data => return Err(format!("{title} is not one that Kubernetes allows")),
            Makes::Labels => {
                all.labels.insert(key, text_of(&value));
            }
            Makes::Annotations => {
                all.annotations.insert(key, text_of(&value));
            }
        }
    }
    Ok(())
}

fn text_of(value: &[u8]) -> String {
    String::from_utf8_lossy(value).into_owned()
}

/// Keys and values of a YAML map of texts. Numbers, booleans and nulls are texts too, as with
/// External Secrets.
fn entries_of(text: &[u8]) -> Result<Contents, String> {
    let text = std::str::from_utf8(text).unwrap_or_default();
    if text.trim().is_empty() {
        return Ok(Contents::new());
    }
    let no_map = || "what it makes is no YAML map of texts".to_owned();
    let mut map = manifest::read_value(text).ok_or_else(no_map)?;
    let members = map.as_object().ok_or_else(no_map);
    let entry = |(key, value): (&String, &Value)| {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Null => String::new(),
            Value::Bool(_) | Value::Number(_) => value.to_string(),
            Value::Array(_) | Value::Object(_) => return Err(no_map()),
        };
        Ok((key.clone(), Zeroizing::new(text.into_bytes())))
    };
    let entries = members.and_then(|members| members.into_iter().map(entry).collect());
    manifest::wipe(&mut map);
    entries
}

/// The names of labels and annotations may come from a text: the rules are those of names in the
/// spec.
fn check_names(all: &Rendered, denied: &[String]) -> Result<(), Outcome> {
    let mut names = all.labels.keys().chain(all.annotations.keys());
    if names.clone().count() > rules::TEMPLATE_NAMES {
        let count = rules::TEMPLATE_NAMES;
        let what = format!("makes more than {count} labels and annotations");
        return Err(at_fault("metadata", &what));
    }
    let is_denied = |name: &&String| {
        rules::is_refused_metadata(name) || denied.iter().any(|prefix| name.starts_with(prefix))
    };
    if names.any(|name| is_denied(&name)) {
        // Those of the spec were checked before. This one may hold a value.
        let what = "a text of templateFrom makes a label or annotation that templates may not set";
        return Err(at_fault("metadata", what));
    }
    Ok(())
}

/// The values or the template must change; the next refresh will tell.
fn at_fault(place: &str, what: &str) -> Outcome {
    let message = format!("target.template.{place}: {what}");
    Outcome::Stalled(Reason::TemplateFailed, message)
}

fn failed(parts: &[Part], error: &RenderError) -> Outcome {
    let RenderError::Template(error) = error else {
        let message = "internal error in the controller, see its log".to_owned();
        return Outcome::Retrying(Reason::ProcessingFailed, message);
    };
    let mut names = (0..parts.len()).map(engine_name);
    let place = names
        .position(|name| name == error.key)
        .map_or("", |at| parts[at].place.as_str());
    let message = format!("target.template.{place}: {}", cause_of(&error.cause));
    if error.may_pass() {
        Outcome::Retrying(Reason::TemplateFailed, message)
    } else {
        Outcome::Stalled(Reason::TemplateFailed, message)
    }
}

/// Why a text was not rendered, to somebody whose values come from a store.
pub(super) fn cause_of(cause: &TemplateErrorKind) -> String {
    match cause {
        TemplateErrorKind::ValuesTooLarge => {
            "the values that templates may read have more than 64 KiB together".to_owned()
        }
        TemplateErrorKind::Render => "rendering failed: the template uses a value that the store \
            does not have or that is binary, or a function refused its arguments"
            .to_owned(),
        cause => cause.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(makes: Makes, key: Option<&str>) -> Part {
        Part {
            place: String::new(),
            text: String::new(),
            makes,
            key: key.map(str::to_owned),
            decoding: DecodingStrategy::None,
        }
    }

    fn made(part: &Part, result: &str) -> Result<Vec<(String, String)>, String> {
        let mut all = Rendered::default();
        put(&mut all, part, Zeroizing::new(result.as_bytes().to_vec()))?;
        let data = all
            .data
            .iter()
            .map(|(key, value)| (key.clone(), text_of(value)));
        Ok(data.chain(all.labels).chain(all.annotations).collect())
    }

    #[test]
    fn a_map_of_keys_and_values_has_texts_only() {
        let map = part(Makes::Data, None);
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let text = "a: x\nb: 1\nc: true\nd:\n\"e\": 'y: z'\n";
        let expected = [
            pair("a", "x"),
            pair("b", "1"),
            pair("c", "true"),
            pair("d", ""),
            pair("e", "y: z"),
        ];
        assert_eq!(made(&map, text).unwrap(), expected);
        assert_eq!(made(&map, " \n"), Ok(vec![]));
        for wrong in ["a: [1]", "a: {b: c}", "- a", "text", "a: b: c"] {
            let says = made(&map, wrong).unwrap_err();
            assert_eq!(says, "what it makes is no YAML map of texts", "{wrong}");
        }
        let says = made(&map, "a/b: c").unwrap_err();
        assert_eq!(
            says,
            "a key that it makes is not one that Kubernetes allows"
        );
        let labels = part(Makes::Labels, None);
        assert_eq!(made(&labels, "a/b: c"), Ok(vec![pair("a/b", "c")]));
    }

    #[test]
    fn values_are_decoded_as_asked_and_not_told() {
        let mut base64 = part(Makes::Data, Some("k"));
        base64.decoding = DecodingStrategy::Base64;
        assert_eq!(made(&base64, "aGVsbG8=").unwrap()[0].1, "hello");
        let says = made(&base64, "hidden!").unwrap_err();
        assert_eq!(says, "the value of \"k\" is no Base64");
    }

    #[test]
    fn no_message_tells_a_name_that_a_text_makes_of_a_value() {
        let denied = ["denied.example/".to_owned()];
        let mut map = part(Makes::Data, None);
        let says = made(&map, "hunter 2: c").unwrap_err();
        assert!(!says.contains("hunter"), "{says}");
        map.decoding = DecodingStrategy::Base64;
        let says = made(&map, "hunter2: \"?\"").unwrap_err();
        assert!(!says.contains("hunter"), "{says}");
        for name in ["sealkit.dev/hunter2", "denied.example/hunter2"] {
            let mut all = Rendered::default();
            all.labels.insert(name.to_owned(), String::new());
            let refused = check_names(&all, &denied).unwrap_err();
            assert!(!refused.message().contains("hunter"), "{refused:?}");
        }
    }

    #[test]
    fn names_that_a_text_makes_obey_the_rules_of_names_in_the_spec() {
        let denied = ["replicator.v1.mittwald.de/".to_owned()];
        for name in [
            "sealkit.dev/source",
            "kubectl.kubernetes.io/x",
            "replicator.v1.mittwald.de/replicate-to",
        ] {
            let mut all = Rendered::default();
            all.annotations.insert(name.to_owned(), String::new());
            assert!(check_names(&all, &denied).is_err(), "{name}");
        }
        let label = |at| (format!("l{at}"), String::new());
        let many = Rendered {
            labels: (0..=100).map(label).collect(),
            ..Rendered::default()
        };
        assert!(check_names(&many, &denied).is_err());
    }
}
