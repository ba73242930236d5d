//! Decides what to do with a Secret of somebody else that keys are merged into; pure.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use serde_json::{Value, json};

use super::desired::{Desired, MANAGED_LABEL, MERGED_ANNOTATION, OPAQUE, Ownership, Rights, Takes};
use super::{plan, size};
use crate::object::{Origin, Version};

/// Field manager that all sources shared once: see [`upgrade`].
const FORMER_FIELD_MANAGER: &str = "sealkit-merge";

/// Field manager of what a source merges into Secrets of others. Each source has its own, so that
/// applying the keys of one does not remove those of another. An object that is created again owns
/// what the old one owned.
pub(super) fn field_manager(origin: &Origin) -> String {
    format!("{FORMER_FIELD_MANAGER}-{}", origin.digest())
}

/// What to do with a Secret of somebody else.
#[derive(Debug, PartialEq)]
pub(super) enum MergePlan {
    /// Nothing: it is in sync.
    InSync(Version),
    /// Merge this patch, then plan again: it moves what we own under the former field manager to
    /// the present one.
    Upgrade(Value),
    /// Apply this by server-side apply, without force.
    Apply(Value),
    /// Leave it alone.
    Conflict(String),
}

/// Decides. An existing key, label or annotation that we do not manage alone is a conflict, even if
/// it has our value: otherwise, a successful apply would tell the author of the source that a guess
/// of somebody else's value was right. Somebody who applied the value that we applied before manages
/// it too, and the server would then answer the next guess.
pub(super) fn plan_merge(existing: &Secret, desired: &Desired) -> MergePlan {
    // It must not be touched at all.
    if let Some(why) = refusal(existing, desired) {
        return MergePlan::Conflict(why);
    }
    // We own keys from the time before each source had its own field manager.
    if let Some(patch) = upgrade(existing, &desired.origin) {
        return MergePlan::Upgrade(patch);
    }
    // No room is left for us.
    if let Some(why) = size::no_room(existing, desired) {
        return MergePlan::Conflict(why);
    }
    // Somebody else manages something that we want.
    let theirs = match desired.rights {
        Rights::Wide => taken_by_source(existing, desired),
        Rights::Own | Rights::Lasting => taken(existing, desired),
    };
    if let Some(theirs) = theirs {
        let name = &desired.name;
        return MergePlan::Conflict(format!(
            "{theirs} of the Secret {name} belongs to somebody else: nothing was merged"
        ));
    }
    // In sync.
    if is_merged(existing, desired) {
        return MergePlan::InSync(Version::of(&existing.metadata));
    }
    if existing.immutable == Some(true) {
        let name = &desired.name;
        let why = format!("the Secret {name} is immutable: nothing can be merged into it");
        return MergePlan::Conflict(why);
    }
    // Only if nobody changed it meanwhile.
    MergePlan::Apply(applied(existing, desired))
}

/// Why nothing may be merged into this Secret, whatever it holds.
fn refusal(existing: &Secret, desired: &Desired) -> Option<String> {
    let name = &desired.name;
    if let Some(why) = plan::never_a_target(existing, desired) {
        return Some(why);
    }
    if plan::is_made_from(existing, desired) {
        return Some(format!(
            "the Secret {name} was made from this resource under another creationPolicy: \
             delete the Secret, or keep that policy"
        ));
    }
    // Its source removes keys of others, and both would write without end.
    if desired.rights == Rights::Wide
        && let Some(why) = plan::of_another_source(existing, desired)
    {
        return Some(why);
    }
    let type_ = existing.type_.as_deref().unwrap_or(OPAQUE);
    let wanted = desired.secret_type.as_ref();
    let is_asked = desired.ownership == Ownership::CreateOrMerge;
    if is_asked && wanted.is_some_and(|wanted| wanted != type_) {
        let type_ = sealkit_core::names::printable(type_);
        return Some(format!(
            "the Secret {name} has type {type_}, which nobody can change"
        ));
    }
    (!desired.is_allowed(existing, Takes::Merge)).then(|| {
        let wanted = desired.wanted_consent(Takes::Merge);
        format!("the Secret {name} does not consent to a merge: annotate it with {wanted}")
    })
}

/// The first key that we want and that another source merged. If both took it, they would write
/// without end.
fn taken_by_source(existing: &Secret, desired: &Desired) -> Option<String> {
    let theirs = names_of_sources(existing, desired, &["f:data"]);
    let key = desired.data.keys().find(|key| theirs.contains(*key))?;
    Some(format!("key {key}"))
}

/// The labels or annotations of `wanted` that no other source set: with several of the same name,
/// the first one stays.
fn unless_of_sources(
    existing: &Secret,
    desired: &Desired,
    field: &str,
    mut wanted: BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let theirs = names_of_sources(existing, desired, &["f:metadata", field]);
    wanted.retain(|name, _| name == MANAGED_LABEL || !theirs.contains(name));
    wanted
}

fn wanted_labels(existing: &Secret, desired: &Desired) -> BTreeMap<String, String> {
    unless_of_sources(existing, desired, "f:labels", desired.all_labels())
}

fn wanted_annotations(existing: &Secret, desired: &Desired) -> BTreeMap<String, String> {
    let marked = desired.marked(Some(existing));
    unless_of_sources(existing, desired, "f:annotations", marked)
}

/// The first key, label or annotation that we want and that we do not manage alone.
fn taken(existing: &Secret, desired: &Desired) -> Option<String> {
    let ours = owned_names(existing, desired, &["f:data"]);
    let theirs = [&["f:data"], &["f:stringData"]];
    let theirs = theirs.map(|path| names_of_others(existing, desired, path));
    let exists = |key: &&String| {
        existing
            .data
            .as_ref()
            .is_some_and(|all| all.contains_key(*key))
    };
    let is_ours =
        |key: &&String| ours.contains(*key) && !theirs.iter().any(|all| all.contains(*key));
    if let Some(key) = desired.data.keys().filter(exists).find(|key| !is_ours(key)) {
        return Some(format!("key {key}"));
    }
    let meta = &existing.metadata;
    let metadata = [
        ("label", "f:labels", &meta.labels, &desired.labels),
        (
            "annotation",
            "f:annotations",
            &meta.annotations,
            &desired.annotations,
        ),
    ];
    metadata
        .into_iter()
        .find_map(|(word, field, present, wanted)| {
            let path = ["f:metadata", field];
            let ours = owned_names(existing, desired, &path);
            let theirs = names_of_others(existing, desired, &path);
            let exists =
                |name: &&String| present.as_ref().is_some_and(|all| all.contains_key(*name));
            let mut names = wanted.keys().filter(exists);
            let is_ours = |name: &String| ours.contains(name) && !theirs.contains(name);
            let name = names.find(|name| !is_ours(name))?;
            Some(format!("{word} {name}"))
        })
}

/// Does the Secret hold what we merge, and nothing that we merged earlier and no longer want?
fn is_merged(existing: &Secret, desired: &Desired) -> bool {
    let meta = &existing.metadata;
    let has = |present: Option<&BTreeMap<String, String>>, wanted: &BTreeMap<String, String>| {
        wanted
            .iter()
            .all(|(name, value)| present.and_then(|all| all.get(name)) == Some(value))
    };
    owned_names(existing, desired, &["f:data"]).len() == desired.data.len()
        && desired.has_values(existing)
        && has(meta.labels.as_ref(), &wanted_labels(existing, desired))
        && has(
            meta.annotations.as_ref(),
            &wanted_annotations(existing, desired),
        )
}

/// A new Secret to apply.
pub(super) fn created(desired: &Desired) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": desired.name,
            "namespace": desired.origin.namespace,
            "labels": desired.all_labels(),
            "annotations": desired.marked(None),
        },
        "type": desired.secret_type.as_deref().unwrap_or(OPAQUE),
        "data": desired.encoded(),
    })
}

/// The whole object to apply. Fields that we applied before and that it lacks are removed.
fn applied(existing: &Secret, desired: &Desired) -> Value {
    let meta = &existing.metadata;
    let current = Version::of(meta);
    let mut body = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": desired.name,
            "namespace": desired.origin.namespace,
            "uid": current.uid,
            "resourceVersion": current.resource_version,
            "labels": wanted_labels(existing, desired),
            "annotations": wanted_annotations(existing, desired),
        },
        "data": desired.encoded(),
    });
    // Without a type that we applied, the server would set another one.
    if owned_names(existing, desired, &[]).contains("type") {
        body["type"] = existing.type_.clone().into();
    }
    body
}

/// All sources once shared one field manager and one marker. If the marker names this source, the
/// whole entry moves to the source's own field manager, so that nothing is removed even for a
/// moment. The next apply removes the former marks, since it does not name them.
fn upgrade(existing: &Secret, origin: &Origin) -> Option<Value> {
    let meta = &existing.metadata;
    let marker = meta.annotations.as_ref()?.get(MERGED_ANNOTATION)?;
    let mut entries = meta.managed_fields.clone()?;
    let is_former = |entry: &ManagedFieldsEntry| is_applied_by(entry, FORMER_FIELD_MANAGER);
    let at = entries
        .iter()
        .position(is_former)
        .filter(|_| marker.starts_with(&origin.lineage()))?;
    let manager = field_manager(origin);
    let own = entries
        .iter()
        .position(|entry| is_applied_by(entry, &manager));
    match own {
        // It has both after a way back to the former version: one manager has one entry.
        Some(own) => {
            let former = entries[at].fields_v1.take();
            let fields = entries[own].fields_v1.get_or_insert_default();
            unite(&mut fields.0, &former.unwrap_or_default().0);
            entries.remove(at);
        }
        None => entries[at].manager = Some(manager),
    }
    let current = Version::of(meta);
    Some(json!({"metadata": {
        "uid": current.uid,
        "resourceVersion": current.resource_version,
        "managedFields": entries,
    }}))
}

/// Adds fields to a tree of fields.
fn unite(fields: &mut Value, more: &Value) {
    if let (Some(fields), Some(more)) = (fields.as_object_mut(), more.as_object()) {
        for (name, below) in more {
            match fields.get_mut(name) {
                Some(known) => unite(known, below),
                None => drop(fields.insert(name.clone(), below.clone())),
            }
        }
    } else if fields.is_null() {
        *fields = more.clone();
    }
}

/// Was this applied by a source?
pub(super) fn is_source(entry: &ManagedFieldsEntry) -> bool {
    let manager = entry.manager.as_deref().unwrap_or_default();
    manager.starts_with(FORMER_FIELD_MANAGER) && is_applied_by(entry, manager)
}

pub(super) fn is_applied_by(entry: &ManagedFieldsEntry, manager: &str) -> bool {
    entry.manager.as_deref() == Some(manager)
        && entry.operation.as_deref() == Some("Apply")
        && entry.subresource.as_deref().is_none_or(str::is_empty)
}

/// The names under a path of fields that our field manager applied.
pub(super) fn owned_names(existing: &Secret, desired: &Desired, path: &[&str]) -> BTreeSet<String> {
    let manager = field_manager(&desired.origin);
    managed_names(existing, path, |entry| is_applied_by(entry, &manager))
}

/// The names under a path of fields that anybody but our field manager manages, in whatever way.
pub(super) fn names_of_others(
    existing: &Secret,
    desired: &Desired,
    path: &[&str],
) -> BTreeSet<String> {
    let manager = field_manager(&desired.origin);
    managed_names(existing, path, |entry| !is_applied_by(entry, &manager))
}

/// The names under a path of fields that other sources applied.
fn names_of_sources(existing: &Secret, desired: &Desired, path: &[&str]) -> BTreeSet<String> {
    let manager = field_manager(&desired.origin);
    managed_names(existing, path, |entry| {
        is_source(entry) && !is_applied_by(entry, &manager)
    })
}

/// The names under a path of fields whose manager `by` accepts.
pub(super) fn managed_names(
    existing: &Secret,
    path: &[&str],
    by: impl Fn(&ManagedFieldsEntry) -> bool,
) -> BTreeSet<String> {
    let entries = existing.metadata.managed_fields.iter().flatten();
    let fields = entries.filter(|entry| by(entry)).filter_map(|entry| {
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

    use super::super::desired::{
        ALLOW_ANNOTATION, Consent, Revision, SOURCE_ANNOTATION, Values, tests,
    };
    use super::*;

    fn desired() -> Desired {
        Desired {
            revision: Revision {
                generation: 3,
                content: "c1".into(),
                values: Values::Public("v1".into()),
            },
            ownership: Ownership::Merge,
            labels: BTreeMap::new(),
            ..tests::desired()
        }
    }

    fn marks() -> (String, String) {
        let marks = desired().marks();
        (marks.source, marks.generation)
    }

    /// A Secret with these keys, of which `owned` were applied by us.
    fn theirs(data: &[(&str, &str)], owned: &[&str]) -> Secret {
        let fields: BTreeMap<String, Value> = owned
            .iter()
            .map(|key| (format!("f:{key}"), json!({})))
            .collect();
        let mut secret: Secret = serde_json::from_value(json!({
            "metadata": {
                "name": "credentials", "namespace": "shop", "uid": "s1", "resourceVersion": "9",
                "annotations": {ALLOW_ANNOTATION: "SealedSecret/db"},
                "managedFields": [
                    {"manager": "kubectl", "operation": "Update", "fieldsV1": {"f:data": {"f:other": {}}}},
                    {"manager": field_manager(&desired().origin), "operation": "Apply", "fieldsV1": {"f:data": fields}},
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
        let (source, generation) = marks();
        assert_eq!(body["metadata"]["annotations"][generation], "3");
        assert_eq!(
            body["metadata"]["annotations"][source],
            "SealedSecret/shop/db/u1"
        );
    }

    #[test]
    fn wide_rights_take_keys_of_somebody_else() {
        let wide = Desired {
            consent: Consent::Given,
            rights: Rights::Wide,
            ..desired()
        };
        let mut secret = theirs(&[("K", "other")], &[]);
        let MergePlan::Apply(body) = plan_merge(&secret, &wide) else {
            panic!()
        };
        assert_eq!(body["data"], json!({"K": "dg=="}));
        // Null would claim it too.
        assert!(body.get("type").is_none(), "it belongs to somebody else");
        secret.immutable = Some(true);
        let plan = plan_merge(&secret, &wide);
        assert!(matches!(&plan, MergePlan::Conflict(why) if why.contains("immutable")));
    }

    #[test]
    fn two_sources_of_wide_rights_never_write_in_turns() {
        let wide = Desired {
            consent: Consent::Given,
            rights: Rights::Wide,
            labels: [("team".into(), "shop".into())].into(),
            ..desired()
        };
        let mut secret = theirs(&[("K", "other")], &[]);
        secret.metadata.labels = Some([("team".into(), "web".into())].into());
        let other = |fields: Value| -> ManagedFieldsEntry {
            let manager = format!("{FORMER_FIELD_MANAGER}-{}", "0".repeat(32));
            let entry = json!({"manager": manager, "operation": "Apply", "fieldsV1": fields});
            serde_json::from_value(entry).unwrap()
        };
        let labels = json!({"f:labels": {"f:team": {}, format!("f:{MANAGED_LABEL}"): {}}});
        let entries = secret.metadata.managed_fields.as_mut().unwrap();
        entries.push(other(json!({"f:metadata": labels})));
        let MergePlan::Apply(body) = plan_merge(&secret, &wide) else {
            panic!()
        };
        assert_eq!(body["metadata"]["labels"], json!({MANAGED_LABEL: "true"}));
        let entries = secret.metadata.managed_fields.as_mut().unwrap();
        entries.push(other(json!({"f:data": {"f:K": {}}})));
        let plan = plan_merge(&secret, &wide);
        assert!(matches!(&plan, MergePlan::Conflict(why) if why.contains("key K")));
    }

    #[test]
    fn wide_rights_merge_into_no_secret_that_another_source_made() {
        let wide = Desired {
            consent: Consent::Given,
            rights: Rights::Wide,
            ..desired()
        };
        let mut secret = theirs(&[("other", "x")], &[]);
        let mut made_by = |marker: &str| {
            let annotations = secret.metadata.annotations.get_or_insert_default();
            annotations.insert(SOURCE_ANNOTATION.to_owned(), marker.to_owned());
            plan_merge(&secret, &wide)
        };
        let plan = made_by("SealedSecret/shop/orphan/u7");
        assert!(
            matches!(&plan, MergePlan::Conflict(why) if why.contains("made from SealedSecret orphan"))
        );
        // A copy of one from elsewhere.
        assert!(matches!(
            made_by("SealedSecret/bank/orphan/u7"),
            MergePlan::Apply(_)
        ));
    }

    #[test]
    fn wide_rights_merge_into_secrets_of_controllers_but_of_no_source() {
        let wide = Desired {
            consent: Consent::Given,
            rights: Rights::Wide,
            ..desired()
        };
        let plan = |api_version: &str, kind: &str| {
            let mut secret = theirs(&[], &[]);
            let owner = json!({
                "apiVersion": api_version, "kind": kind, "name": "x", "uid": "u", "controller": true,
            });
            secret.metadata.owner_references = Some(vec![serde_json::from_value(owner).unwrap()]);
            plan_merge(&secret, &wide)
        };
        assert!(matches!(
            plan("argoproj.io/v1beta1", "ArgoCD"),
            MergePlan::Apply(_)
        ));
        let sealed = plan("sealkit.dev/v1beta1", "SealedSecret");
        assert!(matches!(sealed, MergePlan::Conflict(_)));
    }

    #[test]
    fn a_type_that_was_applied_is_applied_again() {
        let mut secret = theirs(&[], &[]);
        secret.type_ = Some("example.com/x".into());
        let managed = &mut secret.metadata.managed_fields.as_mut().unwrap()[1];
        managed.fields_v1.as_mut().unwrap().0["f:type"] = json!({});
        let created = Desired {
            ownership: Ownership::CreateOrMerge,
            secret_type: Some("example.com/x".into()),
            ..desired()
        };
        let MergePlan::Apply(body) = plan_merge(&secret, &created) else {
            panic!()
        };
        assert_eq!(body["type"], "example.com/x");
        let other = Desired {
            secret_type: Some("Opaque".into()),
            ..created
        };
        let plan = plan_merge(&secret, &other);
        assert!(
            matches!(&plan, MergePlan::Conflict(why) if why.contains("has type example.com/x"))
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

    /// Otherwise the server answers each guess: it takes the value that the other one has.
    #[test]
    fn what_somebody_else_manages_too_is_a_conflict_whatever_its_value() {
        let other = |operation: &str, fields: Value| -> ManagedFieldsEntry {
            serde_json::from_value(json!({
                "manager": "theirs", "operation": operation, "fieldsV1": fields,
            }))
            .unwrap()
        };
        for value in ["v", "other"] {
            for (operation, field) in [
                ("Apply", "f:data"),
                ("Update", "f:data"),
                ("Apply", "f:stringData"),
            ] {
                let mut secret = theirs(&[("K", value)], &["K"]);
                let entries = secret.metadata.managed_fields.as_mut().unwrap();
                entries.push(other(operation, json!({field: {"f:K": {}}})));
                let plan = plan_merge(&secret, &desired());
                assert!(
                    matches!(&plan, MergePlan::Conflict(why) if why.contains("key K")),
                    "{plan:?}"
                );
            }
            let mut secret = theirs(&[], &[]);
            secret.metadata.labels = Some([("tier".into(), value.into())].into());
            let fields = json!({"f:metadata": {"f:labels": {"f:tier": {}}}});
            let entries = secret.metadata.managed_fields.as_mut().unwrap();
            entries[1].fields_v1.as_mut().unwrap().0 = fields.clone();
            entries.push(other("Apply", fields));
            let wish = Desired {
                labels: [("tier".into(), "v".into())].into(),
                ..desired()
            };
            let plan = plan_merge(&secret, &wish);
            assert!(
                matches!(&plan, MergePlan::Conflict(why) if why.contains("label tier")),
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
            for (secret, named) in [(label, "label tier"), (annotation, "annotation note")] {
                let plan = plan_merge(&secret, &wish);
                assert!(
                    matches!(&plan, MergePlan::Conflict(why) if why.contains(named)),
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
            .extend(desired().marked(None));
        assert!(matches!(
            plan_merge(&secret, &desired()),
            MergePlan::InSync(_)
        ));
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
        later.revision.generation = 4;
        assert!(matches!(plan_merge(&secret, &later), MergePlan::InSync(_)));
        later.revision.content = "c2".into();
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
            consent: Consent::Given,
            ..desired()
        };
        assert!(matches!(
            plan_merge(&secret, &consents),
            MergePlan::Apply(_)
        ));
        let owner = Desired {
            ownership: Ownership::Owner,
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

    /// Two resources whose names differ, with consent for both.
    #[test]
    fn sources_neither_take_nor_drop_the_keys_of_each_other() {
        let mut other = desired();
        other.origin.name = "other".into();
        other.consent = Consent::Given;
        let shared = theirs(&[("K", "v")], &["K"]);
        assert!(
            matches!(plan_merge(&shared, &other), MergePlan::Conflict(why) if why.contains("key K"))
        );
        other.data = BTreeMap::from([("L".into(), b"w".to_vec().into())]);
        let MergePlan::Apply(body) = plan_merge(&shared, &other) else {
            panic!()
        };
        assert_eq!(
            body["data"],
            json!({"L": "dw=="}),
            "applied by another manager: K stays"
        );
        assert_ne!(
            field_manager(&other.origin),
            field_manager(&desired().origin)
        );
        assert!(body["metadata"]["annotations"].get(marks().0).is_none());
    }

    #[test]
    fn what_was_applied_under_the_former_manager_goes_over_to_its_source() {
        let mut secret = theirs(&[("K", "v")], &["K"]);
        let meta = &mut secret.metadata;
        meta.managed_fields.as_mut().unwrap()[1].manager = Some(FORMER_FIELD_MANAGER.into());
        let annotations = meta.annotations.as_mut().unwrap();
        annotations.insert(MERGED_ANNOTATION.into(), "SealedSecret/shop/db/u0".into());
        let MergePlan::Upgrade(patch) = plan_merge(&secret, &desired()) else {
            panic!()
        };
        let entries: Vec<ManagedFieldsEntry> =
            serde_json::from_value(patch["metadata"]["managedFields"].clone()).unwrap();
        assert_eq!(
            entries[0],
            secret.metadata.managed_fields.as_ref().unwrap()[0]
        );
        assert_eq!(patch["metadata"]["resourceVersion"], "9");
        secret.metadata.managed_fields = Some(entries);
        assert!(
            matches!(plan_merge(&secret, &desired()), MergePlan::Apply(_)),
            "K is ours"
        );

        let mut other = desired();
        other.origin.name = "other".into();
        other.consent = Consent::Given;
        assert!(
            matches!(plan_merge(&secret, &other), MergePlan::Conflict(_)),
            "not its keys"
        );
    }

    #[test]
    fn an_entry_of_each_manager_becomes_one() {
        let mut secret = theirs(&[("K", "v"), ("J", "w")], &["K"]);
        let meta = &mut secret.metadata;
        let entries = meta.managed_fields.as_mut().unwrap();
        let mut former = entries[1].clone();
        former.manager = Some(FORMER_FIELD_MANAGER.into());
        former.fields_v1.as_mut().unwrap().0 = json!({"f:data": {"f:J": {}}});
        entries.push(former);
        let annotations = meta.annotations.as_mut().unwrap();
        annotations.insert(MERGED_ANNOTATION.into(), "SealedSecret/shop/db/u0".into());
        let MergePlan::Upgrade(patch) = plan_merge(&secret, &desired()) else {
            panic!()
        };
        let entries = &patch["metadata"]["managedFields"];
        assert_eq!(entries.as_array().unwrap().len(), 2);
        let both = json!({"f:data": {"f:K": {}, "f:J": {}}});
        assert_eq!(entries[1]["fieldsV1"], both);
    }
}
