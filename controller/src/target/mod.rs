//! The one way a Secret is written: created, patched to exactly what its source says, or replaced
//! where Kubernetes allows no patch; or keys added to a Secret of somebody else. Every write of an
//! existing Secret carries its resourceVersion, so that a writer that lost its lease cannot do harm;
//! a create has nothing to carry, and is taken back if the source is not as it was.

mod merge;
mod plan;

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, Preconditions};
use kube::{Api, Client};
use sealkit_core::api::{CreationPolicy, TargetStatus};
use sealkit_core::manifest;

use crate::freeze::Freeze;
use crate::kubernetes::{self, ApiFailure};

use merge::{FIELD_MANAGER, MergePlan, plan_merge};
pub use plan::{Desired, MANAGED_LABEL, Plan, SOURCE_ANNOTATION, Source, is_newer, plan};

/// What was done to a Secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// It was not there.
    Create,
    /// It differed.
    Patch,
    /// It differed in what Kubernetes lets nobody change.
    Replace,
    /// Keys were added to, or removed from, a Secret of somebody else.
    Merge,
    /// It was right.
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
            Self::None => "none",
        }
    }
}

/// Why a Secret was not written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteError {
    /// There is one that belongs to somebody else.
    Conflict(String),
    /// There is none to merge into.
    Missing,
    /// The API server refused or did not answer.
    Api(ApiFailure),
}

impl From<ApiFailure> for WriteError {
    fn from(failure: ApiFailure) -> Self {
        Self::Api(failure)
    }
}

/// How often a write is planned anew because somebody changed the Secret meanwhile.
const TRIES: usize = 3;

/// Writes a Secret. `recorded` is what the source's status says of the last write: without it the
/// Secret is first created blindly, which saves a read for new objects.
pub(crate) async fn write(
    client: &Client,
    freeze: &Freeze,
    desired: &Desired,
    recorded: Option<&TargetStatus>,
) -> Result<(TargetStatus, Op), WriteError> {
    let collection = format!("/api/v1/namespaces/{}/secrets", desired.namespace);
    if recorded.is_none() && desired.policy != CreationPolicy::Merge {
        match create_once(client, freeze, &collection, desired).await {
            Err(failure) if failure.is_already_exists() => {}
            result => return Ok((result?, Op::Create)),
        }
    }
    let mut tries = 1;
    loop {
        match write_existing(client, freeze, &collection, desired, recorded).await {
            // Somebody changed the Secret between the read and the write.
            Err(WriteError::Api(failure)) if failure.is_outdated() && tries < TRIES => tries += 1,
            result => return result,
        }
    }
}

/// Reads, plans, writes.
async fn write_existing(
    client: &Client,
    freeze: &Freeze,
    collection: &str,
    desired: &Desired,
    recorded: Option<&TargetStatus>,
) -> Result<(TargetStatus, Op), WriteError> {
    let api: Api<Secret> = Api::namespaced(client.clone(), &desired.namespace);
    let existing = api.get_opt(&desired.name).await.map_err(ApiFailure::from)?;
    let Some(mut existing) = existing else {
        if desired.policy == CreationPolicy::Merge {
            return Err(WriteError::Missing);
        }
        let target = create_once(client, freeze, collection, desired).await?;
        return Ok((target, Op::Create));
    };
    if is_newer(&existing, desired) && !is_current(client, desired).await? {
        kubernetes::wipe(&mut existing);
        return Err(outdated().into());
    }
    if desired.policy == CreationPolicy::Merge {
        let plan = plan_merge(&existing, desired);
        kubernetes::wipe(&mut existing);
        return merge(client, collection, desired, plan).await;
    }
    // What was only merged into never became ours.
    let recorded = recorded.filter(|target| !target.merged);
    let plan = plan(
        &existing,
        desired,
        recorded.map(|target| target.uid.as_str()),
    );
    kubernetes::wipe(&mut existing);
    match plan {
        Plan::InSync(target) => Ok((target, Op::None)),
        Plan::Conflict(why) => Err(WriteError::Conflict(why)),
        Plan::Patch(mut patch) => {
            let path = format!("{collection}/{}", desired.name);
            let meta = kubernetes::merge_patch(client, &path, &patch).await;
            manifest::wipe(&mut patch);
            Ok((target_of(meta?.metadata), Op::Patch))
        }
        Plan::Replace {
            uid,
            resource_version,
        } => {
            // The server judges the new Secret before the old one goes: one that it refuses must
            // not cost the last good one. Validation and admission run before the name is looked up.
            match create(client, &format!("{collection}?dryRun=All"), desired).await {
                Err(failure) if !failure.is_already_exists() => return Err(failure.into()),
                _ => {}
            }
            let preconditions = Preconditions {
                uid: Some(uid),
                resource_version: Some(resource_version),
            };
            let params = DeleteParams::default().preconditions(preconditions);
            api.delete(&desired.name, &params)
                .await
                .map_err(ApiFailure::from)?;
            let target = create_once(client, freeze, collection, desired).await?;
            Ok((target, Op::Replace))
        }
    }
}

async fn merge(
    client: &Client,
    collection: &str,
    desired: &Desired,
    plan: MergePlan,
) -> Result<(TargetStatus, Op), WriteError> {
    let mut body = match plan {
        MergePlan::InSync(target) => return Ok((target, Op::None)),
        MergePlan::Conflict(why) => return Err(WriteError::Conflict(why)),
        MergePlan::Apply(body) => body,
    };
    let path = format!("{collection}/{}?fieldManager={FIELD_MANAGER}", desired.name);
    let meta = kubernetes::apply(client, &path, &body).await;
    manifest::wipe(&mut body);
    match meta {
        Ok(meta) => {
            let target = TargetStatus {
                merged: true,
                ..target_of(meta.metadata)
            };
            Ok((target, Op::Merge))
        }
        Err(failure) if failure.is_field_conflict() => Err(WriteError::Conflict(format!(
            "somebody else manages fields of the Secret {}: {failure}",
            desired.name
        ))),
        Err(failure) => Err(failure.into()),
    }
}

/// Is the source still what the Secret is wanted from? A process that lost its lease while it
/// slept wakes with old values, and the versions that it reads then are the newest ones.
async fn is_current(client: &Client, desired: &Desired) -> Result<bool, ApiFailure> {
    let source = &desired.source;
    let path = format!(
        "/apis/{}/namespaces/{}/{}s/{}",
        source.api_version,
        desired.namespace,
        source.kind.to_lowercase(),
        source.name
    );
    match kubernetes::read(client, &path).await {
        Ok(meta) => Ok(meta.metadata.uid.as_ref() == Some(&source.uid)
            && meta.metadata.generation == Some(desired.generation)),
        Err(ApiFailure::Status { code: 404, .. }) => Ok(false),
        Err(failure) => Err(failure),
    }
}

fn outdated() -> ApiFailure {
    ApiFailure::Status {
        code: 409,
        reason: "Conflict".to_owned(),
        fields: Vec::new(),
    }
}

/// Creates the Secret of a source that is still the same. A process that was frozen asks before
/// and after: the freeze may come between the question and the create.
async fn create_once(
    client: &Client,
    freeze: &Freeze,
    collection: &str,
    desired: &Desired,
) -> Result<TargetStatus, ApiFailure> {
    if freeze.suspected() && !is_current(client, desired).await? {
        return Err(outdated());
    }
    let target = create(client, collection, desired).await?;
    if freeze.suspected() && !is_current(client, desired).await? {
        // Exactly what was made: whoever leads now may have taken it over meanwhile.
        let api: Api<Secret> = Api::namespaced(client.clone(), &desired.namespace);
        let params = DeleteParams::default().preconditions(Preconditions {
            uid: Some(target.uid),
            resource_version: Some(target.resource_version),
        });
        api.delete(&desired.name, &params).await?;
        return Err(outdated());
    }
    Ok(target)
}

async fn create(
    client: &Client,
    path: &str,
    desired: &Desired,
) -> Result<TargetStatus, ApiFailure> {
    let mut body = desired.manifest();
    let meta = kubernetes::create(client, path, &body).await;
    manifest::wipe(&mut body);
    Ok(target_of(meta?.metadata))
}

fn target_of(metadata: ObjectMeta) -> TargetStatus {
    TargetStatus {
        name: metadata.name.unwrap_or_default(),
        uid: metadata.uid.unwrap_or_default(),
        resource_version: metadata.resource_version.unwrap_or_default(),
        merged: false,
    }
}
