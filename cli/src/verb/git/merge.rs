//! `seal merge-driver`: three versions of a file, merged key by key and without a private key.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use clap::Args;
use sealkit_core::manifest::{Document, INPUT_BYTES, SealedEdit, edit_sealed, read_documents};
use sealkit_core::names::printable;
use sealkit_core::sealed::{SealedEnvelope, SealedObject};
use serde_json::Value;

use crate::error::{CommandError, Result};
use crate::files;
use crate::git::command::command;
use crate::git::repository::Location;
use crate::recipients::wanted::Wanted;
use crate::report::Verdict;
use crate::terminal::Terminal;

/// Flags of `seal merge-driver`: files that Git made.
#[derive(Args, Debug)]
pub(crate) struct MergeDriverArgs {
    /// The common ancestor
    #[arg(value_name = "BASE")]
    pub base: PathBuf,
    /// Our version; takes the result
    #[arg(value_name = "OURS")]
    pub ours: PathBuf,
    /// Their version
    #[arg(value_name = "THEIRS")]
    pub theirs: PathBuf,
    /// Path of the file in the repository
    #[arg(value_name = "PATH")]
    pub path: Option<PathBuf>,
}

/// Git's merge driver: values and envelopes are merged key by key, the rest by lines. The result
/// goes into `ours`. Where a person has to decide, that is a finding, and conflict markers stand there.
pub(crate) fn merge_driver(args: &MergeDriverArgs, terminal: Terminal) -> Result<Verdict> {
    let read = |path: &Path| files::read_text(path, INPUT_BYTES);
    let texts = [read(&args.base)?, read(&args.ours)?, read(&args.theirs)?];
    let aligned = Aligned::new(&texts, args.path.as_deref());
    let (mut text, mut clean) = match &aligned {
        Some(aligned) => merge_lines(&aligned.texts)?,
        None => merge_lines(&texts)?,
    };
    // The lines of values and envelopes may differ in order and style, and mean the same.
    if let Some(aligned) = aligned.as_ref().filter(|_| !clean)
        && let Some(whole) = aligned.whole(&texts)
    {
        (text, clean) = (whole.to_owned(), true);
    }
    files::replace(&Location::of(&args.ours)?.real, text.as_bytes())?;
    if !clean {
        for what in aligned.iter().flat_map(|aligned| &aligned.conflicts) {
            terminal.warning(format_args!("both sides changed {what}: keep one of them"));
        }
        return Ok(Verdict::Findings);
    }
    // Lines that merge can still say what nobody meant.
    let documents = read_documents(text.as_bytes()).unwrap_or_default();
    let mut sealed = documents
        .iter()
        .filter(|document| document.is_sealed_secret());
    let valid = !documents.is_empty()
        && sealed.all(|document| SealedObject::parse(&document.object).is_ok());
    let meant = aligned.is_none_or(|aligned| aligned.is_said_by(&documents));
    if !valid || !meant {
        terminal
            .warning("the merge is not what both sides meant: look at the file before you go on");
    }
    Ok(Verdict::clean_if(valid && meant))
}

/// `git merge-file` on three texts; false where it left conflict markers.
fn merge_lines([base, ours, theirs]: &[String; 3]) -> Result<(String, bool)> {
    let failed = || CommandError::input("`git merge-file` does not work");
    // Ciphertext, in a folder of its own.
    let folder = tempfile::tempdir().map_err(|_| failed())?;
    let at = |name: &str| folder.path().join(name);
    for (name, text) in [("base", base), ("ours", ours), ("theirs", theirs)] {
        std::fs::write(at(name), text).map_err(|_| failed())?;
    }
    // Where we are: the configuration there says how conflicts are marked.
    let output = command(Path::new("."))
        .args([
            "merge-file",
            "-p",
            "-L",
            "ours",
            "-L",
            "base",
            "-L",
            "theirs",
        ])
        .args([at("ours"), at("base"), at("theirs")])
        .output()
        .map_err(|_| failed())?;
    let text = String::from_utf8(output.stdout).map_err(|_| failed())?;
    match output.status.code() {
        Some(0) => Ok((text, true)),
        Some(count) if count < 128 => Ok((text, false)),
        _ => Err(failed()),
    }
}

/// Three versions of a file whose values and envelopes say the same, but for conflicts: what is
/// left to merge are lines.
struct Aligned {
    texts: [String; 3],
    /// Keys and envelopes that both sides changed, in words.
    conflicts: Vec<String>,
    /// The values that each object must have in the end.
    values: BTreeMap<(String, String), Value>,
    /// The documents of the three before.
    documents: Vec<Vec<Document>>,
}

impl Aligned {
    /// Nothing where a version cannot be read or edited: then lines decide alone.
    fn new(texts: &[String; 3], path: Option<&Path>) -> Option<Self> {
        let mut documents = Vec::new();
        for text in texts {
            documents.push(read_documents(text.as_bytes()).ok()?);
        }
        let named: Vec<BTreeMap<(String, String), usize>> = documents
            .iter()
            .map(|documents| by_name(documents))
            .collect::<Option<_>>()?;
        let wanted = path.and_then(wanted);
        let mut edits = [const { BTreeMap::new() }; 3];
        let mut conflicts = Vec::new();
        for (name, ours) in &named[1] {
            // An object that one side added or removed is a matter of lines.
            let (Some(base), Some(theirs)) = (named[0].get(name), named[2].get(name)) else {
                continue;
            };
            let places = [*base, *ours, *theirs];
            let sides: Vec<Side<'_>> = (0..3)
                .map(|side| Side::of(&documents[side][places[side]]))
                .collect::<Option<_>>()?;
            let merged = Merged::new(&sides.try_into().ok()?, wanted.as_deref())?;
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
                        let said = object.pointer("/spec/encryptedData").cloned();
                        values.insert(name.clone(), said.unwrap_or_default());
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

    /// The text of one side, where the other has changed nothing but values and envelopes: it says
    /// all that both mean.
    fn whole(&self, before: &[String; 3]) -> Option<&str> {
        let named: Vec<_> = self
            .documents
            .iter()
            .map(|documents| by_name(documents))
            .collect();
        let [Some(base), Some(ours), Some(theirs)] = named.as_slice() else {
            return None;
        };
        // An object that came, went or was renamed is for a person to look at.
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

    /// The text of a side, its values and envelopes as they were.
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

    /// Has each object exactly the values that both sides meant?
    fn is_said_by(&self, documents: &[Document]) -> bool {
        let named = by_name(documents);
        self.conflicts.is_empty()
            && named.is_some_and(|named| {
                self.values.iter().all(|(name, values)| {
                    let object = named.get(name).map(|index| &documents[*index].object);
                    object.and_then(|object| object.pointer("/spec/encryptedData")) == Some(values)
                })
            })
    }
}

/// The SealedSecrets of a file; nothing where one stands there twice.
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

/// Whom the config wants the path to be sealed to, as envelopes show it.
fn wanted(path: &Path) -> Option<Vec<String>> {
    let place = Location::of(path).ok()?;
    let chosen = Wanted::default().at(&place).ok()??;
    let fingerprints = chosen.set.fingerprints();
    Some(fingerprints.iter().map(ToString::to_string).collect())
}

/// Values and envelopes of one side.
struct Side<'a> {
    values: BTreeMap<&'a str, &'a str>,
    envelopes: BTreeMap<&'a str, SealedEnvelope>,
}

impl<'a> Side<'a> {
    fn of(document: &'a Document) -> Option<Self> {
        let section = |name: &str| document.object.get("spec")?.get(name)?.as_object();
        let values = section("encryptedData")?.iter();
        let envelopes = section("envelopes")?.iter();
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

/// What each of the three versions of an object has to say, so that only conflicts differ.
#[derive(Default)]
struct Merged {
    edits: [SealedEdit; 3],
    conflicts: Vec<String>,
}

impl Merged {
    /// Nothing where an envelope has two wraps and nothing decides between them.
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
        let used = used.iter().filter_map(|text| text.split('.').nth(1));
        for id in used.collect::<BTreeSet<_>>() {
            merged.envelope(id, sides, wanted)?;
        }
        Some(merged)
    }

    /// Merges the value of a key. Returns the values that some version says in the end.
    fn value(&mut self, key: &str, sides: &[Side<'_>; 3]) -> Vec<String> {
        let at = |side: &Side<'_>| side.values.get(key).map(|text| (*text).to_owned());
        let [base, ours, theirs] = sides.each_ref().map(at);
        let said = if ours == theirs || theirs == base {
            // Both sides say it, or only ours changed it.
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
        for (edit, value) in self.edits.iter_mut().zip(&said) {
            edit.values.insert(key.to_owned(), value.clone());
        }
        said.into_iter().flatten().collect()
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
                    // Two rotations: the one that the config wants.
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
