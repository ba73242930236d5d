//! What the status of an object says that this process did not see before. An object in sync that is
//! not due needs no reconcile at a start, and its store no call.

use std::time::{Duration, SystemTime};

use sealkit_core::api::external::{ExternalSecretSpec, ExternalSecretStatus};
use sealkit_core::api::{ConditionStatus, ConditionType};
use tokio::time::Instant;

use super::fetch::stores_of;
use super::schedule::Slot;
use super::status::version_of;
use super::template_from::sources;
use super::{ExternalSecretObject, Known, Refresh, schedule};
use crate::object::Version;
use crate::secret_store::StoreName;
use crate::status;

/// Remembers an object from its status. A status makes no Secret ours: its marks do. `newest` says what
/// is remembered of its spec.
pub(super) fn recall(
    object: &ExternalSecretObject,
    now: SystemTime,
    newest: impl FnOnce(&ExternalSecretSpec, &str) -> Vec<(StoreName, String)>,
) -> Known {
    let known = Known {
        uid: object.uid().to_owned(),
        own: Refresh {
            told: object
                .status
                .as_ref()
                .and_then(|status| status.refresh_time),
            ..Refresh::default()
        },
        ..Known::default()
    };
    let Some(status) = object
        .status
        .as_ref()
        .filter(|status| is_ready(object, status))
    else {
        return known;
    };
    let known = Known {
        synced_generation: Some(object.generation()),
        ready: true,
        ..known
    };
    let is_unchanged = status.synced_resource_version == version_of(object);
    let Ok(spec) = serde_json::from_value::<ExternalSecretSpec>(object.spec().value) else {
        return known;
    };
    let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
    let stores = stores_of(&spec, namespace);
    let own = Refresh {
        newest: newest(&spec, namespace),
        ..known.own
    };
    let known = Known { own, ..known };
    let (Some(target), true) = (&status.target, is_unchanged) else {
        return known;
    };
    let due = match due(&spec, &stores, status, now) {
        Due::Never => None,
        Due::In(wait) => Some(Instant::now() + wait),
        Due::Now => return known,
    };
    Known {
        handled: Some(object.asked()),
        target: Some(Version {
            uid: target.uid.clone(),
            resource_version: target.resource_version.clone(),
        }),
        own: Refresh {
            due,
            sources: sources(namespace, spec.target.template.as_ref(), &target.name),
            stores,
            target: Some(target.name.clone()),
            ..known.own
        },
        ..known
    }
}

fn is_ready(object: &ExternalSecretObject, status: &ExternalSecretStatus) -> bool {
    let is_observed = match status.observed_generation {
        Some(observed) => observed == object.generation(),
        None => status.synced_resource_version == version_of(object),
    };
    is_observed
        && status::find(&status.conditions, ConditionType::Ready)
            .is_some_and(|ready| ready.status == ConditionStatus::True)
}

/// When the next refresh is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    /// Only a change needs one.
    Never,
    /// After so long.
    In(Duration),
    /// One was missed, or the status does not tell.
    Now,
}

fn due(
    spec: &ExternalSecretSpec,
    stores: &[StoreName],
    status: &ExternalSecretStatus,
    now: SystemTime,
) -> Due {
    let interval = match schedule::interval(spec) {
        Ok(Some(interval)) => interval,
        Ok(None) => return Due::Never,
        Err(_) => return Due::Now,
    };
    let left = || {
        let refreshed = SystemTime::from(status.refresh_time?);
        let due = refreshed + slot(spec, stores).next(interval, refreshed);
        // A clock that went back proves nothing.
        let left = due.duration_since(now).ok();
        left.filter(|left| *left <= interval)
    };
    left().map_or(Due::Now, Due::In)
}

/// Who shares a refresh: those that read the same key of a store.
pub(super) fn slot(spec: &ExternalSecretSpec, stores: &[StoreName]) -> Slot {
    let first = spec.data.first().map(|entry| &entry.remote_ref.key);
    Slot::of(&(stores.first(), first))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use sealkit_core::api::external::RefreshPolicy;

    use super::*;

    #[test]
    fn a_start_refreshes_only_what_is_due() {
        let spec = |interval: &str, policy| ExternalSecretSpec {
            refresh_interval: interval.to_owned(),
            refresh_policy: policy,
            ..ExternalSecretSpec::default()
        };
        let at = |second: i64| Timestamp::from_second(1_800_000_000 + second).unwrap();
        let left = |interval: &str, policy, refreshed: Option<i64>, now: i64| {
            let status = ExternalSecretStatus {
                refresh_time: refreshed.map(at),
                ..ExternalSecretStatus::default()
            };
            due(&spec(interval, policy), &[], &status, at(now).into())
        };
        let hour = |refreshed, now| left("1h", RefreshPolicy::Periodic, refreshed, now);
        let Due::In(first) = hour(Some(0), 0) else {
            panic!("it is due within the hour");
        };
        assert!(!first.is_zero() && first <= Duration::from_hours(1));
        let second = i64::try_from(first.as_secs()).unwrap();
        assert!(matches!(hour(Some(0), second - 1), Due::In(_)));
        assert_eq!(hour(Some(0), second + 1), Due::Now, "a refresh was missed");
        assert_eq!(hour(Some(10_000), 0), Due::Now, "from the future");
        assert_eq!(hour(None, 0), Due::Now);
        assert_eq!(left("0", RefreshPolicy::Periodic, None, 0), Due::Never);
        assert_eq!(left("1h", RefreshPolicy::OnChange, None, 0), Due::Never);
    }
}
