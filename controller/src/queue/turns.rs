//! Places for expensive work. Groups take turns for them, and none takes all of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::oneshot;

use super::fair::FairLane;

use crate::lock::lock;

/// See the module's documentation.
pub struct Turns {
    state: Mutex<State>,
    /// Places of one group at once.
    at_once: usize,
}

struct State {
    free: usize,
    taken: HashMap<String, usize>,
    waiting: FairLane<oneshot::Sender<Place>>,
}

/// A place, which is free again when dropped.
pub struct Place {
    turns: Arc<Turns>,
    group: String,
}

impl Turns {
    /// `places` in all, and at most `at_once` of them for one group.
    pub fn new(places: usize, at_once: usize) -> Arc<Self> {
        let state = State {
            free: places,
            taken: HashMap::new(),
            waiting: FairLane::new(),
        };
        Arc::new(Self {
            state: Mutex::new(state),
            at_once,
        })
    }

    /// Waits for a place. A caller that stops waiting is skipped.
    pub async fn take(self: &Arc<Self>, group: &str) -> Place {
        let (sender, receiver) = oneshot::channel();
        self.lock().waiting.push(group, sender, 0);
        self.hand_out();
        match receiver.await {
            Ok(place) => place,
            // The sender waits in a lane that lives as long as this.
            Err(_) => std::future::pending().await,
        }
    }

    /// Hands out free places in turn.
    fn hand_out(self: &Arc<Self>) {
        while let Some((sender, place)) = self.next() {
            // If nobody takes the place, dropping it here, outside the lock, frees it.
            drop(sender.send(place));
        }
    }

    fn next(self: &Arc<Self>) -> Option<(oneshot::Sender<Place>, Place)> {
        let mut state = self.lock();
        let State {
            free,
            taken,
            waiting,
        } = &mut *state;
        if *free == 0 {
            return None;
        }
        let may_run = |group: &str| taken.get(group).is_none_or(|count| *count < self.at_once);
        let (group, sender) = waiting.pop(may_run, |sender, _| !sender.is_closed())?;
        *free -= 1;
        *taken.entry(group.clone()).or_default() += 1;
        let turns = self.clone();
        Some((sender, Place { turns, group }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        {
            let mut state = self.turns.lock();
            state.free += 1;
            if let Some(count) = state.taken.get_mut(&self.group) {
                *count -= 1;
                if *count == 0 {
                    state.taken.remove(&self.group);
                }
            }
        }
        self.turns.hand_out();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    async fn waits(turns: &Arc<Turns>, group: &str) -> bool {
        timeout(Duration::from_millis(1), turns.take(group))
            .await
            .is_err()
    }

    #[tokio::test(start_paused = true)]
    async fn no_group_takes_all_places() {
        let turns = Turns::new(2, 1);
        let a = turns.take("a").await;
        assert!(waits(&turns, "a").await, "one place is all it gets");
        let b = turns.take("b").await;
        assert!(waits(&turns, "c").await, "both are taken");
        drop(a);
        let c = turns.take("c").await;
        drop((b, c));
        drop(turns.take("a").await);
        assert!(turns.lock().taken.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn groups_take_turns_however_many_wait() {
        let turns = Turns::new(1, 1);
        let first = turns.take("a").await;
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = tokio::task::JoinSet::new();
        for group in ["a", "a", "a", "b"] {
            let (turns, order) = (turns.clone(), order.clone());
            tasks.spawn(async move {
                let _place = turns.take(group).await;
                order.lock().unwrap().push(group);
            });
            tokio::task::yield_now().await;
        }
        drop(first);
        while tasks.join_next().await.is_some() {}
        assert_eq!(*order.lock().unwrap(), ["a", "b", "a", "a"]);
    }
}
