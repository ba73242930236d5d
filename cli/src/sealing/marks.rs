//! The labels and annotations of a Secret by which other programs steer or track it, and where they
//! go.

use std::collections::BTreeMap;

use sealkit_core::api::marks::{Mark, is_borrowed_label, mark};
use sealkit_core::manifest::SecretManifest;
use sealkit_core::names::printable;

use crate::terminal::Terminal;

/// The marks of one Secret, sorted.
#[derive(Debug, Default)]
pub(crate) struct SortedMarks {
    /// Labels that go onto the SealedSecret itself.
    pub labels: BTreeMap<String, String>,
    /// Annotations that do.
    pub annotations: BTreeMap<String, String>,
    dropped: Vec<String>,
}

impl SortedMarks {
    /// The marks of a Secret as its manifest has them.
    pub fn of(manifest: &SecretManifest) -> Self {
        let mut sorted = Self::default();
        for (name, value) in &manifest.labels {
            match mark(name) {
                Some(Mark::Steering | Mark::Hook) => {
                    sorted.labels.insert(name.clone(), value.clone());
                }
                Some(Mark::Tracking) => sorted.dropped.push(name.clone()),
                None if is_borrowed_label(name, value) => sorted.dropped.push(name.clone()),
                None => {}
            }
        }
        for (name, value) in &manifest.annotations {
            match mark(name) {
                Some(Mark::Steering | Mark::Hook) => {
                    sorted.annotations.insert(name.clone(), value.clone());
                }
                Some(Mark::Tracking) => sorted.dropped.push(name.clone()),
                None => {}
            }
        }
        sorted
    }

    /// Does a label or annotation of this name not go onto the Secret?
    pub fn has(&self, name: &str) -> bool {
        self.labels.contains_key(name)
            || self.annotations.contains_key(name)
            || self.dropped.iter().any(|dropped| dropped == name)
    }

    /// Says what went where; of a file that exists and keeps its own, only what was left out.
    pub fn tell(&self, title: &str, exists: bool, terminal: Terminal) {
        let list = |names: Vec<&String>| {
            let names: Vec<_> = names.into_iter().map(|name| printable(name)).collect();
            names.join(", ")
        };
        let moved = self.labels.keys().chain(self.annotations.keys());
        let moved: Vec<&String> = moved.filter(|_| !exists).collect();
        let hooks = moved.iter().filter(|name| mark(name) == Some(Mark::Hook));
        let hooks: Vec<&String> = hooks.copied().collect();
        if !hooks.is_empty() {
            terminal.warning(format_args!(
                "{title} is a hook ({}): the SealedSecret becomes one, and when it is deleted after the rollout, its Secret goes with it",
                list(hooks)
            ));
        }
        let mut told = Vec::new();
        if !moved.is_empty() {
            told.push(format!("put on the SealedSecret itself: {}", list(moved)));
        }
        if !self.dropped.is_empty() {
            let dropped = list(self.dropped.iter().collect());
            told.push(format!(
                "left out, since they say whose the object is: {dropped}"
            ));
        }
        if !told.is_empty() {
            terminal.note(format_args!("{title}: {}", told.join("; ")));
        }
    }
}
