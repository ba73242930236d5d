//! The state that the probes report.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use jiff::Timestamp;

use crate::lock::lock;

/// Minutes for which watches may fail without one good item. After that, a restart may help.
const LIVE_MINUTES: i64 = 10;
/// Seconds without a failure after which watches count as recovered: failing ones err more often.
const QUIET_SECONDS: i64 = 90;

/// The state that the probes report.
#[derive(Default)]
pub struct Health {
    /// The parts that must be ready, and whether they are.
    parts: Mutex<BTreeMap<&'static str, bool>>,
    /// Was the process asked to stop?
    stopping: AtomicBool,
    /// Since when watches have only failed, in Unix seconds; 0 while they work.
    failing_since: AtomicI64,
    /// Unix seconds of the last failure.
    last_failure: AtomicI64,
    /// Runs before each scrape and sets the gauges that are read, not counted.
    on_scrape: Mutex<Option<Box<dyn Fn() + Send>>>,
}

impl Health {
    /// Makes the process ready only once this part is: see [`Health::ready`].
    pub fn expect(&self, part: &'static str) {
        lock(&self.parts).entry(part).or_default();
    }

    /// Reports that the part can do its work.
    pub fn ready(&self, part: &'static str) {
        lock(&self.parts).insert(part, true);
    }

    /// Reports that the process will end: nobody should begin to rely on it.
    pub fn stopping(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// The parts that are not ready. Before any part is expected, the process is not ready either.
    pub(super) fn missing(&self) -> Option<String> {
        if self.stopping.load(Ordering::Relaxed) {
            return Some("the end".to_owned());
        }
        let parts = lock(&self.parts);
        let missing: Vec<&str> = parts
            .iter()
            .filter(|(_, ready)| !**ready)
            .map(|(part, _)| *part)
            .collect();
        match (parts.is_empty(), missing.is_empty()) {
            (true, _) => Some("start".to_owned()),
            (false, false) => Some(missing.join(", ")),
            (false, true) => None,
        }
    }

    /// Reports that a watch yielded an item, or an error.
    pub fn watch(&self, good: bool) {
        let now = Timestamp::now().as_second();
        if good {
            self.failing_since.store(0, Ordering::Relaxed);
        } else {
            self.last_failure.store(now, Ordering::Relaxed);
            let _ =
                self.failing_since
                    .compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// Sets what runs before each scrape.
    pub fn on_scrape(&self, hook: impl Fn() + Send + 'static) {
        *lock(&self.on_scrape) = Some(Box::new(hook));
    }

    /// Sets the gauges that are read, not counted.
    pub(super) fn before_scrape(&self) {
        if let Some(hook) = &*lock(&self.on_scrape) {
            hook();
        }
    }

    /// Whether a restart is not expected to help.
    pub(super) fn is_live(&self, now: i64) -> bool {
        let since = self.failing_since.load(Ordering::Relaxed);
        let last = self.last_failure.load(Ordering::Relaxed);
        // In a quiet cluster, a recovered watch yields no item, but no failures either.
        since == 0 || now - since < LIVE_MINUTES * 60 || now - last > QUIET_SECONDS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_is_the_sum_of_its_parts() {
        let health = Health::default();
        assert_eq!(health.missing().as_deref(), Some("start"));
        health.expect("keys");
        health.expect("lease");
        health.ready("keys");
        assert_eq!(health.missing().as_deref(), Some("lease"));
        health.ready("lease");
        assert_eq!(health.missing(), None);
        health.expect("lease");
        assert_eq!(health.missing(), None, "expected twice");
        health.expect("SealedSecret");
        assert_eq!(health.missing().as_deref(), Some("SealedSecret"));
        health.ready("SealedSecret");
        health.stopping();
        assert_eq!(health.missing().as_deref(), Some("the end"));
    }

    #[test]
    fn only_lasting_failure_is_deadly() {
        let health = Health::default();
        assert!(health.is_live(0));
        health.failing_since.store(1_000, Ordering::Relaxed);
        health.last_failure.store(1_590, Ordering::Relaxed);
        assert!(health.is_live(1_500), "not yet");
        assert!(!health.is_live(1_600), "ten minutes of failures");
        assert!(health.is_live(1_700), "quiet since");
        health.watch(true);
        assert!(health.is_live(1_600));
    }
}
