//! Fields of a YAML document, set where they stand: all other lines stay, comments among them.

use std::ops::Range;

use serde_json::{Map, Value, json};

use super::document::read_documents;
use super::edit::{children, comment_of, indent, key_end, splice};
use super::emit::to_yaml_in_blocks;
use super::located::{Content, Node, read_located};

/// The text of one document that reads as `old`, so that it reads as `new`. `None` if the layout
/// does not allow that; whether it came out right is for the caller to check.
pub(super) fn with_fields(text: &str, old: &Value, new: &Value) -> Option<String> {
    let mut paths = Vec::new();
    differences(old, new, &mut Vec::new(), &mut paths);
    let mut text = text.to_owned();
    for path in &paths {
        text = with_field(&text, new, path)?;
    }
    Some(text)
}

/// The paths of the fields that differ, each as far from the root as possible.
fn differences<'a>(
    old: &'a Value,
    new: &'a Value,
    path: &mut Vec<&'a str>,
    found: &mut Vec<Vec<&'a str>>,
) {
    let (Value::Object(before), Value::Object(after)) = (old, new) else {
        if old != new {
            found.push(path.clone());
        }
        return;
    };
    let gone = before.keys().filter(|key| !after.contains_key(*key));
    for key in after.keys().chain(gone) {
        path.push(key);
        let of = |map: &'a Map<String, Value>| map.get(key).unwrap_or(&Value::Null);
        differences(of(before), of(after), path, found);
        path.pop();
    }
}

/// The text in which the field of this path has the value that it has in `new`, or is gone.
fn with_field(text: &str, new: &Value, path: &[&str]) -> Option<String> {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let line_end = if text.contains("\r\n") { "\r\n" } else { "\n" };
    let (mut range, mut depth, mut value) = (0..lines.len(), 0, Some(new));
    for (at, key) in path.iter().enumerate() {
        value = value.and_then(|value| value.get(key));
        let all = children(&lines, range.clone(), depth)?;
        let Some(child) = all.iter().find(|child| child.key == **key) else {
            let end = all.last().map_or(range.start, |last| last.lines.end);
            let lines_of = value.and_then(|value| field(key, value, depth, "", line_end));
            return Some(splice("", &lines, vec![(end..end, lines_of?)]));
        };
        let body = child.lines.start + 1..child.lines.end;
        if at + 1 < path.len()
            && let Some(inner) = value.and_then(|_| block_indent(&lines, child.lines.start, &body))
        {
            (range, depth) = (body, inner);
            continue;
        }
        let header = lines[child.lines.start];
        let is_quoted = header[key_end(header)?..]
            .trim_start()
            .starts_with(['"', '\'', '{', '[']);
        let comment = if is_quoted { "" } else { comment_of(header) };
        let lines_of = match value {
            None => String::new(),
            Some(value) => field(key, value, depth, comment, line_end)?,
        };
        return Some(splice("", &lines, vec![(child.lines.clone(), lines_of)]));
    }
    None
}

/// The indent of the children of a field, if it is a block mapping.
fn block_indent(lines: &[&str], header: usize, body: &Range<usize>) -> Option<usize> {
    let value = lines[header].get(key_end(lines[header])?..)?.trim();
    let is_block = value.is_empty() || value.starts_with('#');
    is_block.then(|| lines[body.clone()].iter().find_map(|line| indent(line)))?
}

/// The lines of a field, indented; `comment` is what stood after its key.
fn field(key: &str, value: &Value, depth: usize, comment: &str, line_end: &str) -> Option<String> {
    let alone: Map<String, Value> = [(key.to_owned(), value.clone())].into_iter().collect();
    let written = to_yaml_in_blocks(&[alone]).ok()?;
    let pad = " ".repeat(depth);
    let mut text = String::new();
    for (number, line) in written.lines().enumerate() {
        if !line.is_empty() {
            text.extend([pad.as_str(), line]);
        }
        if number == 0 {
            text.push_str(comment);
        }
        text.push_str(line_end);
    }
    Some(text)
}

/// A document whose `spec.template` stands as in the text of a template file, with its comments,
/// and reads the same as before. `None` if that text is no block mapping, has words that readers
/// take for different things, or cannot be made to say the same.
pub fn with_template_text(document: &str, template: &str) -> Option<String> {
    if !read_located(template).documents.iter().all(is_agreed) {
        return None;
    }
    let text = with_template_lines(document, template)?;
    let want = read(document)?;
    let text = with_fields(&text, &read(&text)?, &want)?;
    (read(&text)? == want).then_some(text)
}

/// Do readers of YAML 1.1 and 1.2 read the same? `yes` is a text to some, and a bool to others.
fn is_agreed(node: &Node) -> bool {
    match &node.content {
        Content::Scalar(scalar) => {
            let text = scalar.text.as_str();
            let written = || to_yaml_in_blocks(&[json!({"k": text})]).ok();
            !scalar.is_plain
                || matches!(text, "true" | "false")
                || written().is_some_and(|written| written == format!("k: {text}\n"))
        }
        Content::List(items) => items.iter().all(is_agreed),
        Content::Map(entries) => entries
            .iter()
            .all(|(key, value)| is_agreed(key) && is_agreed(value)),
    }
}

/// The object of a text that holds one.
fn read(text: &str) -> Option<Value> {
    let documents = read_documents(text.as_bytes()).ok()?;
    Some(documents.into_iter().next()?.object)
}

fn with_template_lines(document: &str, template: &str) -> Option<String> {
    let lines: Vec<&str> = document.split_inclusive('\n').collect();
    let spec = children(&lines, 0..lines.len(), 0)?
        .into_iter()
        .find(|child| child.key == "spec")?;
    let body = spec.lines.start + 1..spec.lines.end;
    let depth = lines[body.clone()].iter().find_map(|line| indent(line))?;
    let held = children(&lines, body, depth)?
        .into_iter()
        .find(|child| child.key == "template")?;
    let begins = template
        .lines()
        .find_map(|line| Some(&line[indent(line)?..]))?;
    if begins.starts_with(['{', '[']) {
        return None;
    }
    let pad = " ".repeat(2 * depth);
    let mut text = lines[held.lines.start].to_owned();
    for line in template.trim_end().lines() {
        if !line.trim().is_empty() {
            text.extend([pad.as_str(), line]);
        }
        text.push('\n');
    }
    Some(splice("", &lines, vec![(held.lines, text)]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "metadata: # of the object\n  name: db\n  labels: {team: a}\nspec:\n  template: # ours\n    \
        # kept\n    type: Opaque # plain\n    data:\n      a.yaml: |\n        x: 1\n\n        # last\n    metadata:\n      \
        labels:\n        # the team\n        team: a # was b\n  scope: strict\n";

    fn changed(change: impl Fn(&mut Value)) -> String {
        let old = read(TEXT).unwrap();
        let mut new = old.clone();
        change(&mut new);
        let after = with_fields(TEXT, &old, &new).unwrap();
        assert_eq!(read(&after).unwrap(), new, "{after}");
        after
    }

    #[test]
    fn a_field_changes_and_the_lines_around_it_stay() {
        let after = changed(|new| {
            new["spec"]["template"]["metadata"]["labels"]["team"] = "b".into();
            new["spec"]["template"]["metadata"]["labels"]["app"] = "shop".into();
            new["spec"]["template"]["immutable"] = true.into();
        });
        for line in [
            "# of the object",
            "# ours",
            "# kept",
            "# plain",
            "# the team",
            "team: b # was b",
        ] {
            assert!(after.contains(line), "{after}");
        }
        assert!(after.contains("      a.yaml: |\n        x: 1\n\n        # last\n    metadata:\n"));
        assert!(after.contains("        app: shop\n    immutable: true\n  scope: strict\n"));
        // In flow style, the map is written anew.
        let after = changed(|new| new["metadata"]["labels"]["app"] = "shop".into());
        assert!(
            after.contains("  labels:\n    app: shop\n    team: a\nspec:\n"),
            "{after}"
        );
    }

    #[test]
    fn a_field_goes_and_comes_with_all_above_it() {
        let after = changed(|new| {
            new["spec"]["template"]
                .as_object_mut()
                .unwrap()
                .remove("metadata");
            new["metadata"]["annotations"] = json!({"a/b": "yes", "c": "x\ny\n"});
        });
        assert!(
            after.contains("        # last\n  scope: strict\n"),
            "{after}"
        );
        assert!(
            after.contains("  annotations:\n    a/b: \"yes\"\n    c: |\n      x\n      y\n"),
            "{after}"
        );
        let gone = changed(|new| {
            new["spec"].as_object_mut().unwrap().remove("template");
        });
        assert!(gone.ends_with("spec:\n  scope: strict\n"), "{gone}");
    }

    #[test]
    fn a_template_stands_as_in_its_file() {
        let file = "# what it is\ntype: Opaque   # as always\ndata:\n  a.yaml: |\n    b: {{ .c }}\n\n    # d\n";
        let document = "spec:\n  scope: strict\n  template:\n    type: Opaque\n    immutable: true\n    data:\n      \
            a.yaml: \"b: {{ .c }}\\n\\n# d\\n\"\n  suspend: true\n";
        let after = with_template_text(document, file).unwrap();
        let want = "spec:\n  scope: strict\n  template:\n    # what it is\n    type: Opaque   # as always\n    data:\n      \
            a.yaml: |\n        b: {{ .c }}\n\n        # d\n    immutable: true\n  suspend: true\n";
        assert_eq!(after, want);
        for other in ["{type: Opaque}\n", "type: yes\n", "data: {a: 012}\n"] {
            assert_eq!(with_template_text(document, other), None, "{other}");
        }
        assert_eq!(with_template_text("spec:\n  scope: strict\n", file), None);
    }
}
