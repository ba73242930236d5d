//! Tests of the CRDs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::JSONSchemaProps;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::*;
use crate::manifest::{read_documents, to_yaml};

/// Manifests that set every field together. The end-to-end tests apply them.
const EXAMPLES: &[u8] = include_bytes!("examples.yaml");

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

/// The specs of the examples, with the names of their CRD and version.
fn specs() -> Vec<(String, Value)> {
    let documents = read_documents(EXAMPLES).unwrap().into_iter();
    let spec = |object: Value| {
        let version = object["apiVersion"].as_str().unwrap().rsplit('/').next();
        let name = format!("{} {}", object["kind"].as_str().unwrap(), version.unwrap());
        (name, object["spec"].clone())
    };
    documents.map(|document| spec(document.object)).collect()
}

/// The value after a Rust type has read and written it.
fn round_trip<T: DeserializeOwned + Serialize + PartialEq + Debug>(value: &Value) -> Value {
    let read: T = serde_json::from_value(value.clone()).unwrap();
    let written = serde_json::to_value(&read).unwrap();
    assert_eq!(serde_json::from_value::<T>(written.clone()).unwrap(), read);
    written
}

/// The fields of a value that another one lacks or has otherwise.
fn lost(path: &str, value: &Value, other: &Value) -> Vec<String> {
    match value {
        Value::Object(fields) => fields
            .iter()
            .flat_map(|(name, field)| lost(&format!("{path}.{name}"), field, &other[name]))
            .collect(),
        Value::Array(items) => (0..items.len())
            .flat_map(|index| lost(&format!("{path}[{index}]"), &items[index], &other[index]))
            .collect(),
        leaf if leaf == other => Vec::new(),
        leaf => vec![format!("{path}: {leaf}")],
    }
}

/// The places of a schema that a value sets.
fn set(path: &str, schema: &Value, value: &Value, places: &mut BTreeSet<String>) {
    places.insert(path.to_owned());
    for (name, field) in value.as_object().into_iter().flatten() {
        let property = &schema["properties"][name];
        if property.is_object() {
            set(&format!("{path}.{name}"), property, field, places);
        } else {
            set(
                &format!("{path}.*"),
                &schema["additionalProperties"],
                field,
                places,
            );
        }
    }
    for item in value.as_array().into_iter().flatten() {
        set(&format!("{path}[]"), &schema["items"], item, places);
    }
}

#[test]
fn the_examples_set_every_field() {
    let mut places = BTreeSet::new();
    let schemas: BTreeMap<_, _> = schemas().into_iter().collect();
    for (name, spec) in specs() {
        // Both kinds of stores have the same fields.
        let kind = name.replace("Cluster", "").replace("v1beta1", "v1");
        set(
            &kind,
            &schemas[&kind]["properties"]["spec"],
            &spec,
            &mut places,
        );
    }
    for kind in ["ExternalSecret v1", "SecretStore v1"] {
        let spec = &schemas[kind]["properties"]["spec"];
        let mut missing = Vec::new();
        walk(kind, false, spec, &mut |path, _, _| {
            // References are the same type everywhere: once is enough.
            let of_reference = ["namespace", "audiences", "audiences[]", "key"]
                .iter()
                .find(|field| path.ends_with(&format!(".{field}")));
            let is_set = of_reference.map_or(places.contains(path), |field| {
                places
                    .iter()
                    .any(|place| place.ends_with(&format!(".{field}")))
            });
            missing.extend((!is_set).then(|| path.to_owned()));
        });
        assert_eq!(missing, Vec::<String>::new());
    }
}

#[test]
fn a_manifest_loses_nothing() {
    for (name, spec) in specs() {
        let written = match name.split(' ').next().unwrap() {
            "ExternalSecret" => round_trip::<ExternalSecretSpec>(&spec),
            "SecretStore" => round_trip::<SecretStoreSpec>(&spec),
            _ => round_trip::<ClusterSecretStoreSpec>(&spec),
        };
        // Words that are not written because they are what an absent field means.
        let silent = ["None", "Default", "Ignore", "SecretStore", "Values"];
        let mut lost = lost(&name, &spec, &written);
        lost.retain(|field| {
            !silent
                .iter()
                .any(|word| field.ends_with(&format!(": \"{word}\"")))
        });
        assert_eq!(lost, Vec::<String>::new());
    }
}

#[test]
fn an_absent_field_is_what_the_schema_says() {
    let spec: ExternalSecretSpec = serde_json::from_value(json!({})).unwrap();
    assert_eq!(spec, ExternalSecretSpec::default());
    assert_eq!(spec.refresh_interval, "1h0m0s");
    assert_eq!(spec.target.creation_policy.name(), "Owner");
    assert_eq!(spec.secret_store_ref.kind.name(), "SecretStore");
}

#[test]
fn a_store_has_exactly_one_provider() {
    let choice = |provider: Value| -> Option<String> {
        let provider: Provider = serde_json::from_value(provider).unwrap();
        provider.choice().map(|choice| format!("{choice:?}"))
    };
    assert_eq!(choice(json!({})), None);
    assert_eq!(
        choice(json!({"azurekv": {}})).unwrap(),
        "Unserved(\"azurekv\")"
    );
    assert_eq!(choice(json!({"azurekv": {}, "fake": {"data": []}})), None);
    let fake = json!({"fake": {"data": [{"key": "a", "value": "hidden"}]}});
    let shown = choice(fake).unwrap();
    assert!(
        shown.starts_with("Fake(") && !shown.contains("hidden"),
        "{shown}"
    );
}

#[test]
fn a_status_of_external_secrets_is_read() {
    let status: ExternalSecretStatus = serde_json::from_value(json!({
        "refreshTime": "2026-01-02T03:04:05Z",
        "syncedResourceVersion": "1-abc",
        "binding": {"name": "database"},
        "conditions": [
            {"type": "Ready", "status": "True", "reason": "SecretSynced", "message": "secret synced",
             "lastTransitionTime": "2026-01-02T03:04:05Z"},
            {"type": "Deleted", "status": "False"},
        ],
        "unknown": 1,
    }))
    .unwrap();
    assert_eq!(
        status.refresh_time.unwrap().to_string(),
        "2026-01-02T03:04:05Z"
    );
    assert_eq!(
        status.conditions.len(),
        1,
        "without the one that lacks fields"
    );
    let never = json!({"refreshTime": null, "conditions": null});
    let never: ExternalSecretStatus = serde_json::from_value(never).unwrap();
    assert_eq!(never, ExternalSecretStatus::default());
    assert_eq!(serde_json::to_value(never).unwrap(), json!({}));
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
    let target = json!({"creationPolicy": "Owner", "deletionPolicy": "Retain"});
    let expected = [
        (".refreshInterval", json!("1h0m0s")),
        (".target", target),
        (".target.creationPolicy", json!("Owner")),
        (".target.deletionPolicy", json!("Retain")),
        (".target.template.engineVersion", json!("v2")),
        (".target.template.mergePolicy", json!("Replace")),
    ];
    let schemas: BTreeMap<_, _> = schemas().into_iter().collect();
    for (name, place) in [
        ("ExternalSecret v1", ".spec"),
        ("ClusterExternalSecret v1", ".spec.externalSecretSpec"),
    ] {
        let mut defaults = Vec::new();
        walk("", false, &schemas[name], &mut |path, _, schema| {
            if !schema["default"].is_null() {
                defaults.push((path.to_owned(), schema["default"].clone()));
            }
        });
        let expected = expected.clone();
        let expected = expected.map(|(path, value)| (format!("{place}{path}"), value));
        assert_eq!(defaults, expected, "{name}");
    }
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
