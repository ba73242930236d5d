//! From start to stop: lease, keys, reconcilers.

use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use kube_lease_manager::LeaseManagerBuilder;
use tokio::signal::unix::{SignalKind, signal};

use crate::keys::{KeyReconciler, Usage, Users};
use crate::rewrap::RewrapRequests;
use crate::sealed_secret::SealedSecrets;
use crate::settings::Settings;
use crate::telemetry::{self, Events, Health, Metrics};

const LEASE: &str = "seal-controller";
/// How long writes under way may take after the signal to stop.
const STOP_WITHIN: Duration = Duration::from_secs(20);

/// Why the controller ended.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// No configuration for talking to a cluster.
    #[error("no cluster configuration: neither in-cluster files nor a usable kubeconfig")]
    NoCluster,
    /// The address of the probes is taken, or signals cannot be heard.
    #[error("cannot serve health and metrics, or hear signals: {0}")]
    Io(#[from] std::io::Error),
    /// The lease could not be read or made.
    #[error("cannot use the lease {LEASE} (rights on leases in the controller's namespace?)")]
    Lease,
    /// Another replica took the lease.
    #[error("the lease was lost")]
    LeaseLost,
}

/// Runs until a signal asks to stop, or the lease is lost.
pub async fn run(settings: Settings) -> Result<(), RunError> {
    let config = kube::Config::infer()
        .await
        .map_err(|_| RunError::NoCluster)?;
    let client = Client::try_from(config).map_err(|_| RunError::NoCluster)?;
    let metrics = Arc::new(Metrics::new());
    let health = Arc::new(Health::default());
    let probes = telemetry::serve(settings.listen, health.clone(), metrics.clone());
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stop = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    let lead = lead(&settings, client, &metrics, &health, stop);
    tokio::select! {
        result = probes => Ok(result?),
        result = lead => result,
    }
}

/// Waits for the lease, works, and gives the lease back.
async fn lead(
    settings: &Settings,
    client: Client,
    metrics: &Arc<Metrics>,
    health: &Arc<Health>,
    stop: impl Future<Output = ()>,
) -> Result<(), RunError> {
    tokio::pin!(stop);
    let identity = settings.identity.clone().unwrap_or_else(host_and_process);
    // Replicas that wait are ready: they would take over at once.
    health.set_ready(true);
    let (mut leads, lease) = tokio::select! {
        () = &mut stop => return Ok(()),
        lease = take_lease(settings, client.clone(), &identity) => lease?,
    };
    let leading = tokio::select! {
        () = &mut stop => false,
        result = leads.wait_for(|leads| *leads) => {
            result.map_err(|_| RunError::Lease)?;
            true
        }
    };
    if leading {
        tracing::info!(identity, "leading");
        metrics.leader.set(1);
        health.set_ready(false);
        tokio::select! {
            () = work(settings, client, metrics, health, &identity, &mut stop) => {}
            // Every write carries a precondition; dropping the tasks ends the rest.
            _ = leads.wait_for(|leads| !*leads) => return Err(RunError::LeaseLost),
        }
    }
    // Without receivers the lease is released.
    drop(leads);
    let _ = tokio::time::timeout(Duration::from_secs(5), lease).await;
    tracing::info!("stopped");
    Ok(())
}

type Lease = (
    tokio::sync::watch::Receiver<bool>,
    tokio::task::JoinHandle<
        Result<kube_lease_manager::LeaseManager, kube_lease_manager::LeaseManagerError>,
    >,
);

/// Reads or makes the lease; an API server that is away is waited for.
async fn take_lease(
    settings: &Settings,
    client: Client,
    identity: &str,
) -> Result<Lease, RunError> {
    let mut pause = Duration::from_secs(1);
    loop {
        let manager = LeaseManagerBuilder::new(client.clone(), LEASE)
            .with_namespace(&settings.namespace)
            .with_identity(identity)
            .with_duration(settings.lease_seconds.max(2))
            .with_grace((settings.lease_seconds / 3).max(1))
            .build()
            .await;
        if let Ok(manager) = manager {
            return Ok(manager.watch().await);
        }
        tracing::warn!("the lease cannot be used yet, will be retried");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(30));
    }
}

async fn work(
    settings: &Settings,
    client: Client,
    metrics: &Arc<Metrics>,
    health: &Arc<Health>,
    identity: &str,
    stop: impl Future<Output = ()>,
) {
    // Each needs the other: keys ask which objects use them, objects ask which keys there are.
    let objects: Arc<std::sync::OnceLock<std::sync::Weak<SealedSecrets>>> = Arc::default();
    let usage: Usage = {
        let objects = objects.clone();
        Arc::new(move |key| {
            let objects = objects.get().and_then(std::sync::Weak::upgrade);
            objects.map_or(Users::Unknown, |objects| objects.users_of(key))
        })
    };
    let (key_reconciler, keys) = KeyReconciler::new(
        client.clone(),
        &settings.namespace,
        settings.allowed_algorithms.clone(),
        usage,
    );
    let events = Events::start(&client, identity);
    let rewraps = RewrapRequests::new(
        client.clone(),
        settings.clone(),
        keys.clone(),
        metrics.clone(),
    );
    let sealed_secrets = SealedSecrets::new(
        client,
        settings.clone(),
        keys.clone(),
        events,
        metrics.clone(),
    );
    let _ = objects.set(Arc::downgrade(&sealed_secrets));
    let scraped = (Arc::downgrade(&sealed_secrets), metrics.clone());
    let scraped_rewraps = Arc::downgrade(&rewraps);
    health.on_scrape(move || {
        if let Some(objects) = scraped.0.upgrade() {
            objects.scrape();
        }
        if let Some(requests) = scraped_rewraps.upgrade() {
            requests.scrape();
        }
        if let Some(newest) = &*keys.borrow() {
            newest.scrape(&scraped.1);
        }
    });

    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(key_reconciler.run(health.clone(), metrics.clone()));
    let mut objects = tokio::task::JoinSet::new();
    objects.spawn(sealed_secrets.clone().run(health.clone()));
    objects.spawn(rewraps.clone().run(health.clone()));
    tokio::select! {
        () = stop => {}
        // What never ends has ended: another process does better than half of this one.
        _ = tasks.join_next() => return,
        _ = objects.join_next() => return,
    }
    tracing::info!("stopping, writes under way are finished");
    sealed_secrets.stop();
    rewraps.stop();
    // What is not finished by then is dropped with the task.
    let finished = async { while objects.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(STOP_WITHIN, finished).await;
}

fn host_and_process() -> String {
    let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "localhost".to_owned());
    format!("{host}-{}", std::process::id())
}
