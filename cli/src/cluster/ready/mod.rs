//! Waiting until objects are ready for their newest generation, by watching them.

mod board;
mod report;
mod watch;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use futures::stream::select_all;
use indicatif::{ProgressBar, ProgressStyle};
use kube::runtime::watcher::{Error as WatchError, Event, Result as WatchResult};

use super::interrupt::unless_interrupted;
use super::kinds::ObjectKey;
use super::{Cluster, TIMEOUT, timed_out};
use crate::error::{CommandError, Result};
use crate::terminal::{Terminal, safe};

pub(crate) use board::{Board, Line, Sight};
pub(crate) use report::{as_json, duration, objects, report};
pub(crate) use watch::{Observed, Scope};

/// How often the API server may deny in a row what it allowed before: while it starts, it does not
/// know all rights yet.
const DENIALS: u32 = 4;

/// How long is waited, and for what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// When it ends. Objects are looked at once in any case.
    pub until: Instant,
    /// Does it go on although an object fails until somebody changes it?
    pub ignore_stalled: bool,
    /// Is it not enough that nothing is missing: must there be an object?
    pub needs_one: bool,
}

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// All are ready.
    Ready,
    /// One fails until somebody changes it.
    Stalled,
    /// Time ran out.
    TimedOut,
}

impl Outcome {
    /// The word in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Stalled => "stalled",
            Self::TimedOut => "timedOut",
        }
    }
}

impl Cluster {
    /// Watches until all objects of the board are ready, one is stalled, or time runs out. The board
    /// then has what was seen last. Watches that break are taken up again; SIGINT and SIGTERM end the
    /// process.
    pub fn wait_until_ready(
        &self,
        board: &mut Board,
        scopes: &[Scope],
        patience: Patience,
        terminal: Terminal,
    ) -> Result<Outcome> {
        let bar = bar(terminal, board);
        let mut watching = Watching {
            cluster: self,
            scopes,
            lists: scopes.iter().map(|_| List::default()).collect(),
            board,
            patience,
            began: Instant::now(),
        };
        let work = unless_interrupted(watching.run(&bar, terminal), || bar.finish_and_clear());
        let outcome = self.runtime.block_on(work);
        bar.finish_and_clear();
        outcome
    }
}

/// What is known of one watch.
#[derive(Default)]
struct List {
    /// Objects of the list that is being read.
    keys: BTreeSet<ObjectKey>,
    /// Was one read completely?
    is_complete: bool,
    /// What went wrong last, unless something came since.
    trouble: Option<CommandError>,
    denials: u32,
}

struct Watching<'a> {
    cluster: &'a Cluster,
    scopes: &'a [Scope],
    lists: Vec<List>,
    board: &'a mut Board,
    patience: Patience,
    began: Instant,
}

impl Watching<'_> {
    async fn run(&mut self, bar: &ProgressBar, terminal: Terminal) -> Result<Outcome> {
        let client = self.cluster.watching_client()?;
        let streams = self.scopes.iter().enumerate().map(|(index, scope)| {
            let events = scope.events(client.clone());
            events.map(move |event| (index, event)).boxed()
        });
        let mut events = select_all(streams);
        loop {
            if let Some(outcome) = self.outcome() {
                return Ok(outcome);
            }
            tokio::select! {
                event = events.next() => match event {
                    Some((index, event)) => self.take(index, event, terminal)?,
                    // Nothing is watched.
                    None => return Ok(Outcome::Ready),
                },
                () = tokio::time::sleep_until(self.deadline().into()) => return self.late(terminal),
            }
            show(bar, self.board);
        }
    }

    /// Objects are looked at once, even if there is no time.
    fn deadline(&self) -> Instant {
        if self.lists.iter().all(|list| list.is_complete) {
            self.patience.until
        } else {
            self.patience.until.max(self.began + TIMEOUT)
        }
    }

    fn outcome(&self) -> Option<Outcome> {
        if self.board.has_stalled() && !self.patience.ignore_stalled {
            return Some(Outcome::Stalled);
        }
        let complete = self.lists.iter().all(|list| list.is_complete);
        let enough = !self.patience.needs_one || self.board.total() > 0;
        let ready = complete && enough && self.board.ready() == self.board.total();
        ready.then_some(Outcome::Ready)
    }

    fn take(
        &mut self,
        index: usize,
        event: WatchResult<Event<Observed>>,
        terminal: Terminal,
    ) -> Result<()> {
        let (scope, list) = (&self.scopes[index], &mut self.lists[index]);
        let event = match event {
            Ok(event) => event,
            Err(error) => return self.failed(index, &error, terminal),
        };
        if list.trouble.take().is_some() {
            terminal.detail(format_args!("watching {} again", scope.kind.resource()));
        }
        match event {
            Event::Init => list.keys.clear(),
            Event::InitApply(object) => {
                let (key, sight) = object.sight(scope.kind);
                if scope.whole || self.board.is_named(&key) {
                    list.keys.insert(key.clone());
                    self.board.seen(key, sight);
                }
            }
            Event::InitDone => {
                list.is_complete = true;
                list.denials = 0;
                let keys = std::mem::take(&mut list.keys);
                self.board.listed(|key| scope.covers(key), &keys);
            }
            Event::Apply(object) => {
                list.denials = 0;
                let (key, sight) = object.sight(scope.kind);
                if scope.whole || self.board.is_named(&key) {
                    self.board.seen(key, sight);
                }
            }
            Event::Delete(object) => self.board.gone(object.sight(scope.kind).0),
        }
        Ok(())
    }

    /// Missing rights and a wrong selector end the wait; everything else may pass.
    fn failed(&mut self, index: usize, error: &WatchError, terminal: Terminal) -> Result<()> {
        let (scope, list) = (&self.scopes[index], &mut self.lists[index]);
        let (verb, cause) = match error {
            WatchError::InitialListFailed(cause) => ("list", cause),
            WatchError::WatchStartFailed(cause) | WatchError::WatchFailed(cause) => {
                ("watch", cause)
            }
            WatchError::WatchError(_) | WatchError::NoResourceVersion => return Ok(()),
        };
        if let (Some(selector), kube::Error::Api(status)) = (&scope.selector, cause)
            && status.code == 400
        {
            return Err(
                CommandError::usage("the API server cannot read the selector")
                    .on(safe(selector))
                    .hint("write it as for kubectl: app=web, or 'app in (web, api)'"),
            );
        }
        let namespace = scope.namespace.as_deref();
        let told = self.cluster.unread(cause, verb, scope.kind, namespace);
        if matches!(cause, kube::Error::Api(status) if matches!(status.code, 401 | 403 | 404)) {
            list.denials += 1;
            if !list.is_complete || list.denials >= DENIALS {
                return Err(told);
            }
        }
        if list.trouble.is_none() {
            terminal.detail(format_args!("trying again: {told}"));
        }
        list.trouble = Some(told);
        Ok(())
    }

    /// Time ran out. What nobody could look at is not judged.
    fn late(&mut self, terminal: Terminal) -> Result<Outcome> {
        for list in &mut self.lists {
            match list.trouble.take() {
                trouble if !list.is_complete => {
                    let silent = || timed_out().on(self.cluster.title());
                    return Err(trouble.unwrap_or_else(silent));
                }
                Some(trouble) => {
                    terminal.warning(format_args!("this may be out of date: {trouble}"));
                }
                None => {}
            }
        }
        Ok(Outcome::TimedOut)
    }
}

fn bar(terminal: Terminal, board: &Board) -> ProgressBar {
    let bar = terminal.progress(board.total());
    if let Ok(style) = ProgressStyle::with_template("{wide_bar} {pos}/{len} ready  {msg}") {
        bar.set_style(style);
    }
    if !bar.is_hidden() {
        bar.enable_steady_tick(Duration::from_millis(200));
    }
    bar
}

fn show(bar: &ProgressBar, board: &Board) {
    bar.set_length(board.total() as u64);
    bar.set_position(board.ready() as u64);
    if let Some(key) = board.next_waiting().filter(|_| !bar.is_hidden()) {
        bar.set_message(format!("waiting for {key}"));
    }
}
