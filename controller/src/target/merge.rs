use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Secret;
use sealkit_core::api::TargetStatus;
use serde_json::{Value, json};

use super::plan::{self, ALLOW_ANNOTATION, Desired, MERGED_ANNOTATION};

/// Field manager of what is merged into Secrets of others.
pub(super) const FIELD_MANAGER: &str = "sealkit-merge";

/// What to do with a Secret of somebody else.
#[derive(Debug, PartialEq)]
pub(super) enum MergePlan {
    /// Nothing: it is right.
    InSync(TargetStatus),
    /// Apply this on the server's side, without force.
    Apply(Value),
    /// Leave it.
    Conflict(String),
}

/// Decides. A key, label or annotation that is there and that we do not manage is a conflict even
/// if it has our value: applying would succeed exactly then, and tell whoever may write the source
/// that a guess of somebody else's value was right.
pub(super) fn plan_merge(existing: &Secret, desired: &Desired) -> MergePlan {
    let name = &desired.name;
    if let Some(why) = plan::never_a_target(existing, desired) {
        return MergePlan::Conflict(why);
    }
    if plan::is_made_from(existing, desired) {
        return MergePlan::Conflict(format!(
            "the Secret {name} was made from this resource under another creationPolicy: \
             delete it, or keep that policy"
        ));
    }
    if !desired.is_allowed(existing) {
        let kind = desired.source.kind;
        return MergePlan::Conflict(format!(
            "the Secret {name} does not consent to a merge: annotate it with \
             {ALLOW_ANNOTATION}: {kind}/{name}"
        ));
    }
    let owned = owned_names(existing, &["f:data"]);
    let data = existing.data.as_ref();
    let value = |key: &str| data.and_then(|data| data.get(key));
    let theirs = desired
        .data
        .keys()
        .find(|key| value(key).is_some() && !owned.contains(*key));
    if let Some(key) = theirs {
        return MergePlan::Conflict(format!(
            "the key {key} of the Secret {name} belongs to somebody else, nothing was merged"
        ));
    }

    let meta = &existing.metadata;
    let kinds = [
        ("label", "f:labels", &meta.labels, &desired.labels),
        (
            "annotation",
            "f:annotations",
            &meta.annotations,
            &desired.annotations,
        ),
    ];
    for (kind, field, existing_names, wanted) in kinds {
        let ours = owned_names(existing, &["f:metadata", field]);
        let there = |name: &&String| {
            existing_names
                .as_ref()
                .is_some_and(|all| all.contains_key(*name))
        };
        if let Some(theirs) = wanted
            .keys()
            .filter(there)
            .find(|name| !ours.contains(*name))
        {
            return MergePlan::Conflict(format!(
                "the {kind} {theirs} of the Secret {name} belongs to somebody else, nothing was merged"
            ));
        }
    }
    let (labels, annotations) = (
        desired.all_labels(),
        desired.stamped(MERGED_ANNOTATION, meta.annotations.as_ref()),
    );
    let has = |all: Option<&BTreeMap<String, String>>, wanted: &BTreeMap<String, String>| {
        wanted
            .iter()
            .all(|(name, value)| all.and_then(|all| all.get(name)) == Some(value))
    };
    let same_data = owned.len() == desired.data.len()
        && desired
            .data
            .iter()
            .all(|(key, wanted)| value(key).is_some_and(|old| old.0 == **wanted));
    let uid = meta.uid.clone().unwrap_or_default();
    let resource_version = meta.resource_version.clone().unwrap_or_default();
    if same_data
        && has(meta.labels.as_ref(), &labels)
        && has(meta.annotations.as_ref(), &annotations)
    {
        return MergePlan::InSync(TargetStatus {
            name: name.clone(),
            uid,
            resource_version,
            merged: true,
        });
    }
    MergePlan::Apply(json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": name,
            "namespace": desired.namespace,
            "uid": uid,
            "resourceVersion": resource_version,
            "labels": labels,
            "annotations": annotations,
        },
        "data": desired.encoded(),
    }))
}

/// The names under a path of fields that our field manager applied.
fn owned_names(existing: &Secret, path: &[&str]) -> BTreeSet<String> {
    let entries = existing.metadata.managed_fields.iter().flatten();
    let ours = entries.filter(|entry| {
        entry.manager.as_deref() == Some(FIELD_MANAGER)
            && entry.operation.as_deref() == Some("Apply")
            && entry.subresource.as_deref().is_none_or(str::is_empty)
    });
    let fields = ours.filter_map(|entry| {
        let all = &entry.fields_v1.as_ref()?.0;
        path.iter()
            .try_fold(all, |fields, field| fields.get(*field))?
            .as_object()
    });
    fields
        .flat_map(|fields| fields.keys())
        .filter_map(|field| field.strip_prefix("f:"))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;
    use sealkit_core::api::CreationPolicy;

    use super::*;

    fn desired() -> Desired {
        Desired {
            generation: 3,
            policy: CreationPolicy::Merge,
            labels: BTreeMap::new(),
            ..plan::tests::desired()
        }
    }

    /// A Secret with these keys, of which `owned` were applied by us.
    fn theirs(data: &[(&str, &str)], owned: &[&str]) -> Secret {
        let fields: BTreeMap<String, Value> = owned
            .iter()
            .map(|key| (format!("f:{key}"), json!({})))
            .collect();
        let mut secret: Secret = serde_json::from_value(json!({
            "metadata": {
                "name": "db", "namespace": "shop", "uid": "s1", "resourceVersion": "9",
                "annotations": {ALLOW_ANNOTATION: "SealedSecret/db"},
                "managedFields": [
                    {"manager": "kubectl", "operation": "Update", "fieldsV1": {"f:data": {"f:K": {}}}},
                    {"manager": FIELD_MANAGER, "operation": "Apply", "fieldsV1": {"f:data": fields}},
                ],
            },
        }))
        .unwrap();
        let bytes = |value: &str| ByteString(value.as_bytes().to_vec());
        secret.data = Some(
            data.iter()
                .map(|(k, v)| ((*k).to_owned(), bytes(v)))
                .collect(),
        );
        secret
    }

    #[test]
    fn a_missing_key_is_applied_with_preconditions() {
        let MergePlan::Apply(body) = plan_merge(&theirs(&[("other", "x")], &[]), &desired()) else {
            panic!()
        };
        assert_eq!(body["data"], json!({"K": "dg=="}));
        assert_eq!(body["metadata"]["uid"], "s1");
        assert_eq!(body["metadata"]["resourceVersion"], "9");
        assert_eq!(
            body["metadata"]["annotations"]["sealkit.dev/generation"],
            "3"
        );
    }

    #[test]
    fn a_key_of_somebody_else_is_a_conflict_whatever_its_value() {
        for value in ["v", "other"] {
            let plan = plan_merge(&theirs(&[("K", value)], &[]), &desired());
            assert!(
                matches!(&plan, MergePlan::Conflict(why) if why.contains("key K")),
                "{plan:?}"
            );
        }
    }

    #[test]
    fn metadata_of_somebody_else_is_a_conflict_whatever_its_value() {
        for value in ["v", "other"] {
            let mut label = theirs(&[], &[]);
            label.metadata.labels = Some([("tier".into(), value.into())].into());
            let mut annotation = theirs(&[], &[]);
            let annotations = annotation.metadata.annotations.as_mut().unwrap();
            annotations.insert("note".into(), value.into());
            let wish = Desired {
                labels: [("tier".into(), "v".into())].into(),
                annotations: [("note".into(), "v".into())].into(),
                ..desired()
            };
            for (secret, told) in [(label, "label tier"), (annotation, "annotation note")] {
                let plan = plan_merge(&secret, &wish);
                assert!(
                    matches!(&plan, MergePlan::Conflict(why) if why.contains(told)),
                    "{plan:?}"
                );
            }
        }
        let mut ours = theirs(&[], &[]);
        ours.metadata.labels = Some([("tier".into(), "old".into())].into());
        let managed = &mut ours.metadata.managed_fields.as_mut().unwrap()[1];
        managed.fields_v1.as_mut().unwrap().0["f:metadata"] = json!({"f:labels": {"f:tier": {}}});
        let wish = Desired {
            labels: [("tier".into(), "new".into())].into(),
            ..desired()
        };
        assert!(matches!(plan_merge(&ours, &wish), MergePlan::Apply(_)));
    }

    #[test]
    fn what_was_applied_is_in_sync_until_it_drifts() {
        let mut secret = theirs(&[("K", "v"), ("other", "x")], &["K"]);
        let meta = &mut secret.metadata;
        meta.labels = Some(desired().all_labels());
        meta.annotations
            .as_mut()
            .unwrap()
            .extend(desired().stamped(MERGED_ANNOTATION, None));
        assert!(matches!(plan_merge(&secret, &desired()), MergePlan::InSync(t) if t.merged));
        let mut drifted = secret.clone();
        drifted.data.as_mut().unwrap().remove("K");
        assert!(matches!(
            plan_merge(&drifted, &desired()),
            MergePlan::Apply(_)
        ));
        let mut dropped = desired();
        dropped.data.clear();
        let MergePlan::Apply(body) = plan_merge(&secret, &dropped) else {
            panic!()
        };
        assert_eq!(body["data"], json!({}));
        let mut later = desired();
        later.generation = 4;
        assert!(matches!(plan_merge(&secret, &later), MergePlan::InSync(_)));
        later.content = "c2".into();
        assert!(
            matches!(plan_merge(&secret, &later), MergePlan::Apply(_)),
            "each generation writes"
        );
    }

    #[test]
    fn nothing_is_merged_without_consent_or_into_our_own() {
        let mut secret = theirs(&[], &[]);
        secret.metadata.annotations = None;
        assert!(matches!(
            plan_merge(&secret, &desired()),
            MergePlan::Conflict(_)
        ));
        let consents = Desired {
            namespace_consents: true,
            ..desired()
        };
        assert!(matches!(
            plan_merge(&secret, &consents),
            MergePlan::Apply(_)
        ));
        let owner = Desired {
            policy: CreationPolicy::Owner,
            ..desired()
        };
        let mut ours: Secret = serde_json::from_value(owner.manifest()).unwrap();
        ours.metadata
            .annotations
            .as_mut()
            .unwrap()
            .insert(ALLOW_ANNOTATION.into(), "SealedSecret/db".into());
        assert!(matches!(
            plan_merge(&ours, &desired()),
            MergePlan::Conflict(_)
        ));
    }
}
