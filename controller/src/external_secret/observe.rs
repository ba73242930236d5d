//! A look at all objects that changes nothing: what would a take-over from External Secrets change?

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use futures::StreamExt;
use futures::stream;
use kube::Api;
use kube::api::ListParams;
use tokio::time::Instant;

use super::fate::{Fate, fate};
use super::plan::stores_named;
use super::recall::recall;
use super::{ExternalSecretObject, ExternalSecrets, Known};
use crate::kubernetes::{ApiFailure, within};
use crate::object::{Key, Namespaces, api};
use crate::reconciler::Reconciler;
use crate::secret::{Change, WriteError};
use crate::watch::PAGE;

/// What would become of the Secret of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Forecast {
    /// It stays as it is.
    Same,
    /// It would be changed.
    Changed(Vec<Change>),
    /// It fails, and the reason; before, it did not.
    Fails(String),
    /// It fails, as it does now.
    StillFails(String),
    /// It belongs to another class of controllers.
    Foreign,
    /// It is being deleted.
    Terminating,
}

impl Forecast {
    /// Would nothing be rewritten, and nothing break?
    pub fn is_harmless(&self) -> bool {
        !matches!(self, Self::Changed(_) | Self::Fails(_))
    }
}

impl fmt::Display for Forecast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Same => f.write_str("stays as it is"),
            Self::Changed(changes) => {
                let changes: Vec<String> = changes.iter().map(Change::to_string).collect();
                f.write_str(&changes.join(", "))
            }
            Self::Fails(why) => write!(f, "would fail: {why}"),
            Self::StillFails(why) => write!(f, "fails as before: {why}"),
            Self::Foreign => f.write_str("belongs to another controller class"),
            Self::Terminating => f.write_str("is being deleted"),
        }
    }
}

/// What would become of all objects, by namespace and name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forecasts(BTreeMap<(String, String), Forecast>);

impl Forecasts {
    /// Would nothing be rewritten, and nothing break?
    pub fn are_harmless(&self) -> bool {
        self.0.values().all(Forecast::is_harmless)
    }
}

impl fmt::Display for Forecasts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for ((namespace, name), forecast) in &self.0 {
            if *forecast != Forecast::Same {
                writeln!(f, "{namespace}/{name}: {forecast}")?;
            }
        }
        let count = |is: fn(&Forecast) -> bool| self.0.values().filter(|one| is(one)).count();
        let all = self.0.len();
        let changed = count(|one| matches!(one, Forecast::Changed(_)));
        let breaks = count(|one| matches!(one, Forecast::Fails(_)));
        write!(
            f,
            "{all} ExternalSecrets: {} Secrets stay as they are, {changed} would be rewritten, \
             {breaks} would fail, {} others",
            count(|one| *one == Forecast::Same),
            all - changed - breaks - count(|one| *one == Forecast::Same),
        )
    }
}

impl ExternalSecrets {
    /// Looks at all objects once. Errors if the API server does not list them.
    pub async fn observe(self: &Arc<Self>) -> Result<Forecasts, ApiFailure> {
        // Only what the stores need: the watch of Secrets, which records nothing here, is not.
        let _stores = self.secret_stores.triggers().await;
        let mut forecasts = Forecasts::default();
        for namespaces in &self.context.served {
            self.observe_in(namespaces, &mut forecasts).await?;
        }
        Ok(forecasts)
    }

    async fn observe_in(
        &self,
        namespaces: &Namespaces,
        forecasts: &mut Forecasts,
    ) -> Result<(), ApiFailure> {
        self.secret_stores.listed(namespaces).await;
        let api: Api<ExternalSecretObject> = api(&self.context.client, namespaces);
        let mut page = ListParams::default().limit(PAGE);
        loop {
            let list = within(api.list(&page)).await?;
            let seen = stream::iter(list.items)
                .map(async |object| {
                    let key = Key::of(&object.metadata);
                    (key, self.forecast(&object).await)
                })
                .buffer_unordered(self.at_once)
                .collect::<Vec<_>>()
                .await;
            let seen = seen
                .into_iter()
                .map(|(key, forecast)| ((key.namespace, key.name), forecast));
            forecasts.0.extend(seen);
            match list.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => page = page.continue_token(&token),
                None => return Ok(()),
            }
        }
    }

    async fn forecast(&self, object: &ExternalSecretObject) -> Forecast {
        if object.is_terminating() {
            return Forecast::Terminating;
        }
        let known = recall(object, SystemTime::now(), |_, _| Vec::new());
        match self.changes(object, &known).await {
            Ok(None) => Forecast::Foreign,
            Ok(Some(changes)) if changes.is_empty() => Forecast::Same,
            Ok(Some(changes)) => Forecast::Changed(changes),
            Err(why) if known.ready => Forecast::Fails(why),
            Err(why) => Forecast::StillFails(why),
        }
    }

    /// What the next refresh would change; `None` if another class serves the object. Error: why it
    /// would fail.
    async fn changes(
        &self,
        object: &ExternalSecretObject,
        known: &Known,
    ) -> Result<Option<Vec<Change>>, String> {
        let plan = self.plan(object, known);
        if self.are_foreign(stores_named(&plan)) {
            return Ok(None);
        }
        let plan = plan.map_err(|(outcome, _)| outcome.message())?;
        // What is never read again stays as it is.
        if plan.interval.is_none() && self.taken_over(object, &plan, known).await.is_some() {
            return Ok(Some(Vec::new()));
        }
        let target = &plan.spec.target;
        let fetched = self
            .fetch(&plan, Instant::now())
            .await
            .map_err(|(outcome, _)| outcome.message())?;
        let is_empty = fetched.data.is_empty();
        match fate(target.creation_policy, target.deletion_policy, is_empty) {
            Fate::Stay(outcome) if outcome.is_ready() => Ok(Some(Vec::new())),
            Fate::Stay(outcome) => Err(outcome.message()),
            Fate::Delete => {
                let exists = self.secrets.exists(&plan.origin.namespace, &plan.target);
                let exists = exists.await.map_err(|failure| failure.to_string())?;
                Ok(Some(
                    exists.then_some(Change::Deleted).into_iter().collect(),
                ))
            }
            Fate::Write => {
                let made = self.made(object, &plan, fetched.data).await;
                let made = made.map_err(|(outcome, _)| outcome.message())?;
                match self.secrets.forecast(&plan.desired(object, made)).await {
                    // As with External Secrets, it is no failure.
                    Err(WriteError::Missing) => Ok(Some(Vec::new())),
                    Err(error) => Err(error.outcome().0.message()),
                    Ok(changes) => Ok(Some(changes)),
                }
            }
        }
    }
}
