//! Base64, JSON and YAML in templates.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use gtmpl_ng::{NumberKind, Value};
use serde_json::{Map, Number, Value as Json};
use sha2::{Digest, Sha256};

use super::{Result, exactly, refusal, strings};
use crate::manifest;

pub(super) fn b64enc(args: &[Value]) -> Result<Value> {
    let [text] = strings(args)?;
    Ok(BASE64_STANDARD.encode(text).into())
}

/// Fails if the text is not base64; sprig returns the text of the error as if it were the value.
pub(super) fn b64dec(args: &[Value]) -> Result<Value> {
    let [text] = strings(args)?;
    // Go's decoder skips line ends.
    let text = text.replace(['\r', '\n'], "");
    let bytes = BASE64_STANDARD
        .decode(text)
        .map_err(|_| refusal("no base64"))?;
    String::from_utf8(bytes)
        .map(Into::into)
        .map_err(|_| refusal("no text"))
}

pub(super) fn sha256sum(args: &[Value]) -> Result<Value> {
    let [text] = strings(args)?;
    Ok(format!("{:x}", Sha256::digest(text)).into())
}

/// Compact JSON with sorted keys; `<`, `>` and `&` are escaped as in Go.
pub(super) fn to_json(args: &[Value]) -> Result<Value> {
    let [value] = exactly(args)?;
    let text = manifest::to_go_json(&json_of(value)?);
    Ok(text.as_str().into())
}

/// Whole numbers stay whole; in Go all become floats, and 1000000 is written 1e+06. Fails if the
/// text is not JSON; sprig returns nil.
pub(super) fn from_json(args: &[Value]) -> Result<Value> {
    let [text] = strings(args)?;
    let json: Json = serde_json::from_str(text).map_err(|_| refusal("no JSON"))?;
    Ok(value_of(json))
}

/// Block style with sorted keys, without a final line break.
pub(super) fn to_yaml(args: &[Value]) -> Result<Value> {
    let [value] = exactly(args)?;
    let text = manifest::to_yaml(&[json_of(value)?]).map_err(|_| refusal("no YAML"))?;
    Ok(text.trim_end_matches('\n').into())
}

/// A mapping, as in External Secrets; nothing is an empty one.
pub(super) fn from_yaml(args: &[Value]) -> Result<Value> {
    let [text] = strings(args)?;
    match manifest::read_value(text) {
        Some(Json::Null) => Ok(value_of(Json::Object(Map::new()))),
        Some(mapping @ Json::Object(_)) => Ok(value_of(mapping)),
        _ => Err(refusal("no mapping in YAML")),
    }
}

fn json_of(value: &Value) -> Result<Json> {
    Ok(match value {
        Value::NoValue | Value::Nil => Json::Null,
        Value::Bool(value) => Json::Bool(*value),
        Value::String(text) => Json::String(text.clone()),
        Value::Number(number) => match number.kind() {
            NumberKind::Signed(number) => number.into(),
            NumberKind::Unsigned(number) => number.into(),
            NumberKind::Float(number) => Number::from_f64(number)
                .map(Json::Number)
                .ok_or_else(|| refusal("no number"))?,
        },
        Value::Array(items) => Json::Array(items.iter().map(json_of).collect::<Result<_>>()?),
        Value::Object(fields) | Value::Map(fields) => {
            let mut sorted: Vec<_> = fields.iter().collect();
            sorted.sort_unstable_by_key(|(key, _)| *key);
            let mut map = Map::new();
            for (key, value) in sorted {
                map.insert(key.clone(), json_of(value)?);
            }
            Json::Object(map)
        }
        Value::Function(_) => return Err(refusal("a function")),
    })
}

/// Maps become objects, so that a missing key is an error.
fn value_of(json: Json) -> Value {
    match json {
        Json::Null => Value::Nil,
        Json::Bool(value) => value.into(),
        Json::String(text) => text.into(),
        Json::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(number), ..) => number.into(),
            (_, Some(number), _) => number.into(),
            (.., number) => number.unwrap_or_default().into(),
        },
        Json::Array(items) => Value::Array(items.into_iter().map(value_of).collect()),
        Json::Object(map) => {
            let fields = map.into_iter().map(|(key, value)| (key, value_of(value)));
            Value::Object(fields.collect())
        }
    }
}
