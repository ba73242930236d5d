use std::borrow::Cow;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use sealkit_core::api::{
    ConditionStatus, ConditionType, RECONCILE_REQUESTED_AT, Reason, SealedSecret,
    SealedSecretStatus, TargetStatus,
};
use sealkit_core::keys::Fingerprint;
use sealkit_core::sealed::{json_size, limits, memory_size};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::time::Instant;

use crate::status;

/// Bytes of a request annotation that is heard; longer ones are no timestamps.
const REQUEST_BYTES: usize = 64;
/// Drift that comes back within this time is somebody else's doing.
const HEALS_TOGETHER: Duration = Duration::from_secs(10);

/// A SealedSecret as the server sends it: whatever its spec holds, it can be read, so that one bad
/// object never stops the watch.
#[derive(Clone, Debug, Deserialize)]
pub struct SealedSecretObject {
    /// Metadata.
    pub metadata: ObjectMeta,
    /// The spec, not read yet: as text it takes little, and whoever only looks whether there is
    /// work needs no more.
    #[serde(default = "nothing")]
    spec: Box<RawValue>,
    /// The status, if it is one of ours.
    #[serde(default, deserialize_with = "lenient_status")]
    pub status: Option<SealedSecretStatus>,
}

fn nothing() -> Box<RawValue> {
    RawValue::NULL.to_owned()
}

fn lenient_status<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<SealedSecretStatus>, D::Error> {
    Ok(serde_json::from_value(Value::deserialize(deserializer)?).ok())
}

impl Resource for SealedSecretObject {
    type DynamicType = ();
    type Scope = <SealedSecret as Resource>::Scope;

    fn kind((): &()) -> Cow<'_, str> {
        SealedSecret::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        SealedSecret::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        SealedSecret::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        SealedSecret::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl SealedSecretObject {
    /// The generation of the spec.
    pub fn generation(&self) -> i64 {
        self.metadata.generation.unwrap_or_default()
    }

    /// Reads the spec.
    pub(super) fn spec(&self) -> Spec {
        let text = self.spec.get();
        Spec {
            // What is too deep is none.
            value: serde_json::from_str(text).unwrap_or_default(),
            text_size: text.len(),
        }
    }

    /// Bytes that it takes in memory, roughly, while its spec is text.
    pub(super) fn waiting_size(&self) -> usize {
        /// A field of the metadata or the status is about so much larger than its JSON.
        const GROWTH: usize = 3;
        let parts = json_size(&self.metadata) + json_size(&self.status);
        self.spec.get().len() + parts * GROWTH
    }

    /// Bytes that its spec takes once it is read, roughly.
    pub(super) fn spec_size(&self) -> usize {
        memory_size(self.spec.get())
    }

    /// The UID, or empty.
    pub fn uid(&self) -> &str {
        self.metadata.uid.as_deref().unwrap_or_default()
    }

    /// The annotation that asks for a reconcile.
    pub fn requested_at(&self) -> Option<&str> {
        let annotations = self.metadata.annotations.as_ref()?;
        let text = annotations.get(RECONCILE_REQUESTED_AT)?.as_str();
        // It is kept in memory and echoed in the status.
        (text.len() <= REQUEST_BYTES).then_some(text)
    }
}

/// A spec as it was read, not judged yet.
pub(super) struct Spec {
    pub(super) value: Value,
    text_size: usize,
}

impl Spec {
    /// Bytes as compact JSON, or what is certainly as far from the limit.
    pub(super) fn json_size(&self) -> usize {
        // Text can be longer than it must be, and shorter only where there are numbers.
        if self.text_size < limits::OBJECT_BYTES / 8 {
            self.text_size
        } else {
            json_size(&self.value)
        }
    }
}

/// UID and resourceVersion of a Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Version {
    pub(super) uid: String,
    pub(super) resource_version: String,
}

impl Version {
    pub(super) fn of(metadata: &ObjectMeta) -> Self {
        Self {
            uid: metadata.uid.clone().unwrap_or_default(),
            resource_version: metadata.resource_version.clone().unwrap_or_default(),
        }
    }

    fn is(&self, target: &TargetStatus) -> bool {
        self.uid == target.uid && self.resource_version == target.resource_version
    }
}

/// What is remembered of an object between two looks at it.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    pub(super) uid: String,
    /// Generation and request annotation that the watch showed last.
    pub(super) seen: (i64, Option<String>),
    /// Those that were dealt with last, by this process or by the one before it.
    pub(super) handled: Option<(i64, Option<String>)>,
    /// The generation that once synced, if the present one did.
    pub(super) synced_generation: Option<i64>,
    pub(super) ready: bool,
    /// It is being deleted: nothing is done for it any more, and it needs no key.
    pub(super) terminating: bool,
    pub(super) target: Option<TargetStatus>,
    pub(super) sealed_to: Vec<Fingerprint>,
    /// Keys without which some envelope would not open.
    pub(super) needed: Vec<Fingerprint>,
    pub(super) needs_reseal: Option<bool>,
    pub(super) failures: u32,
    /// Grows when keys change: what was decided with older ones does not count.
    pub(super) epoch: u64,
    /// Drift put right in short order, and when last.
    pub(super) heals: (u32, Option<Instant>),
    /// Since when no held key opens it.
    pub(super) keyless_since: Option<Instant>,
}

impl Known {
    /// Takes in what a watch shows of the object; true when there is work to do. `newest` is the
    /// fingerprint that new values are sealed to.
    pub(super) fn observe(
        &mut self,
        object: &SealedSecretObject,
        secret: Option<&Version>,
        newest: Option<Fingerprint>,
    ) -> bool {
        if self.uid != object.uid() {
            *self = Self::from_status(object);
            // A status that says nothing of the newest key was written before that key was made.
            let judged = self.needs_reseal == Some(true)
                || newest.is_none_or(|newest| self.sealed_to.contains(&newest));
            if !judged {
                self.handled = None;
            }
        }
        if self.seen.0 != object.generation() {
            // Another spec: its own failures, its own wait for a key.
            self.failures = 0;
            self.keyless_since = None;
        }
        self.terminating = object.metadata.deletion_timestamp.is_some();
        self.seen = (
            object.generation(),
            object.requested_at().map(str::to_owned),
        );
        !self.terminating && (self.handled.as_ref() != Some(&self.seen) || self.drifted(secret))
    }

    /// Is the Secret another than the one that was written? Only for objects that are in sync.
    pub(super) fn drifted(&self, secret: Option<&Version>) -> bool {
        self.ready
            && !self.terminating
            && match (&self.target, secret) {
                (Some(target), Some(version)) => !version.is(target),
                (Some(_), None) => true,
                (None, _) => false,
            }
    }

    /// Is there nothing to do? Asked again when its turn comes: the trigger may be an echo of our
    /// own write.
    pub(super) fn settled(&self, secret: Option<&Version>) -> bool {
        self.ready && self.handled.as_ref() == Some(&self.seen) && !self.drifted(secret)
    }

    /// Its keys changed: what was decided does not hold any more.
    pub(super) fn recheck(&mut self) {
        self.handled = None;
        self.failures = 0;
        self.epoch += 1;
    }

    /// Counts drift that was put right: what comes back within seconds is another writer's doing.
    pub(super) fn healed(&mut self, now: Instant) {
        let again = self.heals.1.is_some_and(|last| now - last < HEALS_TOGETHER);
        self.heals = (
            if again {
                self.heals.0.saturating_add(1)
            } else {
                1
            },
            Some(now),
        );
    }

    fn from_status(object: &SealedSecretObject) -> Self {
        let empty = SealedSecretStatus::default();
        let status = object.status.as_ref().unwrap_or(&empty);
        let condition = |type_| status::find(&status.conditions, type_).map(|c| c.status);
        let observed = status.observed_generation.unwrap_or(-1);
        let ready = condition(ConditionType::Ready) == Some(ConditionStatus::True)
            && observed == object.generation();
        let retrying = condition(ConditionType::Ready) == Some(ConditionStatus::False)
            && condition(ConditionType::Reconciling).is_some();
        let handled = (observed, status.last_handled_reconcile_at.clone());
        Self {
            uid: object.uid().to_owned(),
            // Only what is in sync needs no new look at a start.
            handled: ready.then_some(handled),
            synced_generation: (ready || retrying).then_some(observed),
            ready,
            target: status.target.clone(),
            // Until it is opened again, every key that opened it counts as needed.
            needed: fingerprints(&status.sealed_to),
            sealed_to: fingerprints(&status.sealed_to),
            needs_reseal: status.needs_reseal,
            ..Self::default()
        }
    }
}

/// Reads the fingerprints of a status.
pub(super) fn fingerprints(texts: &[String]) -> Vec<Fingerprint> {
    texts.iter().filter_map(|text| text.parse().ok()).collect()
}

/// Did the object's status already say, for this generation, that no key opens it?
pub(super) fn is_known_keyless(object: &SealedSecretObject) -> bool {
    object.status.as_ref().is_some_and(|status| {
        status.observed_generation == Some(object.generation())
            && status::find(&status.conditions, ConditionType::Stalled)
                .is_some_and(|stalled| stalled.reason == Reason::NoMatchingKey.name())
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(generation: i64, status: &Value) -> SealedSecretObject {
        serde_json::from_value(json!({
            "metadata": {"name": "db", "namespace": "shop", "uid": "u", "generation": generation},
            "spec": {"anything": 1},
            "status": status,
        }))
        .unwrap()
    }

    fn ready(generation: i64) -> SealedSecretObject {
        let condition = |type_: &str| {
            json!({"type": type_, "status": "True", "observedGeneration": generation,
                "reason": "Opened", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"})
        };
        object(
            generation,
            &json!({
                "observedGeneration": generation,
                "conditions": [condition("Synced"), condition("Ready")],
                "target": {"name": "db", "uid": "s", "resourceVersion": "7"},
                "sealedTo": ["b99cab502b61ae411e7109b89c75b05a"],
                "needsReseal": false,
            }),
        )
    }

    fn version(resource_version: &str) -> Version {
        Version {
            uid: "s".into(),
            resource_version: resource_version.into(),
        }
    }

    fn newest() -> Option<Fingerprint> {
        "b99cab502b61ae411e7109b89c75b05a".parse().ok()
    }

    #[test]
    fn a_restart_over_objects_in_sync_finds_no_work() {
        assert!(!Known::default().observe(&ready(3), Some(&version("7")), newest()));
        assert!(
            Known::default().observe(&ready(3), Some(&version("8")), newest()),
            "drift"
        );
        assert!(
            Known::default().observe(&ready(3), None, newest()),
            "deleted"
        );
        let other = "0099cab502b61ae411e7109b89c75b05".parse().ok();
        assert!(
            Known::default().observe(&ready(3), Some(&version("7")), other),
            "a newer key"
        );
    }

    #[test]
    fn new_changed_and_unlucky_objects_are_work() {
        assert!(Known::default().observe(
            &object(1, &json!({"observedGeneration": -1})),
            None,
            None
        ));
        assert!(Known::default().observe(&object(1, &Value::Null), None, None));
        assert!(Known::default().observe(&object(1, &json!("garbage")), None, None));
        let mut changed = ready(3);
        changed.metadata.generation = Some(4);
        assert!(Known::default().observe(&changed, Some(&version("7")), newest()));
        let mut asked = ready(3);
        let annotation = (RECONCILE_REQUESTED_AT.to_owned(), "now".to_owned());
        asked.metadata.annotations = Some([annotation].into());
        assert!(Known::default().observe(&asked, Some(&version("7")), newest()));
    }

    #[test]
    fn a_recreated_object_is_a_new_one() {
        let mut known = Known::default();
        known.observe(&ready(3), Some(&version("7")), newest());
        let mut again = object(1, &Value::Null);
        again.metadata.uid = Some("u2".into());
        assert!(known.observe(&again, Some(&version("7")), newest()));
        assert!(known.target.is_none());
    }
}
