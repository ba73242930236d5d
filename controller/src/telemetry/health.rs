use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use jiff::Timestamp;

use super::Metrics;

/// Minutes of failing watches without one good item after which a restart may help.
const LIVE_MINUTES: i64 = 10;
/// Seconds without a failure after which a watch has come back: failing ones err more often.
const QUIET_SECONDS: i64 = 90;

/// What the probes answer from.
#[derive(Default)]
pub struct Health {
    ready: AtomicBool,
    /// Unix seconds since when watches have only failed; 0 while they work.
    failing_since: AtomicI64,
    /// Unix seconds of the last failure.
    last_failure: AtomicI64,
    /// Run before each scrape: gauges that are read, not counted.
    on_scrape: Mutex<Option<Box<dyn Fn() + Send>>>,
}

impl Health {
    /// Caches are filled and keys loaded, or not.
    pub fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Relaxed);
    }

    /// A watch gave an item, or an error.
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
        *self
            .on_scrape
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(Box::new(hook));
    }

    fn is_live(&self, now: i64) -> bool {
        let since = self.failing_since.load(Ordering::Relaxed);
        let last = self.last_failure.load(Ordering::Relaxed);
        // A watch that came back in a quiet cluster gives no item, but no failures either.
        since == 0 || now - since < LIVE_MINUTES * 60 || now - last > QUIET_SECONDS
    }
}

/// Serves `/healthz`, `/readyz`, `/livez` and `/metrics` until the process ends.
pub async fn serve(
    listen: SocketAddr,
    health: Arc<Health>,
    metrics: Arc<Metrics>,
) -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::bind(listen).await?;
    tracing::info!(address = %listener.local_addr()?, "serving health and metrics");
    let router = Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/readyz", get(ready))
        .route("/livez", get(live))
        .route("/metrics", get(scrape))
        .with_state((health, metrics));
    axum::serve(listener, router).await
}

type Shared = State<(Arc<Health>, Arc<Metrics>)>;

async fn ready(State((health, _)): Shared) -> impl IntoResponse {
    probe(
        health.ready.load(Ordering::Relaxed),
        "not ready: caches or keys are not loaded",
    )
}

async fn live(State((health, _)): Shared) -> impl IntoResponse {
    probe(
        health.is_live(Timestamp::now().as_second()),
        "watches have failed for minutes",
    )
}

fn probe(good: bool, otherwise: &'static str) -> (StatusCode, &'static str) {
    if good {
        (StatusCode::OK, "ok")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, otherwise)
    }
}

async fn scrape(State((health, metrics)): Shared) -> impl IntoResponse {
    if let Some(hook) = &*health
        .on_scrape
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
    {
        hook();
    }
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], metrics.encode())
}

#[cfg(test)]
mod tests {
    use super::*;

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
