use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use jiff::Timestamp;
use kube::Api;
use sealkit_core::api::{Reason, SealedSecretStatus, TargetStatus};
use sealkit_core::keys::Fingerprint;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::open::{self, Failure, OpenedObject};
use super::state::{Known, Spec, is_known_keyless};
use super::{KIND, SMALL, SealedSecretObject, SealedSecrets, Waiting};
use crate::keys::Keys;
use crate::kubernetes::{self, ApiFailure};
use crate::place::Key;
use crate::queue::{LONGEST_PAUSE, Lane, Place, Work, pause};
use crate::status::{self, Outcome};
use crate::target::{self, Desired, Op, Source, WriteError};
use crate::telemetry::{
    EventKind, KindOp, KindResult, LaneLabel, ReasonLabel, Subject, kind_label,
};

/// Longest pause between two looks for a Secret that somebody else has to make.
const MISSING_PAUSE: Duration = Duration::from_secs(15);

/// What one look at an object found and did.
struct Look {
    outcome: Outcome,
    /// The Secret as written; `None` where the last good one stays.
    target: Option<(TargetStatus, Op)>,
    opened: Option<Judged>,
    /// Look again although nothing tells us to, after a growing pause of at most this.
    retry: Option<Duration>,
}

/// What opening said of keys.
struct Judged {
    sealed_to: Vec<Fingerprint>,
    needed: Vec<Fingerprint>,
    needs_reseal: bool,
    hint_mismatch: bool,
}

impl SealedSecrets {
    /// One worker: until the queue is closed.
    pub(super) async fn work(self: Arc<Self>) {
        while let Some(work) = self.queue.next().await {
            let lane = LaneLabel {
                lane: work.lane.name(),
            };
            let waited = work.due.elapsed().as_secs_f64();
            self.metrics.queue_wait.get_or_create(&lane).observe(waited);
            let start = Instant::now();
            let key = work.key.clone();
            let reconcile = AssertUnwindSafe(self.reconcile(work)).catch_unwind();
            let result = reconcile.await.unwrap_or_else(|_| {
                tracing::error!(
                    namespace = key.0,
                    name = key.1,
                    "the look at it was broken off"
                );
                Err(ApiFailure::Unreachable)
            });
            self.metrics
                .reconcile_duration
                .get_or_create(&kind_label(KIND))
                .observe(start.elapsed().as_secs_f64());
            let label = match &result {
                Ok(outcome) => outcome.map_or("Unchanged", Reason::name),
                Err(_) => "ApiFailure",
            };
            let label = KindResult {
                kind: KIND,
                result: label,
            };
            self.metrics.reconcile_total.get_or_create(&label).inc();
            if let Err(failure) = result {
                self.retry_after_failure(&key, &failure);
            }
            self.queue.done(&key);
        }
    }

    /// Observe, decide, act: the Secret first, then the status. The error is that of reading the
    /// object or writing its status.
    async fn reconcile(&self, work: Work<Key, Waiting>) -> Result<Option<Reason>, ApiFailure> {
        let key = work.key;
        let Some(known) = self.known(&key) else {
            return Ok(None);
        };
        if known.settled(self.state().secrets.get(&key)) {
            return Ok(None);
        }
        // Its memory is counted as long as it lives.
        let (object, _place) = match work.payload {
            Some(Waiting { ref object, .. })
                if object.uid() == known.uid && object.generation() == known.seen.0 =>
            {
                // Once it is read it takes more.
                let place = if object.spec_size() > SMALL {
                    Some(self.reads.take(&key.0).await)
                } else {
                    None
                };
                (object.clone(), place)
            }
            _ => match self.read_again(&key, &known.uid).await? {
                Some((object, place)) => (Arc::new(object), place),
                // Gone, or made anew: the watch tells.
                None => return Ok(None),
            },
        };
        if object.metadata.deletion_timestamp.is_some() {
            return Ok(None);
        }
        let Some(keys) = self.keys.borrow().clone() else {
            return Ok(None);
        };
        let look = self.look(&object, &known, keys).await;
        self.write_status(&key, &object, &known, look)
            .await
            .map(Some)
    }

    /// The object as it is now, if it is still that one; with its place if it is large.
    async fn read_again(
        &self,
        key: &Key,
        uid: &str,
    ) -> Result<Option<(SealedSecretObject, Option<Place>)>, ApiFailure> {
        let place = self.reads.take(&key.0).await;
        let api: Api<SealedSecretObject> = Api::namespaced(self.client.clone(), &key.0);
        let object = api.get_opt(&key.1).await?;
        Ok(object
            .filter(|object| object.uid() == uid)
            .map(|mut object| {
                object.metadata.managed_fields = None;
                let large = object.spec_size() > SMALL;
                (object, large.then_some(place))
            }))
    }

    async fn look(&self, object: &Arc<SealedSecretObject>, known: &Known, keys: Arc<Keys>) -> Look {
        let spec = Arc::new(object.spec());
        let (settings, renders) = (&self.settings, &self.renders);
        let opened = open::open(object.clone(), spec.clone(), keys, settings, renders).await;
        if spec.value.get("suspend") == Some(&Value::Bool(true)) {
            // Opened all the same: a key that only suspended objects need is needed.
            let opened = opened
                .ok()
                .map(|opened| self.desired(object, &spec, opened).1);
            let message = "suspended: the Secret is left as it is".to_owned();
            return Look {
                outcome: Outcome::Stalled(Reason::Suspended, message),
                target: None,
                opened,
                retry: None,
            };
        }
        let opened = match opened {
            Ok(opened) => opened,
            Err(failure) => {
                let grace = self.grace(object, known, &failure);
                let outcome = open::outcome(&failure, grace.is_some());
                let reason = outcome.reason().name();
                self.metrics
                    .open_failures
                    .get_or_create(&ReasonLabel { reason })
                    .inc();
                return Look {
                    outcome,
                    target: None,
                    opened: None,
                    retry: match failure {
                        Failure::Passing(..) => Some(LONGEST_PAUSE),
                        Failure::Keyless(_) | Failure::Terminal(..) => grace,
                    },
                };
            }
        };
        let (desired, judged) = self.desired(object, &spec, opened);
        drop(spec);
        match target::write(&self.client, &self.freeze, &desired, known.target.as_ref()).await {
            Ok((target, op)) => {
                if op != Op::None {
                    let label = KindOp {
                        kind: KIND,
                        op: op.name(),
                    };
                    self.metrics.target_writes.get_or_create(&label).inc();
                }
                let message = "the Secret holds what this resource says".to_owned();
                Look {
                    outcome: Outcome::Ready(Reason::Opened, message),
                    target: Some((target, op)),
                    opened: Some(judged),
                    retry: None,
                }
            }
            Err(WriteError::Conflict(why)) => Look {
                outcome: Outcome::Stalled(Reason::TargetConflict, why),
                target: None,
                opened: Some(judged),
                // A Secret without our label is not watched.
                retry: Some(LONGEST_PAUSE),
            },
            Err(WriteError::Missing) => Look {
                outcome: Outcome::Retrying(
                    Reason::NotFound,
                    "there is no Secret of this name to merge into".to_owned(),
                ),
                target: None,
                opened: Some(judged),
                // Nor is there one to watch.
                retry: Some(MISSING_PAUSE),
            },
            Err(WriteError::Api(failure)) => Look {
                outcome: write_failure(&failure),
                target: None,
                opened: Some(judged),
                retry: Some(LONGEST_PAUSE),
            },
        }
    }

    /// How much longer a missing key counts as one that may still arrive.
    fn grace(
        &self,
        object: &SealedSecretObject,
        known: &Known,
        failure: &Failure,
    ) -> Option<Duration> {
        if !matches!(failure, Failure::Keyless(_)) || is_known_keyless(object) {
            return None;
        }
        let whole = Duration::from_secs(self.settings.key_grace_seconds);
        let waited = known
            .keyless_since
            .map_or(Duration::ZERO, |since| since.elapsed());
        whole.checked_sub(waited).filter(|left| !left.is_zero())
    }

    async fn write_status(
        &self,
        key: &Key,
        object: &SealedSecretObject,
        known: &Known,
        look: Look,
    ) -> Result<Reason, ApiFailure> {
        let generation = object.generation();
        let old = object.status.clone().unwrap_or_default();
        let had_synced = known.synced_generation == Some(generation);
        let now = Timestamp::now();
        let conditions =
            status::conditions(&look.outcome, generation, had_synced, &old.conditions, now);
        let same_conditions = status::same(&conditions, &old.conditions);
        let op = look.target.as_ref().map_or(Op::None, |(_, op)| *op);
        let seen = look
            .target
            .map(|(target, _)| target)
            .or_else(|| old.target.clone());
        let new = SealedSecretStatus {
            observed_generation: Some(generation),
            conditions: if same_conditions {
                old.conditions.clone()
            } else {
                conditions
            },
            target: recorded(seen.clone(), old.target.clone(), op),
            sealed_to: look.opened.as_ref().map_or_else(
                || old.sealed_to.clone(),
                |judged| judged.sealed_to.iter().map(ToString::to_string).collect(),
            ),
            needs_reseal: look
                .opened
                .as_ref()
                .map(|j| j.needs_reseal)
                .or(old.needs_reseal),
            last_handled_reconcile_at: object.requested_at().map(str::to_owned),
        };

        // Known before the status is written: the events of Secret and status may come first.
        let ready = look.outcome.is_ready();
        let failures = {
            let mut state = self.state();
            let Some(entry) = state.known.get_mut(key).filter(|k| k.uid == known.uid) else {
                return Ok(look.outcome.reason());
            };
            entry.target = seen;
            entry.needs_reseal = new.needs_reseal;
            if let Some(judged) = &look.opened {
                entry.sealed_to.clone_from(&judged.sealed_to);
                entry.needed.clone_from(&judged.needed);
            }
            let keyless = look.outcome.reason() == Reason::NoMatchingKey;
            entry.keyless_since = keyless.then(|| entry.keyless_since.unwrap_or_else(Instant::now));
            entry.ready = ready;
            if op != Op::None && had_synced {
                entry.healed(Instant::now());
            }
            // Keys that changed meanwhile have queued another look.
            if entry.epoch == known.epoch {
                entry.handled = Some((generation, object.requested_at().map(str::to_owned)));
            }
            entry.failures = if look.retry.is_some() {
                entry.failures.saturating_add(1)
            } else {
                0
            };
            entry.failures
        };
        if new != old {
            let body = status_patch(object, &new);
            let path = format!(
                "/apis/sealkit.dev/v1beta1/namespaces/{}/sealedsecrets/{}/status",
                key.0, key.1
            );
            match kubernetes::merge_patch(&self.client, &path, &body).await {
                // Deleted meanwhile: the watch tells.
                Err(ApiFailure::Status { code: 404, .. }) => return Ok(look.outcome.reason()),
                result => result?,
            };
        }
        self.tell(
            object,
            &old,
            &new,
            &look.outcome,
            look.opened.as_ref(),
            op,
            had_synced,
        );
        if ready {
            let mut state = self.state();
            if let Some(entry) = state.known.get_mut(key).filter(|k| k.uid == known.uid) {
                entry.synced_generation = Some(generation);
            }
        }
        if let Some(longest) = look.retry {
            let due = Instant::now() + pause(failures).min(longest);
            self.queue.push(key.clone(), Lane::Background, due, None);
        }
        Ok(look.outcome.reason())
    }

    /// Events and metrics of one look.
    #[expect(
        clippy::too_many_arguments,
        reason = "old and new of everything, used once"
    )]
    fn tell(
        &self,
        object: &SealedSecretObject,
        old: &SealedSecretStatus,
        new: &SealedSecretStatus,
        outcome: &Outcome,
        judged: Option<&Judged>,
        op: Op,
        had_synced: bool,
    ) {
        let subject = Subject {
            kind: KIND,
            namespace: object.metadata.namespace.clone(),
            name: object.metadata.name.clone().unwrap_or_default(),
            uid: object.uid().to_owned(),
        };
        let generation = object.generation().to_string();
        let publish = |kind, reason, occasion: &str, message: &str| {
            self.events
                .publish(&subject, kind, reason, occasion, message);
        };
        if outcome.is_ready() {
            if !had_synced {
                publish(
                    EventKind::Normal,
                    Reason::Opened,
                    &generation,
                    outcome.message(),
                );
            } else if op != Op::None {
                self.metrics
                    .drift_healed
                    .get_or_create(&kind_label(KIND))
                    .inc();
                let version = new
                    .target
                    .as_ref()
                    .map_or("", |target| &target.resource_version);
                publish(
                    EventKind::Normal,
                    Reason::Healed,
                    version,
                    "the Secret was put right",
                );
            }
        } else if !status::same(&old.conditions, &new.conditions) {
            let kind = if outcome.reason() == Reason::Suspended {
                EventKind::Normal
            } else {
                EventKind::Warning
            };
            publish(kind, outcome.reason(), &generation, outcome.message());
            let namespace = subject.namespace.as_deref().unwrap_or_default();
            let (name, reason) = (&subject.name, outcome.reason().name());
            tracing::warn!(namespace, name, reason, "{}", outcome.message());
        }
        let Some(judged) = judged else { return };
        if judged.hint_mismatch {
            let message =
                "the recipients listed in an envelope are not those it is sealed to: reseal it";
            publish(
                EventKind::Warning,
                Reason::HintMismatch,
                &generation,
                message,
            );
        } else if judged.needs_reseal && old.needs_reseal != Some(true) {
            let message = "not sealed to the newest key: seal its values anew";
            publish(
                EventKind::Warning,
                Reason::NeedsReseal,
                &generation,
                message,
            );
        }
    }

    fn retry_after_failure(&self, key: &Key, failure: &ApiFailure) {
        let failures = {
            let mut state = self.state();
            let Some(known) = state.known.get_mut(key) else {
                return;
            };
            // 409: somebody changed the object meanwhile; look again at once, at first.
            known.handled = None;
            known.failures = known.failures.saturating_add(1);
            known.failures
        };
        let wait = if failure.code() == 409 && failures == 1 {
            Duration::ZERO
        } else {
            pause(failures)
        };
        if failure.code() != 409 {
            tracing::warn!(namespace = key.0, name = key.1, %failure, "will be retried");
        }
        self.queue
            .push(key.clone(), Lane::Background, Instant::now() + wait, None);
    }

    fn known(&self, key: &Key) -> Option<Known> {
        self.state().known.get(key).cloned()
    }

    fn desired(
        &self,
        object: &SealedSecretObject,
        spec: &Spec,
        opened: OpenedObject,
    ) -> (Desired, Judged) {
        let text = |field: &Option<String>| field.clone().unwrap_or_default();
        let namespace = text(&object.metadata.namespace);
        let name = text(&object.metadata.name);
        let metadata = opened.template.metadata.unwrap_or_default();
        let desired = Desired {
            source: Source {
                api_version: format!(
                    "{}/{}",
                    sealkit_core::api::GROUP,
                    sealkit_core::api::VERSION
                ),
                kind: KIND,
                name: name.clone(),
                uid: object.uid().to_owned(),
            },
            policy: opened.target.creation_policy.unwrap_or_default(),
            adopt: opened.target.adopt.unwrap_or_default(),
            namespace_consents: self.settings.adopt_namespaces.contains(&namespace),
            namespace,
            name,
            generation: object.generation(),
            content: sealkit_core::sealed::content_fingerprint(&spec.value),
            secret_type: opened.template.type_.unwrap_or_else(|| "Opaque".to_owned()),
            immutable: opened.template.immutable.unwrap_or_default(),
            labels: metadata.labels,
            annotations: metadata.annotations,
            data: opened.data,
        };
        let judged = Judged {
            sealed_to: opened.sealed_to,
            needed: opened.needed,
            needs_reseal: opened.needs_reseal,
            hint_mismatch: opened.hint_mismatch,
        };
        (desired, judged)
    }
}

/// What the status says of the Secret. One of somebody else changes without our doing: as long as
/// it is right, that is no reason to write.
fn recorded(seen: Option<TargetStatus>, old: Option<TargetStatus>, op: Op) -> Option<TargetStatus> {
    let same = |seen: &TargetStatus, old: &TargetStatus| seen.merged && seen.uid == old.uid;
    match (seen, old) {
        (Some(seen), Some(old)) if op == Op::None && same(&seen, &old) => Some(old),
        (seen, _) => seen,
    }
}

fn write_failure(failure: &ApiFailure) -> Outcome {
    let message = format!("the Secret could not be written: {failure}");
    match failure.code() {
        403 => Outcome::Retrying(Reason::AccessDenied, message),
        // 400 and 422: what the API server will never take.
        400 | 422 => Outcome::Stalled(Reason::TargetWriteFailed, message),
        _ => Outcome::Retrying(Reason::TargetWriteFailed, message),
    }
}

/// A merge patch that says all of the status: what is gone is null. The resourceVersion makes a
/// late write of a former leader fail.
fn status_patch(object: &SealedSecretObject, status: &SealedSecretStatus) -> Value {
    json!({
        "metadata": {
            "uid": object.metadata.uid,
            "resourceVersion": object.metadata.resource_version,
        },
        "status": {
            "observedGeneration": status.observed_generation,
            "conditions": status.conditions,
            "target": status.target,
            "sealedTo": status.sealed_to,
            "needsReseal": status.needs_reseal,
            "lastHandledReconcileAt": status.last_handled_reconcile_at,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_by_the_server_are_told_apart() {
        let status = |code| ApiFailure::Status {
            code,
            reason: "x".into(),
            fields: vec![],
        };
        assert!(matches!(
            write_failure(&status(403)),
            Outcome::Retrying(Reason::AccessDenied, _)
        ));
        assert!(matches!(write_failure(&status(422)), Outcome::Stalled(..)));
        assert!(matches!(write_failure(&status(500)), Outcome::Retrying(..)));
        assert!(matches!(
            write_failure(&ApiFailure::Unreachable),
            Outcome::Retrying(..)
        ));
    }
}
