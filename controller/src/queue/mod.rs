//! The queue that all reconcilers use. It merges triggers per key, never hands out a key twice at
//! once, prefers work that somebody waits for over background work, lets groups of keys take turns,
//! and keeps due times. It knows no cluster and is tested without one.

mod fair;
mod pause;
mod turns;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;

use fair::FairLane;

use crate::lock::lock;
pub use pause::{LONGEST_PAUSE, pause};
pub use turns::{Place, Turns};

/// A key that belongs to a group. Groups take turns.
pub trait Grouped {
    /// The group: for objects, their namespace.
    fn group(&self) -> &str;
}

/// Which work goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// New or changed objects and drift: somebody waits.
    Fresh,
    /// Retries and rechecks.
    Background,
}

impl Lane {
    /// The word in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Background => "background",
        }
    }
}

/// One piece of work. Its key is not handed out again until [`Queue::done`].
#[derive(Debug)]
pub struct Work<K, T> {
    /// What to reconcile.
    pub key: K,
    /// The latest payload that a trigger brought, if any.
    pub payload: Option<T>,
    /// Its lane.
    pub lane: Lane,
    /// When it became due, for the metric of waits.
    pub due: Instant,
    /// When the last of its triggers was due: what is newer than that is new enough.
    pub since: Instant,
}

/// See the module's documentation. `K` identifies an object, `T` is what triggers carry along.
pub struct Queue<K, T> {
    state: Mutex<State<K, T>>,
    wake: Notify,
    /// Keys of one group that may be handed out at once.
    at_once: usize,
}

struct Pending<T> {
    lane: Lane,
    due: Instant,
    /// When the last trigger was due, and when the next one will be.
    since: Option<Instant>,
    later: Option<Instant>,
    payload: Option<T>,
    sequence: u64,
    /// Is it in `ready` or `delayed`? Not while its key runs.
    scheduled: bool,
}

impl<T> Pending<T> {
    /// When the last of the triggers was due that are due by now.
    fn since_at(&self, now: Instant) -> Option<Instant> {
        self.since.max(self.later.filter(|later| *later <= now))
    }
}

struct State<K, T> {
    pending: HashMap<K, Pending<T>>,
    ready: [FairLane<K>; 2],
    delayed: BTreeSet<(Instant, u64)>,
    delayed_keys: HashMap<u64, K>,
    running: HashSet<K>,
    running_groups: HashMap<String, usize>,
    sequence: u64,
    taken: u64,
    closed: bool,
}

/// In one of this many turns the background lane goes first, so that a flood of fresh work does not
/// starve retries.
const BACKGROUND_TURN: u64 = 8;

impl<K: Clone + Eq + Hash + Grouped, T> Queue<K, T> {
    /// An empty queue that hands out at most `at_once` keys of one group at once. With more workers
    /// than that, slow work in one group leaves some to the others.
    pub fn new(at_once: usize) -> Self {
        Self {
            at_once: at_once.max(1),
            state: Mutex::new(State {
                pending: HashMap::new(),
                ready: [FairLane::new(), FairLane::new()],
                delayed: BTreeSet::new(),
                delayed_keys: HashMap::new(),
                running: HashSet::new(),
                running_groups: HashMap::new(),
                sequence: 0,
                taken: 0,
                closed: false,
            }),
            wake: Notify::new(),
        }
    }

    /// Adds a trigger. A key that waits already keeps the earlier due time and the better lane, and
    /// gets the newer payload. A key that runs is handed out again after it is done.
    pub fn push(&self, key: K, lane: Lane, due: Instant, payload: Option<T>) {
        self.add(key, lane, due, due, payload);
    }

    /// Adds work that was taken from another queue and is due at once.
    pub fn hand_over(&self, work: Work<K, T>) {
        let due = Instant::now();
        self.add(work.key, work.lane, due, work.since, work.payload);
    }

    fn add(&self, key: K, lane: Lane, due: Instant, since: Instant, payload: Option<T>) {
        let now = Instant::now();
        // What is due later triggers nothing before.
        let later = Some(since).filter(|since| *since > now);
        let since = Some(since).filter(|since| *since <= now);
        let mut state = self.lock();
        if state.closed {
            return;
        }
        let running = state.running.contains(&key);
        let merged = if let Some(mut old) = state.pending.remove(&key) {
            state.unschedule(&old);
            old.lane = old.lane.min(lane);
            old.due = old.due.min(due);
            old.since = old.since_at(now).max(since);
            let next = old.later.filter(|later| *later > now).into_iter();
            old.later = next.chain(later).min();
            old.payload = payload.or(old.payload);
            old
        } else {
            Pending {
                lane,
                due,
                since,
                later,
                payload,
                sequence: 0,
                scheduled: false,
            }
        };
        state.schedule(key, merged, running);
        drop(state);
        self.wake.notify_one();
    }

    /// Waits for the next piece of work that is due. `None` once the queue is closed.
    pub async fn next(&self) -> Option<Work<K, T>> {
        loop {
            let notified = self.wake.notified();
            let next_due = {
                let mut state = self.lock();
                if state.closed {
                    return None;
                }
                state.promote(Instant::now());
                if let Some(work) = state.take(self.at_once) {
                    // Other workers may wait for the rest.
                    if state.ready.iter().any(|lane| !lane.is_empty()) {
                        self.wake.notify_one();
                    }
                    return Some(work);
                }
                state.delayed.first().map(|(due, _)| *due)
            };
            match next_due {
                Some(due) => {
                    tokio::select! {
                        () = notified => {}
                        () = tokio::time::sleep_until(due) => {}
                    }
                }
                None => notified.await,
            }
        }
    }

    /// Ends the work on a key, which may then be handed out again.
    pub fn done(&self, key: &K) {
        let mut state = self.lock();
        state.running.remove(key);
        let group = key.group();
        if let Some(count) = state.running_groups.get_mut(group) {
            *count -= 1;
            if *count == 0 {
                state.running_groups.remove(group);
            }
        }
        if let Some(pending) = state.pending.remove(key) {
            state.schedule(key.clone(), pending, false);
        }
        drop(state);
        // Work on this key, or on another of its group, may be possible now.
        self.wake.notify_one();
    }

    /// Forgets a key that waits.
    pub fn forget(&self, key: &K) {
        let mut state = self.lock();
        if let Some(pending) = state.pending.remove(key) {
            state.unschedule(&pending);
        }
    }

    /// Stops handing out work: every waiter gets `None`.
    pub fn close(&self) {
        self.lock().closed = true;
        self.wake.notify_waiters();
        self.wake.notify_one();
    }

    /// Keys that wait in this lane, due or not.
    pub fn depth(&self, lane: Lane) -> usize {
        self.lock()
            .pending
            .values()
            .filter(|pending| pending.lane == lane)
            .count()
    }

    /// For how long the key that has been due longest has waited; zero if none is due.
    pub fn overdue(&self) -> Duration {
        let now = Instant::now();
        let first = self
            .lock()
            .pending
            .values()
            .map(|pending| pending.due)
            .min();
        first.map_or(Duration::ZERO, |due| now.saturating_duration_since(due))
    }

    fn lock(&self) -> MutexGuard<'_, State<K, T>> {
        lock(&self.state)
    }
}

impl<K: Clone + Eq + Hash + Grouped, T> State<K, T> {
    fn schedule(&mut self, key: K, mut pending: Pending<T>, running: bool) {
        self.sequence += 1;
        pending.sequence = self.sequence;
        pending.scheduled = !running;
        if pending.scheduled {
            self.delayed.insert((pending.due, pending.sequence));
            self.delayed_keys.insert(pending.sequence, key.clone());
        }
        self.pending.insert(key, pending);
    }

    /// Entries in `ready` stay there, and are skipped by their old sequence number.
    fn unschedule(&mut self, pending: &Pending<T>) {
        if pending.scheduled {
            self.delayed.remove(&(pending.due, pending.sequence));
            self.delayed_keys.remove(&pending.sequence);
        }
    }

    fn promote(&mut self, now: Instant) {
        while let Some(&(due, sequence)) = self.delayed.first() {
            if due > now {
                break;
            }
            self.delayed.pop_first();
            if let Some(key) = self.delayed_keys.remove(&sequence) {
                let lane = self
                    .pending
                    .get(&key)
                    .map_or(Lane::Background, |pending| pending.lane);
                let group = key.group().to_owned();
                self.ready[lane as usize].push(&group, key, sequence);
            }
        }
    }

    fn take(&mut self, at_once: usize) -> Option<Work<K, T>> {
        self.taken += 1;
        let order = if self.taken.is_multiple_of(BACKGROUND_TURN) {
            [1, 0]
        } else {
            [0, 1]
        };
        let Self {
            ready,
            pending,
            running_groups,
            ..
        } = self;
        let may_run = |group: &str| {
            running_groups
                .get(group)
                .is_none_or(|count| *count < at_once)
        };
        let current = |key: &K, sequence: u64| {
            pending
                .get(key)
                .is_some_and(|pending| pending.sequence == sequence)
        };
        let (group, key) = order
            .into_iter()
            .find_map(|lane| ready[lane].pop(may_run, current))?;
        let now = Instant::now();
        let pending = self.pending.remove(&key)?;
        let since = pending.since_at(now).unwrap_or(now);
        let Pending {
            lane, due, payload, ..
        } = pending;
        self.running.insert(key.clone());
        *self.running_groups.entry(group).or_default() += 1;
        Some(Work {
            key,
            payload,
            lane,
            due,
            since,
        })
    }
}

/// Waits until all workers have ended: when their queue is closed, each after its write in
/// progress. Returns early if a watch ends, which none should, or if a worker is aborted.
pub async fn drained(mut workers: JoinSet<()>, mut watches: JoinSet<()>) {
    loop {
        tokio::select! {
            ended = workers.join_next() => match ended {
                None => break,
                Some(Ok(())) => {}
                Some(Err(_)) => return tracing::error!("a worker ended unexpectedly"),
            },
            Some(_) = watches.join_next() => return tracing::error!("a watch ended unexpectedly"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    impl Grouped for &str {
        fn group(&self) -> &str {
            self.split('/').next().unwrap_or_default()
        }
    }

    impl Grouped for u32 {
        fn group(&self) -> &'static str {
            ""
        }
    }

    fn now() -> Instant {
        Instant::now()
    }

    fn queue<K: Clone + Eq + Hash + Grouped, T>() -> Queue<K, T> {
        Queue::new(usize::MAX)
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_in_one_group_does_not_delay_another() {
        let queue = queue();
        let flood: Vec<String> = (0..1_000).map(|index| format!("flood/{index}")).collect();
        for key in &flood {
            queue.push(key.as_str(), Lane::Fresh, now(), None::<()>);
        }
        queue.push("quiet/a", Lane::Fresh, now(), None);
        let mut order = Vec::new();
        for _ in 0..3 {
            order.push(queue.next().await.unwrap().key);
        }
        assert_eq!(order, ["flood/0", "quiet/a", "flood/1"]);
    }

    #[tokio::test(start_paused = true)]
    async fn slow_work_of_one_group_leaves_workers_to_others() {
        let queue = Queue::new(2);
        for key in ["slow/a", "slow/b", "slow/c", "other/a"] {
            queue.push(key, Lane::Fresh, now(), None::<()>);
        }
        let mut out = Vec::new();
        for _ in 0..3 {
            out.push(queue.next().await.unwrap().key);
        }
        assert_eq!(out, ["slow/a", "other/a", "slow/b"]);
        let none = tokio::time::timeout(Duration::from_secs(1), queue.next()).await;
        assert!(none.is_err(), "two of one group at once");
        queue.done(&"slow/a");
        assert_eq!(queue.next().await.unwrap().key, "slow/c");
    }

    #[tokio::test(start_paused = true)]
    async fn triggers_merge_and_the_newest_payload_wins() {
        let queue = queue();
        queue.push(
            "a",
            Lane::Background,
            now() + Duration::from_secs(9),
            Some(1),
        );
        queue.push("a", Lane::Fresh, now(), Some(2));
        queue.push("a", Lane::Background, now() + Duration::from_secs(5), None);
        let work = queue.next().await.unwrap();
        assert_eq!((work.payload, work.lane), (Some(2), Lane::Fresh));
        queue.done(&"a");
        let rest = tokio::time::timeout(Duration::from_secs(99), queue.next()).await;
        assert!(rest.is_err(), "one key, one piece of work");
    }

    #[tokio::test(start_paused = true)]
    async fn work_knows_its_last_trigger_however_long_it_waits() {
        let (queue, slow) = (queue(), queue());
        let start = now();
        queue.push("late", Lane::Background, start, None::<()>);
        queue.push("changed", Lane::Background, start, None);
        tokio::time::advance(Duration::from_secs(5)).await;
        queue.push("changed", Lane::Fresh, now(), None);
        let work = queue.next().await.unwrap();
        assert_eq!((work.key, work.since), ("changed", now()));
        assert_eq!(work.due, start, "it waits since then");
        // A refresh that is due later is none of its triggers.
        let (soon, later) = (now(), now() + Duration::from_mins(1));
        queue.push("soon", Lane::Background, later, None);
        queue.push("soon", Lane::Fresh, soon, None);
        queue.push("refreshed", Lane::Background, later, None);
        queue.push("refreshed", Lane::Fresh, soon, None);
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(queue.next().await.unwrap().since, soon);
        tokio::time::advance(Duration::from_mins(1)).await;
        assert_eq!(
            queue.next().await.unwrap().since,
            later,
            "it is due by then"
        );
        let work = queue.next().await.unwrap();
        assert_eq!((work.key, work.since), ("late", start));
        slow.hand_over(work);
        assert_eq!(slow.next().await.unwrap().since, start);
    }

    #[tokio::test(start_paused = true)]
    async fn a_running_key_waits_until_it_is_done() {
        let queue = queue();
        queue.push("a", Lane::Fresh, now(), Some(1));
        assert!(queue.next().await.is_some());
        queue.push("a", Lane::Fresh, now(), Some(2));
        queue.push("b", Lane::Fresh, now(), Some(3));
        assert_eq!(queue.next().await.unwrap().key, "b");
        assert!(
            tokio::time::timeout(Duration::from_secs(1), queue.next())
                .await
                .is_err()
        );
        queue.done(&"a");
        assert_eq!(queue.next().await.unwrap().payload, Some(2));
    }

    #[tokio::test(start_paused = true)]
    async fn fresh_work_goes_first_and_due_times_hold() {
        let queue = queue();
        let start = now();
        queue.push(
            "late",
            Lane::Fresh,
            start + Duration::from_mins(1),
            Some(()),
        );
        queue.push("background", Lane::Background, start, Some(()));
        queue.push("fresh", Lane::Fresh, start, Some(()));
        assert_eq!(queue.next().await.unwrap().key, "fresh");
        assert_eq!(queue.next().await.unwrap().key, "background");
        assert_eq!(queue.next().await.unwrap().key, "late");
        assert_eq!(now() - start, Duration::from_mins(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_fresh_work_does_not_starve_retries() {
        let queue = queue();
        queue.push(0_u32, Lane::Background, now(), Some(()));
        (1..100).for_each(|key| queue.push(key, Lane::Fresh, now(), Some(())));
        for turn in 1.. {
            if queue.next().await.unwrap().key == 0 {
                assert!(turn <= 8);
                break;
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn overdue_is_the_wait_of_the_key_that_is_due_longest() {
        let queue = queue::<&str, ()>();
        assert_eq!(queue.overdue(), Duration::ZERO, "nothing waits");
        let later = now() + Duration::from_secs(10);
        queue.push("late", Lane::Background, later, None);
        assert_eq!(queue.overdue(), Duration::ZERO, "nothing is due");
        queue.push("first", Lane::Fresh, now(), None);
        tokio::time::advance(Duration::from_secs(15)).await;
        assert_eq!(queue.overdue(), Duration::from_secs(15));
        assert_eq!(queue.next().await.unwrap().key, "first");
        assert_eq!(
            queue.overdue(),
            Duration::from_secs(5),
            "what runs does not wait"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn closing_wakes_every_waiter() {
        let queue = Arc::new(queue::<&str, ()>());
        let waiters: Vec<_> = (0..4)
            .map(|_| {
                let queue = queue.clone();
                tokio::spawn(async move { queue.next().await.is_none() })
            })
            .collect();
        tokio::task::yield_now().await;
        queue.close();
        for waiter in waiters {
            assert!(waiter.await.unwrap());
        }
    }

    #[tokio::test]
    async fn many_workers_do_each_key_once_at_a_time() {
        let queue = Arc::new(queue::<u32, ()>());
        let running = Arc::new(Mutex::new(HashSet::new()));
        let total = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let workers: Vec<_> = (0..8)
            .map(|_| {
                let (queue, running, total) = (queue.clone(), running.clone(), total.clone());
                tokio::spawn(async move {
                    while let Some(work) = queue.next().await {
                        assert!(running.lock().unwrap().insert(work.key), "twice at once");
                        tokio::task::yield_now().await;
                        running.lock().unwrap().remove(&work.key);
                        total.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        queue.done(&work.key);
                    }
                })
            })
            .collect();
        for round in 0..2_000 {
            queue.push(round % 17, Lane::Fresh, now(), None);
            if round % 50 == 0 {
                tokio::task::yield_now().await;
            }
        }
        while queue.depth(Lane::Fresh) > 0 || !running.lock().unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        queue.close();
        for worker in workers {
            worker.await.unwrap();
        }
        assert!(total.load(std::sync::atomic::Ordering::Relaxed) >= 17);
    }
}
