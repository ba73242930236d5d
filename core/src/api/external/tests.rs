//! Tests of the CRDs.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::JSONSchemaProps;
use serde_json::{Value, json};

use super::*;
use crate::manifest::to_yaml;

/// Every schema as JSON, with the name of its CRD and version.
fn schemas() -> Vec<(String, Value)> {
    let crds = custom_resource_definitions().into_iter();
    crds.flat_map(|crd| {
        crd.spec.versions.into_iter().map(move |version| {
            let schema = version.schema.unwrap().open_api_v3_schema.unwrap();
            let name = format!("{} {}", crd.spec.names.kind, version.name);
            (name, serde_json::to_value(schema).unwrap())
        })
    })
    .collect()
}

/// Each place of a schema, whether it is in list items, and the schema there.
fn walk(path: &str, in_items: bool, schema: &Value, visit: &mut impl FnMut(&str, bool, &Value)) {
    visit(path, in_items, schema);
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        walk(&format!("{path}.{name}"), in_items, property, visit);
    }
    if schema["additionalProperties"].is_object() {
        let values = &schema["additionalProperties"];
        walk(&format!("{path}.*"), in_items, values, visit);
    }
    if schema["items"].is_object() {
        walk(&format!("{path}[]"), true, &schema["items"], visit);
    }
}

#[test]
fn every_crd_fits_a_client_side_apply() {
    for crd in custom_resource_definitions() {
        // kubectl keeps the JSON in an annotation, which may have 256 KiB.
        let (yaml, json) = (
            to_yaml(&[&crd]).unwrap(),
            serde_json::to_string(&crd).unwrap(),
        );
        let kind = crd.spec.names.kind;
        assert!(yaml.len() <= 200_000, "{kind}: {} bytes", yaml.len());
        assert!(json.len() <= 200_000, "{kind}: {} bytes", json.len());
    }
}

#[test]
fn no_list_item_has_a_default() {
    let mut lists = 0;
    for (name, schema) in schemas() {
        walk(&name, false, &schema, &mut |path, in_items, schema| {
            lists += usize::from(in_items);
            assert!(!in_items || schema["default"].is_null(), "{path}");
            assert!(schema["nullable"].is_null(), "{path}");
        });
    }
    assert!(lists > 100, "the walk goes into list items");
}

#[test]
fn defaults_are_those_of_external_secrets() {
    let mut defaults = Vec::new();
    for (name, schema) in schemas() {
        walk("", false, &schema, &mut |path, _, schema| {
            if name.ends_with("Secret v1") && !schema["default"].is_null() {
                defaults.push((path.to_owned(), schema["default"].clone()));
            }
        });
    }
    let target = json!({"creationPolicy": "Owner", "deletionPolicy": "Retain"});
    let expected = [
        (".spec.refreshInterval", json!("1h0m0s")),
        (".spec.target", target),
        (".spec.target.creationPolicy", json!("Owner")),
        (".spec.target.deletionPolicy", json!("Retain")),
        (".spec.target.template.engineVersion", json!("v2")),
        (".spec.target.template.mergePolicy", json!("Replace")),
    ];
    assert_eq!(
        defaults,
        expected.map(|(path, value)| (path.to_owned(), value))
    );
}

#[test]
fn only_what_external_secrets_requires_is_required() {
    let schema: JSONSchemaProps = serde_json::from_value(schemas().remove(0).1).unwrap();
    let status = &schema.properties.unwrap()["status"];
    assert_eq!(status.required, None);
    assert_eq!(status.default, None, "ESO's statuses have none");
}

#[test]
fn versions_differ_only_where_v1beta1_takes_less() {
    let mut all = schemas().into_iter();
    while let (Some((name, mut v1)), Some((_, v1beta1))) = (all.next(), all.next()) {
        let interval = "/properties/spec/properties/refreshInterval";
        let target = "/properties/spec/properties/target/properties/template/properties\
                      /templateFrom/items/properties/target";
        for pointer in [interval, target] {
            if let (Some(old), Some(new)) = (v1.pointer_mut(pointer), v1beta1.pointer(pointer)) {
                *old = new.clone();
            }
        }
        assert!(v1 == v1beta1, "{name}");
    }
}
