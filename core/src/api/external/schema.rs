//! Parts of the schemas that External Secrets defines and derives do not say.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, CustomResourceDefinitionVersion, JSON, JSONSchemaProps,
    JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use schemars::{Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use super::OLD_VERSION;
use crate::api::Condition;

/// Name of an object.
pub fn name(_: &mut SchemaGenerator) -> Schema {
    text(
        253,
        r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
    )
}

/// Name of a namespace.
pub fn namespace(_: &mut SchemaGenerator) -> Schema {
    text(63, "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
}

/// Names of namespaces.
pub fn namespaces(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "array", "items": namespace(generator)})
}

/// Key of a Secret or ConfigMap.
pub fn key(_: &mut SchemaGenerator) -> Schema {
    text(253, "^[-._a-zA-Z0-9]+$")
}

fn text(longest: usize, pattern: &str) -> Schema {
    json_schema!({"type": "string", "minLength": 1, "maxLength": longest, "pattern": pattern})
}

/// Bytes as base64.
pub fn bytes(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "format": "byte"})
}

/// A moment.
pub fn time(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "format": "date-time"})
}

/// An object that is kept, whatever it contains.
pub fn anything(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

/// Conditions, of which External Secrets requires less than we do.
pub fn conditions(generator: &mut SchemaGenerator) -> Schema {
    let mut item = generator.subschema_for::<Condition>();
    item.insert("required".to_owned(), json!(["type", "status"]));
    json_schema!({"type": "array", "items": item})
}

/// Reads conditions that somebody else may have written, without those that lack a field.
pub fn lenient<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Condition>, D::Error> {
    let all = Option::<Vec<Value>>::deserialize(deserializer)?.unwrap_or_default();
    let read = all.into_iter().map(serde_json::from_value);
    Ok(read.filter_map(Result::ok).collect())
}

/// Serves a CRD as v1 and v1beta1. What v1beta1 lacks is kept there too: nothing is lost when a
/// resource is read in one version and written in the other.
pub fn served_in_both_versions(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    let [v1] = crd.spec.versions.as_mut_slice() else {
        return crd;
    };
    if let Some(schema) = schema_of(v1) {
        tidy(schema, false);
    }
    let mut v1beta1 = CustomResourceDefinitionVersion {
        name: OLD_VERSION.to_owned(),
        storage: false,
        // The API server refuses the same list beside another schema.
        selectable_fields: None,
        ..v1.clone()
    };
    if let Some(schema) = schema_of(&mut v1beta1) {
        narrow(schema);
    }
    crd.spec.versions.push(v1beta1);
    crd
}

fn schema_of(version: &mut CustomResourceDefinitionVersion) -> Option<&mut JSONSchemaProps> {
    version.schema.as_mut()?.open_api_v3_schema.as_mut()
}

/// Makes a null the same as an absent field, and leaves no default in list items: Argo CD would
/// report each of them as a difference for ever.
fn tidy(schema: &mut JSONSchemaProps, in_items: bool) {
    schema.nullable = None;
    if in_items {
        schema.default = None;
    }
    if schema.max_properties == Some(1) {
        // An enum: the server would say the same twice.
        schema.one_of = None;
    }
    for property in schema
        .properties
        .iter_mut()
        .flat_map(|all| all.values_mut())
    {
        tidy(property, in_items);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        tidy(values, in_items);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        tidy(items, true);
    }
}

/// What v1beta1 takes less than v1.
fn narrow(schema: &mut JSONSchemaProps) {
    if let Some(interval) = at(schema, &["spec", "refreshInterval"])
        && interval.x_kubernetes_int_or_string == Some(true)
    {
        interval.x_kubernetes_int_or_string = None;
        interval.type_ = Some("integer".to_owned());
    }
    let from = at(schema, &["spec", "target", "template", "templateFrom"]);
    if let Some(JSONSchemaPropsOrArray::Schema(item)) = from.and_then(|from| from.items.as_mut())
        && let Some(target) = at(item, &["target"])
    {
        let words = ["Data", "Annotations", "Labels"];
        target.enum_ = Some(words.map(|word| JSON(json!(word))).into());
    }
}

fn at<'a>(schema: &'a mut JSONSchemaProps, path: &[&str]) -> Option<&'a mut JSONSchemaProps> {
    path.iter().try_fold(schema, |schema, name| {
        schema.properties.as_mut()?.get_mut(*name)
    })
}
