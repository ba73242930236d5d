//! The only place that builds conditions and writes statuses. kstatus (Flux, Helm, kubectl wait),
//! Argo CD's Lua and Fleet's heuristics read them; `docs/status.md` says what each status means.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;
use sealkit_core::api::{Condition, ConditionStatus, ConditionType, Reason};
use serde::Serialize;
use serde_json::json;

use crate::kubernetes::{self, ApiFailure};
use crate::object::Origin;
use crate::telemetry::{EventKind, Events};

/// The result of one reconcile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// This generation is fully reconciled.
    Ready(Reason, String),
    /// It failed, but may succeed later: retried for ever.
    Retrying(Reason, String),
    /// It fails until somebody changes the spec, keys or target.
    Stalled(Reason, String),
}

impl Outcome {
    /// The reason of the condition Ready.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Ready(reason, _) | Self::Retrying(reason, _) | Self::Stalled(reason, _) => {
                *reason
            }
        }
    }

    /// The message for people: see [`for_people`].
    pub fn message(&self) -> String {
        match self {
            Self::Ready(_, message) | Self::Retrying(_, message) | Self::Stalled(_, message) => {
                for_people(message)
            }
        }
    }

    /// Is this generation fully reconciled?
    pub fn is_ready(&self) -> bool {
        matches!(self, Self::Ready(..))
    }
}

/// A text as it may stand in a status, an event or a log line, whoever wrote parts of it: one line of
/// visible characters, of bounded length. Code that quotes a text of somebody else cuts it with
/// [`sealkit_core::names::printable`]; what it forgets ends here.
pub fn for_people(text: &str) -> String {
    /// Far more than our own texts have.
    const LONGEST: usize = 4096;
    let mut line = String::new();
    for (index, character) in text.chars().enumerate() {
        match character {
            _ if index == LONGEST => {
                line.push('…');
                break;
            }
            ' '..='~' | '…' => line.push(character),
            _ => line.extend(character.escape_default()),
        }
    }
    line
}

/// The conditions for an outcome: Reconciling or Stalled first, then Synced, Ready last.
///
/// While a generation has never synced, a failure that is retried leaves Ready Unknown: Argo CD's
/// built-in scripts fail a sync at once on False. Where a status has not changed, its transition
/// time comes from `previous`.
pub fn conditions(
    outcome: &Outcome,
    generation: i64,
    had_synced: bool,
    previous: &[Condition],
    now: Timestamp,
) -> Vec<Condition> {
    // Kubernetes keeps whole seconds.
    let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
    let condition = |type_: ConditionType, status, reason: Reason, message: &str| {
        let type_ = type_.name().to_owned();
        let since = previous
            .iter()
            .find(|old| old.type_ == type_ && old.status == status)
            .map_or(now, |old| old.last_transition_time);
        Condition {
            type_,
            status,
            observed_generation: Some(generation),
            last_transition_time: since,
            reason: reason.name().to_owned(),
            message: message.to_owned(),
        }
    };
    let (reason, message) = (outcome.reason(), outcome.message());
    let (first, ready) = match outcome {
        Outcome::Ready(..) => (None, ConditionStatus::True),
        Outcome::Retrying(..) => {
            let reason = Reason::ProgressingWithRetry;
            let first = condition(
                ConditionType::Reconciling,
                ConditionStatus::True,
                reason,
                &message,
            );
            let ready = if had_synced {
                ConditionStatus::False
            } else {
                ConditionStatus::Unknown
            };
            (Some(first), ready)
        }
        Outcome::Stalled(..) => {
            let first = condition(
                ConditionType::Stalled,
                ConditionStatus::True,
                reason,
                &message,
            );
            (Some(first), ConditionStatus::False)
        }
    };
    first
        .into_iter()
        .chain([
            condition(ConditionType::Synced, ready, reason, &message),
            condition(ConditionType::Ready, ready, reason, &message),
        ])
        .collect()
}

/// The conditions for an outcome as External Secrets has them: Ready keeps its reasons, so that what
/// reads them goes on; ours stand on Reconciling or Stalled.
pub fn external_conditions(
    outcome: &Outcome,
    generation: i64,
    had_synced: bool,
    previous: &[Condition],
    now: Timestamp,
) -> Vec<Condition> {
    let mut all = conditions(outcome, generation, had_synced, previous, now);
    all.retain(|condition| condition.type_ != ConditionType::Synced.name());
    for condition in &mut all {
        if condition.type_ == ConditionType::Ready.name() {
            let reason = match outcome {
                Outcome::Ready(reason @ (Reason::SecretDeleted | Reason::SecretMissing), _) => {
                    reason.name()
                }
                Outcome::Ready(..) => "SecretSynced",
                _ => "SecretSyncedError",
            };
            reason.clone_into(&mut condition.reason);
        } else {
            outcome.reason().name().clone_into(&mut condition.reason);
        }
    }
    all
}

/// Tells an outcome for a generation as an event, and in the log if somebody has to do something.
pub fn tell(events: &Events, origin: &Origin, generation: i64, outcome: &Outcome) {
    let event = if outcome.is_ready() {
        EventKind::Normal
    } else {
        EventKind::Warning
    };
    let (reason, message) = (outcome.reason(), outcome.message());
    events.publish(origin, event, reason, &generation.to_string(), &message);
    if !outcome.is_ready() {
        let (kind, namespace, name) = (origin.kind.kind, &origin.namespace, &origin.name);
        let reason = reason.name();
        tracing::warn!(kind, namespace, name, reason, "{message}");
    }
}

/// The condition of this type, if it exists.
pub fn find(conditions: &[Condition], type_: ConditionType) -> Option<&Condition> {
    conditions
        .iter()
        .find(|condition| condition.type_ == type_.name())
}

/// Are they equal except for transition times?
pub fn same(a: &[Condition], b: &[Condition]) -> bool {
    let timeless = |condition: &Condition| {
        let mut condition = condition.clone();
        condition.last_transition_time = Timestamp::UNIX_EPOCH;
        condition
    };
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| timeless(a) == timeless(b))
}

/// Writes the status of an object that was read at `version`, unless it equals `old`. Returns the
/// metadata after the write. The write replaces the whole status and changes nothing else: the
/// server ignores what the body lacks, at half the cost of a patch. The version makes a late write
/// of a former leader fail.
pub async fn write<S: Serialize + PartialEq>(
    client: &Client,
    origin: &Origin,
    version: Option<&str>,
    old: Option<&S>,
    new: &S,
) -> Result<Option<ObjectMeta>, ApiFailure> {
    if old == Some(new) {
        return Ok(None);
    }
    let body = json!({
        "apiVersion": origin.kind.api_version(),
        "kind": origin.kind.kind,
        "metadata": {
            "name": origin.name,
            "namespace": Some(&origin.namespace).filter(|namespace| !namespace.is_empty()),
            "uid": origin.uid,
            "resourceVersion": version,
        },
        "status": new,
    });
    let path = format!("{}/status", origin.path());
    let written = kubernetes::replace(client, &path, &body).await?;
    Ok(Some(written.metadata))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_hold_for_every_outcome() {
        let now = Timestamp::from_second(1_000).unwrap();
        let text = "x".to_owned();
        for outcome in [
            Outcome::Ready(Reason::Opened, text.clone()),
            Outcome::Retrying(Reason::TargetWriteFailed, text.clone()),
            Outcome::Stalled(Reason::DecryptFailed, text),
        ] {
            for had_synced in [false, true] {
                let list = conditions(&outcome, 7, had_synced, &[], now);
                let status = |type_| find(&list, type_).map(|condition| condition.status);
                let ready = status(ConditionType::Ready).unwrap();
                assert_eq!(list.last().unwrap().type_, "Ready");
                assert_eq!(status(ConditionType::Synced), Some(ready));
                let reconciling = status(ConditionType::Reconciling).is_some();
                let stalled = status(ConditionType::Stalled).is_some();
                assert!(!(reconciling && stalled));
                assert_eq!(reconciling || stalled, ready != ConditionStatus::True);
                assert!(ready != ConditionStatus::Unknown || (reconciling && !had_synced));
                assert!(
                    list.iter()
                        .all(|condition| condition.observed_generation == Some(7))
                );
            }
        }
    }

    #[test]
    fn texts_of_others_are_escaped_and_cut() {
        let hostile = "a\u{1b}]0;x\u{7}\nReady=True\u{202e}é";
        let outcome = Outcome::Stalled(Reason::TargetConflict, hostile.to_owned());
        let escaped = "a\\u{1b}]0;x\\u{7}\\nReady=True\\u{202e}\\u{e9}";
        let now = Timestamp::from_second(1_000).unwrap();
        for condition in conditions(&outcome, 1, false, &[], now) {
            assert_eq!(condition.message, escaped);
        }
        assert_eq!(outcome.message(), escaped);
        assert_eq!(for_people(escaped), escaped, "once is enough");
        let ours = "not sealed for \"shop\" (a, b, …)";
        assert_eq!(for_people(ours), ours);
        assert_eq!(for_people(&"x".repeat(900_000)).chars().count(), 4097);
        assert!(for_people(&"\u{1b}".repeat(900_000)).len() < 40_000);
    }

    #[test]
    fn transition_times_change_with_the_status_only() {
        let (early, late) = (
            Timestamp::from_second(1).unwrap(),
            Timestamp::from_second(2).unwrap(),
        );
        let stalled = |reason| Outcome::Stalled(reason, String::new());
        let first = conditions(&stalled(Reason::DecryptFailed), 1, false, &[], early);
        let second = conditions(&stalled(Reason::ScopeMismatch), 2, false, &first, late);
        assert!(
            second
                .iter()
                .all(|condition| condition.last_transition_time == early)
        );
        let ready = Outcome::Ready(Reason::Opened, String::new());
        let third = conditions(&ready, 2, false, &second, late);
        assert!(
            third
                .iter()
                .all(|condition| condition.last_transition_time == late)
        );
    }
}
