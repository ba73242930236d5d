//! What an ExternalSecret reads from its store, and how it turns that into keys and values.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{SourceRef, schema, words};

/// One key of the Secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Data {
    /// Key in the Secret.
    #[schemars(schema_with = "schema::key")]
    pub secret_key: String,
    /// The value in the store.
    pub remote_ref: RemoteRef,
    /// Where the value comes from if not from the store of the ExternalSecret. A generator is
    /// refused here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_ref: Option<SourceRef>,
}

/// Many keys of the Secret at once: of one value that is an object, of values that are found, or
/// of a generator.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "[has(self.extract), has(self.find), \
      has(self.sourceRef) && has(self.sourceRef.generatorRef)].exists_one(set, set)",
    "set exactly one of extract, find and sourceRef.generatorRef"
))]
pub struct DataFrom {
    /// The keys of a value that is a JSON object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extract: Option<RemoteRef>,
    /// Values that are found by name or tags.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub find: Option<Find>,
    /// Changes of the keys, in order. With any, conversionStrategy and decodingStrategy have no
    /// effect.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rewrite: Vec<Rewrite>,
    /// Where the values come from if not from the store of the ExternalSecret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_ref: Option<SourceRef>,
}

/// A value in a store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RemoteRef {
    /// Name or path in the store.
    pub key: String,
    /// A part of the value: a key, or a path in GJSON's syntax.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub property: String,
    /// Version of the value. Absent means the current one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// Whether the metadata is read instead of the value. Absent means None.
    #[serde(default, skip_serializing_if = "super::is_default")]
    pub metadata_policy: MetadataPolicy,
    /// How characters that a key of a Secret cannot have are replaced. Absent means Default.
    #[serde(default, skip_serializing_if = "super::is_default")]
    pub conversion_strategy: ConversionStrategy,
    /// How the value is decoded. Absent means None.
    #[serde(default, skip_serializing_if = "super::is_default")]
    pub decoding_strategy: DecodingStrategy,
    /// What happens to a value with a NUL byte. Absent means Ignore.
    #[serde(default, skip_serializing_if = "super::is_default")]
    pub null_byte_policy: NullBytePolicy,
}

/// Finds values. If both name and tags are set, the provider decides which counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Find {
    /// Where the search begins.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// By name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<FindName>,
    /// By tags, all of which must match.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// How characters that a key of a Secret cannot have are replaced. Absent means Default.
    #[serde(default, skip_serializing_if = "super::is_default")]
    pub conversion_strategy: ConversionStrategy,
    /// How the values are decoded. Absent means None.
    #[serde(default, skip_serializing_if = "super::is_default")]
    pub decoding_strategy: DecodingStrategy,
    /// What happens to a value with a NUL byte. Absent means Ignore.
    #[serde(default, skip_serializing_if = "super::is_default")]
    pub null_byte_policy: NullBytePolicy,
}

/// Finds values by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FindName {
    /// A regular expression that matches a part of the name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub regexp: String,
}

words! {
    /// Whether the metadata is read instead of the value.
    #[derive(Default)]
    MetadataPolicy {
        /// The value.
        #[default]
        None = "None",
        /// The metadata, as a JSON object.
        Fetch = "Fetch",
    }
}

words! {
    /// How characters that a key of a Secret cannot have are replaced.
    #[derive(Default)]
    ConversionStrategy {
        /// By `_`.
        #[default]
        Default = "Default",
        /// By their code point, as `_U002f_`.
        Unicode = "Unicode",
    }
}

words! {
    /// How a value is decoded.
    #[derive(Default)]
    DecodingStrategy {
        /// From base64 or base64url if it is one, and not at all otherwise.
        Auto = "Auto",
        /// From padded base64.
        Base64 = "Base64",
        /// From padded base64url.
        Base64Url = "Base64URL",
        /// Not at all.
        #[default]
        None = "None",
    }
}

words! {
    /// What happens to a value with a NUL byte.
    #[derive(Default)]
    NullBytePolicy {
        /// It is taken.
        #[default]
        Ignore = "Ignore",
        /// The refresh fails.
        Fail = "Fail",
    }
}

/// A change of keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
pub enum Rewrite {
    /// Replaces matches in each key.
    Regexp(RewriteRegexp),
    /// Makes each key with a template.
    Transform(RewriteTransform),
    /// Merges values that are JSON objects.
    Merge(RewriteMerge),
}

/// Replaces matches in each key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RewriteRegexp {
    /// A regular expression.
    pub source: String,
    /// The replacement, in which `$1` is the first group.
    pub target: String,
}

/// Makes each key with a template.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RewriteTransform {
    /// A Go template in which `.value` is the key.
    pub template: String,
}

/// Merges values that are JSON objects.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RewriteMerge {
    /// Key of the merged object: required with strategy JSON, without effect otherwise.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub into: String,
    /// Keys that take precedence over others, the last one most.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub priority: Vec<String>,
    /// Whether every key in `priority` must exist. Absent means Strict.
    #[serde(default, skip_serializing_if = "super::is_default")]
    pub priority_policy: PriorityPolicy,
    /// What happens if two objects have the same key. Absent means Error.
    #[serde(default, skip_serializing_if = "super::is_default")]
    pub conflict_policy: ConflictPolicy,
    /// What becomes of the merged object. Absent means Extract.
    #[serde(default, skip_serializing_if = "super::is_default")]
    pub strategy: MergeStrategy,
}

words! {
    /// Whether every key in `priority` must exist.
    #[derive(Default)]
    PriorityPolicy {
        /// It must.
        #[default]
        Strict = "Strict",
        /// It may be absent.
        IgnoreNotFound = "IgnoreNotFound",
    }
}

words! {
    /// What happens if two objects have the same key.
    #[derive(Default)]
    ConflictPolicy {
        /// The refresh fails.
        #[default]
        Error = "Error",
        /// One of them is taken.
        Ignore = "Ignore",
    }
}

words! {
    /// What becomes of a merged object.
    #[derive(Default)]
    MergeStrategy {
        /// Its keys are the keys of the Secret.
        #[default]
        Extract = "Extract",
        /// It is one value, as JSON.
        Json = "JSON",
    }
}
