//! One ExternalSecret in one namespace: made, corrected or deleted.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Client;
use sealkit_core::names;
use serde_json::{Value, json};

use super::template::Template;
use crate::kubernetes::{self, ApiFailure};
use crate::object::Origin;

/// An ExternalSecret as it was found right, or written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Placed {
    uid: String,
    generation: i64,
    /// Stands for labels and annotations.
    texts: String,
}

impl Placed {
    /// The ExternalSecret with this metadata.
    pub(super) fn of(metadata: &ObjectMeta) -> Self {
        let texts = json!([
            metadata.labels.clone().unwrap_or_default(),
            metadata.annotations.clone().unwrap_or_default()
        ]);
        Self {
            uid: metadata.uid.clone().unwrap_or_default(),
            generation: metadata.generation.unwrap_or_default(),
            texts: names::digest(texts.to_string().as_bytes()),
        }
    }
}

/// Why a namespace does not have its ExternalSecret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failed {
    /// The namespace is gone, or about to be.
    NoNamespace,
    /// Somebody has to do something, as the text says.
    Conflict(String),
    /// The API server did not take it; it may later.
    Refused(ApiFailure),
}

impl From<ApiFailure> for Failed {
    fn from(failure: ApiFailure) -> Self {
        match &failure {
            ApiFailure::Status { code: 404, .. } => Self::NoNamespace,
            // So the server tells that a namespace is being deleted.
            ApiFailure::Status {
                code: 403, fields, ..
            } if fields.iter().any(|field| field == "metadata.namespace") => Self::NoNamespace,
            _ => Self::Refused(failure),
        }
    }
}

/// Whose an ExternalSecret is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    /// The ClusterExternalSecret's.
    Own,
    /// That of one of the same name, which existed before.
    Former,
    /// Somebody else's, or nobody's.
    Stranger,
}

/// Makes the ExternalSecret of a namespace what it is to be.
pub(super) async fn place(
    client: &Client,
    owner: &Origin,
    template: &Template,
    namespace: &str,
) -> Result<Placed, Failed> {
    let path = path(namespace, &template.name);
    let reference = json!(owner.owner_reference());
    let Some(mut existing) = kubernetes::read_whole(client, &path).await? else {
        let body = template.external_secret(namespace, &reference);
        let (all, _) = path.rsplit_once('/').unwrap_or_default();
        let made = kubernetes::create(client, all, &body).await?;
        return Ok(Placed::of(&made.metadata));
    };
    let whose = whose(&existing, owner);
    if whose == Owner::Stranger {
        return Err(Failed::Conflict(format!(
            "external secret already exists in namespace, and this {} did not make it: delete or \
             rename it, or set externalSecretName",
            super::KIND
        )));
    }
    if !existing["metadata"]["deletionTimestamp"].is_null() {
        let what = "its ExternalSecret is being deleted, and a finalizer keeps it";
        return Err(Failed::Conflict(what.to_owned()));
    }
    let mut is_right = !template.correct(&mut existing);
    if whose == Owner::Former {
        replace_owner(&mut existing, owner, reference);
        is_right = false;
    }
    let metadata = if is_right {
        metadata(&existing)
    } else {
        kubernetes::replace(client, &path, &existing)
            .await?
            .metadata
    };
    Ok(Placed::of(&metadata))
}

/// Deletes the ExternalSecret of a namespace that is not selected, if it is the owner's.
pub(super) async fn remove(
    client: &Client,
    owner: &Origin,
    namespace: &str,
    name: &str,
) -> Result<(), ApiFailure> {
    let path = path(namespace, name);
    let Some(existing) = kubernetes::read_whole(client, &path).await? else {
        return Ok(());
    };
    if whose(&existing, owner) == Owner::Stranger {
        return Ok(());
    }
    let uid = existing["metadata"]["uid"].as_str().unwrap_or_default();
    kubernetes::delete(client, &path, uid).await
}

fn path(namespace: &str, name: &str) -> String {
    let api = super::CLUSTER_EXTERNAL_SECRET.api_version();
    format!("/apis/{api}/namespaces/{namespace}/externalsecrets/{name}")
}

fn metadata(object: &Value) -> ObjectMeta {
    let answer: Result<kubernetes::Answer, _> = serde_json::from_value(object.clone());
    answer.map(|answer| answer.metadata).unwrap_or_default()
}

fn owners(object: &Value) -> Vec<OwnerReference> {
    let all = object["metadata"]["ownerReferences"].clone();
    serde_json::from_value(all).unwrap_or_default()
}

fn whose(object: &Value, owner: &Origin) -> Owner {
    let owners = owners(object);
    match owners.iter().find(|one| one.controller == Some(true)) {
        Some(one) if one.uid == owner.uid => Owner::Own,
        Some(one) if owner.is_lineage_of(one) => Owner::Former,
        _ => Owner::Stranger,
    }
}

fn replace_owner(object: &mut Value, owner: &Origin, reference: Value) {
    let others = owners(object).into_iter();
    let others = others.filter(|one| !owner.is_lineage_of(one));
    let all: Vec<Value> = others.map(|one| json!(one)).chain([reference]).collect();
    object["metadata"]["ownerReferences"] = json!(all);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner() -> Origin {
        Origin {
            kind: super::super::CLUSTER_EXTERNAL_SECRET,
            namespace: String::new(),
            name: "pull".to_owned(),
            uid: "u".to_owned(),
        }
    }

    #[test]
    fn the_controller_reference_says_whose_it_is() {
        let object = |references: Value| json!({"metadata": {"ownerReferences": references}});
        let reference = |kind: &str, name: &str, uid: &str, controller: bool| {
            json!({
                "apiVersion": "external-secrets.io/v1beta1", "kind": kind, "name": name,
                "uid": uid, "controller": controller,
            })
        };
        let kind = super::super::KIND;
        for (references, expected) in [
            (json!([reference(kind, "pull", "u", true)]), Owner::Own),
            (json!([reference(kind, "pull", "old", true)]), Owner::Former),
            (
                json!([reference(kind, "pull", "u", false)]),
                Owner::Stranger,
            ),
            (
                json!([reference(kind, "other", "v", true)]),
                Owner::Stranger,
            ),
            (
                json!([reference("Job", "pull", "v", true)]),
                Owner::Stranger,
            ),
            (json!([]), Owner::Stranger),
            (json!("x"), Owner::Stranger),
        ] {
            assert_eq!(whose(&object(references.clone()), &owner()), expected);
        }
        let mut former = object(json!([
            reference("Job", "x", "w", false),
            reference(kind, "pull", "old", true)
        ]));
        replace_owner(&mut former, &owner(), json!(owner().owner_reference()));
        assert_eq!(whose(&former, &owner()), Owner::Own);
        assert_eq!(owners(&former).len(), 2);
    }

    #[test]
    fn a_namespace_that_is_being_deleted_is_no_failure() {
        let failure = |code, fields: &[&str]| ApiFailure::Status {
            code,
            reason: "Forbidden".to_owned(),
            fields: fields.iter().map(ToString::to_string).collect(),
            refuser: None,
        };
        for gone in [failure(404, &[]), failure(403, &["metadata.namespace"])] {
            assert_eq!(Failed::from(gone), Failed::NoNamespace);
        }
        let forbidden = failure(403, &[]);
        assert_eq!(Failed::from(forbidden.clone()), Failed::Refused(forbidden));
    }
}
