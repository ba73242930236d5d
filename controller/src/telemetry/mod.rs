//! Logs, metrics, events and health: what people and machines see of the controller. None of it
//! carries a value, and no metric carries the name of an object.

mod events;
mod health;
mod metrics;

use tracing_subscriber::EnvFilter;

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
    // The HTTP stack's own debug lines can hold bodies: they stay out whatever the filter.
    let filter = EnvFilter::try_new(filter)
        .unwrap_or_else(|_| EnvFilter::new("info"))
        .add_directives([
            "hyper=warn",
            "kube_client=warn",
            "tower=warn",
            "rustls=warn",
            "h2=warn",
            "kube_runtime=error",
        ]);
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_env_filter(filter)
        .init();
}

trait AddDirectives {
    fn add_directives<const N: usize>(self, directives: [&str; N]) -> Self;
}

impl AddDirectives for EnvFilter {
    fn add_directives<const N: usize>(self, directives: [&str; N]) -> Self {
        directives
            .into_iter()
            .filter_map(|directive| directive.parse().ok())
            .fold(self, Self::add_directive)
    }
}
