//! One file: which envelopes need resealing, and the edit that does it.

use std::collections::BTreeMap;
use std::sync::Arc;

use sealkit_core::keys::{Fingerprint, KeyRing, RecipientSet};
use sealkit_core::manifest::{Document, INPUT_BYTES, SealedEdit, edit_sealed, read_documents};
use sealkit_core::sealed::{
    Code, EnvelopeId, SealedObject, SealedView, compact_size, envelope_id, limits,
};

use super::outside::edit_loose;
use super::{Means, Mode, fold};
use crate::error::{CommandError, Result};
use crate::files;
use crate::files::lock::{Lock, replace_unchanged_unsynced};
use crate::files::tree::{Found, is_broken_secret};
use crate::git::repository::Location;
use crate::identities;
use crate::recipients::names::named;
use crate::report::Finding;
use crate::sealed_text::AGE_FILE;
use crate::terminal::quoted;

/// Keys of values that are named at once.
const SHOWN_KEYS: usize = 8;

/// A file with SealedSecrets, and the recipients that its path requires.
pub(super) struct Job {
    pub(super) file: Found,
    pub(super) wanted: Option<Arc<RecipientSet>>,
    /// The namespace of objects that name none, or empty.
    pub(super) namespace: String,
    /// Are the values of an object put under one envelope?
    pub(super) fold: bool,
    /// Bytes of the file.
    pub(super) size: usize,
}

/// What one file was found to be, and what was done.
#[derive(Default)]
pub(crate) struct FileOutcome {
    /// SealedSecrets in it.
    pub(super) objects: usize,
    /// Envelopes that were not as they should be.
    pub(super) changed: usize,
    /// Recipients that lose the current revision.
    pub(super) dropped: Vec<Fingerprint>,
    /// Recipients that are new to an envelope.
    pub(super) added: Vec<Fingerprint>,
    pub(super) findings: Vec<Finding>,
    /// Would another key resolve a finding?
    pub(super) unopened: bool,
    pub(super) failure: Option<CommandError>,
}

/// A file as it was read, and envelopes that a cluster is to be asked for.
pub(crate) struct OpenFile {
    pub(super) text: String,
    pub(super) documents: Vec<Document>,
    /// Documents, by index, and envelopes.
    pub(super) asks: Vec<(usize, EnvelopeId)>,
}

impl Job {
    /// Looks at the file, and writes it where private keys do the work. Where a cluster does, the
    /// file stays open.
    pub(super) fn observe(&self, means: &Means, mode: Mode) -> (FileOutcome, Option<OpenFile>) {
        let mut outcome = FileOutcome::default();
        let open = self.try_observe(means, mode, &mut outcome);
        let open = outcome.settle(open);
        (outcome, open.flatten())
    }

    fn try_observe(
        &self,
        means: &Means,
        mode: Mode,
        outcome: &mut FileOutcome,
    ) -> Result<Option<OpenFile>> {
        let place = &self.file.place;
        let text = files::read_text(&place.given, INPUT_BYTES)?;
        let documents = match read_documents(text.as_bytes()) {
            Ok(documents) => documents,
            // Templates of charts are no YAML.
            Err(_) if text.contains(AGE_FILE) && !is_broken_secret(text.as_bytes()) => Vec::new(),
            Err(error) => {
                if self.file.named || is_broken_secret(text.as_bytes()) {
                    outcome.find(place, None, "Unreadable", error.to_string());
                }
                return Ok(None);
            }
        };
        let mut edits = BTreeMap::new();
        let mut asks = Vec::new();
        for (index, document) in documents.iter().enumerate() {
            let Some((object, wanted)) = self.object(document, outcome) else {
                continue;
            };
            match means {
                // Nothing can be opened: what differs is a finding.
                Means::Claims => outcome.claims(place, document, &object, wanted),
                // Sealed anew at once.
                Means::Keys(ring) => {
                    let edit = self.with_keys(document, &object, wanted, ring, mode, outcome);
                    if !edit.envelopes.is_empty() {
                        edits.insert(index, edit);
                    }
                }
                // Asked for later, many at once.
                Means::Cluster(through) => {
                    let ids = through.to_ask(place, document, &object, wanted, outcome);
                    asks.extend(ids.into_iter().map(|id| (index, id)));
                }
            }
        }
        let loose = match means {
            Means::Keys(ring) if mode != Mode::Check => {
                self.loose(&text, &documents, ring, outcome)?
            }
            _ => BTreeMap::new(),
        };
        self.look_outside(&edit_loose(&text, &loose)?, &documents, outcome);
        if !asks.is_empty() {
            if mode == Mode::DryRun {
                outcome.changed += asks.len();
                return Ok(None);
            }
            return Ok(Some(OpenFile {
                text,
                documents,
                asks,
            }));
        }
        if mode != Mode::Check {
            let edited = edited(&text, &documents, &edits)?;
            self.write(&text, &edit_loose(&edited, &loose)?, mode)?;
        }
        Ok(None)
    }

    /// A SealedSecret that can be resealed, and the recipients that its path requires.
    fn object(
        &self,
        document: &Document,
        outcome: &mut FileOutcome,
    ) -> Option<(SealedObject, &RecipientSet)> {
        if !document.is_sealed_secret() {
            return None;
        }
        let place = &self.file.place;
        outcome.objects += 1;
        let Some(wanted) = &self.wanted else {
            let detail = "no rule of .sealkit.yaml covers the path";
            outcome.find(place, Some(document), "NoRule", detail.to_owned());
            return None;
        };
        match SealedObject::parse_in(&document.object, &self.namespace) {
            Ok(object) => Some((object, wanted)),
            Err(error) => {
                outcome.find(place, Some(document), error.code().name(), error.detail);
                None
            }
        }
    }

    /// Replaces the file, if there is anything to replace.
    pub(super) fn write(&self, old: &str, new: &str, mode: Mode) -> Result<()> {
        if mode == Mode::Write && old != new {
            // A path that was found in a folder cannot lead elsewhere; one that was named was resolved.
            let path = self.file.place.real.as_path();
            let _lock = Lock::of([path])?;
            replace_unchanged_unsynced(path, Some(old), new.as_bytes())?;
        }
        Ok(())
    }

    /// The envelopes of one object that are not as they should be, as they should be.
    fn with_keys(
        &self,
        document: &Document,
        object: &SealedObject,
        wanted: &RecipientSet,
        ring: &KeyRing,
        mode: Mode,
        outcome: &mut FileOutcome,
    ) -> SealedEdit {
        let place = &self.file.place;
        let unwrapped = match identities::unwrap_object(object, ring) {
            Ok(unwrapped) => unwrapped,
            Err(error) => {
                outcome.unopened |= error.code() == Code::NoMatchingKey;
                let stale: Vec<EnvelopeId> = stale(object, wanted).map(|(id, _)| id).collect();
                let mut detail = error.detail.clone();
                if !stale.is_empty() {
                    detail += &enter_again(place, document, &stale);
                }
                outcome.find(place, Some(document), error.code().name(), detail);
                return SealedEdit::default();
            }
        };
        if self.fold
            && let Some(edit) = self.folded(document, object, wanted, ring, outcome)
        {
            return edit;
        }
        let mut envelopes = BTreeMap::new();
        let mut before = Vec::new();
        for (id, envelope) in unwrapped {
            if envelope.is_current(wanted) {
                continue;
            }
            if mode == Mode::Check {
                outcome.needs_reseal(place, document, id, "is sealed to", envelope.to(), wanted);
                continue;
            }
            before.push(envelope.to().to_vec());
            match envelope.seal_to(wanted) {
                Ok(envelope) => {
                    envelopes.insert(id.to_string(), envelope);
                }
                Err(error) => {
                    outcome.find(place, Some(document), "NotResealed", error.to_string());
                    return SealedEdit::default();
                }
            }
        }
        let edit = SealedEdit {
            envelopes,
            ..SealedEdit::default()
        };
        outcome.accept(place, document, edit, &before, wanted)
    }

    /// The values of an object under one envelope; nothing if they are already, or cannot be opened.
    fn folded(
        &self,
        document: &Document,
        object: &SealedObject,
        wanted: &RecipientSet,
        ring: &KeyRing,
        outcome: &mut FileOutcome,
    ) -> Option<SealedEdit> {
        let place = &self.file.place;
        let folded = match fold::fold(object, wanted, ring) {
            Ok(folded) => folded?,
            Err(why) => {
                outcome.find(place, Some(document), "NotFolded", why);
                return None;
            }
        };
        let edit = outcome.accept(place, document, folded.edit, &folded.before, wanted);
        (!edit.envelopes.is_empty()).then_some(edit)
    }
}

/// The text of a file with edits of its objects.
pub(super) fn edited(
    text: &str,
    documents: &[Document],
    edits: &BTreeMap<usize, SealedEdit>,
) -> Result<String> {
    if edits.is_empty() {
        return Ok(text.to_owned());
    }
    let edited = edit_sealed(text, documents, edits).map_err(|error| {
        CommandError::input(error).hint("seal its values again, into a new file")
    })?;
    Ok(edited.text)
}

/// The envelopes that claim other recipients than are wanted, with those that they claim.
pub(super) fn stale<'a>(
    object: &'a SealedObject,
    wanted: &RecipientSet,
) -> impl Iterator<Item = (EnvelopeId, &'a [Fingerprint])> + use<'a> {
    let to = wanted.fingerprints();
    object.hints().filter(move |(_, hints)| *hints != to)
}

/// How the values under these envelopes are entered again, for whoever has nothing to open them
/// with.
pub(super) fn enter_again(place: &Location, document: &Document, ids: &[EnvelopeId]) -> String {
    let under = |value: &str| {
        let id = envelope_id(value);
        id.is_some_and(|id| ids.iter().any(|meant| meant.as_str() == id))
    };
    let mut keys: Vec<String> = SealedView::of(&document.object)
        .values()
        .filter(|(_, value)| under(value))
        .map(|(key, _)| quoted(key))
        .collect();
    let more = if keys.len() > SHOWN_KEYS { " …" } else { "" };
    keys.truncate(SHOWN_KEYS);
    let file = quoted(&place.given.to_string_lossy());
    let name = quoted(document.metadata("name"));
    format!(
        "; or enter the values again: `seal set {file} --name {name} {}{more}`",
        keys.join(" ")
    )
}

/// Those who are not among the recipients that are wanted.
pub(super) fn missing(to: &[Fingerprint], wanted: &RecipientSet) -> Vec<Fingerprint> {
    let wanted = wanted.fingerprints();
    to.iter()
        .filter(|old| !wanted.contains(old))
        .copied()
        .collect()
}

/// Those who are wanted and are not among these.
pub(super) fn missing_from(to: &[Fingerprint], wanted: &RecipientSet) -> Vec<Fingerprint> {
    let wanted = wanted.fingerprints().into_iter();
    wanted
        .filter(|fingerprint| !to.contains(fingerprint))
        .collect()
}

impl FileOutcome {
    /// Is there neither a SealedSecret nor anything else to speak of?
    pub(super) fn found_nothing(&self) -> bool {
        self.objects + self.changed + self.findings.len() == 0 && self.failure.is_none()
    }

    pub(super) fn find(
        &mut self,
        place: &Location,
        document: Option<&Document>,
        code: &str,
        detail: String,
    ) {
        let finding = Finding::new(&place.given, document, code, detail);
        self.findings.push(finding);
    }

    /// Takes an error down. Nothing was changed then.
    pub(super) fn settle<T>(&mut self, result: Result<T>) -> Option<T> {
        result
            .map_err(|error| {
                self.changed = 0;
                self.dropped.clear();
                self.added.clear();
                self.failure = Some(error);
            })
            .ok()
    }

    /// The edit of an object, if it can still be opened then; `before` is whom each envelope that the
    /// edit replaces was sealed to.
    pub(super) fn accept(
        &mut self,
        place: &Location,
        document: &Document,
        edit: SealedEdit,
        before: &[Vec<Fingerprint>],
        wanted: &RecipientSet,
    ) -> SealedEdit {
        if edit.envelopes.is_empty() {
            return SealedEdit::default();
        }
        // One that cannot be edited at all is refused with its file.
        let after = edit.applied(&document.object).unwrap_or_default();
        if compact_size(&after) > limits::OBJECT_BYTES {
            let detail = "with more recipients it would be too large to be opened";
            self.find(place, Some(document), "TooLarge", detail.to_owned());
            return SealedEdit::default();
        }
        self.changed += edit.envelopes.len();
        for to in before {
            self.dropped.extend(missing(to, wanted));
            self.added.extend(missing_from(to, wanted));
        }
        edit
    }

    fn claims(
        &mut self,
        place: &Location,
        document: &Document,
        object: &SealedObject,
        wanted: &RecipientSet,
    ) {
        for (id, hints) in stale(object, wanted) {
            self.needs_reseal(place, document, id, "claims to be sealed to", hints, wanted);
        }
    }

    fn needs_reseal(
        &mut self,
        place: &Location,
        document: &Document,
        id: EnvelopeId,
        verb: &str,
        to: &[Fingerprint],
        wanted: &RecipientSet,
    ) {
        self.changed += 1;
        let (to, wanted) = (named(to), named(&wanted.fingerprints()));
        let detail = format!("envelope {id} {verb} {to}, but its path requires {wanted}");
        self.find(place, Some(document), "NeedsReseal", detail);
    }
}
