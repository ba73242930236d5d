//! Observe, decide, act: the record and the restart are one write of the workload.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use sealkit_core::api::Reason;
use sealkit_core::sealed::memory_size;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::plan::{Plan, Record, plan};
use super::workload::{Asked, RECORD, RESTARTED, Workload, stays};
use super::{Known, Restarts};
use crate::kubernetes::{self, ApiFailure};
use crate::object::{Key, Origin};
use crate::queue::Lane;
use crate::reconciler::Reconciler;
use crate::secret::values_of;
use crate::telemetry::{EventKind, KindResult};

/// Result in metrics: deleted meanwhile, or created again.
const GONE: &str = "Gone";
/// Bytes of one workload in memory. Its author chooses them.
const LARGEST: usize = 16 * 1024 * 1024;
/// One workload of all kinds is in memory at once.
static TURN: Semaphore = Semaphore::const_new(1);

/// A workload as it was read.
struct Found<'a> {
    origin: Origin,
    object: &'a Value,
    record: Record,
}

impl<W: Workload> Restarts<W> {
    /// Records or restarts one workload. Returns the result for metrics.
    pub(super) async fn reconciled(&self, key: &Key) -> Result<&'static str, ApiFailure> {
        let Some(known) = self.state().known.get(key).cloned() else {
            return Ok(GONE);
        };
        let origin = Origin {
            kind: W::KIND,
            namespace: key.namespace.clone(),
            name: key.name.clone(),
            uid: known.uid,
        };
        let _turn = TURN.acquire().await;
        let text = kubernetes::read_text(&self.context.client, &origin.path()).await?;
        if text
            .as_deref()
            .is_some_and(|text| memory_size(text) > LARGEST)
        {
            let message = "never restarted: it is too large to be read";
            self.warn(&origin, &Record::new(), message);
            return Ok("Unchanged");
        }
        let object = text.and_then(|text| serde_json::from_str::<Value>(&text).ok());
        let is_same = |object: &Value| object["metadata"]["uid"] == origin.uid.as_str();
        let Some(object) = object.filter(is_same) else {
            return Ok(GONE);
        };
        let annotations = serde_json::from_value(object["metadata"]["annotations"].clone());
        let annotations: BTreeMap<String, String> = annotations.unwrap_or_default();
        let asked = Asked::of(Some(&annotations));
        let template = &object["spec"]["template"];
        // Changes are told from here on.
        let secrets = asked.names(template);
        self.state().reads(key, &secrets);
        let found = Found {
            origin,
            object: &object,
            record: asked.record(),
        };
        if asked.secrets.is_none() {
            self.write(&found, None, None).await?;
            return Ok("Forgotten");
        }
        if template.is_null() {
            self.tell_of_no_template(&found);
            return Ok("Unchanged");
        }
        let current = self.current(&key.namespace, secrets).await?;
        let plan = plan(&found.record, &current);
        self.act(key, &found, &plan).await
    }

    /// What stands for the values of each Secret.
    async fn current(
        &self,
        namespace: &str,
        secrets: BTreeSet<String>,
    ) -> Result<BTreeMap<String, Option<String>>, ApiFailure> {
        let mut current = BTreeMap::new();
        for name in secrets {
            let path = format!("/api/v1/namespaces/{namespace}/secrets/{name}");
            let values = match kubernetes::read(&self.context.client, &path).await {
                Ok(secret) => values_of(&secret.metadata),
                Err(ApiFailure::Status { code: 404, .. }) => None,
                Err(failure) => return Err(failure),
            };
            current.insert(name, values);
        }
        Ok(current)
    }

    /// Does what is planned, once the window is over.
    async fn act(
        &self,
        key: &Key,
        found: &Found<'_>,
        plan: &Plan,
    ) -> Result<&'static str, ApiFailure> {
        let due = self.owes(key, !plan.changed.is_empty());
        if due.is_some_and(|due| due <= Instant::now()) {
            return match self.restart(found, plan).await {
                Ok(()) => {
                    self.done(key, Known::restarted);
                    Ok("Restarted")
                }
                // It was changed, or deleted, meanwhile.
                Err(failure) if matches!(failure.code(), 404 | 409) => Err(failure),
                Err(failure) => {
                    self.tell_of_a_failure(found, plan, &failure);
                    Err(failure)
                }
            };
        }
        if let Some(due) = due {
            self.queue().push(key.clone(), Lane::Background, due, None);
        }
        let result = if plan.kept == found.record {
            "Unchanged"
        } else {
            self.write(found, Some(&plan.kept), None).await?;
            "Recorded"
        };
        self.done(key, |_| {});
        Ok(if due.is_some() { "Waiting" } else { result })
    }

    /// When a restart is due; its window begins when it is first owed.
    fn owes(&self, key: &Key, owes: bool) -> Option<Instant> {
        let mut state = self.state();
        let known = state.known.get_mut(key)?;
        known.owed = owes.then(|| known.owed.unwrap_or_else(Instant::now));
        known.owed.map(|since| since + known.window(self.window))
    }

    fn done(&self, key: &Key, change: impl FnOnce(&mut Known)) {
        if let Some(known) = self.state().known.get_mut(key) {
            known.failures = 0;
            change(known);
        }
    }

    /// Replaces the pods, and records for which values.
    async fn restart(&self, found: &Found<'_>, plan: &Plan) -> Result<(), ApiFailure> {
        let now = Timestamp::now();
        let record = &plan.restarted;
        let names = plan.changed.join(", ");
        self.write(found, Some(record), Some(now)).await?;
        self.count("restarted");
        let stays = stays(&found.object["spec"]);
        let stays = stays.map(|why| format!("; {why}")).unwrap_or_default();
        let message = format!("restarted, since values changed in {names}{stays}");
        let Origin {
            namespace, name, ..
        } = &found.origin;
        tracing::info!(kind = Self::KIND, namespace, name, "{message}");
        self.publish(
            found,
            EventKind::Normal,
            Reason::Restarted,
            record,
            &message,
        );
        Ok(())
    }

    /// Writes the record, unless the workload has changed since it was read; with the time of a
    /// restart, also into the template of the pods.
    async fn write(
        &self,
        found: &Found<'_>,
        record: Option<&Record>,
        restart: Option<Timestamp>,
    ) -> Result<(), ApiFailure> {
        let record = record.map(|record| json!(record).to_string());
        let mut patch = json!({"metadata": {
            "uid": found.origin.uid,
            "resourceVersion": found.object["metadata"]["resourceVersion"],
            "annotations": {RECORD: record},
        }});
        if let Some(now) = restart {
            let annotations = json!({RESTARTED: format!("{now:.6}")});
            patch["spec"]["template"]["metadata"]["annotations"] = annotations;
        }
        let path = found.origin.path();
        kubernetes::merge_patch(&self.context.client, &path, &patch).await?;
        Ok(())
    }

    fn tell_of_a_failure(&self, found: &Found<'_>, plan: &Plan, failure: &ApiFailure) {
        self.count("failed");
        let names = plan.changed.join(", ");
        let fix = match failure.code() {
            403 if failure.refuser().is_none() => ": give the controller the right to patch it",
            _ => "",
        };
        let message = format!("not restarted, although values changed in {names}: {failure}{fix}");
        let (kind, reason) = (EventKind::Warning, Reason::RestartFailed);
        self.publish(found, kind, reason, &plan.restarted, &message);
    }

    fn tell_of_no_template(&self, found: &Found<'_>) {
        let message =
            "never restarted: it has no pod template of its own. Annotate the workload that has it";
        self.warn(&found.origin, &found.record, message);
    }

    fn warn(&self, origin: &Origin, record: &Record, message: &str) {
        let (kind, reason) = (EventKind::Warning, Reason::RestartFailed);
        let occasion = json!(record).to_string();
        let events = &self.context.events;
        events.publish(origin, kind, reason, &occasion, message);
    }

    /// Tells it once for each record.
    fn publish(
        &self,
        found: &Found<'_>,
        kind: EventKind,
        reason: Reason,
        record: &Record,
        message: &str,
    ) {
        let occasion = json!(record).to_string();
        let events = &self.context.events;
        events.publish(&found.origin, kind, reason, &occasion, message);
    }

    fn count(&self, result: &'static str) {
        let label = KindResult {
            kind: Self::KIND,
            result,
        };
        self.context.metrics.restarts.get_or_create(&label).inc();
    }
}
