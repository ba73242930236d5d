//! The validating webhook, which every replica serves: API servers ask it before they store an
//! object, also when they only pretend to (`--dry-run=server`). It judges by the rules of the
//! reconcilers, and opens SealedSecrets in memory. No security property rests on it: what passes it is
//! judged again.

mod authority;
mod certificates;
mod judge;
mod review;
mod sealing_key;
mod server;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use tokio::sync::watch;
use tokio::task::JoinSet;

use certificates::{SERVICE, Served, Source};
use judge::Judge;

pub use review::Verdict;

use crate::keys::KeysReceiver;
use crate::object::served;
use crate::reconciler::caught;
use crate::settings::Settings;
use crate::telemetry::{Health, Metrics};

/// Its name in readiness.
const NAME: &str = "Webhook";

/// The running webhook. Dropping it ends it at once.
#[derive(Default)]
pub struct Admission {
    draining: watch::Sender<bool>,
    serving: Option<JoinSet<()>>,
    keeping: Option<JoinSet<()>>,
}

impl Admission {
    /// Starts it, if the settings ask for it. Error: the port is taken.
    pub fn start(
        settings: &Settings,
        client: &Client,
        keys: KeysReceiver,
        health: &Arc<Health>,
        metrics: &Arc<Metrics>,
    ) -> io::Result<Self> {
        let mut this = Self::default();
        let Some(address) = settings.webhook_listen else {
            return Ok(this);
        };
        health.expect(NAME);
        let listener = server::listen(address)?;
        let judge = Judge {
            client: client.clone(),
            keys,
            rules: Arc::new(settings.rules()),
            served: served(settings),
            external: settings.external_secrets,
            class: settings.controller_class.clone(),
            turns: Judge::turns(),
        };
        let certificate = Arc::<Served>::default();
        let kept = certificates::keep(
            source(settings, client),
            certificate.clone(),
            health.clone(),
            NAME,
        );
        let draining = this.draining.subscribe();
        let served = server::serve(listener, certificate, judge, metrics.clone(), draining);
        let (mut serving, mut keeping) = (JoinSet::new(), JoinSet::new());
        serving.spawn(async { caught(served).await.unwrap_or_default() });
        keeping.spawn(async { caught(kept).await.unwrap_or_default() });
        (this.serving, this.keeping) = (Some(serving), Some(keeping));
        Ok(this)
    }

    /// Answers the last calls: API servers have to notice first that this replica goes.
    pub fn drain(&self) {
        self.draining.send_replace(true);
    }

    /// Returns once the last calls are answered.
    pub async fn drained(mut self) {
        self.drain();
        if let Some(serving) = &mut self.serving {
            while serving.join_next().await.is_some() {}
        }
    }
}

fn source(settings: &Settings, client: &Client) -> Source {
    if let Some(folder) = &settings.webhook_cert_dir {
        return Source::Files(folder.clone());
    }
    let namespace = settings.namespace.clone();
    let mut names = vec![format!("{SERVICE}.{namespace}.svc")];
    names.extend(settings.webhook_names.iter().cloned());
    Source::Own {
        client: client.clone(),
        namespace,
        names,
        overlap: Duration::from_secs(settings.webhook_ca_overlap_seconds),
    }
}
