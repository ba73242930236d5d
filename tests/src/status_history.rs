//! Rules between one status of an object and the next, and counts of writes.

use serde_json::Value;

use crate::status_rules::{status_of, violations};

/// All versions of one object that a watch has shown, in order.
#[derive(Default)]
pub struct History {
    versions: Vec<Version>,
    /// Generations for which the object was Ready.
    synced: Vec<i64>,
    /// May statuses have been written that no watch has shown?
    begun_before: bool,
    /// Is the next version one of a list?
    is_broken_off: bool,
}

/// One version of an object.
#[derive(Clone, Debug)]
pub struct Version {
    /// Its resourceVersion.
    pub resource_version: String,
    /// The generation of its spec.
    pub generation: i64,
    /// Its status.
    pub status: Value,
}

impl Version {
    /// The generation that the status is about.
    pub fn observed(&self) -> i64 {
        self.status["observedGeneration"].as_i64().unwrap_or(-1)
    }

    /// The status of a condition.
    pub fn condition(&self, type_: &str) -> Option<&str> {
        status_of(self.status["conditions"].as_array()?, type_)
    }
}

impl History {
    /// Takes in a version that a list has shown after a watch was broken off: versions before it
    /// may be missing, so what it says is judged, but not the step to it.
    pub fn push_listed(&mut self, object: &Value) -> Vec<String> {
        if !self.saw(
            object["metadata"]["resourceVersion"]
                .as_str()
                .unwrap_or_default(),
        ) {
            self.is_broken_off = true;
        }
        self.push(object)
    }

    /// Takes in the next version; the rules that it breaks.
    pub fn push(&mut self, object: &Value) -> Vec<String> {
        let version = Version {
            resource_version: object["metadata"]["resourceVersion"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
            generation: object["metadata"]["generation"]
                .as_i64()
                .unwrap_or_default(),
            status: object["status"].clone(),
        };
        if self.saw(&version.resource_version) {
            return Vec::new();
        }
        let mut found = violations(object);
        let observed = version.observed();
        let is_broken_off = std::mem::take(&mut self.is_broken_off);
        match self.versions.last() {
            Some(previous) => {
                judge_order(previous, &version, &mut found);
                if is_broken_off {
                    self.begun_before = true;
                } else {
                    judge_step(previous, &version, &mut found);
                }
            }
            None => self.begun_before = observed != -1,
        }
        let ready = version.condition("Ready");
        let had_synced = self.synced.contains(&observed);
        if ready == Some("Unknown") && had_synced {
            found.push("Ready Unknown for a generation that was Ready before".to_owned());
        }
        let retried = version.condition("Reconciling").is_some();
        if retried && ready == Some("False") && !had_synced && !self.begun_before {
            found.push(
                "Ready False while retried, for a generation that never was Ready".to_owned(),
            );
        }
        if ready == Some("True") {
            self.synced.push(observed);
        }
        self.versions.push(version);
        found
    }

    /// Has the watch shown this version?
    pub fn saw(&self, resource_version: &str) -> bool {
        self.versions
            .iter()
            .any(|version| version.resource_version == resource_version)
    }

    /// The versions seen.
    pub fn versions(&self) -> &[Version] {
        &self.versions
    }

    /// The statuses written, without the default that the API server sets.
    pub fn status_writes(&self) -> Vec<Version> {
        let mut writes: Vec<Version> = Vec::new();
        for version in self
            .versions
            .iter()
            .filter(|version| version.observed() != -1)
        {
            if writes
                .last()
                .is_none_or(|last| last.status != version.status)
            {
                writes.push(version.clone());
            }
        }
        writes
    }
}

/// Holds whatever came between.
fn judge_order(previous: &Version, next: &Version, found: &mut Vec<String>) {
    if next.observed() < previous.observed() {
        found.push(format!(
            "observedGeneration fell from {} to {}",
            previous.observed(),
            next.observed()
        ));
    }
}

fn judge_step(previous: &Version, next: &Version, found: &mut Vec<String>) {
    if next.status == previous.status {
        return;
    }
    if timeless(&next.status) == timeless(&previous.status) {
        found.push("a write that only moved a time".to_owned());
    }
    for condition in next.status["conditions"].as_array().into_iter().flatten() {
        let type_ = condition["type"].as_str().unwrap_or_default();
        let old = previous.status["conditions"]
            .as_array()
            .into_iter()
            .flatten();
        let Some(old) = old.into_iter().find(|old| old["type"] == type_) else {
            continue;
        };
        let moved = old["lastTransitionTime"] != condition["lastTransitionTime"];
        if moved && old["status"] == condition["status"] {
            found.push(format!(
                "{type_} kept its status, its transition time moved"
            ));
        }
    }
}

fn timeless(status: &Value) -> Value {
    let mut status = status.clone();
    for condition in status["conditions"].as_array_mut().into_iter().flatten() {
        condition["lastTransitionTime"] = Value::Null;
    }
    status
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    struct Step {
        version: u32,
        generation: i64,
        observed: i64,
        ready: &'static str,
        second: u32,
    }

    impl Step {
        fn object(&self) -> Value {
            let condition = |type_: &str, status: &str, reason: &str| {
                json!({"type": type_, "status": status, "reason": reason, "message": "text",
                    "observedGeneration": self.observed,
                    "lastTransitionTime": format!("2026-01-01T00:00:{:02}Z", self.second)})
            };
            let reason = if self.ready == "True" {
                "Opened"
            } else {
                "AccessDenied"
            };
            let mut conditions = Vec::new();
            if self.ready != "True" {
                conditions.push(condition("Reconciling", "True", "ProgressingWithRetry"));
            }
            conditions.push(condition("Synced", self.ready, reason));
            conditions.push(condition("Ready", self.ready, reason));
            json!({
                "kind": "SealedSecret",
                "metadata": {"name": "db", "generation": self.generation,
                    "resourceVersion": self.version.to_string()},
                "status": {"observedGeneration": self.observed, "conditions": conditions,
                    "target": {"name": "db", "uid": "u", "resourceVersion": "7"},
                    "sealedTo": [], "needsReseal": false},
            })
        }
    }

    fn unseen() -> Value {
        json!({"kind": "SealedSecret", "metadata": {"generation": 1, "resourceVersion": "0"},
            "status": {"observedGeneration": -1}})
    }

    fn step(
        version: u32,
        generation: i64,
        observed: i64,
        ready: &'static str,
        second: u32,
    ) -> Step {
        Step {
            version,
            generation,
            observed,
            ready,
            second,
        }
    }

    fn run(steps: &[Step]) -> (History, Vec<String>) {
        let mut history = History::default();
        let mut found = history.push(&unseen());
        for step in steps {
            found.extend(history.push(&step.object()));
        }
        (history, found)
    }

    #[test]
    fn a_good_life_passes_and_is_counted() {
        let (history, found) = run(&[
            step(1, 1, 1, "Unknown", 0),
            step(2, 1, 1, "True", 1),
            step(2, 1, 1, "True", 1),
            step(3, 2, 1, "True", 1),
            step(4, 2, 2, "True", 1),
            step(5, 2, 2, "False", 2),
        ]);
        assert_eq!(found, Vec::<String>::new());
        assert_eq!(history.versions().len(), 6, "one was shown twice");
        assert_eq!(
            history.status_writes().len(),
            4,
            "one was a change of the spec"
        );
        assert!(history.saw("5") && !history.saw("6"));
    }

    #[test]
    fn a_step_over_versions_that_nobody_saw_is_not_judged() {
        let mut history = History::default();
        let first = step(1, 1, 1, "True", 0).object();
        let listed = step(5, 1, 1, "True", 4).object();
        assert_eq!(history.push(&first), Vec::<String>::new());
        assert_eq!(history.push_listed(&first), Vec::<String>::new());
        assert_eq!(history.push_listed(&listed), Vec::<String>::new());
        // The next step is one again, and what a listed version says of itself always counts.
        let moved = history.push(&step(6, 1, 1, "True", 5).object());
        assert!(
            moved.iter().any(|text| text.contains("only moved a time")),
            "{moved:?}"
        );
        let unknown = history.push_listed(&step(9, 1, 1, "Unknown", 6).object());
        assert!(
            unknown.iter().any(|text| text.contains("was Ready before")),
            "{unknown:?}"
        );
    }

    #[test]
    fn every_step_rule_can_be_broken() {
        let cases: [(&str, &[Step]); 5] = [
            (
                "fell from 2 to 1",
                &[step(1, 2, 2, "True", 0), step(2, 2, 1, "True", 0)],
            ),
            (
                "only moved a time",
                &[step(1, 1, 1, "True", 0), step(2, 1, 1, "True", 1)],
            ),
            (
                "transition time moved",
                &[step(1, 1, 1, "True", 0), step(2, 2, 2, "True", 1)],
            ),
            (
                "was Ready before",
                &[step(1, 1, 1, "True", 0), step(2, 1, 1, "Unknown", 1)],
            ),
            ("never was Ready", &[step(1, 1, 1, "False", 0)]),
        ];
        for (expected, steps) in cases {
            let (_, found) = run(steps);
            assert!(
                found.iter().any(|text| text.contains(expected)),
                "{expected}: {found:?}"
            );
        }
    }
}
