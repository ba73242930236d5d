//! Logs, metrics, events and health: what people and machines see of the controller. None of them
//! contains a value. Only the metrics that External Secrets has name objects.

mod events;
mod external;
mod health;
mod metrics;
mod process;
mod server;
mod store;

use tracing_subscriber::Layer;
use tracing_subscriber::filter::{EnvFilter, FilterExt, LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

pub use events::{EventKind, Events};
pub use external::{Counts, ObjectState};
pub use health::Health;
pub use metrics::Metrics;
pub(crate) use metrics::{KeyLabel, Kind, KindLane, KindOp, KindResult, ReasonLabel};
pub use server::serve;
pub(crate) use server::{bound, response};

/// The label of a kind.
pub(crate) fn kind_label(kind: &'static str) -> Kind {
    Kind { kind }
}

/// JSON lines on stdout.
pub fn init_logs(filter: &str) {
    let chosen = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    // Lines of the HTTP stack and of the client can contain bodies: no filter lets them through.
    let quiet = Targets::new()
        .with_default(LevelFilter::TRACE)
        .with_targets(BODY_LOGGERS.map(|target| (target, LevelFilter::ERROR)));
    let lines = tracing_subscriber::fmt::layer().json().flatten_event(true);
    tracing_subscriber::registry()
        .with(lines.with_filter(chosen.and(quiet)))
        .init();
}

/// Makes panics log their place and not their text, which may quote the value that caused them.
pub fn quiet_panics() {
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "internal error");
    }));
}

/// Beginnings of targets.
const BODY_LOGGERS: [&str; 9] = [
    "aws_",
    "hyper",
    "hyper_util",
    "h2",
    "kube_client",
    "kube_runtime",
    "kube_lease_manager",
    "rustls",
    "tower",
];

#[cfg(test)]
mod tests {
    use std::process::Command;

    const CANARY: &str = "cAnArY-9q2mX5";
    const CHILD: &str = "SEALKIT_TEST_PANICS";

    /// In a process of its own, since logs and hooks belong to a whole process.
    #[test]
    fn panics_log_their_place_and_quote_nothing() {
        if std::env::var_os(CHILD).is_some() {
            super::init_logs("info");
            super::quiet_panics();
            let value = CANARY.to_owned();
            let in_thread = std::thread::spawn(move || panic!("no number: {value}"));
            assert!(in_thread.join().is_err());
            std::process::exit(0);
        }
        let this = std::env::current_exe().unwrap();
        let mut child = Command::new(this);
        child.args(["--exact", "--nocapture"]);
        child.arg("telemetry::tests::panics_log_their_place_and_quote_nothing");
        let output = child
            .env(CHILD, "1")
            .env("RUST_BACKTRACE", "1")
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        let line = said.lines().find(|line| line.contains("internal error"));
        let line: serde_json::Value = serde_json::from_str(line.expect(&said)).unwrap();
        let place = line["place"].as_str().unwrap();
        assert!(place.contains("telemetry"), "{place}");
        assert!(!said.contains(CANARY), "{said}");
    }
}
