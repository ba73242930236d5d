//! `print`, `printf` and their kin in templates.

use gtmpl_ng::{Value, funcs};

use super::{Result, exactly, refusal, text_of};

/// Bytes that a `printf` may write at worst, estimated from its verbs before it runs.
const PRINTF_BYTES: usize = 2 * 1024 * 1024;

/// Go's `printf`. Widths and repeated arguments multiply, so the worst result of the verbs is added
/// up first.
pub(super) fn printf(args: &[Value]) -> Result<Value> {
    let Some((Value::String(format), operands)) = args.split_first() else {
        return Err(refusal("printf needs a format"));
    };
    let number = |value: &Value| match value {
        Value::Number(number) => number.as_i64().map_or(0, i64::unsigned_abs),
        _ => 0,
    };
    let star = operands
        .iter()
        .map(number)
        .max()
        .unwrap_or_default()
        .min(1_000_000);
    // One character becomes at most ten (`\U0010ffff`), from four bytes; a control byte becomes
    // four.
    let longest = operands
        .iter()
        .map(|value| text_of(value).len() * 6 + 64)
        .max();
    let mut bound = format.len();
    for verb in format.split('%').skip(1) {
        let flags = verb.bytes().take_while(|byte| !byte.is_ascii_alphabetic());
        let mut digits = 0_usize;
        let mut widths = 0_usize;
        for byte in flags {
            if byte.is_ascii_digit() {
                digits = (digits * 10 + usize::from(byte - b'0')).min(10_000_000);
            } else {
                widths += digits;
                digits = 0;
                if byte == b'*' {
                    widths += usize::try_from(star).unwrap_or(usize::MAX);
                }
            }
        }
        bound = bound.saturating_add(widths + digits + longest.unwrap_or(64));
        if bound > PRINTF_BYTES {
            return Err(refusal("printf could write too much"));
        }
    }
    funcs::printf(args)
}

pub(super) fn to_string(args: &[Value]) -> Result<Value> {
    let [value] = exactly(args)?;
    Ok(text_of(value).into())
}

/// sprig's `quote`: Go's `%q` of each argument, nil left out.
pub(super) fn quote(args: &[Value]) -> Result<Value> {
    let quoted = |value: &Value| {
        let quoted = funcs::printf(&["%q".into(), text_of(value).into()])?;
        Ok(text_of(&quoted))
    };
    let texts = present(args).map(quoted).collect::<Result<Vec<_>>>()?;
    Ok(texts.join(" ").into())
}

/// sprig's `squote`: each argument between apostrophes, unchanged.
pub(super) fn squote(args: &[Value]) -> Result<Value> {
    let texts: Vec<String> = present(args).map(|value| format!("'{value}'")).collect();
    Ok(texts.join(" ").into())
}

fn present(args: &[Value]) -> impl Iterator<Item = &Value> {
    args.iter()
        .filter(|value| !matches!(value, Value::Nil | Value::NoValue))
}
