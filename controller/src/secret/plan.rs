//! Decides what to do with an existing Secret whose source owns all of it; pure but for a nonce.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use sealkit_core::api::GROUP;
use sealkit_core::api::rules::is_refused_type;
use sealkit_core::names::printable;
use serde_json::{Map, Value, json};

use super::desired::{
    Desired, OPAQUE, Rights, SOURCE_ANNOTATION, TEMPLATE_ANNOTATION, Takes, WRITTEN_ANNOTATION,
    is_mark_of_a_merge, nonce,
};
use super::{Before, size};
use crate::object::Version;

/// What to do with an existing Secret.
#[derive(Debug, PartialEq)]
pub enum Plan {
    /// Nothing: it is in sync.
    InSync(Version),
    /// Merge this patch.
    Patch(Value),
    /// Delete exactly this one, then create.
    Replace {
        /// UID of the Secret to delete.
        uid: String,
        /// Its resourceVersion.
        resource_version: String,
    },
    /// Leave it alone: it belongs to somebody else.
    Conflict(String),
    /// Leave it as it is: it is immutable, and its source does not want another one.
    Frozen,
}

/// Decides for the ownerships that cover the whole Secret. [`Before::ours`] is the UID of the Secret
/// that this process knows to be the source's: it stays so when it loses all its labels and
/// annotations. No status may say it: whoever may write the status could make any Secret ours.
///
/// A Secret that is right is written all the same, unless it is the one that was last written:
/// otherwise its author would learn that it holds the values of the source.
pub fn plan(existing: &Secret, desired: &Desired, before: Before<'_>) -> Plan {
    // Somebody else's.
    if let Some(why) = foreign(existing, desired, before.ours) {
        return Plan::Conflict(why);
    }
    // No room is left beside what others put on it.
    if let Some(why) = size::no_room(existing, desired) {
        return Plan::Conflict(why);
    }
    let current = Version::of(&existing.metadata);
    let is_of_another_type = is_of_another_type(existing, desired);
    let lasts = existing.immutable == Some(true) && desired.rights != Rights::Own;
    // It was to stay as it is.
    if lasts && (is_of_another_type || !has_data(existing, desired)) {
        return Plan::Frozen;
    }
    // Kubernetes lets nobody change the type or an immutable Secret.
    if is_of_another_type || !lasts && is_frozen_wrong(existing, desired, before) {
        return Plan::Replace {
            uid: current.uid,
            resource_version: current.resource_version,
        };
    }
    let mut patch = match changes(existing, desired) {
        // In sync.
        None if before.last.is(&current) => return Plan::InSync(current),
        None => json!({"metadata": {"annotations": {WRITTEN_ANNOTATION: nonce()}}}),
        // Only what differs.
        Some(patch) => patch,
    };
    // Only if nobody changed it meanwhile.
    patch["metadata"]["uid"] = current.uid.into();
    patch["metadata"]["resourceVersion"] = current.resource_version.into();
    Plan::Patch(patch)
}

fn is_of_another_type(existing: &Secret, desired: &Desired) -> bool {
    let type_ = existing.type_.as_deref().unwrap_or(OPAQUE);
    desired
        .secret_type
        .as_ref()
        .is_some_and(|wanted| wanted != type_)
}

/// Is it immutable, and not exactly what is wanted? An immutable Secret is created again for each
/// generation, even with the same bytes: otherwise its UID would reveal that they are the same. For
/// the same reason, it is created again if its values are not known to be those that were written:
/// it may have become immutable later than the last write, unless that was of this generation.
fn is_frozen_wrong(existing: &Secret, desired: &Desired, before: Before<'_>) -> bool {
    let annotations = existing.metadata.annotations.as_ref();
    let current = Version::of(&existing.metadata);
    let last = before.last;
    let is_written = last.is(&current) || before.synced && last.has_uid(&current.uid);
    let generation = desired.marks().generation;
    let wanted = desired.marked(Some(existing));
    let same_generation =
        annotations.and_then(|all| all.get(&generation)) == wanted.get(&generation);
    let is_right =
        desired.immutable && is_written && same_generation && has_data(existing, desired);
    existing.immutable == Some(true) && !is_right
}

fn has_data(existing: &Secret, desired: &Desired) -> bool {
    let keys = existing.data.as_ref().map_or(0, BTreeMap::len);
    keys == desired.data.len() && desired.has_values(existing)
}

/// A merge patch without its preconditions; `None` if the Secret is in sync.
fn changes(existing: &Secret, desired: &Desired) -> Option<Value> {
    let meta = &existing.metadata;
    let labels = metadata_patch(
        meta.labels.as_ref(),
        &desired.all_labels(),
        "labels",
        meta.annotations.as_ref(),
    );
    let annotations = metadata_patch(
        meta.annotations.as_ref(),
        &desired.all_annotations(Some(existing)),
        "annotations",
        meta.annotations.as_ref(),
    );
    let owners = owners_patch(existing, desired);
    let same_data = has_data(existing, desired);
    let freezes = desired.immutable && existing.immutable != Some(true);
    if same_data && labels.is_empty() && annotations.is_empty() && owners.is_none() && !freezes {
        return None;
    }
    let mut patch = json!({"metadata": {"labels": labels, "annotations": annotations}});
    if let Some(owners) = owners {
        patch["metadata"]["ownerReferences"] = json!(owners);
    }
    if !same_data {
        let mut encoded = desired.encoded();
        for key in existing.data.iter().flat_map(BTreeMap::keys) {
            encoded.entry(key.clone()).or_insert(Value::Null);
        }
        patch["data"] = encoded.into();
    }
    if freezes {
        patch["immutable"] = true.into();
    }
    Some(patch)
}

/// The owner references with ours corrected, if it is not right; those of others stay.
fn owners_patch(existing: &Secret, desired: &Desired) -> Option<Vec<OwnerReference>> {
    let owners = existing.metadata.owner_references.as_deref();
    let (ours, others): (Vec<OwnerReference>, Vec<OwnerReference>) = owners
        .unwrap_or_default()
        .iter()
        .cloned()
        .partition(|owner| desired.origin.is_lineage_of(owner));
    let wanted = desired.owner_references();
    // Whether deletion waits for us is left as it is: External Secrets writes it too.
    let is_same = |ours: &[OwnerReference]| {
        ours.iter()
            .map(without_block)
            .eq(wanted.iter().map(without_block))
    };
    (!is_same(&ours)).then(|| others.into_iter().chain(wanted).collect())
}

fn without_block(owner: &OwnerReference) -> OwnerReference {
    OwnerReference {
        block_owner_deletion: None,
        ..owner.clone()
    }
}

/// Does the Secret say that it was made from a later generation of the source, or from another
/// object of its name? Anybody who may write the Secret can say so, so it is only a reason to read
/// the source.
pub fn is_newer(existing: &Secret, desired: &Desired) -> bool {
    let annotation = |name| existing.metadata.annotations.as_ref()?.get(name);
    let marks = desired.marks();
    let later = annotation(&marks.generation)
        .and_then(|generation| generation.parse::<i64>().ok())
        .is_some_and(|generation| generation > desired.revision.generation);
    let origin = &desired.origin;
    let other = annotation(&marks.source)
        .is_some_and(|marker| marker.starts_with(&origin.lineage()) && *marker != origin.marker());
    later || other
}

/// Why a Secret is not ours to write; `None` if it is ours.
fn foreign(existing: &Secret, desired: &Desired, ours: Option<&str>) -> Option<String> {
    let name = &desired.name;
    if let Some(why) = never_a_target(existing, desired) {
        return Some(why);
    }
    let is_ours = ours.is_some_and(|uid| existing.metadata.uid.as_deref() == Some(uid));
    if is_ours || is_made_from(existing, desired) {
        return None;
    }
    if desired.rights == Rights::Wide {
        return not_to_take(existing, desired);
    }
    if !desired.adopt {
        let why = "already exists, and nothing on it says that it was made from this resource";
        // What is left to do, as each step is done.
        let next = if desired.is_allowed(existing, Takes::Adopt) {
            "it consents to adoption: set spec.target.adopt: true to take it over".to_owned()
        } else {
            let wanted = desired.wanted_consent(Takes::Adopt);
            format!("to take it over, annotate it with {wanted} and set spec.target.adopt: true")
        };
        return Some(format!("a Secret {name} {why}: it is left alone; {next}"));
    }
    (!desired.is_allowed(existing, Takes::Adopt)).then(|| {
        let wanted = desired.wanted_consent(Takes::Adopt);
        format!("the Secret {name} does not consent to adoption: annotate it with {wanted}")
    })
}

/// Why a source of wide rights leaves a Secret of somebody else alone: another source made it, or it
/// would have to be deleted.
fn not_to_take(existing: &Secret, desired: &Desired) -> Option<String> {
    if let Some(why) = of_another_source(existing, desired) {
        return Some(why);
    }
    is_of_another_type(existing, desired).then(|| {
        let (name, type_) = (&desired.name, existing.type_.as_deref().unwrap_or(OPAQUE));
        let type_ = printable(type_);
        format!("the Secret {name} has type {type_}, which nobody can change: it is left alone")
    })
}

/// The message for a Secret that another source of the namespace made.
pub(super) fn of_another_source(existing: &Secret, desired: &Desired) -> Option<String> {
    let name = &desired.name;
    let marker = existing
        .metadata
        .annotations
        .as_ref()
        .and_then(|all| all.get(SOURCE_ANNOTATION));
    // A copy from another namespace was made by nobody here.
    let is_here = |marker: &&String| marker.split('/').nth(1) == Some(&desired.origin.namespace);
    marker.filter(is_here).map(|marker| {
        let (kind, source) = marker.split_once('/').unwrap_or((marker, ""));
        let source = source.split('/').nth(1).unwrap_or_default();
        let (kind, source) = (printable(kind), printable(source));
        format!("the Secret {name} was made from {kind} {source}: it is left alone")
    })
}

/// Why no consent lets us write this Secret: it has another controller owner, or its type grants
/// more than its values.
pub(super) fn never_a_target(existing: &Secret, desired: &Desired) -> Option<String> {
    let name = &desired.name;
    let owners = existing.metadata.owner_references.iter().flatten();
    // External Secrets merges into Secrets of other controllers, but not into those of its own kind.
    let adds = desired.rights == Rights::Wide && desired.ownership.merges();
    let is_served = |owner: &OwnerReference| {
        let group = owner.api_version.split('/').next();
        group == Some(GROUP) || group == Some(desired.origin.kind.group)
    };
    let is_in_the_way =
        |owner: &&OwnerReference| owner.controller == Some(true) && (!adds || is_served(owner));
    let mut controllers = owners.filter(is_in_the_way);
    if let Some(other) = controllers.find(|owner| !desired.origin.is_lineage_of(owner)) {
        // The API server takes any text there.
        let (kind, owner) = (printable(&other.kind), printable(&other.name));
        return Some(format!(
            "the Secret {name} has {kind} {owner} as its controller owner: it is left alone"
        ));
    }
    let refused = existing
        .type_
        .as_deref()
        .filter(|name| is_refused_type(name));
    refused.map(|type_| format!("the Secret {name} has type {type_}: it is left alone"))
}

/// Was it made from the source, or from an earlier object of its name?
pub(super) fn is_made_from(existing: &Secret, desired: &Desired) -> bool {
    let meta = &existing.metadata;
    let owned = meta
        .owner_references
        .iter()
        .flatten()
        .any(|owner| owner.controller == Some(true) && desired.origin.is_lineage_of(owner));
    let marker = meta
        .annotations
        .as_ref()
        .and_then(|all| all.get(SOURCE_ANNOTATION));
    owned || marker.is_some_and(|marker| marker.starts_with(&desired.origin.lineage()))
}

/// The changes of labels or annotations: ours are set, those that the template dropped are removed,
/// and those of others stay.
fn metadata_patch(
    existing: Option<&BTreeMap<String, String>>,
    desired: &BTreeMap<String, String>,
    field: &str,
    annotations: Option<&BTreeMap<String, String>>,
) -> Map<String, Value> {
    let none = BTreeMap::new();
    let existing = existing.unwrap_or(&none);
    let mut patch: Map<String, Value> = desired
        .iter()
        .filter(|(name, value)| existing.get(*name) != Some(value))
        .map(|(name, value)| (name.clone(), value.clone().into()))
        .collect();
    let former = former_names(annotations, field);
    // Labels of these names are somebody else's.
    let is_left_over = |name: &&str| {
        field == "annotations" && (*name == TEMPLATE_ANNOTATION || is_mark_of_a_merge(name))
    };
    let left_over = existing.keys().map(String::as_str).filter(is_left_over);
    for name in former.iter().map(String::as_str).chain(left_over) {
        if existing.contains_key(name) && !desired.contains_key(name) {
            patch.insert(name.to_owned(), Value::Null);
        }
    }
    patch
}

/// The names of the labels or annotations that the template set when the Secret was last written.
pub(super) fn former_names(
    annotations: Option<&BTreeMap<String, String>>,
    field: &str,
) -> Vec<String> {
    let names = annotations.and_then(|all| all.get(TEMPLATE_ANNOTATION));
    let names: Option<Value> = names.and_then(|names| serde_json::from_str(names).ok());
    let names = names
        .as_ref()
        .and_then(|names| names.get(field)?.as_array());
    let names = names.into_iter().flatten().filter_map(Value::as_str);
    names.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;

    use super::super::Last;
    use super::super::desired::tests::desired;
    use super::super::desired::{
        ALLOW_ANNOTATION, Consent, MERGED_ANNOTATION, Ownership, Revision, Values,
    };
    use super::*;

    fn revision(generation: i64, content: &str) -> Revision {
        Revision {
            generation,
            content: content.into(),
            values: Values::Public("v1".into()),
        }
    }

    /// What the API server stores after a create.
    fn stored(desired: &Desired) -> Secret {
        let mut secret: Secret = serde_json::from_value(desired.manifest()).unwrap();
        secret.metadata.uid = Some("s1".into());
        secret.metadata.resource_version = Some("9".into());
        secret
    }

    /// The plan for the version that was last written.
    fn known(existing: &Secret, desired: &Desired, ours: Option<&str>) -> Plan {
        let last = Version::of(&existing.metadata);
        let before = Before {
            ours,
            last: Last::Version(&last),
            ..Before::default()
        };
        plan(existing, desired, before)
    }

    #[test]
    fn what_was_created_is_in_sync() {
        let plan = known(&stored(&desired()), &desired(), None);
        let target = Version {
            uid: "s1".into(),
            resource_version: "9".into(),
        };
        assert_eq!(plan, Plan::InSync(target));
    }

    #[test]
    fn drift_is_patched_exactly() {
        let mut secret = stored(&desired());
        let data = secret.data.as_mut().unwrap();
        data.insert("K".into(), ByteString(b"x".to_vec()));
        data.insert("foreign".into(), ByteString(b"y".to_vec()));
        let labels = secret.metadata.labels.as_mut().unwrap();
        labels.remove("team");
        labels.insert("other".into(), "kept".into());
        let Plan::Patch(patch) = known(&secret, &desired(), None) else {
            panic!()
        };
        assert_eq!(patch["data"], json!({"K": "dg==", "foreign": null}));
        assert_eq!(patch["metadata"]["labels"], json!({"team": "shop"}));
        assert_eq!(patch["metadata"]["resourceVersion"], "9");
    }

    #[test]
    fn dropped_template_labels_are_removed() {
        let mut later = desired();
        later.labels = BTreeMap::new();
        let Plan::Patch(patch) = known(&stored(&desired()), &later, None) else {
            panic!()
        };
        assert_eq!(patch["metadata"]["labels"], json!({"team": null}));
        assert_eq!(
            patch["metadata"]["annotations"],
            json!({TEMPLATE_ANNOTATION: null})
        );
    }

    #[test]
    fn a_foreign_secret_is_left_alone() {
        let mut secret = stored(&desired());
        secret.metadata.annotations = None;
        secret.metadata.labels = None;
        secret.metadata.owner_references = None;
        assert!(matches!(
            known(&secret, &desired(), None),
            Plan::Conflict(_)
        ));
        assert!(matches!(
            known(&secret, &desired(), Some("other")),
            Plan::Conflict(_)
        ));
        assert!(matches!(
            known(&secret, &desired(), Some("s1")),
            Plan::Patch(_)
        ));

        let mut other = stored(&desired());
        other.metadata.owner_references.as_mut().unwrap()[0].kind = "ExternalSecret".into();
        assert!(matches!(
            known(&other, &desired(), Some("s1")),
            Plan::Conflict(_)
        ));
    }

    #[test]
    fn names_of_owners_are_quoted_escaped_and_cut() {
        let mut secret = stored(&desired());
        let owner = &mut secret.metadata.owner_references.as_mut().unwrap()[0];
        owner.kind = "X\u{1b}]0;pwned\u{7}".into();
        owner.name = format!("line one\nReady=True{}", "x".repeat(900_000));
        let Plan::Conflict(why) = known(&secret, &desired(), None) else {
            panic!()
        };
        assert!(
            why.contains("X\\u{1b}]0;pwned\\u{7} line one\\nReady=True"),
            "{why}"
        );
        assert!(why.len() < 500);
    }

    #[test]
    fn each_generation_writes_whether_or_not_bytes_changed() {
        let mut next = desired();
        next.revision = revision(2, "c2");
        let Plan::Patch(patch) = known(&stored(&desired()), &next, None) else {
            panic!()
        };
        assert!(patch.get("data").is_none());
        let mut frozen = desired();
        frozen.immutable = true;
        next.immutable = true;
        assert!(matches!(
            known(&stored(&frozen), &next, None),
            Plan::Replace { .. }
        ));
    }

    #[test]
    fn a_generation_of_the_same_public_text_writes_nothing() {
        for immutable in [false, true] {
            let before = Desired {
                immutable,
                ..desired()
            };
            let next = Desired {
                revision: revision(2, "c1"),
                immutable,
                ..desired()
            };
            assert!(matches!(
                known(&stored(&before), &next, None),
                Plan::InSync(_)
            ));
            // The same text cannot have other bytes; if it had, they would be written.
            let mut other = stored(&before);
            let data = other.data.as_mut().unwrap();
            data.insert("K".into(), ByteString(b"x".to_vec()));
            assert!(!matches!(known(&other, &next, None), Plan::InSync(_)));
        }
    }

    /// Whoever creates a Secret can give it all our marks, and a guess of each value.
    #[test]
    fn a_secret_that_is_not_the_one_last_written_is_written_whatever_it_holds() {
        let version = |uid: &str, resource_version: &str| Version {
            uid: uid.into(),
            resource_version: resource_version.into(),
        };
        let (older, other) = (version("s1", "8"), version("s2", "9"));
        let lasts = [Last::Nothing, Last::Version(&older), Last::Version(&other)];
        for (last, synced) in lasts.iter().flat_map(|last| [(last, false), (last, true)]) {
            for immutable in [false, true] {
                let wish = Desired {
                    immutable,
                    ..desired()
                };
                let before = Before {
                    last: *last,
                    synced,
                    ..Before::default()
                };
                // What was immutable when it was last written cannot hold a guess.
                let holds = immutable && synced && last.has_uid("s1");
                for guess in ["v", "wrong"]
                    .into_iter()
                    .filter(|guess| !holds || *guess == "v")
                {
                    let mut secret = stored(&wish);
                    let data = secret.data.as_mut().unwrap();
                    data.insert("K".into(), ByteString(guess.into()));
                    let plan = plan(&secret, &wish, before);
                    let is_written = match plan {
                        Plan::Replace { .. } => immutable && !holds,
                        Plan::Patch(_) => !immutable || holds,
                        Plan::InSync(_) | Plan::Conflict(_) | Plan::Frozen => false,
                    };
                    assert!(is_written, "{last:?} {synced} {immutable} {guess}");
                }
            }
        }
    }

    #[test]
    fn a_secret_that_no_status_records_is_believed_after_a_start() {
        let before = Before {
            last: Last::Unrecorded,
            ..Before::default()
        };
        let plan = plan(&stored(&desired()), &desired(), before);
        assert!(matches!(plan, Plan::InSync(_)));
    }

    #[test]
    fn a_secret_of_a_later_generation_or_another_source_is_newer() {
        let mut later = desired();
        later.revision.generation = 2;
        assert!(is_newer(&stored(&later), &desired()));
        assert!(!is_newer(&stored(&desired()), &desired()));
        assert!(!is_newer(&stored(&desired()), &later));
        let mut again = desired();
        again.origin.uid = "u2".into();
        assert!(is_newer(&stored(&again), &desired()));
    }

    /// A Secret on which nothing says whose it is.
    fn unowned() -> Secret {
        let mut secret = stored(&desired());
        secret.metadata.annotations = None;
        secret.metadata.labels = None;
        secret.metadata.owner_references = None;
        secret
    }

    fn wide() -> Desired {
        Desired {
            adopt: true,
            consent: Consent::Given,
            rights: Rights::Wide,
            secret_type: None,
            ..desired()
        }
    }

    #[test]
    fn wide_rights_take_what_nobody_owns_and_keep_its_type() {
        let mut tls = unowned();
        tls.type_ = Some("kubernetes.io/tls".into());
        let Plan::Patch(patch) = known(&tls, &wide(), None) else {
            panic!()
        };
        assert_eq!(patch["metadata"]["ownerReferences"][0]["name"], "db");
        let asked = Desired {
            secret_type: Some("Opaque".into()),
            ..wide()
        };
        let plan = known(&tls, &asked, None);
        assert!(matches!(&plan, Plan::Conflict(why) if why.contains("has type kubernetes.io/tls")));
        // Its own Secret is made again.
        assert!(matches!(
            known(&tls, &asked, Some("s1")),
            Plan::Replace { .. }
        ));
    }

    #[test]
    fn wide_rights_take_no_secret_that_another_source_made() {
        let mut owned = unowned();
        let mut other = desired().origin;
        other.name = "other".into();
        owned.metadata.owner_references = Some(vec![other.owner_reference()]);
        let mut marked = unowned();
        let marker = (SOURCE_ANNOTATION.to_owned(), other.marker());
        marked.metadata.annotations = Some([marker].into());
        for secret in [owned, marked.clone()] {
            let plan = known(&secret, &wide(), None);
            assert!(
                matches!(&plan, Plan::Conflict(why) if why.contains("other")),
                "{plan:?}"
            );
        }
        // What was copied from another namespace was made by nobody here.
        other.namespace = "elsewhere".into();
        let marker = (SOURCE_ANNOTATION.to_owned(), other.marker());
        marked.metadata.annotations = Some([marker].into());
        assert!(matches!(known(&marked, &wide(), None), Plan::Patch(_)));
    }

    #[test]
    fn an_immutable_secret_of_external_secrets_keeps_its_values() {
        let wish = Desired {
            immutable: true,
            rights: Rights::Lasting,
            ..desired()
        };
        let mut other = stored(&wish);
        assert!(matches!(known(&other, &wish, None), Plan::InSync(_)));
        let mut labelled = wish;
        labelled.labels = [("team".to_owned(), "other".to_owned())].into();
        let Plan::Patch(patch) = known(&other, &labelled, None) else {
            panic!()
        };
        assert_eq!(patch["metadata"]["labels"], json!({"team": "other"}));
        assert!(patch["data"].is_null());
        let data = other.data.as_mut().unwrap();
        data.insert("K".into(), ByteString(b"another".to_vec()));
        assert_eq!(known(&other, &labelled, None), Plan::Frozen);
    }

    #[test]
    fn a_copy_from_another_namespace_is_foreign() {
        let mut copy = stored(&desired());
        copy.metadata.owner_references = None;
        let mut elsewhere = desired();
        elsewhere.origin.namespace = "b".into();
        assert!(matches!(known(&copy, &elsewhere, None), Plan::Conflict(_)));
    }

    #[test]
    fn a_recreated_source_takes_its_secret_back() {
        let mut again = desired();
        again.origin.uid = "u2".into();
        let Plan::Patch(patch) = known(&stored(&desired()), &again, None) else {
            panic!()
        };
        assert_eq!(
            patch["metadata"]["ownerReferences"]
                .as_array()
                .unwrap()
                .len(),
            1
        );
        assert_eq!(patch["metadata"]["ownerReferences"][0]["uid"], "u2");
    }

    #[test]
    fn what_kubernetes_cannot_change_is_replaced() {
        let mut tls = desired();
        tls.secret_type = Some("kubernetes.io/tls".into());
        let replace = Plan::Replace {
            uid: "s1".into(),
            resource_version: "9".into(),
        };
        assert_eq!(known(&stored(&desired()), &tls, None), replace);
        let mut frozen = stored(&desired());
        frozen.immutable = Some(true);
        assert_eq!(
            known(&frozen, &desired(), None),
            replace,
            "immutable is taken back"
        );
        let mut still = desired();
        still.immutable = true;
        assert!(matches!(known(&frozen, &still, None), Plan::InSync(_)));
        still.data.clear();
        assert_eq!(known(&frozen, &still, None), replace);
    }

    #[test]
    fn an_orphan_has_no_owner_and_can_be_owned_again() {
        let mut orphan = desired();
        orphan.ownership = Ownership::Orphan;
        let secret = stored(&orphan);
        assert!(
            secret
                .metadata
                .owner_references
                .iter()
                .flatten()
                .next()
                .is_none()
        );
        assert!(matches!(known(&secret, &orphan, None), Plan::InSync(_)));
        let Plan::Patch(patch) = known(&secret, &desired(), None) else {
            panic!()
        };
        assert_eq!(patch["metadata"]["ownerReferences"][0]["uid"], "u1");
        let Plan::Patch(patch) = known(&stored(&desired()), &orphan, None) else {
            panic!()
        };
        assert_eq!(patch["metadata"]["ownerReferences"], json!([]));
    }

    #[test]
    fn adoption_needs_the_wish_and_the_consent() {
        let mut theirs = stored(&desired());
        theirs.metadata.owner_references = None;
        theirs.metadata.labels = None;
        let allow = |name: &str| Some(BTreeMap::from([(ALLOW_ANNOTATION.into(), name.into())]));
        let table = [
            (false, false, "SealedSecret/db", false),
            (true, false, "", false),
            (true, false, "SealedSecret/credentials", false),
            (true, false, "ExternalSecret/db", false),
            (false, true, "", false),
            (true, false, "SealedSecret/db", true),
            (true, true, "", true),
        ];
        for (adopt, given, annotation, expected) in table {
            theirs.metadata.annotations = allow(annotation);
            let wish = Desired {
                adopt,
                consent: if given {
                    Consent::Given
                } else {
                    Consent::ByAnnotation
                },
                ..desired()
            };
            let adopted = matches!(known(&theirs, &wish, None), Plan::Patch(_));
            assert_eq!(adopted, expected, "{adopt} {given} {annotation}");
        }
        let wish = Desired {
            adopt: true,
            consent: Consent::Given,
            ..desired()
        };
        for type_ in sealkit_core::api::rules::REFUSED_SECRET_TYPES {
            theirs.type_ = Some(type_.to_owned());
            assert!(
                matches!(known(&theirs, &wish, None), Plan::Conflict(_)),
                "{type_}"
            );
            assert!(
                matches!(known(&theirs, &wish, Some("s1")), Plan::Conflict(_)),
                "{type_}"
            );
        }
    }

    #[test]
    fn what_was_merged_into_is_not_ours() {
        let mut theirs = stored(&desired());
        theirs.metadata.owner_references = None;
        let marker = desired().origin.marker();
        theirs.metadata.annotations = Some(BTreeMap::from([(MERGED_ANNOTATION.into(), marker)]));
        assert!(matches!(
            known(&theirs, &desired(), None),
            Plan::Conflict(_)
        ));
    }
}
