//! What is remembered of an object between two reconciles, whatever its kind.

use std::time::Duration;

use kube::core::object::HasStatus;
use tokio::time::Instant;

use super::raw::{Asked, Raw};
use crate::secret::Written;

/// Drift that comes back within this time is somebody else's doing.
const HEALS_TOGETHER: Duration = Duration::from_secs(10);

/// What is remembered of an object; `T` is what its kind adds.
#[derive(Clone, Debug, Default)]
pub struct Known<T> {
    /// Its UID.
    pub uid: String,
    /// What the watch showed last.
    pub seen: Asked,
    /// What was dealt with last, by this process or by the one before it.
    pub handled: Option<Asked>,
    /// The generation that once synced, if the present one did.
    pub synced_generation: Option<i64>,
    /// Was its status Ready, for that generation?
    pub ready: bool,
    /// It is being deleted: nothing is done for it any more.
    pub terminating: bool,
    /// The Secret as it was written or found right last.
    pub target: Option<Written>,
    /// Failures in a row.
    pub failures: u32,
    /// Grows when what was decided with does not count any more: keys, say.
    pub epoch: u64,
    /// Drift put right in short order.
    pub heals: u32,
    /// When drift was put right last.
    pub last_heal: Option<Instant>,
    /// What the kind adds.
    pub own: T,
}

/// What a watch showed of an object that was known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// An object that was not known, or one that was made again.
    New,
    /// Another spec: its own failures.
    Changed,
    /// The spec that was known.
    Same,
}

impl<T> Known<T> {
    /// Takes in what a watch shows of the object. One that is not known is recalled, from its
    /// status say.
    pub fn observe<K: HasStatus>(
        &mut self,
        object: &Raw<K>,
        recall: impl FnOnce(&Raw<K>) -> Self,
    ) -> News {
        let mut news = News::Same;
        let asked = object.asked();
        if self.uid != object.uid() {
            *self = recall(object);
            news = News::New;
        } else if self.seen.generation != asked.generation {
            self.failures = 0;
            news = News::Changed;
        }
        self.terminating = object.is_terminating();
        self.seen = asked;
        news
    }

    /// Is there something to do? `secret` is the Secret as it was last seen.
    pub fn has_work(&self, secret: Option<&Written>) -> bool {
        let is_handled = self.handled.as_ref() == Some(&self.seen);
        !self.terminating && (!is_handled || self.drifted(secret))
    }

    /// Is the Secret another than the one that was written? Only for objects that are in sync.
    pub fn drifted(&self, secret: Option<&Written>) -> bool {
        self.ready && !self.terminating && self.target.is_some() && self.target.as_ref() != secret
    }

    /// Is there nothing to do? Asked again when its turn comes: the trigger may be an echo of our
    /// own write.
    pub fn settled(&self, secret: Option<&Written>) -> bool {
        self.ready && self.handled.as_ref() == Some(&self.seen) && !self.drifted(secret)
    }

    /// What was decided does not hold any more.
    pub fn recheck(&mut self) {
        self.handled = None;
        self.failures = 0;
        self.epoch += 1;
    }

    /// Counts a failure after which nothing counts as done; how many there were in a row.
    pub fn failed(&mut self) -> u32 {
        self.handled = None;
        self.failures = self.failures.saturating_add(1);
        self.failures
    }

    /// Counts drift that was put right: what comes back within seconds is another writer's doing.
    pub fn healed(&mut self, now: Instant) {
        let again = self
            .last_heal
            .is_some_and(|last| now - last < HEALS_TOGETHER);
        self.heals = if again {
            self.heals.saturating_add(1)
        } else {
            1
        };
        self.last_heal = Some(now);
    }
}
