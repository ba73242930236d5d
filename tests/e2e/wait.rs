//! `seal wait` on a real API server: what is ready, for which generation, and what is said of the rest.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use sealkit_tests::canary::unique_value;
use sealkit_tests::namespace::Namespace;
use sealkit_tests::plane::{Own, Plane, Shared};
use sealkit_tests::program::program;
use sealkit_tests::repository::text;
use sealkit_tests::wait::{wait_for, wait_until};
use serde_json::{Value, json};

/// `seal` with a kubeconfig, in a folder of its own.
pub(crate) struct Seal {
    kubeconfig: PathBuf,
    /// Where it runs.
    pub folder: tempfile::TempDir,
}

impl Seal {
    /// As the administrator.
    pub fn admin(plane: &Plane) -> Self {
        Self::with(plane.servers.kubeconfig())
    }

    pub fn with(kubeconfig: &Path) -> Self {
        Self {
            kubeconfig: kubeconfig.to_owned(),
            folder: tempfile::tempdir().unwrap(),
        }
    }

    pub fn start(&self, arguments: &[&str]) -> Child {
        Command::new(program("seal"))
            .args(arguments)
            .current_dir(self.folder.path())
            .env("KUBECONFIG", &self.kubeconfig)
            .env("HOME", self.folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        self.start(arguments).wait_with_output().unwrap()
    }

    /// The same with this on stdin.
    pub fn pipe(&self, arguments: &[&str], input: &str) -> Output {
        let mut child = self.start(arguments);
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        child.wait_with_output().unwrap()
    }

    /// Writes a file, with its folders.
    pub fn write(&self, name: &str, content: &str) {
        let path = self.folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Requires an exit code; what it said.
    pub fn ends(&self, code: i32, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let said = text(&output);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        said
    }

    /// Requires an exit code; its report.
    pub fn json(&self, code: i32, arguments: &[&str]) -> Value {
        let output = self.run(&[arguments, &["-o", "json"]].concat());
        assert_eq!(output.status.code(), Some(code), "{}", text(&output));
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output)))
    }
}

/// Sealed to a key that the cluster does not have, and altered: it never opens.
pub(crate) fn broken(namespace: &Namespace, name: &str) -> Value {
    let mut manifest = namespace.draft(name).value("password", "v").manifest();
    let sealed = &mut manifest["spec"]["encryptedData"]["password"];
    let text = sealed.as_str().unwrap().to_owned();
    // Any letter is canonical Base64 before the last four.
    let (head, tail) = text.split_at(text.len() - 8);
    let other = if tail.starts_with('A') { "B" } else { "A" };
    *sealed = format!("{head}{other}{}", &tail[1..]).into();
    manifest
}

fn states(report: &Value) -> Vec<(String, String)> {
    let objects = report["objects"].as_array().unwrap().iter();
    let word = |value: &Value| value.as_str().unwrap().to_owned();
    objects
        .map(|object| (word(&object["name"]), word(&object["state"])))
        .collect()
}

#[test]
fn everything_ready_is_a_success_and_one_stalled_object_ends_the_wait_at_once() {
    let plane = Shared::get();
    let shop = plane.namespace("wait");
    let seal = Seal::admin(&plane);
    let nothing = seal.ends(0, &["wait", "--all", "-n", &shop.name]);
    let place = format!(
        "warning: there is nothing to wait for in the namespace {}",
        shop.name
    );
    assert!(nothing.contains(&place), "{nothing}");
    for name in ["a", "b"] {
        shop.seal(name, &unique_value());
    }
    let ready = seal.ends(0, &["wait", "--all", "-n", &shop.name]);
    assert!(ready.contains("2 objects ready"), "{ready}");
    assert!(
        ready.contains("skipped: ClusterExternalSecret")
            || ready.contains("skipped: SealedSecret.bitnami.com"),
        "{ready}"
    );
    let report = seal.json(0, &["wait", "sealedsecret/a", "seal/b", "-n", &shop.name]);
    assert_eq!(report["ready"], true);
    assert_eq!(
        states(&report),
        [("a".into(), "Ready".into()), ("b".into(), "Ready".into())]
    );
    let once = ["wait", "--all", "-n", &shop.name, "--timeout", "0s"];
    seal.ends(0, &once);

    shop.apply(&broken(&shop, "broken"));
    shop.wait_stalled("broken", "DecryptFailed");
    let start = Instant::now();
    let said = seal.ends(1, &["wait", "--all", "-n", &shop.name, "--timeout", "1m"]);
    assert!(start.elapsed() < Duration::from_secs(20), "at once");
    for part in [
        &*format!("SealedSecret {}/broken", shop.name),
        "Stalled",
        "DecryptFailed",
        "2 of 3 objects ready; what is stalled",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(!said.contains(&format!("{}/a ", shop.name)), "{said}");
    let report = seal.json(1, &["wait", "--all", "-n", &shop.name]);
    assert_eq!(
        (&report["ready"], &report["outcome"]),
        (&false.into(), &"stalled".into())
    );
    assert_eq!(report["objects"][2]["reason"], "DecryptFailed");
    let arguments = [
        "wait",
        "--all",
        "-n",
        &shop.name,
        "--ignore-stalled",
        "--timeout",
        "2s",
    ];
    let late = seal.ends(1, &arguments);
    assert!(late.contains("time ran out"), "{late}");

    // It recovers while somebody waits.
    let waiting = seal.start(&["wait", "seal/broken", "-n", &shop.name, "--ignore-stalled"]);
    sleep(Duration::from_secs(1));
    shop.seal("broken", &unique_value());
    let output = waiting.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
}

#[test]
fn what_is_missing_is_listed_when_time_runs_out() {
    let plane = Shared::get();
    let shop = plane.namespace("wait");
    let seal = Seal::admin(&plane);
    shop.seal("here", &unique_value());
    let start = Instant::now();
    let arguments = [
        "wait",
        "seal/here",
        "seal/gone",
        "-n",
        &shop.name,
        "--timeout",
        "2s",
    ];
    let said = seal.ends(1, &arguments);
    assert!(start.elapsed() < Duration::from_secs(10));
    assert!(
        said.contains(&format!("SealedSecret {}/gone", shop.name)),
        "{said}"
    );
    assert!(
        said.contains("Missing") && said.contains("1 of 2 objects ready"),
        "{said}"
    );
    // A label that nothing has is no success.
    let said = seal.ends(
        1,
        &[
            "wait",
            "-l",
            "app=none",
            "-n",
            &shop.name,
            "--timeout",
            "1s",
        ],
    );
    assert!(said.contains("0 of 0 objects ready"), "{said}");
    let labels = json!({"metadata": {"labels": {"app": "web"}}});
    shop.api.merge(&shop.sealed_path("here"), &labels).unwrap();
    let wrong = seal.ends(2, &["wait", "-l", "app in (", "-n", &shop.name]);
    assert!(wrong.contains("selector, app in ("), "{wrong}");
    let report = seal.json(0, &["wait", "-l", "app=web", "-n", &shop.name]);
    assert_eq!(states(&report), [("here".into(), "Ready".into())]);
    // One that comes while somebody waits for it.
    let waiting = seal.start(&["wait", "seal/soon", "-n", &shop.name]);
    sleep(Duration::from_secs(1));
    shop.seal("soon", &unique_value());
    let output = waiting.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    for (arguments, says) in [
        (&["wait", "pod/a"][..], "no kind that makes Secrets"),
        (&["wait", "db"], "not an object"),
        (&["wait"], "required"),
        (&["wait", "--all", "--timeout", "5"], "write it with units"),
    ] {
        let said = seal.ends(2, arguments);
        assert!(said.contains(says), "{said}");
    }
    let said = seal.ends(5, &["wait", "sealedsecrets.bitnami.com/a"]);
    assert!(
        said.contains("the cluster has no kind SealedSecret (bitnami.com)"),
        "{said}"
    );
}

#[test]
fn five_hundred_objects_are_awaited_in_little_memory_and_only_for_their_newest_generation() {
    let plane = Own::take();
    let mut controller = plane.leading_controller();
    let shop = plane.namespace("wait");
    let seal = Seal::admin(&plane);
    for number in 0..500 {
        shop.seal(&format!("db-{number}"), "v");
    }
    let all = ["wait", "--all", "-n", &shop.name, "--timeout", "2m"];
    let said = seal.ends(0, &all);
    assert!(said.contains("500 objects ready"), "{said}");

    controller.stop();
    let object = shop.seal("db-7", &unique_value());
    assert_eq!(object["metadata"]["generation"], 2);
    // What the status says of the generation before does not count.
    let report = seal.json(1, &["wait", "--all", "-n", &shop.name, "--timeout", "1s"]);
    let waiting: Vec<_> = states(&report)
        .into_iter()
        .filter(|(_, state)| state != "Ready")
        .collect();
    assert_eq!(waiting, [("db-7".into(), "Waiting".into())]);
    assert_eq!(report["outcome"], "timedOut");
    let child = seal.start(&all);
    sleep(Duration::from_secs(4));
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let peak = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    let peak: u64 = peak.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(peak < 60 * 1024, "{peak} KiB");
    let _controller = plane.leading_controller();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
}

#[test]
fn an_outage_of_the_api_server_does_not_end_a_wait() {
    let mut plane = Own::take();
    let _controller = plane.leading_controller();
    let shop = plane.namespace("wait");
    let seal = Seal::admin(&plane);
    shop.seal("a", &unique_value());
    shop.wait_ready("a");
    let waiting = seal.start(&[
        "wait",
        "seal/a",
        "seal/b",
        "-n",
        &shop.name,
        "-v",
        "--timeout",
        "90s",
    ]);
    sleep(Duration::from_secs(2));
    plane.servers.stop_apiserver().unwrap();
    sleep(Duration::from_secs(2));
    // An end in the meantime says that it cannot know.
    let short = seal.ends(5, &["wait", "seal/a", "-n", &shop.name, "--timeout", "1s"]);
    assert!(short.contains("the cluster is unreachable"), "{short}");
    plane.servers.start_apiserver().unwrap();
    let draft = shop.draft("b").value("password", "v").manifest();
    wait_for("the API server takes objects", || {
        shop.try_apply(&draft).ok()
    });
    let output = waiting.wait_with_output().unwrap();
    let said = text(&output);
    assert!(output.status.success(), "{said}");
    assert!(
        said.contains("trying again: the cluster is unreachable"),
        "{said}"
    );
}

#[test]
fn without_rights_the_verb_and_the_resource_are_named() {
    let plane = Shared::get();
    let shop = plane.namespace("wait");
    shop.seal("a", &unique_value());
    let kubectl = |arguments: &[&str]| plane.servers.kubectl(arguments).unwrap();
    kubectl(&["create", "serviceaccount", "ci", "-n", &shop.name]);
    let account = plane
        .servers
        .service_account_kubeconfig(&shop.name, "ci", None)
        .unwrap();
    let seal = Seal::with(&account);
    let said = seal.ends(5, &["wait", "seal/a", "-n", &shop.name]);
    let expected = format!(
        "not allowed to list sealedsecrets.sealkit.dev in the namespace {}",
        shop.name
    );
    assert!(said.contains(&expected), "{said}");
    let said = seal.ends(5, &["wait", "--all"]);
    assert!(
        said.contains("not allowed to list") && said.contains("one namespace alone: -n NAME"),
        "{said}"
    );
    // Reading a list is not enough to wait; but nobody has to wait for what is ready.
    let role = [
        "create",
        "role",
        "list",
        "-n",
        &shop.name,
        "--verb=list",
        "--resource=sealedsecrets.sealkit.dev",
    ];
    kubectl(&role);
    let subject = format!("--serviceaccount={}:ci", shop.name);
    kubectl(&[
        "create",
        "rolebinding",
        "list",
        "-n",
        &shop.name,
        "--role=list",
        &subject,
    ]);
    shop.wait_ready("a");
    seal.ends(0, &["wait", "seal/a", "-n", &shop.name]);
    let said = seal.ends(5, &["wait", "seal/b", "-n", &shop.name, "--timeout", "30s"]);
    assert!(
        said.contains("not allowed to watch sealedsecrets.sealkit.dev"),
        "{said}"
    );
}

#[test]
fn signals_end_a_wait_at_once() {
    let plane = Shared::get();
    let shop = plane.namespace("wait");
    let seal = Seal::admin(&plane);
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let child = seal.start(&["wait", "seal/never", "-n", &shop.name]);
        sleep(Duration::from_secs(1));
        let start = Instant::now();
        let kill = Command::new("kill")
            .args(["-s", signal, &child.id().to_string()])
            .status();
        assert!(kill.unwrap().success());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{}", text(&output));
        assert!(start.elapsed() < Duration::from_secs(1));
    }
}

/// A CRD without rules, as another controller's would be.
fn crd(group: &str, version: &str, kind: &str) -> Value {
    let plural = format!("{}s", kind.to_lowercase());
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{group}")},
        "spec": {
            "group": group, "scope": "Namespaced",
            "names": {"plural": plural, "singular": kind.to_lowercase(), "kind": kind},
            "versions": [{"name": version, "served": true, "storage": true,
                "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}],
        },
    })
}

/// With both kinds in the cluster, what the documentation and `seal` name is ours.
fn assert_ours_are_found(plane: &Plane, shop: &Namespace, seal: &Seal) {
    shop.seal("db", "value");
    shop.wait_ready("db");
    for word in ["sealedsecrets.sealkit.dev", "seal"] {
        let get = ["get", word, "-n", &shop.name, "-o", "name"];
        wait_until("kubectl finds ours alone", || {
            let found = plane.servers.kubectl(&get).unwrap();
            found.trim() == "sealedsecret.sealkit.dev/db"
        });
    }
    let ready = [
        "wait",
        "-n",
        &shop.name,
        "--for=condition=Ready",
        "sealedsecrets.sealkit.dev/db",
    ];
    plane.servers.kubectl(&ready).unwrap();
    seal.ends(
        0,
        &[
            "wait",
            "sealedsecret/db",
            "-n",
            &shop.name,
            "--timeout",
            "20s",
        ],
    );
    let status = seal.ends(0, &["status", "-n", &shop.name, "--context", "rig"]);
    assert!(status.contains(&shop.name), "{status}");
}

#[test]
fn statuses_of_other_controllers_are_read_by_their_own_rules() {
    let plane = Own::take();
    let _controller = plane.leading_controller();
    let shop = plane.namespace("wait");
    let seal = Seal::admin(&plane);
    let crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    // Another test may have left it.
    let _ = plane
        .api
        .create(crds, &crd("bitnami.com", "v1alpha1", "SealedSecret"));
    let path = format!(
        "/apis/bitnami.com/v1alpha1/namespaces/{}/sealedsecrets",
        shop.name
    );
    let sealed = json!({"apiVersion": "bitnami.com/v1alpha1", "kind": "SealedSecret",
        "metadata": {"name": "old"}, "spec": {"encryptedData": {"a": "AgB"}}});
    wait_until("it is served", || plane.api.create(&path, &sealed).is_ok());
    assert_ours_are_found(&plane, &shop, &seal);
    let tell = |status: Value| {
        let status = json!({"status": status});
        plane
            .api
            .merge(&format!("{path}/old/status"), &status)
            .unwrap();
    };
    let wait = [
        "wait",
        "sealedsecret.bitnami.com/old",
        "-n",
        &shop.name,
        "--timeout",
        "1s",
    ];
    let report = seal.json(1, &wait);
    assert_eq!(states(&report), [("old".into(), "Waiting".into())]);
    tell(json!({"observedGeneration": 1, "conditions": [
        {"type": "Synced", "status": "False", "message": "no key could decrypt secret (a)"}]}));
    let said = seal.ends(1, &wait);
    assert!(
        said.contains("Stalled") && said.contains("no key could decrypt secret (a)"),
        "{said}"
    );
    tell(json!({"observedGeneration": 1, "conditions": [{"type": "Synced", "status": "True"}]}));
    seal.ends(0, &wait);
    let changed = json!({"spec": {"encryptedData": {"a": "AgC"}}});
    plane.api.merge(&format!("{path}/old"), &changed).unwrap();
    seal.ends(1, &wait);
    plane
        .api
        .delete(&format!("{crds}/sealedsecrets.bitnami.com"))
        .unwrap();
}
