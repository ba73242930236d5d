//! Which state of an object somebody saw.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// UID and resourceVersion of an object as it was read or written: other ones mean that somebody
/// changed it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Version {
    /// Its UID.
    pub uid: String,
    /// Its resourceVersion.
    pub resource_version: String,
}

impl Version {
    /// That of an object with this metadata.
    pub fn of(metadata: &ObjectMeta) -> Self {
        Self {
            uid: metadata.uid.clone().unwrap_or_default(),
            resource_version: metadata.resource_version.clone().unwrap_or_default(),
        }
    }
}
