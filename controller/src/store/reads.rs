//! One read for all who want the same secret within a window, also while it is under way.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use super::{Held, Object, PATIENCE, Read, StoreError};

use crate::lock::lock;

/// What was read, and when.
type Last = Option<(Instant, Result<Arc<Held>, StoreError>)>;
type Slots = Mutex<HashMap<Read, Arc<tokio::sync::Mutex<Last>>>>;

/// Failures are shared for this long: by those who waited for the same read.
const FAILURE: Duration = Duration::from_secs(1);
/// A read is kept for this many windows more, for those who were due within the first and get their
/// turn later: thousands may be due at once. With windows of a tenth of an interval, the next read
/// takes its place.
const LATE: u32 = 5;

/// Which earlier reads are new enough.
#[derive(Clone, Copy, Debug)]
pub struct Share {
    /// Those that ended no longer than this
    pub window: Duration,
    /// before this moment, or after it.
    pub since: Instant,
}

impl Share {
    /// Those that ended within this time.
    pub fn within(window: Duration) -> Self {
        let since = Instant::now();
        Self { window, since }
    }

    fn allows(self, ended: Instant) -> bool {
        self.since.saturating_duration_since(ended) < self.window
    }
}

/// See the module's documentation.
#[derive(Default)]
pub(super) struct Reads {
    slots: Arc<Slots>,
}

impl Reads {
    /// What was read and may be shared, or what `fetch` reads now.
    pub(super) async fn get(
        &self,
        read: &Read,
        share: Share,
        fetch: impl AsyncFnOnce() -> Result<Object, StoreError>,
    ) -> Result<Arc<Held>, StoreError> {
        let slot = lock(&self.slots).entry(read.clone()).or_default().clone();
        // Who waits here shares the read under way.
        let last = tokio::time::timeout(PATIENCE, slot.lock()).await;
        let mut last = last.map_err(|_| StoreError::Busy)?;
        if let Some((at, result)) = &*last {
            let is_shared = match result {
                Ok(_) => share.allows(*at),
                Err(_) => at.elapsed() < FAILURE,
            };
            if is_shared {
                return result.clone();
            }
        }
        let result = fetch().await.and_then(Held::new).map(Arc::new);
        let may_stay = result.as_ref().map_or(true, |held| held.may_stay());
        *last = may_stay.then(|| (Instant::now(), result.clone()));
        drop(last);
        let is_kept = result.as_ref().is_ok_and(|held| held.may_stay_late());
        let late = if is_kept { LATE } else { 0 };
        self.forget_after(share.window.max(FAILURE) * (1 + late), read.clone());
        result
    }

    /// Shares no earlier read with those who come from now on.
    pub(super) fn forget(&self, read: &Read) {
        lock(&self.slots).remove(read);
    }

    /// A value is in memory no longer than somebody may share it.
    fn forget_after(&self, time: Duration, read: Read) {
        let slots = Arc::downgrade(&self.slots);
        tokio::spawn(async move {
            tokio::time::sleep(time).await;
            let Some(slots) = slots.upgrade() else {
                return;
            };
            let mut slots = lock(&slots);
            let is_old = slots.get(&read).is_some_and(|slot| {
                // One that is locked is read again just now.
                let last = slot.try_lock();
                last.is_ok_and(|last| last.as_ref().is_none_or(|(at, _)| at.elapsed() >= time))
            });
            if is_old {
                slots.remove(&read);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use serde_json::json;

    use super::*;

    const WINDOW: Duration = Duration::from_secs(6);

    fn read(key: &str) -> Read {
        Read::Secret {
            key: key.to_owned(),
            version: None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_is_shared_within_its_window_and_forgotten_after_it() {
        let (reads, calls) = (Reads::default(), AtomicU32::new(0));
        let get = async |key: &str| {
            let fetch = async || {
                tokio::time::sleep(Duration::from_millis(100)).await;
                Ok(Object(json!(calls.fetch_add(1, Ordering::Relaxed))))
            };
            reads
                .get(&read(key), Share::within(WINDOW), fetch)
                .await
                .unwrap()
                .0
                .clone()
        };
        let (a, b, c) = tokio::join!(get("a"), get("a"), get("b"));
        assert_eq!((a.clone(), calls.load(Ordering::Relaxed)), (b, 2));
        assert_ne!(a, c);
        tokio::time::advance(Duration::from_millis(5_800)).await;
        assert_eq!(get("a").await, a);
        tokio::time::advance(Duration::from_millis(200)).await;
        assert_ne!(get("a").await, a);
        tokio::time::sleep(WINDOW * (2 + LATE)).await;
        assert!(lock(&reads.slots).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_gets_his_turn_late_shares_what_was_read_when_he_was_due() {
        let (reads, calls) = (Reads::default(), AtomicU32::new(0));
        let get = async |since: Instant| {
            let fetch = async || Ok(Object(json!(calls.fetch_add(1, Ordering::Relaxed))));
            let share = Share {
                window: WINDOW,
                since,
            };
            let read = reads.get(&read("a"), share, fetch).await;
            read.unwrap().0.clone()
        };
        let due = Instant::now();
        let first = get(due).await;
        tokio::time::advance(WINDOW * 3).await;
        assert_eq!(get(due).await, first);
        let changed = get(Instant::now()).await;
        assert_ne!(changed, first, "asked for later than that");
        assert_eq!(get(due).await, changed, "what is newer is good enough");
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_waited_share_a_failure_and_later_ones_ask_again() {
        let (reads, calls) = (Reads::default(), AtomicU32::new(0));
        let get = async || {
            let fetch = async || {
                calls.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(100)).await;
                Err(StoreError::unavailable("gone"))
            };
            reads
                .get(&read("a"), Share::within(WINDOW), fetch)
                .await
                .is_err()
        };
        assert_eq!(tokio::join!(get(), get(), get()), (true, true, true));
        assert_eq!(calls.load(Ordering::Relaxed), 1);
        tokio::time::advance(FAILURE).await;
        assert!(get().await);
        assert_eq!(calls.load(Ordering::Relaxed), 2);
    }
}
