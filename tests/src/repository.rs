//! Repositories with sealed objects, and the real `seal` in them.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::canary::unique_value;
use crate::namespace::Namespace;
use crate::plane::{Plane, recipient};
use crate::program::program;

/// A repository with objects for one cluster, and the recovery key outside of it.
pub struct Repository {
    /// `work` is the repository.
    pub root: TempDir,
    /// The values of its objects.
    pub values: Vec<String>,
}

/// Where its objects belong.
pub const NAMESPACE: &str = "shop";

impl Repository {
    /// Made with the cluster's key; seals so many objects.
    pub fn new(plane: &Plane, objects: usize) -> Self {
        let root = tempfile::tempdir().unwrap();
        let work = root.path().join("work");
        fs::create_dir(&work).unwrap();
        let git = Command::new("git").args(["init", "-q"]).arg(&work).status();
        assert!(git.unwrap().success());
        let values = (0..objects).map(|_| unique_value()).collect();
        let repository = Self { root, values };
        repository.done(
            plane,
            &[
                "init",
                "--cluster",
                "production",
                "--recovery-key",
                "../recovery.key",
            ],
            "",
        );
        for (index, value) in repository.values.iter().enumerate() {
            let manifest = json!({
                "apiVersion": "v1", "kind": "Secret",
                "metadata": {"name": format!("db-{index}"), "namespace": NAMESPACE},
                "stringData": {"password": value},
            });
            repository.done(plane, &["-q", "-w", "production/"], &manifest.to_string());
        }
        repository
    }

    /// A path in the repository.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.path().join("work").join(name)
    }

    /// `seal` in the repository, with the administrator's kubeconfig.
    pub fn seal(&self, plane: &Plane, arguments: &[&str], stdin: &str) -> Output {
        let mut child = self
            .command(plane, arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
        child.wait_with_output().unwrap()
    }

    /// The same, not waited for.
    pub fn start(&self, plane: &Plane, arguments: &[&str]) -> Child {
        self.command(plane, arguments).spawn().unwrap()
    }

    /// The command, not started.
    pub fn command(&self, plane: &Plane, arguments: &[&str]) -> Command {
        let mut command = Command::new(program("seal"));
        command
            .args(arguments)
            .current_dir(self.root.path().join("work"))
            .env("KUBECONFIG", plane.servers.kubeconfig())
            .env("HOME", self.root.path());
        command
    }

    /// Requires success; stdout and stderr, in which no value stands.
    pub fn done(&self, plane: &Plane, arguments: &[&str], stdin: &str) -> String {
        let output = self.seal(plane, arguments, stdin);
        let text =
            String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {text}");
        for value in &self.values {
            assert!(!text.contains(value), "{arguments:?}");
        }
        assert!(!text.contains("AGE-SECRET-KEY"), "{arguments:?}");
        text.into_owned()
    }

    /// Applies its objects.
    pub fn apply(&self, plane: &Plane) {
        let folder = self.path("production");
        let apply = ["apply", "--server-side", "-f", folder.to_str().unwrap()];
        plane.servers.kubectl(&apply).unwrap();
    }

    /// Waits until all are Ready and their Secrets hold their values.
    pub fn wait_ready(&self, shop: &Namespace) -> Vec<Value> {
        (0..self.values.len())
            .map(|index| {
                let name = format!("db-{index}");
                let object = shop.wait_ready(&name);
                shop.wait_value(&name, &self.values[index]);
                object
            })
            .collect()
    }

    /// One with objects in several namespaces, the last one for the whole cluster.
    pub fn spread(plane: &Plane, namespaces: &[&str], objects: usize) -> Self {
        plane.newest_key();
        let repository = Self::new(plane, 0);
        // Its objects have all scopes.
        let config = repository.path(".sealkit.yaml");
        let text = fs::read_to_string(&config).unwrap();
        let wide = text.replace("scope: strict", "scope: cluster-wide");
        assert_ne!(wide, text);
        fs::write(&config, wide).unwrap();
        for (index, namespace) in namespaces.iter().enumerate() {
            for object in 0..objects {
                let scope = ["strict", "namespace-wide"][object % 2];
                let manifest = json!({
                    "apiVersion": "v1", "kind": "Secret",
                    "metadata": {"name": format!("db-{object}"), "namespace": namespace,
                        "annotations": {"sealkit.dev/scope": scope}},
                    "stringData": {"password": unique_value()},
                });
                let folder = format!("production/{index}/");
                repository.done(plane, &["-q", "-w", &folder], &manifest.to_string());
            }
        }
        let manifest = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "shared"},
            "stringData": {"password": unique_value()},
        });
        let arguments = ["-q", "--scope", "cluster-wide", "-w", "production/"];
        repository.done(plane, &arguments, &manifest.to_string());
        repository
    }
}

/// The namespace of a repository's objects.
pub fn shop(plane: &Plane) -> Namespace {
    let key = recipient(&plane.newest_key());
    make_namespaces(plane, &[NAMESPACE]);
    Namespace::existing(&plane.api, NAMESPACE, &key)
}

/// Makes namespaces: a control plane that another test had may have them.
pub fn make_namespaces(plane: &Plane, names: &[&str]) {
    for name in names {
        let namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        let made = plane.api.create("/api/v1/namespaces", &namespace);
        assert!(
            made.as_ref()
                .err()
                .is_none_or(|refusal| refusal.code == 409),
            "{made:?}"
        );
    }
}

/// All files below a folder.
pub fn tree(folder: &Path) -> std::collections::BTreeMap<String, String> {
    let mut found = std::collections::BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(tree(&path));
        } else {
            let text = fs::read_to_string(&path).unwrap();
            found.insert(path.to_str().unwrap().to_owned(), text);
        }
    }
    found
}

/// What a program said.
pub fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}
