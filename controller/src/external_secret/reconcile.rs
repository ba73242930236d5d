//! Observe, decide, act: the values from the stores, the Secret, the status, then events.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use kube::Api;
use sealkit_core::api::external::{
    CreationPolicy, DeletionPolicy, ExternalSecretSpec, FORCE_SYNC, MetadataPolicy, RefreshPolicy,
    SourceRef,
};
use sealkit_core::api::{Reason, rules};
use sealkit_core::names;
use sealkit_core::sealed::size_class;
use tokio::time::Instant;

use super::fetch::{not_fetched, stores_of};
use super::status::status_of;
use super::stores::StoreName;
use super::template::{Rendered, rendered};
use super::{
    EXTERNAL_SECRET, ExternalSecretObject, ExternalSecrets, KIND, Known, beside, lock, schedule,
};
use crate::kubernetes::{ApiFailure, within};
use crate::object::{Key, Origin, Version, Waiting};
use crate::queue::{LONGEST_PAUSE, Lane, Work, pause};
use crate::reconciler::Pool;
use crate::render::Contents;
use crate::secret::{Before, Consent, Desired, Last, Op, Ownership, Revision};
use crate::status::{self, Outcome};
use crate::telemetry::EventKind;

/// Labels and annotations that mark the resource for a tool, which would take a Secret with them for
/// its own.
const TRACKING: [&str; 4] = [
    "argocd.argoproj.io/",
    "app.kubernetes.io/instance",
    "kustomize.toolkit.fluxcd.io/",
    "kubectl.kubernetes.io/last-applied-configuration",
];

/// The result of one reconcile.
pub(super) struct Done {
    pub(super) outcome: Outcome,
    pub(super) written: Option<(Version, Op)>,
    /// Retry after a growing pause of at most this.
    retry: Option<Duration>,
    /// The next refresh.
    next: Option<Duration>,
    stores: Vec<StoreName>,
    pub(super) target: Option<String>,
}

/// What to do for one object.
struct Plan {
    origin: Origin,
    spec: ExternalSecretSpec,
    /// Fingerprint of the spec.
    content: String,
    /// Name of the Secret.
    target: String,
    stores: Vec<StoreName>,
    /// How long a read may be shared.
    window: Duration,
    /// The next refresh, from now.
    next: Option<Duration>,
}

impl Plan {
    fn desired(&self, object: &ExternalSecretObject, made: Rendered) -> Desired {
        Desired {
            origin: self.origin.clone(),
            name: self.target.clone(),
            revision: Revision {
                generation: object.generation(),
                content: self.content.clone(),
            },
            ownership: match self.spec.target.creation_policy {
                CreationPolicy::Orphan => Ownership::Orphan,
                _ => Ownership::Owner,
            },
            adopt: false,
            consent: Consent::ByAnnotation,
            secret_type: made.secret_type.unwrap_or_else(|| "Opaque".to_owned()),
            immutable: self.spec.target.immutable,
            labels: made.labels,
            annotations: made.annotations,
            public_bytes: made
                .data
                .values()
                .map(|value| size_class(value.len()))
                .sum(),
            data: made.data,
        }
    }
}

impl Done {
    fn without(outcome: Outcome, retry: Option<Duration>) -> Self {
        Self {
            outcome,
            written: None,
            retry,
            next: None,
            stores: Vec::new(),
            target: None,
        }
    }
}

impl ExternalSecrets {
    /// Reconciles one object. `None` if there was nothing to do.
    pub(super) async fn reconciled(
        &self,
        work: Work<Key, Waiting<sealkit_core::api::external::ExternalSecret>>,
        pool: Pool,
    ) -> Result<Option<Reason>, ApiFailure> {
        let key = &work.key.clone();
        let Some(known) = self.known().get(key).cloned() else {
            return Ok(None);
        };
        let target = known.own.target.as_ref();
        let secret = target.and_then(|name| self.secret_watch.current(&beside(key, name)));
        let due = known.own.due;
        if known.settled(secret.as_ref()) && due.is_none_or(|due| due > Instant::now()) {
            // Another trigger took the place of the next refresh in the queue.
            if let Some(due) = due {
                self.queue.push(key.clone(), Lane::Background, due, None);
            }
            return Ok(None);
        }
        let object = match &work.payload {
            Some(Waiting { object, .. })
                if object.uid() == known.uid && object.generation() == known.seen.generation =>
            {
                object.clone()
            }
            _ => {
                let client = self.context.client.clone();
                let api: Api<ExternalSecretObject> = Api::namespaced(client, &key.namespace);
                let read = within(api.get_opt(&key.name)).await?;
                let read = read.filter(|object| object.uid() == known.uid);
                let Some(object) = read else {
                    return Ok(None);
                };
                Arc::new(object)
            }
        };
        if object.is_terminating() {
            return Ok(None);
        }
        if pool == Pool::Fast && object.mentions("\"template\"") {
            // Whoever waits for a place to render must hold up nobody who does not.
            let due = Instant::now();
            self.templated.push(work.key, work.lane, due, work.payload);
            return Ok(None);
        }
        let done = self.act(&object, &known).await;
        self.conclude(key, &object, &known, done).await.map(Some)
    }

    /// Reads the values, makes the Secret of them and writes it. If something fails, the last good
    /// Secret stays.
    async fn act(&self, object: &ExternalSecretObject, known: &Known) -> Done {
        let plan = match self.plan(object, known) {
            Ok(plan) => plan,
            Err(outcome) => return Done::without(outcome, None),
        };
        let done = match self.made(object, &plan).await {
            Ok(made) => {
                let policy = plan.spec.target.deletion_policy;
                let done = self.write(plan.desired(object, made), policy, known).await;
                self.remove_former(object, &plan, known, &done).await;
                done
            }
            Err((outcome, retry)) => Done::without(outcome, retry),
        };
        Done {
            // While a provider does not answer, nothing is due.
            next: plan
                .next
                .filter(|_| done.outcome.reason() != Reason::ProviderError),
            stores: plan.stores,
            target: Some(plan.target),
            ..done
        }
    }

    /// Decides what to do, by the spec alone.
    fn plan(&self, object: &ExternalSecretObject, known: &Known) -> Result<Plan, Outcome> {
        let invalid = |what: String| Outcome::Stalled(Reason::InvalidSpec, what);
        let origin = object.origin(EXTERNAL_SECRET);
        if origin.namespace == self.context.rules.namespace {
            let what = "ExternalSecrets are not allowed in the controller's own namespace";
            return Err(invalid(what.to_owned()));
        }
        let text = object.spec().value;
        let content = names::digest(text.to_string().as_bytes());
        let spec: ExternalSecretSpec = serde_json::from_value(text)
            .map_err(|error| invalid(names::printable(&error.to_string())))?;
        if let Some(what) = unserved(&spec) {
            return Err(invalid(format!("{what} is not served by Sealkit")));
        }
        let interval = schedule::interval(&spec).map_err(invalid)?;
        let stores = stores_of(&spec, &origin.namespace);
        let first = spec.data.first().map(|entry| entry.remote_ref.key.as_str());
        let next = interval
            .map(|interval| schedule::next(interval, &(stores.first(), first), SystemTime::now()));
        Ok(Plan {
            target: if spec.target.name.is_empty() {
                origin.name.clone()
            } else {
                spec.target.name.clone()
            },
            window: if known.own.forced {
                Duration::ZERO
            } else {
                schedule::window(interval)
            },
            spec,
            content,
            next,
            stores,
            origin,
        })
    }

    /// What the Secret holds: the values of the stores, through the template. Errors with the
    /// outcome and the longest pause until the next try.
    async fn made(
        &self,
        object: &ExternalSecretObject,
        plan: &Plan,
    ) -> Result<Rendered, (Outcome, Option<Duration>)> {
        let namespace = &plan.origin.namespace;
        let fetched = self.fetch(&plan.spec, namespace, plan.window).await;
        let data = fetched.map_err(|error| not_fetched(&error))?;
        let Some(template) = &plan.spec.target.template else {
            return Ok(Rendered {
                data,
                labels: self.copied(object.metadata.labels.as_ref()),
                annotations: self.copied(object.metadata.annotations.as_ref()),
                secret_type: None,
            });
        };
        let denied = &self.context.rules.deny_template_metadata;
        let made = rendered(&self.context.renderer, namespace, template, data, denied).await;
        made.map_err(|outcome| {
            let retry = matches!(outcome, Outcome::Retrying(..)).then_some(LONGEST_PAUSE);
            (outcome, retry)
        })
    }

    /// Writes the Secret, or deletes it if the store has nothing any more and `deletionPolicy` says
    /// so.
    async fn write(&self, desired: Desired, policy: DeletionPolicy, known: &Known) -> Done {
        let ours = known.own.owned.as_deref();
        if desired.data.is_empty() && policy == DeletionPolicy::Delete {
            return match self.secrets.remove(&desired, ours).await {
                Ok(op) => {
                    op.count(KIND, &self.context.metrics);
                    let message =
                        "the store has nothing any more: the Secret is deleted".to_owned();
                    Done::without(Outcome::Ready(Reason::SecretDeleted, message), None)
                }
                Err(error) => {
                    let (outcome, retry) = error.outcome();
                    Done::without(outcome, Some(retry))
                }
            };
        }
        let before = Before {
            exists: known.target.is_some() || known.ready,
            ours,
            last: match &known.target {
                Some(target) => Last::Version(target),
                // In sync when this process started, and not looked at since.
                None if known.ready && known.own.target.is_none() => Last::Unrecorded,
                None => Last::Nothing,
            },
            synced: known.synced_generation == Some(desired.revision.generation),
        };
        match self.secrets.write(&desired, before).await {
            Ok(written) => {
                written.1.count(KIND, &self.context.metrics);
                let message = "the Secret has what the store holds".to_owned();
                Done {
                    written: Some(written),
                    ..Done::without(Outcome::Ready(Reason::Synced, message), None)
                }
            }
            Err(error) => {
                let (outcome, retry) = error.outcome();
                Done::without(outcome, Some(retry))
            }
        }
    }

    /// Labels or annotations of the resource that go to the Secret if it has no template, as with
    /// External Secrets. Those that a template may not set stay where they are.
    fn copied(&self, all: Option<&BTreeMap<String, String>>) -> BTreeMap<String, String> {
        let denied = &self.context.rules.deny_template_metadata;
        let is_denied = |name: &str| {
            is_for_a_tool(name)
                || rules::is_refused_metadata(name)
                || denied.iter().any(|prefix| name.starts_with(prefix))
        };
        let kept = all
            .into_iter()
            .flatten()
            .filter(|(name, _)| !is_denied(name));
        kept.map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    }

    /// Deletes the Secret of a former `target.name`. If that fails, it stays behind, as it would
    /// after a restart.
    async fn remove_former(
        &self,
        object: &ExternalSecretObject,
        plan: &Plan,
        known: &Known,
        done: &Done,
    ) {
        let former = known
            .own
            .target
            .as_ref()
            .filter(|former| **former != plan.target);
        let owns = plan.spec.target.creation_policy == CreationPolicy::Owner;
        let Some(former) = former.filter(|_| owns && done.outcome.is_ready()) else {
            return;
        };
        let none = Rendered {
            data: Contents::new(),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            secret_type: None,
        };
        let former = Desired {
            name: former.clone(),
            ..plan.desired(object, none)
        };
        let ours = known.own.owned.as_deref();
        if let Ok(op) = self.secrets.remove(&former, ours).await {
            op.count(KIND, &self.context.metrics);
        } else {
            let (namespace, name) = (&plan.origin.namespace, &former.name);
            tracing::warn!(namespace, name, "the Secret of a former target.name stays");
        }
    }

    /// Records the result in memory and in the status, publishes it, and schedules what comes next.
    async fn conclude(
        &self,
        key: &Key,
        object: &ExternalSecretObject,
        known: &Known,
        done: Done,
    ) -> Result<Reason, ApiFailure> {
        let reason = done.outcome.reason();
        let old = object.status.clone().unwrap_or_default();
        let had_synced = known.synced_generation == Some(object.generation());
        let new = status_of(object, &old, had_synced, &done);
        // Before the status is written, since the watches may report both writes first.
        let Some(failures) = self.remember(key, object, known, &done) else {
            return Ok(reason);
        };
        let origin = object.origin(EXTERNAL_SECRET);
        let version = object.metadata.resource_version.as_deref();
        match status::write(&self.context.client, &origin, version, Some(&old), &new).await {
            // Deleted meanwhile: the watch reports it.
            Err(ApiFailure::Status { code: 404, .. }) => return Ok(reason),
            result => drop(result?),
        }
        let is_news = !status::same(&old.conditions, &new.conditions);
        let message = done.outcome.message();
        if done.outcome.is_ready() && !had_synced {
            let generation = object.generation().to_string();
            let events = &self.context.events;
            events.publish(&origin, EventKind::Normal, reason, &generation, &message);
        } else if !done.outcome.is_ready() && is_news {
            let generation = object.generation().to_string();
            let events = &self.context.events;
            events.publish(&origin, EventKind::Warning, reason, &generation, &message);
            let (namespace, name, reason) = (&origin.namespace, &origin.name, reason.name());
            tracing::warn!(namespace, name, reason, "{message}");
        }
        let retry = done.retry.map(|longest| pause(failures).min(longest));
        // A failure waits no longer than the next refresh.
        if let Some(wait) = retry.into_iter().chain(done.next).min() {
            let due = Instant::now() + wait;
            self.queue.push(key.clone(), Lane::Background, due, None);
        }
        Ok(reason)
    }

    /// Records the result in memory. Returns the failures in a row; `None` if the object is gone or
    /// was created again.
    fn remember(
        &self,
        key: &Key,
        object: &ExternalSecretObject,
        known: &Known,
        done: &Done,
    ) -> Option<u32> {
        let mut all = self.known();
        let entry = all.get_mut(key).filter(|entry| entry.uid == known.uid)?;
        let now = Instant::now();
        if let Some(target) = &done.target {
            let mut by_secret = lock(&self.by_secret);
            let old = entry.own.target.replace(target.clone());
            if let Some(old) = old.filter(|old| old != target) {
                by_secret.remove(&beside(key, &old));
            }
            by_secret.insert(beside(key, target), key.clone());
        }
        entry.own.stores.clone_from(&done.stores);
        if done.outcome.reason() == Reason::SecretDeleted {
            entry.target = None;
            entry.own.owned = None;
        }
        if let Some((written, op)) = &done.written {
            entry.target = Some(written.clone());
            entry.own.owned = Some(written.uid.clone());
            if *op != Op::None && known.synced_generation == Some(object.generation()) {
                entry.healed(now);
            }
        }
        entry.ready = done.outcome.is_ready();
        entry.own.due = done.next.map(|next| now + next);
        if entry.ready {
            entry.synced_generation = Some(object.generation());
        }
        // If a store changed meanwhile, another reconcile is queued.
        if entry.epoch == known.epoch {
            entry.own.forced = false;
            entry.handled = Some(object.asked());
        }
        entry.failures = match done.retry {
            Some(_) => entry.failures.saturating_add(1),
            None => 0,
        };
        Some(entry.failures)
    }
}

/// The first part of the spec that is not served yet. It is never ignored.
fn unserved(spec: &ExternalSecretSpec) -> Option<&'static str> {
    let target = &spec.target;
    let remotes = spec.data.iter().map(|entry| &entry.remote_ref);
    let extracts = spec
        .data_from
        .iter()
        .filter_map(|entry| entry.extract.as_ref());
    let is_generator =
        |source: Option<&SourceRef>| matches!(source, Some(SourceRef::GeneratorRef(_)));
    let mut sources = (spec.data.iter().map(|entry| entry.source_ref.as_ref()))
        .chain(spec.data_from.iter().map(|entry| entry.source_ref.as_ref()));
    let rows = [
        ("syncWindows", spec.sync_windows.is_some()),
        (
            "refreshPolicy CreatedOnce",
            spec.refresh_policy == RefreshPolicy::CreatedOnce,
        ),
        ("target.manifest", target.manifest.is_some()),
        (
            "this target.creationPolicy",
            !matches!(
                target.creation_policy,
                CreationPolicy::Owner | CreationPolicy::Orphan
            ),
        ),
        (
            "dataFrom[].find",
            spec.data_from.iter().any(|entry| entry.find.is_some()),
        ),
        (
            "dataFrom[].rewrite",
            spec.data_from.iter().any(|entry| !entry.rewrite.is_empty()),
        ),
        ("a generatorRef", sources.any(is_generator)),
        (
            "metadataPolicy Fetch",
            remotes
                .chain(extracts)
                .any(|remote| remote.metadata_policy == MetadataPolicy::Fetch),
        ),
    ];
    rows.into_iter()
        .find_map(|(what, is_asked)| is_asked.then_some(what))
}

fn is_for_a_tool(name: &str) -> bool {
    TRACKING.iter().any(|prefix| name.starts_with(prefix)) || name == FORCE_SYNC
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn spec(value: Value) -> ExternalSecretSpec {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn what_is_not_served_is_named_and_never_ignored() {
        let served = json!({"secretStoreRef": {"name": "vault"},
            "data": [{"secretKey": "a", "remoteRef": {"key": "db", "property": "a"}}]});
        assert_eq!(unserved(&spec(served.clone())), None);
        for (part, value, says) in [
            (
                "/target",
                json!({"creationPolicy": "Merge"}),
                "this target.creationPolicy",
            ),
            (
                "/refreshPolicy",
                json!("CreatedOnce"),
                "refreshPolicy CreatedOnce",
            ),
            ("/dataFrom", json!([{"find": {}}]), "dataFrom[].find"),
            (
                "/dataFrom",
                json!([{"extract": {"key": "a"}, "rewrite": [{"regexp": {"source": "a", "target": "b"}}]}]),
                "dataFrom[].rewrite",
            ),
            (
                "/dataFrom",
                json!([{"extract": {"key": "a", "metadataPolicy": "Fetch"}}]),
                "metadataPolicy Fetch",
            ),
        ] {
            let mut asked = served.clone();
            asked[&part[1..]] = value;
            assert_eq!(unserved(&spec(asked)), Some(says), "{part}");
        }
    }

    #[test]
    fn marks_of_tools_are_not_copied() {
        for name in [
            "argocd.argoproj.io/tracking-id",
            "app.kubernetes.io/instance",
            "force-sync",
        ] {
            assert!(is_for_a_tool(name), "{name}");
        }
        assert!(!is_for_a_tool("app.kubernetes.io/name"));
    }
}
