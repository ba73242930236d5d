//! Objects as the API server sends them, read leniently and cheaply.

use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::core::object::HasStatus;
use sealkit_core::api::RECONCILE_REQUESTED_AT;
use sealkit_core::sealed::{json_size, limits, memory_size};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::metadata::{readable, reads, used};
use super::{Kind, Origin};

/// Characters of a request annotation that is accepted; longer ones are no timestamps.
const REQUEST_LENGTH: usize = 64;

/// An object of the kind `K` as the API server sends it. It can be read whatever it contains, so
/// that one bad object never stops the watch.
#[derive(Deserialize)]
#[serde(bound = "K: HasStatus, K::Status: DeserializeOwned")]
pub struct Raw<K: HasStatus> {
    /// The metadata that we use.
    #[serde(deserialize_with = "used")]
    pub metadata: ObjectMeta,
    /// The spec as text, which takes little memory and is enough to see whether a reconcile is
    /// needed.
    #[serde(default = "nothing")]
    spec: Box<RawValue>,
    /// The status, if it has the expected form.
    #[serde(default, deserialize_with = "readable")]
    pub status: Option<K::Status>,
    #[serde(skip)]
    kind: PhantomData<fn() -> K>,
}

fn nothing() -> Box<RawValue> {
    RawValue::NULL.to_owned()
}

/// What was requested of an object: a spec, and perhaps another reconcile.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// The generation of the spec.
    pub generation: i64,
    /// The annotation that requests a reconcile.
    pub requested_at: Option<String>,
}

impl<K: HasStatus> Raw<K> {
    /// The generation of the spec.
    pub fn generation(&self) -> i64 {
        self.metadata.generation.unwrap_or_default()
    }

    /// The UID, or empty.
    pub fn uid(&self) -> &str {
        self.metadata.uid.as_deref().unwrap_or_default()
    }

    /// Is it being deleted?
    pub fn is_terminating(&self) -> bool {
        self.metadata.deletion_timestamp.is_some()
    }

    /// What is requested of it now.
    pub fn asked(&self) -> Asked {
        let annotations = self.metadata.annotations.as_ref();
        let requested_at = annotations
            .and_then(|all| all.get(RECONCILE_REQUESTED_AT))
            // The value is kept in memory and repeated in the status.
            .filter(|text| text.len() <= REQUEST_LENGTH)
            .filter(|text| text.bytes().all(|byte| matches!(byte, b' '..=b'~')));
        Asked {
            generation: self.generation(),
            requested_at: requested_at.cloned(),
        }
    }

    /// The object as the origin of a Secret, event or status.
    pub fn origin(&self, kind: Kind) -> Origin {
        Origin::of(kind, &self.metadata)
    }

    /// Is this part of the text of the spec?
    pub fn mentions(&self, part: &str) -> bool {
        self.spec.get().contains(part)
    }

    /// Reads the spec.
    pub fn spec(&self) -> Spec {
        let text = self.spec.get();
        Spec {
            // JSON that is nested too deeply counts as no spec.
            value: serde_json::from_str(text).unwrap_or_default(),
            text_size: text.len(),
        }
    }

    /// Roughly the bytes that its spec takes once it is read.
    pub fn spec_size(&self) -> usize {
        memory_size(self.spec.get())
    }

    /// Roughly the bytes that it takes in memory while its spec is text.
    fn waiting_size(&self) -> usize
    where
        K::Status: Serialize,
    {
        /// How much larger a field of the metadata or the status is than its JSON.
        const GROWTH: usize = 3;
        let parts = json_size(&self.metadata) + json_size(&self.status);
        self.spec.get().len() + parts * GROWTH
    }
}

impl<K: HasStatus> Clone for Raw<K>
where
    K::Status: Clone,
{
    fn clone(&self) -> Self {
        Self {
            metadata: self.metadata.clone(),
            spec: self.spec.clone(),
            status: self.status.clone(),
            kind: PhantomData,
        }
    }
}

/// Shows the name only: a spec may have a megabyte.
impl<K: HasStatus> std::fmt::Debug for Raw<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ObjectMeta {
            namespace, name, ..
        } = &self.metadata;
        write!(f, "Raw({namespace:?}, {name:?})")
    }
}

reads!([<K: HasStatus + Resource<DynamicType = ()>>] Raw<K> as K, metadata_only: false);

/// A spec as it was read, not checked yet.
pub struct Spec {
    /// The spec.
    pub value: Value,
    text_size: usize,
}

impl Spec {
    /// Bytes as compact JSON, or an estimate if it is far below the limit.
    pub fn json_size(&self) -> usize {
        // Text can be longer than compact JSON, and is shorter only if it has numbers.
        if self.text_size < limits::OBJECT_BYTES / 8 {
            self.text_size
        } else {
            json_size(&self.value)
        }
    }
}

/// The memory in which objects wait for their turn with their specs. Objects that do not fit are
/// read again when their turn comes.
pub struct WaitingRoom {
    used: Arc<AtomicUsize>,
    bytes: usize,
}

/// An object with its spec that waits for its turn or has it. Its memory counts until it is
/// dropped.
pub struct Waiting<K: HasStatus> {
    /// The object.
    pub object: Arc<Raw<K>>,
    bytes: usize,
    used: Arc<AtomicUsize>,
}

impl WaitingRoom {
    /// A room for this many bytes.
    pub fn new(bytes: usize) -> Self {
        let used = Arc::default();
        Self { used, bytes }
    }

    /// Admits an object; `None` if too much waits already.
    pub fn enter<K: HasStatus>(&self, object: Raw<K>) -> Option<Waiting<K>>
    where
        K::Status: Serialize,
    {
        let bytes = object.waiting_size();
        let fits = self.used.fetch_add(bytes, Ordering::Relaxed) + bytes <= self.bytes;
        let waiting = Waiting {
            object: Arc::new(object),
            bytes,
            used: self.used.clone(),
        };
        fits.then_some(waiting)
    }
}

impl<K: HasStatus> Drop for Waiting<K> {
    fn drop(&mut self) {
        self.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
