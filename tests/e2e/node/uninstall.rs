//! The order of `docs/install.md`, which keeps Secrets.

use std::path::PathBuf;
use std::process::Command;

use sealkit_tests::namespace::{Namespace, uid};
use sealkit_tests::plane::{LEASE, unique};
use sealkit_tests::repository::{NAMESPACE, Repository};
use serde_json::{Value, json};

use super::{Installation, root};

#[test]
fn what_was_opened_survives_the_documented_uninstall() {
    let Some(installation) = Installation::take() else {
        return;
    };
    installation
        .kubectl(&["create", "namespace", NAMESPACE])
        .unwrap();
    let repository = Repository::new(&installation, 2);
    repository.apply(&installation);
    let shop = installation.existing_namespace(NAMESPACE);
    repository.wait_ready(&shop);
    let external = unique("external");
    external_secret(&shop, &external);
    let names = ["db-0", "db-1", external.as_str()];
    let before: Vec<Value> = names.iter().map(|name| secret(&shop, name)).collect();

    let page = std::fs::read_to_string(root().join("docs/install.md")).unwrap();
    let commands = commands_of(&page, "## Uninstall");
    assert_eq!(commands.len(), 7, "{commands:?}");
    for command in &commands {
        run(&installation, &repository, command);
    }

    for (name, before) in names.iter().zip(before) {
        let after = secret(&shop, name);
        assert_eq!(uid(&after), uid(&before), "{name}");
        assert_eq!(after["data"], before["data"], "{name}");
        assert_eq!(after["metadata"]["ownerReferences"], Value::Null, "{name}");
    }
    let crds = installation
        .kubectl(&["get", "crds", "--output", "name"])
        .unwrap();
    assert!(!crds.contains("sealkit.dev"), "{crds}");
    assert_eq!(installation.api.get(LEASE), None);

    // The backup is good: what is in Git opens again, and takes its Secrets back.
    installation.install();
    let restore = [
        "keys",
        "restore",
        "--context",
        "rig",
        "--other-cluster",
        "-i",
        "../recovery.key",
        "sealkit-keys.age",
    ];
    repository.done(&installation, &restore, "");
    repository.apply(&installation);
    for secret in repository.wait_ready(&shop) {
        assert_eq!(secret["metadata"]["namespace"], NAMESPACE);
    }
    installation
        .kubectl(&["delete", "namespace", NAMESPACE])
        .unwrap();
}

fn secret(namespace: &Namespace, name: &str) -> Value {
    namespace
        .secret(name)
        .unwrap_or_else(|| panic!("no Secret {name}"))
}

/// An ExternalSecret of a store that holds its value itself, with its Secret.
fn external_secret(namespace: &Namespace, name: &str) {
    let make = |plural: &str, object: &Value| {
        let collection = format!(
            "/apis/external-secrets.io/v1/namespaces/{}/{plural}",
            namespace.name
        );
        namespace.api.create(&collection, object).unwrap();
    };
    make(
        "secretstores",
        &json!({
            "apiVersion": "external-secrets.io/v1", "kind": "SecretStore",
            "metadata": {"name": "fake"},
            "spec": {"provider": {"fake": {"data": [{"key": "db", "value": "a"}]}}},
        }),
    );
    make(
        "externalsecrets",
        &json!({
            "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret",
            "metadata": {"name": name},
            "spec": {
                "secretStoreRef": {"name": "fake"},
                "data": [{"secretKey": "password", "remoteRef": {"key": "db"}}],
            },
        }),
    );
    namespace.wait_value(name, "a");
}

/// The lines of the first block of a section.
fn commands_of(page: &str, heading: &str) -> Vec<String> {
    let (_, section) = page.split_once(&format!("\n{heading}\n")).expect(heading);
    let mut blocks = section.split("\n```");
    let block = blocks.nth(1).expect("a block");
    let lines = block.lines().filter(|line| !line.trim().is_empty());
    lines.map(str::to_owned).collect()
}

/// Runs a command of the page as somebody types it, in the repository.
fn run(installation: &Installation, repository: &Repository, command: &str) {
    let kubectl = installation.servers.kubectl_path().parent().unwrap();
    let seal = sealkit_tests::program::program("seal");
    let folders = [kubectl, seal.parent().unwrap()].map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = folders.into_iter().chain(std::env::split_paths(&path));
    let path = std::env::join_paths(folders).unwrap();
    // The page names the folder of its checkout.
    let command = command.replace(
        "examples/install",
        &root().join("deploy/base").display().to_string(),
    );
    let ran = Command::new("sh")
        .args(["-c", &command])
        .current_dir(repository.path(""))
        .env("PATH", path)
        .env("KUBECONFIG", installation.servers.kubeconfig())
        .env("KUBERC", "off")
        .env("HOME", repository.root.path())
        .output()
        .unwrap();
    assert!(ran.status.success(), "{command}: {ran:?}");
}
