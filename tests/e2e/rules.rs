//! The rules around the sealed format: `seal verify` and the cluster say the same of every row.

use std::process::Command;

use sealkit_tests::canary::unique_value;
use sealkit_tests::namespace::{message, ready_condition};
use sealkit_tests::plane::Shared;
use sealkit_tests::program::program;
use serde_json::{Map, Value, json};

fn names(count: usize) -> Value {
    let name = |index| (format!("example.com/n{index}"), json!("x"));
    (0..count).map(name).collect::<Map<_, _>>().into()
}

/// What stands beside the sealed values, and the reason for which the cluster refuses it; `None`
/// where it is taken.
fn rows() -> Vec<(&'static str, Value, Value, Option<&'static str>)> {
    let merge = json!({"creationPolicy": "Merge"});
    let metadata = |field: &str, names: Value| json!({"metadata": {field: names}});
    let invalid = Some("InvalidSpec");
    vec![
        ("plain", Value::Null, Value::Null, None),
        (
            "own-type",
            Value::Null,
            json!({"type": "example.com/x"}),
            None,
        ),
        (
            "names-100",
            Value::Null,
            metadata("labels", names(100)),
            None,
        ),
        (
            "names-101",
            Value::Null,
            metadata("annotations", names(101)),
            invalid,
        ),
        (
            "merge-type",
            merge.clone(),
            json!({"type": "Opaque"}),
            invalid,
        ),
        (
            "merge-immutable",
            merge.clone(),
            json!({"immutable": true}),
            invalid,
        ),
        ("merge-mutable", merge, json!({"immutable": false}), None),
        (
            "refused-type",
            Value::Null,
            json!({"type": "helm.sh/release.v1"}),
            invalid,
        ),
        (
            "our-label",
            Value::Null,
            metadata("labels", json!({"sealkit.dev/managed": "x"})),
            invalid,
        ),
        (
            "kubectl-annotation",
            Value::Null,
            metadata("annotations", json!({"kubectl.kubernetes.io/x": "x"})),
            invalid,
        ),
        (
            "text-syntax",
            Value::Null,
            json!({"data": {"out": "{{ if }}"}}),
            Some("TemplateFailed"),
        ),
        (
            "text",
            Value::Null,
            json!({"data": {"out": "{{ .a }}"}}),
            None,
        ),
    ]
}

#[test]
fn verify_and_the_cluster_agree() {
    let plane = Shared::get();
    let shop = plane.namespace("rules");
    let folder = tempfile::tempdir().unwrap();
    let rows = rows();
    for (name, target, template, _) in &rows {
        let draft = shop.draft(name).value("a", unique_value()).render();
        let manifest = draft
            .target(target.clone())
            .template(template.clone())
            .manifest();
        let file = folder.path().join(format!("{name}.json"));
        std::fs::write(file, manifest.to_string()).unwrap();
        shop.apply(&manifest);
    }
    let verify = Command::new(program("seal"))
        .args(["verify", "-o", "json", "."])
        .current_dir(folder.path())
        .output()
        .unwrap();
    let report: Value = serde_json::from_slice(&verify.stdout).unwrap();
    for (name, target, _, reason) in &rows {
        let object = format!("{}/{name}", shop.name);
        let mut found = report["findings"].as_array().unwrap().iter();
        let found = found.find(|finding| finding["object"] == object.as_str());
        let Some(reason) = reason else {
            assert_eq!(found, None, "{name}");
            // Nothing to merge into is no rule that the object breaks.
            if target.is_null() {
                shop.wait_ready(name);
            } else {
                shop.wait_reason(name, "Unknown", "NotFound");
            }
            continue;
        };
        let stalled = shop.wait_stalled(name, reason);
        let found = found.unwrap_or_else(|| panic!("verify passes {name}"));
        assert_eq!(found["code"], *reason, "{name}");
        assert_eq!(found["detail"], message(&stalled), "{name}");
        assert_eq!(ready_condition(&stalled)["status"], "False");
    }
}
