//! Logs, metrics, events and health: what people and machines see of the controller. None of it
//! carries a value, and no metric carries the name of an object.

mod events;
mod health;
mod metrics;

use tracing_subscriber::Layer;
use tracing_subscriber::filter::{EnvFilter, FilterExt, LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

pub use events::{EventKind, Events, Subject};
pub use health::{Health, serve};
pub use metrics::Metrics;
pub(crate) use metrics::{KeyLabel, Kind, KindOp, KindReady, KindResult, LaneLabel, ReasonLabel};

/// The label of a kind.
pub(crate) fn kind_label(kind: &'static str) -> Kind {
    Kind { kind }
}

/// JSON lines on stdout.
pub fn init_logs(filter: &str) {
    let chosen = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    // The HTTP stack's and the client's own lines can hold bodies: they stay out whatever the
    // filter says.
    let quiet = Targets::new()
        .with_default(LevelFilter::TRACE)
        .with_targets(BODY_LOGGERS.map(|target| (target, LevelFilter::ERROR)));
    let lines = tracing_subscriber::fmt::layer().json().flatten_event(true);
    tracing_subscriber::registry()
        .with(lines.with_filter(chosen.and(quiet)))
        .init();
}

const BODY_LOGGERS: [&str; 8] = [
    "hyper",
    "hyper_util",
    "h2",
    "kube_client",
    "kube_runtime",
    "kube_lease_manager",
    "rustls",
    "tower",
];
