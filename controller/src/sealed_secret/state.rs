//! What is remembered about SealedSecrets in addition to what is remembered about every object.

use std::time::Duration;

use sealkit_core::api::{ConditionStatus, ConditionType, Reason, SealedSecretStatus, TargetStatus};
use sealkit_core::keys::Fingerprint;
use tokio::time::Instant;

use super::SealedSecretObject;
use crate::object::{Asked, News, Version};
use crate::status;

/// What is remembered about a SealedSecret.
pub(super) type Known = crate::object::Known<Opening>;

/// The result of opening it.
#[derive(Clone, Debug, Default)]
pub(super) struct Opening {
    /// Keys that opened it.
    pub(super) sealed_to: Vec<Fingerprint>,
    /// Keys without which some envelope would not open. No status may say it.
    pub(super) needed: Vec<Fingerprint>,
    /// The generation, and the epoch of its inputs, for which this process found out what is needed.
    pub(super) judged: Option<(i64, u64)>,
    /// The UID of the Secret that this process wrote, or found to be made from the object. No status
    /// may say it.
    pub(super) owned: Option<String>,
    pub(super) needs_reseal: Option<bool>,
    /// Since when no held key has opened it.
    pub(super) keyless_since: Option<Instant>,
}

/// Does this process know which keys the object needs as it is now?
pub(super) fn is_judged(known: &Known) -> bool {
    known.own.judged == Some((known.seen.generation, known.epoch))
}

/// Observes the object as a watch shows it. Returns in how long it needs a reconcile, if it needs one.
/// `newest` is the fingerprint that new values are sealed to.
pub(super) fn observe(
    known: &mut Known,
    object: &SealedSecretObject,
    secret: Option<&Version>,
    newest: Option<Fingerprint>,
) -> Option<Duration> {
    match known.observe(object, recalled) {
        News::New => {
            // A status that does not know the newest key was written before that key was created.
            let is_current = known.own.needs_reseal == Some(true)
                || newest.is_none_or(|newest| known.own.sealed_to.contains(&newest));
            if !is_current {
                known.handled = None;
            }
        }
        // A new spec waits for a key anew.
        News::Changed => known.own.keyless_since = None,
        News::Same => {}
    }
    known.work_after(secret)
}

/// Restores from the status what an earlier process did. Anybody with the right may have written it:
/// it decides whether there is work and nothing else, neither whose a Secret is nor which keys are
/// needed.
fn recalled(object: &SealedSecretObject) -> Known {
    let empty = SealedSecretStatus::default();
    let status = object.status.as_ref().unwrap_or(&empty);
    let condition = |type_| status::find(&status.conditions, type_).map(|c| c.status);
    let observed = status.observed_generation.unwrap_or(-1);
    let ready = condition(ConditionType::Ready) == Some(ConditionStatus::True)
        && observed == object.generation();
    let retrying = condition(ConditionType::Ready) == Some(ConditionStatus::False)
        && condition(ConditionType::Reconciling).is_some();
    let handled = Asked {
        generation: observed,
        requested_at: status.last_handled_reconcile_at.clone(),
    };
    Known {
        uid: object.uid().to_owned(),
        // An object needs no reconcile at a start only if it is in sync.
        handled: ready.then_some(handled),
        synced_generation: (ready || retrying).then_some(observed),
        ready,
        target: status.target.as_ref().map(written),
        own: Opening {
            sealed_to: fingerprints(&status.sealed_to),
            needs_reseal: status.needs_reseal,
            ..Opening::default()
        },
        ..Known::default()
    }
}

/// The version of a Secret that a status records.
pub(super) fn written(target: &TargetStatus) -> Version {
    Version {
        uid: target.uid.clone(),
        resource_version: target.resource_version.clone(),
    }
}

/// Reads the fingerprints of a status.
fn fingerprints(texts: &[String]) -> Vec<Fingerprint> {
    texts.iter().filter_map(|text| text.parse().ok()).collect()
}

/// Does the object's status already say, for this generation, that no key opens it?
pub(super) fn is_known_keyless(object: &SealedSecretObject) -> bool {
    object.status.as_ref().is_some_and(|status| {
        status.observed_generation == Some(object.generation())
            && status::find(&status.conditions, ConditionType::Stalled)
                .is_some_and(|stalled| stalled.reason == Reason::NoMatchingKey.name())
    })
}

#[cfg(test)]
mod tests {
    use sealkit_core::api::RECONCILE_REQUESTED_AT;
    use serde_json::{Value, json};

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

    fn is_work(
        known: &mut Known,
        object: &SealedSecretObject,
        secret: Option<&Version>,
        newest: Option<Fingerprint>,
    ) -> bool {
        observe(known, object, secret, newest).is_some()
    }

    #[test]
    fn a_restart_over_objects_in_sync_finds_no_work() {
        assert!(!is_work(
            &mut Known::default(),
            &ready(3),
            Some(&version("7")),
            newest()
        ));
        assert!(
            is_work(
                &mut Known::default(),
                &ready(3),
                Some(&version("8")),
                newest()
            ),
            "drift"
        );
        assert!(
            is_work(&mut Known::default(), &ready(3), None, newest()),
            "deleted"
        );
        let other = "0099cab502b61ae411e7109b89c75b05".parse().ok();
        assert!(
            is_work(&mut Known::default(), &ready(3), Some(&version("7")), other),
            "a newer key"
        );
    }

    #[test]
    fn new_changed_and_unlucky_objects_are_work() {
        assert!(is_work(
            &mut Known::default(),
            &object(1, &json!({"observedGeneration": -1})),
            None,
            None
        ));
        assert!(is_work(
            &mut Known::default(),
            &object(1, &Value::Null),
            None,
            None
        ));
        assert!(is_work(
            &mut Known::default(),
            &object(1, &json!("garbage")),
            None,
            None
        ));
        let mut changed = ready(3);
        changed.metadata.generation = Some(4);
        assert!(is_work(
            &mut Known::default(),
            &changed,
            Some(&version("7")),
            newest()
        ));
        let mut asked = ready(3);
        let annotation = (RECONCILE_REQUESTED_AT.to_owned(), "now".to_owned());
        asked.metadata.annotations = Some([annotation].into());
        assert!(is_work(
            &mut Known::default(),
            &asked,
            Some(&version("7")),
            newest()
        ));
    }

    #[test]
    fn a_status_neither_owns_a_secret_nor_says_which_keys_are_needed() {
        let mut known = Known::default();
        observe(&mut known, &ready(3), Some(&version("7")), newest());
        assert_eq!((&known.own.owned, is_judged(&known)), (&None, false));
        assert!(known.own.needed.is_empty());
    }

    #[test]
    fn a_recreated_object_is_a_new_one() {
        let mut known = Known::default();
        observe(&mut known, &ready(3), Some(&version("7")), newest());
        let mut again = object(1, &Value::Null);
        again.metadata.uid = Some("u2".into());
        assert!(is_work(&mut known, &again, Some(&version("7")), newest()));
        assert!(known.target.is_none());
    }
}
