//! Kustomizations that give sealed objects other namespaces and names.

use crate::support::{Desk, secret};

fn found(desk: &Desk) -> Vec<String> {
    let answer = desk.seal(&["verify"]);
    let lines: Vec<_> = answer.stdout.lines().map(str::to_owned).collect();
    assert_eq!(answer.code, i32::from(!lines.is_empty()), "{answer:?}");
    lines
}

/// `base/db.yaml` with this scope; an overlay builds it.
fn overlay(scope: &str, fields: &str) -> Desk {
    let desk = Desk::new();
    desk.git_init();
    let arguments = ["-R", "key.pub", "--scope", scope];
    let sealed = desk.pipe(&arguments, secret("db", &[("A", "1")]));
    desk.write("base/db.yaml", &sealed.done().stdout);
    desk.write("base/kustomization.yaml", "resources: [db.yaml]\n");
    let text = format!("resources: [../base]\n{fields}\n");
    desk.write("overlay/kustomization.yaml", &text);
    desk
}

#[test]
fn a_transformer_that_breaks_the_scope_is_found() {
    for (scope, fields, becomes) in [
        ("strict", "namespace: other", Some("other/db")),
        ("strict", "namePrefix: a-", Some("shop/a-db")),
        ("strict", "nameSuffix: -b", Some("shop/db-b")),
        ("strict", "namespace: shop", None),
        ("strict", "namespace: ${NAMESPACE}", None),
        ("strict", "commonLabels: {a: b}", None),
        ("namespace-wide", "namespace: other", Some("other/db")),
        ("namespace-wide", "namePrefix: a-", None),
        ("cluster-wide", "namespace: other\nnamePrefix: a-", None),
    ] {
        let found = found(&overlay(scope, fields));
        match becomes {
            None => assert_eq!(found, [""; 0], "{scope} {fields}"),
            Some(id) => {
                let start =
                    "base/db.yaml: shop/db: Transformed: overlay/kustomization.yaml makes it ";
                let is_it = found[0].starts_with(&format!("{start}{id}, "));
                assert!(found.len() == 1 && is_it, "{scope} {fields}: {found:?}");
            }
        }
    }
}

/// What Kustomize gives a file without a namespace is what its values are bound to.
#[test]
fn a_file_without_a_namespace_is_built_in_the_one_that_is_said() {
    let desk = overlay("strict", "namespace: shop");
    let sealed = desk.read("base/db.yaml");
    desk.write("base/db.yaml", &sealed.replace("  namespace: shop\n", ""));
    let answer = desk.seal(&["verify", "-n", "shop"]);
    assert_eq!((answer.code, answer.stdout.as_str()), (0, ""), "{answer:?}");
    desk.write(
        "overlay/kustomization.yaml",
        "resources: [../base]\nnamespace: other\n",
    );
    let answer = desk.seal(&["verify", "-n", "shop"]);
    assert!(answer.stdout.contains("makes it other/db"), "{answer:?}");
}

/// The last build decides: a base alone is built by nobody.
#[test]
fn the_outermost_kustomization_decides() {
    let desk = overlay("strict", "namespace: shop");
    let base = "resources: [db.yaml]\nnamespace: other\n";
    desk.write("base/kustomization.yaml", base);
    assert_eq!(found(&desk), [""; 0]);
    // And Flux comes after it.
    let flux = "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\n\
        metadata: {name: apps, namespace: flux-system}\nspec: {path: ./overlay, targetNamespace: prod}\n";
    desk.write("clusters/apps.yaml", flux);
    let lines = found(&desk);
    let words =
        "Transformed: clusters/apps.yaml makes it prod/db, but its values are bound to shop/db";
    assert!(lines.len() == 1 && lines[0].contains(words), "{lines:?}");
    // It takes a folder without a kustomization as it is.
    let plain = flux.replace("./overlay", "./plain");
    desk.write("clusters/apps.yaml", &plain);
    desk.write("plain/below/db.yaml", &desk.read("base/db.yaml"));
    let lines = found(&desk);
    let is_plain = lines[0].starts_with("plain/below/db.yaml: shop/db: Transformed: ");
    assert!(lines.len() == 1 && is_plain, "{lines:?}");
}

#[test]
fn an_object_that_one_build_has_twice_is_found() {
    let desk = overlay("strict", "");
    desk.write("overlay/db.yaml", &desk.read("base/db.yaml"));
    assert_eq!(found(&desk), [""; 0]);
    let both = "resources: [../base, db.yaml]\n";
    desk.write("overlay/kustomization.yaml", both);
    let lines = found(&desk);
    let start = "overlay/db.yaml: shop/db: Duplicate: overlay/kustomization.yaml builds ";
    assert!(lines.len() == 1 && lines[0].starts_with(start), "{lines:?}");
}

/// Folders that each build the next one, once under each of two names: a pull request may hold them.
#[test]
fn kustomizations_that_multiply_or_go_down_without_end_are_told() {
    let desk = Desk::new();
    desk.git_init();
    let sealed = desk.pipe(&["-R", "key.pub"], secret("db", &[("A", "1")]));
    desk.write("base/db.yaml", &sealed.done().stdout);
    desk.write("base/kustomization.yaml", "resources: [db.yaml]\n");
    let ladder = |two: &str| {
        for step in 0..25 {
            let next = if step == 0 {
                "../base".to_owned()
            } else {
                format!("../step-{}", step - 1)
            };
            for side in ["a", "b"] {
                let text = format!("resources: [../{next}]\n{}\n", two.replace('X', side));
                desk.write(&format!("step-{step}/{side}/kustomization.yaml"), &text);
            }
            let both = "resources: [a, b]\n";
            desk.write(&format!("step-{step}/kustomization.yaml"), both);
        }
    };
    ladder("");
    assert_eq!(found(&desk), [""; 0], "the same object twice is one");
    ladder("namePrefix: X");
    let lines = found(&desk);
    let words = "step-24/kustomization.yaml: Unreadable: builds too many objects";
    assert!(lines.len() == 1 && lines[0].contains(words), "{lines:?}");
    ladder("");
    for step in 0..200 {
        let text = format!("resources: [../deep-{}]\n", step + 1);
        desk.write(&format!("deep-{step}/kustomization.yaml"), &text);
    }
    let lines = found(&desk);
    let words = "deep-0/kustomization.yaml: Unreadable";
    assert!(lines.len() == 1 && lines[0].contains(words), "{lines:?}");
}
