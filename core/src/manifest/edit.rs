//! Edits SealedSecrets in a file under Git, so that only the lines of the changed keys and
//! envelopes differ afterwards. The text is spliced by lines, then read again and compared with the
//! expected objects. If a layout cannot be edited this way, the edit is refused and nothing is
//! lost.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use serde_json::{Map, Value, json};

use super::document::{Document, read_documents};
use super::fields::with_fields;
use super::list;
use crate::sealed::{Sealed, SealedEnvelope, envelope_id};

/// A change of one SealedSecret. Envelopes that no value refers to afterwards are dropped.
#[derive(Clone, Debug, Default)]
pub struct SealedEdit {
    /// New texts of `encryptedData` by key, which replace old ones or are added; `None` removes a
    /// key.
    pub values: BTreeMap<String, Option<String>>,
    /// Envelopes by id, which replace old ones or are added.
    pub envelopes: BTreeMap<String, SealedEnvelope>,
    /// Ids of envelopes that are kept although no value refers to them.
    pub kept: BTreeSet<String>,
    /// `spec.template` as it will be; an empty map removes it.
    pub template: Option<Value>,
    /// Fields of `metadata` as they will be, such as its labels.
    pub metadata: BTreeMap<String, Value>,
}

impl SealedEdit {
    /// Adds the result of a sealing operation.
    pub fn put(&mut self, sealed: &Sealed) {
        let values = sealed.values.iter();
        self.values
            .extend(values.map(|(key, text)| (key.clone(), Some(text.clone()))));
        self.envelopes
            .insert(sealed.id.to_string(), sealed.envelope.clone());
    }

    fn has_fields(&self) -> bool {
        self.template.is_some() || !self.metadata.is_empty()
    }

    /// Puts the fields outside of `encryptedData` and `envelopes` into an object.
    fn put_fields(&self, object: &mut Value) -> Option<()> {
        if let Some(template) = &self.template {
            let spec = object.get_mut("spec")?.as_object_mut()?;
            if template.as_object().is_some_and(Map::is_empty) {
                spec.remove("template");
            } else {
                spec.insert("template".to_owned(), template.clone());
            }
        }
        if !self.metadata.is_empty() {
            let metadata = object.get_mut("metadata")?.as_object_mut()?;
            metadata.extend(self.metadata.clone());
        }
        Some(())
    }

    /// The object as it will be. Error: `spec`, `encryptedData` or `envelopes` is no map.
    pub fn applied(&self, object: &Value) -> Result<Value, LayoutError> {
        let mut object = object.clone();
        apply(&mut object, self)?;
        Ok(object)
    }
}

/// Flow style, anchors or tags instead of lines, or another layout that cannot be edited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the SealedSecret in the file is laid out in a way that can't be edited in place")]
pub struct LayoutError;

/// An edited text.
pub struct Edited {
    /// The whole text.
    pub text: String,
    /// The edited objects as they are in the text, by index of the document.
    pub objects: BTreeMap<usize, Value>,
}

/// Edits SealedSecrets of `text`, which was read as `documents`; `edits` are by index in these.
/// Every byte that no edit concerns is kept. A JSON text is written anew.
pub fn edit_sealed(
    text: &str,
    documents: &[Document],
    edits: &BTreeMap<usize, SealedEdit>,
) -> Result<Edited, LayoutError> {
    let mut objects = BTreeMap::new();
    let mut dropped = BTreeMap::new();
    for (index, edit) in edits {
        let mut object = documents.get(*index).ok_or(LayoutError)?.object.clone();
        dropped.insert(*index, apply(&mut object, edit)?);
        objects.insert(*index, object);
    }
    let edited = if text.trim_start().starts_with('{') {
        list::json_with(text, documents, &objects)?
    } else {
        let body = text.strip_prefix('\u{feff}').unwrap_or(text);
        let lines: Vec<&str> = body.split_inclusive('\n').collect();
        let ranges = documents_by_line(&lines);
        let mut splices = Vec::new();
        for (index, edit) in edits {
            let document = &documents[*index];
            let range = ranges.get(document.number - 1).cloned();
            let range = range.ok_or(LayoutError)?;
            if let Some(item) = document.item {
                let splice = list::edited_item(&lines, range, item, edit);
                splices.push(splice.ok_or(LayoutError)?);
                continue;
            }
            let (object, dropped) = (&objects[index], &dropped[index]);
            if edit.has_fields() {
                let text = document_with(
                    &lines[range.clone()],
                    &document.object,
                    object,
                    edit,
                    dropped,
                );
                splices.push((range, text.ok_or(LayoutError)?));
                continue;
            }
            let layout = Layout::of(&lines, range).ok_or(LayoutError)?;
            splices.extend(layout.splices(object, edit, dropped).ok_or(LayoutError)?);
        }
        splice(&text[..text.len() - body.len()], &lines, splices)
    };
    if says(&edited, text, documents, &objects) {
        let text = edited;
        Ok(Edited { text, objects })
    } else {
        Err(LayoutError)
    }
}

/// The text of one document whose fields change, too.
fn document_with(
    lines: &[&str],
    old: &Value,
    new: &Value,
    edit: &SealedEdit,
    dropped: &BTreeSet<String>,
) -> Option<String> {
    let mut fields = old.clone();
    edit.put_fields(&mut fields)?;
    let text = with_fields(&lines.concat(), old, &fields)?;
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let layout = Layout::of(&lines, 0..lines.len())?;
    Some(splice("", &lines, layout.splices(new, edit, dropped)?))
}

/// Does the edited text contain what it must? If the documents of both texts can be told apart,
/// only those whose bytes differ are read again.
fn says(
    edited: &str,
    text: &str,
    documents: &[Document],
    objects: &BTreeMap<usize, Value>,
) -> bool {
    let must = |index: usize| objects.get(&index).unwrap_or(&documents[index].object);
    let count = documents.last().map_or(0, |document| document.number);
    let (before, after) = (document_ranges(text), document_ranges(edited));
    let apart = before.len() == count && after.len() == count && documents.len() == count;
    if apart {
        let ranges = before.into_iter().zip(after);
        return ranges.enumerate().all(|(index, (before, after))| {
            if !objects.contains_key(&index) {
                return text[before] == edited[after];
            }
            read_documents(edited[after].as_bytes())
                .is_ok_and(|read| read.len() == 1 && read[0].object == *must(index))
        });
    }
    read_documents(edited.as_bytes()).is_ok_and(|read| {
        let mut all = read.iter().enumerate();
        read.len() == documents.len() && all.all(|(index, is)| is.object == *must(index))
    })
}

/// The byte ranges of the documents of a YAML stream. Empty documents are left out, so that the
/// n-th range is that of document number n + 1. A document that begins on the line of its separator
/// is not found: compare the count before you rely on it.
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

/// Applies the change to the parsed object, with which the text is compared later. Returns the ids
/// of the envelopes that nothing refers to any more.
fn apply(object: &mut Value, edit: &SealedEdit) -> Result<BTreeSet<String>, LayoutError> {
    edit.put_fields(object).ok_or(LayoutError)?;
    let spec = object
        .get_mut("spec")
        .and_then(Value::as_object_mut)
        .ok_or(LayoutError)?;
    let mut section = |field: &str| -> Result<Option<Map<String, Value>>, LayoutError> {
        match spec.remove(field) {
            None => Ok(None),
            Some(Value::Object(map)) => Ok(Some(map)),
            Some(_) => Err(LayoutError),
        }
    };
    // An object without values has neither section.
    let sections = [section("encryptedData")?, section("envelopes")?];
    let had = sections.each_ref().map(Option::is_some);
    let [mut values, mut envelopes] = sections.map(Option::unwrap_or_default);
    for (key, value) in &edit.values {
        match value {
            Some(text) => values.insert(key.clone(), text.clone().into()),
            None => values.remove(key),
        };
    }
    for (id, envelope) in &edit.envelopes {
        envelopes.insert(id.clone(), json!(envelope));
    }
    let used: BTreeSet<&str> = values
        .values()
        // Ignores the text before the id: a damaged value may be repaired, but not without its
        // envelope.
        .filter_map(|value| envelope_id(value.as_str()?))
        .collect();
    let dropped: BTreeSet<String> = envelopes
        .keys()
        .filter(|id| !used.contains(id.as_str()) && !edit.kept.contains(*id))
        .cloned()
        .collect();
    envelopes.retain(|id, _| !dropped.contains(id));
    let sections = [("encryptedData", values), ("envelopes", envelopes)];
    for ((field, map), had) in sections.into_iter().zip(had) {
        if had || !map.is_empty() {
            spec.insert(field.to_owned(), map.into());
        }
    }
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
pub(super) struct Child {
    pub lines: Range<usize>,
    pub key: String,
}

/// A map of `spec`: the line of its key, the indent of its children, and its children.
struct Section {
    /// That of `spec` if the map is not there.
    header: usize,
    is_there: bool,
    indent: usize,
    children: Vec<Child>,
}

impl Section {
    fn child(&self, key: &str) -> Option<&Child> {
        self.children.iter().find(|child| child.key == key)
    }

    /// The line before which a new child goes. Children are in order, so that two edits that meet
    /// in a merge produce the same text.
    fn place_of(&self, key: &str) -> usize {
        let next = self.children.iter().find(|child| child.key.as_str() > key);
        let last = self.children.last();
        let end = last.map_or(self.header + 1, |child| child.lines.end);
        next.map_or(end, |child| child.lines.start)
    }
}

/// The parts of one SealedSecret by line.
struct Layout<'a> {
    lines: &'a [&'a str],
    line_end: &'static str,
    /// Spaces by which a child is indented further.
    step: usize,
    values: Section,
    envelopes: Section,
}

/// Lines, and the text that replaces them.
pub(super) type Splice = (Range<usize>, String);

impl<'a> Layout<'a> {
    /// `None` if `spec` or a section is not a block mapping.
    fn of(lines: &'a [&'a str], range: Range<usize>) -> Option<Self> {
        let crlf = lines[range.clone()]
            .iter()
            .any(|line| line.ends_with("\r\n"));
        let spec = children(lines, range, 0)?
            .into_iter()
            .find(|child| child.key == "spec")?;
        let body = spec.lines.start + 1..spec.lines.end;
        let step = lines[body.clone()]
            .iter()
            .find_map(|line| indent(line))
            .filter(|step| *step > 0)?;
        let sections = children(lines, body, step)?;
        let section = |name: &str| {
            let Some(child) = sections.iter().find(|child| child.key == name) else {
                return Some(Section {
                    header: spec.lines.start,
                    is_there: false,
                    indent: 2 * step,
                    children: Vec::new(),
                });
            };
            let body = child.lines.start + 1..child.lines.end;
            let inner = lines[body.clone()].iter().find_map(|line| indent(line));
            let indent = inner.unwrap_or(2 * step);
            let children = (indent > step).then(|| children(lines, body, indent))??;
            Some(Section {
                header: child.lines.start,
                is_there: true,
                indent,
                children,
            })
        };
        Some(Self {
            lines,
            line_end: if crlf { "\r\n" } else { "\n" },
            step,
            values: section("encryptedData")?,
            envelopes: section("envelopes")?,
        })
    }

    fn splices(
        &self,
        object: &Value,
        edit: &SealedEdit,
        dropped: &BTreeSet<String>,
    ) -> Option<Vec<Splice>> {
        let mut splices = Vec::new();
        splices.extend(self.missing(object, &self.values, "encryptedData"));
        for (key, value) in &edit.values {
            match (self.values.child(key), value) {
                (Some(child), Some(value)) => {
                    splices.push((
                        child.lines.clone(),
                        scalar(self.lines[child.lines.start], value, self.line_end)?,
                    ));
                }
                (Some(child), None) => splices.push((child.lines.clone(), String::new())),
                (None, Some(value)) => {
                    let at = self.values.place_of(key);
                    let (pad, key) = (" ".repeat(self.values.indent), spelled(key));
                    let line = format!("{pad}{key}: {value}{}", self.line_end);
                    splices.push((at..at, line));
                }
                (None, None) => {}
            }
        }
        splices.extend(self.missing(object, &self.envelopes, "envelopes"));
        for child in &self.envelopes.children {
            if dropped.contains(&child.key) {
                splices.push((child.lines.clone(), String::new()));
            } else if let Some(envelope) = edit.envelopes.get(&child.key) {
                splices.extend(replaced(self.lines, child, envelope, self.line_end)?);
            }
        }
        for (id, envelope) in &edit.envelopes {
            if self.envelopes.child(id).is_none() && !dropped.contains(id) {
                let at = self.envelopes.place_of(id);
                splices.push((at..at, self.envelope(id, envelope)));
            }
        }
        for (section, name) in [
            (&self.values, "encryptedData"),
            (&self.envelopes, "envelopes"),
        ] {
            let left = has_children(object, name);
            if section.is_there && left == section.children.is_empty() {
                splices.push(self.header(section, left)?);
            }
        }
        Some(splices)
    }

    /// The header of a section that is not there and gets its first child.
    fn missing(&self, object: &Value, section: &Section, name: &str) -> Option<Splice> {
        let at = section.header + 1;
        let line = format!("{}{name}:{}", " ".repeat(self.step), self.line_end);
        (!section.is_there && has_children(object, name)).then_some((at..at, line))
    }

    /// The header of a section that loses its last child or gets its first one.
    fn header(&self, section: &Section, has_children: bool) -> Option<Splice> {
        let line = self.lines[section.header];
        let head = &line[..key_end(line)?];
        let empty = if has_children { "" } else { " {}" };
        let comment = comment_of(line);
        let text = format!("{head}{empty}{comment}{}", self.line_end);
        Some((section.header..section.header + 1, text))
    }

    /// A new envelope.
    fn envelope(&self, id: &str, envelope: &SealedEnvelope) -> String {
        let end = self.line_end;
        let pad = " ".repeat(self.envelopes.indent);
        let inner = " ".repeat(self.envelopes.indent + self.step);
        let mut block = format!("{pad}\"{id}\":{end}{inner}recipients:{end}");
        for recipient in &envelope.recipients {
            block += &format!("{inner}- \"{recipient}\"{end}");
        }
        block + &format!("{inner}ageFile: {}{end}", envelope.age_file)
    }
}

/// A line with another plain value; its key and comment are kept.
fn scalar(line: &str, value: &str, line_end: &str) -> Option<String> {
    let head = &line[..key_end(line)?];
    let comment = comment_of(line);
    Some(format!("{head} {value}{comment}{line_end}"))
}

/// The two fields of an existing envelope.
pub(super) fn replaced(
    lines: &[&str],
    child: &Child,
    envelope: &SealedEnvelope,
    line_end: &str,
) -> Option<[Splice; 2]> {
    let body = child.lines.start + 1..child.lines.end;
    let inner = lines[body.clone()].iter().find_map(|line| indent(line))?;
    let fields = children(lines, body, inner)?;
    let field = |name: &str| fields.iter().find(|field| field.key == name);
    let (recipients, age_file) = (field("recipients")?, field("ageFile")?);
    let line = lines[recipients.lines.start];
    let quoted = envelope.recipients.iter().map(|hint| format!("\"{hint}\""));
    let list = if line[key_end(line)?..].trim_start().starts_with('[') {
        let list = format!("[{}]", quoted.collect::<Vec<_>>().join(", "));
        scalar(line, &list, line_end)?
    } else {
        let items = &lines[recipients.lines.start + 1..recipients.lines.end];
        let pad = " ".repeat(items.iter().find_map(|line| indent(line)).unwrap_or(inner));
        // A recipient that stays keeps its line, and the comment on it.
        let items = envelope.recipients.iter().map(|hint| {
            let mut old = items.iter().filter(|line| line.ends_with('\n'));
            let old = old.find(|line| line.contains(hint.as_str()));
            old.map_or_else(
                || format!("{pad}- \"{hint}\"{line_end}"),
                |line| (*line).to_owned(),
            )
        });
        line.to_owned() + &items.collect::<String>()
    };
    let key = scalar(lines[age_file.lines.start], &envelope.age_file, line_end)?;
    Some([
        (recipients.lines.clone(), list),
        (age_file.lines.clone(), key),
    ])
}

/// Does this map of `spec` have an entry?
fn has_children(object: &Value, section: &str) -> bool {
    let map = object.pointer(&format!("/spec/{section}"));
    map.and_then(Value::as_object)
        .is_some_and(|map| !map.is_empty())
}

/// A key as this program writes it in new files: quoted if a reader could misread it.
fn spelled(key: &str) -> String {
    let written = super::to_yaml(&[serde_json::json!({key: 0})]).unwrap_or_default();
    let plain = written.strip_suffix(": 0\n");
    plain.map_or_else(|| Value::from(key).to_string(), str::to_owned)
}

/// The comment at the end of a line, with the space before it.
pub(super) fn comment_of(line: &str) -> &str {
    line.find(" #").map_or("", |at| line[at..].trim_end())
}

/// The lines with all splices applied, after `start`. If the text did not end with a line feed, it
/// still does not.
pub(super) fn splice(start: &str, lines: &[&str], mut splices: Vec<Splice>) -> String {
    splices.sort_by_key(|(range, _)| (range.start, range.end));
    let old: usize = lines.iter().map(|line| line.len()).sum();
    let new: usize = splices.iter().map(|(_, new)| new.len()).sum();
    let mut text = String::with_capacity(start.len() + old + new);
    text.push_str(start);
    let mut next = 0;
    let push = |text: &mut String, part: &str| {
        // The last line may have no line feed.
        if text.len() > start.len() && !text.ends_with('\n') && !part.is_empty() {
            text.push_str(if text.contains("\r\n") { "\r\n" } else { "\n" });
        }
        text.push_str(part);
    };
    for (range, replacement) in &splices {
        for line in &lines[next..range.start] {
            push(&mut text, line);
        }
        push(&mut text, replacement);
        next = range.end;
    }
    for line in &lines[next..] {
        push(&mut text, line);
    }
    if lines.last().is_some_and(|last| !last.ends_with('\n')) {
        let end = text.trim_end_matches(['\r', '\n']).len();
        text.truncate(end);
    }
    text
}

/// Spaces before the content of a line; `None` for empty lines and comments.
pub(super) fn indent(line: &str) -> Option<usize> {
    let content = line.trim_start_matches(' ');
    (!content.trim().is_empty() && !content.starts_with('#')).then(|| line.len() - content.len())
}

/// The children of a block mapping at this indent. A child ends before the comments and empty
/// lines that precede the next one. What stands in a block scalar is no comment.
pub(super) fn children(lines: &[&str], range: Range<usize>, at: usize) -> Option<Vec<Child>> {
    let mut children: Vec<Child> = Vec::new();
    let mut block = None;
    for number in range {
        let line = lines[number];
        let content = line.trim_start_matches(' ');
        if let Some(depth) = block
            && (line.trim().is_empty() || line.len() - content.len() > depth)
        {
            if !line.trim().is_empty() {
                children.last_mut()?.lines.end = number + 1;
            }
            continue;
        }
        block = opens_block(line);
        let Some(depth) = indent(line) else { continue };
        // A list may have the indent of its key.
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

/// How far what stands above a block scalar is indented, if the line begins one.
fn opens_block(line: &str) -> Option<usize> {
    let mut content = line.trim_start_matches(' ');
    if content.starts_with('#') {
        return None;
    }
    while let Some(item) = content.strip_prefix("- ") {
        content = item.trim_start_matches(' ');
    }
    let depth = line.len() - content.len();
    let content = content.split(" #").next().unwrap_or_default();
    let (_, mark) = content.trim_end().rsplit_once(' ')?;
    let marks = mark.strip_prefix(['|', '>'])?;
    let is_mark = |letter: char| matches!(letter, '+' | '-' | '1'..='9');
    marks.chars().all(is_mark).then_some(depth)
}

/// Where the key of a mapping line ends, its colon included.
pub(super) fn key_end(line: &str) -> Option<usize> {
    let content = line.trim_end();
    content
        .find(": ")
        .map(|at| at + 1)
        .or_else(|| content.ends_with(':').then_some(content.len()))
}

#[cfg(test)]
mod tests {
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
             \"{}\":\n      recipients: [\"{}\"]\n      ageFile: {}\n  template:\n    \
             metadata:\n      labels: {{team: shop}}\n",
            first.values["B"],
            first.values["D"],
            first.id,
            first.envelope.recipients[0],
            first.envelope.age_file,
        )
    }

    fn edited(text: &str, edit: SealedEdit) -> Result<String, LayoutError> {
        let documents = read_documents(text.as_bytes()).unwrap();
        let index = documents
            .iter()
            .position(Document::is_sealed_secret)
            .unwrap();
        edit_sealed(text, &documents, &BTreeMap::from([(index, edit)])).map(|edited| edited.text)
    }

    fn put(text: &str, sealed: &Sealed) -> Result<String, LayoutError> {
        let mut edit = SealedEdit::default();
        edit.put(sealed);
        edited(text, edit)
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
            let after = put(&before, &second).unwrap();
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
        let after = put(&before, &all).unwrap();
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
        let flow = text.replace("  encryptedData:\n", "  encryptedData: &a\n");
        assert!(put(&flow, &new).is_ok(), "an anchor on the section is kept");
        let flow = "apiVersion: sealkit.dev/v1beta1\nkind: SealedSecret\nmetadata: {name: db, namespace: shop}\n\
            spec: {encryptedData: {}, envelopes: {}}\n";
        assert_eq!(put(flow, &new), Err(LayoutError));
        let item = text.trim_end().replace('\n', "\n  ");
        let list = |dash: &str| format!("kind: List\napiVersion: v1\nitems:\n{dash}{item}\n");
        let after = put(&list("- "), &new).unwrap();
        assert!(after.starts_with("kind: List\napiVersion: v1\nitems:\n- "));
        assert_eq!(put(&list("-\n  "), &new), Err(LayoutError));
        let nothing = BTreeMap::from([(7, SealedEdit::default())]);
        let documents = read_documents(text.as_bytes()).unwrap();
        assert!(edit_sealed(&text, &documents, &nothing).is_err());
    }

    #[test]
    fn keys_go_until_none_is_left_and_come_back() {
        let identity = Identity::generate(KeyType::Classic);
        let before = file(&sealed(&identity, &[("B", "one"), ("D", "two")]));
        let without = |text: &str, keys: &[&str]| {
            let values = keys.iter().map(|key| ((*key).to_owned(), None)).collect();
            let edit = SealedEdit {
                values,
                ..SealedEdit::default()
            };
            edited(text, edit).unwrap()
        };
        let one = without(&before, &["B", "absent"]);
        assert_eq!(one.lines().count(), before.lines().count() - 1);
        assert_eq!(opened(&one, &identity), [("D".into(), "two".into())]);
        let none = without(&one, &["D"]);
        assert!(none.contains("  encryptedData: {}\n") && none.contains("  envelopes: {}\n"));
        assert!(none.contains("# the user") && none.contains("labels: {team: shop}"));
        let again = put(&none, &sealed(&identity, &[("E", "five")])).unwrap();
        assert_eq!(opened(&again, &identity), [("E".into(), "five".into())]);
        assert!(again.contains("  encryptedData:\n    E: sk1."), "{again}");
    }

    #[test]
    fn an_envelope_is_replaced_where_it_stands() {
        let identity = Identity::generate(KeyType::Classic);
        let other = Identity::generate(KeyType::Classic);
        let first = sealed(&identity, &[("B", "one"), ("D", "two")]);
        let flow = file(&first);
        let hint = &first.envelope.recipients[0];
        let block = flow.replace(
            &format!("recipients: [\"{hint}\"]\n"),
            &format!("recipients: # who\n        - '{hint}'\n"),
        );
        let recipients = [identity.recipient().clone(), other.recipient().clone()];
        let recipients = RecipientSet::new(recipients).unwrap();
        for before in [
            &flow,
            &block,
            &block.replace('\n', "\r\n"),
            &format!("\u{feff}{flow}"),
        ] {
            let object = &read_documents(before.as_bytes()).unwrap()[0].object;
            let object = SealedObject::parse(object).unwrap();
            let ring = KeyRing::new([identity.clone()]).unwrap();
            let unwrapped = crate::sealed::unwrap(&object, &ring, Search::Hinted).unwrap();
            let envelopes = unwrapped.into_iter().map(|(id, envelope)| {
                assert!(!envelope.is_current(&recipients));
                (id.to_string(), envelope.seal_to(&recipients).unwrap())
            });
            let edit = SealedEdit {
                envelopes: envelopes.collect(),
                ..SealedEdit::default()
            };
            let after = edited(before, edit).unwrap();
            for holder in [&identity, &other] {
                let pairs = [("B", "one"), ("D", "two")];
                assert_eq!(
                    opened(&after, holder),
                    pairs.map(|(k, v)| (k.into(), v.into()))
                );
            }
            let lost = before.lines().filter(|line| !after.contains(line));
            let lost: Vec<_> = lost.collect();
            assert!(
                lost.iter().all(|line| line.contains("recipients")
                    || line.contains("ageFile")
                    || line.contains("- '")),
                "{lost:?}"
            );
        }
    }

    #[test]
    fn the_right_document_of_a_stream_changes() {
        let identity = Identity::generate(KeyType::Classic);
        let text = file(&sealed(&identity, &[("B", "one"), ("D", "two")]));
        let stream = format!("---\n# nothing\n---\nkind: ConfigMap\napiVersion: v1\n---\n{text}");
        let new = sealed(&identity, &[("B", "three")]);
        let after = put(&stream, &new).unwrap();
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
