//! The Secret as its source wants it, and the marks that say so on the Secret itself.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use rand_core::{OsRng, RngCore};
use sealkit_core::names;
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use crate::object::{Key, Origin};

/// Label on every Secret that Sealkit writes; the watch on Secrets is limited to it.
pub const MANAGED_LABEL: &str = "sealkit.dev/managed";
/// Annotation with kind, namespace, name and UID of the source.
pub(super) const SOURCE_ANNOTATION: &str = "sealkit.dev/source";
/// Annotation with which a Secret of somebody else lets resources adopt it or merge into it:
/// `<Kind>/<name>`, several of them separated by commas.
pub(super) const ALLOW_ANNOTATION: &str = "sealkit.dev/allow";
/// Annotation on a Secret of somebody else with a source whose keys were merged into it, spelt as
/// in [`SOURCE_ANNOTATION`]. It makes nothing ours. Each source has an annotation of its own, since
/// two field managers cannot share one: the digest of its title follows after a dash.
pub(super) const MERGED_ANNOTATION: &str = "sealkit.dev/merged";
/// Annotation with the generation of the source. Each generation writes the Secret, whether or not
/// bytes changed, so that nobody can test a guess of a value by watching for writes. Generations
/// that leave the public text of the content unchanged are an exception: see
/// [`CONTENT_ANNOTATION`].
pub(super) const GENERATION_ANNOTATION: &str = "sealkit.dev/generation";
/// Annotation with the fingerprint of the public text that decides what the Secret holds. If it is
/// unchanged, envelopes were only sealed to other keys, and nothing needs to be written. That
/// reveals nothing, and a rotation restarts no workload.
pub(super) const CONTENT_ANNOTATION: &str = "sealkit.dev/content";
/// Annotation with a text that changes when the values do, and stays through everything else: see
/// [`Values`]. Workloads are restarted by it.
pub(super) const VALUES_ANNOTATION: &str = "sealkit.dev/values";
/// Annotation with a random text, which changes the Secret if nothing else does: see
/// [`super::plan::plan`].
pub(super) const WRITTEN_ANNOTATION: &str = "sealkit.dev/written";
/// Annotation with the names of the template's labels and annotations, so that those that the
/// template drops can be removed.
pub(super) const TEMPLATE_ANNOTATION: &str = "sealkit.dev/template-metadata";

/// The type of a Secret that says none.
pub(super) const OPAQUE: &str = "Opaque";

/// Who owns the Secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// Its source: it is deleted with the source.
    Owner,
    /// Nobody: it stays when the source is deleted.
    Orphan,
    /// Somebody else: keys are merged into it.
    Merge,
    /// Nobody: keys are merged into it, and it is created if it does not exist.
    CreateOrMerge,
}

impl Ownership {
    /// Are keys merged into a Secret that may have others?
    pub const fn merges(self) -> bool {
        matches!(self, Self::Merge | Self::CreateOrMerge)
    }
}

/// Has somebody who may decide it given the source a Secret that is not its own?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consent {
    /// Yes: the administrator has, for the whole namespace.
    Given,
    /// If the Secret says so in its annotation `sealkit.dev/allow`.
    ByAnnotation,
}

/// What a source does to Secrets and keys of others, and to its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rights {
    /// With consent, it adopts a Secret and adds keys to it. It takes no key of somebody else, and
    /// makes its immutable Secrets again.
    Own,
    /// The same, but it leaves immutable Secrets as they are.
    Lasting,
    /// As External Secrets has them: it also takes keys of somebody else. A Secret that another
    /// source made stays with it all the same.
    Wide,
}

/// The state of the source that a Secret is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision {
    /// Generation of the source.
    pub generation: i64,
    /// Fingerprint of the public text of the source that decides what the Secret holds.
    pub content: String,
    /// How it is known whether values change.
    pub values: Values,
}

/// How it is known whether a write changes the values of a Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Values {
    /// By the public text that decides them, which has this fingerprint. A value that is sealed again
    /// counts as another one, so that nobody can test a guess by watching for restarts.
    Public(String),
    /// They are those that this process wrote last.
    Same,
    /// They are others than this process wrote last. The random text stands for them.
    Other(String),
    /// This process did not write the Secret yet. They are other ones if the Secret holds others, and
    /// the random text then stands for them.
    Unknown(String),
    /// The same, of a source that never made a Secret: one that does not exist held others.
    First(String),
}

impl Values {
    /// Compares digests of what was written last, if this process did, and of what is written now.
    pub fn compared(last: Option<u64>, now: u64, is_first: bool) -> Self {
        match last {
            Some(last) if last == now => Self::Same,
            Some(_) => Self::Other(nonce()),
            None if is_first => Self::First(nonce()),
            None => Self::Unknown(nonce()),
        }
    }
}

/// A text that nobody can have written before.
pub(super) fn nonce() -> String {
    format!("{:016x}", OsRng.next_u64())
}

/// What a source does to a Secret that is not its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Takes {
    /// Takes over all of it: other keys go, and it goes when the source goes.
    Adopt,
    /// Adds keys.
    Merge,
}

impl Takes {
    /// The word that narrows a consent.
    const fn word(self) -> &'static str {
        match self {
            Self::Adopt => "adopt",
            Self::Merge => "merge",
        }
    }
}

/// The names of the annotations with which a source marks a Secret.
pub(super) struct Marks {
    /// Holds [`Origin::marker`].
    pub(super) source: String,
    /// Holds the generation.
    pub(super) generation: String,
    /// Holds the fingerprint of the content.
    pub(super) content: String,
    /// Stands for the values.
    pub(super) values: String,
}

impl Marks {
    /// Those of this source.
    pub(super) fn of(origin: &Origin, ownership: Ownership) -> Self {
        let (source, suffix) = if ownership.merges() {
            (MERGED_ANNOTATION, format!("-{}", origin.digest()))
        } else {
            (SOURCE_ANNOTATION, String::new())
        };
        Self {
            source: format!("{source}{suffix}"),
            generation: format!("{GENERATION_ANNOTATION}{suffix}"),
            content: format!("{CONTENT_ANNOTATION}{suffix}"),
            values: format!("{VALUES_ANNOTATION}{suffix}"),
        }
    }
}

/// The Secret as its source wants it. No Debug; values are wiped when dropped.
pub struct Desired {
    /// The source. The Secret is in its namespace.
    pub origin: Origin,
    /// Name of the Secret.
    pub name: String,
    /// The state of the source.
    pub revision: Revision,
    /// Who owns the Secret.
    pub ownership: Ownership,
    /// Does the source ask to take over an existing Secret?
    pub adopt: bool,
    /// May it adopt, or merge into, a Secret that is not its own?
    pub consent: Consent,
    /// How far its rights go.
    pub rights: Rights,
    /// Type of the Secret. Without one, it keeps the type that it has, and is created as `Opaque`.
    pub secret_type: Option<String>,
    /// Is it immutable?
    pub immutable: bool,
    /// Labels of the template.
    pub labels: BTreeMap<String, String>,
    /// Annotations of the template.
    pub annotations: BTreeMap<String, String>,
    /// The values by key.
    pub data: BTreeMap<String, Zeroizing<Vec<u8>>>,
    /// The most bytes that all values together can have, as public text tells.
    pub public_bytes: usize,
}

impl Desired {
    /// Namespace and name of the Secret.
    pub fn key(&self) -> Key {
        Key {
            namespace: self.origin.namespace.clone(),
            name: self.name.clone(),
        }
    }

    /// The whole manifest, for creating.
    pub(super) fn manifest(&self) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {
                "name": self.name,
                "namespace": self.origin.namespace,
                "labels": self.all_labels(),
                "annotations": self.all_annotations(None),
                "ownerReferences": self.owner_references(),
            },
            "type": self.secret_type.as_deref().unwrap_or(OPAQUE),
            "immutable": self.immutable.then_some(true),
            "data": self.encoded(),
        })
    }

    pub(super) fn owner_references(&self) -> Vec<OwnerReference> {
        let owner = (self.ownership == Ownership::Owner).then(|| self.origin.owner_reference());
        owner.into_iter().collect()
    }

    /// Has somebody who may write the Secret, or the administrator, let the source do this to it?
    pub(super) fn is_allowed(&self, existing: &Secret, what: Takes) -> bool {
        let annotations = existing.metadata.annotations.as_ref();
        let allowed = annotations.and_then(|all| all.get(ALLOW_ANNOTATION));
        let mut named = allowed.iter().flat_map(|all| all.split(',')).map(str::trim);
        let title = self.origin.title();
        let narrow = format!("{title}:{}", what.word());
        self.consent == Consent::Given || named.any(|named| named == title || named == narrow)
    }

    /// The annotation that a Secret without consent needs.
    pub(super) fn wanted_consent(&self, what: Takes) -> String {
        format!(
            "{ALLOW_ANNOTATION}: {}:{}",
            self.origin.title(),
            what.word()
        )
    }

    pub(super) fn all_labels(&self) -> BTreeMap<String, String> {
        let mut labels = self.labels.clone();
        labels.insert(MANAGED_LABEL.to_owned(), "true".to_owned());
        labels
    }

    pub(super) fn marks(&self) -> Marks {
        Marks::of(&self.origin, self.ownership)
    }

    /// The template's annotations and our marks. The generation is that of `existing` if the
    /// content is the same.
    pub(super) fn marked(&self, existing: Option<&Secret>) -> BTreeMap<String, String> {
        let marks = self.marks();
        let Revision {
            generation,
            content,
            ..
        } = &self.revision;
        let written = |name: &String| existing?.metadata.annotations.as_ref()?.get(name);
        let generation = written(&marks.generation)
            .filter(|_| written(&marks.content) == Some(content))
            .cloned()
            .unwrap_or_else(|| generation.to_string());
        let is_changed = |without: bool| existing.map_or(without, |it| !self.is_held_by(it));
        let values = match &self.revision.values {
            // Written before there were such marks, for the same text: it is no change of values.
            Values::Public(_)
                if written(&marks.content) == Some(content) && written(&marks.values).is_none() =>
            {
                None
            }
            Values::Public(text) | Values::Other(text) => Some(text),
            Values::Unknown(text) if is_changed(false) => Some(text),
            Values::First(text) if is_changed(true) => Some(text),
            Values::Same | Values::Unknown(_) | Values::First(_) => written(&marks.values),
        };
        let values = values.cloned().map(|text| (marks.values, text));
        let mut annotations = self.annotations.clone();
        annotations.insert(marks.generation, generation);
        annotations.insert(marks.content, content.clone());
        annotations.insert(marks.source, self.origin.marker());
        annotations.extend(values);
        annotations
    }

    /// The same, and the names of what the template sets.
    pub(super) fn all_annotations(&self, existing: Option<&Secret>) -> BTreeMap<String, String> {
        let mut annotations = self.marked(existing);
        if !self.labels.is_empty() || !self.annotations.is_empty() {
            let names = json!({
                "labels": self.labels.keys().collect::<Vec<_>>(),
                "annotations": self.annotations.keys().collect::<Vec<_>>(),
            });
            annotations.insert(TEMPLATE_ANNOTATION.to_owned(), names.to_string());
        }
        annotations
    }

    /// Was the Secret written for this source, and does it hold its values?
    fn is_held_by(&self, existing: &Secret) -> bool {
        let annotations = existing.metadata.annotations.as_ref();
        let marker = annotations.and_then(|all| all.get(&self.marks().source));
        let is_marked = marker.is_some_and(|marker| marker.starts_with(&self.origin.lineage()));
        let keys = existing.data.as_ref().map_or(0, BTreeMap::len);
        is_marked
            && (self.ownership.merges() || keys == self.data.len())
            && self.has_values(existing)
    }

    /// Does the Secret hold the values, perhaps beside others?
    pub(super) fn has_values(&self, existing: &Secret) -> bool {
        self.data.iter().all(|(key, wanted)| {
            let value = existing.data.as_ref().and_then(|data| data.get(key));
            value.is_some_and(|value| value.0 == **wanted)
        })
    }

    /// A digest of the values and of where they go, which only this process can compare: `by` is
    /// random.
    pub fn digest(&self, by: &RandomState) -> u64 {
        let values = self.data.iter();
        let values = values.map(|(key, value)| (key.as_str(), value.as_slice()));
        by.hash_one((self.name.as_str(), values.collect::<Vec<_>>()))
    }

    pub(super) fn encoded(&self) -> Map<String, Value> {
        let encode = |value: &Zeroizing<Vec<u8>>| BASE64_STANDARD.encode(value.as_slice()).into();
        self.data
            .iter()
            .map(|(key, value)| (key.clone(), encode(value)))
            .collect()
    }
}

/// A text that changes when values change that Sealkit wrote into the Secret with this metadata. Empty
/// if nothing stands for them yet; `None` if it wrote none.
pub fn values_of(metadata: &ObjectMeta) -> Option<String> {
    let label = metadata.labels.as_ref()?.get(MANAGED_LABEL);
    label.filter(|value| *value == "true")?;
    let all = metadata.annotations.iter().flatten();
    let values: Vec<_> = all
        .filter(|(name, _)| name.starts_with(VALUES_ANNOTATION))
        .collect();
    // Whoever may write the Secret chooses the texts.
    Some(match values.as_slice() {
        [] => String::new(),
        values => names::digest(json!(values).to_string().as_bytes()),
    })
}

/// Is this the name of an annotation with which a source marks a merge?
pub(super) fn is_mark_of_a_merge(name: &str) -> bool {
    let is_digest = |text: &str| text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
    let marks = [
        MERGED_ANNOTATION,
        GENERATION_ANNOTATION,
        CONTENT_ANNOTATION,
        VALUES_ANNOTATION,
    ];
    let mut marks = marks.into_iter();
    name == MERGED_ANNOTATION
        || marks.any(|mark| {
            let rest = name
                .strip_prefix(mark)
                .and_then(|rest| rest.strip_prefix('-'));
            rest.is_some_and(is_digest)
        })
}

#[cfg(test)]
pub(super) mod tests {
    use k8s_openapi::ByteString;

    use super::*;
    use crate::object::SEALED_SECRET;

    /// A Secret under another name than its source's.
    pub(in crate::secret) fn desired() -> Desired {
        Desired {
            origin: Origin {
                kind: SEALED_SECRET,
                namespace: "shop".into(),
                name: "db".into(),
                uid: "u1".into(),
            },
            name: "credentials".into(),
            revision: Revision {
                generation: 1,
                content: "c1".into(),
                values: Values::Public("v1".into()),
            },
            ownership: Ownership::Owner,
            adopt: false,
            consent: Consent::ByAnnotation,
            rights: Rights::Own,
            secret_type: Some("Opaque".into()),
            immutable: false,
            labels: BTreeMap::from([("team".into(), "shop".into())]),
            annotations: BTreeMap::new(),
            data: BTreeMap::from([("K".into(), Zeroizing::new(b"v".to_vec()))]),
            public_bytes: 60,
        }
    }

    #[test]
    fn consent_names_the_source_and_may_name_several() {
        let consents = |allowed: &str| {
            let mut secret = Secret::default();
            let annotation = (ALLOW_ANNOTATION.to_owned(), allowed.to_owned());
            secret.metadata.annotations = Some([annotation].into());
            [Takes::Adopt, Takes::Merge].map(|what| desired().is_allowed(&secret, what))
        };
        assert_eq!(consents("SealedSecret/db"), [true, true]);
        let list = "ExternalSecret/a, SealedSecret/db ,SealedSecret/c";
        assert_eq!(consents(list), [true, true]);
        assert_eq!(consents("SealedSecret/db:merge"), [false, true]);
        assert_eq!(
            consents("SealedSecret/c, SealedSecret/db:adopt"),
            [true, false]
        );
        for other in [
            "",
            "db",
            "SealedSecret/credentials",
            "SealedSecret/db2",
            "SealedSecret/db/x",
            "SealedSecret/db:",
            "SealedSecret/db:all",
        ] {
            assert_eq!(consents(other), [false, false], "{other}");
        }
    }

    #[test]
    fn names_of_marks_are_names_that_the_server_takes() {
        let merged = Desired {
            ownership: Ownership::Merge,
            ..desired()
        };
        let Marks {
            source,
            generation,
            content,
            values,
        } = merged.marks();
        for name in [source, generation, content, values] {
            assert!(is_mark_of_a_merge(&name));
            assert!(name.split('/').next_back().unwrap().len() <= 63);
        }
        assert!(!is_mark_of_a_merge(GENERATION_ANNOTATION));
    }

    #[test]
    fn what_stands_for_values_changes_with_them_alone() {
        let text = |text: &str| text.to_owned();
        let wish = |values| {
            let mut wish = desired();
            wish.revision.values = values;
            wish
        };
        let existing = |value: &str, present: Option<&str>, marked: bool| {
            let source = marked.then(|| (SOURCE_ANNOTATION, desired().origin.marker()));
            let values = present.map(|present| (VALUES_ANNOTATION, text(present)));
            let annotations = source.into_iter().chain(values);
            let annotations = annotations.map(|(name, value)| (text(name), value));
            Some(Secret {
                data: Some([(text("K"), ByteString(value.into()))].into()),
                metadata: ObjectMeta {
                    annotations: Some(annotations.collect()),
                    ..ObjectMeta::default()
                },
                ..Secret::default()
            })
        };
        let (public, other) = (Values::Public(text("p")), Values::Other(text("n")));
        let (unknown, first) = (Values::Unknown(text("n")), Values::First(text("n")));
        let cases = [
            (
                "public text",
                &public,
                existing("x", Some("o"), true),
                Some("p"),
            ),
            ("public text, again", &public, None, Some("p")),
            (
                "drift",
                &Values::Same,
                existing("x", Some("o"), true),
                Some("o"),
            ),
            ("made again", &Values::Same, None, None),
            ("changed", &other, existing("x", Some("o"), true), Some("n")),
            ("changed and made again", &other, None, Some("n")),
            (
                "right at a start",
                &unknown,
                existing("v", Some("o"), true),
                Some("o"),
            ),
            ("never changed", &unknown, existing("v", None, true), None),
            (
                "changed before a start",
                &unknown,
                existing("x", Some("o"), true),
                Some("n"),
            ),
            (
                "somebody else's",
                &unknown,
                existing("v", Some("o"), false),
                Some("n"),
            ),
            ("lost at a start", &unknown, None, None),
            ("new", &first, None, Some("n")),
            (
                "new, over what it holds",
                &first,
                existing("v", Some("o"), true),
                Some("o"),
            ),
        ];
        for (what, values, existing, expected) in cases {
            let marked = wish(values.clone()).marked(existing.as_ref());
            let found = marked.get(VALUES_ANNOTATION).map(String::as_str);
            assert_eq!(found, expected, "{what}");
        }
    }

    #[test]
    fn digests_of_values_are_equal_for_equal_values_of_one_process() {
        let by = RandomState::new();
        let mut other = desired();
        assert_eq!(other.digest(&by), desired().digest(&by));
        assert_ne!(other.digest(&RandomState::new()), desired().digest(&by));
        other.data.insert("K".into(), Zeroizing::new(b"w".to_vec()));
        assert_ne!(other.digest(&by), desired().digest(&by));
        other = desired();
        other.name = "elsewhere".into();
        assert_ne!(other.digest(&by), desired().digest(&by));
        let compared = |last| Values::compared(last, 1, false);
        assert_eq!(compared(Some(1)), Values::Same);
        assert!(matches!(compared(Some(2)), Values::Other(_)));
        assert!(matches!(compared(None), Values::Unknown(_)));
        let first = Values::compared(None, 1, true);
        assert!(matches!(first, Values::First(_)));
    }

    #[test]
    fn a_secret_from_before_the_marks_gets_one_with_its_next_values() {
        let mut old = Secret::default();
        let content = |content: &str| [(CONTENT_ANNOTATION.to_owned(), content.to_owned())];
        let marked = |old: &Secret| desired().marked(Some(old)).remove(VALUES_ANNOTATION);
        old.metadata.annotations = Some(content("c1").into());
        assert_eq!(marked(&old), None);
        old.metadata.annotations = Some(content("c0").into());
        assert_eq!(marked(&old).as_deref(), Some("v1"));
    }

    #[test]
    fn only_marks_of_values_stand_for_them() {
        let metadata = |managed: bool, annotations: &[(&str, &str)]| {
            let texts = |all: &[(&str, &str)]| {
                let all = all.iter();
                all.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                    .collect()
            };
            ObjectMeta {
                labels: managed.then(|| texts(&[(MANAGED_LABEL, "true")])),
                annotations: Some(texts(annotations)),
                ..ObjectMeta::default()
            }
        };
        let one = (VALUES_ANNOTATION, "a,b=c");
        assert_eq!(values_of(&metadata(false, &[one])), None);
        assert_eq!(values_of(&metadata(true, &[])).as_deref(), Some(""));
        let first = values_of(&metadata(true, &[one])).unwrap();
        assert_eq!(first.len(), 32);
        let beside = [one, (CONTENT_ANNOTATION, "c")];
        assert_eq!(values_of(&metadata(true, &beside)), Some(first.clone()));
        let merged = [one, ("sealkit.dev/values-0123", "d")];
        assert_ne!(values_of(&metadata(true, &merged)), Some(first));
    }
}
