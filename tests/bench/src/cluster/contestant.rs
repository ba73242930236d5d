//! Who takes part.

use sealkit_rig::Process;
use serde_json::Value;

use super::external::Calls;
use super::plane::Plane;
use super::trial::Load;
use crate::Result;

/// A program that makes Secrets of its objects.
pub trait Contestant {
    /// For progress.
    fn name(&self) -> &'static str;

    /// The collection of its objects, as a path below `/apis/GROUP/VERSION`, without namespace.
    fn collection(&self) -> Collection;

    /// The condition that says that an object is in sync. Sealkit and Sealed Secrets call it by the
    /// same name.
    fn condition(&self) -> &'static str {
        "Synced"
    }

    /// Prepares a fresh control plane: definitions, rights, a key. No program of it runs afterwards.
    fn install(&self, plane: &Plane) -> Result<()>;

    /// Objects `object-00000` and so on, sealed to that key.
    fn objects(&self, plane: &Plane, load: Load) -> Result<Vec<Value>>;

    /// Name and value of the annotation with which the Secret `object-…` of somebody else lets the
    /// program add to it.
    fn consent(&self, number: usize) -> (&'static str, String);

    /// Starts the program.
    fn start(&self, plane: &Plane) -> Result<Process>;

    /// How many objects are in sync, if the program tells without being slowed down.
    fn in_sync(&self) -> Option<usize>;

    /// What it asked its store for so far, if it has one.
    fn calls(&self) -> Result<Calls> {
        Ok(Calls::default())
    }
}

/// Group, version and plural of a kind.
#[derive(Clone, Copy, Debug)]
pub struct Collection {
    /// API group.
    pub group: &'static str,
    /// Its version.
    pub version: &'static str,
    /// The plural of the kind.
    pub plural: &'static str,
}

impl Collection {
    /// The path of the collection in a namespace.
    pub fn path(&self, namespace: &str) -> String {
        let Self {
            group,
            version,
            plural,
        } = self;
        format!("/apis/{group}/{version}/namespaces/{namespace}/{plural}")
    }
}
