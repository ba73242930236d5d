//! Lists and maps in templates.

use std::collections::HashMap;

use gtmpl_ng::Value;

use super::super::budget::check_result;
use super::super::limits;
use super::{Result, exactly, refusal, string, strings, text_of};

pub(super) fn list(args: &[Value]) -> Result<Value> {
    Ok(Value::Array(args.to_vec()))
}

/// sprig's `join`: nil members are left out, and a value that is not a list is a list of one.
pub(super) fn join(args: &[Value]) -> Result<Value> {
    let [separator, value] = exactly(args)?;
    let separator = string(separator)?;
    let texts: Vec<String> = match value {
        Value::Array(items) => items
            .iter()
            .filter(|item| !matches!(item, Value::Nil | Value::NoValue))
            .map(text_of)
            .collect(),
        Value::Nil | Value::NoValue => Vec::new(),
        other => vec![text_of(other)],
    };
    let bytes: usize = texts.iter().map(String::len).sum();
    check_result(bytes.saturating_add(separator.len().saturating_mul(texts.len())))?;
    Ok(texts.join(separator).into())
}

/// sprig's `split`: the parts as `_0`, `_1`, …
pub(super) fn split(args: &[Value]) -> Result<Value> {
    let parts = parts(args)?.into_iter().enumerate();
    let fields = parts.map(|(index, part)| (format!("_{index}"), Value::from(part)));
    Ok(Value::Object(fields.collect()))
}

pub(super) fn split_list(args: &[Value]) -> Result<Value> {
    Ok(Value::Array(
        parts(args)?.into_iter().map(Value::from).collect(),
    ))
}

fn parts(args: &[Value]) -> Result<Vec<&str>> {
    let [separator, text] = strings(args)?;
    // At an empty separator, Go splits into characters; Rust also splits before the first and after
    // the last.
    let parts: Vec<&str> = if separator.is_empty() {
        text.split("")
            .filter(|part| !part.is_empty())
            .take(limits::RESULT_MEMBERS + 1)
            .collect()
    } else {
        text.split(separator)
            .take(limits::RESULT_MEMBERS + 1)
            .collect()
    };
    Ok(parts)
}

pub(super) fn first(args: &[Value]) -> Result<Value> {
    let [list] = exactly(args)?;
    Ok(items(list)?.first().cloned().unwrap_or(Value::Nil))
}

pub(super) fn last(args: &[Value]) -> Result<Value> {
    let [list] = exactly(args)?;
    Ok(items(list)?.last().cloned().unwrap_or(Value::Nil))
}

pub(super) fn has(args: &[Value]) -> Result<Value> {
    let [needle, list] = exactly(args)?;
    Ok(match list {
        Value::Nil | Value::NoValue => false,
        list => items(list)?.contains(needle),
    }
    .into())
}

/// sprig's `dict`: pairs of key and value. A last key without a value gets an empty text.
pub(super) fn dict(args: &[Value]) -> Result<Value> {
    let pairs = args.chunks(2).map(|pair| {
        let value = pair.get(1).cloned().unwrap_or_else(|| "".into());
        (text_of(&pair[0]), value)
    });
    Ok(Value::Object(pairs.collect()))
}

/// sprig's `get`: an empty text if there is no such key.
pub(super) fn get(args: &[Value]) -> Result<Value> {
    let [dict, key] = exactly(args)?;
    let value = fields(dict)?.get(string(key)?);
    Ok(value.cloned().unwrap_or_else(|| "".into()))
}

/// The keys of all arguments, sorted; in Go they come in any order.
pub(super) fn keys(args: &[Value]) -> Result<Value> {
    let mut keys = Vec::new();
    for dict in args {
        keys.extend(fields(dict)?.keys().map(String::as_str));
    }
    keys.sort_unstable();
    Ok(Value::Array(keys.into_iter().map(Value::from).collect()))
}

/// The values in the order of their keys; in Go they come in any order.
pub(super) fn values(args: &[Value]) -> Result<Value> {
    let [dict] = exactly(args)?;
    let mut entries: Vec<_> = fields(dict)?.iter().collect();
    entries.sort_unstable_by_key(|(key, _)| *key);
    Ok(Value::Array(
        entries
            .into_iter()
            .map(|(_, value)| value.clone())
            .collect(),
    ))
}

/// sprig's `dig "a" "b" default dict`: the default if a key on the path is missing.
pub(super) fn dig(args: &[Value]) -> Result<Value> {
    let [path @ .., default, dict] = args else {
        return Err(refusal("dig needs keys, a default and a dict"));
    };
    let mut value = dict;
    for key in path {
        match fields(value)?.get(string(key)?) {
            Some(inner) => value = inner,
            None => return Ok(default.clone()),
        }
    }
    Ok(value.clone())
}

fn items(value: &Value) -> Result<&[Value]> {
    match value {
        Value::Array(items) => Ok(items),
        _ => Err(refusal("not a list")),
    }
}

fn fields(value: &Value) -> Result<&HashMap<String, Value>> {
    match value {
        Value::Object(fields) | Value::Map(fields) => Ok(fields),
        _ => Err(refusal("not a dict")),
    }
}
