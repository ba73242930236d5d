use gtmpl_ng::Value;
use regex::{Regex, RegexBuilder};

use super::super::budget::check_result;
use super::numbers::integer;
use super::{Result, exactly, refusal, string, strings};

pub(super) fn upper(args: &[Value]) -> Result<Value> {
    let [text] = strings(args)?;
    Ok(text.to_uppercase().into())
}

pub(super) fn lower(args: &[Value]) -> Result<Value> {
    let [text] = strings(args)?;
    Ok(text.to_lowercase().into())
}

/// Go's `strings.Title`: the first letter of each word, where words are of letters, digits and
/// underscores.
pub(super) fn title(args: &[Value]) -> Result<Value> {
    let [text] = strings(args)?;
    let mut titled = String::with_capacity(text.len());
    let mut inside = false;
    for letter in text.chars() {
        if inside {
            titled.push(letter);
        } else {
            titled.extend(letter.to_uppercase());
        }
        // Go's isSeparator: ASCII is exact, beyond it only white space separates.
        inside = if letter.is_ascii() {
            letter.is_ascii_alphanumeric() || letter == '_'
        } else {
            letter.is_alphanumeric() || !letter.is_whitespace()
        };
    }
    Ok(titled.into())
}

pub(super) fn trim(args: &[Value]) -> Result<Value> {
    let [text] = strings(args)?;
    Ok(text.trim().into())
}

pub(super) fn trim_all(args: &[Value]) -> Result<Value> {
    let [cut, text] = strings(args)?;
    Ok(text.trim_matches(|letter| cut.contains(letter)).into())
}

pub(super) fn trim_prefix(args: &[Value]) -> Result<Value> {
    let [prefix, text] = strings(args)?;
    Ok(text.strip_prefix(prefix).unwrap_or(text).into())
}

pub(super) fn trim_suffix(args: &[Value]) -> Result<Value> {
    let [suffix, text] = strings(args)?;
    Ok(text.strip_suffix(suffix).unwrap_or(text).into())
}

/// Cuts to so many bytes, from the end for negative ones. A cut inside a character fails: Go
/// would make text that is no UTF-8.
pub(super) fn trunc(args: &[Value]) -> Result<Value> {
    let [count, text] = exactly(args)?;
    let (count, text) = (integer(count)?, string(text)?);
    let bytes = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
    let cut = if bytes >= text.len() {
        Some(text)
    } else if count < 0 {
        text.get(text.len() - bytes..)
    } else {
        text.get(..bytes)
    };
    cut.map(Into::into)
        .ok_or_else(|| refusal("inside a character"))
}

pub(super) fn replace(args: &[Value]) -> Result<Value> {
    let [old, new, text] = strings(args)?;
    let growth = text.matches(old).count().saturating_mul(new.len());
    check_result(growth.saturating_add(text.len()))?;
    Ok(text.replace(old, new).into())
}

pub(super) fn contains(args: &[Value]) -> Result<Value> {
    let [part, text] = strings(args)?;
    Ok(text.contains(part).into())
}

pub(super) fn has_prefix(args: &[Value]) -> Result<Value> {
    let [part, text] = strings(args)?;
    Ok(text.starts_with(part).into())
}

pub(super) fn has_suffix(args: &[Value]) -> Result<Value> {
    let [part, text] = strings(args)?;
    Ok(text.ends_with(part).into())
}

pub(super) fn indent(args: &[Value]) -> Result<Value> {
    let [spaces, text] = exactly(args)?;
    indented(integer(spaces)?, string(text)?).map(Into::into)
}

pub(super) fn nindent(args: &[Value]) -> Result<Value> {
    let [spaces, text] = exactly(args)?;
    Ok(format!("\n{}", indented(integer(spaces)?, string(text)?)?).into())
}

fn indented(spaces: i64, text: &str) -> Result<String> {
    let spaces = usize::try_from(spaces).map_err(|_| refusal("a negative indent"))?;
    let lines = 1 + text.matches('\n').count();
    check_result(text.len().saturating_add(lines.saturating_mul(spaces)))?;
    let pad = " ".repeat(spaces);
    Ok(format!("{pad}{}", text.replace('\n', &format!("\n{pad}"))))
}

pub(super) fn regex_match(args: &[Value]) -> Result<Value> {
    let [pattern, text] = strings(args)?;
    Ok(regex(pattern)?.is_match(text).into())
}

/// Go's `ReplaceAllString`: `$1` and `${name}` stand for groups.
pub(super) fn regex_replace_all(args: &[Value]) -> Result<Value> {
    let [pattern, text, replacement] = strings(args)?;
    let mut replaced = String::new();
    let mut end = 0;
    for captures in regex(pattern)?.captures_iter(text) {
        let whole = captures.get_match();
        replaced.push_str(&text[end..whole.start()]);
        captures.expand(replacement, &mut replaced);
        end = whole.end();
        check_result(replaced.len())?;
    }
    replaced.push_str(&text[end..]);
    Ok(replaced.into())
}

/// Linear in the text by design; the size of the program is bounded here.
fn regex(pattern: &str) -> Result<Regex> {
    RegexBuilder::new(pattern)
        .size_limit(256 * 1024)
        .dfa_size_limit(256 * 1024)
        .nest_limit(50)
        .build()
        .map_err(|_| refusal("no regular expression"))
}
