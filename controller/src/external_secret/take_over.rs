//! What a running External Secrets leaves: objects in sync that nobody reads or writes again before
//! they are due, and finalizers that would hold up deletions. And how to see that it still runs.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use sealkit_core::api::external::{
    CreationPolicy, ESO_FINALIZER, ExternalSecretStatus, RefreshPolicy,
};
use sealkit_core::api::{ConditionType, Reason};

use super::plan::Plan;
use super::reconcile::{Done, MISSING_PAUSE};
use super::{EXTERNAL_SECRET, ExternalSecretObject, ExternalSecrets, Known, fate};
use crate::kubernetes::{self, ApiFailure};
use crate::object::Key;
use crate::secret::{Left, Op};
use crate::status::{self, Outcome};

/// What the status adds while somebody else writes it too.
const CONTESTED: &str = "; another controller writes the status of this object too: stop it, or keep \
                         its stores to one class";

impl ExternalSecrets {
    /// The result without a refresh, if External Secrets left the object in sync and it is not due.
    /// What is made once stays as it is, whenever External Secrets made it.
    pub(super) async fn taken_over(
        &self,
        object: &ExternalSecretObject,
        plan: &Plan,
        known: &Known,
    ) -> Option<Done> {
        let once = plan.spec.refresh_policy == RefreshPolicy::CreatedOnce;
        let is_first_look = known.ready && known.own.target.is_none() && !known.own.forced;
        let status = object.status.as_ref()?;
        if !self.context.rules.take_over || !is_first_look && !once {
            return None;
        }
        let next = until_due(plan.interval, status, SystemTime::now())?;
        let creation = plan.spec.target.creation_policy;
        let left = if creation == CreationPolicy::None {
            None
        } else {
            let owner = plan.owner();
            let left = self.secrets.left(&plan.origin, &plan.target, owner).await;
            match left {
                Ok(left) => left,
                // A Secret that may exist must not be made again.
                Err(failure) if once => return Some(Done::failed(failure.into())),
                Err(_) => return None,
            }
        };
        let ready = |reason, message: &str| Outcome::Ready(reason, message.to_owned());
        let (outcome, written) = match (told(status)?, left) {
            (Told::Synced(message), _) if creation == CreationPolicy::None => {
                (ready(Reason::Synced, message), None)
            }
            (Told::Synced(message), Some(Left { version, is_intact })) if is_intact || once => {
                (ready(Reason::Synced, message), Some((version, Op::None)))
            }
            (Told::Deleted, None) => (ready(Reason::SecretDeleted, fate::DELETED), None),
            // Nothing tells when somebody makes it: it is looked for again.
            (Told::Missing, None) if !self.exists(plan).await => {
                let outcome = ready(Reason::SecretMissing, fate::MISSING);
                return Some(
                    Done::without(outcome, None)
                        .before(next)
                        .before(Some(MISSING_PAUSE)),
                );
            }
            _ => return None,
        };
        Some(Done {
            target: written.as_ref().map(|_| plan.target.clone()),
            written,
            next,
            merged: plan.owner().merges(),
            ..Done::without(outcome, None)
        })
    }

    async fn exists(&self, plan: &Plan) -> bool {
        let (namespace, target) = (&plan.origin.namespace, &plan.target);
        // A Secret that may exist is looked at.
        self.secrets.exists(namespace, target).await.unwrap_or(true)
    }

    /// Removes the finalizer of External Secrets, if the object has it and nobody else serves it.
    pub(super) async fn release(
        &self,
        key: &Key,
        object: &ExternalSecretObject,
    ) -> Result<(), ApiFailure> {
        if !self.is_to_release(object) || self.is_contested(key) {
            return Ok(());
        }
        let origin = object.origin(EXTERNAL_SECRET);
        let (namespace, name) = (&origin.namespace, &origin.name);
        match kubernetes::remove_finalizer(&self.context.client, &origin.path(), ESO_FINALIZER)
            .await
        {
            Ok(()) => {
                tracing::info!(namespace, name, "removed the finalizer of External Secrets");
                Ok(())
            }
            // The right may come later: it is tried again.
            Err(failure) if failure.code() == 403 => {
                let right = "patch on externalsecrets";
                let what = "cannot remove the finalizer of External Secrets without the right";
                tracing::warn!(namespace, name, "{what} {right}: {failure}");
                Err(failure)
            }
            Err(failure) => Err(failure),
        }
    }

    /// Has it a finalizer that is to be removed?
    pub(super) fn is_to_release(&self, object: &ExternalSecretObject) -> bool {
        let mut finalizers = object.metadata.finalizers.iter().flatten();
        self.context.rules.take_over && finalizers.any(|name| name == ESO_FINALIZER)
    }

    fn is_contested(&self, key: &Key) -> bool {
        self.known()
            .get(key)
            .is_some_and(|known| known.own.contested)
    }
}

/// Adds to an outcome that somebody else serves the object too, and tells it.
pub(super) fn tell_of_another(object: &ExternalSecretObject, known: &Known, done: &mut Done) {
    if !known.own.contested {
        return;
    }
    match &mut done.outcome {
        Outcome::Ready(_, message)
        | Outcome::Retrying(_, message)
        | Outcome::Stalled(_, message) => message.push_str(CONTESTED),
    }
    let origin = object.origin(EXTERNAL_SECRET);
    let (namespace, name) = (&origin.namespace, &origin.name);
    tracing::warn!(namespace, name, "{}", CONTESTED.trim_start_matches("; "));
}

impl Known {
    /// Observes when the status says that the object was refreshed. If it is later than this process
    /// knows of, another controller refreshes it too.
    pub(super) fn observe_refresh(&mut self, status: Option<&ExternalSecretStatus>) {
        let seen = status.and_then(|status| status.refresh_time);
        if seen > self.own.told {
            self.own.contested = true;
            self.own.told = seen;
        }
    }
}

/// What the status that External Secrets left says of an object that is Ready.
enum Told {
    /// There is a Secret, or none is wanted; the message.
    Synced(&'static str),
    /// The Secret was deleted.
    Deleted,
    /// There is no Secret to merge into.
    Missing,
}

fn told(status: &ExternalSecretStatus) -> Option<Told> {
    let ready = status::find(&status.conditions, ConditionType::Ready)?;
    match ready.reason.as_str() {
        "SecretSynced" if ready.message == fate::RETAINED => Some(Told::Synced(fate::RETAINED)),
        "SecretSynced" => Some(Told::Synced(fate::SYNCED)),
        "SecretDeleted" => Some(Told::Deleted),
        "SecretMissing" => Some(Told::Missing),
        _ => None,
    }
}

/// How long until External Secrets would have refreshed: `Some(None)` if only a change would have made
/// it, `None` if it is due.
#[allow(clippy::option_option)]
fn until_due(
    interval: Option<Duration>,
    status: &ExternalSecretStatus,
    now: SystemTime,
) -> Option<Option<Duration>> {
    if status.synced_resource_version.is_empty() {
        return None;
    }
    let Some(interval) = interval else {
        return Some(None);
    };
    let refreshed: Timestamp = status.refresh_time?;
    let left = (SystemTime::from(refreshed) + interval)
        .duration_since(now)
        .ok()?;
    // A clock that went back proves nothing.
    (left <= interval && !left.is_zero()).then_some(Some(left))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_due_when_external_secrets_would_have_refreshed_it() {
        let at = |second: i64| Timestamp::from_second(1_800_000_000 + second).unwrap();
        let until = |interval: Option<u64>, refreshed: Option<i64>, now: i64| {
            let status = ExternalSecretStatus {
                refresh_time: refreshed.map(at),
                synced_resource_version: "1-x".to_owned(),
                ..ExternalSecretStatus::default()
            };
            until_due(interval.map(Duration::from_secs), &status, at(now).into())
        };
        let seconds = |seconds| Some(Some(Duration::from_secs(seconds)));
        assert_eq!(until(Some(3600), Some(0), 10), seconds(3590));
        assert_eq!(until(Some(3600), Some(0), 3600), None);
        assert_eq!(until(Some(3600), Some(100), 0), None, "from the future");
        assert_eq!(until(Some(3600), None, 0), None);
        assert_eq!(until(None, None, 0), Some(None));
        let never = ExternalSecretStatus::default();
        assert_eq!(until_due(None, &never, at(0).into()), None, "never synced");
    }

    #[test]
    fn a_refresh_that_this_process_did_not_make_is_noticed() {
        let at = |second| ExternalSecretStatus {
            refresh_time: Some(Timestamp::from_second(second).unwrap()),
            ..ExternalSecretStatus::default()
        };
        let mut known = Known::default();
        known.own.told = at(10).refresh_time;
        known.observe_refresh(None);
        known.observe_refresh(Some(&at(9)));
        known.observe_refresh(Some(&at(10)));
        assert!(!known.own.contested, "an echo");
        known.observe_refresh(Some(&at(11)));
        assert!(known.own.contested);
    }
}
