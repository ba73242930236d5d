//! Branches that Argo CD's source hydrator renders: what is sealed passes through unchanged, and
//! `seal` reads the branch like any other.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use sealkit_core::keys::parse_recipient_file;
use sealkit_tests::program::program;
use serde_json::Value;
use tempfile::TempDir;

use crate::peers::{go, outcome, run, text, tree};

const PATH: &str = "shop/overlays/production";
const SOURCE: &str = "shop/overlays/production/db.sealed.yaml";
const MANIFEST: &str = "shop/overlays/production/manifest.yaml";

/// The example for Argo CD in `main`, and a work tree of the branch `env/production` in `rendered`.
struct Delivery(TempDir);

impl Delivery {
    fn new() -> Self {
        let delivery = Self(TempDir::new().unwrap());
        let example = tree("examples/argocd-app-of-apps");
        let main = delivery.folder("main");
        run(Command::new("cp").arg("-r").arg(example).arg(&main), b"");
        delivery.git("main", &["init", "-q", "-b", "main"]);
        delivery.commit("main");
        delivery.git(
            "main",
            &["worktree", "add", "-q", "--detach", "../rendered"],
        );
        let orphan = ["checkout", "-q", "--orphan", "env/production"];
        delivery.git("rendered", &orphan);
        delivery.git("rendered", &["rm", "-rfq", "."]);
        delivery.hydrate();
        delivery
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn read(&self, branch: &str, path: &str) -> String {
        fs::read_to_string(self.folder(branch).join(path)).unwrap()
    }

    fn git(&self, branch: &str, arguments: &[&str]) -> String {
        let mut git = Command::new("git");
        git.args(["-c", "user.name=t", "-c", "user.email=t@example.com"]);
        git.args(arguments).current_dir(self.folder(branch));
        text(git.env("HOME", self.0.path()), b"")
    }

    fn commit(&self, branch: &str) {
        self.git(branch, &["add", "-A"]);
        self.git(branch, &["commit", "-q", "-m", "a change"]);
    }

    /// What Argo CD does after a commit to `main`.
    fn hydrate(&self) {
        let revision = self.git("main", &["rev-parse", "HEAD"]);
        let mut hydrator = go("hydrator", "hydrator");
        hydrator.arg(self.folder("main")).arg(revision.trim());
        run(hydrator.arg(self.folder("rendered")).arg(PATH), b"");
        self.commit("rendered");
    }

    fn seal(&self, branch: &str, arguments: &[&str], stdin: &str) -> Output {
        let mut seal = Command::new(program("seal"));
        seal.args(arguments).current_dir(self.folder(branch));
        seal.env("HOME", self.0.path());
        outcome(&mut seal, stdin.as_bytes())
    }

    /// Requires that `seal` finds nothing.
    fn clean(&self, branch: &str, arguments: &[&str]) -> Output {
        let output = self.seal(branch, arguments, "");
        let is_clean = output.status.success() && output.stdout.is_empty();
        assert!(is_clean, "{arguments:?}: {output:?}");
        output
    }

    /// Object, key and state of each value that the key of production can read, sorted.
    fn exposure(&self, branch: &str) -> Vec<String> {
        let keys = parse_recipient_file(&self.read("main", ".sealkit/production.pub"));
        let key = keys.unwrap()[0].fingerprint().to_string();
        let identity = tree("tests/keys/examples/recovery.key");
        let fixed = ["keys", "exposure", "-o", "json", &key, "-i"];
        let arguments = [&fixed[..], &[identity.to_str().unwrap()]].concat();
        let output = self.seal(branch, &arguments, "");
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let values = report["values"].as_array().unwrap().iter();
        let line = |it: &Value| {
            let text = |field: &str| it[field].as_str().unwrap().to_owned();
            format!("{} {} {}", text("object"), text("key"), text("state"))
        };
        let mut lines: Vec<String> = values.map(line).collect();
        lines.sort();
        lines
    }
}

/// Values, age files and fingerprints: the long words of a manifest.
fn sealed_words(text: &str) -> BTreeSet<&str> {
    let words = text.split(|it: char| it.is_whitespace() || it == '"' || it == ':');
    words.filter(|word| word.len() >= 32).collect()
}

#[test]
fn a_rendered_branch_has_the_sealed_values_of_its_source() {
    let delivery = Delivery::new();
    let files = delivery.git("rendered", &["ls-files"]);
    for file in [MANIFEST, "shop/overlays/production/hydrator.metadata"] {
        assert!(files.lines().any(|it| it == file), "{files}");
    }
    let (source, manifest) = (
        delivery.read("main", SOURCE),
        delivery.read("rendered", MANIFEST),
    );
    let sealed = sealed_words(&source);
    // Two values, an envelope with two recipients.
    assert_eq!(sealed.len(), 6);
    assert_eq!(sealed_words(&manifest), sealed);
    assert!(manifest.contains("argocd.argoproj.io/sync-wave"), "built");

    delivery.clean("rendered", &["verify"]);
    let identity = tree("tests/keys/examples/recovery.key");
    delivery.clean("rendered", &["verify", "-i", identity.to_str().unwrap()]);
    delivery.clean("rendered", &["lint", "--references"]);
    for arguments in [["reseal", "--check"], ["reseal", "-i"]] {
        let key: &[&str] = match arguments[1] {
            "-i" => &[identity.to_str().unwrap()],
            _ => &[],
        };
        let output = delivery.clean("rendered", &[&arguments, key].concat());
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(told.contains("reseal their source there"), "{told}");
    }
    assert_eq!(delivery.read("rendered", MANIFEST), manifest);
    delivery.clean("main", &["reseal", "--check"]);
}

#[test]
fn exposure_counts_a_value_once_over_source_and_rendered_branch() {
    let delivery = Delivery::new();
    let all = |states: [&str; 4]| -> Vec<String> {
        let values = [
            "shop-production/db PASSWORD",
            "shop-production/db USER",
            "shop-staging/db PASSWORD",
            "shop-staging/db USER",
        ];
        let values = values.iter().zip(states);
        values.map(|(it, state)| format!("{it} {state}")).collect()
    };
    let exposed = all(["exposed"; 4]);
    assert_eq!(delivery.exposure("main"), exposed);
    // Staging is rendered elsewhere.
    let branch = "on-a-branch";
    let there = all(["exposed", "exposed", branch, branch]);
    assert_eq!(delivery.exposure("rendered"), there);

    let set = ["set", SOURCE, "PASSWORD", "--accept-recipients"];
    let output = delivery.seal("main", &set, "another");
    assert!(output.status.success(), "{output:?}");
    delivery.commit("main");
    // Until it is rendered, the cluster still has the old value.
    let old = |state: &str| {
        let mut states = exposed.clone();
        states.push(format!("shop-production/db PASSWORD {state}"));
        states.sort();
        states
    };
    assert_eq!(delivery.exposure("main"), old("on-a-branch"));
    delivery.hydrate();
    delivery.clean("rendered", &["verify", "--base", "HEAD~1"]);
    assert_eq!(delivery.exposure("main"), old("replaced"));
}

#[test]
fn verify_finds_what_was_changed_on_the_rendered_branch_itself() {
    let delivery = Delivery::new();
    let set = ["set", SOURCE, "PASSWORD", "--accept-recipients"];
    let output = delivery.seal("main", &set, "another");
    assert!(output.status.success(), "{output:?}");
    delivery.commit("main");
    delivery.hydrate();
    let found = |base: &str| {
        let output = delivery.seal("rendered", &["verify", "--base", base], "");
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    // Back to the old value.
    delivery.git("rendered", &["revert", "--no-edit", "HEAD"]);
    let rollback = found("HEAD~1");
    assert!(
        rollback.contains(" Rollback: the value of PASSWORD"),
        "{rollback}"
    );
    // The value of one key under another.
    let manifest = delivery.read("rendered", MANIFEST);
    let swapped = manifest.replace("    USER: ", "    OTHER: ");
    fs::write(delivery.folder("rendered").join(MANIFEST), swapped).unwrap();
    let moved = found("HEAD");
    assert!(moved.contains(" Moved: the value of OTHER"), "{moved}");
    // The source has a config, and the rendered branch has none: they are not compared.
    assert!(found("main").contains("NoConfig"));
}
