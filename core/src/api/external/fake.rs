//! The provider `fake`: values that stand in the store itself, for tests.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Values that stand in the store itself, for tests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FakeProvider {
    /// The values.
    pub data: Vec<FakeValue>,
    /// The result of a validation: 0 is ready, 1 unknown, 2 an error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation_result: Option<i32>,
}

/// A value.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FakeValue {
    /// Its key.
    pub key: String,
    /// Its text.
    pub value: String,
    /// Its version.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub version: String,
}

/// Without the value.
impl fmt::Debug for FakeValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeValue")
            .field("key", &self.key)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}
