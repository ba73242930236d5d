//! Merges three versions of a file key by key, without a private key. No code is more dangerous for
//! a user's data, so it is pure.
//!
//! Values and envelopes are merged first, so that the three versions agree on them except for
//! conflicts. The rest is merged by lines, by whatever tool can do that ([`Aligned::texts`]).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::document::{Document, read_documents};
use super::edit::{SealedEdit, edit_sealed};
use crate::names::printable;
use crate::sealed::{SealedEnvelope, SealedView, envelope_id};

/// Three versions of a file that agree on values and envelopes, except for conflicts: only lines
/// are left to merge.
pub struct Aligned {
    texts: [String; 3],
    /// Keys and envelopes that both sides changed, described for people.
    conflicts: Vec<String>,
    /// The values that each object must have in the end.
    values: BTreeMap<(String, String), Value>,
    /// The documents of the three before.
    documents: Vec<Vec<Document>>,
}

impl Aligned {
    /// Aligns base, ours and theirs. `wanted` are the recipients that envelopes should have, as
    /// they list them; they decide if both sides rewrapped one. `None` if a version cannot be read
    /// or edited: then only lines can be merged.
    pub fn new(texts: &[String; 3], wanted: Option<&[String]>) -> Option<Self> {
        let mut documents = Vec::new();
        for text in texts {
            documents.push(read_documents(text.as_bytes()).ok()?);
        }
        let named: Vec<BTreeMap<(String, String), usize>> = documents
            .iter()
            .map(|documents| by_name(documents))
            .collect::<Option<_>>()?;
        let mut edits = [const { BTreeMap::new() }; 3];
        let mut conflicts = Vec::new();
        for (name, ours) in &named[1] {
            // If one side added or removed an object, lines decide.
            let (Some(base), Some(theirs)) = (named[0].get(name), named[2].get(name)) else {
                continue;
            };
            let places = [*base, *ours, *theirs];
            let sides: Vec<Side<'_>> = (0..3)
                .map(|side| Side::of(&documents[side][places[side]]))
                .collect::<Option<_>>()?;
            let merged = Merged::new(&sides.try_into().ok()?, wanted)?;
            conflicts.extend(merged.conflicts);
            for (side, edit) in merged.edits.into_iter().enumerate() {
                edits[side].insert(places[side], edit);
            }
        }
        let mut aligned = Vec::new();
        let mut values = BTreeMap::new();
        for (side, text) in texts.iter().enumerate() {
            let edited = edit_sealed(text, &documents[side], &edits[side]).ok()?;
            aligned.push(edited.text);
            if side == 1 {
                for (name, index) in &named[side] {
                    if let Some(object) = edited.objects.get(index) {
                        let data = SealedView::of(object).encrypted_data();
                        values.insert(name.clone(), data.cloned().unwrap_or_default());
                    }
                }
            }
        }
        let texts = aligned.try_into().ok()?;
        Some(Self {
            texts,
            conflicts,
            values,
            documents,
        })
    }

    /// The three versions, which no longer differ in values and envelopes except for conflicts.
    pub fn texts(&self) -> &[String; 3] {
        &self.texts
    }

    /// The keys that both sides changed, described for people.
    pub fn conflicts(&self) -> &[String] {
        &self.conflicts
    }

    /// The text of one side, if the other side changed nothing but values and envelopes: it
    /// contains the changes of both. `before` are the texts that were given.
    pub fn whole(&self, before: &[String; 3]) -> Option<&str> {
        let named: Vec<_> = self
            .documents
            .iter()
            .map(|documents| by_name(documents))
            .collect();
        let [Some(base), Some(ours), Some(theirs)] = named.as_slice() else {
            return None;
        };
        // A person must decide about an object that was added, removed or renamed.
        let same = base.keys().eq(ours.keys()) && base.keys().eq(theirs.keys());
        if !same || !self.conflicts.is_empty() {
            return None;
        }
        let changed_only_values =
            |side: usize| self.with_values_of_base(side, before).as_ref() == Some(&before[0]);
        let (_, kept) = [(2, 1), (1, 2)]
            .into_iter()
            .find(|(other, _)| changed_only_values(*other))?;
        Some(&self.texts[kept])
    }

    /// The text of a side with the values and envelopes of the base.
    fn with_values_of_base(&self, side: usize, before: &[String; 3]) -> Option<String> {
        let (base, documents) = (&self.documents[0], &self.documents[side]);
        let indices = by_name(documents)?;
        let mut edits = BTreeMap::new();
        for (name, old) in by_name(base)? {
            let index = indices.get(&name)?;
            let (old, new) = (Side::of(&base[old])?, Side::of(&documents[*index])?);
            let mut edit = SealedEdit::default();
            for key in old.values.keys().chain(new.values.keys()) {
                let value = old.values.get(key);
                if value != new.values.get(key) {
                    let value = value.map(|text| (*text).to_owned());
                    edit.values.insert((*key).to_owned(), value);
                }
            }
            for (id, envelope) in &old.envelopes {
                edit.kept.insert((*id).to_owned());
                if new.envelopes.get(id) != Some(envelope) {
                    edit.envelopes.insert((*id).to_owned(), envelope.clone());
                }
            }
            edits.insert(*index, edit);
        }
        Some(edit_sealed(&before[side], documents, &edits).ok()?.text)
    }

    /// Does each object have exactly the values that both sides meant?
    pub fn is_said_by(&self, documents: &[Document]) -> bool {
        let named = by_name(documents);
        self.conflicts.is_empty()
            && named.is_some_and(|named| {
                self.values.iter().all(|(name, values)| {
                    let object = named.get(name).map(|index| &documents[*index].object);
                    object.and_then(|object| SealedView::of(object).encrypted_data())
                        == Some(values)
                })
            })
    }
}

/// The SealedSecrets of a file; `None` if it has one of them twice.
fn by_name(documents: &[Document]) -> Option<BTreeMap<(String, String), usize>> {
    let mut named = BTreeMap::new();
    for (index, document) in documents.iter().enumerate() {
        if document.is_sealed_secret() {
            let name = ["namespace", "name"].map(|field| document.metadata(field).to_owned());
            let [namespace, name] = name;
            if named.insert((namespace, name), index).is_some() {
                return None;
            }
        }
    }
    Some(named)
}

/// Values and envelopes of one side.
struct Side<'a> {
    values: BTreeMap<&'a str, &'a str>,
    envelopes: BTreeMap<&'a str, SealedEnvelope>,
}

impl<'a> Side<'a> {
    fn of(document: &'a Document) -> Option<Self> {
        let view = SealedView::of(&document.object);
        let values = view.encrypted_data()?.as_object()?.iter();
        let envelopes = view.envelopes_section()?.as_object()?.iter();
        Some(Self {
            values: values
                .map(|(key, value)| Some((key.as_str(), value.as_str()?)))
                .collect::<Option<_>>()?,
            envelopes: envelopes
                .map(|(id, envelope)| {
                    Some((id.as_str(), serde_json::from_value(envelope.clone()).ok()?))
                })
                .collect::<Option<_>>()?,
        })
    }
}

/// What each of the three versions of an object must contain, so that only conflicts differ.
#[derive(Default)]
struct Merged {
    edits: [SealedEdit; 3],
    conflicts: Vec<String>,
}

impl Merged {
    /// `None` if an envelope was rewrapped on both sides and nothing decides between them.
    fn new(sides: &[Side<'_>; 3], wanted: Option<&[String]>) -> Option<Self> {
        let mut merged = Self::default();
        let keys: BTreeSet<&str> = sides
            .iter()
            .flat_map(|side| side.values.keys().copied())
            .collect();
        let mut used = BTreeSet::new();
        for key in keys {
            used.extend(merged.value(key, sides));
        }
        let used = used.iter().filter_map(|text| envelope_id(text));
        for id in used.collect::<BTreeSet<_>>() {
            merged.envelope(id, sides, wanted)?;
        }
        Some(merged)
    }

    /// Merges the value of a key. Returns the values that some version contains in the end.
    fn value(&mut self, key: &str, sides: &[Side<'_>; 3]) -> Vec<String> {
        let at = |side: &Side<'_>| side.values.get(key).map(|text| (*text).to_owned());
        let [base, ours, theirs] = sides.each_ref().map(at);
        let merged = if ours == theirs || theirs == base {
            // Both sides have the same value, or only ours changed it.
            [ours.clone(), ours.clone(), ours]
        } else if ours == base {
            // Only theirs changed it.
            [theirs.clone(), theirs.clone(), theirs]
        } else {
            // Both sides changed it, and a person decides.
            self.conflicts
                .push(format!("the value of {}", printable(key)));
            [base, ours, theirs]
        };
        for (edit, value) in self.edits.iter_mut().zip(&merged) {
            edit.values.insert(key.to_owned(), value.clone());
        }
        merged.into_iter().flatten().collect()
    }

    /// Merges an envelope that some value needs.
    fn envelope(
        &mut self,
        id: &str,
        sides: &[Side<'_>; 3],
        wanted: Option<&[String]>,
    ) -> Option<()> {
        let at = |side: &Side<'_>| side.envelopes.get(id).cloned();
        let [base, ours, theirs] = sides.each_ref().map(at);
        let envelope = match (ours, theirs) {
            (Some(ours), Some(theirs)) if ours != theirs => {
                if base.as_ref() == Some(&ours) {
                    // Only theirs was rewrapped.
                    theirs
                } else if base.as_ref() == Some(&theirs) {
                    // Only ours was.
                    ours
                } else {
                    // Two rotations: take the one that has the wanted recipients.
                    let fits =
                        |envelope: &SealedEnvelope| Some(envelope.recipients.as_slice()) == wanted;
                    match (fits(&ours), fits(&theirs)) {
                        (true, _) => ours,
                        (false, true) => theirs,
                        (false, false) => return None,
                    }
                }
            }
            // Both sides have the same, or one side has it.
            (Some(envelope), _) | (None, Some(envelope)) => envelope,
            // Only the old version had it.
            (None, None) => base?,
        };
        for edit in &mut self.edits {
            edit.envelopes.insert(id.to_owned(), envelope.clone());
            edit.kept.insert(id.to_owned());
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An object whose keys have these values, each under an envelope of its letter.
    fn object(values: &[(&str, char, u8)], wraps: &[(char, &str)]) -> String {
        let id = |letter: char| letter.to_string().repeat(16);
        let mut text =
            "apiVersion: sealkit.dev/v1beta1\nkind: SealedSecret\nmetadata:\n  name: db\n  \
            namespace: shop\nspec:\n  scope: strict\n  envelopes:\n"
                .to_owned();
        for (letter, to) in wraps {
            text += &format!(
                "    {}:\n      recipients: [{to}]\n      ageFile: {to}\n",
                id(*letter)
            );
        }
        text += "  encryptedData:\n";
        for (key, letter, value) in values {
            text += &format!("    {key}: sk1.{}.{value}\n", id(*letter));
        }
        text
    }

    /// Key, letter of the envelope, value.
    type Entry = (&'static str, char, u8);
    const A: Entry = ("a", 'a', 1);
    const A2: Entry = ("a", 'b', 2);
    const A3: Entry = ("a", 'c', 3);
    const B: Entry = ("b", 'a', 9);
    const B2: Entry = ("b", 'c', 8);

    type Object<'a> = (&'a [(&'a str, char, u8)], &'a [(char, &'a str)]);

    /// One line for each case: base, ours, theirs; what the merge says, or how many conflicts.
    #[test]
    fn what_both_sides_mean_is_said() {
        let wanted = ["old".to_owned()];
        let (one, two, three) = (('a', "old"), ('b', "old"), ('c', "old"));
        let base: Object<'_> = (&[A, B], &[one]);
        let table: [(&str, [Object<'_>; 3], Result<Object<'_>, usize>); 9] = [
            ("nothing", [base, base, base], Ok(base)),
            (
                "ours alone",
                [base, (&[A2, B], &[one, two]), base],
                Ok((&[A2, B], &[one, two])),
            ),
            (
                "theirs alone",
                [base, base, (&[A2, B], &[one, two])],
                Ok((&[A2, B], &[one, two])),
            ),
            (
                "another key each",
                [base, (&[A2, B], &[one, two]), (&[A, B2], &[one, three])],
                Ok((&[A2, B2], &[two, three])),
            ),
            (
                "the same key",
                [base, (&[A2, B], &[one, two]), (&[A3, B], &[one, three])],
                Err(1),
            ),
            (
                "removed and kept",
                [base, (&[B], &[one]), base],
                Ok((&[B], &[one])),
            ),
            (
                "removed and changed",
                [base, (&[B], &[one]), (&[A2, B], &[one, two])],
                Err(1),
            ),
            (
                "rewrapped and changed",
                [base, (&[A, B], &[('a', "new")]), (&[A2, B], &[one, two])],
                Ok((&[A2, B], &[('a', "new"), two])),
            ),
            (
                "rewrapped by both, one as it is wanted",
                [
                    (&[A, B], &[('a', "older")]),
                    (&[A, B], &[('a', "new")]),
                    base,
                ],
                Ok(base),
            ),
        ];
        for (what, versions, expected) in table {
            let texts = versions.map(|(values, wraps)| object(values, wraps));
            let aligned = Aligned::new(&texts, Some(&wanted)).expect(what);
            match expected {
                Err(conflicts) => assert_eq!(aligned.conflicts().len(), conflicts, "{what}"),
                Ok((values, wraps)) => {
                    assert_eq!(aligned.conflicts(), [""; 0], "{what}");
                    let said = read_documents(object(values, wraps).as_bytes()).unwrap();
                    assert!(aligned.is_said_by(&said), "{what}");
                    for text in aligned.texts() {
                        let documents = read_documents(text.as_bytes()).unwrap();
                        assert_eq!(
                            documents[0].object["spec"], said[0].object["spec"],
                            "{what}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn two_rewraps_that_nothing_decides_between_are_left_to_lines() {
        let version = |to: &str| object(&[("a", 'a', 1)], &[('a', to)]);
        let texts = ["base", "ours", "theirs"].map(version);
        assert!(Aligned::new(&texts, None).is_none());
        let broken = [version("base"), "{".to_owned(), version("theirs")];
        assert!(Aligned::new(&broken, None).is_none());
    }
}
