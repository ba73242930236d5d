//! Defaults and conditions in templates.

use gtmpl_ng::{NumberKind, Value};

use super::{Result, exactly, refusal};

/// sprig's `default fallback value`.
pub(super) fn default(args: &[Value]) -> Result<Value> {
    match args {
        [fallback] => Ok(fallback.clone()),
        [fallback, value] => Ok(if is_empty(value) { fallback } else { value }.clone()),
        _ => Err(refusal("wrong number of arguments")),
    }
}

pub(super) fn empty(args: &[Value]) -> Result<Value> {
    let [value] = exactly(args)?;
    Ok(is_empty(value).into())
}

pub(super) fn coalesce(args: &[Value]) -> Result<Value> {
    Ok(args
        .iter()
        .find(|value| !is_empty(value))
        .cloned()
        .unwrap_or(Value::Nil))
}

/// sprig's `ternary yes no condition`.
pub(super) fn ternary(args: &[Value]) -> Result<Value> {
    let [yes, no, condition] = exactly(args)?;
    match condition {
        Value::Bool(true) => Ok(yes.clone()),
        Value::Bool(false) => Ok(no.clone()),
        _ => Err(refusal("not a bool")),
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::NoValue | Value::Nil => true,
        Value::Bool(value) => !value,
        Value::String(text) => text.is_empty(),
        Value::Object(fields) | Value::Map(fields) => fields.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Number(number) => match number.kind() {
            NumberKind::Signed(number) => number == 0,
            NumberKind::Unsigned(number) => number == 0,
            NumberKind::Float(number) => number == 0.0,
        },
        Value::Function(_) => false,
    }
}
