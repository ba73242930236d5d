//! What a running External Secrets leaves: objects in sync that nobody reads or writes again before
//! they are due, and finalizers that would hold up deletions. And how to see that it still runs.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use sealkit_core::api::external::{
    CreationPolicy, ESO_FINALIZER, ExternalSecretSpec, ExternalSecretStatus, RefreshPolicy, rules,
};
use sealkit_core::api::{ConditionType, Reason};
use tokio::time::Instant;

use super::fetch::stores_of;
use super::plan::{Plan, read};
use super::reconcile::{Done, MISSING_PAUSE, Whose};
use super::status::version_of;
use super::{EXTERNAL_SECRET, ExternalSecretObject, ExternalSecrets, Known, fate};
use crate::kubernetes::{self, ApiFailure};
use crate::object::Key;
use crate::queue::Lane;
use crate::secret::{Left, Op, Ownership};
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
        // Whatever asked for a refresh since ends the first look.
        let is_first_look =
            known.ready && known.own.target.is_none() && !known.own.forced && known.epoch == 0;
        let status = object.status.as_ref()?;
        let is_of_this = status.synced_resource_version == version_of(object);
        let answers = once || is_first_look && is_of_this;
        if !self.context.rules.take_over || !answers {
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
        // What is made once is never made again, whatever its status says.
        let told = told(status).or(once.then_some(Told::Synced(fate::SYNCED)))?;
        let (outcome, written) = match (told, left) {
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
            whose: match plan.owner() {
                // Its owner reference was looked at.
                Ownership::Owner => Whose::Own,
                Ownership::Orphan => Whose::Unproven,
                Ownership::Merge | Ownership::CreateOrMerge => Whose::Others,
            },
            ..Done::without(outcome, None)
        })
    }

    async fn exists(&self, plan: &Plan) -> bool {
        let (namespace, target) = (&plan.origin.namespace, &plan.target);
        // A Secret that may exist is looked at.
        self.secrets.exists(namespace, target).await.unwrap_or(true)
    }

    /// Removes the finalizer of External Secrets. What fails is tried again, and hinders nothing else.
    pub(super) async fn release(&self, key: &Key, object: &ExternalSecretObject) {
        if !self.is_to_release(object) || !self.serves(object) {
            self.released(key);
            return;
        }
        if let Err(failure) = self.remove_finalizer(key, object).await {
            let Key { namespace, name } = key;
            let what = "cannot remove the finalizer of External Secrets: is there the right patch on \
                        externalsecrets?";
            tracing::warn!(namespace, name, "{what} {failure}");
            let due = Instant::now() + MISSING_PAUSE;
            self.queue.push(key.clone(), Lane::Background, due, None);
        }
    }

    /// The same for an object that is being deleted. A controller that wrote its status of late may
    /// have to do something first.
    pub(super) async fn release_terminating(
        &self,
        key: &Key,
        object: &ExternalSecretObject,
        known: &Known,
    ) -> Result<(), ApiFailure> {
        let names_foreign = spec_of(object).is_some_and(|spec| self.names_foreign(&spec, object));
        if !self.is_to_release(object) || names_foreign {
            return Ok(());
        }
        if known.own.contested {
            if let Some(known) = self.known().get_mut(key) {
                known.own.contested = false;
            }
            let due = Instant::now() + MISSING_PAUSE;
            self.queue.push(key.clone(), Lane::Background, due, None);
            return Ok(());
        }
        self.remove_finalizer(key, object).await
    }

    async fn remove_finalizer(
        &self,
        key: &Key,
        object: &ExternalSecretObject,
    ) -> Result<(), ApiFailure> {
        let (client, path) = (&self.context.client, object.origin(EXTERNAL_SECRET).path());
        kubernetes::remove_finalizer(client, &path, ESO_FINALIZER).await?;
        self.released(key);
        Ok(())
    }

    fn released(&self, key: &Key) {
        if let Some(known) = self.known().get_mut(key) {
            known.own.releases = false;
        }
    }

    /// Has it a finalizer that is to be removed?
    pub(super) fn is_to_release(&self, object: &ExternalSecretObject) -> bool {
        let mut finalizers = object.metadata.finalizers.iter().flatten();
        self.context.rules.take_over && finalizers.any(|name| name == ESO_FINALIZER)
    }

    /// Is it an object that this controller serves, and not one for External Secrets?
    fn serves(&self, object: &ExternalSecretObject) -> bool {
        spec_of(object).is_some_and(|spec| {
            rules::unserved(&spec).is_none() && !self.names_foreign(&spec, object)
        })
    }

    /// Does it name a store of another class of controllers?
    fn names_foreign(&self, spec: &ExternalSecretSpec, object: &ExternalSecretObject) -> bool {
        let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
        self.are_foreign(&stores_of(spec, namespace))
    }
}

fn spec_of(object: &ExternalSecretObject) -> Option<ExternalSecretSpec> {
    read(object.spec().value).ok()
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
