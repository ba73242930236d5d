//! `seal-controller --observe --once`: what would a take-over from External Secrets change?

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::external_secret::{self, ExternalSecrets, Forecasts};
use crate::object::served;
use crate::reconciler::Context;
use crate::run::{RunError, client};
use crate::secret::{Freeze, SecretWatch, Secrets};
use crate::secret_store::SecretStores;
use crate::settings::{Rules, Settings};
use crate::sources::Sources;
use crate::telemetry::{Events, Health, Metrics};

/// Reads all ExternalSecrets, their values and their Secrets once. Nothing is written, and no lease is
/// taken, so that it can run beside other controllers. It needs the rights of the controller. Errors:
/// [`RunError::NoCluster`], [`RunError::Observe`].
pub async fn observe(settings: &Settings) -> Result<Forecasts, RunError> {
    let client = client().await?;
    if !external_secret::are_served(&client).await {
        let why = "the cluster does not have the kind";
        return Err(RunError::Observe(why.to_owned()));
    }
    let (metrics, health) = (Arc::new(Metrics::new()), Arc::new(Health::default()));
    let (_keys, keys) = watch::channel(None);
    let context = Context {
        client: client.clone(),
        served: served(settings),
        rules: Arc::new(Rules {
            take_over: true,
            ..settings.rules()
        }),
        keys,
        renderer: Arc::default(),
        events: Events::start(&client, "observer"),
        health: health.clone(),
        metrics: metrics.clone(),
    };
    let sources = Arc::new(Sources::default());
    let every = Duration::from_secs(settings.store_check_seconds);
    let class = &settings.controller_class;
    let stores = SecretStores::new(context.clone(), class, every, &sources);
    let served = context.served.clone();
    let secret_watch = SecretWatch::new(client.clone(), served, false, health, metrics);
    let secrets = Secrets::new(client, Arc::new(Freeze::default()));
    let external_secrets = ExternalSecrets::new(
        context,
        settings.concurrency,
        secrets,
        secret_watch,
        stores,
        sources,
    );
    let forecasts = external_secrets.observe().await;
    forecasts.map_err(|failure| RunError::Observe(failure.to_string()))
}
