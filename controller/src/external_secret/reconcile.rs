//! Observe, decide, act: the values from the stores, the Secret, the status, then events.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::Api;
use sealkit_core::api::Reason;
use sealkit_core::api::external::{CreationPolicy, RefreshPolicy};
use tokio::time::Instant;

use super::event::event;
use super::fate::{self, Fate, fate};
use super::fetch::{Fetched, NotMade};
use super::plan::{Plan, stores_named};
use super::schedule::Slot;
use super::status::status_of;
use super::take_over::tell_of_another;
use super::template::{Rendered, rendered};
use super::{
    EXTERNAL_SECRET, ExternalSecretObject, ExternalSecrets, KIND, Known, lock, template_from,
};
use crate::kubernetes::{ApiFailure, within};
use crate::object::{Key, Version, Waiting};
use crate::queue::{LONGEST_PAUSE, Lane, Work, pause};
use crate::reconciler::Pool;
use crate::render::Contents;
use crate::secret::{Before, Desired, Last, Op, Ownership, Values, WriteError};
use crate::secret_store::StoreName;
use crate::sources::Used;
use crate::status::{self, Outcome};

/// Longest pause between two looks for a Secret that somebody else has to create: nothing tells of a
/// Secret without our label.
pub(super) const MISSING_PAUSE: Duration = Duration::from_mins(1);

/// Bytes of values from which on an object waits for a place.
const HEAVY: usize = 128 * 1024;

/// Pause before an object takes its turn again if a provider has its hands full.
const BUSY_PAUSE: Duration = Duration::from_secs(1);

/// The result of one reconcile.
pub(super) struct Done {
    pub(super) outcome: Outcome,
    pub(super) written: Option<(Version, Op)>,
    /// Retry after a growing pause of at most this.
    pub(super) retry: Option<Duration>,
    /// The next refresh.
    pub(super) next: Option<Duration>,
    pub(super) stores: Vec<StoreName>,
    /// What it reads, if versions of it can be watched.
    pub(super) newest: Vec<(StoreName, String)>,
    /// Who reads the same.
    pub(super) slot: Slot,
    pub(super) target: Option<String>,
    /// Were the values read?
    pub(super) refreshed: bool,
    /// Whose the Secret is.
    pub(super) whose: Whose,
    /// Was something left out that the store lacks?
    pub(super) lacks: bool,
}

/// Whose a Secret is that was written, or found right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    /// The source's own.
    Own,
    /// The source's own, as only marks say that anybody can set.
    Unproven,
    /// Somebody else's, who has keys of the source.
    Others,
}

impl Whose {
    pub(super) fn by(ownership: Ownership) -> Self {
        if ownership.merges() {
            Self::Others
        } else {
            Self::Own
        }
    }
}

impl Done {
    pub(super) fn without(outcome: Outcome, retry: Option<Duration>) -> Self {
        Self {
            outcome,
            written: None,
            retry,
            next: None,
            stores: Vec::new(),
            newest: Vec::new(),
            slot: Slot::default(),
            target: None,
            refreshed: false,
            whose: Whose::Own,
            lacks: false,
        }
    }

    /// Tells what was left out, which deletionPolicy Retain would have refused.
    fn without_some(mut self, missing: &[String]) -> Self {
        self.lacks = !missing.is_empty();
        if let (Outcome::Ready(_, message), Some(first)) = (&mut self.outcome, missing.first()) {
            *message += &format!(", without what the store lacks: {first}");
            if let more @ 1.. = missing.len() - 1 {
                *message += &format!(", and {more} more");
            }
        }
        self
    }

    /// The next refresh is not later than this.
    pub(super) fn before(self, next: Option<Duration>) -> Self {
        // While a provider does not answer, nothing is due.
        let is_due = self.outcome.reason() != Reason::ProviderError;
        Self {
            next: (self.next.into_iter().chain(next).min()).filter(|_| is_due),
            ..self
        }
    }

    pub(super) fn failed(error: WriteError) -> Self {
        let (outcome, retry) = error.outcome();
        Self::without(outcome, Some(retry))
    }
}

impl ExternalSecrets {
    /// Reconciles one object. `None` if there was nothing to do.
    pub(super) async fn reconciled(
        &self,
        work: Work<Key, Waiting<sealkit_core::api::external::ExternalSecret>>,
        pool: Pool,
    ) -> Result<Option<Reason>, ApiFailure> {
        let key = &work.key.clone();
        let Some(known) = self.known().get(key).cloned() else {
            return Ok(None);
        };
        let target = known.own.target.as_ref();
        let secret = target.and_then(|name| self.secret_watch.current(&key.beside(name)));
        let due = known.own.due;
        let is_settled =
            known.settled(secret.as_ref()) && due.is_none_or(|due| due > Instant::now());
        // Another trigger took the place of the next refresh in the queue.
        if let Some(due) = due.filter(|_| is_settled) {
            self.queue.push(key.clone(), Lane::Background, due, None);
        }
        if is_settled && !known.own.releases {
            return Ok(None);
        }
        let object = match &work.payload {
            Some(Waiting { object, .. })
                if object.uid() == known.uid && object.generation() == known.seen.generation =>
            {
                object.clone()
            }
            _ => {
                let client = self.context.client.clone();
                let api: Api<ExternalSecretObject> = Api::namespaced(client, &key.namespace);
                let read = within(api.get_opt(&key.name)).await?;
                let read = read.filter(|object| object.uid() == known.uid);
                let Some(object) = read else {
                    return Ok(None);
                };
                Arc::new(object)
            }
        };
        if object.is_terminating() {
            self.release_terminating(key, &object, &known).await?;
            return Ok(None);
        }
        if is_settled {
            self.release(key, &object).await;
            return Ok(None);
        }
        let renders = object.mentions("\"template\"") || object.mentions("\"rewrite\"");
        if pool == Pool::Fast && renders {
            // Whoever waits for a place to render must hold up nobody who does not.
            self.templated.hand_over(work);
            return Ok(None);
        }
        let Some(mut done) = self.act(&object, &known, work.since).await else {
            return Ok(None);
        };
        tell_of_another(&object, &known, &mut done);
        let reason = self.conclude(key, &object, &known, done).await?;
        if known.own.releases && !known.own.contested {
            self.release(key, &object).await;
        }
        Ok(Some(reason))
    }

    /// Reads the values, makes the Secret of them and writes it. If something fails, the last good
    /// Secret stays. `None` if the object belongs to another class of controllers. What the stores have
    /// is wanted since this moment.
    async fn act(
        &self,
        object: &ExternalSecretObject,
        known: &Known,
        since: Instant,
    ) -> Option<Done> {
        let plan = self.plan(object, known);
        if self.are_foreign(stores_named(&plan)) {
            self.leave(object, stores_named(&plan).to_vec());
            return None;
        }
        let plan = match plan {
            Ok(plan) => plan,
            Err((outcome, stores)) => {
                return Some(Done {
                    stores,
                    ..Done::without(outcome, None)
                });
            }
        };
        let done = match self.taken_over(object, &plan, known).await {
            None => self.still_right(&plan, known).await,
            taken => taken,
        };
        let done = if let Some(done) = done {
            let template = plan.spec.target.template.as_ref();
            let sources = template_from::sources(&plan.origin.namespace, template, &plan.target);
            self.begins(&Key::of(&object.metadata), sources);
            done
        } else {
            let done = self.refresh(object, &plan, known, since).await;
            done.before(plan.next)
        };
        Some(Done {
            newest: self.newest(&plan.spec, &plan.origin.namespace),
            slot: plan.slot,
            stores: plan.stores,
            ..done
        })
    }

    /// Leaves an object to another controller, until a store of it changes.
    fn leave(&self, object: &ExternalSecretObject, stores: Vec<StoreName>) {
        let key = Key::of(&object.metadata);
        if let Some(known) = self.known().get_mut(&key) {
            known.own.stores = stores;
            known.own.due = None;
            known.own.releases = false;
            known.handled = Some(object.asked());
        }
    }

    /// The result without a refresh, if the spec wants none and the Secret is there: with
    /// `CreatedOnce` whenever this resource has made it, without an interval if it was made from this
    /// spec before this process started.
    async fn still_right(&self, plan: &Plan, known: &Known) -> Option<Done> {
        let once = plan.spec.refresh_policy == RefreshPolicy::CreatedOnce;
        let is_first_look = known.ready && known.own.target.is_none() && !known.own.forced;
        let makes = plan.spec.target.creation_policy != CreationPolicy::None;
        if !makes || !once && (plan.next.is_some() || !is_first_look) {
            return None;
        }
        let made = self
            .secrets
            .made_from(&plan.origin, &plan.target, plan.owner());
        match made.await {
            Ok(made) => {
                let made = made.filter(|made| once || made.content == plan.content)?;
                let outcome = Outcome::Ready(Reason::Synced, fate::SYNCED.to_owned());
                Some(Done {
                    written: Some((made.version, Op::None)),
                    target: Some(plan.target.clone()),
                    whose: Whose::by(plan.owner()),
                    ..Done::without(outcome, None)
                })
            }
            // A Secret that may exist must not be refreshed.
            Err(failure) if once => Some(Done::failed(failure.into())),
            Err(_) => None,
        }
    }

    /// Reads the values and does with the Secret what the policies say.
    async fn refresh(
        &self,
        object: &ExternalSecretObject,
        plan: &Plan,
        known: &Known,
        since: Instant,
    ) -> Done {
        let (namespace, target) = (&plan.origin.namespace, &plan.spec.target);
        let fetched = self.fetch(plan, since).await;
        let Fetched { data, missing } = match fetched {
            Ok(fetched) => fetched,
            Err((outcome, retry)) => return Done::without(outcome, retry),
        };
        // What is made of many bytes takes several times as many.
        let bytes: usize = data.values().map(|value| value.len()).sum();
        let _turn = if bytes > HEAVY {
            Some(self.heavy.take(namespace).await)
        } else {
            None
        };
        let is_empty = data.is_empty();
        let fate = fate(target.creation_policy, target.deletion_policy, is_empty);
        let done = match fate {
            Fate::Stay(outcome) => {
                return Done {
                    refreshed: true,
                    ..Done::without(outcome, None)
                };
            }
            Fate::Delete => self.delete(plan.own(object, &plan.target), known).await,
            Fate::Write => match self.made(object, plan, data).await {
                Ok(made) => self
                    .write(plan.desired(object, made), known)
                    .await
                    .without_some(&missing),
                Err((outcome, retry)) => return Done::without(outcome, retry),
            },
        };
        let done = Done {
            target: Some(plan.target.clone()),
            refreshed: true,
            whose: Whose::by(plan.owner()),
            ..done
        };
        match self.remove_former(object, plan, known, &done).await {
            Ok(()) => done,
            // The former name stays on record, so that it is tried again.
            Err(error) => Done::failed(error),
        }
    }

    /// What the Secret holds: the values of the stores, through the template.
    pub(super) async fn made(
        &self,
        object: &ExternalSecretObject,
        plan: &Plan,
        data: Contents,
    ) -> Result<Rendered, NotMade> {
        let namespace = &plan.origin.namespace;
        let key = Key::of(&object.metadata);
        let Some(template) = &plan.spec.target.template else {
            self.uses(&key, Vec::new());
            return Ok(Rendered {
                data,
                labels: self.copied(object.metadata.labels.as_ref()),
                annotations: self.copied(object.metadata.annotations.as_ref()),
                secret_type: None,
            });
        };
        let sources = template_from::sources(namespace, Some(template), &plan.target);
        lock(&self.users).begin(&key, sources);
        let used = Used::default();
        let from = template_from::texts(&self.context.client, namespace, template, &used).await;
        let mut used = used.take();
        used.retain(|(source, _)| !template_from::is_target(source, &plan.target));
        self.uses(&key, used);
        let from = from?;
        let denied = &self.context.rules.deny_template_metadata;
        let made = rendered(
            &self.context.renderer,
            namespace,
            template,
            from,
            data,
            denied,
        )
        .await;
        made.map_err(|outcome| {
            let retry = matches!(outcome, Outcome::Retrying(..)).then_some(LONGEST_PAUSE);
            (outcome, retry)
        })
    }

    /// Deletes the Secret, since the store has nothing any more.
    async fn delete(&self, own: Desired, known: &Known) -> Done {
        match self.secrets.remove(&own, known.own.owned.as_deref()).await {
            Ok(op) => {
                op.count(KIND, &self.context.metrics);
                let message = fate::DELETED.to_owned();
                Done::without(Outcome::Ready(Reason::SecretDeleted, message), None)
            }
            Err(error) => Done::failed(error),
        }
    }

    /// Writes the Secret.
    async fn write(&self, mut desired: Desired, known: &Known) -> Done {
        let digest = desired.digest(&self.digests);
        let key = desired.origin.key();
        // If the write fails, it may have been done all the same: then the Secret tells.
        let last = (self.known().get_mut(&key)).and_then(|entry| entry.own.values.take());
        let is_first = !known.ready && known.synced_generation.is_none();
        desired.revision.values = Values::compared(last, digest, is_first);
        let before = Before {
            exists: known.target.is_some() || known.ready,
            // What was only merged into never became ours.
            ours: (known.own.owned.as_deref()).filter(|_| !desired.ownership.merges()),
            last: match &known.target {
                Some(target) => Last::Version(target),
                // In sync when this process started, and not looked at since.
                None if known.ready && known.own.target.is_none() => Last::Unrecorded,
                None => Last::Nothing,
            },
            synced: known.synced_generation == Some(desired.revision.generation),
        };
        match self.secrets.write(&desired, before).await {
            Ok(written) => {
                if let Some(entry) = self.known().get_mut(&key) {
                    entry.own.values = Some(digest);
                }
                written.1.count(KIND, &self.context.metrics);
                let outcome = Outcome::Ready(Reason::Synced, fate::SYNCED.to_owned());
                Done {
                    written: Some(written),
                    ..Done::without(outcome, None)
                }
            }
            Err(error) => {
                // What was refused before it was sent left the Secret as it was.
                if let Some(entry) =
                    (self.known().get_mut(&key)).filter(|_| !matches!(error, WriteError::Api(_)))
                {
                    entry.own.values = last;
                }
                Self::not_written(error)
            }
        }
    }

    /// What it means that the Secret was not written.
    fn not_written(error: WriteError) -> Done {
        match error {
            // As with External Secrets, it is no failure.
            WriteError::Missing => {
                let outcome = Outcome::Ready(Reason::SecretMissing, fate::MISSING.to_owned());
                Done {
                    next: Some(MISSING_PAUSE),
                    ..Done::without(outcome, None)
                }
            }
            error => Done::failed(error),
        }
    }

    /// Deletes the Secret of a former `target.name`, which this process or the status remembers: a
    /// status makes no Secret ours, its marks do.
    async fn remove_former(
        &self,
        object: &ExternalSecretObject,
        plan: &Plan,
        known: &Known,
        done: &Done,
    ) -> Result<(), WriteError> {
        let recorded = object
            .status
            .as_ref()
            .and_then(|status| status.binding.as_ref());
        let recorded = recorded.map(|binding| &binding.name);
        let former = known.own.target.as_ref().or(recorded);
        let former = former.filter(|former| **former != plan.target && !former.is_empty());
        let owns = plan.spec.target.creation_policy == CreationPolicy::Owner;
        let Some(former) = former.filter(|_| owns && done.outcome.is_ready()) else {
            return Ok(());
        };
        let ours = known.own.owned.as_deref();
        match self.secrets.remove(&plan.own(object, former), ours).await {
            Ok(op) => op.count(KIND, &self.context.metrics),
            // It is not ours any more.
            Err(WriteError::Conflict(_)) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Records the result in memory and in the status, publishes it, and schedules what comes next.
    async fn conclude(
        &self,
        key: &Key,
        object: &ExternalSecretObject,
        known: &Known,
        done: Done,
    ) -> Result<Reason, ApiFailure> {
        let reason = done.outcome.reason();
        if reason == Reason::ProgressingWithRetry {
            // Others wait for the same: nothing is known yet, and the status stays as it is.
            let due = Instant::now() + BUSY_PAUSE;
            self.queue.push(key.clone(), Lane::Background, due, None);
            return Ok(reason);
        }
        let old = object.status.clone().unwrap_or_default();
        let had_synced = known.synced_generation == Some(object.generation());
        let new = status_of(object, &old, had_synced, self.keeps_ours(), &done);
        // Before the status is written, since the watches may report both writes first.
        let Some(failures) = self.remember(key, object, known, &done, new.refresh_time) else {
            return Ok(reason);
        };
        let origin = object.origin(EXTERNAL_SECRET);
        let version = object.metadata.resource_version.as_deref();
        match status::write(&self.context.client, &origin, version, Some(&old), &new).await {
            // Deleted meanwhile: the watch reports it.
            Err(ApiFailure::Status { code: 404, .. }) => return Ok(reason),
            Err(failure) => {
                // The pauses grow, however good the rest was.
                if let Some(entry) = self.known().get_mut(key) {
                    entry.failures = known.failures;
                }
                return Err(failure);
            }
            Ok(_) => {}
        }
        let is_news = !status::same(&old.conditions, &new.conditions);
        let message = done.outcome.message();
        if let Some(news) = event(&done, object.generation(), is_news) {
            let events = &self.context.events;
            events.publish(&origin, news.kind, news.reason, &news.occasion, &message);
        }
        if !done.outcome.is_ready() && is_news {
            let (namespace, name, reason) = (&origin.namespace, &origin.name, reason.name());
            tracing::warn!(namespace, name, reason, "{message}");
        }
        let retry = done.retry.map(|longest| pause(failures).min(longest));
        // A failure waits no longer than the next refresh.
        if let Some(wait) = retry.into_iter().chain(done.next).min() {
            let due = Instant::now() + wait;
            self.queue.push(key.clone(), Lane::Background, due, None);
        }
        Ok(reason)
    }

    /// Records the result in memory. Returns the failures in a row; `None` if the object is gone or
    /// was created again.
    fn remember(
        &self,
        key: &Key,
        object: &ExternalSecretObject,
        known: &Known,
        done: &Done,
        refreshed: Option<Timestamp>,
    ) -> Option<u32> {
        let mut all = self.known();
        let entry = all.get_mut(key).filter(|entry| entry.uid == known.uid)?;
        let now = Instant::now();
        if let Some(target) = &done.target {
            let mut by_secret = lock(&self.by_secret);
            let old = entry.own.target.replace(target.clone());
            if let Some(old) = old.filter(|old| old != target) {
                by_secret.remove(&key.beside(&old));
            }
            by_secret.insert(key.beside(target), key.clone());
        }
        entry.own.told = entry.own.told.max(refreshed);
        entry.own.contested = false;
        entry.own.stores.clone_from(&done.stores);
        entry.own.newest.clone_from(&done.newest);
        entry.own.slot = done.slot;
        if done.outcome.reason() == Reason::SecretDeleted {
            entry.target = None;
            entry.own.owned = None;
        }
        if let Some((written, op)) = &done.written {
            entry.target = Some(written.clone());
            entry.own.owned = Some(written.uid.clone()).filter(|_| done.whose == Whose::Own);
            if *op != Op::None && known.synced_generation == Some(object.generation()) {
                entry.healed(now);
            }
        }
        entry.ready = done.outcome.is_ready();
        entry.own.due = done.next.map(|next| now + next);
        if entry.ready {
            entry.synced_generation = Some(object.generation());
        }
        // If a store changed meanwhile, another reconcile is queued.
        if entry.epoch == known.epoch {
            entry.own.forced = false;
            entry.handled = Some(object.asked());
        }
        entry.failures = match done.retry {
            Some(_) => entry.failures.saturating_add(1),
            None => 0,
        };
        Some(entry.failures)
    }
}
