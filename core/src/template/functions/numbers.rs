//! Numbers in templates.

use gtmpl_ng::{NumberKind, Value};

use super::{Result, exactly, refusal};

pub(super) fn int(args: &[Value]) -> Result<Value> {
    let [value] = exactly(args)?;
    Ok(integer(value)?.into())
}

pub(super) fn float64(args: &[Value]) -> Result<Value> {
    let [value] = exactly(args)?;
    let number = match value {
        Value::Number(number) => match number.kind() {
            #[expect(clippy::cast_precision_loss, reason = "as Go's conversion does")]
            NumberKind::Signed(number) => Some(number as f64),
            #[expect(clippy::cast_precision_loss, reason = "as Go's conversion does")]
            NumberKind::Unsigned(number) => Some(number as f64),
            NumberKind::Float(number) => Some(number),
        },
        Value::String(text) => text.trim().parse().ok(),
        Value::Bool(value) => Some(f64::from(u8::from(*value))),
        _ => None,
    };
    number
        .map(Into::into)
        .ok_or_else(|| refusal("not a number"))
}

pub(super) fn add(args: &[Value]) -> Result<Value> {
    fold(args, i64::checked_add)
}

pub(super) fn mul(args: &[Value]) -> Result<Value> {
    fold(args, i64::checked_mul)
}

pub(super) fn sub(args: &[Value]) -> Result<Value> {
    pair(args, i64::checked_sub)
}

pub(super) fn div(args: &[Value]) -> Result<Value> {
    pair(args, i64::checked_div)
}

pub(super) fn modulo(args: &[Value]) -> Result<Value> {
    pair(args, i64::checked_rem)
}

/// sprig's `toInt64`, but it fails if the value is not a number; there it is 0.
pub(super) fn integer(value: &Value) -> Result<i64> {
    #[expect(clippy::cast_possible_truncation, reason = "as Go's conversion does")]
    let whole = |number: f64| number as i64;
    let number = match value {
        Value::Number(number) => match number.kind() {
            NumberKind::Signed(number) => Some(number),
            NumberKind::Unsigned(number) => i64::try_from(number).ok(),
            NumberKind::Float(number) => Some(whole(number)),
        },
        Value::String(text) => literal(text.trim()),
        Value::Bool(value) => Some(i64::from(*value)),
        _ => None,
    };
    number.ok_or_else(|| refusal("not an integer"))
}

/// Go's `ParseInt` of base 0: 0x, 0o, 0b and a leading 0 name the base; underscores separate digits.
fn literal(text: &str) -> Option<i64> {
    let text = text.replace('_', "").to_ascii_lowercase();
    let (sign, digits) = match text.as_bytes().first()? {
        b'-' => ("-", &text[1..]),
        b'+' => ("", &text[1..]),
        _ => ("", text.as_str()),
    };
    let bases = [("0x", 16), ("0o", 8), ("0b", 2), ("0", 8)];
    let named = bases.iter().find_map(|(prefix, base)| {
        let digits = digits.strip_prefix(prefix)?;
        (!digits.is_empty()).then_some((digits, *base))
    });
    let (digits, base) = named.unwrap_or((digits, 10));
    if !digits.starts_with(char::is_alphanumeric) {
        return None;
    }
    i64::from_str_radix(&format!("{sign}{digits}"), base).ok()
}

fn fold(args: &[Value], operation: fn(i64, i64) -> Option<i64>) -> Result<Value> {
    let mut numbers = args.iter().map(integer);
    let first = numbers.next().ok_or_else(|| refusal("no arguments"))??;
    numbers
        .try_fold(first, |sum, number| {
            operation(sum, number?).ok_or_else(|| refusal("out of range"))
        })
        .map(Into::into)
}

fn pair(args: &[Value], operation: fn(i64, i64) -> Option<i64>) -> Result<Value> {
    let [a, b] = exactly(args)?;
    let result = operation(integer(a)?, integer(b)?);
    result
        .map(Into::into)
        .ok_or_else(|| refusal("out of range"))
}
