//! Key-wise replacement in a file under Git: only the lines of the keys that were sealed anew and
//! of their envelopes change. The text is spliced by lines, then read again and compared with
//! what it must say; a layout that this cannot edit is refused and nothing is lost.

use std::collections::BTreeSet;
use std::ops::Range;

use serde_json::{Map, Value, json};

use super::document::{Document, ReadError, read_documents};
use crate::sealed::Sealed;

/// Why a file cannot take new values in place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MergeError {
    /// The file cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The object is not in the file.
    #[error("the file holds no SealedSecret {0}")]
    NotFound(String),
    /// The object stands there twice.
    #[error("the file holds the SealedSecret {0} more than once")]
    Ambiguous(String),
    /// The object in the file has another scope.
    #[error(
        "the SealedSecret in the file has scope {found}, these values were sealed with scope {sealed}"
    )]
    OtherScope {
        /// Scope in the file.
        found: String,
        /// Scope of the new values.
        sealed: String,
    },
    /// Flow style, anchors or tags where lines should be.
    #[error("the SealedSecret in the file is laid out in a way that can't be edited in place")]
    Layout,
}

/// Puts sealed values into the SealedSecret `namespace/name` of `text`: replaces or adds their
/// keys, adds their envelope, drops envelopes that nothing refers to any more. Every other byte
/// stays.
pub fn merge_sealed(
    text: &str,
    namespace: &str,
    name: &str,
    scope: &str,
    sealed: &Sealed,
) -> Result<String, MergeError> {
    let mut documents = read_documents(text.as_bytes())?;
    let title = format!("{namespace}/{name}");
    let matches = |document: &Document| {
        document.is_sealed_secret()
            && document.metadata("name") == name
            && document.metadata("namespace") == namespace
    };
    let mut positions = (0..documents.len()).filter(|index| matches(&documents[*index]));
    let position = positions
        .next()
        .ok_or_else(|| MergeError::NotFound(title.clone()))?;
    if positions.next().is_some() {
        return Err(MergeError::Ambiguous(title));
    }
    let found = documents[position]
        .object
        .pointer("/spec/scope")
        .map_or("strict", |scope| scope.as_str().unwrap_or_default());
    if found != scope {
        let (found, sealed) = (found.to_owned(), scope.to_owned());
        return Err(MergeError::OtherScope { found, sealed });
    }

    let dropped = apply(&mut documents[position].object, sealed)?;
    let merged = if text.trim_start().starts_with('{') {
        super::emit::to_json(&[&documents[position].object]).map_err(|_| MergeError::Layout)?
    } else {
        let lines: Vec<&str> = text.split_inclusive('\n').collect();
        let ranges = documents_by_line(&lines);
        let range = ranges.get(documents[position].number - 1).cloned();
        let range = range.ok_or(MergeError::Layout)?;
        splice(text, range, sealed, &dropped).ok_or(MergeError::Layout)?
    };
    let reread = read_documents(merged.as_bytes()).map_err(|_| MergeError::Layout)?;
    let same = reread.len() == documents.len()
        && reread
            .iter()
            .zip(&documents)
            .all(|(is, must)| is.object == must.object);
    if same {
        Ok(merged)
    } else {
        Err(MergeError::Layout)
    }
}

/// Where the documents of a YAML stream stand in its text, in bytes; empty documents are left
/// out, so that the n-th range is that of document number n + 1. A document that begins on the
/// line of its separator is not found: compare the count before relying on it.
pub fn document_ranges(text: &str) -> Vec<Range<usize>> {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let ends: Vec<usize> = lines
        .iter()
        .scan(0, |end, line| {
            *end += line.len();
            Some(*end)
        })
        .collect();
    let offset = |line: usize| line.checked_sub(1).map_or(0, |before| ends[before]);
    documents_by_line(&lines)
        .into_iter()
        .map(|range| offset(range.start)..offset(range.end))
        .collect()
}

/// The change on the parsed object: what the text must say afterwards. Returns the ids of the
/// envelopes that nothing refers to any more.
fn apply(object: &mut Value, sealed: &Sealed) -> Result<BTreeSet<String>, MergeError> {
    let spec = object
        .get_mut("spec")
        .and_then(Value::as_object_mut)
        .ok_or(MergeError::Layout)?;
    let mut section = |field: &str| -> Result<Map<String, Value>, MergeError> {
        match spec.remove(field) {
            Some(Value::Object(map)) => Ok(map),
            _ => Err(MergeError::Layout),
        }
    };
    let mut values = section("encryptedData")?;
    let mut envelopes = section("envelopes")?;
    for (key, value) in &sealed.values {
        values.insert(key.clone(), value.clone().into());
    }
    let used: BTreeSet<&str> = values
        .values()
        // Whatever stands before the id: a value that somebody damaged may be mended, its
        // envelope could not be.
        .filter_map(|value| value.as_str()?.split('.').nth(1))
        .collect();
    let dropped: BTreeSet<String> = envelopes
        .keys()
        .filter(|id| !used.contains(id.as_str()))
        .cloned()
        .collect();
    envelopes.retain(|id, _| !dropped.contains(id));
    envelopes.insert(sealed.id.to_string(), json!(sealed.envelope));
    spec.insert("encryptedData".to_owned(), values.into());
    spec.insert("envelopes".to_owned(), envelopes.into());
    Ok(dropped)
}

/// The ranges of lines of the documents that are not empty.
fn documents_by_line(lines: &[&str]) -> Vec<Range<usize>> {
    let is_separator = |line: &str| line.trim_end() == "---" || line.starts_with("--- ");
    let mut starts = vec![0];
    starts.extend(
        lines
            .iter()
            .enumerate()
            .filter(|(_, line)| is_separator(line))
            .map(|(index, _)| index + 1),
    );
    let has_content = |range: &Range<usize>| {
        lines[range.clone()].iter().any(|line| {
            let line = line.trim();
            !line.is_empty() && !line.starts_with('#') && !is_separator(line) && line != "..."
        })
    };
    let ends = starts.iter().skip(1).map(|start| start - 1);
    let ends = ends.chain([lines.len()]);
    let ranges = starts.iter().zip(ends).map(|(start, end)| *start..end);
    ranges.filter(has_content).collect()
}

/// A block mapping's child: its lines, its key.
struct Child {
    lines: Range<usize>,
    key: String,
}

fn splice(
    text: &str,
    range: Range<usize>,
    sealed: &Sealed,
    dropped: &BTreeSet<String>,
) -> Option<String> {
    let line_end = if text.contains("\r\n") { "\r\n" } else { "\n" };
    let mut lines: Vec<String> = text.split_inclusive('\n').map(str::to_owned).collect();
    let spec = children(&lines, range, 0)?
        .into_iter()
        .find(|child| child.key == "spec")?;
    let body = spec.lines.start + 1..spec.lines.end;
    let step = lines[body.clone()]
        .iter()
        .find_map(|line| indent(line))
        .filter(|step| *step > 0)?;
    let sections = children(&lines, body, step)?;
    let section = |name: &str| {
        let child = sections.iter().find(|child| child.key == name)?;
        let body = child.lines.start + 1..child.lines.end;
        let inner = lines[body.clone()].iter().find_map(|line| indent(line))?;
        let items = (inner > step).then(|| children(&lines, body, inner))??;
        Some((inner, items))
    };
    let (value_indent, values) = section("encryptedData")?;
    let (envelope_indent, envelopes) = section("envelopes")?;

    // Collect replacements by line, then rebuild from the end so that numbers stay true.
    let mut edits: Vec<(Range<usize>, String)> = Vec::new();
    let pad = " ".repeat(value_indent);
    for (key, value) in &sealed.values {
        let quoted = Value::from(key.as_str());
        if let Some(child) = values.iter().find(|child| child.key == *key) {
            let line = &lines[child.lines.start];
            let head = &line[..key_end(line)?];
            let comment = line.find(" #").map_or("", |at| line[at..].trim_end());
            edits.push((
                child.lines.clone(),
                format!("{head} {value}{comment}{line_end}"),
            ));
        } else {
            let at = values
                .iter()
                .find(|child| child.key > *key)
                .map_or(values.last()?.lines.end, |child| child.lines.start);
            edits.push((at..at, format!("{pad}{quoted}: {value}{line_end}")));
        }
    }
    for child in envelopes
        .iter()
        .filter(|child| dropped.contains(&child.key))
    {
        edits.push((child.lines.clone(), String::new()));
    }
    let (pad, inner) = (
        " ".repeat(envelope_indent),
        " ".repeat(envelope_indent + step),
    );
    let mut block = format!(
        "{pad}\"{}\":{line_end}{inner}recipients:{line_end}",
        sealed.id
    );
    for recipient in &sealed.envelope.recipients {
        block += &format!("{inner}- \"{recipient}\"{line_end}");
    }
    block += &format!("{inner}sealedKey: {}{line_end}", sealed.envelope.sealed_key);
    let end = envelopes.last()?.lines.end;
    edits.push((end..end, block));

    if let Some(last) = lines.last_mut().filter(|last| !last.ends_with('\n')) {
        last.push_str(line_end);
    }
    edits.sort_by_key(|(range, _)| (range.start, range.end));
    for (range, replacement) in edits.into_iter().rev() {
        lines.splice(range, [replacement]);
    }
    Some(lines.concat())
}

/// Spaces before the content of a line; nothing for empty lines and comments.
fn indent(line: &str) -> Option<usize> {
    let content = line.trim_start_matches(' ');
    (!content.trim().is_empty() && !content.starts_with('#')).then(|| line.len() - content.len())
}

/// The children of a block mapping at this indent. A child ends before the comments and empty
/// lines that precede the next one.
fn children(lines: &[String], range: Range<usize>, at: usize) -> Option<Vec<Child>> {
    let mut children: Vec<Child> = Vec::new();
    for number in range {
        let line = &lines[number];
        let Some(depth) = indent(line) else { continue };
        // A list may stand at the indent of its key.
        if depth == at && !line[at..].starts_with("- ") {
            let end = key_end(line)?;
            let raw = line[at..end].trim().strip_suffix(':')?;
            let key = match raw.as_bytes().first()? {
                b'"' => serde_json::from_str(raw).ok()?,
                b'\'' => raw.strip_prefix('\'')?.strip_suffix('\'')?.to_owned(),
                _ => raw.to_owned(),
            };
            children.push(Child {
                lines: number..number + 1,
                key,
            });
        } else if depth < at {
            return None;
        } else {
            children.last_mut()?.lines.end = number + 1;
        }
    }
    Some(children)
}

/// Where the key of a mapping line ends, its colon included.
fn key_end(line: &str) -> Option<usize> {
    let content = line.trim_end();
    content
        .find(": ")
        .map(|at| at + 1)
        .or_else(|| content.ends_with(':').then_some(content.len()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use zeroize::Zeroizing;

    use super::*;
    use crate::keys::{Identity, KeyRing, KeyType, RecipientSet};
    use crate::sealed::{Context, Scope, SealedObject, Search, open, seal};

    fn sealed(identity: &Identity, values: &[(&str, &str)]) -> Sealed {
        let values: BTreeMap<_, _> = values
            .iter()
            .map(|(key, value)| ((*key).to_owned(), Zeroizing::new(value.as_bytes().to_vec())))
            .collect();
        let recipients = RecipientSet::new([identity.recipient().clone()]).unwrap();
        seal(
            &values,
            &Context::new(Scope::Strict, "shop", "db").unwrap(),
            &recipients,
            false,
        )
        .unwrap()
    }

    fn file(first: &Sealed) -> String {
        format!(
            "# owned by team shop\napiVersion: sealkit.dev/v1beta1\nkind: SealedSecret\n\
             metadata:\n  name: db # keep\n  namespace: shop\nspec:\n  encryptedData:\n    \
             # the user\n    B: {}   # rotated in May\n    \"D\": {}\n\n  envelopes:\n    \
             \"{}\":\n      recipients: [\"{}\"]\n      sealedKey: {}\n  template:\n    \
             metadata:\n      labels: {{team: shop}}\n",
            first.values["B"],
            first.values["D"],
            first.id,
            first.envelope.recipients[0],
            first.envelope.sealed_key,
        )
    }

    fn opened(text: &str, identity: &Identity) -> Vec<(String, String)> {
        let object = &read_documents(text.as_bytes()).unwrap()[0].object;
        let ring = KeyRing::new([identity.clone()]).unwrap();
        let opened = open(&SealedObject::parse(object).unwrap(), &ring, Search::Hinted).unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        opened
            .values
            .iter()
            .map(|(key, value)| (key.clone(), text(&value.bytes)))
            .collect()
    }

    #[test]
    fn only_the_lines_of_the_change_differ() {
        let identity = Identity::generate(KeyType::Classic);
        let first = sealed(&identity, &[("B", "one"), ("D", "two")]);
        let before = file(&first);
        let second = sealed(&identity, &[("B", "three"), ("C", "four"), ("A", "zero")]);
        for before in [
            before.clone(),
            before.replace('\n', "\r\n"),
            before.trim_end().to_owned(),
        ] {
            let after = merge_sealed(&before, "shop", "db", "strict", &second).unwrap();
            let lost: Vec<_> = before
                .lines()
                .filter(|line| !after.lines().any(|other| other == *line))
                .collect();
            assert_eq!(lost.len(), 1, "{lost:?}");
            assert!(after.contains("# rotated in May") && after.contains("# the user"));
            let pairs = [("A", "zero"), ("B", "three"), ("C", "four"), ("D", "two")];
            assert_eq!(
                opened(&after, &identity),
                pairs.map(|(k, v)| (k.into(), v.into()))
            );
        }
        let all = sealed(&identity, &[("B", "x"), ("D", "y")]);
        let after = merge_sealed(&before, "shop", "db", "strict", &all).unwrap();
        assert!(
            !after.contains(first.id.as_str()),
            "an envelope without values is dropped"
        );
    }

    #[test]
    fn what_cannot_be_edited_is_refused() {
        let identity = Identity::generate(KeyType::Classic);
        let text = file(&sealed(&identity, &[("B", "one"), ("D", "two")]));
        let new = sealed(&identity, &[("B", "three")]);
        let merge =
            |text: &str, name: &str, scope: &str| merge_sealed(text, "shop", name, scope, &new);
        assert!(matches!(
            merge(&text, "other", "strict"),
            Err(MergeError::NotFound(_))
        ));
        let twice = format!("{text}---\n{text}");
        assert!(matches!(
            merge(&twice, "db", "strict"),
            Err(MergeError::Ambiguous(_))
        ));
        assert!(matches!(
            merge(&text, "db", "cluster-wide"),
            Err(MergeError::OtherScope { .. })
        ));
        let flow = text.replace("  encryptedData:\n", "  encryptedData: &a\n");
        assert!(
            merge(&flow, "db", "strict").is_ok(),
            "an anchor on the section is kept"
        );
        let flow = "apiVersion: sealkit.dev/v1beta1\nkind: SealedSecret\nmetadata: {name: db, namespace: shop}\n\
            spec: {encryptedData: {}, envelopes: {}}\n";
        assert_eq!(merge(flow, "db", "strict"), Err(MergeError::Layout));
    }

    #[test]
    fn the_right_document_of_a_stream_changes() {
        let identity = Identity::generate(KeyType::Classic);
        let text = file(&sealed(&identity, &[("B", "one"), ("D", "two")]));
        let stream = format!("---\n# nothing\n---\nkind: ConfigMap\napiVersion: v1\n---\n{text}");
        let new = sealed(&identity, &[("B", "three")]);
        let after = merge_sealed(&stream, "shop", "db", "strict", &new).unwrap();
        assert!(
            after.starts_with("---\n# nothing\n---\nkind: ConfigMap\napiVersion: v1\n---\n# owned")
        );
        assert!(after.contains(&new.values["B"]));
    }

    #[test]
    fn ranges_hold_the_documents_of_a_stream() {
        let stream =
            "---\n# none\n---\na: 1 # x\r\n---\n\n--- # c\nb: 2\n...\n---\nc: |\n  ---\n  é";
        let texts: Vec<_> = document_ranges(stream)
            .into_iter()
            .map(|range| &stream[range])
            .collect();
        assert_eq!(texts, ["a: 1 # x\r\n", "b: 2\n...\n", "c: |\n  ---\n  é"]);
        assert_eq!(read_documents(stream.as_bytes()).unwrap().len(), 3);
        assert_eq!(document_ranges("a: 1").first(), Some(&(0..4)));
        assert!(document_ranges("").is_empty());
    }
}
