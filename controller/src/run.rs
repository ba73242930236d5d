//! From start to stop: keys, lease, reconcilers.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, header};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use kube::Client;
use kube::config::Kubeconfig;
use kube_lease_manager::{LeaseManagerBuilder, LeaseManagerError};
use sealkit_core::api::LEASE;
use sealkit_core::proxy::ProxyError;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::admission::Admission;
use crate::cluster_external_secret::{self, ClusterExternalSecrets};
use crate::external_secret::{self, ExternalSecrets};
use crate::in_hand::InHand;
use crate::keys::{KeyReconciler, KeyUsers, KeysReceiver, Leading, NAME as KEYS};
use crate::kubernetes::{ApiFailure, USER_AGENT};
use crate::object::{Namespaces, served};
use crate::proxies;
use crate::reconciler::{Context, Frame, Part, caught};
use crate::restart::{self, Restarts, Rollout};
use crate::rewrap::RewrapRequests;
use crate::sealed_secret::SealedSecrets;
use crate::secret::{Freeze, SecretWatch, Secrets};
use crate::secret_store::SecretStores;
use crate::settings::Settings;
use crate::sources::Sources;
use crate::telemetry::{self, Events, Health, Metrics};

/// Name of the lease in readiness.
const THE_LEASE: &str = "Lease";
/// How long the API server may send nothing: longer than a watch lasts.
const SILENT_AT_MOST: Duration = Duration::from_mins(5);
/// How long writes in progress may take after the signal to stop.
const STOP_WITHIN: Duration = Duration::from_secs(20);

/// Why the controller ended.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// No configuration to reach a cluster.
    #[error("no cluster configuration: neither in-cluster files nor a usable kubeconfig")]
    NoCluster,
    /// A variable or the kubeconfig names no proxy.
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    /// The address of the probes or the webhook is taken, or signals cannot be handled.
    #[error("cannot serve health and metrics or the webhook, or handle signals: {0}")]
    Io(#[from] std::io::Error),
    /// The lease could not be read or created.
    #[error(
        "cannot use the lease {LEASE}: check the controller's rights on leases in its namespace"
    )]
    Lease,
    /// The API server does not have the kind, or does not list its objects.
    #[error("cannot look at ExternalSecrets: {0}")]
    Observe(String),
    /// Another replica took the lease.
    #[error("the lease was lost")]
    LeaseLost,
    /// A part that never ends has ended. A new process is better than one without it.
    #[error("{0} ended unexpectedly")]
    Ended(&'static str),
}

/// The client of the cluster that the process runs in, or of the kubeconfig. Errors:
/// [`RunError::NoCluster`], [`RunError::Proxy`].
pub async fn client() -> Result<Client, RunError> {
    proxies::check()?;
    let kubeconfig = Kubeconfig::read().ok();
    let mut config = kube::Config::infer()
        .await
        .map_err(|_| RunError::NoCluster)?;
    // The library compares NO_PROXY with the proxy, not with the server, and only for a kubeconfig.
    config.proxy_url = proxies::to_cluster(kubeconfig.as_ref(), &config.cluster_url)?;
    // A watch ends by itself before that, and a call has a shorter time of its own.
    config.read_timeout = Some(SILENT_AT_MOST);
    let agent = HeaderValue::from_static(USER_AGENT);
    config.headers.push((header::USER_AGENT, agent));
    crate::utf8::client(config).map_err(|_| RunError::NoCluster)
}

/// Runs until a signal asks to stop, the lease is lost, or a part ends by itself.
pub async fn run(settings: Settings) -> Result<(), RunError> {
    let client = client().await?;
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
    let in_hand = Arc::new(in_hand(&settings));
    let replica = Replica {
        settings,
        client,
        metrics,
        health,
        in_hand: in_hand.clone(),
    };
    let result = tokio::select! {
        result = probes => result.map_err(RunError::from),
        result = replica.run(stop) => result,
    };
    in_hand.put_down();
    result
}

/// Without its file, the controller works all the same.
fn in_hand(settings: &Settings) -> InHand {
    let Some(folder) = &settings.state_dir else {
        return InHand::default();
    };
    InHand::open(folder).unwrap_or_else(|error| {
        tracing::warn!(%error, "cannot use --state-dir");
        InHand::default()
    })
}

/// The keys as this replica reads them, and whether a leader found them to be what the API server
/// has.
struct LeaderKeys {
    keys: KeysReceiver,
    confirmed: watch::Receiver<bool>,
}

/// One of the controller's processes. All of them read keys; the leader also writes.
struct Replica {
    settings: Settings,
    client: Client,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    in_hand: Arc<InHand>,
}

impl Replica {
    /// Reads keys and serves the webhook, whoever leads, and works once this replica does.
    async fn run(&self, stop: impl Future<Output = ()>) -> Result<(), RunError> {
        let (sender, leading) = watch::channel(None);
        let (parts, keys) = self.read_keys(leading);
        let admission = Admission::start(
            &self.settings,
            &self.client,
            keys.keys.clone(),
            &self.health,
            &self.metrics,
        )?;
        let stop = async {
            stop.await;
            self.health.stopping();
            // Its last calls end while the writes in progress do.
            admission.drain();
        };
        let result = self.work(stop, &sender, parts, keys).await;
        // Whatever ended the work: no more calls of the webhook come here.
        self.health.stopping();
        admission.drained().await;
        result
    }

    /// Waits for the lease, leads, and releases the lease.
    async fn work(
        &self,
        stop: impl Future<Output = ()>,
        sender: &watch::Sender<Option<Arc<dyn KeyUsers>>>,
        mut parts: JoinSet<&'static str>,
        keys: LeaderKeys,
    ) -> Result<(), RunError> {
        tokio::pin!(stop);
        let settings = &self.settings;
        let identity = settings.identity.clone().unwrap_or_else(host_and_process);
        // A replica is ready if it leads or could take over.
        self.health.expect(THE_LEASE);
        let (mut leads, lease) = tokio::select! {
            () = &mut stop => return Ok(()),
            ended = first_to_end(&mut parts) => return Err(ended),
            lease = take_lease(settings, self.client.clone(), &identity) => lease?,
        };
        self.health.ready(THE_LEASE);
        let is_leader = tokio::select! {
            () = &mut stop => false,
            ended = first_to_end(&mut parts) => return Err(ended),
            result = leads.wait_for(|leads| *leads) => {
                result.map_err(|_| RunError::Lease)?;
                true
            }
        };
        let result = if is_leader {
            tracing::info!(identity, "leading");
            tokio::select! {
                result = self.lead(&identity, keys, sender, &mut parts, &mut stop) => result,
                // Every write has a precondition, so dropping the tasks does no harm.
                _ = leads.wait_for(|leads| !*leads) => return Err(RunError::LeaseLost),
            }
        } else {
            Ok(())
        };
        // Nothing acts any more when another replica may lead.
        sender.send_replace(None);
        parts.shutdown().await;
        // The manager releases the lease once no receiver is left.
        drop(leads);
        let _ = tokio::time::timeout(Duration::from_secs(5), lease).await;
        tracing::info!("stopped");
        result
    }

    /// Starts what every replica does: it reads the keys, and acts on them once it leads.
    fn read_keys(&self, leading: Leading) -> (JoinSet<&'static str>, LeaderKeys) {
        let (sender, keys) = watch::channel(None);
        let (confirming, confirmed) = watch::channel(false);
        let reconciler = KeyReconciler::new(
            self.client.clone(),
            &self.settings.namespace,
            self.settings.allowed_algorithms.clone(),
            leading,
            sender,
            confirming,
        );
        let mut parts = JoinSet::new();
        self.health.expect(KEYS);
        let running = reconciler.run(self.health.clone(), self.metrics.clone());
        spawn(&mut parts, KEYS, running);
        (parts, LeaderKeys { keys, confirmed })
    }

    /// Does the work of the leader until `stop`.
    async fn lead(
        &self,
        identity: &str,
        keys: LeaderKeys,
        leading: &watch::Sender<Option<Arc<dyn KeyUsers>>>,
        parts: &mut JoinSet<&'static str>,
        stop: impl Future<Output = ()>,
    ) -> Result<(), RunError> {
        let Self {
            settings,
            client,
            metrics,
            health,
            in_hand,
        } = self;
        let LeaderKeys {
            keys,
            mut confirmed,
        } = keys;
        let context = Context {
            client: client.clone(),
            served: served(settings),
            rules: Arc::new(settings.rules()),
            keys: keys.clone(),
            renderer: Arc::default(),
            events: Events::start(client, identity),
            health: health.clone(),
            metrics: metrics.clone(),
        };
        let freeze = Arc::new(Freeze::default());
        let secrets = Secrets::new(client.clone(), freeze.clone());
        let secret_watch = SecretWatch::new(
            client.clone(),
            context.served.clone(),
            settings.take_over,
            health.clone(),
            metrics.clone(),
        );
        let sealed_secrets = SealedSecrets::new(
            context.clone(),
            settings.concurrency,
            secrets.clone(),
            secret_watch.clone(),
        );
        // One line for each kind.
        let mut reconcilers: Vec<Arc<dyn Part>> =
            vec![sealed_secrets.clone(), RewrapRequests::new(context.clone())];
        if settings.restart_workloads {
            reconcilers.extend(self.restarts(&context, &secret_watch).await);
        }
        if settings.external_secrets && external_secret::are_served(client).await {
            let watch = secret_watch.clone();
            reconcilers.extend(self.external(&context, secrets, watch, parts).await);
        }
        self.scrape(&reconcilers, keys);
        // Not ready again until the objects are listed.
        metrics.leader.set(1);
        // The reconciler of keys acts from here on: it asks which objects use a key.
        leading.send_replace(Some(sealed_secrets));
        spawn(parts, "freeze", async move { freeze.watch().await });
        spawn(parts, "Secret", secret_watch.run());
        tokio::pin!(stop);
        tokio::select! {
            () = &mut stop => return Ok(()),
            ended = first_to_end(parts) => return Err(ended),
            // Objects are opened with the keys that the API server has.
            result = confirmed.wait_for(|confirmed| *confirmed) => {
                result.map_err(|_| RunError::Ended(KEYS))?;
            }
        }
        let mut working = JoinSet::new();
        let frame = Frame {
            metrics: metrics.clone(),
            in_hand: in_hand.clone(),
        };
        for part in &reconcilers {
            let running = part.clone().run(frame.clone());
            spawn(&mut working, part.name(), running);
        }
        tokio::select! {
            () = stop => {}
            ended = first_to_end(parts) => return Err(ended),
            ended = first_to_end(&mut working) => return Err(ended),
        }
        tracing::info!("stopping, finishing writes in progress");
        // From here on objects are not watched: what is known of them grows old.
        leading.send_replace(None);
        reconcilers.iter().for_each(|part| part.stop());
        // Writes that have not finished by then are dropped with their tasks.
        let finished = async { while working.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(STOP_WITHIN, finished).await;
        Ok(())
    }

    /// The reconcilers that restart workloads.
    async fn restarts(&self, context: &Context, secrets: &SecretWatch) -> Vec<Arc<dyn Part>> {
        let window = self.settings.restart_window;
        let mut reconcilers: Vec<Arc<dyn Part>> = vec![
            Restarts::<Deployment>::new(context.clone(), window, secrets),
            Restarts::<StatefulSet>::new(context.clone(), window, secrets),
            Restarts::<DaemonSet>::new(context.clone(), window, secrets),
        ];
        if restart::rollouts_are_served(&self.client).await {
            let rollouts = Restarts::<Rollout>::new(context.clone(), window, secrets);
            reconcilers.push(rollouts);
        }
        reconcilers
    }

    /// The reconcilers of ExternalSecrets and of their stores. What these are made of is watched from
    /// their first list on.
    async fn external(
        &self,
        context: &Context,
        secrets: Secrets,
        secret_watch: Arc<SecretWatch>,
        parts: &mut JoinSet<&'static str>,
    ) -> Vec<Arc<dyn Part>> {
        let settings = &self.settings;
        let sources = Arc::new(Sources::default());
        let every = Duration::from_secs(settings.store_check_seconds);
        let class = &settings.controller_class;
        let stores = SecretStores::new(context.clone(), class, every, &sources);
        let external_secrets = ExternalSecrets::new(
            context.clone(),
            settings.concurrency,
            secrets,
            secret_watch,
            stores.clone(),
            sources.clone(),
        );
        for namespaces in context.served.clone() {
            let (listed, sources) = (external_secrets.clone(), sources.clone());
            let mut context = context.clone();
            context.served = vec![namespaces.clone()];
            spawn(parts, "sources", async move {
                listed.listed(&namespaces).await;
                sources.run(context).await;
            });
        }
        let mut reconcilers: Vec<Arc<dyn Part>> = vec![stores.clone(), external_secrets.clone()];
        // Stores and namespaces of the cluster are watched only where all of it is served.
        if context.served.contains(&Namespaces::All)
            && cluster_external_secret::are_served(&self.client).await
        {
            reconcilers.push(ClusterExternalSecrets::new(
                context.clone(),
                stores,
                &external_secrets,
            ));
        }
        reconcilers
    }

    /// Sets the gauges that are read from memory before each scrape, from now on.
    fn scrape(&self, reconcilers: &[Arc<dyn Part>], keys: KeysReceiver) {
        let reconcilers: Vec<_> = reconcilers.iter().map(Arc::downgrade).collect();
        let (metrics, health) = (self.metrics.clone(), Arc::downgrade(&self.health));
        self.health.on_scrape(move || {
            if let Some(health) = health.upgrade() {
                metrics.tell_unwatched(health.unwatched_namespaces().into_keys());
            }
            for reconciler in reconcilers.iter().filter_map(std::sync::Weak::upgrade) {
                reconciler.scrape(&metrics);
            }
            if let Some(newest) = &*keys.borrow() {
                newest.scrape(&metrics);
            }
        });
    }
}

/// Starts a part. The task returns the part's name when it ends, even by a panic.
fn spawn(
    parts: &mut JoinSet<&'static str>,
    name: &'static str,
    running: impl Future<Output = ()> + Send + 'static,
) {
    parts.spawn(async move {
        caught(running).await;
        name
    });
}

/// Waits until a part ends, which should never happen.
async fn first_to_end(parts: &mut JoinSet<&'static str>) -> RunError {
    match parts.join_next().await {
        Some(ended) => RunError::Ended(ended.unwrap_or("a part")),
        None => std::future::pending().await,
    }
}

type Lease = (
    tokio::sync::watch::Receiver<bool>,
    tokio::task::JoinHandle<
        Result<kube_lease_manager::LeaseManager, kube_lease_manager::LeaseManagerError>,
    >,
);

/// Reads or creates the lease; retries while the API server is unavailable.
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
        let cause = match manager {
            Ok(manager) => return Ok(manager.watch().await),
            Err(LeaseManagerError::KubeError(error)) => ApiFailure::from(error).to_string(),
            Err(error) => error.to_string(),
        };
        tracing::warn!(cause, "cannot use the lease yet, will retry");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(30));
    }
}

fn host_and_process() -> String {
    let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "localhost".to_owned());
    format!("{host}-{}", std::process::id())
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_part_that_ends_or_panics_is_named() {
        let broken = futures::future::lazy(|_| -> () { panic!("injected") });
        for (name, running) in [
            ("ends", futures::future::ready(()).boxed()),
            ("panics", broken.boxed()),
        ] {
            let mut parts = JoinSet::new();
            spawn(&mut parts, "lives", std::future::pending());
            spawn(&mut parts, name, running);
            let error = first_to_end(&mut parts).await;
            assert!(
                matches!(error, RunError::Ended(ended) if ended == name),
                "{error}"
            );
        }
    }
}
