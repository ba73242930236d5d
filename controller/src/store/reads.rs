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

/// See the module's documentation.
#[derive(Default)]
pub(super) struct Reads {
    slots: Arc<Slots>,
}

impl Reads {
    /// What was read less than `window` ago, or what `fetch` reads now.
    pub(super) async fn get(
        &self,
        read: &Read,
        window: Duration,
        fetch: impl AsyncFnOnce() -> Result<Object, StoreError>,
    ) -> Result<Arc<Held>, StoreError> {
        let slot = lock(&self.slots).entry(read.clone()).or_default().clone();
        // Who waits here shares the read under way.
        let last = tokio::time::timeout(PATIENCE, slot.lock()).await;
        let mut last = last.map_err(|_| StoreError::Busy)?;
        if let Some((at, result)) = &*last {
            let window = if result.is_ok() { window } else { FAILURE };
            if at.elapsed() < window {
                return result.clone();
            }
        }
        let result = fetch().await.and_then(Held::new).map(Arc::new);
        let may_stay = result.as_ref().map_or(true, |held| held.may_stay());
        *last = may_stay.then(|| (Instant::now(), result.clone()));
        drop(last);
        self.forget_after(window.max(FAILURE), read.clone());
        result
    }

    /// Shares no earlier read with those who come from now on.
    pub(super) fn forget(&self, read: &Read) {
        lock(&self.slots).remove(read);
    }

    /// A value is in memory no longer than it is shared.
    fn forget_after(&self, window: Duration, read: Read) {
        let slots = Arc::downgrade(&self.slots);
        tokio::spawn(async move {
            tokio::time::sleep(window).await;
            let Some(slots) = slots.upgrade() else {
                return;
            };
            let mut slots = lock(&slots);
            let is_old = slots.get(&read).is_some_and(|slot| {
                // One that is locked is read again just now.
                let last = slot.try_lock();
                last.is_ok_and(|last| last.as_ref().is_none_or(|(at, _)| at.elapsed() >= window))
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
                .get(&read(key), WINDOW, fetch)
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
        tokio::time::sleep(WINDOW * 2).await;
        assert!(lock(&reads.slots).is_empty());
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
            reads.get(&read("a"), WINDOW, fetch).await.is_err()
        };
        assert_eq!(tokio::join!(get(), get(), get()), (true, true, true));
        assert_eq!(calls.load(Ordering::Relaxed), 1);
        tokio::time::advance(FAILURE).await;
        assert!(get().await);
        assert_eq!(calls.load(Ordering::Relaxed), 2);
    }
}
