//! Items of a `kind: List`, edited in place, and JSON, which is written anew.

use std::collections::BTreeMap;
use std::ops::Range;

use serde_json::Value;

use super::document::{Document, json_stream, read_documents};
use super::edit::{LayoutError, SealedEdit, edit_sealed};
use super::emit::to_json;

/// A JSON text whose objects, or items of its Lists, are replaced by these. It is written anew.
pub(super) fn json_with(
    text: &str,
    documents: &[Document],
    objects: &BTreeMap<usize, Value>,
) -> Result<String, LayoutError> {
    let mut values = rewritable(text)?;
    for (index, object) in objects {
        let Document { number, item, .. } = &documents[*index];
        let value = values.get_mut(number - 1).ok_or(LayoutError)?;
        let place = match item {
            None => value,
            Some(item) => value
                .pointer_mut(&format!("/items/{}", item - 1))
                .ok_or(LayoutError)?,
        };
        place.clone_from(object);
    }
    written(&values)
}

/// A JSON text with more objects: in its List, in a List with the object that it holds, or after
/// its objects. Errors if it is not JSON.
pub fn add_to_json(text: &str, new: Vec<Value>) -> Result<String, LayoutError> {
    let mut values = rewritable(text)?;
    if let [only] = values.as_mut_slice() {
        let is_list = only["kind"] == "List";
        let items = only.get_mut("items").and_then(Value::as_array_mut);
        if let Some(items) = items.filter(|_| is_list) {
            items.extend(new);
            return written(&values);
        }
        values.extend(new);
        return to_json(&values).map_err(|_| LayoutError);
    }
    values.extend(new);
    written(&values)
}

/// The objects of a JSON text that can be written anew: each number of it prints as it stands, which
/// those of more digits than a float has do not.
fn rewritable(text: &str) -> Result<Vec<Value>, LayoutError> {
    let prints = |number: &str| {
        let read = serde_json::from_str::<serde_json::Number>(number);
        read.is_ok_and(|read| read.to_string() == number)
    };
    let values = json_stream(text).ok_or(LayoutError)?;
    if numbers(text).all(prints) {
        Ok(values)
    } else {
        Err(LayoutError)
    }
}

/// The numbers of a JSON text, as they stand.
fn numbers(text: &str) -> impl Iterator<Item = &str> {
    let mut is_escaped = false;
    let mut is_text = false;
    let mut is_of_a_number = move |letter: char| {
        if is_text {
            is_text = is_escaped || letter != '"';
            is_escaped = letter == '\\' && !is_escaped;
            return false;
        }
        is_text = letter == '"';
        letter.is_ascii_digit() || matches!(letter, '-' | '+' | '.' | 'e' | 'E')
    };
    let parts = text.split(move |letter| !is_of_a_number(letter));
    // What is left of `true` and `false` has no digit.
    parts.filter(|part| part.contains(|letter: char| letter.is_ascii_digit()))
}

/// JSON objects, one after the other.
fn written(values: &[Value]) -> Result<String, LayoutError> {
    let texts = values.iter().map(std::slice::from_ref).map(to_json);
    texts.collect::<Result<_, _>>().map_err(|_| LayoutError)
}

/// The lines of one item of a YAML List, and what they become. The item is edited as a document of
/// its own, without its indentation.
pub(super) fn edited_item(
    lines: &[&str],
    list: Range<usize>,
    item: usize,
    edit: &SealedEdit,
) -> Option<(Range<usize>, String)> {
    let (range, indent) = item_lines(lines, list, item)?;
    let mut alone = String::new();
    for (index, line) in lines[range.clone()].iter().enumerate() {
        let (margin, rest) = line.split_at_checked(indent + 2).unwrap_or(("", line));
        let dash = index == 0 && margin.trim_start() == "- ";
        if line.trim().is_empty() {
            alone.push_str(line.trim_start_matches(' '));
        } else if dash || (!margin.is_empty() && margin.bytes().all(|byte| byte == b' ')) {
            alone.push_str(rest);
        } else {
            return None;
        }
    }
    let documents = read_documents(alone.as_bytes()).ok()?;
    let edits = BTreeMap::from([(0, edit.clone())]);
    let edited = edit_sealed(&alone, &documents, &edits).ok()?.text;
    let mut text = String::new();
    for (index, line) in edited.split_inclusive('\n').enumerate() {
        if index == 0 {
            text.push_str(&" ".repeat(indent));
            text.push_str("- ");
        } else if !line.trim().is_empty() {
            text.push_str(&" ".repeat(indent + 2));
        }
        text.push_str(line);
    }
    Some((range, text))
}

/// Where an item stands, counted from 1, and how far its dash is indented.
fn item_lines(lines: &[&str], list: Range<usize>, item: usize) -> Option<(Range<usize>, usize)> {
    let items = list.clone().find(|at| lines[*at].trim_end() == "items:")?;
    let depth = |line: &str| line.len() - line.trim_start_matches(' ').len();
    let is_content = |line: &str| {
        let line = line.trim();
        !line.is_empty() && !line.starts_with('#')
    };
    let first = (items + 1..list.end).find(|at| is_content(lines[*at]))?;
    let indent = depth(lines[first]);
    let is_item = |line: &str| depth(line) == indent && line[indent..].starts_with("- ");
    let is_end = |line: &str| is_content(line) && depth(line) <= indent && !is_item(line);
    let end = (first..list.end).find(|at| is_end(lines[*at]));
    let end = end.unwrap_or(list.end);
    let mut starts = (first..end).filter(|at| is_item(lines[*at]));
    let start = starts.nth(item.checked_sub(1)?)?;
    Some((start..starts.next().unwrap_or(end), indent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_whose_numbers_would_change_is_not_written_anew() {
        let found: Vec<&str> =
            numbers(r#"{"a1\"2": [1, -2.5, true, "3\\", 4e1], "b": 5}"#).collect();
        assert_eq!(found, ["1", "-2.5", "4e1", "5"]);
        for (text, is_kept) in [
            (r#"{"a": [0, -1, 2.5, 18446744073709551615, "1e9"]}"#, true),
            (r#"{"a": 18446744073709551616}"#, false),
            (r#"{"a": 12345678901234567890123}"#, false),
            (r#"{"a": 1e2}"#, false),
        ] {
            assert_eq!(rewritable(text).is_ok(), is_kept, "{text}");
        }
    }
}
