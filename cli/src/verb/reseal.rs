//! `seal reseal`: every envelope sealed to whom its path is for. Values stay as they are.

use std::collections::BTreeMap;
use std::sync::Arc;

use sealkit_core::keys::{Fingerprint, KeyRing, RecipientSet};
use sealkit_core::manifest::{Document, INPUT_BYTES, SealedEdit, edit_sealed, read_documents};
use sealkit_core::sealed::{Code, EnvelopeId, SealedObject, compact_size, limits};
use serde_json::json;

use crate::acceptance::Acceptance;
use crate::args::{GlobalArgs, ResealArgs};
use crate::error::{CommandError, Result};
use crate::files;
use crate::identities;
use crate::known::short_list;
use crate::parallel;
use crate::report::{Finding, Scanned, print_findings, structured};
use crate::repository::Location;
use crate::terminal::{Terminal, print};
use crate::tree::{Found, Tree, is_broken_secret};
use crate::wanted::Wanted;

/// Looks at everything below the paths, and seals anew what is not as its rule says. Each file is
/// replaced as a whole or not at all, so that a run that was interrupted is finished by the next.
/// Returns whether everything is, or now is, as it should be.
pub fn run(args: &ResealArgs, global: &GlobalArgs, terminal: Terminal) -> Result<bool> {
    let ring = identities::ring(global, terminal)?;
    if ring.is_empty() && !args.check {
        return Err(CommandError::usage("no private key to reseal with")
            .hint("give one with -i FILE or SEALKIT_IDENTITY_FILE, the recovery key for instance")
            .hint("`seal reseal --check` needs none, and says what there is to do"));
    }
    let tree = Tree::below(&args.paths)?;
    let jobs = jobs(&tree.files, args, terminal)?;
    let mode = match (args.check, args.dry_run) {
        (true, _) => Mode::Check,
        (_, true) => Mode::DryRun,
        _ => Mode::Write,
    };
    if mode == Mode::Write {
        for leftover in &tree.leftovers {
            // Of a run that was killed: ciphertext that no name leads to.
            let _ = std::fs::remove_file(leftover);
        }
    }
    let mut total = Total::default();
    let bar = terminal.progress(jobs.len());
    let work = |job: &Job| job.look(&ring, mode);
    parallel::for_each(&jobs, work, |job, outcome| {
        bar.inc(1);
        if outcome.changed > 0 && mode != Mode::Check {
            let what = if mode == Mode::Write {
                "resealed"
            } else {
                "would reseal"
            };
            bar.suspend(|| terminal.done(what, &job.file.place.given));
        }
        total.add(job, outcome);
        Ok(())
    })?;
    bar.finish_and_clear();
    files::sync_folders(total.written.iter().map(|place| place.real.as_path()));
    total.report(mode, &ring, global, terminal)
}

/// What is done with an envelope that is not as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// It is a finding.
    Check,
    /// It is sealed anew and thrown away.
    DryRun,
    /// The file is replaced.
    Write,
}

/// A file with SealedSecrets in it, and whom they should be sealed to.
struct Job {
    file: Found,
    wanted: Option<Arc<RecipientSet>>,
}

/// The files that hold SealedSecrets. Whom they should be sealed to is compared with what this
/// clone knows: a key file that came with a pull is seen before anything is sealed to it.
fn jobs(files: &[Found], args: &ResealArgs, terminal: Terminal) -> Result<Vec<Job>> {
    let mut acceptance = Acceptance::new(args.accept_recipients, terminal);
    let mut wanted = Wanted::default();
    let mut sets: Vec<(std::rc::Rc<crate::recipients::Chosen>, Arc<RecipientSet>)> = Vec::new();
    let mut jobs = Vec::new();
    let may_hold = |file: &Found| -> Result<bool> {
        let bytes = files::read(&file.place.given, INPUT_BYTES)?;
        let text = std::str::from_utf8(&bytes).unwrap_or_default();
        Ok(text.contains("SealedSecret") || (file.named && is_broken_secret(&bytes)))
    };
    parallel::for_each(files, may_hold, |file, holds| {
        if !holds? {
            return Ok(());
        }
        let chosen = wanted.at(&file.place)?;
        let set = chosen.map(|chosen| -> Result<_> {
            let known = sets
                .iter()
                .find(|(one, _)| std::rc::Rc::ptr_eq(one, &chosen));
            if let Some((_, set)) = known {
                return Ok(Arc::clone(set));
            }
            if !args.check {
                acceptance.compare(&chosen, file.place.root.as_deref())?;
            }
            let set = Arc::new(chosen.set.clone());
            sets.push((chosen, Arc::clone(&set)));
            Ok(set)
        });
        jobs.push(Job {
            file: Found {
                place: file.place.clone(),
                named: file.named,
            },
            wanted: set.transpose()?,
        });
        Ok::<_, CommandError>(())
    })?;
    if !args.check && !args.dry_run {
        acceptance.save();
    }
    Ok(jobs)
}

/// What one file was found to be, and what was done.
#[derive(Default)]
struct Outcome {
    /// SealedSecrets in it.
    objects: usize,
    /// Envelopes that were not as they should be.
    changed: usize,
    /// Recipients that lose the current revision.
    dropped: Vec<Fingerprint>,
    findings: Vec<Finding>,
    /// Is there a finding that a key would mend?
    unopened: bool,
    failure: Option<CommandError>,
}

impl Job {
    fn look(&self, ring: &KeyRing, mode: Mode) -> Outcome {
        let mut outcome = Outcome::default();
        if let Err(error) = self.try_look(ring, mode, &mut outcome) {
            outcome.changed = 0;
            outcome.dropped.clear();
            outcome.failure = Some(error);
        }
        outcome
    }

    fn try_look(&self, ring: &KeyRing, mode: Mode, outcome: &mut Outcome) -> Result<()> {
        let place = &self.file.place;
        let text = files::read_text(&place.given, INPUT_BYTES)?;
        let documents = match read_documents(text.as_bytes()) {
            Ok(documents) => documents,
            Err(error) => {
                if self.file.named || is_broken_secret(text.as_bytes()) {
                    outcome.find(place, None, "Unreadable", error.to_string());
                }
                return Ok(());
            }
        };
        let mut edits = BTreeMap::new();
        for (index, document) in documents.iter().enumerate() {
            if !document.is_sealed_secret() {
                continue;
            }
            outcome.objects += 1;
            let Some(wanted) = &self.wanted else {
                let detail = "no rule of .sealkit.yaml says whom it should be sealed to";
                outcome.find(place, Some(document), "NoRule", detail.to_owned());
                continue;
            };
            let edit = self.object(document, wanted, ring, mode, outcome);
            if !edit.envelopes.is_empty() {
                edits.insert(index, edit);
            }
        }
        if edits.is_empty() || mode == Mode::Check {
            return Ok(());
        }
        let edited = edit_sealed(&text, &documents, &edits).map_err(|error| {
            CommandError::input(error).hint("seal its values anew into a new file")
        })?;
        if mode == Mode::Write {
            // A path that was found in a folder cannot lead elsewhere; one that was named was resolved.
            files::replace_unsynced(&place.real, edited.text.as_bytes())?;
        }
        Ok(())
    }

    /// The envelopes of one object that are not as they should be, as they should be.
    fn object(
        &self,
        document: &Document,
        wanted: &RecipientSet,
        ring: &KeyRing,
        mode: Mode,
        outcome: &mut Outcome,
    ) -> SealedEdit {
        let place = &self.file.place;
        let mut edit = SealedEdit::default();
        let object = match SealedObject::parse(&document.object) {
            Ok(object) => object,
            Err(error) => {
                outcome.find(place, Some(document), error.code().name(), error.detail);
                return edit;
            }
        };
        if ring.is_empty() {
            for (id, hints) in object.hints() {
                if hints != wanted.fingerprints() {
                    outcome.needs_reseal(
                        place,
                        document,
                        id,
                        "claims to be sealed to",
                        hints,
                        wanted,
                    );
                }
            }
            return edit;
        }
        let unwrapped = match identities::unwrap_object(&object, ring) {
            Ok(unwrapped) => unwrapped,
            Err(error) => {
                outcome.unopened |= error.code() == Code::NoMatchingKey;
                outcome.find(place, Some(document), error.code().name(), error.detail);
                return edit;
            }
        };
        let mut size = compact_size(&document.object);
        let mut dropped = Vec::new();
        for (id, one) in unwrapped {
            if one.is_current(wanted) {
                continue;
            }
            let to = wanted.fingerprints();
            dropped.extend(one.to().iter().filter(|old| !to.contains(old)).copied());
            if mode == Mode::Check {
                outcome.needs_reseal(place, document, id, "is sealed to", one.to(), wanted);
                continue;
            }
            match one.seal_to(wanted) {
                Ok(envelope) => {
                    // More than it grows by: what it had stays counted.
                    size += envelope.sealed_key.len() + envelope.recipients.len() * 35;
                    edit.envelopes.insert(id.to_string(), envelope);
                    outcome.changed += 1;
                }
                Err(error) => {
                    outcome.find(place, Some(document), "NotResealed", error.to_string());
                    return SealedEdit::default();
                }
            }
        }
        if !edit.envelopes.is_empty() && size > limits::OBJECT_BYTES {
            let detail = "with more recipients it may become too large to be opened";
            outcome.find(place, Some(document), "TooLarge", detail.to_owned());
            outcome.changed -= edit.envelopes.len();
            return SealedEdit::default();
        }
        outcome.dropped.extend(dropped);
        edit
    }
}

impl Outcome {
    fn find(&mut self, place: &Location, document: Option<&Document>, code: &str, detail: String) {
        let finding = Finding::new(&place.given, document, code, detail);
        self.findings.push(finding);
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
        let (to, wanted) = (short_list(to), short_list(&wanted.fingerprints()));
        let detail = format!("envelope {id} {verb} {to}, its path is for {wanted}");
        self.find(place, Some(document), "NeedsReseal", detail);
    }
}

/// What all files were found to be.
#[derive(Default)]
struct Total {
    scanned: Scanned,
    changed: usize,
    written: Vec<Location>,
    dropped: Vec<Fingerprint>,
    findings: Vec<Finding>,
    unopened: bool,
}

impl Total {
    fn add(&mut self, job: &Job, outcome: Outcome) {
        self.scanned.files += usize::from(outcome.objects > 0);
        self.scanned.objects += outcome.objects;
        self.changed += outcome.changed;
        if outcome.changed > 0 {
            self.written.push(job.file.place.clone());
        }
        self.dropped.extend(outcome.dropped);
        self.findings.extend(outcome.findings);
        self.unopened |= outcome.unopened;
        if let Some(error) = outcome.failure {
            let (path, detail) = (&job.file.place.given, error.to_string());
            self.findings
                .push(Finding::new(path, None, "NotResealed", detail));
        }
    }

    fn report(
        mut self,
        mode: Mode,
        ring: &KeyRing,
        global: &GlobalArgs,
        terminal: Terminal,
    ) -> Result<bool> {
        self.dropped.sort_unstable();
        self.dropped.dedup();
        if !self.dropped.is_empty() && mode != Mode::Check {
            let would = if mode == Mode::DryRun {
                "would be "
            } else {
                ""
            };
            terminal.warning(format_args!(
                "{would}no longer sealed to {}; whoever has these keys can still read the same values from \
                 Git's history: change the values if that matters",
                short_list(&self.dropped)
            ));
        }
        if let Some(form) = global.output {
            let written = self
                .written
                .iter()
                .map(|place| place.given.to_string_lossy());
            print(structured(
                &json!({
                    "files": written.collect::<Vec<_>>(),
                    "envelopes": self.changed,
                    "findings": self.findings,
                    "scanned": self.scanned,
                }),
                form,
            )?)?;
        } else {
            print_findings(&self.findings, self.scanned, None)?;
        }
        terminal.detail(format_args!(
            "{} envelopes in {} files, of {} SealedSecrets in {} files{}",
            self.changed,
            self.written.len(),
            self.scanned.objects,
            self.scanned.files,
            if ring.is_empty() {
                "; recipients are what the files claim, -i proves them"
            } else {
                ""
            }
        ));
        if self.unopened && mode != Mode::Check {
            return Err(CommandError::unopened(
                "some objects are sealed to none of the keys given, they are as they were",
            )
            .hint("give the private key of one of their recipients with -i FILE")
            .hint("or seal their values anew"));
        }
        Ok(self.findings.is_empty())
    }
}
