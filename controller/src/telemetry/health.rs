//! The state that the probes report.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use jiff::Timestamp;

use crate::lock::lock;
use crate::object::Namespaces;
use sealkit_core::api::watch_command;

/// Minutes for which watches may fail without one good item. After that, a restart may help.
const LIVE_MINUTES: i64 = 10;
/// Seconds without a failure after which watches count as recovered: failing ones err more often.
const QUIET_SECONDS: i64 = 90;

/// The state that the probes report.
#[derive(Default)]
pub struct Health {
    /// The parts that must be ready, and whether they are; some are so in each namespace by itself.
    parts: Mutex<BTreeMap<(&'static str, Option<String>), bool>>,
    /// The namespaces that the controller should serve but may not watch, with the kinds.
    unwatched: Mutex<BTreeMap<String, BTreeSet<&'static str>>>,
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
        lock(&self.parts).entry((part, None)).or_default();
    }

    /// The same for what it does in these namespaces. One that may not be watched is not waited for.
    pub fn expect_in(&self, part: &'static str, namespaces: &Namespaces) {
        let place = namespaces.one().map(str::to_owned);
        lock(&self.parts).entry((part, place)).or_default();
    }

    /// Reports that the part can do its work.
    pub fn ready(&self, part: &'static str) {
        lock(&self.parts).insert((part, None), true);
    }

    /// Reports that the part can do its work in these namespaces.
    pub fn ready_in(&self, part: &'static str, namespaces: &Namespaces) {
        let place = namespaces.one().map(str::to_owned);
        lock(&self.parts).insert((part, place), true);
    }

    /// Reports that the namespace may not be watched for a kind. Returns whether that is new.
    pub fn unwatched(&self, namespace: &str, kind: &'static str) -> bool {
        let mut unwatched = lock(&self.unwatched);
        unwatched
            .entry(namespace.to_owned())
            .or_default()
            .insert(kind)
    }

    /// Reports that the namespace is watched for a kind. Returns whether it was not before.
    pub fn watched(&self, namespace: &str, kind: &'static str) -> bool {
        let mut unwatched = lock(&self.unwatched);
        let Some(kinds) = unwatched.get_mut(namespace) else {
            return false;
        };
        let was_unwatched = kinds.remove(kind);
        if kinds.is_empty() {
            unwatched.remove(namespace);
        }
        was_unwatched
    }

    /// The namespaces that may not be watched, with the kinds.
    pub fn unwatched_namespaces(&self) -> BTreeMap<String, BTreeSet<&'static str>> {
        lock(&self.unwatched).clone()
    }

    /// What a reader of the probe should know although the process is ready: a line for each
    /// namespace that is not served, with the command that mends it.
    pub(super) fn remarks(&self) -> Vec<String> {
        let remark = |(namespace, kinds): (&String, &BTreeSet<&str>)| {
            let kinds: Vec<&str> = kinds.iter().copied().collect();
            format!(
                "{namespace} is not served: no right to watch {} there; fix: {}",
                kinds.join(", "),
                watch_command(namespace)
            )
        };
        lock(&self.unwatched).iter().map(remark).collect()
    }

    /// Reports that the process will end: nobody should begin to rely on it.
    pub fn stopping(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// The parts that are not ready. Before any part is expected, the process is not ready either.
    pub(crate) fn missing(&self) -> Option<String> {
        if self.stopping.load(Ordering::Relaxed) {
            return Some("the end".to_owned());
        }
        let parts = lock(&self.parts);
        let unwatched = lock(&self.unwatched);
        let is_waited_for = |place: &Option<String>| {
            place
                .as_ref()
                .is_none_or(|namespace| !unwatched.contains_key(namespace))
        };
        let mut missing: Vec<&str> = parts
            .iter()
            .filter(|((_, place), ready)| !**ready && is_waited_for(place))
            .map(|((part, _), _)| *part)
            .collect();
        missing.dedup();
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
    pub(crate) fn is_live(&self, now: i64) -> bool {
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
    fn a_namespace_that_may_not_be_watched_is_named_and_not_waited_for() {
        let one = |name: &str| Namespaces::One(name.to_owned());
        let health = Health::default();
        for namespace in ["a", "b"] {
            health.expect_in("SealedSecret", &one(namespace));
        }
        health.ready_in("SealedSecret", &one("a"));
        assert_eq!(health.missing().as_deref(), Some("SealedSecret"));
        assert!(health.unwatched("b", "Secret"));
        assert!(!health.unwatched("b", "Secret"), "told once");
        assert_eq!(health.missing(), None);
        let remarks = health.remarks();
        let fix = "kubectl apply --server-side -n b -k deploy/namespaced/tenant";
        assert!(
            remarks.len() == 1 && remarks[0].contains(fix),
            "{remarks:?}"
        );
        assert!(health.watched("b", "Secret") && !health.watched("b", "Secret"));
        assert_eq!(health.missing().as_deref(), Some("SealedSecret"));
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
