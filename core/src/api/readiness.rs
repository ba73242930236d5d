//! Is what was asked of an object there, for the generation that was asked? The one answer that
//! everything stands on that waits or reports.

use super::{Condition, ConditionStatus, ConditionType};

/// What an object's status says of its present generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Everything is there.
    Ready,
    /// Only a change of the object, of keys or of its target helps.
    Stalled(Why),
    /// Not there yet: not observed yet, under way, or being retried.
    Waiting(Why),
}

/// The reason and the sentence of the condition Ready; empty where it says nothing of this
/// generation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Why {
    /// One word.
    pub reason: String,
    /// For people.
    pub message: String,
}

impl Readiness {
    /// That of an object at `generation` whose status has these. A status of another generation
    /// says nothing, and neither does a condition of another one.
    pub fn of(
        generation: Option<i64>,
        observed_generation: Option<i64>,
        conditions: &[Condition],
    ) -> Self {
        if generation.is_none() || observed_generation != generation {
            return Self::Waiting(Why::default());
        }
        let current = |type_: ConditionType| {
            conditions.iter().find(|condition| {
                condition.type_ == type_.name()
                    && condition
                        .observed_generation
                        .is_none_or(|observed| Some(observed) == generation)
            })
        };
        let is_true = |condition: &&Condition| condition.status == ConditionStatus::True;
        let Some(ready) = current(ConditionType::Ready) else {
            return Self::Waiting(Why::default());
        };
        let why = Why {
            reason: ready.reason.clone(),
            message: ready.message.clone(),
        };
        if is_true(&ready) {
            Self::Ready
        } else if current(ConditionType::Stalled)
            .as_ref()
            .is_some_and(is_true)
        {
            Self::Stalled(why)
        } else {
            Self::Waiting(why)
        }
    }

    /// Is everything there?
    pub fn is_ready(&self) -> bool {
        *self == Self::Ready
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

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
}
