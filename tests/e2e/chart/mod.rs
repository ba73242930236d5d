//! The Helm chart, with the real Helm.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use sealkit_core::manifest::read_documents;
use sealkit_rig::go_tools;
use sealkit_tests::controller::Flags;
use sealkit_tests::delivery::root;
use sealkit_tests::plane::SYSTEM;
use serde_json::Value;
use tempfile::TempDir;

mod kustomize;
mod release;
mod values;

/// Helm with folders and a kubeconfig of its own.
struct Helm {
    program: PathBuf,
    home: TempDir,
    kubeconfig: PathBuf,
}

impl Helm {
    fn new(kubeconfig: &Path) -> Self {
        let module = root().join("tests/interop/go/helm");
        let programs = go_tools(&module, "interop-helm").unwrap();
        Self {
            program: programs.join("helm"),
            home: tempfile::tempdir().unwrap(),
            kubeconfig: kubeconfig.to_owned(),
        }
    }

    fn output(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(&self.program);
        for variable in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
            command.env(variable, self.home.path());
        }
        command.env("KUBECONFIG", &self.kubeconfig);
        command.args(["--namespace", SYSTEM]).args(arguments);
        command.output().unwrap()
    }

    fn run(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments);
        let (stdout, stderr) = (output.stdout, String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{arguments:?}: {stderr}");
        String::from_utf8(stdout).unwrap()
    }

    /// The release `sealkit` of our chart, by `install`, `upgrade` or `template`.
    fn release(&self, verb: &str, more: &[&str]) -> String {
        let chart = root().join("deploy/chart");
        let arguments = [verb, "sealkit", chart.to_str().unwrap()];
        self.run(&[&arguments, more].concat())
    }

    /// The objects of the chart with these values.
    fn template(&self, values: &str) -> Vec<Value> {
        let file = self.home.path().join("values.yaml");
        std::fs::write(&file, values).unwrap();
        objects(&self.release("template", &["--values", file.to_str().unwrap()]))
    }
}

fn objects(manifests: &str) -> Vec<Value> {
    let documents = read_documents(manifests.as_bytes()).unwrap().into_iter();
    documents.map(|document| document.object).collect()
}

/// The one container of the Deployment.
fn container(deployment: &Value) -> &Value {
    &deployment["spec"]["template"]["spec"]["containers"][0]
}

/// How the Deployment starts the controller: its arguments and variables, with `state` in place of its
/// volume.
fn flags_of(deployment: &Value, state: &Path) -> Flags {
    let container = container(deployment);
    let arguments = container["args"].as_array().cloned().unwrap_or_default();
    let variables = container["env"].as_array().unwrap().iter().map(|variable| {
        let name = variable["name"].as_str().unwrap().to_owned();
        let field = &variable["valueFrom"]["fieldRef"]["fieldPath"];
        let value = match (name.as_str(), field.as_str()) {
            ("SEALKIT_STATE_DIR", _) => state.to_str().unwrap(),
            (_, Some("metadata.namespace")) => {
                deployment["metadata"]["namespace"].as_str().unwrap()
            }
            (_, Some("metadata.name")) => "seal-controller-0",
            _ => variable["value"].as_str().unwrap(),
        };
        (&*name.leak(), value.to_owned())
    });
    Flags {
        more: arguments
            .iter()
            .map(|argument| argument.as_str().unwrap().to_owned())
            .collect(),
        environment: variables.collect(),
        ..Flags::default()
    }
}
