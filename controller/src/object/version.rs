//! The version of an object that somebody saw.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// UID and resourceVersion of an object as it was read or written. If they differ now, somebody has
/// changed the object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Version {
    /// Its UID.
    pub uid: String,
    /// Its resourceVersion.
    pub resource_version: String,
}

impl Version {
    /// The version of an object with this metadata.
    pub fn of(metadata: &ObjectMeta) -> Self {
        Self {
            uid: metadata.uid.clone().unwrap_or_default(),
            resource_version: metadata.resource_version.clone().unwrap_or_default(),
        }
    }
}
