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

    /// In how long does it need a reconcile, if it needs one? `secret` is the Secret as it was last
    /// observed. Drift keeps its pause whatever else happens to the object: a status of ours comes
    /// back by its watch.
    pub fn work_after(&self, secret: Option<&Version>) -> Option<Duration> {
        if !self.terminating && self.handled.as_ref() != Some(&self.seen) {
            return Some(Duration::ZERO);
        }
        self.drift_after(secret)
    }

    /// In how long is drift of the Secret to be corrected, if there is any?
    pub fn drift_after(&self, secret: Option<&Version>) -> Option<Duration> {
        self.drifted(secret).then(|| self.heals_after())
    }

    /// Does the Secret differ from the one that was written? Only for objects that are in sync.
    fn drifted(&self, secret: Option<&Version>) -> bool {
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
    fn heals_after(&self) -> Duration {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn version(resource_version: &str) -> Version {
        Version {
            uid: "u".into(),
            resource_version: resource_version.into(),
        }
    }

    #[test]
    fn drift_that_comes_back_waits_longer_and_a_changed_object_does_not() {
        let (right, wrong) = (version("1"), version("2"));
        let mut known = Known::<()> {
            ready: true,
            target: Some(right.clone()),
            ..Known::default()
        };
        known.handled = Some(known.seen.clone());
        assert_eq!(known.work_after(Some(&right)), None);
        for _ in 0..HEALS_AT_ONCE {
            assert_eq!(known.work_after(Some(&wrong)), Some(Duration::ZERO));
            known.healed(Instant::now());
        }
        assert!(known.work_after(Some(&wrong)) > Some(Duration::ZERO));
        assert!(known.work_after(None) > Some(Duration::ZERO), "deleted");
        known.recheck();
        assert_eq!(known.work_after(Some(&wrong)), Some(Duration::ZERO));
        known.terminating = true;
        assert_eq!(known.work_after(Some(&wrong)), None);
    }
}
