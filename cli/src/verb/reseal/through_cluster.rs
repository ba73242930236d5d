//! Resealing through the cluster: no private key leaves it, and none is needed here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver, Sender};

use sealkit_core::keys::{Fingerprint, RecipientSet};
use sealkit_core::manifest::{Document, SealedEdit};
use sealkit_core::sealed::{Claim, Code, EnvelopeId, SealedEnvelope, SealedObject, SealedView};
use serde_json::Value;

use super::file::{FileOutcome, Job, OpenFile, edited, enter_again, missing_from, stale};
use super::{Means, Mode};
use crate::args::GlobalArgs;
use crate::cluster::{Answer, Ask, Cluster, Refused};
use crate::error::{CommandError, Result};
use crate::files;
use crate::files::parallel;
use crate::git::repository::Location;
use crate::recipients::names::named;

/// Files that are open at once, and their bytes.
const FILES: usize = 1024;
const BYTES: usize = 8 * 1024 * 1024;
/// Files that are written at once.
const WRITERS: usize = 4;
/// Bytes that a recipient takes in an envelope, and that all the rest takes, as text: rather more
/// than it will be.
const RECIPIENT_BYTES: usize = 2_150;
const REST_BYTES: usize = 900;

/// A cluster that opens its own envelopes.
pub(super) struct Through {
    cluster: Cluster,
    /// Its keys that open.
    own: BTreeSet<Fingerprint>,
    /// Where objects without a namespace are asked for: they are bound to none.
    namespace: String,
}

impl Through {
    pub(super) fn new(cluster: Cluster, global: &GlobalArgs) -> Result<Self> {
        let own = cluster.opening_keys()?;
        if own.is_empty() {
            return Err(
                CommandError::cluster("the cluster has no key to open envelopes with")
                    .on(cluster.title())
                    .hint("see `seal keys list`"),
            );
        }
        let namespace = global.namespace.clone();
        let namespace = namespace.unwrap_or_else(|| cluster.namespace().to_owned());
        Ok(Self {
            cluster,
            own,
            namespace,
        })
    }

    /// The envelopes of an object that the cluster is to be asked for: those that are not as they
    /// should be, and that it can open.
    pub(super) fn to_ask(
        &self,
        place: &Location,
        document: &Document,
        object: &SealedObject,
        wanted: &RecipientSet,
        outcome: &mut FileOutcome,
    ) -> Vec<EnvelopeId> {
        let mut ids = Vec::new();
        for (id, hints) in stale(object, wanted) {
            if let Some(why) = self.cannot_open(id, hints) {
                outcome.unopened = true;
                let code = Code::NoMatchingKey.name();
                let detail = why + &enter_again(place, document, &[id]);
                outcome.find(place, Some(document), code, detail);
            } else {
                ids.push(id);
            }
        }
        ids
    }

    /// Why the cluster need not be asked.
    fn cannot_open(&self, id: EnvelopeId, hints: &[Fingerprint]) -> Option<String> {
        let opens = hints.iter().any(|hint| self.own.contains(hint));
        let keys: Vec<Fingerprint> = self.own.iter().copied().collect();
        (!opens).then(|| {
            format!(
                "envelope {id} claims to be sealed to {}, but the cluster has {}",
                named(hints),
                named(&keys)
            )
        })
    }

    /// Does all the work, some files at a time. What was answered is written even where the
    /// cluster goes away.
    pub(super) fn reseal(
        &self,
        jobs: &[Job],
        means: &Means,
        mut done: impl FnMut(&Job, FileOutcome) -> Result<()> + Send,
    ) -> Result<()> {
        let mut rest = jobs;
        while !rest.is_empty() {
            let mut bytes = 0;
            let fits = |job: &&Job| {
                bytes += job.size;
                bytes <= BYTES
            };
            let count = rest.iter().take(FILES).take_while(fits).count().max(1);
            let (now, later) = rest.split_at(count);
            rest = later;

            self.some(now, means, &mut done)?;
        }
        Ok(())
    }

    /// Some files: while the cluster works on the next ones, those are written whose envelopes are
    /// all answered.
    fn some(
        &self,
        jobs: &[Job],
        means: &Means,
        done: &mut (impl FnMut(&Job, FileOutcome) -> Result<()> + Send),
    ) -> Result<()> {
        let mut files = Vec::new();
        let observe = |job: &Job| job.observe(means, Mode::Write);
        parallel::for_each(jobs, observe, |_, observed| {
            files.push(observed);
            Ok::<_, CommandError>(())
        })?;
        let mut asks = Vec::new();
        let mut owners = Vec::new();
        let mut works = Vec::new();
        for (index, (job, (outcome, open))) in jobs.iter().zip(files).enumerate() {
            let of_file = open.iter().flat_map(|open| self.asks(job, open));
            let before = asks.len();
            asks.extend(of_file);
            owners.extend((before..asks.len()).map(|ask| (index, ask - before)));
            works.push(Some(Work {
                job,
                outcome,
                answers: vec![None; asks.len() - before],
                open,
            }));
        }
        let (sender, receiver) = mpsc::channel();
        let receiver = Mutex::new(receiver);
        std::thread::scope(|scope| {
            let (finished, outcomes) = mpsc::channel();
            // Writing is mostly waiting for the disk.
            for _ in 0..WRITERS {
                let (receiver, finished) = (&receiver, finished.clone());
                scope.spawn(move || {
                    while let Some(work) = next(receiver) {
                        let job: &Job = work.job;
                        if finished.send((job, work.finish())).is_err() {
                            break;
                        }
                    }
                });
            }
            drop(finished);
            let publisher = scope.spawn(move || {
                let mut outcomes = outcomes.into_iter();
                outcomes.try_for_each(|(job, outcome)| done(job, outcome))
            });
            for work in &mut works {
                send(&sender, work.take_if(|work| work.is_answered()));
            }
            let asked = self.cluster.rewrap(&asks, |ask, answer| {
                let (file, place) = owners[ask];
                if let Some(work) = &mut works[file] {
                    work.answers[place] = Some(answer);
                }
                let work = works[file].take_if(|work| work.is_answered());
                send(&sender, work);
            });
            // What was answered of the rest is worth keeping where the cluster went away.
            works.into_iter().for_each(|work| send(&sender, work));
            drop(sender);
            let published = publisher.join();
            published.unwrap_or_else(|_| Err(CommandError::bug("writing stopped early")))?;
            asked
        })
    }

    fn asks<'a>(&'a self, job: &'a Job, open: &'a OpenFile) -> impl Iterator<Item = Ask> + 'a {
        let recipients = job
            .wanted
            .as_ref()
            .map_or(0, |set| set.fingerprints().len());
        open.asks.iter().map(move |(index, id)| {
            let document = &open.documents[*index];
            let namespace = Some(document.metadata("namespace")).filter(|name| !name.is_empty());
            let namespace = namespace.map_or_else(|| self.namespace.clone(), ToString::to_string);
            let envelope = SealedView::of(&document.object).envelope(id.as_str());
            let envelope = envelope.cloned().unwrap_or_default();
            let size = sealkit_core::sealed::json_size(&envelope);
            Ask {
                namespace,
                id: *id,
                envelope,
                size: size.max(recipients * RECIPIENT_BYTES + REST_BYTES),
            }
        })
    }
}

/// The next file to be written, once there is one.
fn next<'a>(receiver: &Mutex<Receiver<Work<'a>>>) -> Option<Work<'a>> {
    receiver.lock().ok()?.recv().ok()
}

/// Hands a file to be written, if there is one. Nobody listens where writing failed, which is told
/// elsewhere.
fn send<'a>(sender: &Sender<Work<'a>>, work: Option<Work<'a>>) {
    if let Some(work) = work {
        let _ = sender.send(work);
    }
}

/// A file, and what the cluster said of its envelopes.
struct Work<'a> {
    job: &'a Job,
    outcome: FileOutcome,
    open: Option<OpenFile>,
    answers: Vec<Option<Answer>>,
}

impl Work<'_> {
    fn is_answered(&self) -> bool {
        self.answers.iter().all(Option::is_some)
    }

    /// What came of the answers.
    fn finish(mut self) -> FileOutcome {
        let mut outcome = std::mem::take(&mut self.outcome);
        if let (Some(open), Some(wanted)) = (&self.open, &self.job.wanted) {
            let written = self.write(open, wanted, &mut outcome);
            outcome.settle(written);
        }
        outcome
    }

    fn write(
        &self,
        open: &OpenFile,
        wanted: &RecipientSet,
        outcome: &mut FileOutcome,
    ) -> Result<()> {
        let place = &self.job.file.place;
        let mut new: BTreeMap<usize, (BTreeMap<_, _>, Vec<_>)> = BTreeMap::new();
        for ((index, id), answer) in open.asks.iter().zip(&self.answers) {
            let document = &open.documents[*index];
            let checked = match answer {
                // The work was broken off: the next run asks again.
                None => continue,
                Some(Err(Refused(why))) => Err(why.clone()),
                Some(Ok(envelope)) => check(*id, envelope, wanted),
            };
            match checked {
                Ok(envelope) => {
                    let old = SealedView::of(&document.object).envelope(id.as_str());
                    let old = old.and_then(|old| Claim::of(*id, old).ok());
                    let (envelopes, before) = new.entry(*index).or_default();
                    envelopes.insert(id.to_string(), envelope);
                    before.extend(old.map(|old| old.to));
                }
                Err(why) => {
                    let again = enter_again(place, document, &[*id]);
                    let detail = format!("envelope {id}: {why}{again}");
                    outcome.find(place, Some(document), "NotResealed", detail);
                }
            }
        }
        let mut edits = BTreeMap::new();
        for (index, (envelopes, before)) in new {
            let document = &open.documents[index];
            let edit = SealedEdit {
                envelopes,
                ..SealedEdit::default()
            };
            let edit = outcome.accept(place, document, edit, &before, wanted);
            if !edit.envelopes.is_empty() {
                edits.insert(index, edit);
            }
        }
        // The cluster may take long, and somebody may have saved the file meanwhile.
        if !edits.is_empty()
            && files::read_text(&place.given, sealkit_core::manifest::INPUT_BYTES)? != open.text
        {
            return Err(CommandError::input(
                "the file changed meanwhile; run this again",
            ));
        }
        let edited = edited(&open.text, &open.documents, &edits)?;
        self.job.write(&open.text, &edited, Mode::Write)
    }
}

/// An answer is taken if it claims exactly what is wanted; whether it opens, only a key could say.
/// In any doubt the old one stays.
fn check(
    id: EnvelopeId,
    answer: &Value,
    wanted: &RecipientSet,
) -> std::result::Result<SealedEnvelope, String> {
    let claim = Claim::of(id, answer)
        .map_err(|error| format!("the cluster's answer is refused: {}", error.detail))?;
    if !claim.is_for(wanted) {
        let what = if missing_from(&claim.to, wanted).is_empty() {
            "it removes no recipients"
        } else {
            "it does not add all of them"
        };
        return Err(format!(
            "the cluster seals it to {}, but its path requires {}: {what}; use a private key (-i FILE)",
            named(&claim.to),
            named(&wanted.fingerprints())
        ));
    }
    serde_json::from_value(answer.clone()).map_err(|_| "the answer cannot be read".to_owned())
}

#[cfg(test)]
mod tests {
    use sealkit_core::keys::{Identity, KeyType};
    use sealkit_core::sealed::{Context, Scope, seal};
    use serde_json::json;
    use zeroize::Zeroizing;

    use super::*;

    #[test]
    fn an_answer_is_taken_only_if_it_claims_what_is_wanted() {
        let keys: Vec<Identity> = (0..3)
            .map(|_| Identity::generate(KeyType::Classic))
            .collect();
        let set = |indices: &[usize]| {
            RecipientSet::new(indices.iter().map(|at| keys[*at].recipient().clone())).unwrap()
        };
        let context = Context::new(Scope::Strict, "shop", "db").unwrap();
        let values = BTreeMap::from([("K".to_owned(), Zeroizing::new(b"v".to_vec()))]);
        let sealed = seal(&values, &context, &set(&[0, 1]), false).unwrap();
        let answer = json!({
            "recipients": sealed.envelope.recipients, "ageFile": sealed.envelope.age_file,
        });
        assert_eq!(
            check(sealed.id, &answer, &set(&[0, 1])).unwrap(),
            sealed.envelope
        );
        let why = |answer: &Value, indices: &[usize]| {
            check(sealed.id, answer, &set(indices)).unwrap_err()
        };
        assert!(why(&answer, &[0, 1, 2]).contains("it does not add all of them"));
        assert!(why(&answer, &[0]).contains("it removes no recipients"));
        assert!(why(&answer, &[0, 2]).contains("it does not add all of them"));
        // The hints are right and the stanzas are fewer, or not there at all.
        let one = seal(&values, &context, &set(&[0]), false).unwrap();
        let lying = json!({
            "recipients": sealed.envelope.recipients, "ageFile": one.envelope.age_file,
        });
        assert!(why(&lying, &[0, 1]).contains("refused"));
        let planted = json!({"recipients": sealed.envelope.recipients, "ageFile": "cGxhbnRlZA=="});
        assert!(why(&planted, &[0, 1]).contains("refused"));
    }
}
