//! The Secret as its source wants it, and the marks that say so on the Secret itself.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
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
    pub(super) fn marked(
        &self,
        existing: Option<&BTreeMap<String, String>>,
    ) -> BTreeMap<String, String> {
        let marks = self.marks();
        let Revision {
            generation,
            content,
        } = &self.revision;
        let written = |name: &String| existing.and_then(|all| all.get(name));
        let generation = written(&marks.generation)
            .filter(|_| written(&marks.content) == Some(content))
            .cloned()
            .unwrap_or_else(|| generation.to_string());
        let mut annotations = self.annotations.clone();
        annotations.insert(marks.generation, generation);
        annotations.insert(marks.content, content.clone());
        annotations.insert(marks.source, self.origin.marker());
        annotations
    }

    /// The same, and the names of what the template sets.
    pub(super) fn all_annotations(
        &self,
        existing: Option<&BTreeMap<String, String>>,
    ) -> BTreeMap<String, String> {
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

    pub(super) fn encoded(&self) -> Map<String, Value> {
        let encode = |value: &Zeroizing<Vec<u8>>| BASE64_STANDARD.encode(value.as_slice()).into();
        self.data
            .iter()
            .map(|(key, value)| (key.clone(), encode(value)))
            .collect()
    }
}

/// Is this the name of an annotation with which a source marks a merge?
pub(super) fn is_mark_of_a_merge(name: &str) -> bool {
    let is_digest = |text: &str| text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
    let mut marks = [MERGED_ANNOTATION, GENERATION_ANNOTATION, CONTENT_ANNOTATION].into_iter();
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
        } = merged.marks();
        for name in [source, generation, content] {
            assert!(is_mark_of_a_merge(&name));
            assert!(name.split('/').next_back().unwrap().len() <= 63);
        }
        assert!(!is_mark_of_a_merge(GENERATION_ANNOTATION));
    }
}
