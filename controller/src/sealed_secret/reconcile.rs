//! Observe, decide, act: the Secret first, then the status, then events and logs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::Api;
use sealkit_core::api::{CreationPolicy, Reason, SealedSecretStatus, TargetStatus};
use sealkit_core::keys::{Fingerprint, KeyRing};
use sealkit_core::sealed::{content_fingerprint, public_size, values_fingerprint};
use serde_json::Value;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::open::{self, Failure, OpenedObject};
use super::state::{Known, is_known_keyless, written};
use super::{KIND, SMALL, SealedSecretObject, SealedSecrets};
use crate::keys::Keys;
use crate::kubernetes::{ApiFailure, within};
use crate::object::{Asked, Key, SEALED_SECRET, Spec, Version, Waiting};
use crate::queue::{LONGEST_PAUSE, Lane, Place, Work, pause};
use crate::reconciler::Pool;
use crate::secret::{Before, Consent, Desired, Last, Op, Ownership, Revision, Rights, Values};
use crate::status::{self, Outcome};
use crate::telemetry::{EventKind, ReasonLabel, kind_label};

/// The result of one reconcile.
struct Done {
    outcome: Outcome,
    /// The version of the Secret and what was done to it; `None` if the last good one stays.
    written: Option<(Version, Op)>,
    /// What opening revealed about keys; `None` if it did not open.
    opened: Option<OpenedBy>,
    /// The keys that an object that did not open seems to need.
    hinted: Vec<Fingerprint>,
    /// Retry without another trigger, after a growing pause of at most this.
    retry: Option<Duration>,
}

impl Done {
    /// A result without a write of the Secret.
    fn without(outcome: Outcome, opened: Option<OpenedBy>, retry: Option<Duration>) -> Self {
        Self {
            outcome,
            written: None,
            opened,
            hinted: Vec::new(),
            retry,
        }
    }

    fn op(&self) -> Op {
        self.written.as_ref().map_or(Op::None, |(_, op)| *op)
    }
}

/// What opening revealed about keys.
struct OpenedBy {
    sealed_to: Vec<Fingerprint>,
    needed: Vec<Fingerprint>,
    needs_reseal: bool,
    hint_mismatch: bool,
    /// Do its values belong in a Secret of somebody else?
    merges: bool,
}

/// The status before and after, and whether this generation had synced before.
struct Change<'a> {
    old: &'a SealedSecretStatus,
    new: &'a SealedSecretStatus,
    had_synced: bool,
}

impl SealedSecrets {
    /// Reconciles one object. `None` if there was nothing to do. The error is that of reading the
    /// object or of writing its status.
    pub(super) async fn reconciled(
        &self,
        work: Work<Key, Waiting<sealkit_core::api::SealedSecret>>,
        pool: Pool,
    ) -> Result<Option<Reason>, ApiFailure> {
        let key = &work.key.clone();
        let Some(known) = self.known().get(key).cloned() else {
            return Ok(None);
        };
        if known.settled(self.secret_watch.current(key).as_ref()) {
            return Ok(None);
        }
        // Its place counts as taken until the object is dropped.
        let (object, _place) = match &work.payload {
            Some(Waiting { object, .. })
                if object.uid() == known.uid && object.generation() == known.seen.generation =>
            {
                // A spec takes more memory once it is read.
                let place = if object.spec_size() > SMALL {
                    Some(self.reads.take(&key.namespace).await)
                } else {
                    None
                };
                (object.clone(), place)
            }
            _ => match self.read_again(key, &known.uid).await? {
                Some((object, place)) => (Arc::new(object), place),
                // Gone, or created again: the watch reports it.
                None => return Ok(None),
            },
        };
        if object.is_terminating() {
            return Ok(None);
        }
        if pool == Pool::Fast && has_templates(&object) {
            // Whoever waits for a place to render must hold up nobody who does not.
            self.templated.hand_over(work);
            return Ok(None);
        }
        let Some(keys) = self.context.keys.borrow().clone() else {
            return Ok(None);
        };
        let done = self.act(&object, &known, keys).await;
        self.conclude(key, &object, &known, done).await.map(Some)
    }

    /// The current object, if it still has this UID; with its place if it is large.
    async fn read_again(
        &self,
        key: &Key,
        uid: &str,
    ) -> Result<Option<(SealedSecretObject, Option<Place>)>, ApiFailure> {
        let place = self.reads.take(&key.namespace).await;
        let client = self.context.client.clone();
        let api: Api<SealedSecretObject> = Api::namespaced(client, &key.namespace);
        let object = within(api.get_opt(&key.name)).await?;
        Ok(object.filter(|object| object.uid() == uid).map(|object| {
            let large = object.spec_size() > SMALL;
            (object, large.then_some(place))
        }))
    }

    /// Opens the object and writes its Secret.
    async fn act(&self, object: &Arc<SealedSecretObject>, known: &Known, keys: Arc<Keys>) -> Done {
        let spec = Arc::new(object.spec());
        let (own, renderer) = (&self.context.rules, &self.context.renderer);
        let opened = open::open(object.clone(), spec.clone(), keys.clone(), own, renderer).await;
        let hinted = match &opened {
            Ok(_) => Vec::new(),
            Err(_) => hinted(&spec.value, &keys.ring),
        };
        // The Secret stays as it is.
        if spec.value.get("suspend") == Some(&Value::Bool(true)) {
            // Opened all the same: a key that only suspended objects need is needed.
            let opened = opened.ok().map(|opened| opened_by(&opened));
            let message = "suspended: the controller leaves the Secret as it is".to_owned();
            let outcome = Outcome::Stalled(Reason::Suspended, message);
            return Done {
                hinted,
                ..Done::without(outcome, opened, None)
            };
        }
        let opened = match opened {
            Ok(opened) => opened,
            // The last good Secret stays.
            Err(failure) => {
                return Done {
                    hinted,
                    ..self.not_opened(object, known, &failure)
                };
            }
        };
        let by = opened_by(&opened);
        let desired = self.desired(object, &spec, opened);
        drop(spec);
        let before = Before {
            exists: known.target.is_some(),
            ours: known.own.owned.as_deref(),
            last: known.target.as_ref().map_or(Last::Nothing, Last::Version),
            synced: known.synced_generation == Some(object.generation()),
        };
        match self.secrets.write(&desired, before).await {
            Ok(written) => {
                written.1.count(KIND, &self.context.metrics);
                let message = "the Secret is in sync with this resource".to_owned();
                Done {
                    outcome: Outcome::Ready(Reason::Opened, message),
                    written: Some(written),
                    opened: Some(by),
                    hinted: Vec::new(),
                    retry: None,
                }
            }
            Err(error) => {
                let (outcome, retry) = error.outcome();
                Done::without(outcome, Some(by), Some(retry))
            }
        }
    }

    fn not_opened(&self, object: &SealedSecretObject, known: &Known, failure: &Failure) -> Done {
        let grace = self.grace(object, known, failure);
        let outcome = open::outcome(failure, grace.is_some());
        let reason = outcome.reason().name();
        self.context
            .metrics
            .open_failures
            .get_or_create(&ReasonLabel { reason })
            .inc();
        let retry = match failure {
            Failure::Passing(..) => Some(LONGEST_PAUSE),
            Failure::Keyless(_) | Failure::Terminal(..) => grace,
        };
        Done::without(outcome, None, retry)
    }

    /// How much longer a missing key may be expected to arrive.
    fn grace(
        &self,
        object: &SealedSecretObject,
        known: &Known,
        failure: &Failure,
    ) -> Option<Duration> {
        if !matches!(failure, Failure::Keyless(_)) || is_known_keyless(object) {
            return None;
        }
        let waited = known
            .own
            .keyless_since
            .map_or(Duration::ZERO, |since| since.elapsed());
        let left = self.context.rules.key_grace.checked_sub(waited);
        left.filter(|left| !left.is_zero())
    }

    fn desired(&self, object: &SealedSecretObject, spec: &Spec, opened: OpenedObject) -> Desired {
        let origin = object.origin(SEALED_SECRET);
        let metadata = opened.template.metadata.unwrap_or_default();
        let include_raw = opened.template.include_raw.unwrap_or(true);
        let consents = self
            .context
            .rules
            .adopt_namespaces
            .contains(&origin.namespace);
        Desired {
            name: origin.name.clone(),
            revision: Revision {
                generation: object.generation(),
                content: content_fingerprint(&spec.value),
                values: Values::Public(values_fingerprint(&spec.value)),
            },
            ownership: ownership(opened.target.creation_policy),
            adopt: opened.target.adopt.unwrap_or_default(),
            consent: if consents {
                Consent::Given
            } else {
                Consent::ByAnnotation
            },
            rights: Rights::Own,
            secret_type: Some(secret_type(opened.template.type_)),
            immutable: opened.template.immutable.unwrap_or_default(),
            labels: metadata.labels,
            annotations: metadata.annotations,
            public_bytes: public_bytes(&opened.data, &spec.value, include_raw),
            data: opened.data,
            origin,
        }
    }

    /// Records the result in memory and in the status, publishes it, and schedules a retry if need
    /// be.
    async fn conclude(
        &self,
        key: &Key,
        object: &SealedSecretObject,
        known: &Known,
        done: Done,
    ) -> Result<Reason, ApiFailure> {
        let reason = done.outcome.reason();
        let old = object.status.clone().unwrap_or_default();
        let had_synced = known.synced_generation == Some(object.generation());
        let new = status_of(object, &old, had_synced, &done);
        // Before the status is written, since the watches may report both writes first.
        let Some(failures) = self.remember(key, known, object.asked(), &new, &done) else {
            return Ok(reason);
        };
        let origin = object.origin(SEALED_SECRET);
        let version = object.metadata.resource_version.as_deref();
        let client = &self.context.client;
        match status::write(client, &origin, version, Some(&old), &new).await {
            // Deleted meanwhile: the watch reports it.
            Err(ApiFailure::Status { code: 404, .. }) => return Ok(reason),
            Err(failure) => {
                // The pauses grow, however good the rest was.
                if let Some(entry) = self.known().get_mut(key) {
                    entry.failures = known.failures;
                }
                return Err(failure);
            }
            Ok(_) => {}
        }
        self.publish(
            object,
            &done,
            &Change {
                old: &old,
                new: &new,
                had_synced,
            },
        );
        if done.outcome.is_ready()
            && let Some(entry) = self.known().get_mut(key).filter(|now| now.uid == known.uid)
        {
            entry.synced_generation = Some(object.generation());
        }
        if let Some(longest) = done.retry {
            let due = Instant::now() + pause(failures).min(longest);
            self.queue.push(key.clone(), Lane::Background, due, None);
        }
        Ok(reason)
    }

    /// Records the result in memory. Returns the failures in a row; `None` if the object is gone or
    /// was created again.
    fn remember(
        &self,
        key: &Key,
        known: &Known,
        asked: Asked,
        status: &SealedSecretStatus,
        done: &Done,
    ) -> Option<u32> {
        let mut all = self.known();
        let entry = all.get_mut(key).filter(|entry| entry.uid == known.uid)?;
        let now = Instant::now();
        entry.target = match &done.written {
            Some((written, _)) => Some(written.clone()),
            None => status.target.as_ref().map(written),
        };
        entry.own.needs_reseal = status.needs_reseal;
        if let Some(opened) = &done.opened {
            entry.own.sealed_to.clone_from(&opened.sealed_to);
            entry.own.needed.clone_from(&opened.needed);
        }
        let (own, hinted) = (&mut entry.own, &done.hinted);
        let new = hinted.iter().filter(|key| !own.needed.contains(key));
        let new: Vec<Fingerprint> = new.copied().collect();
        own.needed.extend(new);
        // Whether or not the status can be written: no revocation waits for that.
        own.judged = Some((asked.generation, known.epoch));
        if let Some((written, _)) = &done.written {
            // A Secret that was only merged into never became ours.
            let merges = done.opened.as_ref().is_some_and(|opened| opened.merges);
            own.owned = (!merges).then(|| written.uid.clone());
        }
        let keyless = done.outcome.reason() == Reason::NoMatchingKey;
        entry.own.keyless_since = keyless.then(|| entry.own.keyless_since.unwrap_or(now));
        entry.ready = done.outcome.is_ready();
        if done.op() != Op::None && known.synced_generation == Some(asked.generation) {
            entry.healed(now);
        }
        // If keys changed meanwhile, another reconcile is queued.
        if entry.epoch == known.epoch {
            entry.handled = Some(asked);
        }
        entry.failures = match done.retry {
            Some(_) => entry.failures.saturating_add(1),
            None => 0,
        };
        Some(entry.failures)
    }

    /// Publishes events, log lines and the metric of corrected drift.
    fn publish(&self, object: &SealedSecretObject, done: &Done, change: &Change<'_>) {
        let origin = object.origin(SEALED_SECRET);
        let generation = object.generation().to_string();
        let publish = |kind, reason, occasion: &str, message: &str| {
            let events = &self.context.events;
            events.publish(&origin, kind, reason, occasion, message);
        };
        let (outcome, reason) = (&done.outcome, done.outcome.reason());
        let message = outcome.message();
        if outcome.is_ready() && !change.had_synced {
            publish(EventKind::Normal, reason, &generation, &message);
        } else if outcome.is_ready() && done.op() != Op::None {
            let healed = &self.context.metrics.drift_healed;
            healed.get_or_create(&kind_label(KIND)).inc();
            let target = change.new.target.as_ref();
            let version = target.map_or("", |target| &target.resource_version);
            let message = "corrected drift: the Secret is in sync with this resource again";
            publish(EventKind::Normal, Reason::Healed, version, message);
        } else if !outcome.is_ready()
            && !status::same(&change.old.conditions, &change.new.conditions)
        {
            let kind = match reason {
                Reason::Suspended => EventKind::Normal,
                _ => EventKind::Warning,
            };
            publish(kind, reason, &generation, &message);
            let (namespace, name, reason) = (&origin.namespace, &origin.name, reason.name());
            tracing::warn!(namespace, name, reason, "{message}");
        }
        let Some(opened) = &done.opened else { return };
        if opened.hint_mismatch {
            let message =
                "an envelope lists recipients other than those it is sealed to: reseal it";
            publish(
                EventKind::Warning,
                Reason::HintMismatch,
                &generation,
                message,
            );
        } else if opened.needs_reseal && change.old.needs_reseal != Some(true) {
            let message = "not sealed to the newest key: reseal it";
            publish(
                EventKind::Warning,
                Reason::NeedsReseal,
                &generation,
                message,
            );
        }
    }
}

fn has_templates(object: &SealedSecretObject) -> bool {
    // Reading a spec costs more than looking for the word.
    object.mentions("\"template\"")
        && object
            .spec()
            .value
            .pointer("/template/data")
            .and_then(Value::as_object)
            .is_some_and(|texts| !texts.is_empty())
}

/// The type of the Secret. The API server makes an empty one Opaque too.
fn secret_type(wanted: Option<String>) -> String {
    wanted
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "Opaque".to_owned())
}

/// The most bytes that these values together can have. A sealed value counts by its sealed text, so
/// that no limit tells its length; a rendered one may be known to the author anyway.
fn public_bytes(
    data: &BTreeMap<String, Zeroizing<Vec<u8>>>,
    spec: &Value,
    include_raw: bool,
) -> usize {
    let sealed = spec.get("encryptedData").filter(|_| include_raw);
    let bytes = data.iter().map(|(key, value)| {
        let text = sealed.and_then(|all| all.get(key)?.as_str());
        text.map_or(value.len(), public_size)
    });
    bytes.sum()
}

fn opened_by(opened: &OpenedObject) -> OpenedBy {
    OpenedBy {
        sealed_to: opened.sealed_to.clone(),
        needed: opened.needed.clone(),
        needs_reseal: opened.needs_reseal,
        hint_mismatch: opened.hint_mismatch,
        merges: ownership(opened.target.creation_policy) == Ownership::Merge,
    }
}

/// The held keys without which some envelope of an object that does not open would not open, as far
/// as its public text says. A key that is needed once the fault is mended must not be revoked
/// meanwhile.
fn hinted(spec: &Value, ring: &KeyRing) -> Vec<Fingerprint> {
    let envelopes = spec.get("envelopes").and_then(Value::as_object);
    let only = |envelope: &Value| {
        let hints = envelope.get("recipients")?.as_array()?.iter();
        let hints = hints.filter_map(|hint| hint.as_str()?.parse::<Fingerprint>().ok());
        let mut held = hints.filter(|hint| ring.get(hint).is_some());
        let first = held.next()?;
        held.all(|other| other == first).then_some(first)
    };
    let needed: BTreeSet<Fingerprint> = envelopes
        .into_iter()
        .flat_map(|all| all.values())
        .filter_map(only)
        .collect();
    needed.into_iter().collect()
}

fn ownership(policy: Option<CreationPolicy>) -> Ownership {
    match policy.unwrap_or_default() {
        CreationPolicy::Owner => Ownership::Owner,
        CreationPolicy::Orphan => Ownership::Orphan,
        CreationPolicy::Merge => Ownership::Merge,
    }
}

/// The status after a reconcile.
fn status_of(
    object: &SealedSecretObject,
    old: &SealedSecretStatus,
    had_synced: bool,
    done: &Done,
) -> SealedSecretStatus {
    let asked = object.asked();
    let (generation, now) = (asked.generation, Timestamp::now());
    let conditions =
        status::conditions(&done.outcome, generation, had_synced, &old.conditions, now);
    let same_conditions = status::same(&conditions, &old.conditions);
    let opened = done.opened.as_ref();
    SealedSecretStatus {
        observed_generation: Some(generation),
        conditions: if same_conditions {
            old.conditions.clone()
        } else {
            conditions
        },
        target: recorded(object, done, old.target.as_ref()),
        sealed_to: opened.map_or_else(
            || old.sealed_to.clone(),
            |opened| opened.sealed_to.iter().map(ToString::to_string).collect(),
        ),
        needs_reseal: opened
            .map(|opened| opened.needs_reseal)
            .or(old.needs_reseal),
        last_handled_reconcile_at: asked.requested_at,
    }
}

/// The Secret in the status. A Secret of somebody else changes without our doing: that alone is no
/// reason to write the status.
fn recorded(
    object: &SealedSecretObject,
    done: &Done,
    old: Option<&TargetStatus>,
) -> Option<TargetStatus> {
    let Some((written, op)) = &done.written else {
        return old.cloned();
    };
    let merged = done.opened.as_ref().is_some_and(|opened| opened.merges);
    let is_news = |old: &&TargetStatus| *op != Op::None || !merged || old.uid != written.uid;
    if let Some(old) = old.filter(|old| !is_news(old)) {
        return Some(old.clone());
    }
    Some(TargetStatus {
        name: object.metadata.name.clone().unwrap_or_default(),
        uid: written.uid.clone(),
        resource_version: written.resource_version.clone(),
        merged,
    })
}

#[cfg(test)]
mod tests {
    use sealkit_core::keys::{Identity, KeyType};
    use serde_json::json;

    use super::*;

    #[test]
    fn an_object_that_does_not_open_needs_the_keys_that_its_public_text_names() {
        let [a, b, c] = std::array::from_fn(|_| Identity::generate(KeyType::Classic));
        let prints = [&a, &b, &c].map(|key| key.fingerprint().to_string());
        let ring = KeyRing::new([a.clone(), b]).unwrap();
        let spec = |recipients: &[&str]| json!({"envelopes": {"x": {"recipients": recipients}}});
        assert_eq!(
            hinted(&spec(&[&prints[0], &prints[2]]), &ring),
            [a.fingerprint()]
        );
        assert!(
            hinted(&spec(&[&prints[0], &prints[1]]), &ring).is_empty(),
            "either opens it"
        );
        assert!(hinted(&spec(&[&prints[2], "x"]), &ring).is_empty());
        assert!(hinted(&json!({"envelopes": {"x": 7}}), &ring).is_empty());
    }

    #[test]
    fn an_empty_type_is_opaque() {
        for (wanted, got) in [(None, "Opaque"), (Some(""), "Opaque"), (Some("x"), "x")] {
            assert_eq!(secret_type(wanted.map(str::to_owned)), got);
        }
    }

    #[test]
    fn a_sealed_value_counts_by_its_sealed_text() {
        let data = |length: usize| {
            let bytes = |length| Zeroizing::new(vec![b'x'; length]);
            BTreeMap::from([("K".to_owned(), bytes(length)), ("T".to_owned(), bytes(7))])
        };
        let spec = json!({"encryptedData": {"K": format!("sk1.x.{}", "A".repeat(144))}});
        for length in [0, 1, 60] {
            assert_eq!(public_bytes(&data(length), &spec, true), 64 + 7);
        }
        assert_eq!(
            public_bytes(&data(5), &spec, false),
            12,
            "rendered under the same key"
        );
    }
}
