//! Metrics under the names that External Secrets and controller-runtime have, so that dashboards and
//! alerts for them work unchanged. Those of single objects are made at each scrape and not kept.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use super::process::ProcessMetrics;
use crate::lock::lock;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Controller {
    controller: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ControllerResult {
    controller: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct QueueName {
    name: &'static str,
}

/// A webhook, by its path.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Webhook {
    webhook: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WebhookCode {
    webhook: &'static str,
    code: u16,
}

/// A call of a provider.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ProviderCall {
    provider: &'static str,
    call: &'static str,
    status: &'static str,
}

/// What is told of one object.
#[derive(Clone, Debug)]
pub struct ObjectState {
    /// The kind, as controller-runtime names controllers: `externalsecret`, say.
    pub kind: &'static str,
    /// Its namespace; empty for objects of the cluster.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Is it Ready?
    pub ready: bool,
    /// Reconciles, and how many of them failed.
    pub counts: Counts,
}

/// Reconciles of one object.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// All.
    pub calls: u64,
    /// Those that failed.
    pub errors: u64,
    /// How long the last one took.
    pub nanoseconds: u64,
}

impl Counts {
    /// Counts one reconcile.
    pub fn count(&mut self, took: Duration, succeeded: bool) {
        self.calls += 1;
        self.errors += u64::from(!succeeded);
        self.nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
    }
}

/// See the module's documentation.
pub struct ExternalMetrics {
    registry: Registry,
    reconcile_total: Family<ControllerResult, Counter>,
    reconcile_time: Family<Controller, Histogram, fn() -> Histogram>,
    workqueue_depth: Family<QueueName, Gauge>,
    active_workers: Family<Controller, Gauge>,
    provider_calls: Family<ProviderCall, Gauge>,
    max_concurrent: Family<Controller, Gauge>,
    webhook_requests: Family<WebhookCode, Counter>,
    webhook_in_flight: Family<Webhook, Gauge>,
    webhook_latency: Family<Webhook, Histogram, fn() -> Histogram>,
    objects: Arc<Objects>,
}

/// A request to a webhook that is under way until this is dropped.
pub struct WebhookCall<'a> {
    metrics: &'a ExternalMetrics,
    webhook: &'static str,
    started: Instant,
}

/// The objects of the scrape that is being made.
#[derive(Debug, Default)]
struct Objects(Mutex<Vec<ObjectState>>);

impl ExternalMetrics {
    /// Registers everything.
    pub fn new() -> Self {
        let seconds: fn() -> Histogram = || Histogram::new(exponential_buckets(0.005, 2.0, 14));
        let this = Self {
            registry: Registry::default(),
            reconcile_total: Family::default(),
            reconcile_time: Family::new_with_constructor(seconds),
            workqueue_depth: Family::default(),
            active_workers: Family::default(),
            provider_calls: Family::default(),
            max_concurrent: Family::default(),
            webhook_requests: Family::default(),
            webhook_in_flight: Family::default(),
            webhook_latency: Family::new_with_constructor(seconds),
            objects: Arc::default(),
        };
        let mut registry = Registry::default();
        registry.register(
            "controller_runtime_reconcile",
            "Reconciles per controller",
            this.reconcile_total.clone(),
        );
        registry.register(
            "controller_runtime_reconcile_time_seconds",
            "Duration of reconciles per controller",
            this.reconcile_time.clone(),
        );
        registry.register(
            "controller_runtime_active_workers",
            "Reconciles under way per controller",
            this.active_workers.clone(),
        );
        registry.register(
            "workqueue_depth",
            "Objects that wait in the queue",
            this.workqueue_depth.clone(),
        );
        registry.register(
            "externalsecret_provider_api_calls_count",
            "Calls of providers",
            this.provider_calls.clone(),
        );
        registry.register(
            "controller_runtime_max_concurrent_reconciles",
            "Reconciles that a controller may have under way",
            this.max_concurrent.clone(),
        );
        registry.register(
            "controller_runtime_webhook_requests",
            "Requests to the webhook by the code of their answers",
            this.webhook_requests.clone(),
        );
        registry.register(
            "controller_runtime_webhook_requests_in_flight",
            "Requests to the webhook under way",
            this.webhook_in_flight.clone(),
        );
        registry.register(
            "controller_runtime_webhook_latency_seconds",
            "Duration of requests to the webhook",
            this.webhook_latency.clone(),
        );
        registry.register_collector(Box::new(this.objects.clone()));
        registry.register_collector(Box::new(ProcessMetrics::new()));
        Self { registry, ..this }
    }

    /// One reconcile of a controller has begun.
    pub fn begun(&self, controller: &'static str) {
        let label = Controller { controller };
        self.active_workers.get_or_create(&label).inc();
    }

    /// One reconcile of a controller has ended after so many seconds.
    pub fn ended(&self, controller: &'static str, succeeded: bool, seconds: f64) {
        let result = if succeeded { "success" } else { "error" };
        let label = ControllerResult { controller, result };
        self.reconcile_total.get_or_create(&label).inc();
        let label = Controller { controller };
        self.reconcile_time.get_or_create(&label).observe(seconds);
        self.active_workers.get_or_create(&label).dec();
    }

    /// A provider was called.
    pub fn called(&self, provider: &'static str, call: &'static str, succeeded: bool) {
        let status = if succeeded { "success" } else { "error" };
        let label = ProviderCall {
            provider,
            call,
            status,
        };
        self.provider_calls.get_or_create(&label).inc();
    }

    /// So many objects wait for a controller.
    pub fn waiting(&self, name: &'static str, depth: i64) {
        let label = QueueName { name };
        self.workqueue_depth.get_or_create(&label).set(depth);
    }

    /// A controller may have so many reconciles under way.
    pub fn may_have(&self, controller: &'static str, reconciles: usize) {
        let label = Controller { controller };
        let reconciles = i64::try_from(reconciles).unwrap_or(i64::MAX);
        self.max_concurrent.get_or_create(&label).set(reconciles);
    }

    /// A webhook was asked.
    pub fn asked(&self, webhook: &'static str) -> WebhookCall<'_> {
        let label = Webhook { webhook };
        self.webhook_in_flight.get_or_create(&label).inc();
        WebhookCall {
            metrics: self,
            webhook,
            started: Instant::now(),
        }
    }

    /// Tells of these objects in the scrape that is being made.
    pub fn tell(&self, objects: impl IntoIterator<Item = ObjectState>) {
        self.objects.lock().extend(objects);
    }

    /// Adds everything to a text in OpenMetrics' format. What was told of objects is forgotten.
    pub fn encode(&self, text: &mut String) {
        // Writing into a String cannot fail.
        let _ = prometheus_client::encoding::text::encode_registry(text, &self.registry);
        *self.objects.lock() = Vec::new();
    }
}

impl WebhookCall<'_> {
    /// The request was answered with this code.
    pub fn answered(self, code: u16) {
        let (metrics, webhook) = (self.metrics, self.webhook);
        let label = WebhookCode { webhook, code };
        metrics.webhook_requests.get_or_create(&label).inc();
        let latency = metrics.webhook_latency.get_or_create(&Webhook { webhook });
        latency.observe(self.started.elapsed().as_secs_f64());
    }
}

impl Drop for WebhookCall<'_> {
    fn drop(&mut self) {
        let webhook = self.webhook;
        let in_flight = &self.metrics.webhook_in_flight;
        in_flight.get_or_create(&Webhook { webhook }).dec();
    }
}

impl Objects {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<ObjectState>> {
        lock(&self.0)
    }
}

/// The kinds of objects, with the names of their metrics.
const KINDS: [(&str, [&str; 4]); 4] = [
    (
        "externalsecret",
        [
            "externalsecret_sync_calls",
            "externalsecret_sync_calls_error",
            "externalsecret_reconcile_duration",
            "externalsecret_status_condition",
        ],
    ),
    (
        "secretstore",
        [
            "",
            "",
            "secretstore_reconcile_duration",
            "secretstore_status_condition",
        ],
    ),
    (
        "clustersecretstore",
        [
            "",
            "",
            "clustersecretstore_reconcile_duration",
            "clustersecretstore_status_condition",
        ],
    ),
    (
        "clusterexternalsecret",
        [
            "",
            "",
            "clusterexternalsecret_reconcile_duration",
            "clusterexternalsecret_status_condition",
        ],
    ),
];

impl Collector for Objects {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let objects = self.lock();
        for (kind, [calls, errors, duration, condition]) in KINDS {
            let of_kind = || objects.iter().filter(|object| object.kind == kind);
            if of_kind().next().is_none() {
                continue;
            }
            if !calls.is_empty() {
                let mut family =
                    encoder.encode_descriptor(calls, "Reconciles", None, MetricType::Counter)?;
                for object in of_kind() {
                    let count = ConstCounter::new(object.counts.calls);
                    count.encode(family.encode_family(&object.labels())?)?;
                }
            }
            let mut gauges = |name: &str, help, value: fn(&Counts) -> u64| {
                if name.is_empty() {
                    return Ok(());
                }
                let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
                for object in of_kind() {
                    let gauge = ConstGauge::new(value(&object.counts));
                    gauge.encode(family.encode_family(&object.labels())?)?;
                }
                Ok::<_, std::fmt::Error>(())
            };
            gauges(errors, "Reconciles that failed", |counts| counts.errors)?;
            let help = "Nanoseconds of the last reconcile";
            gauges(duration, help, |counts| counts.nanoseconds)?;
            let help = "1 for the status that the condition has";
            let mut family = encoder.encode_descriptor(condition, help, None, MetricType::Gauge)?;
            for object in of_kind() {
                for (status, is_it) in [("True", object.ready), ("False", !object.ready)] {
                    let [namespace, name] = object.labels();
                    let labels = [namespace, name, ("condition", "Ready"), ("status", status)];
                    ConstGauge::new(u64::from(is_it)).encode(family.encode_family(&labels)?)?;
                }
            }
        }
        Ok(())
    }
}

impl ObjectState {
    fn labels(&self) -> [(&'static str, &str); 2] {
        [("namespace", &self.namespace), ("name", &self.name)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_labels_are_those_of_the_peers() {
        let metrics = ExternalMetrics::new();
        metrics.begun("externalsecret");
        metrics.ended("externalsecret", false, 0.1);
        metrics.waiting("externalsecret", 3);
        metrics.called("HashiCorp/Vault", "ReadSecretData", true);
        metrics.may_have("externalsecret", 8);
        metrics.asked("/validate").answered(200);
        drop(metrics.asked("/validate"));
        let under_way = metrics.asked("/validate");
        let object = |kind, namespace: &str, ready| ObjectState {
            kind,
            namespace: namespace.to_owned(),
            name: "db".to_owned(),
            ready,
            counts: Counts {
                calls: 3,
                errors: 1,
                nanoseconds: 5_000_000,
            },
        };
        metrics.tell([
            object("externalsecret", "shop", false),
            object("secretstore", "shop", true),
        ]);
        let mut text = String::new();
        metrics.encode(&mut text);
        for line in [
            r#"controller_runtime_reconcile_total{controller="externalsecret",result="error"} 1"#,
            r#"controller_runtime_reconcile_time_seconds_count{controller="externalsecret"} 1"#,
            r#"controller_runtime_active_workers{controller="externalsecret"} 0"#,
            r#"controller_runtime_max_concurrent_reconciles{controller="externalsecret"} 8"#,
            r#"controller_runtime_webhook_requests_total{webhook="/validate",code="200"} 1"#,
            r#"controller_runtime_webhook_requests_in_flight{webhook="/validate"} 1"#,
            r#"controller_runtime_webhook_latency_seconds_count{webhook="/validate"} 1"#,
            r#"workqueue_depth{name="externalsecret"} 3"#,
            r#"externalsecret_provider_api_calls_count{provider="HashiCorp/Vault",call="ReadSecretData",status="success"} 1"#,
            r#"externalsecret_sync_calls_total{namespace="shop",name="db"} 3"#,
            r#"externalsecret_sync_calls_error{namespace="shop",name="db"} 1"#,
            r#"externalsecret_reconcile_duration{namespace="shop",name="db"} 5000000"#,
            r#"externalsecret_status_condition{namespace="shop",name="db",condition="Ready",status="False"} 1"#,
            r#"externalsecret_status_condition{namespace="shop",name="db",condition="Ready",status="True"} 0"#,
            r#"secretstore_status_condition{namespace="shop",name="db",condition="Ready",status="True"} 1"#,
        ] {
            assert!(text.lines().any(|have| have == line), "{line}\n{text}");
        }
        drop(under_way);
        assert!(!text.contains("clustersecretstore"));
        let mut again = String::new();
        metrics.encode(&mut again);
        assert!(!again.contains("shop"), "nothing is kept");
    }
}
