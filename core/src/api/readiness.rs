//! Is an object reconciled, for the generation that was requested? Whatever waits or reports in `seal`
//! uses this one answer, for our kinds and for those of other controllers.

use serde_json::Value;

use super::{Condition, ConditionStatus, ConditionType};

/// What an object's status says about its current generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// It is reconciled.
    Ready,
    /// It fails until somebody changes the object, keys or its target.
    Stalled(Why),
    /// It is not reconciled yet: not observed, in progress, or being retried.
    Waiting(Why),
}

/// Reason and message of the condition Ready; empty if it says nothing about this generation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Why {
    /// One word.
    pub reason: String,
    /// For people.
    pub message: String,
}

/// How a status tells what it tells. Statuses with `observedGeneration` that are written by Sealkit
/// are read by its rules, whatever the kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Our own rules.
    Sealkit,
    /// An ExternalSecret of External Secrets: `syncedResourceVersion` begins with the generation of
    /// the last refresh, and nothing is ever final.
    ExternalSecret,
    /// A store or a ClusterExternalSecret of External Secrets: Ready tells no generation.
    Ungenerated,
    /// A SealedSecret of `bitnami.com`: Synced, which is False after a failure.
    BitnamiSealedSecret,
}

impl Readiness {
    /// The readiness of an object at `generation` with this status. A status of another generation
    /// says nothing, and neither does a condition of another one.
    pub fn of(
        generation: Option<i64>,
        observed_generation: Option<i64>,
        conditions: &[Condition],
    ) -> Self {
        let read = conditions.iter().map(Told::of).collect::<Vec<_>>();
        judged(generation, observed_generation, &read)
    }

    /// The readiness of an object at `generation` whose status anybody may have written: what cannot
    /// be read says nothing.
    pub fn of_status(dialect: Dialect, generation: Option<i64>, status: &Value) -> Self {
        let observed = status.get("observedGeneration").and_then(Value::as_i64);
        let listed = status.get("conditions").and_then(Value::as_array);
        let conditions: Vec<_> = listed
            .into_iter()
            .flatten()
            .filter_map(Told::read)
            .collect();
        let find = |type_: &str| conditions.iter().find(|told| told.type_ == type_);
        let ready = find(ConditionType::Ready.name());
        match dialect {
            Dialect::BitnamiSealedSecret => match find("Synced") {
                Some(synced) if generation.is_some() && observed == generation => {
                    match synced.status {
                        "True" => Self::Ready,
                        "False" => Self::Stalled(synced.why()),
                        _ => Self::Waiting(synced.why()),
                    }
                }
                _ => Self::Waiting(Why::default()),
            },
            _ if dialect == Dialect::Sealkit || observed.is_some() => {
                judged(generation, observed, &conditions)
            }
            _ => {
                let Some(ready) = ready else {
                    return Self::Waiting(Why::default());
                };
                let is_current = dialect == Dialect::Ungenerated
                    || (generation.is_some() && synced_generation(status) == generation);
                match (ready.status == "True", is_current) {
                    (true, true) => Self::Ready,
                    (true, false) => Self::Waiting(Why::default()),
                    (false, _) => Self::Waiting(ready.why()),
                }
            }
        }
    }

    /// Is everything there?
    pub fn is_ready(&self) -> bool {
        *self == Self::Ready
    }

    /// Why it is not ready; `None` if it is.
    pub fn why(&self) -> Option<&Why> {
        match self {
            Self::Ready => None,
            Self::Stalled(why) | Self::Waiting(why) => Some(why),
        }
    }
}

/// The generation of the last refresh, as External Secrets tells it: `<generation>-<hash>`.
fn synced_generation(status: &Value) -> Option<i64> {
    let version = status.get("syncedResourceVersion")?.as_str()?;
    version.split_once('-')?.0.parse().ok()
}

/// A condition, as far as it counts here.
struct Told<'a> {
    type_: &'a str,
    status: &'a str,
    observed: Option<i64>,
    reason: &'a str,
    message: &'a str,
}

impl<'a> Told<'a> {
    fn of(condition: &'a Condition) -> Self {
        Self {
            type_: &condition.type_,
            status: match condition.status {
                ConditionStatus::True => "True",
                ConditionStatus::False => "False",
                ConditionStatus::Unknown => "Unknown",
            },
            observed: condition.observed_generation,
            reason: &condition.reason,
            message: &condition.message,
        }
    }

    fn read(condition: &'a Value) -> Option<Self> {
        let text = |field: &str| condition.get(field).and_then(Value::as_str);
        Some(Self {
            type_: text("type")?,
            status: text("status")?,
            observed: condition.get("observedGeneration").and_then(Value::as_i64),
            reason: text("reason").unwrap_or_default(),
            message: text("message").unwrap_or_default(),
        })
    }

    fn why(&self) -> Why {
        Why {
            reason: self.reason.to_owned(),
            message: self.message.to_owned(),
        }
    }
}

/// By our own rules.
fn judged(generation: Option<i64>, observed: Option<i64>, conditions: &[Told<'_>]) -> Readiness {
    if generation.is_none() || observed != generation {
        return Readiness::Waiting(Why::default());
    }
    let current = |type_: ConditionType| {
        conditions.iter().find(|told| {
            told.type_ == type_.name()
                && told
                    .observed
                    .is_none_or(|observed| Some(observed) == generation)
        })
    };
    let Some(ready) = current(ConditionType::Ready) else {
        return Readiness::Waiting(Why::default());
    };
    if ready.status == "True" {
        return Readiness::Ready;
    }
    let is_true = |told: &&Told<'_>| told.status == "True";
    let stalled = current(ConditionType::Stalled).filter(is_true);
    let mut why = ready.why();
    // Where Ready has the reasons of External Secrets, the other condition has ours.
    let other = stalled.or_else(|| current(ConditionType::Reconciling).filter(is_true));
    if ready.reason == EXTERNAL_FAILURE
        && let Some(other) = other
    {
        other.reason.clone_into(&mut why.reason);
    }
    if stalled.is_some() {
        Readiness::Stalled(why)
    } else {
        Readiness::Waiting(why)
    }
}

/// Reason of Ready for every failure of an ExternalSecret.
const EXTERNAL_FAILURE: &str = "SecretSyncedError";

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::json;

    use super::*;

    fn condition(type_: ConditionType, status: ConditionStatus, generation: i64) -> Condition {
        Condition {
            type_: type_.name().to_owned(),
            status,
            observed_generation: Some(generation),
            last_transition_time: Timestamp::UNIX_EPOCH,
            reason: "Reason".to_owned(),
            message: "message".to_owned(),
        }
    }

    #[test]
    fn only_the_present_generation_counts() {
        use ConditionStatus::{False, True, Unknown};
        use ConditionType::{Ready, Reconciling, Stalled};
        let ready = |status, generation| condition(Ready, status, generation);
        let why = || Why {
            reason: "Reason".to_owned(),
            message: "message".to_owned(),
        };
        let nothing = Readiness::Waiting(Why::default());
        let table = [
            (Some(2), Some(2), vec![ready(True, 2)], Readiness::Ready),
            (Some(2), Some(1), vec![ready(True, 1)], nothing.clone()),
            (Some(2), Some(2), vec![ready(True, 1)], nothing.clone()),
            (Some(2), Some(-1), vec![], nothing.clone()),
            (Some(2), None, vec![ready(True, 2)], nothing.clone()),
            (None, None, vec![ready(True, 2)], nothing.clone()),
            (Some(2), Some(2), vec![], nothing),
            (
                Some(2),
                Some(2),
                vec![condition(Stalled, True, 2), ready(False, 2)],
                Readiness::Stalled(why()),
            ),
            (
                Some(2),
                Some(2),
                vec![condition(Stalled, True, 1), ready(False, 2)],
                Readiness::Waiting(why()),
            ),
            (
                Some(2),
                Some(2),
                vec![condition(Reconciling, True, 2), ready(Unknown, 2)],
                Readiness::Waiting(why()),
            ),
        ];
        for (generation, observed, conditions, expected) in table {
            assert_eq!(
                Readiness::of(generation, observed, &conditions),
                expected,
                "{generation:?} {observed:?} {conditions:?}"
            );
        }
    }

    /// The readiness in short: R, S or W, and the reason.
    fn short(dialect: Dialect, generation: i64, status: &Value) -> String {
        let readiness = Readiness::of_status(dialect, Some(generation), status);
        let letter = match readiness {
            Readiness::Ready => "R",
            Readiness::Stalled(_) => "S",
            Readiness::Waiting(_) => "W",
        };
        let reason = readiness.why().map(|why| why.reason.clone());
        format!("{letter} {}", reason.unwrap_or_default())
    }

    #[test]
    fn each_controller_is_read_in_its_own_words() {
        use Dialect::{BitnamiSealedSecret, ExternalSecret, Sealkit, Ungenerated};
        let told = |type_: &str, status: &str, reason: &str| json!({"type": type_, "status": status, "reason": reason, "message": "m"});
        let with = |conditions: &[Value]| json!({"conditions": conditions});
        let synced = |version: &str, conditions: &[Value]| json!({"syncedResourceVersion": version, "conditions": conditions});
        let seen = |observed: i64, conditions: &[Value]| json!({"observedGeneration": observed, "conditions": conditions});
        let (ready, failed) = (
            told("Ready", "True", "SecretSynced"),
            told("Ready", "False", "SecretSyncedError"),
        );
        let table = [
            // External Secrets tells the generation of its last success.
            (
                ExternalSecret,
                synced("2-abc", std::slice::from_ref(&ready)),
                "R ",
            ),
            (
                ExternalSecret,
                synced("1-abc", std::slice::from_ref(&ready)),
                "W ",
            ),
            (
                ExternalSecret,
                synced("20-abc", std::slice::from_ref(&ready)),
                "W ",
            ),
            (ExternalSecret, with(std::slice::from_ref(&ready)), "W "),
            (
                ExternalSecret,
                synced("2-abc", std::slice::from_ref(&failed)),
                "W SecretSyncedError",
            ),
            (ExternalSecret, json!({}), "W "),
            (ExternalSecret, Value::Null, "W "),
            // Where Sealkit wrote the status, its rules hold.
            (ExternalSecret, seen(2, std::slice::from_ref(&ready)), "R "),
            (ExternalSecret, seen(1, std::slice::from_ref(&ready)), "W "),
            (
                ExternalSecret,
                seen(2, &[told("Stalled", "True", "InvalidSpec"), failed.clone()]),
                "S InvalidSpec",
            ),
            (
                ExternalSecret,
                seen(
                    2,
                    &[told("Reconciling", "True", "ProviderError"), failed.clone()],
                ),
                "W ProviderError",
            ),
            // Stores tell no generation, unless Sealkit wrote it.
            (Ungenerated, with(&[told("Ready", "True", "Valid")]), "R "),
            (
                Ungenerated,
                with(&[told("Ready", "False", "ValidationFailed")]),
                "W ValidationFailed",
            ),
            (
                Ungenerated,
                seen(1, &[told("Ready", "True", "Valid")]),
                "W ",
            ),
            (Ungenerated, with(&[]), "W "),
            // The other Sealed Secrets.
            (
                BitnamiSealedSecret,
                seen(2, &[told("Synced", "True", "")]),
                "R ",
            ),
            (
                BitnamiSealedSecret,
                seen(1, &[told("Synced", "True", "")]),
                "W ",
            ),
            (
                BitnamiSealedSecret,
                with(&[told("Synced", "True", "")]),
                "W ",
            ),
            (
                BitnamiSealedSecret,
                seen(2, &[told("Synced", "False", "x")]),
                "S x",
            ),
            (BitnamiSealedSecret, seen(2, &[]), "W "),
            // Ours, and what nobody should have written.
            (Sealkit, seen(2, &[told("Ready", "True", "Opened")]), "R "),
            (Sealkit, with(&[told("Ready", "True", "Opened")]), "W "),
            (
                Sealkit,
                json!({"observedGeneration": "2", "conditions": "x"}),
                "W ",
            ),
            (
                Sealkit,
                json!({"observedGeneration": 2, "conditions": [1, {"type": 3}]}),
                "W ",
            ),
        ];
        for (dialect, status, expected) in table {
            assert_eq!(short(dialect, 2, &status), expected, "{dialect:?} {status}");
        }
    }
}
