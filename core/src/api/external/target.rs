//! The Secret that an ExternalSecret makes.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{schema, words};

/// The Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = (
        "self.deletionPolicy != 'Delete' || self.creationPolicy in ['Owner', 'Orphan']",
        "deletionPolicy Delete needs creationPolicy Owner or Orphan: no other policy makes the Secret this resource's own"
    ),
    validation = (
        "self.deletionPolicy != 'Merge' || self.creationPolicy != 'None'",
        "deletionPolicy Merge removes keys, but creationPolicy None makes no Secret"
    )
)]
pub struct Target {
    /// Name of the Secret. Absent means the name of the ExternalSecret.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(schema_with = "schema::name")]
    pub name: String,
    /// Who owns the Secret.
    #[serde(default)]
    pub creation_policy: CreationPolicy,
    /// What happens to the Secret when the store no longer has the values.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
    /// Whether the Secret is immutable.
    #[serde(default, skip_serializing_if = "super::is_default")]
    pub immutable: bool,
    /// An object of another kind instead of a Secret. Sealkit does not serve it yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Manifest>,
    /// What the Secret is made of. Absent means the values as they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<Template>,
}

words! {
    /// Who owns the Secret.
    #[derive(Default)]
    CreationPolicy {
        /// The ExternalSecret: the Secret is deleted with it.
        #[default]
        Owner = "Owner",
        /// Nobody: the Secret stays when the ExternalSecret is deleted.
        Orphan = "Orphan",
        /// Somebody else: the values are added to an existing Secret.
        Merge = "Merge",
        /// No Secret is made.
        None = "None",
        /// Nobody: the Secret is created, or the values are added to an existing one.
        CreateOrMerge = "CreateOrMerge",
    }
}

words! {
    /// What happens to the Secret when the store no longer has the values.
    #[derive(Default)]
    DeletionPolicy {
        /// It is deleted when no value is left.
        Delete = "Delete",
        /// It loses the keys, but is not deleted.
        Merge = "Merge",
        /// It stays as it is, and the refresh fails.
        #[default]
        Retain = "Retain",
    }
}

/// Kind of an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// API version.
    #[schemars(length(min = 1))]
    pub api_version: String,
    /// Kind.
    #[schemars(length(min = 1))]
    pub kind: String,
}

/// What the Secret is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Template {
    /// Type of the Secret. Absent means Opaque.
    #[serde(rename = "type", default, skip_serializing_if = "String::is_empty")]
    pub type_: String,
    /// Version of the template engine.
    #[serde(default)]
    pub engine_version: EngineVersion,
    /// Whether the Secret also has the values that the templates read.
    #[serde(default)]
    pub merge_policy: MergePolicy,
    /// Labels, annotations and finalizers.
    #[serde(default, skip_serializing_if = "super::is_default")]
    pub metadata: TemplateMetadata,
    /// Go templates by key of the Secret.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub data: BTreeMap<String, String>,
    /// Further templates, in order. `data` takes precedence over them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub template_from: Vec<TemplateFrom>,
}

words! {
    /// Version of the template engine.
    #[derive(Default)]
    EngineVersion {
        /// The only one.
        #[default]
        V2 = "v2",
    }
}

words! {
    /// Whether the Secret also has the values that the templates read.
    #[derive(Default)]
    MergePolicy {
        /// It has only what the templates make.
        #[default]
        Replace = "Replace",
        /// It has the values too. Templates take precedence over them.
        Merge = "Merge",
    }
}

/// Labels, annotations and finalizers of the Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TemplateMetadata {
    /// Annotations. Their values are Go templates.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Labels. Their values are Go templates.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Finalizers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub finalizers: Vec<String>,
}

/// Templates of a ConfigMap or a Secret, or a template here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TemplateFrom {
    /// Templates of a ConfigMap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_map: Option<TemplateSource>,
    /// Templates of a Secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<TemplateSource>,
    /// A template that makes a YAML map of keys and values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub literal: Option<String>,
    /// What the templates make: `Data`, `Annotations` or `Labels`, in any case. Absent means
    /// `Data`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub target: String,
    /// How values that a template makes are decoded. Absent means None.
    #[serde(default, skip_serializing_if = "super::is_default")]
    pub values_decoding_strategy: super::DecodingStrategy,
}

/// Templates of a ConfigMap or a Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TemplateSource {
    /// Name of the object.
    #[schemars(schema_with = "schema::name")]
    pub name: String,
    /// Its keys.
    pub items: Vec<TemplateItem>,
}

/// One template of a ConfigMap or a Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TemplateItem {
    /// Key in the object.
    #[schemars(schema_with = "schema::key")]
    pub key: String,
    /// What the template makes. Absent means Values.
    #[serde(default, skip_serializing_if = "super::is_default")]
    pub template_as: TemplateAs,
}

words! {
    /// What a template makes.
    #[derive(Default)]
    TemplateAs {
        /// The value of the key that the template has.
        #[default]
        Values = "Values",
        /// A YAML map of keys and values.
        KeysAndValues = "KeysAndValues",
    }
}
