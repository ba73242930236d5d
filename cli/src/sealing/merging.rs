//! Sealed objects merged into an existing file: their values replace those of the same keys,
//! everything else stays.

use std::collections::{BTreeMap, HashMap};

use sealkit_core::manifest::{
    Document, Edited, ReadError, SealedEdit, add_to_json, edit_sealed, read_documents,
};
use sealkit_core::sealed::SealedView;
use serde_json::Value;

use super::merged_template::{check_template, take_template};
use super::piece::{Piece, unwritable};
use super::target::{ScopeLimit, scope_of, tell_target};
use super::{SealedItem, check_limits};
use crate::error::{CommandError, Result};
use crate::terminal::Terminal;

/// What of the input an object that exists takes over, beside values.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Takes {
    /// That it has no other keys.
    pub missing: bool,
    /// Type, immutable, labels, annotations, and what `--template` says.
    pub template: bool,
}

/// What the file is to say, and how its other envelopes' recipients differ from the new ones.
pub(crate) fn merge(
    old: &str,
    pieces: &[Piece],
    limit: ScopeLimit,
    takes: Takes,
    terminal: Terminal,
) -> Result<(String, Vec<String>)> {
    let documents = read_documents(old.as_bytes()).map_err(|error| match error {
        ReadError::Empty => not_ours(),
        error => CommandError::input(format_args!("the file to update is damaged: {error}"))
            .hint("nothing was changed; repair it or choose another path"),
    })?;
    let mut file = Held::new(old, documents);
    for piece in pieces {
        if let Piece::Sealed(item) = piece
            && let Some(index) = file.find(item)?
        {
            let keys = item.sealed.values.keys().map(String::as_str);
            check_readable(&file.documents[index], keys, item.render)?;
            file.settle_missing(index, item, takes.missing, terminal);
            if takes.template {
                let document = &file.documents[index];
                let edit = file.edits.entry(index).or_default();
                take_template(edit, document, item, takes.missing);
            }
        }
    }
    put_into(file, pieces, limit, terminal)
}

/// The same for a file that was read.
pub(crate) fn merge_into(
    old: &str,
    documents: Vec<Document>,
    pieces: &[Piece],
    limit: ScopeLimit,
    terminal: Terminal,
) -> Result<(String, Vec<String>)> {
    put_into(Held::new(old, documents), pieces, limit, terminal)
}

fn put_into(
    mut file: Held<'_>,
    pieces: &[Piece],
    limit: ScopeLimit,
    terminal: Terminal,
) -> Result<(String, Vec<String>)> {
    let mut differences = Vec::new();
    let mut new = Vec::new();
    let mut places = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Sealed(item) => {
                if let Some(index) = file.find(item)? {
                    let document = &file.documents[index];
                    differences.extend(difference(document, item));
                    let edit = file.edits.get(&index);
                    if edit.is_none_or(|edit| edit.template.is_none()) {
                        check_template(document, item, terminal)?;
                    }
                    file.put(index, item, limit)?;
                    places.push((index, item.as_ref()));
                } else {
                    places.push((file.documents.len() + new.len(), item.as_ref()));
                    new.push(item.as_ref());
                }
            }
            Piece::Other(passed)
                if file.documents.iter().any(|old| old.object == passed.object) => {}
            Piece::Other(_) => {
                let what = "the file holds other documents than the input";
                return Err(unchanged(CommandError::input(what)));
            }
        }
    }
    let ours = file.documents.iter().all(Document::is_sealed_secret);
    if new.len() == places.len() || (!new.is_empty() && !ours) {
        return Err(not_ours());
    }
    let Edited { mut text, objects } = edit_sealed(file.text, &file.documents, &file.edits)
        .map_err(|error| unchanged(CommandError::input(error)))?;
    for (index, item) in places {
        let appended = || serde_json::to_value(&item.object).map_err(unwritable);
        let object = objects.get(&index).cloned().map_or_else(appended, Ok)?;
        check_limits(&object, &item.target, terminal)?;
        tell(item, file.documents.get(index), terminal);
    }
    if !new.is_empty() {
        let count = file.documents.len() + new.len();
        text = with_more(text, &new)?;
        if !read_documents(text.as_bytes()).is_ok_and(|read| read.len() == count) {
            return Err(CommandError::bug(
                "the file would be damaged, nothing was changed",
            ));
        }
    }
    Ok((text, differences))
}

/// The text of a file with objects that it did not hold.
fn with_more(mut text: String, new: &[&SealedItem]) -> Result<String> {
    if text.trim_start().starts_with('{') {
        let objects = new.iter().map(|item| serde_json::to_value(&item.object));
        let objects = objects.collect::<serde_json::Result<_>>();
        return add_to_json(&text, objects.map_err(unwritable)?)
            .map_err(|error| unchanged(CommandError::input(error)));
    }
    if !text.ends_with('\n') {
        text.push('\n');
    }
    for item in new {
        text.push_str("---\n");
        text.push_str(&item.yaml()?);
    }
    Ok(text)
}

/// A file without these keys of one of its objects.
pub(crate) fn without(
    text: &str,
    documents: &[Document],
    index: usize,
    keys: &[String],
) -> Result<String> {
    let values = SealedView::of(&documents[index].object).encrypted_data();
    let values = values.and_then(Value::as_object);
    let mut edit = SealedEdit::default();
    for key in keys {
        if !values.is_some_and(|values| values.contains_key(key)) {
            let there = values.into_iter().flat_map(serde_json::Map::keys);
            let there: Vec<_> = there
                .map(|key| sealkit_core::names::printable(key))
                .collect();
            let key = sealkit_core::names::printable(key);
            return Err(
                CommandError::input(format_args!("no key {key:?} in the SealedSecret")).hint(
                    format_args!("nothing was changed; its keys are {}", there.join(", ")),
                ),
            );
        }
        edit.values.insert(key.clone(), None);
    }
    edit_sealed(text, documents, &BTreeMap::from([(index, edit)]))
        .map(|edited| edited.text)
        .map_err(|error| unchanged(CommandError::input(error)))
}

/// A file as it is, and the objects of it that change.
struct Held<'a> {
    text: &'a str,
    documents: Vec<Document>,
    /// Indices of the SealedSecrets, by namespace and name.
    objects: HashMap<(String, String), Vec<usize>>,
    /// Changes by index of the object.
    edits: BTreeMap<usize, SealedEdit>,
}

impl<'a> Held<'a> {
    fn new(text: &'a str, documents: Vec<Document>) -> Self {
        let mut objects = HashMap::<_, Vec<usize>>::new();
        for (index, document) in documents.iter().enumerate() {
            if document.is_sealed_secret() {
                let [namespace, name] =
                    ["namespace", "name"].map(|field| document.metadata(field).to_owned());
                objects.entry((namespace, name)).or_default().push(index);
            }
        }
        Self {
            text,
            documents,
            objects,
            edits: BTreeMap::new(),
        }
    }

    fn find(&self, item: &SealedItem) -> Result<Option<usize>> {
        let place = &item.target;
        let named = |namespace: &str| {
            self.objects
                .get(&(namespace.to_owned(), place.name.clone()))
        };
        // An object without a namespace has that of whoever applies it.
        match named(&place.namespace)
            .or_else(|| named(""))
            .map(Vec::as_slice)
        {
            None => Ok(None),
            Some([index]) => Ok(Some(*index)),
            Some(_) => Err(unchanged(CommandError::input(format_args!(
                "the file holds the SealedSecret {} more than once",
                place.title()
            )))),
        }
    }

    /// Removes, or names, the keys of an object that the input has no value for.
    fn settle_missing(&mut self, index: usize, item: &SealedItem, prune: bool, terminal: Terminal) {
        let view = SealedView::of(&self.documents[index].object);
        let held = view.encrypted_data().and_then(Value::as_object);
        let keys = held.into_iter().flat_map(serde_json::Map::keys);
        let missing: Vec<String> = keys
            .filter(|key| !item.sealed.values.contains_key(*key))
            .cloned()
            .collect();
        if missing.is_empty() {
            return;
        }
        let shown: Vec<_> = missing
            .iter()
            .map(|key| sealkit_core::names::printable(key))
            .collect();
        let (title, shown) = (item.target.title(), shown.join(", "));
        if prune {
            terminal.note(format_args!("{title}: removed {shown}"));
            let values = &mut self.edits.entry(index).or_default().values;
            values.extend(missing.into_iter().map(|key| (key, None)));
        } else {
            terminal.note(format_args!(
                "{title} keeps {shown}, which the input does not have: --prune removes such keys"
            ));
        }
    }

    fn put(&mut self, index: usize, item: &SealedItem, limit: ScopeLimit) -> Result<()> {
        let scope = scope_of(&self.documents[index])?;
        limit.check(scope, item.target.scope)?;
        self.edits.entry(index).or_default().put(&item.sealed);
        Ok(())
    }
}

/// Says what the values are sealed for, and which of them the object did not have: a key that
/// somebody renamed, or misspelt.
fn tell(item: &SealedItem, document: Option<&Document>, terminal: Terminal) {
    tell_target(&item.target, terminal);
    let Some(document) = document else { return };
    let held: Vec<&str> = SealedView::of(&document.object)
        .values()
        .map(|(key, _)| key)
        .collect();
    let keys = item.sealed.values.keys();
    let new: Vec<String> = keys
        .filter(|key| !held.contains(&key.as_str()))
        .map(|key| sealkit_core::names::printable(key))
        .collect();
    if !new.is_empty() {
        terminal.note(format_args!(
            "{} had no value for {} before",
            item.target.title(),
            new.join(", ")
        ));
    }
}

fn unchanged(error: CommandError) -> CommandError {
    error.hint("nothing was changed; write to a new file")
}

/// Refuses new values that the templates of the object read and could not read any more: the cluster
/// would keep the old Secret and report that the template failed.
pub(crate) fn check_readable<'k>(
    document: &Document,
    keys: impl Iterator<Item = &'k str>,
    render: bool,
) -> Result<()> {
    let templates = SealedView::of(&document.object).template_data();
    let texts = templates.and_then(Value::as_object).into_iter().flatten();
    let texts: Vec<&str> = texts.filter_map(|(_, text)| text.as_str()).collect();
    let read: Vec<String> = keys
        .filter(|key| !render && texts.iter().any(|text| reads(text, key)))
        .map(sealkit_core::names::printable)
        .collect();
    if read.is_empty() {
        return Ok(());
    }
    Err(CommandError::input(format_args!(
        "templates of the object read {}, and could not read the new value: it would be sealed without --render",
        read.join(", ")
    ))
    .hint("pass --render to let them read it: anyone who may change the SealedSecret can then learn it")
    .hint("or take it out of spec.template first"))
}

/// Does an action of a template name this key?
fn reads(template: &str, key: &str) -> bool {
    let actions = template.split("{{").skip(1);
    let actions = actions.filter_map(|rest| rest.split("}}").next());
    let is_name = |it: char| it.is_alphanumeric() || matches!(it, '_' | '-');
    let mut places = actions.flat_map(|action| {
        action
            .match_indices(key)
            .map(move |(at, _)| (&action[..at], &action[at + key.len()..]))
    });
    places.any(|(before, after)| {
        let begins = before.ends_with(['.', '"', '`']);
        // A key may have a dot in it, as `tls.key`.
        begins && !after.starts_with(|it: char| is_name(it) || it == '.')
    })
}

/// How the recipients of the other envelopes differ from the new ones'.
fn difference(document: &Document, item: &SealedItem) -> Option<String> {
    let mut envelopes = SealedView::of(&document.object).envelopes();
    envelopes.find_map(|(id, envelope)| {
        let hints: Vec<&str> = envelope
            .get("recipients")?
            .as_array()?
            .iter()
            .filter_map(Value::as_str)
            .collect();
        let short = |texts: &[&str]| {
            let texts: Vec<_> = texts
                .iter()
                .map(|text| text.chars().take(16).collect::<String>())
                .collect();
            texts.join(", ")
        };
        let now: Vec<&str> = item
            .sealed
            .envelope
            .recipients
            .iter()
            .map(String::as_str)
            .collect();
        (hints != now).then(|| {
            format!(
                "{}: the new values are sealed to {}, but envelope {} of the file to {}",
                item.target.title(),
                short(&now),
                sealkit_core::names::printable(id),
                sealkit_core::names::printable(&short(&hints)),
            )
        })
    })
}

fn not_ours() -> CommandError {
    CommandError::input("the file already exists and holds something else")
        .hint("nothing was changed; write to a new file, or remove this one first")
}
