//! Workloads are restarted once for each change of the values that their pods read, and for nothing
//! else. The control plane has no node: rollouts are counted by generations. That of a
//! Deployment also counts its annotations, so it is counted from the first record on.

use std::cell::Cell;
use std::time::Duration;

use sealkit_tests::canary::unique_value;
use sealkit_tests::controller::{Controller, Flags};
use sealkit_tests::namespace::{Namespace, data, ready_condition, uid};
use sealkit_tests::plane::{Own, Plane};
use sealkit_tests::repository::{Repository, shop};
use sealkit_tests::wait::{holds_for, wait_for, wait_until};
use serde_json::{Value, json};

/// How long changes are collected.
const WINDOW: Duration = Duration::from_secs(2);
/// After this, no restart follows.
const QUIET: Duration = Duration::from_secs(5);

/// Starts a controller with the rights of `deploy/components/restart`.
fn start(plane: &Plane, more: &[&str]) -> Controller {
    let component = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/components/restart");
    for file in ["cluster-role.yaml", "cluster-role-binding.yaml"] {
        let file = format!("{component}/{file}");
        plane.servers.kubectl(&["apply", "-f", &file]).unwrap();
    }
    let mut flags = vec!["--restart-workloads".to_owned()];
    flags.extend(more.iter().map(|flag| (*flag).to_owned()));
    let mut controller = plane.controller(&Flags {
        // A restarted container keeps the pod's name, and with it the lease.
        identity: Some("pod".to_owned()),
        more: flags,
        ..Flags::default()
    });
    controller.wait_leading();
    controller
}

fn started(plane: &Plane) -> Controller {
    start(plane, &[&format!("--restart-window={}s", WINDOW.as_secs())])
}

/// A workload whose pods read the Secrets `db`, `tls` and `theirs`.
struct Workload<'a> {
    shop: &'a Namespace,
    path: String,
    /// Its generation when it was first recorded.
    first: Cell<i64>,
}

impl<'a> Workload<'a> {
    fn create(shop: &'a Namespace, group: &str, kind: &str, plural: &str, asks: &str) -> Self {
        let reference = json!({"secretKeyRef": {"name": "db", "key": "password"}});
        let template = json!({"metadata": {"labels": {"app": "web"}}, "spec": {
            "containers": [{"name": "web", "image": "registry.example/web",
                "env": [{"name": "PASSWORD", "valueFrom": reference}],
                "envFrom": [{"secretRef": {"name": "theirs", "optional": true}}]}],
            "volumes": [{"name": "tls", "secret": {"secretName": "tls"}}],
        }});
        let mut object = json!({
            "apiVersion": group, "kind": kind,
            "metadata": {"name": "web", "annotations": {"sealkit.dev/restart-on-change": asks}},
            "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": template},
        });
        if kind == "StatefulSet" {
            object["spec"]["serviceName"] = json!("web");
        }
        let collection = format!("/apis/{group}/namespaces/{}/{plural}", shop.name);
        shop.api.create(&collection, &object).unwrap();
        let path = format!("{collection}/web");
        let first = Cell::new(1);
        Self { shop, path, first }
    }

    fn deployment(shop: &'a Namespace, asks: &str) -> Self {
        Self::create(shop, "apps/v1", "Deployment", "deployments", asks)
    }

    fn now(&self) -> Value {
        self.shop.api.get(&self.path).unwrap()
    }

    fn generation(&self) -> i64 {
        self.now()["metadata"]["generation"].as_i64().unwrap()
    }

    /// Changes since it was first recorded.
    fn rollouts(&self) -> i64 {
        self.generation() - self.first.get()
    }

    fn record(&self) -> Value {
        let record = self.now()["metadata"]["annotations"]["sealkit.dev/restarted-for"].clone();
        let record = record.as_str().map(serde_json::from_str);
        record.transpose().unwrap().unwrap_or_default()
    }

    fn wait_recorded(&self, secrets: &[&str]) {
        wait_until("it is on record", || {
            let record = self.record();
            let names: Vec<&String> = record
                .as_object()
                .into_iter()
                .flatten()
                .map(|it| it.0)
                .collect();
            names == secrets
        });
        self.first.set(self.generation());
        assert!(
            self.restarted_at().is_null(),
            "first sight restarts nothing"
        );
    }

    fn wait_rollouts(&self, count: i64) {
        wait_until("the restart", || self.rollouts() == count);
    }

    fn stays_at(&self, count: i64) {
        holds_for(QUIET, "no restart more", || self.rollouts() == count);
    }

    fn restarted_at(&self) -> Value {
        let template = &self.now()["spec"]["template"];
        template["metadata"]["annotations"]["sealkit.dev/restarted-at"].clone()
    }
}

/// `db` and `tls` with new values, in this order.
fn seal_both(shop: &Namespace) {
    for name in ["db", "tls"] {
        let value = unique_value();
        shop.seal(name, &value);
        shop.wait_value(name, &value);
    }
}

#[test]
fn a_changed_value_restarts_once_and_nothing_else_does() {
    let plane = Own::take();
    let mut controller = started(&plane);
    let shop = plane.namespace("restart");
    seal_both(&shop);
    let web = Workload::deployment(&shop, "true");
    web.wait_recorded(&["db", "tls"]);
    let value = unique_value();
    shop.seal("db", &value);
    web.wait_rollouts(1);
    let event = shop.wait_event(&web.now(), "Restarted");
    let note = event["note"].as_str().unwrap();
    assert_eq!(note, "restarted, since values changed in db");
    assert!(web.restarted_at().is_string());
    web.stays_at(1);
    let kind = r#"kind="Deployment",result="restarted""#;
    let counted = controller.metric("sealkit_restarts_total", kind);
    assert_eq!(counted.to_string(), "1");

    // The same sealed text under another label.
    let mut manifest = shop.sealed("db");
    let metadata = json!({"labels": {"team": "shop"}});
    manifest["spec"]["template"] = json!({"metadata": metadata});
    let spec = json!({"spec": manifest["spec"]});
    shop.api.merge(&shop.sealed_path("db"), &spec).unwrap();
    shop.wait_secret("db", "has the label", |secret| {
        secret["metadata"]["labels"]["team"] == "shop"
    });
    // Drift, and a Secret that is made again.
    let drift = json!({"data": {"password": "Zm9v"}});
    shop.api.merge(&shop.secret_path("db"), &drift).unwrap();
    let old = shop.wait_value("db", &value);
    shop.api.delete(&shop.secret_path("db")).unwrap();
    shop.wait_secret("db", "is made again", |secret| uid(secret) != uid(&old));
    // A SealedSecret that is made again, and a controller.
    manifest["metadata"] = json!({"name": "db", "namespace": shop.name});
    manifest.as_object_mut().unwrap().remove("status");
    shop.delete_sealed("db");
    shop.apply(&manifest);
    shop.wait_value("db", &value);
    controller.process.kill().unwrap();
    let _controller = started(&plane);
    web.stays_at(1);

    // It is not asleep, and forgets whoever asks no more.
    shop.seal("tls", &unique_value());
    web.wait_rollouts(2);
    let silent = json!({"metadata": {"annotations": {"sealkit.dev/restart-on-change": null}}});
    shop.api.merge(&web.path, &silent).unwrap();
    wait_until("the record goes", || web.record().is_null());
    let last = web.restarted_at();
    shop.seal("tls", &unique_value());
    holds_for(QUIET, "no restart more", || web.restarted_at() == last);
}

#[test]
fn a_rotation_of_keys_restarts_nothing() {
    let plane = Own::take();
    let _controller = started(&plane);
    let shop = shop(&plane);
    let repository = Repository::new(&plane, 1);
    repository.apply(&plane);
    repository.wait_ready(&shop);
    let web = Workload::deployment(&shop, "db-0");
    web.wait_recorded(&["db-0"]);
    repository.done(&plane, &["keys", "rotate", "--context", "rig"], "");
    repository.done(&plane, &["reseal", "-i", "../recovery.key"], "");
    repository.apply(&plane);
    wait_until("it is opened with the new key", || {
        shop.sealed("db-0")["status"]["needsReseal"] == false
    });
    web.stays_at(0);
    shop.api.delete(&web.path).unwrap();
}

#[test]
fn values_that_change_together_restart_workloads_of_each_kind_once() {
    let plane = Own::take();
    let crd = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "rollouts.argoproj.io"},
        "spec": {"group": "argoproj.io", "scope": "Namespaced",
            "names": {"kind": "Rollout", "plural": "rollouts"},
            "versions": [{"name": "v1alpha1", "served": true, "storage": true, "schema": {
                "openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]},
    });
    let crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    plane.api.create(crds, &crd).unwrap();
    wait_for("Rollouts", || {
        plane
            .api
            .try_get("/apis/argoproj.io/v1alpha1/rollouts")
            .ok()
    });
    // Longer than a busy machine takes for two Secrets.
    let _controller = start(&plane, &["--restart-window=8s"]);
    let shop = plane.namespace("restart");
    seal_both(&shop);
    let workloads = [
        ("apps/v1", "Deployment", "deployments"),
        ("apps/v1", "StatefulSet", "statefulsets"),
        ("apps/v1", "DaemonSet", "daemonsets"),
        ("argoproj.io/v1alpha1", "Rollout", "rollouts"),
    ];
    let workloads =
        workloads.map(|(group, kind, plural)| Workload::create(&shop, group, kind, plural, "true"));
    for workload in &workloads {
        workload.wait_recorded(&["db", "tls"]);
    }
    for name in ["db", "tls"] {
        shop.seal(name, &unique_value());
    }
    for workload in &workloads {
        workload.wait_rollouts(1);
        let event = shop.wait_event(&workload.now(), "Restarted");
        let note = event["note"].as_str().unwrap();
        assert_eq!(note, "restarted, since values changed in db, tls");
    }
    holds_for(QUIET, "one restart each", || {
        workloads.iter().all(|workload| workload.rollouts() == 1)
    });
    plane
        .api
        .delete(&format!("{crds}/rollouts.argoproj.io"))
        .unwrap();
}

#[test]
fn a_restart_that_a_killed_controller_owed_is_made_once() {
    let plane = Own::take();
    // Long enough to fall into.
    let mut controller = start(&plane, &["--restart-window=60s"]);
    let shop = plane.namespace("restart");
    seal_both(&shop);
    let web = Workload::deployment(&shop, "true");
    web.wait_recorded(&["db", "tls"]);
    let value = unique_value();
    shop.seal("db", &value);
    shop.wait_value("db", &value);
    controller.process.kill().unwrap();
    assert_eq!(web.rollouts(), 0, "it was owed");

    let mut controller = started(&plane);
    web.wait_rollouts(1);
    controller.process.kill().unwrap();
    let mut controller = started(&plane);
    web.stays_at(1);
    // A kill at any moment around the restart.
    for (count, wait) in [(2, 1900), (3, 2000), (4, 2100)] {
        let value = unique_value();
        shop.seal("db", &value);
        shop.wait_value("db", &value);
        std::thread::sleep(Duration::from_millis(wait));
        controller.process.kill().unwrap();
        controller = started(&plane);
        web.wait_rollouts(count);
        web.stays_at(count);
    }
}

/// A store that holds this value, and an ExternalSecret that makes `db` of it every second.
fn external(shop: &Namespace, value: &str) -> String {
    let collection = |plural: &str| {
        let namespace = &shop.name;
        format!("/apis/external-secrets.io/v1/namespaces/{namespace}/{plural}")
    };
    let store = json!({
        "apiVersion": "external-secrets.io/v1", "kind": "SecretStore", "metadata": {"name": "fake"},
        "spec": held(value)["spec"],
    });
    let external = json!({
        "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret", "metadata": {"name": "db"},
        "spec": {"secretStoreRef": {"name": "fake"}, "refreshInterval": "1s",
            "data": [{"secretKey": "password", "remoteRef": {"key": "db"}}]},
    });
    shop.api
        .create(&collection("secretstores"), &store)
        .unwrap();
    shop.api
        .create(&collection("externalsecrets"), &external)
        .unwrap();
    collection("secretstores") + "/fake"
}

fn held(value: &str) -> Value {
    json!({"spec": {"provider": {"fake": {"data": [{"key": "db", "value": value}]}}}})
}

#[test]
fn values_of_a_store_restart_when_they_change() {
    let plane = Own::take();
    let mut controller = started(&plane);
    let shop = plane.namespace("restart");
    let (first, second, third) = (unique_value(), unique_value(), unique_value());
    let store = external(&shop, &first);
    shop.wait_value("db", &first);
    let web = Workload::deployment(&shop, "true");
    web.wait_recorded(&["db"]);
    let path = format!(
        "/apis/external-secrets.io/v1/namespaces/{}/externalsecrets/db",
        shop.name
    );
    // Drift, another label, and a Secret that is made again.
    let drift = json!({"data": {"password": "Zm9v"}});
    shop.api.merge(&shop.secret_path("db"), &drift).unwrap();
    shop.wait_value("db", &first);
    let label = json!({"metadata": {"labels": {"team": "shop"}}});
    shop.api.merge(&path, &label).unwrap();
    let old = shop.wait_secret("db", "has the label", |secret| {
        secret["metadata"]["labels"]["team"] == "shop"
    });
    shop.api.delete(&shop.secret_path("db")).unwrap();
    shop.wait_secret("db", "is made again", |secret| uid(secret) != uid(&old));
    web.stays_at(0);

    shop.api.merge(&store, &held(&second)).unwrap();
    shop.wait_value("db", &second);
    web.wait_rollouts(1);
    web.stays_at(1);
    // Another value while nobody looks.
    controller.process.kill().unwrap();
    shop.api.merge(&store, &held(&third)).unwrap();
    let mut controller = started(&plane);
    shop.wait_value("db", &third);
    web.wait_rollouts(2);
    web.stays_at(2);
    // A Secret that is made again while nobody looks.
    controller.process.kill().unwrap();
    shop.api.delete(&shop.secret_path("db")).unwrap();
    let _controller = started(&plane);
    shop.wait_value("db", &third);
    web.stays_at(2);
    let ready = ready_condition(&shop.api.get(&path).unwrap()).clone();
    assert_eq!(ready["status"], "True", "{ready:#}");
}

#[test]
fn only_secrets_that_are_asked_for_and_made_by_sealkit_count() {
    let plane = Own::take();
    let _controller = started(&plane);
    let shop = plane.namespace("restart");
    seal_both(&shop);
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "theirs"},
        "data": data(&[("A", "1")]),
    });
    shop.api.create(&shop.secrets_path(), &secret).unwrap();
    let web = Workload::deployment(&shop, "db, theirs");
    web.wait_recorded(&["db"]);
    let other = json!({"data": data(&[("A", "2")])});
    shop.api.merge(&shop.secret_path("theirs"), &other).unwrap();
    shop.seal("tls", &unique_value());
    web.stays_at(0);
    // A paused Deployment is changed, and says so.
    let paused = json!({"spec": {"paused": true}});
    shop.api.merge(&web.path, &paused).unwrap();
    shop.seal("db", &unique_value());
    let event = shop.wait_event(&web.now(), "Restarted");
    let note = event["note"].as_str().unwrap();
    assert!(note.contains("it is paused"), "{note}");
    assert!(web.restarted_at().is_string());
}

#[test]
fn without_the_right_to_patch_the_workload_is_told_once_and_restarted_later() {
    let plane = Own::take();
    let _controller = started(&plane);
    let shop = plane.namespace("restart");
    seal_both(&shop);
    let web = Workload::deployment(&shop, "true");
    web.wait_recorded(&["db", "tls"]);
    let role = |verbs: Value| {
        let role = "/apis/rbac.authorization.k8s.io/v1/clusterroles/sealkit-restart";
        let resources = ["deployments", "statefulsets", "daemonsets"];
        let rules = json!([{"apiGroups": ["apps"], "resources": resources, "verbs": verbs}]);
        plane.api.merge(role, &json!({"rules": rules})).unwrap();
    };
    role(json!(["get", "list", "watch"]));
    // Until the right is gone.
    std::thread::sleep(Duration::from_secs(1));
    shop.seal("db", &unique_value());
    let event = shop.wait_event(&web.now(), "RestartFailed");
    let note = event["note"].as_str().unwrap();
    assert!(
        note.contains("the API server answered 403") && note.contains("the right to patch"),
        "{note}"
    );
    web.stays_at(0);
    let failures = || {
        let mut events = shop.events(uid(&web.now()));
        events.retain(|event| event["reason"] == "RestartFailed");
        events.len()
    };
    assert_eq!(failures(), 1);
    role(json!(["get", "list", "watch", "patch"]));
    web.wait_rollouts(1);
    web.stays_at(1);
}
