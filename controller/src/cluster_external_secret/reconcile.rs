//! Observe, decide, act: the ExternalSecrets of the selected namespaces, those of others, the status.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::StreamExt;
use jiff::Timestamp;
use kube::Api;
use kube::api::ListParams;
use sealkit_core::api::external::{ExternalSecret, FailedNamespace};
use sealkit_core::api::{ConditionStatus, ConditionType, Reason};
use tokio::time::Instant;

use super::place::{Failed, Placed, place, remove};
use super::template::Template;
use super::{CLUSTER_EXTERNAL_SECRET, ClusterExternalSecrets, Known, Object};
use crate::kubernetes::{ApiFailure, within};
use crate::object::{Key, RawMeta};
use crate::queue::{Lane, pause};
use crate::status::{self, Outcome};
use crate::watch::all_pass;

/// ExternalSecrets of one object that are read or written at once.
const PLACES: usize = 8;

/// What was done for one object.
struct Done {
    name: String,
    content: String,
    placed: BTreeMap<String, Placed>,
    failed: BTreeMap<String, Failed>,
    /// ExternalSecrets of namespaces that are not selected could not be deleted.
    left: Option<ApiFailure>,
}

impl ClusterExternalSecrets {
    /// Reconciles one object. `None` if it is gone.
    pub(super) async fn reconciled(&self, key: &Key) -> Result<Option<Reason>, ApiFailure> {
        let known = self.known().get_mut(key).map(|known| {
            // From here on, what the watch shows is compared with what is done.
            known.meanwhile.clear();
            known.clone()
        });
        let Some(known) = known else {
            return Ok(None);
        };
        let api: Api<Object> = Api::all(self.context.client.clone());
        let object = within(api.get_opt(&key.name)).await?;
        let is_same = |object: &Object| object.uid() == known.uid && !object.is_terminating();
        let Some(object) = object.filter(is_same) else {
            // The watch reports it.
            return Ok(None);
        };
        let (outcome, done, interval) = match Template::of(&object) {
            Ok(template) => {
                let done = self.provide(&object, &known, &template).await?;
                (done.outcome(), Some(done), Some(template.interval))
            }
            Err(what) => (Outcome::Stalled(Reason::InvalidSpec, what), None, None),
        };
        self.write_status(&object, &known, &outcome, done.as_ref())
            .await?;
        let reason = outcome.reason();
        self.conclude(key, &known.uid, outcome, done, interval);
        Ok(Some(reason))
    }

    /// Makes the ExternalSecrets of the selected namespaces, and deletes those of others.
    async fn provide(
        &self,
        object: &Object,
        known: &Known,
        template: &Template,
    ) -> Result<Done, ApiFailure> {
        let selects = |namespace: &str, labels: &_| template.selects(namespace, labels);
        let selected: BTreeSet<String> = self.stores.namespaces(selects).into_iter().collect();
        let left = self
            .remove_strays(object, known, template, &selected)
            .await?;
        let is_due = known.due.is_some_and(|due| due <= Instant::now());
        let is_current = known.content == template.content() && !is_due;
        if let Some(known) = self.known().get_mut(&Key::of(&object.metadata))
            && known.name != template.name
        {
            // From now on, the watch tells of changes under this name.
            known.name.clone_from(&template.name);
            known.meanwhile.clear();
        }
        let origin = object.origin(CLUSTER_EXTERNAL_SECRET);
        let results = futures::stream::iter(selected).map(async |namespace| {
            let result = match known.placed.get(&namespace).filter(|_| is_current) {
                Some(placed) => Ok(placed.clone()),
                None if namespace == self.context.rules.namespace => {
                    let what = "ExternalSecrets are not allowed in the controller's own namespace";
                    Err(Failed::Conflict(what.to_owned()))
                }
                None => place(&self.context.client, &origin, template, &namespace).await,
            };
            (namespace, result)
        });
        let results: Vec<_> = results.buffer_unordered(PLACES).collect().await;
        let mut done = Done {
            name: template.name.clone(),
            content: template.content(),
            placed: BTreeMap::new(),
            failed: BTreeMap::new(),
            left,
        };
        for (namespace, result) in results {
            match result {
                Ok(placed) => drop(done.placed.insert(namespace, placed)),
                Err(Failed::NoNamespace) => {}
                Err(failed) => drop(done.failed.insert(namespace, failed)),
            }
        }
        Ok(done)
    }

    /// Deletes the ExternalSecrets of namespaces that are not selected, and those of a former name.
    /// Returns why one is left.
    async fn remove_strays(
        &self,
        object: &Object,
        known: &Known,
        template: &Template,
        selected: &BTreeSet<String>,
    ) -> Result<Option<ApiFailure>, ApiFailure> {
        let status = object.status.clone().unwrap_or_default();
        let former = status.external_secret_name.as_str();
        let mut made: BTreeSet<(String, String)> = BTreeSet::new();
        let mut add = |name: &str, namespaces: &mut dyn Iterator<Item = String>| {
            made.extend(namespaces.map(|namespace| (namespace, name.to_owned())));
        };
        let tried = known.placed.keys().chain(&known.failed);
        add(&known.name, &mut tried.cloned());
        add(former, &mut status.provisioned_namespaces.iter().cloned());
        // A process that died may have made more than the status tells.
        if known.searched.as_ref() != Some(&template.name) {
            for name in BTreeSet::from([template.name.as_str(), former]) {
                add(name, &mut self.namespaces_with(name).await?.into_iter());
            }
        }
        let is_stray = |(namespace, name): &(String, String)| {
            !name.is_empty() && (*name != template.name || !selected.contains(namespace))
        };
        let origin = object.origin(CLUSTER_EXTERNAL_SECRET);
        let strays = futures::stream::iter(made.into_iter().filter(is_stray));
        let removed = strays.map(async |(namespace, name)| {
            remove(&self.context.client, &origin, &namespace, &name).await
        });
        let results: Vec<_> = removed.buffer_unordered(PLACES).collect().await;
        Ok(results.into_iter().find_map(Result::err))
    }

    /// The namespaces that have an ExternalSecret of this name, whoever made it.
    async fn namespaces_with(&self, name: &str) -> Result<Vec<String>, ApiFailure> {
        if name.is_empty() {
            return Ok(Vec::new());
        }
        let api: Api<RawMeta<ExternalSecret>> = Api::all(self.context.client.clone());
        let page = ListParams::default().fields(&format!("metadata.name={name}"));
        let mut namespaces = Vec::new();
        all_pass(&api, page, |external| {
            namespaces.extend(external.metadata.namespace.clone());
            true
        })
        .await?;
        Ok(namespaces)
    }

    async fn write_status(
        &self,
        object: &Object,
        known: &Known,
        outcome: &Outcome,
        done: Option<&Done>,
    ) -> Result<(), ApiFailure> {
        let generation = object.generation();
        let old = object.status.clone().unwrap_or_default();
        let was_ready = status::find(&old.conditions, ConditionType::Ready)
            .is_some_and(|ready| ready.status == ConditionStatus::True);
        let now = Timestamp::now();
        let mut conditions =
            status::conditions(outcome, generation, was_ready, &old.conditions, now);
        conditions.retain(|condition| condition.type_ != ConditionType::Synced.name());
        let is_news = !status::same(&old.conditions, &conditions);
        let mut new = old.clone();
        // Where External Secrets' own definition is installed, the API server drops what only ours
        // has. Ours begins with a generation.
        new.observed_generation = old.observed_generation.map(|_| generation);
        if is_news {
            new.conditions = conditions;
        }
        if let Some(done) = done {
            // A former name is kept until nothing of it is left.
            if done.left.is_none() {
                done.name.clone_into(&mut new.external_secret_name);
            }
            new.provisioned_namespaces = done.placed.keys().cloned().collect();
            new.failed_namespaces = done.failures();
        }
        let origin = object.origin(CLUSTER_EXTERNAL_SECRET);
        let version = object.metadata.resource_version.as_deref();
        match status::write(&self.context.client, &origin, version, Some(&old), &new).await {
            // Deleted meanwhile: the watch reports it.
            Err(ApiFailure::Status { code: 404, .. }) => return Ok(()),
            result => drop(result?),
        }
        if is_news && known.told.as_ref() != Some(outcome) {
            status::tell(&self.context.events, &origin, generation, outcome);
        }
        Ok(())
    }

    /// Records the result, and when the object is looked at again.
    fn conclude(
        &self,
        key: &Key,
        uid: &str,
        outcome: Outcome,
        done: Option<Done>,
        interval: Option<Duration>,
    ) {
        let mut all = self.known();
        let Some(known) = all.get_mut(key).filter(|known| known.uid == uid) else {
            return;
        };
        let now = Instant::now();
        let mut changed = false;
        known.ready = outcome.is_ready();
        if let Some(done) = done {
            known.searched = done.left.is_none().then_some(done.name);
            known.content = done.content;
            let failed = done.failed.into_keys().collect();
            changed = known.record(done.placed.into_iter().collect(), failed);
        }
        known.due = interval.map(|interval| {
            let due = known.due.filter(|due| *due > now);
            due.unwrap_or(now + interval).min(now + interval)
        });
        let mut next = known.due;
        if matches!(outcome, Outcome::Retrying(..)) {
            known.failures = known.failures.saturating_add(1);
            next = Some(now + pause(known.failures));
        } else {
            known.failures = 0;
        }
        known.told = Some(outcome);
        drop(all);
        if changed {
            self.queue.push(key.clone(), Lane::Fresh, now, None);
        }
        if let Some(due) = next {
            self.queue.push(key.clone(), Lane::Background, due, None);
        }
    }
}

impl Done {
    fn outcome(&self) -> Outcome {
        let refused = self.failed.values().find_map(|failed| match failed {
            Failed::Refused(failure) => Some(failure),
            _ => None,
        });
        let (failed, all) = (self.failed.len(), self.failed.len() + self.placed.len());
        let first = self.failures().into_iter().next();
        let what = match (&first, &self.left) {
            (Some(first), _) => format!(
                "one or more namespaces failed: {failed} of {all}, such as {}: {}",
                first.namespace, first.reason
            ),
            (None, Some(failure)) => {
                format!("an ExternalSecret of a namespace no longer selected is left: {failure}")
            }
            (None, None) => {
                let message = format!("{all} namespaces have their ExternalSecret");
                return Outcome::Ready(Reason::Synced, message);
            }
        };
        if refused.is_some() || self.left.is_some() {
            Outcome::Retrying(Reason::TargetWriteFailed, what)
        } else {
            Outcome::Stalled(Reason::TargetConflict, what)
        }
    }

    fn failures(&self) -> Vec<FailedNamespace> {
        let told = |(namespace, failed): (&String, &Failed)| FailedNamespace {
            namespace: namespace.clone(),
            reason: match failed {
                Failed::NoNamespace => "the namespace is gone".to_owned(),
                Failed::Conflict(why) => why.clone(),
                Failed::Refused(failure) => failure.to_string(),
            },
        };
        self.failed.iter().map(told).collect()
    }
}
