//! Decides whether a workload is to be restarted; pure.

use std::collections::BTreeMap;

/// What stands for the values of Secrets, by name. No part of a value is in it.
pub(super) type Record = BTreeMap<String, String>;

/// What is to be on record of a workload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Without a restart.
    pub(super) kept: Record,
    /// Once it was restarted.
    pub(super) restarted: Record,
    /// The Secrets whose values changed since.
    pub(super) changed: Vec<String>,
}

/// Compares what is on record with what the Secrets say now: `None` if Sealkit did not write a Secret,
/// empty if it never changed it.
///
/// A Secret that was not on record begins there: whoever adds it to the template replaces the pods
/// anyway. A Secret that is gone, or was made again without anything that stands for its values, says
/// nothing: what is on record stays.
pub(super) fn plan(recorded: &Record, current: &BTreeMap<String, Option<String>>) -> Plan {
    let mut plan = Plan::default();
    for (name, now) in current {
        let old = recorded.get(name);
        let (kept, restarted) = match (old, now) {
            (None, None) => continue,
            (None, Some(now)) => (now, now),
            (Some(old), None) => (old, old),
            (Some(old), Some(now)) if now.is_empty() => (old, old),
            (Some(old), Some(now)) => (old, now),
        };
        if kept != restarted {
            plan.changed.push(name.clone());
        }
        plan.kept.insert(name.clone(), kept.clone());
        plan.restarted.insert(name.clone(), restarted.clone());
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_change_of_what_is_on_record_restarts() {
        // On record, now, and on record afterwards; is it a restart?
        let cases = [
            ("first sight", None, Some("a"), Some("a"), false),
            (
                "first sight, never changed",
                None,
                Some(""),
                Some(""),
                false,
            ),
            ("not ours", None, None, None, false),
            ("unchanged", Some("a"), Some("a"), Some("a"), false),
            ("changed", Some("a"), Some("b"), Some("b"), true),
            (
                "changed for the first time",
                Some(""),
                Some("b"),
                Some("b"),
                true,
            ),
            ("deleted", Some("a"), None, Some("a"), false),
            ("made again", Some("a"), Some(""), Some("a"), false),
        ];
        for (what, old, now, next, restarts) in cases {
            let record = |text: Option<&str>| -> Record {
                let entry = text.map(|text| ("db".to_owned(), text.to_owned()));
                entry.into_iter().collect()
            };
            let current = [("db".to_owned(), now.map(str::to_owned))].into();
            let plan = plan(&record(old), &current);
            assert_eq!(plan.restarted, record(next), "{what}");
            assert_eq!(!plan.changed.is_empty(), restarts, "{what}");
            let kept = if restarts { old } else { next };
            assert_eq!(plan.kept, record(kept), "{what}");
        }
    }

    #[test]
    fn secrets_are_compared_one_by_one_and_forgotten_when_unused() {
        let record = |entries: &[(&str, &str)]| -> Record {
            let entries = entries.iter();
            entries
                .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
                .collect()
        };
        let current = record(&[("a", "2"), ("b", "1"), ("new", "1")]);
        let current = current.into_iter().map(|(name, now)| (name, Some(now)));
        let recorded = record(&[("a", "1"), ("b", "1"), ("unused", "1")]);
        let plan = plan(&recorded, &current.collect());
        assert_eq!(plan.changed, ["a"]);
        assert_eq!(plan.kept, record(&[("a", "1"), ("b", "1"), ("new", "1")]));
        assert_eq!(
            plan.restarted,
            record(&[("a", "2"), ("b", "1"), ("new", "1")])
        );
    }
}
