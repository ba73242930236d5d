//! The file of `--template`: `spec.template` of a SealedSecret, alone.

use std::collections::BTreeMap;
use std::path::Path;

use sealkit_core::api::{CreationPolicy, SecretTemplate, rules};
use sealkit_core::manifest::{document_ranges, read_documents};
use sealkit_core::names::printable;
use sealkit_core::sealed::OpenedValue;
use sealkit_core::template::{self, TemplateError};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::error::{CommandError, Result};
use crate::files;
use crate::terminal::shown;

const FIELDS: [&str; 5] = ["type", "immutable", "metadata", "data", "includeRaw"];

/// What the file says.
#[derive(Clone)]
pub(crate) struct TemplateFile {
    /// Its content.
    pub template: SecretTemplate,
    /// Its text, with comments and layout.
    pub text: String,
}

/// Reads and checks it: what the controller would refuse is refused here.
pub(crate) fn read(path: &Path) -> Result<TemplateFile> {
    let bytes = files::read(path, files::SMALL_FILE)?;
    let documents =
        read_documents(&bytes).map_err(|error| CommandError::input(&error).on(shown(path)))?;
    let [document] = documents.as_slice() else {
        return Err(CommandError::input("the file holds more than one document").on(shown(path)));
    };
    let template = document
        .object
        .as_object()
        .ok_or(String::new())
        .and_then(parse)
        .map_err(|what| {
            CommandError::input(what)
                .on(shown(path))
                .hint("the file holds the content of spec.template: type, immutable, metadata, data, includeRaw")
        })?;
    // The file says nothing of the policy: what goes with Merge alone is judged with the object.
    rules::check_template(&template, CreationPolicy::default(), &[])
        .and_then(|()| rules::texts(&template))
        .map_err(|fault| CommandError::input(fault.message).on(shown(path)))?;
    let text = String::from_utf8_lossy(&bytes);
    let text = document_ranges(&text)
        .first()
        .map_or("", |range| &text[range.clone()])
        .to_owned();
    Ok(TemplateFile { template, text })
}

fn parse(map: &Map<String, Value>) -> std::result::Result<SecretTemplate, String> {
    if let Some(field) = map.keys().find(|field| !FIELDS.contains(&field.as_str())) {
        return Err(format!("unknown field {:?}", printable(field)));
    }
    serde_json::from_value(Value::Object(map.clone()))
        .map_err(|error| printable(&error.to_string()))
}

/// What the Secret holds, as the controller would make it. The error names what the texts may
/// read: that is public, and what is missing can be seen from it.
pub(crate) fn rendered(
    template: &SecretTemplate,
    values: BTreeMap<String, OpenedValue>,
) -> std::result::Result<BTreeMap<String, Zeroizing<Vec<u8>>>, String> {
    let readable: Vec<String> = template::readable(&values)
        .map(|(key, _)| printable(key))
        .collect();
    let message = |error: TemplateError| {
        let names = if readable.is_empty() {
            "none".to_owned()
        } else {
            readable.join(", ")
        };
        format!("{error}; values sealed with --render: {names}")
    };
    let mut templates = rules::texts(template).map_err(|fault| fault.message)?;
    let rendered = templates.render(template::readable(&values));
    let rendered = rendered.map_err(message)?;
    let include_raw = template.include_raw.unwrap_or(true);
    Ok(template::secret_data(rendered, values, include_raw))
}
