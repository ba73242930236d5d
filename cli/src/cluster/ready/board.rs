//! What is awaited, and what is known of it. Pure.

use std::collections::{BTreeMap, BTreeSet};

use sealkit_core::api::readiness::{Readiness, Why};
use serde_json::{Value, json};

use crate::cluster::kinds::ObjectKey;

/// What is known of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sight {
    /// Its generation.
    pub generation: i64,
    /// What its status says of that.
    pub readiness: Readiness,
}

#[derive(Debug)]
struct Entry {
    /// Was it named? Then it counts even where it does not exist.
    named: bool,
    /// Older generations do not count.
    at_least: i64,
    sight: Option<Sight>,
}

impl Entry {
    fn is_ready(&self) -> bool {
        let sight = self.sight.as_ref();
        sight.is_some_and(|sight| self.counts(sight) && sight.readiness.is_ready())
    }

    fn counts(&self, sight: &Sight) -> bool {
        sight.generation >= self.at_least
    }

    /// Why it fails for good, if it does.
    fn stalled(&self) -> Option<&Why> {
        let sight = self.sight.as_ref().filter(|sight| self.counts(sight))?;
        match &sight.readiness {
            Readiness::Stalled(why) => Some(why),
            _ => None,
        }
    }
}

/// The objects that are awaited, and which of them are ready.
#[derive(Debug, Default)]
pub(crate) struct Board {
    entries: BTreeMap<ObjectKey, Entry>,
    not_ready: usize,
    stalled: usize,
}

/// An object, for people and programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// Which one.
    pub key: ObjectKey,
    /// `Ready`, `Stalled`, `Waiting` or `Missing`.
    pub state: &'static str,
    /// One word; may be empty.
    pub reason: String,
    /// For people.
    pub message: String,
    generation: Option<i64>,
}

impl Board {
    /// Awaits an object, whether it exists or not, at this generation or a newer one.
    pub fn expect(&mut self, key: ObjectKey, at_least: i64) {
        let entry = Entry {
            named: true,
            at_least,
            sight: None,
        };
        self.change(key, |_| Some(entry));
    }

    /// Notes what an object is now. One that nobody named is awaited from now on.
    pub fn seen(&mut self, key: ObjectKey, sight: Sight) {
        self.change(key, |entry| {
            let mut entry = entry.unwrap_or(Entry {
                named: false,
                at_least: 0,
                sight: None,
            });
            entry.sight = Some(sight);
            Some(entry)
        });
    }

    /// Notes that an object does not exist.
    pub fn gone(&mut self, key: ObjectKey) {
        self.change(key, |entry| {
            entry.filter(|entry| entry.named).map(|mut entry| {
                entry.sight = None;
                entry
            })
        });
    }

    /// Notes that a list is complete: what it covers and lacks is gone.
    pub fn listed(&mut self, covers: impl Fn(&ObjectKey) -> bool, keys: &BTreeSet<ObjectKey>) {
        let entries = self.entries.iter();
        let known = entries.filter(|(_, entry)| entry.sight.is_some());
        let gone = known.filter(|(key, _)| covers(key) && !keys.contains(key));
        for key in gone.map(|(key, _)| key.clone()).collect::<Vec<_>>() {
            self.gone(key);
        }
    }

    /// Is this one awaited by name?
    pub fn is_named(&self, key: &ObjectKey) -> bool {
        self.entries.get(key).is_some_and(|entry| entry.named)
    }

    /// Changes an entry, and the counts with it.
    fn change(&mut self, key: ObjectKey, change: impl FnOnce(Option<Entry>) -> Option<Entry>) {
        let old = self.entries.remove(&key);
        if let Some(old) = &old {
            self.not_ready -= usize::from(!old.is_ready());
            self.stalled -= usize::from(old.stalled().is_some());
        }
        if let Some(new) = change(old) {
            self.not_ready += usize::from(!new.is_ready());
            self.stalled += usize::from(new.stalled().is_some());
            self.entries.insert(key, new);
        }
    }

    /// How many objects there are.
    pub fn total(&self) -> usize {
        self.entries.len()
    }

    /// How many of them are ready.
    pub fn ready(&self) -> usize {
        self.entries.len() - self.not_ready
    }

    /// Is one of them stalled?
    pub fn has_stalled(&self) -> bool {
        self.stalled > 0
    }

    /// One that is not ready.
    pub fn next_waiting(&self) -> Option<&ObjectKey> {
        let mut entries = self.entries.iter();
        let waiting = entries.find(|(_, entry)| !entry.is_ready());
        waiting.map(|(key, _)| key)
    }

    /// All objects, in the order of their stages.
    pub fn lines(&self) -> Vec<Line> {
        let lines = self.entries.iter().map(|(key, entry)| Line::of(key, entry));
        lines.collect()
    }
}

impl Line {
    fn of(key: &ObjectKey, entry: &Entry) -> Self {
        let (state, why) = match &entry.sight {
            None => ("Missing", ("NotFound", "the cluster does not have it")),
            Some(sight) if !entry.counts(sight) => ("Waiting", ("", NOT_OBSERVED)),
            Some(sight) => match &sight.readiness {
                Readiness::Ready => ("Ready", ("", "")),
                Readiness::Stalled(why) => ("Stalled", (&*why.reason, &*why.message)),
                Readiness::Waiting(why) if *why == Why::default() => {
                    ("Waiting", ("", NOT_OBSERVED))
                }
                Readiness::Waiting(why) => ("Waiting", (&*why.reason, &*why.message)),
            },
        };
        Self {
            key: key.clone(),
            state,
            reason: why.0.to_owned(),
            message: why.1.to_owned(),
            generation: entry.sight.as_ref().map(|sight| sight.generation),
        }
    }

    /// That of an object of which nothing is known.
    pub fn missing(key: &ObjectKey) -> Self {
        Self {
            key: key.clone(),
            state: "Missing",
            reason: String::new(),
            message: String::new(),
            generation: None,
        }
    }

    /// Is it ready?
    pub fn is_ready(&self) -> bool {
        self.state == "Ready"
    }

    /// The same for programs.
    pub fn to_json(&self) -> Value {
        json!({
            "group": self.key.kind.group, "kind": self.key.kind.kind,
            "namespace": Some(&self.key.namespace).filter(|namespace| !namespace.is_empty()),
            "name": self.key.name, "generation": self.generation,
            "state": self.state, "reason": self.reason, "message": self.message,
        })
    }
}

const NOT_OBSERVED: &str = "its controller has not reported on this generation yet";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::kinds::KINDS;

    fn key(name: &str) -> ObjectKey {
        ObjectKey {
            kind: &KINDS[0],
            namespace: "shop".to_owned(),
            name: name.to_owned(),
        }
    }

    fn sight(generation: i64, readiness: Readiness) -> Sight {
        Sight {
            generation,
            readiness,
        }
    }

    fn states(board: &Board) -> Vec<&'static str> {
        board.lines().iter().map(|line| line.state).collect()
    }

    #[test]
    fn named_objects_count_even_where_they_are_missing() {
        let mut board = Board::default();
        board.expect(key("a"), 0);
        assert_eq!((board.ready(), board.total()), (0, 1));
        assert_eq!(states(&board), ["Missing"]);
        board.seen(key("a"), sight(1, Readiness::Ready));
        board.seen(key("b"), sight(1, Readiness::Waiting(Why::default())));
        assert_eq!((board.ready(), board.total()), (1, 2));
        assert_eq!(board.next_waiting(), Some(&key("b")));
        // After an interruption, the list has neither.
        board.listed(|_| true, &BTreeSet::new());
        assert_eq!(states(&board), ["Missing"]);
        assert_eq!((board.ready(), board.total()), (0, 1));
    }

    #[test]
    fn an_older_generation_than_the_applied_one_is_neither_ready_nor_stalled() {
        let mut board = Board::default();
        board.expect(key("a"), 3);
        let stalled = || Readiness::Stalled(Why::default());
        for old in [Readiness::Ready, stalled()] {
            board.seen(key("a"), sight(2, old));
            assert_eq!((board.ready(), board.has_stalled()), (0, false));
            assert_eq!(states(&board), ["Waiting"]);
        }
        board.seen(key("a"), sight(3, stalled()));
        assert!(board.has_stalled());
        board.seen(key("a"), sight(4, Readiness::Ready));
        assert_eq!((board.ready(), board.has_stalled()), (1, false));
    }

    #[test]
    fn a_list_says_nothing_of_what_it_does_not_cover() {
        let mut board = Board::default();
        board.seen(key("a"), sight(1, Readiness::Ready));
        board.seen(key("b"), sight(1, Readiness::Ready));
        board.seen(key("c"), sight(1, Readiness::Ready));
        board.listed(|key| key.name != "c", &BTreeSet::from([key("a")]));
        let names: Vec<_> = board
            .lines()
            .into_iter()
            .map(|line| line.key.name)
            .collect();
        assert_eq!(names, ["a", "c"]);
        board.gone(key("a"));
        assert_eq!(board.total(), 1);
    }
}
