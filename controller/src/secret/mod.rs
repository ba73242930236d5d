//! The only place that watches and writes Secrets. A Secret is created, patched to exactly what its
//! source says, or replaced where Kubernetes allows no patch; or keys are merged into a Secret of
//! somebody else. Every write of an existing Secret carries its resourceVersion, so that a writer
//! that lost its lease can do no harm. A create has no version to carry, and is taken back if the
//! source has changed meanwhile.

mod desired;
mod forecast;
mod freeze;
mod left;
mod merge;
mod plan;
mod size;
mod watch;

use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, Preconditions};
use kube::{Api, Client};
use sealkit_core::api::Reason;
use sealkit_core::manifest;

use crate::kubernetes::{self, ApiFailure, Refuser};
use crate::object::{Origin, Version};
use crate::queue::LONGEST_PAUSE;
use crate::status::Outcome;
use crate::telemetry::{KindOp, Metrics};

use desired::Marks;
pub use desired::{
    Consent, Desired, MANAGED_LABEL, Ownership, Revision, Rights, Values, values_of,
};
pub use forecast::Change;
pub use freeze::Freeze;
pub use left::Left;
use merge::{MergePlan, created, field_manager, plan_merge};
use plan::{Plan, is_newer, plan};
pub use watch::{SecretListener, SecretWatch};

/// What was done to a Secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// It did not exist.
    Create,
    /// It differed.
    Patch,
    /// It differed in fields that nobody can change.
    Replace,
    /// Keys were added to, or removed from, a Secret of somebody else.
    Merge,
    /// Its source wants none.
    Delete,
    /// Nothing: it was right.
    None,
}

impl Op {
    /// The word in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Patch => "patch",
            Self::Replace => "replace",
            Self::Merge => "merge",
            Self::Delete => "delete",
            Self::None => "none",
        }
    }
}

impl Op {
    /// Counts it for this kind of source, if anything was done.
    pub fn count(self, kind: &'static str, metrics: &Metrics) {
        if self != Self::None {
            let label = KindOp {
                kind,
                op: self.name(),
            };
            metrics.target_writes.get_or_create(&label).inc();
        }
    }
}

/// Why a Secret was not written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteError {
    /// The Secret belongs to somebody else.
    Conflict(String),
    /// No Secret exists to merge into.
    Missing,
    /// It is immutable, and holds something else.
    Immutable,
    /// It would be too large.
    TooLarge(String),
    /// The API server refused or did not answer.
    Api(ApiFailure),
}

impl From<ApiFailure> for WriteError {
    fn from(failure: ApiFailure) -> Self {
        Self::Api(failure)
    }
}

/// Longest pause between two reads of a Secret that somebody else has to create.
const MISSING_PAUSE: Duration = Duration::from_secs(15);

impl WriteError {
    /// What it means for the source, and the longest pause until it is tried again.
    pub fn outcome(self) -> (Outcome, Duration) {
        match self {
            // A Secret without our label is not watched, so nothing else triggers a retry.
            Self::Conflict(why) => (Outcome::Stalled(Reason::TargetConflict, why), LONGEST_PAUSE),
            // Nor does a Secret that does not exist.
            Self::Missing => {
                let message = "no Secret of this name exists to merge into".to_owned();
                (Outcome::Retrying(Reason::NotFound, message), MISSING_PAUSE)
            }
            Self::Immutable => {
                let message = "secret is immutable: delete the Secret to have it made again";
                let outcome = Outcome::Stalled(Reason::TargetWriteFailed, message.to_owned());
                (outcome, LONGEST_PAUSE)
            }
            Self::TooLarge(why) => {
                let message = format!("the Secret would be too large: {why}");
                let outcome = Outcome::Stalled(Reason::TargetWriteFailed, message);
                (outcome, LONGEST_PAUSE)
            }
            Self::Api(failure) => (write_failure(&failure), LONGEST_PAUSE),
        }
    }
}

fn write_failure(failure: &ApiFailure) -> Outcome {
    let message = format!("could not write the Secret: {failure}");
    match failure.code() {
        403 if failure.refuser().is_none() => Outcome::Retrying(Reason::AccessDenied, message),
        // 400 and 422: the API server will never accept it.
        400 | 422 => Outcome::Stalled(Reason::TargetWriteFailed, message),
        _ => Outcome::Retrying(Reason::TargetWriteFailed, message),
    }
}

/// How long a quota may take to see that a Secret was deleted.
const ROOM: Duration = Duration::from_secs(20);
/// Between two tries meanwhile.
const ROOM_PAUSE: Duration = Duration::from_millis(200);

/// How often a write is planned again, because somebody changed the Secret meanwhile or because the
/// plan was one step of several.
const TRIES: usize = 3;

/// What is known of the Secret before it is written.
#[derive(Clone, Copy, Debug, Default)]
pub struct Before<'a> {
    /// Does it probably exist? It is only a hint: if not, the Secret is first created without a
    /// read, which is faster for new objects.
    pub exists: bool,
    /// The UID of the Secret that this process wrote for the source, or found to be made from it.
    pub ours: Option<&'a str>,
    /// What was last written for the source.
    pub last: Last<'a>,
    /// Was the source's present generation written before?
    pub synced: bool,
}

/// The Secret that was last written for a source, as this process or the source's status recorded
/// it. Whoever creates a Secret can give it all our marks and a guess of a value, but not a version
/// that is on record: only a Secret of that version may turn out to need no write.
#[derive(Clone, Copy, Debug, Default)]
pub enum Last<'a> {
    /// None.
    #[default]
    Nothing,
    /// Exactly this version.
    Version(&'a Version),
    /// One whose version no status records, written by an earlier process.
    Unrecorded,
}

impl Last<'_> {
    fn is(self, current: &Version) -> bool {
        match self {
            Self::Nothing => false,
            Self::Version(last) => last == current,
            Self::Unrecorded => true,
        }
    }

    fn has_uid(self, uid: &str) -> bool {
        match self {
            Self::Nothing => false,
            Self::Version(last) => last.uid == uid,
            Self::Unrecorded => true,
        }
    }
}

/// A Secret as its marks describe it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// Its version.
    pub version: Version,
    /// The fingerprint of the public text that it was made from.
    pub content: String,
}

/// Writes Secrets.
#[derive(Clone)]
pub struct Secrets {
    client: Client,
    freeze: Arc<Freeze>,
}

impl Secrets {
    /// Uses this client; one for all reconcilers.
    pub fn new(client: Client, freeze: Arc<Freeze>) -> Self {
        Self { client, freeze }
    }

    /// Writes a Secret. After a merge, [`Before::ours`] must be absent: a Secret that was only merged
    /// into never became ours.
    pub async fn write(
        &self,
        desired: &Desired,
        before: Before<'_>,
    ) -> Result<(Version, Op), WriteError> {
        if let Some(why) = size::too_large(desired) {
            return Err(WriteError::TooLarge(why));
        }
        if !before.exists && !desired.ownership.merges() {
            match self.create_once(desired).await {
                // A quota that is full, or a policy on new Secrets, does not concern one that exists.
                Err(failure) if failure.is_already_exists() || failure.is_refusal() => {}
                result => return Ok((result?, Op::Create)),
            }
        }
        let mut tries = 1;
        loop {
            match self.write_existing(desired, before).await {
                // Somebody changed the Secret between the read and the write. The plan answers, not
                // the server: whether it sees a field conflict can depend on a value.
                Err(WriteError::Api(failure))
                    if (failure.is_outdated() || failure.is_field_conflict()) && tries < TRIES =>
                {
                    tries += 1;
                }
                Err(WriteError::Api(failure)) if failure.is_field_conflict() => {
                    let why = "somebody else manages fields of the Secret";
                    let name = &desired.name;
                    return Err(WriteError::Conflict(format!("{why} {name}: {failure}")));
                }
                result => return result,
            }
        }
    }

    /// Deletes the Secret of this source, exactly as it is now. Errors with [`WriteError::Conflict`]
    /// if it belongs to somebody else.
    pub async fn remove(&self, desired: &Desired, ours: Option<&str>) -> Result<Op, WriteError> {
        let api = self.api(desired);
        let existing = kubernetes::within(api.get_opt(&desired.name)).await?;
        let Some(mut existing) = existing else {
            return Ok(Op::None);
        };
        let before = Before {
            ours,
            ..Before::default()
        };
        let plan = plan(&existing, desired, before);
        kubernetes::wipe_secret(&mut existing);
        if let Plan::Conflict(why) = plan {
            return Err(WriteError::Conflict(why));
        }
        if !self.is_current(desired).await? {
            return Err(outdated().into());
        }
        self.delete(desired, Version::of(&existing.metadata))
            .await?;
        Ok(Op::Delete)
    }

    /// Reads, plans and writes.
    async fn write_existing(
        &self,
        desired: &Desired,
        before: Before<'_>,
    ) -> Result<(Version, Op), WriteError> {
        let api = self.api(desired);
        let existing = kubernetes::within(api.get_opt(&desired.name)).await?;
        let Some(mut existing) = existing else {
            if desired.ownership == Ownership::Merge {
                return Err(WriteError::Missing);
            }
            return Ok((self.create_once(desired).await?, Op::Create));
        };
        if is_newer(&existing, desired) && !self.is_current(desired).await? {
            kubernetes::wipe_secret(&mut existing);
            return Err(outdated().into());
        }
        if desired.ownership.merges() {
            let plan = plan_merge(&existing, desired);
            kubernetes::wipe_secret(&mut existing);
            return self.merge(desired, plan).await;
        }
        let plan = plan(&existing, desired, before);
        kubernetes::wipe_secret(&mut existing);
        match plan {
            Plan::InSync(written) => Ok((written, Op::None)),
            Plan::Conflict(why) => Err(WriteError::Conflict(why)),
            Plan::Frozen => Err(WriteError::Immutable),
            Plan::Patch(mut patch) => {
                let meta = kubernetes::merge_patch(&self.client, &path(desired), &patch).await;
                manifest::wipe(&mut patch);
                Ok((Version::of(&meta?.metadata), Op::Patch))
            }
            Plan::Replace {
                uid,
                resource_version,
            } => {
                let old = Version {
                    uid,
                    resource_version,
                };
                Ok((self.replace(desired, old).await?, Op::Replace))
            }
        }
    }

    /// Deletes exactly this Secret and creates the wanted one.
    async fn replace(&self, desired: &Desired, old: Version) -> Result<Version, ApiFailure> {
        // A dry run of the new Secret comes before the delete: if the server refuses it, the last
        // good one stays. Validation and admission run before the name is looked up.
        let trial = format!("{}?dryRun=All", collection(desired));
        match self.create(desired, &trial).await {
            // The old Secret counts as one of the quota, and makes room for the new one.
            Err(failure) if matches!(failure.refuser(), Some(Refuser::Quota { just_full, .. }) if *just_full) =>
                {}
            Err(failure) if !failure.is_already_exists() => return Err(failure),
            _ => {}
        }
        self.delete(desired, old).await?;
        let end = Instant::now() + ROOM;
        loop {
            match self.create_once(desired).await {
                // The quota counts again only after it has seen the delete.
                Err(failure)
                    if matches!(failure.refuser(), Some(Refuser::Quota { .. }))
                        && Instant::now() < end =>
                {
                    tokio::time::sleep(ROOM_PAUSE).await;
                }
                result => return result,
            }
        }
    }

    async fn merge(&self, desired: &Desired, plan: MergePlan) -> Result<(Version, Op), WriteError> {
        let mut body = match plan {
            MergePlan::InSync(written) => return Ok((written, Op::None)),
            MergePlan::Conflict(why) => return Err(WriteError::Conflict(why)),
            MergePlan::Upgrade(patch) => {
                kubernetes::merge_patch(&self.client, &path(desired), &patch).await?;
                // The plan is outdated now: the caller plans again.
                return Err(outdated().into());
            }
            MergePlan::Apply(body) => body,
        };
        let written = self
            .apply(desired, &body, desired.rights == Rights::Wide)
            .await;
        manifest::wipe(&mut body);
        Ok((written?, Op::Merge))
    }

    /// Applies fields under the field manager of the source, with force if it may take fields of
    /// somebody else.
    async fn apply(
        &self,
        desired: &Desired,
        body: &serde_json::Value,
        force: bool,
    ) -> Result<Version, ApiFailure> {
        let manager = field_manager(&desired.origin);
        let path = format!("{}?fieldManager={manager}&force={force}", path(desired));
        let answer = kubernetes::apply(&self.client, &path, body).await?;
        Ok(Version::of(&answer.metadata))
    }

    /// The Secret of this name, if its marks say that this very source made it, or merged into it.
    /// Whoever may write the Secret can write the marks.
    pub async fn made_from(
        &self,
        origin: &Origin,
        name: &str,
        ownership: Ownership,
    ) -> Result<Option<Made>, ApiFailure> {
        let path = format!("/api/v1/namespaces/{}/secrets/{name}", origin.namespace);
        let meta = match kubernetes::read(&self.client, &path).await {
            Ok(answer) => answer.metadata,
            Err(ApiFailure::Status { code: 404, .. }) => return Ok(None),
            Err(failure) => return Err(failure),
        };
        let marks = Marks::of(origin, ownership);
        let annotation = |name: &String| meta.annotations.as_ref()?.get(name);
        let is_made = annotation(&marks.source) == Some(&origin.marker());
        Ok(is_made.then(|| Made {
            version: Version::of(&meta),
            content: annotation(&marks.content).cloned().unwrap_or_default(),
        }))
    }

    /// Is the source unchanged? A process that lost its lease while it slept wakes with old values,
    /// but reads the newest versions.
    async fn is_current(&self, desired: &Desired) -> Result<bool, ApiFailure> {
        let origin = &desired.origin;
        match kubernetes::read(&self.client, &origin.path()).await {
            Ok(meta) => Ok(meta.metadata.uid.as_ref() == Some(&origin.uid)
                && meta.metadata.generation == Some(desired.revision.generation)),
            Err(ApiFailure::Status { code: 404, .. }) => Ok(false),
            Err(failure) => Err(failure),
        }
    }

    /// Creates the Secret if the source has not changed. A process that was frozen checks before
    /// and after: the freeze may come between the check and the create.
    async fn create_once(&self, desired: &Desired) -> Result<Version, ApiFailure> {
        if self.freeze.suspected() && !self.is_current(desired).await? {
            return Err(outdated());
        }
        let written = self.create(desired, &collection(desired)).await?;
        if self.freeze.suspected() && !self.is_current(desired).await? {
            // Exactly what was created: whoever leads now may have taken it over meanwhile.
            self.delete(desired, written).await?;
            return Err(outdated());
        }
        Ok(written)
    }

    async fn create(&self, desired: &Desired, path: &str) -> Result<Version, ApiFailure> {
        if desired.ownership.merges() {
            // If somebody else creates it meanwhile, no key of theirs is taken.
            let mut body = created(desired);
            let written = self.apply(desired, &body, false).await;
            manifest::wipe(&mut body);
            return written;
        }
        let mut body = desired.manifest();
        let meta = kubernetes::create(&self.client, path, &body).await;
        manifest::wipe(&mut body);
        Ok(Version::of(&meta?.metadata))
    }

    async fn delete(&self, desired: &Desired, exactly: Version) -> Result<(), ApiFailure> {
        let params = DeleteParams::default().preconditions(Preconditions {
            uid: Some(exactly.uid),
            resource_version: Some(exactly.resource_version),
        });
        kubernetes::within(self.api(desired).delete(&desired.name, &params)).await?;
        Ok(())
    }

    fn api(&self, desired: &Desired) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &desired.origin.namespace)
    }
}

/// The path at which Secrets of the namespace are created.
fn collection(desired: &Desired) -> String {
    format!("/api/v1/namespaces/{}/secrets", desired.origin.namespace)
}

/// The path at which the Secret is patched.
fn path(desired: &Desired) -> String {
    format!("{}/{}", collection(desired), desired.name)
}

fn outdated() -> ApiFailure {
    ApiFailure::Status {
        code: 409,
        reason: "Conflict".to_owned(),
        fields: Vec::new(),
        refuser: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_by_the_server_have_different_outcomes() {
        let status = |code| ApiFailure::Status {
            code,
            reason: "x".into(),
            fields: vec![],
            refuser: None,
        };
        assert!(matches!(
            write_failure(&status(403)),
            Outcome::Retrying(Reason::AccessDenied, _)
        ));
        let mut by_quota = status(403);
        if let ApiFailure::Status { refuser, .. } = &mut by_quota {
            *refuser = Some(Refuser::Quota {
                name: "q".into(),
                just_full: true,
            });
        }
        assert_eq!(
            write_failure(&by_quota),
            Outcome::Retrying(
                Reason::TargetWriteFailed,
                "could not write the Secret: the ResourceQuota q is exceeded".to_owned()
            )
        );
        assert!(matches!(write_failure(&status(422)), Outcome::Stalled(..)));
        assert!(matches!(write_failure(&status(500)), Outcome::Retrying(..)));
        assert!(matches!(
            write_failure(&ApiFailure::Unreachable),
            Outcome::Retrying(..)
        ));
    }
}
