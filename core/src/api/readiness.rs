//! Is an object reconciled, for the generation that was requested? Whatever waits or reports in `seal`
//! uses this one answer.

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

impl Readiness {
    /// The readiness of an object at `generation` with this status. A status of another generation
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
