//! The steps: a rehearsal of everything, then stage after stage, each awaited before the next.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use sealkit_core::names::printable;
use serde_json::{Value, json};

use super::PreapplyArgs;
use crate::cluster::manifests::{Manifest, Manifests};
use crate::cluster::ready::{Board, Line, Outcome, Patience, Scope, objects};
use crate::cluster::{Applied, Apply, Cluster, ObjectKey, Refusal, Stage};
use crate::error::{CommandError, Result};
use crate::report::{Verdict, structured};
use crate::terminal::{Session, Terminal, print};

/// Errors that are shown one by one.
const SHOWN: usize = 10;

/// What became of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    /// Its stage was not reached.
    None,
    Created,
    Configured,
    Unchanged,
}

impl Action {
    const fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Created => "created",
            Self::Configured => "configured",
            Self::Unchanged => "unchanged",
        }
    }
}

/// One run over the objects of the inputs.
pub(super) struct Steps<'a> {
    cluster: &'a Cluster,
    read: Manifests,
    how: Apply,
    terminal: Terminal,
    /// Namespaces that do not exist yet.
    missing: BTreeSet<String>,
    /// For each object: its version in the cluster before; empty where it does not exist.
    before: Vec<String>,
    actions: Vec<Action>,
    /// Objects that were applied.
    pub board: Board,
}

impl<'a> Steps<'a> {
    pub fn new(
        cluster: &'a Cluster,
        read: Manifests,
        args: &PreapplyArgs,
        terminal: Terminal,
    ) -> Self {
        let count = read.objects.len();
        Self {
            cluster,
            read,
            how: Apply {
                dry_run: false,
                force: args.force_conflicts,
            },
            terminal,
            missing: BTreeSet::new(),
            before: vec![String::new(); count],
            actions: vec![Action::None; count],
            board: Board::default(),
        }
    }

    /// Asks the server about everything, and changes nothing. Objects in namespaces that are still to
    /// be created cannot be asked about yet.
    pub fn rehearse(&mut self) -> Result<()> {
        let all: Vec<usize> = (0..self.read.objects.len()).collect();
        let mut failures = self.ask(&all);
        let how = Apply {
            dry_run: true,
            ..self.how
        };
        for name in &self.missing {
            let object = &self.read.namespaces[name];
            failures.extend(self.cluster.apply_namespace(name, object, how).err());
        }
        self.fail_with(failures)
    }

    /// Asks the server about some objects; what it refuses.
    fn ask(&mut self, indices: &[usize]) -> Vec<CommandError> {
        let how = Apply {
            dry_run: true,
            ..self.how
        };
        let answers = self.cluster.apply(&self.manifests(indices), how);
        let mut failures = Vec::new();
        for (index, answer) in indices.iter().zip(answers) {
            let manifest = &self.read.objects[*index];
            let namespace = &manifest.key.namespace;
            match answer {
                Ok(applied) => self.before[*index] = applied.version,
                Err(Refusal::NoNamespace) if self.read.namespaces.contains_key(namespace) => {
                    self.missing.insert(namespace.clone());
                }
                Err(Refusal::NoNamespace) => failures.push(self.cluster.no_namespace(manifest)),
                Err(Refusal::Failed(error)) => failures.push(error),
            }
        }
        failures
    }

    fn manifests(&self, indices: &[usize]) -> Vec<&Manifest> {
        indices
            .iter()
            .map(|index| &self.read.objects[*index])
            .collect()
    }

    /// All errors are told, and the last one ends the run.
    fn fail_with(&self, mut failures: Vec<CommandError>) -> Result<()> {
        let Some(last) = failures.pop() else {
            return Ok(());
        };
        for error in failures.iter().take(SHOWN) {
            self.terminal.error(error);
        }
        if failures.len() > SHOWN {
            let more = failures.len() - SHOWN;
            self.terminal
                .note(format_args!("{} more refused", objects(more)));
        }
        Err(last)
    }

    /// Applies stage after stage, and waits for each: a store may need a Secret of the stage before.
    pub fn perform(&mut self, until: Instant) -> Result<Outcome> {
        self.create_namespaces()?;
        let patience = Patience {
            until,
            ignore_stalled: false,
            needs_one: false,
        };
        let stages: BTreeSet<_> = self.stages().collect();
        for stage in stages {
            let indices: Vec<usize> = self
                .stages()
                .enumerate()
                .filter_map(|(index, of)| (of == stage).then_some(index))
                .collect();
            self.apply(&indices)?;
            let outcome = self.wait(&indices, patience)?;
            if outcome != Outcome::Ready {
                return Ok(outcome);
            }
        }
        Ok(Outcome::Ready)
    }

    fn stages(&self) -> impl Iterator<Item = Option<Stage>> {
        self.read.objects.iter().map(|object| object.key.kind.stage)
    }

    /// Creates those that do not exist, and then asks about their objects.
    fn create_namespaces(&mut self) -> Result<()> {
        for name in &self.missing {
            let object = &self.read.namespaces[name];
            self.cluster.apply_namespace(name, object, self.how)?;
        }
        if self.missing.is_empty() {
            return Ok(());
        }
        let objects = self.read.objects.iter().enumerate();
        let new = objects.filter(|(_, object)| self.missing.contains(&object.key.namespace));
        let new: Vec<usize> = new.map(|(index, _)| index).collect();
        let failures = self.ask(&new);
        if !failures.is_empty() {
            let names: Vec<_> = self.missing.iter().map(|name| printable(name)).collect();
            self.terminal.note(format_args!(
                "only these namespaces were created: {}",
                names.join(", ")
            ));
        }
        self.fail_with(failures)
    }

    fn apply(&mut self, indices: &[usize]) -> Result<()> {
        let answers = self.cluster.apply(&self.manifests(indices), self.how);
        let mut failures = Vec::new();
        for (index, answer) in indices.iter().zip(answers) {
            let manifest = &self.read.objects[*index];
            match answer {
                Ok(applied) => self.applied(*index, applied),
                Err(Refusal::NoNamespace) => failures.push(self.cluster.no_namespace(manifest)),
                Err(Refusal::Failed(error)) => failures.push(error),
            }
        }
        self.fail_with(failures)
    }

    fn applied(&mut self, index: usize, applied: Applied) {
        let before = &self.before[index];
        self.actions[index] = if before.is_empty() {
            Action::Created
        } else if *before == applied.version {
            Action::Unchanged
        } else {
            Action::Configured
        };
        let key = self.read.objects[index].key.clone();
        self.board.expect(key.clone(), applied.sight.generation);
        self.board.seen(key, applied.sight);
    }

    /// Nothing is watched where the answers say everything.
    fn wait(&mut self, indices: &[usize], patience: Patience) -> Result<Outcome> {
        if self.board.has_stalled() {
            return Ok(Outcome::Stalled);
        }
        if self.board.ready() == self.board.total() {
            return Ok(Outcome::Ready);
        }
        let objects = self.manifests(indices).into_iter();
        let objects = objects.map(|manifest| (manifest.key.clone(), manifest.resource()));
        let scopes = Scope::of_objects(objects);
        self.cluster
            .wait_until_ready(&mut self.board, &scopes, patience, self.terminal)
    }

    /// A line for each object that was written.
    pub fn changes(&self) -> String {
        let mut text = String::new();
        for (object, action) in self.read.objects.iter().zip(&self.actions) {
            if matches!(action, Action::Created | Action::Configured) {
                text.extend([&object.key.to_string(), " ", action.word(), "\n"]);
            }
        }
        text
    }

    /// The report as one document, with what was done to each object.
    pub fn whole(&self, outcome: Outcome) -> Value {
        let lines = self.board.lines().into_iter();
        let lines: BTreeMap<ObjectKey, Line> = lines.map(|line| (line.key.clone(), line)).collect();
        let objects = self.read.objects.iter().zip(&self.actions);
        let objects = objects.map(|(object, action)| {
            let line = lines.get(&object.key);
            let mut told = line.map_or_else(|| not_applied(&object.key), Line::to_json);
            told["action"] = action.word().into();
            told
        });
        json!({
            "ready": outcome == Outcome::Ready, "outcome": outcome.name(),
            "objects": objects.collect::<Vec<_>>(),
            "namespacesCreated": self.missing, "findings": [],
        })
    }

    /// Says that there are objects whose stage was not reached.
    pub fn note_rest(&self) {
        let rest = self
            .actions
            .iter()
            .filter(|action| **action == Action::None);
        let rest = rest.count();
        if rest > 0 {
            self.terminal.note(format_args!(
                "{} not applied: the next stage may need what is not ready",
                objects(rest)
            ));
        }
    }

    /// What a dry run came to.
    pub fn report_rehearsal(&self, session: Session<'_>) -> Result<Verdict> {
        let new = self
            .before
            .iter()
            .filter(|version| version.is_empty())
            .count();
        let total = self.read.objects.len();
        if let Some(form) = session.global.output {
            let objects: Vec<_> = self
                .read
                .objects
                .iter()
                .map(|object| not_applied(&object.key))
                .collect();
            let whole = json!({
                "ready": false, "outcome": "dryRun", "objects": objects,
                "namespacesMissing": self.missing, "findings": [],
            });
            print(structured(&whole, form)?)?;
        }
        for name in &self.missing {
            self.terminal.note(format_args!(
                "the namespace {} does not exist yet: the API server has not checked its objects",
                printable(name)
            ));
        }
        self.terminal.note(format_args!(
            "dry run: {} can be applied, {new} new; nothing was changed",
            objects(total)
        ));
        Ok(Verdict::Clean)
    }
}

/// The report's line for an object that was not applied.
fn not_applied(key: &ObjectKey) -> Value {
    let mut line = Line::missing(key).to_json();
    line["state"] = "NotApplied".into();
    line
}
