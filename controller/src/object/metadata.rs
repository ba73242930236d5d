//! Metadata as the API server sends it, read leniently.

use std::collections::BTreeMap;
use std::marker::PhantomData;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::Resource;
use sealkit_core::api::external::{ESO_FINALIZER, ESO_NAMESPACE_FINALIZER};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// Labels or annotations.
type Texts = Option<BTreeMap<String, String>>;

/// The metadata that we use. Whoever writes an object chooses most of the rest (`managedFields` and
/// `ownerReferences`, say), and can make it so deep, strange or large that a typed reader refuses
/// the list that holds it or fills the memory. What is not named here is skipped, however deep.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Fields<T> {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    generation: Option<i64>,
    #[serde(default, deserialize_with = "readable")]
    creation_timestamp: Option<Time>,
    #[serde(default, deserialize_with = "present")]
    deletion_timestamp: Option<Time>,
    #[serde(default)]
    labels: T,
    #[serde(default)]
    annotations: T,
    #[serde(default, deserialize_with = "of_the_peer")]
    finalizers: Option<Vec<String>>,
}

impl<T> Fields<T> {
    fn with(self, texts: impl Fn(T) -> Texts) -> ObjectMeta {
        ObjectMeta {
            name: self.name,
            namespace: self.namespace,
            uid: self.uid,
            resource_version: self.resource_version,
            generation: self.generation,
            creation_timestamp: self.creation_timestamp,
            deletion_timestamp: self.deletion_timestamp,
            labels: texts(self.labels),
            annotations: texts(self.annotations),
            finalizers: self.finalizers,
            ..ObjectMeta::default()
        }
    }
}

/// Reads the metadata that we use.
pub fn used<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    Ok(Fields::<Texts>::deserialize(deserializer)?.with(|texts| texts))
}

/// Reads the metadata that we use, without labels and annotations.
fn textless<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    Ok(Fields::<IgnoredAny>::deserialize(deserializer)?.with(|_| None))
}

/// Reads a field; one that cannot be read counts as absent.
pub(super) fn readable<'de, D: Deserializer<'de>, T: DeserializeOwned>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    let text = Option::<Box<RawValue>>::deserialize(deserializer)?;
    Ok(text.and_then(|text| serde_json::from_str(text.get()).ok()))
}

/// Reads a time whose presence says something; one that cannot be read is still present.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Time>, D::Error> {
    let text = Option::<Box<RawValue>>::deserialize(deserializer)?;
    let read = |text: &str| serde_json::from_str(text).unwrap_or(Time(Timestamp::UNIX_EPOCH));
    Ok(text.map(|text| read(text.get())))
}

/// Reads the finalizers of External Secrets, the only ones that say something, whatever else the list
/// holds.
fn of_the_peer<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<String>>, D::Error> {
    let texts = readable::<D, Vec<Box<RawValue>>>(deserializer)?;
    let texts = texts.into_iter().flatten();
    let names = texts.filter_map(|text| serde_json::from_str::<String>(text.get()).ok());
    let known: Vec<String> = names
        .filter(|name| name == ESO_FINALIZER || name.starts_with(ESO_NAMESPACE_FINALIZER))
        .collect();
    Ok((!known.is_empty()).then_some(known))
}

/// The metadata of an object of the kind `K`, without labels and annotations. The API server is
/// asked for metadata only.
#[derive(Deserialize)]
#[serde(bound = "")]
pub struct RawMeta<K> {
    /// The metadata that we use.
    #[serde(deserialize_with = "textless")]
    pub metadata: ObjectMeta,
    #[serde(skip)]
    kind: PhantomData<fn() -> K>,
}

impl<K> Clone for RawMeta<K> {
    fn clone(&self) -> Self {
        Self {
            metadata: self.metadata.clone(),
            kind: PhantomData,
        }
    }
}

impl<K> std::fmt::Debug for RawMeta<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RawMeta({:?})", self.metadata.name)
    }
}

/// The metadata of an object of the kind `K`, with its labels and annotations. The API server is asked
/// for metadata only.
#[derive(Deserialize)]
#[serde(bound = "")]
pub struct Labelled<K> {
    /// The metadata that we use.
    #[serde(deserialize_with = "used")]
    pub metadata: ObjectMeta,
    #[serde(skip)]
    kind: PhantomData<fn() -> K>,
}

impl<K> Clone for Labelled<K> {
    fn clone(&self) -> Self {
        Self {
            metadata: self.metadata.clone(),
            kind: PhantomData,
        }
    }
}

impl<K> std::fmt::Debug for Labelled<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Labelled({:?})", self.metadata.name)
    }
}

/// Makes a type with a field `metadata` a way to read objects of a kind: all of each object, or
/// metadata only.
macro_rules! reads {
    ([$($bounds:tt)*] $object:ty as $kind:ty, metadata_only: $metadata_only:literal) => {
        impl $($bounds)* kube::Resource for $object {
            type DynamicType = ();
            type Scope = <$kind as kube::Resource>::Scope;

            fn metadata_api() -> bool {
                $metadata_only
            }

            fn kind((): &()) -> std::borrow::Cow<'_, str> {
                <$kind as kube::Resource>::kind(&())
            }

            fn group((): &()) -> std::borrow::Cow<'_, str> {
                <$kind as kube::Resource>::group(&())
            }

            fn version((): &()) -> std::borrow::Cow<'_, str> {
                <$kind as kube::Resource>::version(&())
            }

            fn plural((): &()) -> std::borrow::Cow<'_, str> {
                <$kind as kube::Resource>::plural(&())
            }

            fn meta(&self) -> &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
                &self.metadata
            }

            fn meta_mut(&mut self) -> &mut k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
                &mut self.metadata
            }
        }
    };
}
pub(crate) use reads;

reads!([<K: Resource<DynamicType = ()>>] RawMeta<K> as K, metadata_only: true);
reads!([<K: Resource<DynamicType = ()>>] Labelled<K> as K, metadata_only: true);

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Secret;
    use kube::core::{ObjectList, WatchEvent};
    use sealkit_core::api::SealedSecret;

    use super::super::Raw;
    use super::*;

    /// An object as JSON that no typed reader takes.
    fn strange() -> String {
        let deep = format!("{}{}", r#"{"f:a":"#.repeat(200), "1") + &"}".repeat(200);
        let time = "9999-12-31T23:59:59Z";
        format!(
            r#"{{"apiVersion": "v1", "kind": "X", "metadata": {{
                "name": "db", "namespace": "shop", "uid": "u", "resourceVersion": "7",
                "generation": 3, "creationTimestamp": "{time}", "deletionTimestamp": "{time}",
                "labels": {{"a": "b"}}, "annotations": null,
                "finalizers": ["x.example/y", {deep}, 7,
                  "externalsecrets.external-secrets.io/externalsecret-cleanup"],
                "ownerReferences": [{{"blockOwnerDeletion": {deep}}}],
                "managedFields": [{{"time": "{time}", "fieldsV1": {deep}}}]}},
              "spec": {deep}, "status": {{"conditions": [{{"lastTransitionTime": {deep}}}]}}}}"#
        )
    }

    #[test]
    fn strange_fields_are_skipped() {
        let text = strange();
        assert!(serde_json::from_str::<serde_json::Value>(&text).is_err());
        let list = format!(
            r#"{{"apiVersion": "v1", "kind": "XList", "metadata": {{}}, "items": [{text}]}}"#
        );
        let list: ObjectList<Raw<SealedSecret>> = serde_json::from_str(&list).unwrap();
        let event = format!(r#"{{"type": "ADDED", "object": {text}}}"#);
        let WatchEvent::Added(event) = serde_json::from_str(&event).unwrap() else {
            panic!()
        };
        let (event, object): (RawMeta<Secret>, _) = (event, &list.items[0]);
        for metadata in [&object.metadata, &event.metadata] {
            assert_eq!(metadata.name.as_deref(), Some("db"));
            assert_eq!(metadata.namespace.as_deref(), Some("shop"));
            assert_eq!(metadata.uid.as_deref(), Some("u"));
            assert_eq!(metadata.resource_version.as_deref(), Some("7"));
            assert_eq!(metadata.generation, Some(3));
            assert_eq!(metadata.creation_timestamp, None);
            assert!(metadata.deletion_timestamp.is_some(), "it is terminating");
            assert_eq!(metadata.finalizers, Some(vec![ESO_FINALIZER.to_owned()]));
            assert!(metadata.owner_references.is_none() && metadata.managed_fields.is_none());
        }
        assert_eq!(object.metadata.labels.as_ref().unwrap()["a"], "b");
        assert!(event.metadata.labels.is_none());
        assert!(object.status.is_none() && object.spec().value.is_null());
    }
}
