//! What is remembered about an object between reconciles, whatever its kind.

use std::time::Duration;

use kube::core::object::HasStatus;
use tokio::time::Instant;

use super::Version;
use super::raw::{Asked, Raw};
use crate::queue::pause;

/// Corrections of drift in quick succession that need no pause.
const HEALS_AT_ONCE: u32 = 5;
/// Drift that comes back within this time is caused by another writer.
const HEALS_TOGETHER: Duration = Duration::from_secs(10);

/// What is remembered about an object; `T` is what its kind adds.
#[derive(Clone, Debug, Default)]
pub struct Known<T> {
    /// Its UID.
    pub uid: String,
    /// The request that was last observed.
    pub seen: Asked,
    /// The request that was last handled, by this process or by the one before it.
    pub handled: Option<Asked>,
    /// The current generation, if it has synced.
    pub synced_generation: Option<i64>,
    /// Was its status Ready, for that generation?
    pub ready: bool,
    /// Is it being deleted? Then it is not reconciled any more.
    pub terminating: bool,
    /// The Secret as it was last written or found right.
    pub target: Option<Version>,
    /// Failures in a row.
    pub failures: u32,
    /// Grows when the inputs of a decision change (keys, say) and the decision no longer holds.
    pub epoch: u64,
    /// Corrections of drift in quick succession.
    pub heals: u32,
    /// When drift was last corrected.
    pub last_heal: Option<Instant>,
    /// What the kind adds.
    pub own: T,
}

/// How an observed object differs from what was known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// An object that was not known, or was created again.
    New,
    /// Another spec. Failures are counted anew.
    Changed,
    /// The known spec.
    Same,
}

impl<T> Known<T> {
    /// Observes the object as a watch shows it. If it is not known, `recall` restores what an
    /// earlier process knew, from the object's status, say.
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

    /// Does it need a reconcile? `secret` is the Secret as it was last observed.
    pub fn has_work(&self, secret: Option<&Version>) -> bool {
        let is_handled = self.handled.as_ref() == Some(&self.seen);
        !self.terminating && (!is_handled || self.drifted(secret))
    }

    /// Does the Secret differ from the one that was written? Only for objects that are in sync.
    pub fn drifted(&self, secret: Option<&Version>) -> bool {
        self.ready && !self.terminating && self.target.is_some() && self.target.as_ref() != secret
    }

    /// Does it need no reconcile? Checked again when its turn comes: the trigger may be an echo of
    /// our own write.
    pub fn settled(&self, secret: Option<&Version>) -> bool {
        self.ready && self.handled.as_ref() == Some(&self.seen) && !self.drifted(secret)
    }

    /// Invalidates the last decision.
    pub fn recheck(&mut self) {
        self.handled = None;
        self.failures = 0;
        self.epoch += 1;
    }

    /// Counts a failure, so that the object counts as not handled. Returns the failures in a row.
    pub fn failed(&mut self) -> u32 {
        self.handled = None;
        self.failures = self.failures.saturating_add(1);
        self.failures
    }

    /// How long drift waits for its correction: not at all, but two writers that both persist must
    /// not overload the API server.
    pub fn heals_after(&self) -> Duration {
        match self.heals.checked_sub(HEALS_AT_ONCE) {
            None => Duration::ZERO,
            Some(more) => pause(more + 1),
        }
    }

    /// Counts a correction of drift. Drift that returns within seconds is caused by another writer.
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
