//! `seal reseal`: seals every envelope to the recipients of its path. Values stay as they are.

mod file;
mod fold;
mod outside;
mod through_cluster;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use sealkit_core::keys::{Fingerprint, KeyRing, RecipientSet};
use sealkit_core::manifest::INPUT_BYTES;
use serde_json::json;

use crate::args::{Output, WriteClusterArgs};
use crate::cluster::connect_to_write;
use crate::error::{CommandError, Result};
use crate::files;
use crate::files::parallel;
use crate::files::tree::{Found, Tree, is_broken_secret};
use crate::git::repository::Location;
use crate::identities;
use crate::recipients::acceptance::Acceptance;
use crate::recipients::config::Config;
use crate::recipients::names::named;
use crate::recipients::wanted::Wanted;
use crate::report::{Finding, Scanned, Verdict, print_findings, structured};
use crate::sealed_text::AGE_FILE;
use crate::terminal::{Session, Terminal, print, shown};

use file::{FileOutcome, Job};
use through_cluster::Through;

/// Flags of `seal reseal`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  # list the envelopes that need resealing; for CI, needs no private key
  seal reseal --check

  # all files below the working directory, through the cluster or with the recovery key
  seal reseal --context prod-eu
  seal reseal -i ~/recovery.key

  # show which files would change
  seal reseal -i ~/recovery.key --dry-run clusters/production

  # put the values of an object that has many envelopes under one
  seal reseal --fold -i ~/recovery.key clusters/production/db.sealed.yaml")]
#[expect(clippy::struct_excessive_bools, reason = "flags")]
pub(super) struct ResealArgs {
    /// Files and folders [default: the working directory]
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Which cluster.
    #[command(flatten)]
    pub cluster: WriteClusterArgs,
    /// Change nothing; exit with 1 if an envelope needs resealing
    #[arg(long)]
    pub check: bool,
    /// Do everything except writing files
    #[arg(long, conflicts_with = "check")]
    pub dry_run: bool,
    /// Put all values of an object under one envelope; opens them, so it needs a private key
    #[arg(long, conflicts_with = "check")]
    pub fold: bool,
    /// Accept recipients that differ from those used before
    #[arg(long)]
    pub accept_recipients: bool,
}

/// Looks at everything below the paths, and seals anew what is not as its rule says. Each file is
/// replaced as a whole or not at all, so that a run that was interrupted is finished by the next.
/// What is not as it should be, and stays so, is a finding.
pub(super) fn run(args: &ResealArgs, session: Session<'_>) -> Result<Verdict> {
    let terminal = session.terminal;
    let mode = match (args.check, args.dry_run) {
        (true, _) => Mode::Check,
        (_, true) => Mode::DryRun,
        _ => Mode::Write,
    };
    let means = means(args, session)?;
    if args.fold {
        terminal.note("--fold opens all values of an object that has more envelopes than it needs, and seals them again: every line of its values changes");
    }
    let tree = Tree::below(&args.paths)?;
    let mut acceptance = Acceptance::new(args.accept_recipients, terminal);
    let (jobs, rendered) = jobs(
        &tree.files,
        (mode, args.fold),
        session.global.namespace.as_deref(),
        &mut acceptance,
    )?;
    if rendered > 0 {
        terminal.note(format_args!(
            "{rendered} files were left out: a hydrator rendered them from another branch; reseal their source there"
        ));
    }
    admit(&jobs, &means, mode, &mut acceptance)?;
    if mode == Mode::Write {
        acceptance.save();
        for leftover in &tree.leftovers {
            // Of a run that was killed: ciphertext that no name leads to.
            let _ = std::fs::remove_file(leftover);
        }
    }
    let mut total = Total::default();
    for (path, what) in &tree.absent {
        total
            .findings
            .push(Finding::new(path, None, "NotCheckedOut", what.to_string()));
    }
    let bar = terminal.progress(jobs.len());
    let skipped = |file: &&Found| {
        let is_job = |job: &Job| job.file.place.given == file.place.given;
        file.named && !jobs.iter().any(is_job)
    };
    for file in tree.files.iter().filter(skipped) {
        tell_nothing(file, terminal);
    }
    let done = |job: &Job, outcome: FileOutcome| {
        bar.inc(1);
        if job.file.named && outcome.found_nothing() {
            bar.suspend(|| tell_nothing(&job.file, terminal));
        }
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
    };
    let result = match &means {
        Means::Cluster(through) if mode == Mode::Write => through.reseal(&jobs, &means, done),
        _ => {
            let work = |job: &Job| job.observe(&means, mode).0;
            parallel::for_each(&jobs, work, done)
        }
    };
    bar.finish_and_clear();
    files::sync_folders(total.written.iter().map(|place| place.real.as_path()));
    let verdict = total.report(mode, &means, session)?;
    result.map(|()| verdict)
}

/// A file that somebody named is not passed over without a word.
fn tell_nothing(file: &Found, terminal: Terminal) {
    let path = shown(&file.place.given);
    terminal.note(format_args!(
        "{path} holds nothing that needs resealing: no SealedSecret, and no envelope for other keys"
    ));
}

/// What envelopes are opened with.
enum Means {
    /// Nothing: files are taken by their word.
    Claims,
    /// Private keys.
    Keys(KeyRing),
    /// A cluster that opens its own.
    Cluster(Box<Through>),
}

fn means(args: &ResealArgs, session: Session<'_>) -> Result<Means> {
    let global = session.global;
    let ring = identities::ring(session)?;
    let named = global.context.is_some() || args.cluster.cluster.is_some();
    if args.fold && ring.is_empty() {
        return Err(
            CommandError::usage("--fold opens values, and a cluster opens none for you").hint(
                "pass a private key, such as the recovery key: -i FILE or SEALKIT_IDENTITY_FILE",
            ),
        );
    }
    match (ring.is_empty(), named) {
        // A key alone.
        (false, false) => Ok(Means::Keys(ring)),
        // No key, and none is needed.
        (true, _) if args.check => Ok(Means::Claims),
        // A cluster alone.
        (true, true) => {
            let (_, config) = Config::here()?;
            let what = "reseal envelopes through";
            let (cluster, _) =
                connect_to_write(&args.cluster, config.as_ref(), session, what)?;
            Ok(Means::Cluster(Box::new(Through::new(cluster, global)?)))
        }
        // Both, or neither.
        (false, true) => Err(CommandError::usage("both a private key and a cluster to reseal with")
            .hint("choose: the key alone (-i FILE), or the cluster alone, without -i and SEALKIT_IDENTITY_FILE")),
        (true, false) => Err(CommandError::usage("nothing to reseal with")
            .hint("pass a private key, such as the recovery key: -i FILE or SEALKIT_IDENTITY_FILE")
            .hint("or let the cluster reseal: --context NAME")
            .hint("`seal reseal --check` needs neither, and lists what needs resealing")),
    }
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

/// The files that hold SealedSecrets, and how many are left out as rendered. Whom they should be sealed to is compared with what this
/// clone knows: a key file that came with a pull is seen before anything is sealed to it. `flag` is the
/// namespace of `-n`.
fn jobs(
    files: &[Found],
    (mode, fold): (Mode, bool),
    flag: Option<&str>,
    acceptance: &mut Acceptance,
) -> Result<(Vec<Job>, usize)> {
    let mut rendered = 0;
    let mut wanted = Wanted::default();
    let mut sets: Vec<(std::rc::Rc<crate::recipients::Chosen>, Arc<RecipientSet>)> = Vec::new();
    let mut jobs = Vec::new();
    let may_hold = |file: &Found| -> Result<Option<usize>> {
        let bytes = files::read(&file.place.given, INPUT_BYTES)?;
        let text = std::str::from_utf8(&bytes).unwrap_or_default();
        let may = text.contains("SealedSecret")
            || text.contains(AGE_FILE)
            || (file.named && is_broken_secret(&bytes));
        Ok(may.then_some(bytes.len()))
    };
    parallel::for_each(files, may_hold, |file, size| {
        let Some(size) = size? else {
            return Ok(());
        };
        let chosen = wanted.at(&file.place)?;
        if chosen.is_none() && !file.named && is_rendered(&file.place) {
            rendered += 1;
            return Ok(());
        }
        let set = chosen.map(|chosen| -> Result<_> {
            let known = sets
                .iter()
                .find(|(known, _)| std::rc::Rc::ptr_eq(known, &chosen));
            if let Some((_, set)) = known {
                return Ok(Arc::clone(set));
            }
            if mode != Mode::Check {
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
            namespace: wanted.namespace(flag, &file.place)?,
            fold,
            size,
        });
        Ok::<_, CommandError>(())
    })?;
    Ok((jobs, rendered))
}

/// Did Argo CD's source hydrator write the file? Its next run would undo a change.
fn is_rendered(place: &Location) -> bool {
    let folder = place.real.parent();
    folder.is_some_and(|folder| folder.join("hydrator.metadata").is_file())
}

/// Asks before any envelope is sealed to recipients that it does not have, as opening it proves, and
/// that nobody accepted in this clone: a clone that is new knows no others than the files name, and
/// what they name may have come with a pull. A cluster adds nobody, so nothing is asked then.
fn admit(jobs: &[Job], means: &Means, mode: Mode, acceptance: &mut Acceptance) -> Result<()> {
    if mode == Mode::Check || !matches!(means, Means::Keys(_)) {
        return Ok(());
    }
    let mut doubtful = jobs.iter().collect::<Vec<_>>();
    doubtful.retain(|job| {
        let wanted = job.wanted.as_ref().map(|set| set.fingerprints());
        let root = job.file.place.root.as_deref();
        wanted.is_some_and(|wanted| !acceptance.unaccepted(&wanted, root).is_empty())
    });
    let mut added = BTreeMap::<_, Vec<Fingerprint>>::new();
    let observe = |job: &&Job| job.observe(means, Mode::DryRun).0.added;
    parallel::for_each(&doubtful, observe, |job, new| {
        added.entry(&job.file.place.root).or_default().extend(new);
        Ok::<_, CommandError>(())
    })?;
    for (root, added) in added {
        acceptance.admit(&added, root.as_deref())?;
    }
    Ok(())
}

/// What all files were found to be.
#[derive(Default)]
struct Total {
    scanned: Scanned,
    changed: usize,
    written: Vec<Location>,
    dropped: Vec<Fingerprint>,
    added: Vec<Fingerprint>,
    findings: Vec<Finding>,
    unopened: bool,
}

impl Total {
    fn add(&mut self, job: &Job, outcome: FileOutcome) {
        self.scanned.files += usize::from(outcome.objects > 0);
        self.scanned.objects += outcome.objects;
        self.changed += outcome.changed;
        if outcome.changed > 0 {
            self.written.push(job.file.place.clone());
        }
        self.dropped.extend(outcome.dropped);
        self.added.extend(outcome.added);
        self.findings.extend(outcome.findings);
        self.unopened |= outcome.unopened;
        if let Some(error) = outcome.failure {
            let (path, detail) = (&job.file.place.given, error.to_string());
            self.findings
                .push(Finding::new(path, None, "NotResealed", detail));
        }
    }

    fn report(mut self, mode: Mode, means: &Means, session: Session<'_>) -> Result<Verdict> {
        let terminal = session.terminal;
        if mode != Mode::Check {
            self.note_recipients(mode, terminal);
        }
        self.print(session.global.output)?;
        terminal.detail(format_args!(
            "{} envelopes in {} files, of {} SealedSecrets in {} files{}",
            self.changed,
            self.written.len(),
            self.scanned.objects,
            self.scanned.files,
            if matches!(means, Means::Keys(_)) {
                ""
            } else {
                "; recipients are claims of the files: pass -i FILE to prove them"
            }
        ));
        if self.unopened && mode != Mode::Check {
            let whose = if matches!(means, Means::Cluster(_)) {
                "of the cluster"
            } else {
                "given"
            };
            return Err(CommandError::unopened(format_args!(
                "some objects are sealed to none of the keys {whose}; they stay unchanged"
            ))
            .hint("give the private key of one of their recipients with -i FILE")
            .hint("or set their values again with `seal set`"));
        }
        Ok(Verdict::clean_if(self.findings.is_empty()))
    }

    /// Who can open more than before, and who less.
    fn note_recipients(&mut self, mode: Mode, terminal: Terminal) {
        for list in [&mut self.dropped, &mut self.added] {
            list.sort_unstable();
            list.dedup();
        }
        if !self.added.is_empty() {
            terminal.note(format_args!("newly sealed to {}", named(&self.added)));
        }
        if !self.dropped.is_empty() {
            let would = if mode == Mode::DryRun {
                "would be "
            } else {
                ""
            };
            terminal.warning(format_args!(
                "{would}no longer sealed to {}; anyone who has these keys can still read the same values in Git's history: change the values if that matters",
                named(&self.dropped)
            ));
        }
    }

    fn print(&self, output: Option<Output>) -> Result<()> {
        let Some(form) = output else {
            return print_findings(&self.findings, self.scanned, None);
        };
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
        )?)
    }
}
