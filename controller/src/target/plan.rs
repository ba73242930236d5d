use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use sealkit_core::api::rules::is_refused_type;
use sealkit_core::api::{CreationPolicy, TargetStatus};
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

/// Label on every Secret that Sealkit writes; the watch on Secrets is limited to it.
pub const MANAGED_LABEL: &str = "sealkit.dev/managed";
/// Annotation with kind, namespace, name and UID of the source.
pub const SOURCE_ANNOTATION: &str = "sealkit.dev/source";
/// Annotation with which a Secret that somebody else owns lets a resource adopt it or merge into
/// it: `<Kind>/<name>`.
pub const ALLOW_ANNOTATION: &str = "sealkit.dev/allow";
/// Annotation on a Secret of somebody else with the source whose keys were merged into it, spelt
/// as in [`SOURCE_ANNOTATION`]. It makes nothing ours.
pub(super) const MERGED_ANNOTATION: &str = "sealkit.dev/merged";
/// Annotation with the generation of the source: each generation writes the Secret, whether or not
/// bytes changed, so that nobody can test a guess of a value by watching for writes. But for those
/// that change no public text of the content, see [`CONTENT_ANNOTATION`].
const GENERATION_ANNOTATION: &str = "sealkit.dev/generation";
/// Annotation with the fingerprint of the public text that decides what the Secret holds: where it
/// is as before, an envelope was sealed to other keys and nothing needs to be written. That tells
/// nobody anything, and no workload restarts because of a rotation.
const CONTENT_ANNOTATION: &str = "sealkit.dev/content";
/// Annotation with the names of the template's labels and annotations, so that those that the
/// template drops can be removed.
const TEMPLATE_ANNOTATION: &str = "sealkit.dev/template-metadata";

/// The resource that a Secret is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Its apiVersion.
    pub api_version: String,
    /// Its kind.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
}

impl Source {
    pub(super) fn marker(&self, namespace: &str) -> String {
        format!("{}{}", self.lineage(namespace), self.uid)
    }

    /// The marker without the UID: a source that was deleted and made again has the same. With
    /// the namespace in it, a copy of the Secret elsewhere belongs to nobody there.
    fn lineage(&self, namespace: &str) -> String {
        format!("{}/{namespace}/{}/", self.kind, self.name)
    }

    /// Does this owner reference name the source, or one of its name that was there before?
    fn is_lineage_of(&self, owner: &OwnerReference) -> bool {
        owner.kind == self.kind
            && owner.name == self.name
            && owner.api_version.split('/').next() == self.api_version.split('/').next()
    }

    fn owner_reference(&self) -> OwnerReference {
        OwnerReference {
            api_version: self.api_version.clone(),
            kind: self.kind.to_owned(),
            name: self.name.clone(),
            uid: self.uid.clone(),
            controller: Some(true),
            block_owner_deletion: None,
        }
    }
}

/// The Secret as its source wants it. No Debug; values are wiped when dropped.
pub struct Desired {
    /// Namespace of source and Secret.
    pub namespace: String,
    /// Name of source and Secret.
    pub name: String,
    /// Generation of the source.
    pub generation: i64,
    /// Fingerprint of the public text of the source that decides what the Secret holds.
    pub content: String,
    /// The resource it is made from.
    pub source: Source,
    /// Who owns the Secret.
    pub policy: CreationPolicy,
    /// Does the source ask to take over an existing Secret?
    pub adopt: bool,
    /// Did the administrator consent to adoption and merging for the whole namespace?
    pub namespace_consents: bool,
    /// Type of the Secret.
    pub secret_type: String,
    /// Is it immutable?
    pub immutable: bool,
    /// Labels of the template.
    pub labels: BTreeMap<String, String>,
    /// Annotations of the template.
    pub annotations: BTreeMap<String, String>,
    /// The values by key.
    pub data: BTreeMap<String, Zeroizing<Vec<u8>>>,
}

impl Desired {
    /// The whole manifest, for creating.
    pub(super) fn manifest(&self) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {
                "name": self.name,
                "namespace": self.namespace,
                "labels": self.all_labels(),
                "annotations": self.all_annotations(None),
                "ownerReferences": self.owner_references(),
            },
            "type": self.secret_type,
            "immutable": self.immutable.then_some(true),
            "data": self.encoded(),
        })
    }

    fn owner_references(&self) -> Vec<OwnerReference> {
        let owner = (self.policy == CreationPolicy::Owner).then(|| self.source.owner_reference());
        owner.into_iter().collect()
    }

    /// Does somebody who may write the Secret, or the administrator, let the source have it?
    pub(super) fn is_allowed(&self, existing: &Secret) -> bool {
        let wanted = format!("{}/{}", self.source.kind, self.name);
        let annotations = existing.metadata.annotations.as_ref();
        let allowed = annotations.and_then(|all| all.get(ALLOW_ANNOTATION));
        self.namespace_consents || allowed == Some(&wanted)
    }

    pub(super) fn all_labels(&self) -> BTreeMap<String, String> {
        let mut labels = self.labels.clone();
        labels.insert(MANAGED_LABEL.to_owned(), "true".to_owned());
        labels
    }

    /// The template's annotations with content and generation, and the source under the name of
    /// `marker`. The generation is that of `existing` where the content is the same.
    pub(super) fn stamped(
        &self,
        marker: &str,
        existing: Option<&BTreeMap<String, String>>,
    ) -> BTreeMap<String, String> {
        let mut annotations = self.annotations.clone();
        let written = |name| existing.and_then(|all| all.get(name));
        let generation = written(GENERATION_ANNOTATION)
            .filter(|_| written(CONTENT_ANNOTATION) == Some(&self.content))
            .cloned()
            .unwrap_or_else(|| self.generation.to_string());
        annotations.insert(GENERATION_ANNOTATION.to_owned(), generation);
        annotations.insert(CONTENT_ANNOTATION.to_owned(), self.content.clone());
        annotations.insert(marker.to_owned(), self.source.marker(&self.namespace));
        annotations
    }

    fn all_annotations(
        &self,
        existing: Option<&BTreeMap<String, String>>,
    ) -> BTreeMap<String, String> {
        let mut annotations = self.stamped(SOURCE_ANNOTATION, existing);
        if !self.labels.is_empty() || !self.annotations.is_empty() {
            let names = json!({
                "labels": self.labels.keys().collect::<Vec<_>>(),
                "annotations": self.annotations.keys().collect::<Vec<_>>(),
            });
            annotations.insert(TEMPLATE_ANNOTATION.to_owned(), names.to_string());
        }
        annotations
    }

    pub(super) fn encoded(&self) -> Map<String, Value> {
        let encode = |value: &Zeroizing<Vec<u8>>| BASE64_STANDARD.encode(value.as_slice()).into();
        self.data
            .iter()
            .map(|(key, value)| (key.clone(), encode(value)))
            .collect()
    }
}

/// What to do with an existing Secret.
#[derive(Debug, PartialEq)]
pub enum Plan {
    /// Nothing: it is right.
    InSync(TargetStatus),
    /// Merge this patch.
    Patch(Value),
    /// Delete exactly this one, then create.
    Replace {
        /// UID of the Secret to delete.
        uid: String,
        /// Its resourceVersion.
        resource_version: String,
    },
    /// Leave it: it belongs to somebody else.
    Conflict(String),
}

/// Decides, for the policies that own all of the Secret. `recorded_uid` is the UID that the
/// source's status remembers: a Secret whose labels and annotations were all removed is still ours.
pub fn plan(existing: &Secret, desired: &Desired, recorded_uid: Option<&str>) -> Plan {
    let meta = &existing.metadata;
    let uid = meta.uid.clone().unwrap_or_default();
    let resource_version = meta.resource_version.clone().unwrap_or_default();
    let owners = meta.owner_references.as_deref().unwrap_or_default();
    let source = &desired.source;

    if let Some(why) = foreign(existing, desired, recorded_uid) {
        return Plan::Conflict(why);
    }
    let same_lineage = |owner: &OwnerReference| source.is_lineage_of(owner);

    let empty = BTreeMap::new();
    let data = existing.data.as_ref();
    let same_data = data.map_or(0, BTreeMap::len) == desired.data.len()
        && desired.data.iter().all(|(key, value)| {
            data.and_then(|d| d.get(key))
                .is_some_and(|old| old.0 == **value)
        });
    let existing_type = existing.type_.as_deref().unwrap_or("Opaque");
    let was_immutable = existing.immutable == Some(true);
    let wanted = desired.all_annotations(meta.annotations.as_ref());
    let written = meta.annotations.as_ref();
    let written = written.and_then(|all| all.get(GENERATION_ANNOTATION));
    let same_generation = written == wanted.get(GENERATION_ANNOTATION);
    // An immutable Secret is made anew for each generation: only then does the UID tell nothing.
    let frozen_is_right = same_data && desired.immutable && same_generation;
    if existing_type != desired.secret_type || (was_immutable && !frozen_is_right) {
        return Plan::Replace {
            uid,
            resource_version,
        };
    }

    let labels = metadata_patch(
        meta.labels.as_ref().unwrap_or(&empty),
        &desired.all_labels(),
        "labels",
        meta.annotations.as_ref(),
    );
    let annotations = metadata_patch(
        meta.annotations.as_ref().unwrap_or(&empty),
        &wanted,
        "annotations",
        meta.annotations.as_ref(),
    );
    let mut references: Vec<OwnerReference> = owners
        .iter()
        .filter(|owner| !same_lineage(owner))
        .cloned()
        .collect();
    references.extend(desired.owner_references());
    let is_ours = |owner: &&OwnerReference| same_lineage(owner);
    let same_owner = owners
        .iter()
        .filter(is_ours)
        .eq(&desired.owner_references());
    let set_immutable = desired.immutable && !was_immutable;
    if same_data && labels.is_empty() && annotations.is_empty() && same_owner && !set_immutable {
        return Plan::InSync(TargetStatus {
            name: desired.name.clone(),
            uid,
            resource_version,
            merged: false,
        });
    }

    let mut patch = json!({
        "metadata": {
            "uid": uid,
            "resourceVersion": resource_version,
            "labels": labels,
            "annotations": annotations,
        },
    });
    if !same_owner {
        patch["metadata"]["ownerReferences"] = json!(references);
    }
    if !same_data {
        let mut encoded = desired.encoded();
        for key in data.iter().flat_map(|data| data.keys()) {
            encoded.entry(key.clone()).or_insert(Value::Null);
        }
        patch["data"] = encoded.into();
    }
    if set_immutable {
        patch["immutable"] = true.into();
    }
    Plan::Patch(patch)
}

/// Does the Secret say that it was made from a later generation of the source, or from another
/// object of its name? Anybody who may write the Secret can say so: a reason to look, no more.
pub fn is_newer(existing: &Secret, desired: &Desired) -> bool {
    let annotation = |name| existing.metadata.annotations.as_ref()?.get(name);
    let later = annotation(GENERATION_ANNOTATION)
        .and_then(|generation| generation.parse::<i64>().ok())
        .is_some_and(|generation| generation > desired.generation);
    let source = &desired.source;
    let marker = annotation(match desired.policy {
        CreationPolicy::Owner | CreationPolicy::Orphan => SOURCE_ANNOTATION,
        CreationPolicy::Merge => MERGED_ANNOTATION,
    });
    let other = marker.is_some_and(|marker| {
        marker.starts_with(&source.lineage(&desired.namespace))
            && *marker != source.marker(&desired.namespace)
    });
    later || other
}

/// Why a Secret is not ours to write, if it is not.
fn foreign(existing: &Secret, desired: &Desired, recorded_uid: Option<&str>) -> Option<String> {
    let name = &desired.name;
    if let Some(why) = never_a_target(existing, desired) {
        return Some(why);
    }
    let recorded = recorded_uid.is_some_and(|uid| existing.metadata.uid.as_deref() == Some(uid));
    if recorded || is_made_from(existing, desired) {
        return None;
    }
    if !desired.adopt {
        let why = "exists that was not made from this resource, it is left alone";
        return Some(format!("a Secret {name} {why}"));
    }
    (!desired.is_allowed(existing)).then(|| {
        format!(
            "the Secret {name} does not consent to be adopted: annotate it with \
             {ALLOW_ANNOTATION}: {}/{name}",
            desired.source.kind
        )
    })
}

/// Secrets that no consent opens: those of another controller, and those whose type hands out
/// more than values.
pub(super) fn never_a_target(existing: &Secret, desired: &Desired) -> Option<String> {
    let name = &desired.name;
    let owners = existing.metadata.owner_references.iter().flatten();
    let mut controllers = owners.filter(|owner| owner.controller == Some(true));
    if let Some(other) = controllers.find(|owner| !desired.source.is_lineage_of(owner)) {
        let (kind, owner) = (&other.kind, &other.name);
        return Some(format!(
            "the Secret {name} belongs to {kind} {owner}, it is left alone"
        ));
    }
    let refused = existing
        .type_
        .as_deref()
        .filter(|name| is_refused_type(name));
    refused.map(|type_| format!("the Secret {name} is of type {type_}, it is left alone"))
}

/// Was it made from the source, or from one of its name that was there before?
pub(super) fn is_made_from(existing: &Secret, desired: &Desired) -> bool {
    let meta = &existing.metadata;
    let owned = meta
        .owner_references
        .iter()
        .flatten()
        .any(|owner| owner.controller == Some(true) && desired.source.is_lineage_of(owner));
    let marker = meta
        .annotations
        .as_ref()
        .and_then(|all| all.get(SOURCE_ANNOTATION));
    let lineage = desired.source.lineage(&desired.namespace);
    owned || marker.is_some_and(|marker| marker.starts_with(&lineage))
}

/// What must change in labels or annotations: ours set, those that the template dropped removed,
/// everybody else's left.
fn metadata_patch(
    existing: &BTreeMap<String, String>,
    desired: &BTreeMap<String, String>,
    field: &str,
    annotations: Option<&BTreeMap<String, String>>,
) -> Map<String, Value> {
    let mut patch: Map<String, Value> = desired
        .iter()
        .filter(|(name, value)| existing.get(*name) != Some(value))
        .map(|(name, value)| (name.clone(), value.clone().into()))
        .collect();
    let former: Option<Value> = annotations
        .and_then(|all| all.get(TEMPLATE_ANNOTATION))
        .and_then(|names| serde_json::from_str(names).ok());
    let former = former
        .as_ref()
        .and_then(|former| former.get(field)?.as_array());
    let former = former.into_iter().flatten().filter_map(Value::as_str);
    let own: &[&str] = if field == "annotations" {
        &[TEMPLATE_ANNOTATION, MERGED_ANNOTATION]
    } else {
        &[]
    };
    for name in former.chain(own.iter().copied()) {
        if existing.contains_key(name) && !desired.contains_key(name) {
            patch.insert(name.to_owned(), Value::Null);
        }
    }
    patch
}

#[cfg(test)]
pub(super) mod tests {
    use k8s_openapi::ByteString;

    use super::*;

    pub(in crate::target) fn desired() -> Desired {
        Desired {
            namespace: "shop".into(),
            name: "db".into(),
            generation: 1,
            content: "c1".into(),
            source: Source {
                api_version: "sealkit.dev/v1beta1".into(),
                kind: "SealedSecret",
                name: "db".into(),
                uid: "u1".into(),
            },
            policy: CreationPolicy::Owner,
            adopt: false,
            namespace_consents: false,
            secret_type: "Opaque".into(),
            immutable: false,
            labels: BTreeMap::from([("team".into(), "shop".into())]),
            annotations: BTreeMap::new(),
            data: BTreeMap::from([("K".into(), Zeroizing::new(b"v".to_vec()))]),
        }
    }

    /// What the API server stores after a create.
    fn stored(desired: &Desired) -> Secret {
        let mut secret: Secret = serde_json::from_value(desired.manifest()).unwrap();
        secret.metadata.uid = Some("s1".into());
        secret.metadata.resource_version = Some("9".into());
        secret
    }

    #[test]
    fn what_was_created_is_in_sync() {
        let plan = plan(&stored(&desired()), &desired(), None);
        let target = TargetStatus {
            name: "db".into(),
            uid: "s1".into(),
            resource_version: "9".into(),
            merged: false,
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
        let Plan::Patch(patch) = plan(&secret, &desired(), None) else {
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
        let Plan::Patch(patch) = plan(&stored(&desired()), &later, None) else {
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
        assert!(matches!(plan(&secret, &desired(), None), Plan::Conflict(_)));
        assert!(matches!(
            plan(&secret, &desired(), Some("other")),
            Plan::Conflict(_)
        ));
        assert!(matches!(
            plan(&secret, &desired(), Some("s1")),
            Plan::Patch(_)
        ));

        let mut other = stored(&desired());
        other.metadata.owner_references.as_mut().unwrap()[0].kind = "ExternalSecret".into();
        assert!(matches!(
            plan(&other, &desired(), Some("s1")),
            Plan::Conflict(_)
        ));
    }

    #[test]
    fn each_generation_writes_whether_or_not_bytes_changed() {
        let mut next = desired();
        next.generation = 2;
        next.content = "c2".into();
        let Plan::Patch(patch) = plan(&stored(&desired()), &next, None) else {
            panic!()
        };
        assert!(patch.get("data").is_none());
        let mut frozen = desired();
        frozen.immutable = true;
        next.immutable = true;
        assert!(matches!(
            plan(&stored(&frozen), &next, None),
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
                generation: 2,
                immutable,
                ..desired()
            };
            assert!(matches!(
                plan(&stored(&before), &next, None),
                Plan::InSync(_)
            ));
            // Other bytes under the same text cannot be; if they were, they would be written.
            let mut other = stored(&before);
            let data = other.data.as_mut().unwrap();
            data.insert("K".into(), ByteString(b"x".to_vec()));
            assert!(!matches!(plan(&other, &next, None), Plan::InSync(_)));
        }
    }

    #[test]
    fn a_secret_of_a_later_generation_or_another_source_is_newer() {
        let mut later = desired();
        later.generation = 2;
        assert!(is_newer(&stored(&later), &desired()));
        assert!(!is_newer(&stored(&desired()), &desired()));
        assert!(!is_newer(&stored(&desired()), &later));
        let mut again = desired();
        again.source.uid = "u2".into();
        assert!(is_newer(&stored(&again), &desired()));
    }

    #[test]
    fn a_copy_from_another_namespace_is_foreign() {
        let mut copy = stored(&desired());
        copy.metadata.owner_references = None;
        let mut elsewhere = desired();
        elsewhere.namespace = "b".into();
        assert!(matches!(plan(&copy, &elsewhere, None), Plan::Conflict(_)));
    }

    #[test]
    fn a_recreated_source_takes_its_secret_back() {
        let mut again = desired();
        again.source.uid = "u2".into();
        let Plan::Patch(patch) = plan(&stored(&desired()), &again, None) else {
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
        tls.secret_type = "kubernetes.io/tls".into();
        let replace = Plan::Replace {
            uid: "s1".into(),
            resource_version: "9".into(),
        };
        assert_eq!(plan(&stored(&desired()), &tls, None), replace);
        let mut frozen = stored(&desired());
        frozen.immutable = Some(true);
        assert_eq!(
            plan(&frozen, &desired(), None),
            replace,
            "immutable is taken back"
        );
        let mut still = desired();
        still.immutable = true;
        assert!(matches!(plan(&frozen, &still, None), Plan::InSync(_)));
        still.data.clear();
        assert_eq!(plan(&frozen, &still, None), replace);
    }
    #[test]
    fn an_orphan_has_no_owner_and_can_be_owned_again() {
        let mut orphan = desired();
        orphan.policy = CreationPolicy::Orphan;
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
        assert!(matches!(plan(&secret, &orphan, None), Plan::InSync(_)));
        let Plan::Patch(patch) = plan(&secret, &desired(), None) else {
            panic!()
        };
        assert_eq!(patch["metadata"]["ownerReferences"][0]["uid"], "u1");
        let Plan::Patch(patch) = plan(&stored(&desired()), &orphan, None) else {
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
            (true, false, "SealedSecret/other", false),
            (true, false, "ExternalSecret/db", false),
            (false, true, "", false),
            (true, false, "SealedSecret/db", true),
            (true, true, "", true),
        ];
        for (adopt, namespace_consents, annotation, expected) in table {
            theirs.metadata.annotations = allow(annotation);
            let wish = Desired {
                adopt,
                namespace_consents,
                ..desired()
            };
            let adopted = matches!(plan(&theirs, &wish, None), Plan::Patch(_));
            assert_eq!(
                adopted, expected,
                "{adopt} {namespace_consents} {annotation}"
            );
        }
        let wish = Desired {
            adopt: true,
            namespace_consents: true,
            ..desired()
        };
        for type_ in sealkit_core::api::rules::REFUSED_SECRET_TYPES {
            theirs.type_ = Some(type_.to_owned());
            assert!(
                matches!(plan(&theirs, &wish, None), Plan::Conflict(_)),
                "{type_}"
            );
            assert!(
                matches!(plan(&theirs, &wish, Some("s1")), Plan::Conflict(_)),
                "{type_}"
            );
        }
    }

    #[test]
    fn what_was_merged_into_is_not_ours() {
        let mut theirs = stored(&desired());
        theirs.metadata.owner_references = None;
        let marker = desired().source.marker("shop");
        theirs.metadata.annotations = Some(BTreeMap::from([(MERGED_ANNOTATION.into(), marker)]));
        assert!(matches!(plan(&theirs, &desired(), None), Plan::Conflict(_)));
    }
}
