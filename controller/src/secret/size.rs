//! How large a Secret may become, decided from public sizes before anything is written; pure.
//!
//! The API server limits the bytes of a Secret. Whoever may add bytes of a known number beside a
//! value that he cannot read would learn its exact length from the write that fails. So our own
//! limits come first. They count a sealed value as the most that its sealed text can hold, and keep
//! the server's limits out of reach. What belongs to somebody else has limits of its own, which the
//! source cannot move.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use sealkit_core::sealed::size_class;
use serde::Serialize;

use super::desired::{Desired, OPAQUE};
use super::merge::{
    field_manager, is_applied_by, is_source, managed_names, names_of_others, owned_names,
};
use super::plan::former_names;
use crate::kubernetes::FIELD_MANAGER;

const KIB: usize = 1024;

/// Bytes of our own entry in managedFields besides the names in it, at most.
const OWN_ENTRY: usize = 768;

/// Bytes of the parts of a Secret. The API server takes values of 1 MiB and annotations of 256 KiB,
/// and etcd 1.5 MiB in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Size {
    /// All values.
    values: usize,
    /// All annotations with their names.
    annotations: usize,
    /// All other names, and a second time those in managedFields.
    names: usize,
    /// What else is in the metadata of others: owners, finalizers, managedFields.
    rest: usize,
}

/// What one source puts into a Secret of its own.
const WHOLE: Size = Size {
    values: 1024 * KIB,
    annotations: 64 * KIB,
    names: 192 * KIB,
    rest: 0,
};
/// What others may put on such a Secret. With [`WHOLE`], it stays below the server's limits.
const BESIDE: Size = Size {
    values: 0,
    annotations: 96 * KIB,
    names: 48 * KIB,
    rest: 64 * KIB,
};
/// What all sources together merge into a Secret of somebody else.
const MERGED: Size = Size {
    values: 512 * KIB,
    annotations: 64 * KIB,
    names: 64 * KIB,
    rest: 0,
};
/// What else that Secret may have. With [`MERGED`], it stays below the server's limits.
const THEIRS: Size = Size {
    values: 512 * KIB,
    annotations: 192 * KIB,
    names: 64 * KIB,
    rest: 64 * KIB,
};

impl Size {
    fn entry(&mut self, name: &str, value: usize) {
        self.values += value;
        self.name(name);
    }

    fn label(&mut self, name: &str, value: &str) {
        self.names += value.len();
        self.name(name);
    }

    fn annotation(&mut self, name: &str, value: &str) {
        self.annotations += name.len() + value.len();
        self.name(name);
    }

    fn name(&mut self, name: &str) {
        /// What surrounds a name where it stands, and in managedFields.
        const AROUND: usize = 16;
        self.names += 2 * name.len() + AROUND;
    }

    /// The part that is over the limit, and its limit in KiB.
    fn over(self, limit: Self) -> Option<(&'static str, usize)> {
        let parts = [
            ("values", self.values, limit.values),
            ("annotations", self.annotations, limit.annotations),
            ("names", self.names, limit.names),
            ("other metadata", self.rest, limit.rest),
        ];
        let over = parts.into_iter().find(|(_, bytes, limit)| bytes > limit);
        over.map(|(part, _, limit)| (part, limit / KIB))
    }
}

/// Why the Secret would be too large, from the source's public text alone.
pub(super) fn too_large(desired: &Desired) -> Option<String> {
    let limit = if desired.ownership.merges() {
        MERGED
    } else {
        WHOLE
    };
    own(desired).over(limit).map(refusal)
}

fn refusal((part, limit): (&'static str, usize)) -> String {
    let counted = match part {
        "values" => ", where a sealed value counts as the most that its sealed text can hold",
        _ => "",
    };
    format!("its {part} would have more than {limit} KiB{counted}")
}

/// Why too little room is left in an existing Secret beside what belongs to others. `None` if what
/// we write fits, whatever it is.
pub(super) fn no_room(existing: &Secret, desired: &Desired) -> Option<String> {
    let name = &desired.name;
    let (sources, mut theirs, limit) = if desired.ownership.merges() {
        let (sources, theirs) = shared(existing, desired);
        (sources, theirs, THEIRS)
    } else {
        (Size::default(), beside(existing, desired), BESIDE)
    };
    theirs.rest = rest(existing, desired);
    if let Some((part, limit)) = theirs.over(limit) {
        let what = format!("{part} of somebody else with more than {limit} KiB");
        return Some(format!("the Secret {name} has {what}: nothing was written"));
    }
    let mut all = own(desired);
    all.values += sources.values;
    all.annotations += sources.annotations;
    all.names += sources.names;
    let over = all.over(MERGED).filter(|_| sources != Size::default())?;
    let why = refusal(over);
    Some(format!(
        "the Secret {name} would hold too much of several resources: {why}"
    ))
}

/// What the source puts into the Secret.
fn own(desired: &Desired) -> Size {
    let mut size = Size::default();
    for key in desired.data.keys() {
        size.entry(key, 0);
    }
    size.values = desired.public_bytes;
    size.names += desired.secret_type.as_deref().unwrap_or(OPAQUE).len();
    for (name, value) in desired.all_labels() {
        size.label(&name, &value);
    }
    for (name, value) in desired.all_annotations(None) {
        size.annotation(&name, &value);
    }
    size
}

/// The labels and annotations of others, which stay in a Secret that is written as a whole.
fn beside(existing: &Secret, desired: &Desired) -> Size {
    let mut size = Size::default();
    let annotations = existing.metadata.annotations.as_ref();
    let former = former_names(annotations, "annotations");
    let ours = desired.all_annotations(Some(existing));
    for (name, value) in annotations.into_iter().flatten() {
        if !ours.contains_key(name) && !former.contains(name) {
            size.annotation(name, value);
        }
    }
    let former = former_names(annotations, "labels");
    let ours = desired.all_labels();
    for (name, value) in existing.metadata.labels.iter().flatten() {
        if !ours.contains_key(name) && !former.contains(name) {
            size.label(name, value);
        }
    }
    size
}

/// What else stays of others in the metadata, whoever wrote it.
fn rest(existing: &Secret, desired: &Desired) -> usize {
    let mut meta = existing.metadata.clone();
    meta.labels = None;
    meta.annotations = None;
    // It grows by itself.
    meta.resource_version = None;
    let managed = meta.managed_fields.take().unwrap_or_default();
    let owners = meta.owner_references.iter_mut();
    owners.for_each(|owners| owners.retain(|owner| !desired.origin.is_lineage_of(owner)));
    // The names of ours count with what we write. Whether we wrote before must make no difference.
    let is_ours = |entry: &&ManagedFieldsEntry| entry.manager.as_deref() == Some(FIELD_MANAGER);
    let (ours, theirs): (Vec<_>, Vec<_>) = managed.iter().partition(is_ours);
    let bytes = |entries: Vec<&ManagedFieldsEntry>| -> usize {
        let staying = entries
            .into_iter()
            .map(|entry| staying_bytes(entry, existing, desired));
        staying.sum()
    };
    json_size(&meta)
        + bytes(theirs)
        + bytes(ours).saturating_sub(own(desired).names / 2 + OWN_ENTRY)
}

/// The size of what one manager manages once our write has removed what we remove.
fn staying_bytes(entry: &ManagedFieldsEntry, existing: &Secret, desired: &Desired) -> usize {
    if desired.ownership.merges() {
        return if is_applied_by(entry, &field_manager(&desired.origin)) {
            0
        } else {
            json_size(entry)
        };
    }
    let keys = entry
        .fields_v1
        .as_ref()
        .and_then(|all| all.0.get("f:data")?.as_object());
    let keys = keys
        .into_iter()
        .flatten()
        .filter_map(|(field, _)| field.strip_prefix("f:"));
    let is_removed = |key: &&str| {
        let exists = existing
            .data
            .as_ref()
            .is_some_and(|data| data.contains_key(*key));
        exists && !desired.data.contains_key(*key)
    };
    let removed = keys
        .filter(is_removed)
        .map(|key| key.len() + r#""f:":{},"#.len());
    json_size(entry).saturating_sub(removed.sum())
}

fn json_size(part: &impl Serialize) -> usize {
    serde_json::to_vec(part).map_or(0, |text| text.len())
}

/// What a Secret of somebody else has besides what the source merged: the parts of other sources,
/// and the rest.
fn shared(existing: &Secret, desired: &Desired) -> (Size, Size) {
    let meta = &existing.metadata;
    let (mut sources, mut theirs) = (Size::default(), Size::default());
    let none = BTreeMap::new();
    let keys = Shares::of(existing, desired, &["f:data"]);
    for (key, value) in existing.data.iter().flatten() {
        match keys.of_name(key) {
            Share::Ours => {}
            // The value of another source counts by its class too.
            Share::Source => sources.entry(key, size_class(value.0.len())),
            Share::Theirs => theirs.entry(key, value.0.len()),
        }
    }
    let labels = Shares::of(existing, desired, &["f:metadata", "f:labels"]);
    for (name, value) in meta.labels.as_ref().unwrap_or(&none) {
        match labels.of_name(name) {
            Share::Ours => {}
            Share::Source => sources.label(name, value),
            Share::Theirs => theirs.label(name, value),
        }
    }
    let annotations = Shares::of(existing, desired, &["f:metadata", "f:annotations"]);
    for (name, value) in meta.annotations.as_ref().unwrap_or(&none) {
        match annotations.of_name(name) {
            Share::Ours => {}
            Share::Source => sources.annotation(name, value),
            Share::Theirs => theirs.annotation(name, value),
        }
    }
    (sources, theirs)
}

/// Whose a field is.
enum Share {
    /// The source's alone: the next apply replaces or removes it.
    Ours,
    /// That of other sources.
    Source,
    /// Somebody else's.
    Theirs,
}

/// The managers of the names under one path.
struct Shares {
    ours: BTreeSet<String>,
    others: BTreeSet<String>,
    sources: BTreeSet<String>,
}

impl Shares {
    fn of(existing: &Secret, desired: &Desired, path: &[&str]) -> Self {
        Self {
            ours: owned_names(existing, desired, path),
            others: names_of_others(existing, desired, path),
            sources: managed_names(existing, path, is_source),
        }
    }

    fn of_name(&self, name: &str) -> Share {
        if self.ours.contains(name) && !self.others.contains(name) {
            Share::Ours
        } else if self.sources.contains(name) {
            Share::Source
        } else {
            Share::Theirs
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;
    use serde_json::json;

    use super::super::desired::{Ownership, tests};
    use super::*;

    fn merging() -> Desired {
        Desired {
            ownership: Ownership::Merge,
            labels: BTreeMap::new(),
            ..tests::desired()
        }
    }

    /// A Secret with a value and an annotation of these sizes, applied by this field manager.
    fn with(manager: &str, value: usize, annotation: usize) -> Secret {
        let mut secret: Secret = serde_json::from_value(json!({"metadata": {
            "annotations": {"note": "x".repeat(annotation)},
            "managedFields": [{"manager": manager, "operation": "Apply", "fieldsV1": {
                "f:data": {"f:theirs": {}},
                "f:metadata": {"f:annotations": {"f:note": {}}},
            }}],
        }}))
        .unwrap();
        let value = ByteString(vec![b'x'; value]);
        secret.data = Some([("theirs".to_owned(), value)].into());
        secret
    }

    #[test]
    fn only_public_sizes_decide_what_a_source_may_write() {
        for (ownership, limit) in [(Ownership::Owner, 1 << 20), (Ownership::Merge, 1 << 19)] {
            for (public_bytes, refused) in [(limit, false), (limit + 1, true)] {
                // The value's own length is the same.
                let desired = Desired {
                    ownership,
                    public_bytes,
                    ..tests::desired()
                };
                assert_eq!(too_large(&desired).is_some(), refused, "{public_bytes}");
            }
        }
        let annotation = |bytes| Desired {
            annotations: [("note".to_owned(), "x".repeat(bytes))].into(),
            ..tests::desired()
        };
        assert_eq!(too_large(&annotation(60 * KIB)), None);
        let why = too_large(&annotation(64 * KIB)).unwrap();
        assert!(why.contains("annotations"), "{why}");
        let mut long = merging();
        let key = |index| (format!("{index:0250}"), Vec::new().into());
        long.data = (0..128).map(key).collect();
        assert!(too_large(&long).unwrap().contains("names"));
    }

    /// Whatever the source writes, the answer about a Secret of somebody else is the same.
    #[test]
    fn the_size_of_somebody_elses_secret_has_a_limit_that_no_source_moves() {
        for (value, annotation, refused) in [
            (512 * KIB, 190 * KIB, false),
            (512 * KIB + 1, 0, true),
            (0, 193 * KIB, true),
        ] {
            let secret = with("kubectl", value, annotation);
            for public_bytes in [0, 1, 300 * KIB, 512 * KIB] {
                let desired = Desired {
                    public_bytes,
                    ..merging()
                };
                let told = no_room(&secret, &desired);
                assert_eq!(told.is_some(), refused, "{value} {annotation}");
                assert_eq!(told, no_room(&secret, &merging()));
            }
        }
        let noted = with("kubectl", 0, 193 * KIB);
        assert!(no_room(&noted, &tests::desired()).is_some());
    }

    /// Everything that stays beside our values takes part in the server's limits.
    #[test]
    fn all_metadata_of_others_counts_and_nothing_of_ours() {
        let long = |bytes| "x".repeat(bytes);
        let owner = |kind: &str, bytes: usize| {
            json!({"ownerReferences": [{"apiVersion": format!("sealkit.dev/{}", long(bytes)),
                "kind": kind, "name": "db", "uid": "1"}]})
        };
        let managed = |field: &str, bytes| {
            json!({"managedFields": [{"manager": "anybody", "operation": "Update",
                "fieldsV1": {"f:data": {format!("f:{}", field.repeat(bytes)): {}}}}]})
        };
        let kib = 100 * KIB;
        for (metadata, refused) in [
            (json!({"labels": {"theirs": long(kib)}}), true),
            (owner("ConfigMap", kib), true),
            (owner("ConfigMap", KIB), false),
            (owner("SealedSecret", kib), false),
            (json!({"finalizers": [long(kib)]}), true),
            (json!({"selfLink": long(kib)}), true),
            (managed("x", kib), true),
            (managed("x", KIB), false),
            (managed("removed", kib / 7), false),
        ] {
            let mut secret: Secret = serde_json::from_value(json!({"metadata": metadata})).unwrap();
            let removed = ("removed".repeat(kib / 7), ByteString::default());
            secret.data = Some([removed].into());
            let told = no_room(&secret, &tests::desired());
            assert_eq!(told.is_some(), refused, "{told:?}");
        }
        let sum = |sizes: [Size; 2]| {
            let all = sizes.map(|size| size.values + size.annotations + size.names + size.rest);
            all.iter().sum::<usize>()
        };
        for sizes in [[WHOLE, BESIDE], [MERGED, THEIRS]] {
            assert!(
                sum(sizes) + 32 * KIB <= 1536 * KIB,
                "etcd's limit is out of reach"
            );
        }
    }

    #[test]
    fn a_secret_with_many_long_keys_leaves_room_for_the_next_generation() {
        let keys = |first: usize| (first..first + 350).map(|index| format!("{index:0240}"));
        let mut many = tests::desired();
        many.data = keys(0).map(|key| (key, Vec::new().into())).collect();
        assert_eq!(too_large(&many), None);
        let fields: BTreeMap<String, _> =
            keys(0).map(|key| (format!("f:{key}"), json!({}))).collect();
        let mut secret: Secret = serde_json::from_value(many.manifest()).unwrap();
        let entry = json!([{"manager": "seal-controller", "operation": "Update", "fieldsV1": {"f:data": fields}}]);
        secret.metadata.managed_fields = serde_json::from_value(entry).unwrap();
        assert_eq!(no_room(&secret, &many), None);
        assert_eq!(no_room(&secret, &tests::desired()), None);
        let mut others = tests::desired();
        others.data = keys(1000).map(|key| (key, Vec::new().into())).collect();
        assert_eq!(no_room(&secret, &others), None);
    }

    #[test]
    fn a_long_type_counts() {
        let typed = Desired {
            secret_type: Some("x".repeat(192 * KIB)),
            ..tests::desired()
        };
        assert!(too_large(&typed).unwrap().contains("names"));
    }

    #[test]
    fn the_values_of_another_source_count_by_their_class() {
        let mut other = merging();
        other.origin.name = "other".into();
        let manager = super::super::merge::field_manager(&other.origin);
        let room = |value: usize, public_bytes: usize| {
            let desired = Desired {
                public_bytes,
                ..merging()
            };
            no_room(&with(&manager, value, 0), &desired).is_none()
        };
        for public_bytes in (500 * KIB)..(512 * KIB) {
            let told = [5000, 5010, 5020].map(|value| room(value, public_bytes));
            assert!(told[0] == told[1] && told[1] == told[2], "{public_bytes}");
        }
        assert!(room(5000, 500 * KIB) && !room(5000, 512 * KIB));
        let own = field_manager_of(&merging());
        assert_eq!(no_room(&with(&own, 600 * KIB, 0), &merging()), None);
    }

    fn field_manager_of(desired: &Desired) -> String {
        super::super::merge::field_manager(&desired.origin)
    }
}
