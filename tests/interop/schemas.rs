//! kubeconform checks manifests against `deploy/schemas`, as people do in CI: it passes what is right,
//! and refuses what no controller would take.

use std::fs;
use std::path::Path;

use sealkit_core::manifest::read_documents;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::peers::{go, outcome, tree};

/// Where kubeconform finds the schema of a resource.
const CATALOGUE: &str = "deploy/schemas/{{.Group}}/{{.ResourceKind}}_{{.ResourceAPIVersion}}.json";
/// A SealedSecret.
const SEALED: &str = "examples/flux-monorepo/secrets/production/db.sealed.yaml";
/// All that ExternalSecrets and stores may have.
const EXTERNAL: &str = "core/src/api/external/examples.yaml";

/// Does kubeconform take this file? The output says why not.
fn conforms(file: &Path) -> (bool, String) {
    let mut command = go("kubeconform", "kubeconform");
    command.current_dir(tree("."));
    command.args(["-strict", "-summary", "-schema-location", CATALOGUE]);
    let output = outcome(command.arg(file), b"");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.success(), text)
}

#[test]
fn kubeconform_passes_what_the_api_server_takes() {
    for (file, resources) in [(SEALED, 1), (EXTERNAL, 2)] {
        let (passes, text) = conforms(&tree(file));
        assert!(passes, "{file}: {text}");
        // "Summary: 2 resources found in 1 file - Valid: 2, …"
        let found = text.split("Valid: ").nth(1).unwrap_or_default();
        let found: usize = found.split(',').next().unwrap().parse().unwrap();
        assert!(found >= resources, "{text}");
    }
}

/// Spoils the spec of a SealedSecret.
type Spoil = fn(&mut Value);

#[test]
fn kubeconform_refuses_what_no_controller_would_take() {
    let text = fs::read(tree(SEALED)).unwrap();
    let good = read_documents(&text).unwrap().remove(0).object;
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("object.json");
    let rows: [(&str, Spoil); 9] = [
        ("an unknown field", |spec| spec["recipient"] = "x".into()),
        ("a plain value", |spec| {
            spec["encryptedData"]["K"] = "hunter2".into();
        }),
        ("a cut value", |spec| {
            spec["encryptedData"]["K"] = "sk1.abc.def".into();
        }),
        ("a key that no Secret has", |spec| {
            let value = spec["encryptedData"]["PASSWORD"].clone();
            spec["encryptedData"]["a b"] = value;
        }),
        ("an id that is none", |spec| {
            let envelopes = spec["envelopes"].as_object_mut().unwrap();
            let envelope = envelopes.values().next().unwrap().clone();
            envelopes.insert("short".to_owned(), envelope);
        }),
        ("no recipient", |spec| {
            let envelopes = spec["envelopes"].as_object_mut().unwrap();
            envelopes
                .values_mut()
                .for_each(|one| one["recipients"] = Value::Array(vec![]));
        }),
        ("text for an envelope", |spec| {
            let envelopes = spec["envelopes"].as_object_mut().unwrap();
            envelopes
                .values_mut()
                .for_each(|one| one["ageFile"] = "age!".into());
        }),
        ("an unknown scope", |spec| spec["scope"] = "wide".into()),
        ("a policy that is none", |spec| {
            spec["target"] = json!({"creationPolicy": "Always"});
        }),
    ];
    for (what, spoil) in rows {
        let mut bad = good.clone();
        spoil(&mut bad["spec"]);
        fs::write(&file, bad.to_string()).unwrap();
        let (passes, text) = conforms(&file);
        assert!(!passes, "{what}: {text}");
        assert!(text.contains("Invalid: 1"), "{what}: {text}");
    }
    fs::write(&file, good.to_string()).unwrap();
    assert!(conforms(&file).0);
}
