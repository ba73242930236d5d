//! Defaults and conditions in templates.

use gtmpl_ng::{NumberKind, Value};

use super::{Result, exactly, refusal};

/// Go's `eq`: does the first equal any other? It takes no values of different types, but nothing may
/// be compared with everything.
pub(super) fn eq(args: &[Value]) -> Result<Value> {
    let [first, others @ ..] = args else {
        return Err(refusal("no arguments"));
    };
    if others.is_empty() {
        return Err(refusal("only one argument"));
    }
    for other in others {
        if is_equal(first, other)? {
            return Ok(true.into());
        }
    }
    Ok(false.into())
}

/// Go's `ne`, with the types of [`eq`].
pub(super) fn ne(args: &[Value]) -> Result<Value> {
    let [one, other] = exactly(args)?;
    Ok((!is_equal(one, other)?).into())
}

fn is_equal(one: &Value, other: &Value) -> Result<bool> {
    let of_type = |value: &Value| match value {
        Value::NoValue | Value::Nil => None,
        Value::Bool(_) => Some("bool"),
        Value::Number(_) => Some("number"),
        Value::String(_) => Some("string"),
        _ => Some("other"),
    };
    match (of_type(one), of_type(other)) {
        (Some(one), Some(other)) if one != other => Err(refusal("values of different types")),
        _ => Ok(one == other),
    }
}

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
