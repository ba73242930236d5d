//! Ready keys, one group after the other.

use std::collections::{HashMap, VecDeque};

/// Keys by group, in the order of arrival. Groups take turns, so that a flood in one does not delay
/// the others.
pub(super) struct FairLane<K> {
    groups: HashMap<String, VecDeque<(K, u64)>>,
    /// Groups that have keys, the next one first.
    turns: VecDeque<String>,
}

impl<K> FairLane<K> {
    pub(super) fn new() -> Self {
        Self {
            groups: HashMap::new(),
            turns: VecDeque::new(),
        }
    }

    pub(super) fn push(&mut self, group: &str, key: K, sequence: u64) {
        if let Some(keys) = self.groups.get_mut(group) {
            keys.push_back((key, sequence));
        } else {
            let keys = VecDeque::from([(key, sequence)]);
            self.groups.insert(group.to_owned(), keys);
            self.turns.push_back(group.to_owned());
        }
    }

    /// Takes the first `current` key of the next group that `may_run`. Returns the group and the
    /// key.
    pub(super) fn pop(
        &mut self,
        may_run: impl Fn(&str) -> bool,
        current: impl Fn(&K, u64) -> bool,
    ) -> Option<(String, K)> {
        for _ in 0..self.turns.len() {
            let group = self.turns.pop_front()?;
            if !may_run(&group) {
                self.turns.push_back(group);
                continue;
            }
            let keys = self.groups.get_mut(&group)?;
            let found = std::iter::from_fn(|| keys.pop_front())
                .find(|(key, sequence)| current(key, *sequence));
            if keys.is_empty() {
                self.groups.remove(&group);
            } else {
                self.turns.push_back(group.clone());
            }
            if let Some((key, _)) = found {
                return Some((group, key));
            }
        }
        None
    }

    pub(super) fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }
}
