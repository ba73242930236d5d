//! The memory that answers of providers may take. Any tenant can name a server that answers whatever
//! it likes, to as many objects at once as he likes.

use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

use serde_json::Value;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::{Object, PATIENCE, StoreError};
use crate::queue::{Place, Turns};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// Bytes of a body that need no place.
pub(super) const SMALL_BODY: usize = 64 * KIB;
/// Bytes of a secret once it is read. A Secret holds 1 MiB.
const LARGEST: usize = 16 * MIB;
/// Bytes from which on a secret is large.
const LARGE: usize = 256 * KIB;
/// Bytes of small secrets that are kept for others.
const KEPT: usize = 32 * MIB;
/// Bytes of them up to which more are kept for long.
const KEPT_LATE: usize = 16 * MIB;

/// Places of bodies that are not small while they arrive: 8 MiB each. Whoever names a slow server leaves
/// half of them to the others.
static BODIES: LazyLock<Arc<Turns>> = LazyLock::new(|| Turns::new(8, 4));
/// Places of searches, which gather 8 MiB each and read some secrets ahead.
static SEARCHES: LazyLock<Arc<Turns>> = LazyLock::new(|| Turns::new(4, 2));
/// Places of large secrets while they are used: 16 MiB each.
static LARGE_SECRETS: Semaphore = Semaphore::const_new(8);
/// Bytes of all small secrets that are used or kept.
static SMALL_SECRETS: AtomicUsize = AtomicUsize::new(0);

/// A place for a body that is not small, among those of a team. Error: [`StoreError::Busy`].
pub(super) async fn body_place(team: &str) -> Result<Place, StoreError> {
    place(&BODIES, team).await
}

/// A place for a search, among those of a team. Error: [`StoreError::Busy`].
pub(super) async fn search_place(team: &str) -> Result<Place, StoreError> {
    place(&SEARCHES, team).await
}

async fn place(places: &Arc<Turns>, team: &str) -> Result<Place, StoreError> {
    let place = tokio::time::timeout(PATIENCE, places.take(team)).await;
    place.map_err(|_| StoreError::Busy)
}

/// Does the JSON take too much memory once it is read? Items of one byte take a hundred times as
/// much.
pub(super) fn is_too_large(body: &[u8]) -> bool {
    std::str::from_utf8(body).is_ok_and(|text| sealkit_core::sealed::memory_size(text) > LARGEST)
}

/// A secret that was read, and its place in memory until it is dropped.
pub struct Held {
    object: Object,
    /// Bytes among the small ones.
    small: usize,
    /// The place of a large one.
    large: Option<SemaphorePermit<'static>>,
}

impl Held {
    /// Error: [`StoreError::Busy`] if too many large secrets are used just now.
    pub(super) fn new(object: Object) -> Result<Self, StoreError> {
        let bytes = size(&object.0);
        let (small, large) = if bytes > LARGE {
            (
                0,
                Some(LARGE_SECRETS.try_acquire().map_err(|_| StoreError::Busy)?),
            )
        } else {
            SMALL_SECRETS.fetch_add(bytes, Ordering::Relaxed);
            (bytes, None)
        };
        Ok(Self {
            object,
            small,
            large,
        })
    }

    /// May it be kept for others when nobody uses it?
    pub(super) fn may_stay(&self) -> bool {
        self.large.is_none() && SMALL_SECRETS.load(Ordering::Relaxed) <= KEPT
    }

    /// May it be kept for those too who get their turn late?
    pub(super) fn may_stay_late(&self) -> bool {
        self.large.is_none() && SMALL_SECRETS.load(Ordering::Relaxed) <= KEPT_LATE
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        SMALL_SECRETS.fetch_sub(self.small, Ordering::Relaxed);
    }
}

impl Deref for Held {
    type Target = Object;

    fn deref(&self) -> &Object {
        &self.object
    }
}

/// Roughly the bytes of a value in memory.
pub(super) fn size(value: &Value) -> usize {
    /// A node of a tree, or a text's place on the heap.
    const PLACE: usize = 96;
    PLACE
        + match value {
            Value::String(text) => text.len(),
            Value::Array(items) => items.iter().map(size).sum(),
            Value::Object(members) => {
                let members = members.iter();
                members.map(|(name, value)| name.len() + size(value)).sum()
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn many_large_secrets_wait_and_are_not_kept() {
        let large = || Held::new(Object(json!({"a": "x".repeat(LARGE)})));
        let all: Vec<_> = std::iter::from_fn(|| large().ok()).collect();
        assert_eq!(all.len(), 8);
        assert!(all.iter().all(|one| !one.may_stay()));
        assert_eq!(large().err(), Some(StoreError::Busy));
        let small = Held::new(Object(json!({"a": "b"}))).unwrap();
        assert!(small.may_stay());
        drop(all);
        assert!(large().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_team_whose_searches_never_end_leaves_places_to_others() {
        let mut held = Vec::new();
        while let Ok(place) = search_place("slow").await {
            held.push(place);
        }
        assert_eq!(held.len(), 2);
        assert!(search_place("other").await.is_ok());
        drop(held);
        assert!(search_place("slow").await.is_ok());
    }

    #[test]
    fn small_items_count_with_what_surrounds_them() {
        let zeros = format!("[0{}]", ",0".repeat(300_000));
        assert!(is_too_large(zeros.as_bytes()));
        let text = format!("[\"{}\"]", "x".repeat(4 * MIB));
        assert!(!is_too_large(text.as_bytes()));
        let value: Value = serde_json::from_str(&zeros).unwrap();
        assert!(size(&value) > LARGE);
    }
}
