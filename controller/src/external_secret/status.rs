//! The status of an ExternalSecret: decided from what was done; pure.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use sealkit_core::api::TargetStatus;
use sealkit_core::api::external::{Binding, ExternalSecretStatus, synced_resource_version};

use super::ExternalSecretObject;
use super::reconcile::{Done, Whose};
use crate::secret::Op;
use crate::status;

/// How long the status may tell an older refresh.
const STATUS_AT_LEAST: Duration = Duration::from_mins(55);

/// The status that tells what was done. What did not change is as it was. Where External Secrets' own
/// definition is installed, the API server drops what only ours has, and `keeps_ours` is false.
pub(super) fn status_of(
    object: &ExternalSecretObject,
    old: &ExternalSecretStatus,
    had_synced: bool,
    keeps_ours: bool,
    done: &Done,
) -> ExternalSecretStatus {
    let (generation, now) = (object.generation(), Timestamp::now());
    let mut conditions =
        status::external_conditions(&done.outcome, generation, had_synced, &old.conditions, now);
    // Ours begins with a generation.
    let keeps_ours = keeps_ours || old.observed_generation.is_some();
    if !keeps_ours {
        conditions
            .iter_mut()
            .for_each(|condition| condition.observed_generation = None);
    }
    let is_same = status::same(&conditions, &old.conditions);
    let is_old = |then: Timestamp| {
        Duration::try_from(now.duration_since(then)).is_ok_and(|age| age >= STATUS_AT_LEAST)
    };
    let changed = done.written.as_ref().is_some_and(|(_, op)| *op != Op::None);
    let tells = done.outcome.is_ready()
        && done.refreshed
        && (changed || !is_same || old.refresh_time.is_none_or(is_old));
    ExternalSecretStatus {
        observed_generation: keeps_ours.then_some(generation),
        refresh_time: if tells {
            Some(Timestamp::from_second(now.as_second()).unwrap_or(now))
        } else {
            old.refresh_time
        },
        synced_resource_version: if tells {
            version_of(object)
        } else {
            old.synced_resource_version.clone()
        },
        binding: match (&done.written, &done.target) {
            (Some(_), Some(target)) => Some(Binding {
                name: target.clone(),
            }),
            _ => old.binding.clone(),
        },
        target: match (&done.written, &done.target) {
            _ if !keeps_ours => None,
            (Some((version, _)), Some(target)) => Some(TargetStatus {
                name: target.clone(),
                uid: version.uid.clone(),
                resource_version: version.resource_version.clone(),
                merged: done.whose == Whose::Others,
            }),
            _ if done.outcome.is_ready() => None,
            _ => old.target.clone(),
        },
        conditions: if is_same {
            old.conditions.clone()
        } else {
            conditions
        },
    }
}

/// What External Secrets calls the version of a resource: its generation, labels and annotations.
pub(super) fn version_of(object: &ExternalSecretObject) -> String {
    let (none, meta) = (BTreeMap::new(), &object.metadata);
    synced_resource_version(
        object.generation(),
        meta.annotations.as_ref().unwrap_or(&none),
        meta.labels.as_ref().unwrap_or(&none),
    )
}
