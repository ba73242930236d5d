//! The metrics and their labels.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::external::ExternalMetrics;
use super::store::StoreMetrics;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Kind {
    pub kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct KindResult {
    pub kind: &'static str,
    pub result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct KindReady {
    pub kind: &'static str,
    pub ready: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct KindOp {
    pub kind: &'static str,
    pub op: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ReasonLabel {
    pub reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct KindLane {
    pub kind: &'static str,
    pub lane: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct NamespaceLabel {
    pub namespace: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct KeyLabel {
    pub fingerprint: String,
}

/// All metrics. Ours have the prefix `sealkit_`, and small enums and fingerprints of public keys as
/// labels.
pub struct Metrics {
    registry: Registry,
    pub(crate) reconcile_duration: Family<Kind, Histogram, fn() -> Histogram>,
    pub(crate) reconcile_total: Family<KindResult, Counter>,
    pub(crate) objects: Family<KindReady, Gauge>,
    pub(crate) open_failures: Family<ReasonLabel, Counter>,
    pub(crate) target_writes: Family<KindOp, Counter>,
    pub(crate) drift_healed: Family<Kind, Counter>,
    pub(crate) restarts: Family<KindResult, Counter>,
    pub(crate) queue_depth: Family<KindLane, Gauge>,
    pub(crate) queue_wait: Family<KindLane, Histogram, fn() -> Histogram>,
    pub(crate) queue_overdue: Family<Kind, Gauge<f64, AtomicU64>>,
    pub(crate) key_age: Family<KeyLabel, Gauge<f64, AtomicU64>>,
    pub(crate) needing_reseal: Gauge,
    pub(crate) watch_errors: Family<Kind, Counter>,
    pub(crate) namespace_unwatched: Family<NamespaceLabel, Gauge>,
    pub(crate) leader: Gauge,
    pub(crate) admission: Family<KindResult, Counter>,
    pub(crate) admission_duration: Family<Kind, Histogram, fn() -> Histogram>,
    pub(crate) store: StoreMetrics,
    /// Those under the names of the peers.
    pub(crate) external: ExternalMetrics,
}

impl Metrics {
    /// Registers everything.
    pub fn new() -> Self {
        let seconds: fn() -> Histogram = || Histogram::new(exponential_buckets(0.001, 2.0, 16));
        let metrics = Self {
            registry: Registry::default(),
            reconcile_duration: Family::new_with_constructor(seconds),
            reconcile_total: Family::default(),
            objects: Family::default(),
            open_failures: Family::default(),
            target_writes: Family::default(),
            drift_healed: Family::default(),
            restarts: Family::default(),
            queue_depth: Family::default(),
            queue_wait: Family::new_with_constructor(seconds),
            queue_overdue: Family::default(),
            key_age: Family::default(),
            needing_reseal: Gauge::default(),
            watch_errors: Family::default(),
            namespace_unwatched: Family::default(),
            leader: Gauge::default(),
            admission: Family::default(),
            admission_duration: Family::new_with_constructor(seconds),
            store: StoreMetrics::default(),
            external: ExternalMetrics::new(),
        };
        let mut registry = Registry::with_prefix("sealkit");
        registry.register(
            "reconcile_duration_seconds",
            "Duration of one reconcile",
            metrics.reconcile_duration.clone(),
        );
        registry.register(
            "reconcile",
            "Reconciles by result",
            metrics.reconcile_total.clone(),
        );
        registry.register("objects", "Objects by readiness", metrics.objects.clone());
        registry.register(
            "open_failures",
            "Failed attempts to open an object, by reason",
            metrics.open_failures.clone(),
        );
        metrics.register_writes(&mut registry);
        registry.register(
            "queue_depth",
            "Objects that wait in the queue, by kind and lane",
            metrics.queue_depth.clone(),
        );
        registry.register(
            "queue_wait_seconds",
            "Time from due to started, by kind and lane",
            metrics.queue_wait.clone(),
        );
        registry.register(
            "queue_overdue_seconds",
            "Time since the object was due that has been due longest, 0 if none is",
            metrics.queue_overdue.clone(),
        );
        registry.register(
            "key_age_seconds",
            "Age of the newest active key",
            metrics.key_age.clone(),
        );
        registry.register(
            "objects_needing_reseal",
            "Objects that are not sealed to the newest key",
            metrics.needing_reseal.clone(),
        );
        registry.register(
            "watch_errors",
            "Watch errors by kind",
            metrics.watch_errors.clone(),
        );
        registry.register(
            "namespace_unwatched",
            "1 for each namespace of --watch-namespaces that the controller may not watch",
            metrics.namespace_unwatched.clone(),
        );
        registry.register(
            "leader",
            "1 while this replica writes",
            metrics.leader.clone(),
        );
        metrics.register_webhook(&mut registry);
        registry.register(
            "build",
            "Version of the controller",
            Info::new([("version", env!("CARGO_PKG_VERSION"))]),
        );
        Self {
            store: StoreMetrics::registered(&mut registry),
            registry,
            ..metrics
        }
    }

    fn register_writes(&self, registry: &mut Registry) {
        registry.register(
            "target_writes",
            "Writes of Secrets by operation",
            self.target_writes.clone(),
        );
        registry.register(
            "drift_healed",
            "Secrets restored after somebody else changed them",
            self.drift_healed.clone(),
        );
        registry.register(
            "restarts",
            "Restarts of workloads whose values changed, by kind and result",
            self.restarts.clone(),
        );
    }

    fn register_webhook(&self, registry: &mut Registry) {
        registry.register(
            "admission",
            "Requests of API servers to the webhook by result",
            self.admission.clone(),
        );
        registry.register(
            "admission_duration_seconds",
            "Time from a whole request to its verdict",
            self.admission_duration.clone(),
        );
    }

    /// Sets how many objects of a kind are ready, and how many are not.
    pub(crate) fn count_ready(&self, kind: &'static str, objects: impl Iterator<Item = bool>) {
        let mut counts = [0; 2];
        objects.for_each(|ready| counts[usize::from(ready)] += 1);
        for (count, ready) in counts.into_iter().zip(["false", "true"]) {
            let label = KindReady { kind, ready };
            self.objects.get_or_create(&label).set(count);
        }
    }

    /// Sets which namespaces should be watched and may not be.
    pub(crate) fn tell_unwatched(&self, namespaces: impl IntoIterator<Item = String>) {
        self.namespace_unwatched.clear();
        for namespace in namespaces {
            let label = NamespaceLabel { namespace };
            self.namespace_unwatched.get_or_create(&label).set(1);
        }
    }

    /// The metrics in OpenMetrics' text format.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        // Writing into a String cannot fail.
        let _ = prometheus_client::encoding::text::encode_registry(&mut text, &self.registry);
        self.external.encode(&mut text);
        let _ = prometheus_client::encoding::text::encode_eof(&mut text);
        text
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}
