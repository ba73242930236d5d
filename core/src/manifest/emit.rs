use serde::Serialize;

/// Writes objects as a YAML stream that readers of YAML 1.1 and 1.2 understand alike: every
/// string value stands in quotes, and so does every key that some reader might take for
/// something else.
///
/// Errors only where a value cannot be YAML at all, which no object of ours is.
pub fn to_yaml<T: Serialize>(objects: &[T]) -> Result<String, serde_saphyr::SerializeError> {
    let mut out = String::new();
    for object in objects {
        if !out.is_empty() {
            out.push_str("---\n");
        }
        let options = serde_saphyr::ser_options! {
            prefer_block_scalars: false,
        };
        out.push_str(&serde_saphyr::to_string_with_options(object, options)?);
        if !out.ends_with('\n') {
            out.push('\n');
        }
    }
    Ok(out)
}

/// Writes objects as JSON: one object as it is, several as a `List`.
pub fn to_json<T: Serialize>(objects: &[T]) -> Result<String, serde_json::Error> {
    let mut text = match objects {
        [object] => serde_json::to_string_pretty(object)?,
        items => serde_json::to_string_pretty(
            &serde_json::json!({"apiVersion": "v1", "kind": "List", "items": items}),
        )?,
    };
    text.push('\n');
    Ok(text)
}
