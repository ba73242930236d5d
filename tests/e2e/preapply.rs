//! `seal preapply` on a real API server: all or nothing, in order, and nothing twice.

use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use sealkit_core::keys::{Identity, KeyType};
use sealkit_rig::OpenBao;
use sealkit_tests::api::ApiClient;
use sealkit_tests::canary::unique_value;
use sealkit_tests::namespace::{Namespace, data, resource_version};
use sealkit_tests::plane::{Own, Shared, recipient, unique};
use sealkit_tests::repository::text;
use sealkit_tests::wait::wait_until;
use serde_json::{Value, json};

use crate::wait::{Seal, broken};

fn namespace_manifest(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
}

fn external(name: &str, namespace: &str, policy: &str) -> Value {
    json!({
        "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"secretStoreRef": {"name": "vault"}, "refreshPolicy": policy,
            "data": [{"secretKey": "a", "remoteRef": {"key": "team/db", "property": "a"}}]},
    })
}

/// What a command wrote to the cluster: the versions of all objects of a namespace.
fn versions(shop: &Namespace) -> Vec<(String, String)> {
    let objects = shop.api.list(&shop.sealed_secrets_path());
    let mut versions: Vec<_> = objects
        .iter()
        .map(|object| {
            let name = object["metadata"]["name"].as_str().unwrap().to_owned();
            (name, resource_version(object).to_owned())
        })
        .collect();
    versions.sort();
    versions
}

#[test]
fn a_tree_is_applied_and_ready_and_the_second_run_writes_nothing() {
    let plane = Shared::get();
    let seal = Seal::admin(&plane);
    // The namespace does not exist yet.
    let shop = Namespace::existing(&plane.api, &unique("pre"), &recipient(&plane.newest_key()));
    seal.write(
        "tree/namespace.yaml",
        &namespace_manifest(&shop.name).to_string(),
    );
    let value = unique_value();
    let first = shop.draft("first").value("password", &value).manifest();
    let second = shop.draft("second").value("password", &value).manifest();
    let list = json!({"apiVersion": "v1", "kind": "List", "items": [
        second, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": shop.name}}]});
    seal.write("tree/a.yaml", &format!("{first}\n---\n{list}\n"));
    seal.write(
        "tree/kustomization.yaml",
        "resources: [namespace.yaml, a.yaml]\n",
    );
    seal.write("tree/chart/templates/x.yaml", "a: {{ .Values.b }\n");
    let run = ["preapply", "tree", "-n", &shop.name];

    let dry = seal.ends(0, &[&run[..], &["--dry-run"]].concat());
    assert!(
        dry.contains("does not exist yet") && dry.contains("2 objects can be applied"),
        "{dry}"
    );
    assert!(
        plane
            .api
            .get(&format!("/api/v1/namespaces/{}", shop.name))
            .is_none()
    );

    let said = seal.ends(0, &run);
    assert!(
        said.contains("2 objects ready") && said.contains("first created"),
        "{said}"
    );
    assert!(!said.contains(&value));
    for name in ["first", "second"] {
        let secret = shop.secret(name).expect("it is ready, so it is there");
        assert_eq!(secret["data"], data(&[("password", &value)]));
    }
    let others = plane
        .api
        .list(&format!("/api/v1/namespaces/{}/configmaps", shop.name));
    assert!(
        others.iter().all(|map| map["metadata"]["name"] != "c"),
        "the rest is the pipeline's"
    );

    let before = versions(&shop);
    let start = Instant::now();
    let report = seal.json(0, &run);
    assert!(start.elapsed() < Duration::from_secs(5), "at once");
    assert_eq!(versions(&shop), before, "nothing was written");
    assert_eq!(
        (&report["ready"], &report["outcome"]),
        (&true.into(), &"ready".into())
    );
    for object in report["objects"].as_array().unwrap() {
        assert_eq!(
            (&object["action"], &object["state"]),
            (&"unchanged".into(), &"Ready".into())
        );
    }

    // A change is awaited for its own generation.
    let other = unique_value();
    let first = shop.draft("first").value("password", &other).manifest();
    seal.write("tree/a.yaml", &format!("{first}\n---\n{list}\n"));
    let said = seal.ends(0, &run);
    assert!(
        said.contains("first configured") && !said.contains("second configured"),
        "{said}"
    );
    let secret = shop.secret("first").unwrap();
    assert_eq!(secret["data"], data(&[("password", &other)]));
}

#[test]
fn nothing_is_applied_where_a_file_or_a_dry_run_fails() {
    let plane = Shared::get();
    let shop = plane.namespace("pre");
    let seal = Seal::admin(&plane);
    let good = || shop.draft("good").value("password", "v").manifest();
    seal.write("tree/good.yaml", &good().to_string());
    let run = ["preapply", "tree"];
    let nothing = || assert!(versions(&shop).is_empty(), "{:?}", versions(&shop));

    // Cut: found without any key.
    let mut cut = good();
    cut["metadata"]["name"] = "cut".into();
    let sealed = cut["spec"]["encryptedData"]["password"].as_str().unwrap();
    cut["spec"]["encryptedData"]["password"] = sealed[..sealed.len() - 8].into();
    seal.write("tree/bad.yaml", &cut.to_string());
    let said = seal.ends(1, &run);
    assert!(
        said.contains("tree/bad.yaml") && said.contains("nothing was applied"),
        "{said}"
    );
    let report = seal.json(1, &run);
    assert_eq!(report["outcome"], "refused");
    assert_eq!(report["findings"][0]["path"], "tree/bad.yaml");
    let stream = seal.pipe(&["preapply", "-"], &format!("{}\n---\n{cut}", good()));
    assert_eq!(stream.status.code(), Some(1), "{}", text(&stream));
    nothing();
    // Altered: found with a key.
    let identity = Identity::generate(KeyType::Hybrid);
    seal.write("key", &identity.to_secret_text());
    let theirs = Namespace::existing(&plane.api, &shop.name, identity.recipient());
    seal.write("tree/bad.yaml", &broken(&theirs, "bad").to_string());
    let said = seal.ends(1, &["preapply", "-i", "key", "tree/bad.yaml"]);
    assert!(said.contains("DecryptFailed"), "{said}");
    nothing();
    // A plain Secret does not belong into a tree.
    let plain = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "p"}, "stringData": {"a": "canary"}});
    seal.write("tree/bad.yaml", &plain.to_string());
    let said = seal.ends(1, &run);
    assert!(
        said.contains("PlaintextSecret") && !said.contains("canary"),
        "{said}"
    );
    nothing();
    // Nor does a private key, in whatever object.
    let pem = |part: &str| format!("-----{part} PRIVATE KEY-----");
    let key = format!(
        "{}\n{}\n{}\n",
        pem("BEGIN"),
        "MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC",
        pem("END")
    );
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "p"}, "data": {"tls.key": key}});
    seal.write("tree/bad.yaml", &map.to_string());
    let said = seal.ends(1, &run);
    assert!(
        said.contains("PrivateKey") && said.contains("line 1"),
        "{said}"
    );
    nothing();
    // The server finds it.
    seal.write(
        "tree/bad.yaml",
        &external("bad", &shop.name, "Sometimes").to_string(),
    );
    let said = seal.ends(5, &run);
    assert!(
        said.contains("invalid at spec.refreshPolicy") && said.contains("tree/bad.yaml"),
        "{said}"
    );
    nothing();
    // Two at once are both told.
    seal.write(
        "tree/more.yaml",
        &external("more", "nowhere", "Periodic").to_string(),
    );
    let said = seal.ends(5, &run);
    assert!(
        said.contains("the namespace nowhere does not exist")
            && said.contains("spec.refreshPolicy"),
        "{said}"
    );
    nothing();
    // The same object twice.
    seal.write("tree/bad.yaml", &good().to_string());
    let said = seal.ends(3, &run);
    assert!(said.contains("the object is given twice"), "{said}");
    // A kustomization that makes something else of its files.
    seal.write("tree/bad.yaml", "");
    seal.write(
        "tree/kustomization.yaml",
        "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nnamespace: x\n",
    );
    let said = seal.ends(3, &run);
    assert!(said.contains("changes its objects (namespace)"), "{said}");
    nothing();
}

#[test]
fn a_field_with_a_slip_in_its_name_is_named() {
    let plane = Shared::get();
    let shop = plane.namespace("pre");
    let seal = Seal::admin(&plane);
    // The server blames itself.
    let slip = external("bad", &shop.name, "Periodic").to_string();
    let slip = seal.pipe(&["preapply", "-"], &slip.replace("remoteRef", "remoteref"));
    assert_eq!(slip.status.code(), Some(5));
    assert!(
        text(&slip).contains("invalid at spec.data[0].remoteref (no such field)"),
        "{}",
        text(&slip)
    );
}

#[test]
fn a_stream_without_anything_to_apply_succeeds_and_says_so() {
    let plane = Shared::get();
    let seal = Seal::admin(&plane);
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}});
    let map = seal.pipe(&["preapply", "-"], &map.to_string());
    assert_eq!(map.status.code(), Some(0));
    assert!(
        text(&map).contains("warning: the input has no SealedSecret"),
        "{}",
        text(&map)
    );
}

#[test]
fn a_stalled_object_ends_the_run_before_the_next_stage() {
    let plane = Shared::get();
    let shop = plane.namespace("pre");
    let seal = Seal::admin(&plane);
    seal.write("tree/a.yaml", &broken(&shop, "bad").to_string());
    // It is in the namespace that the flag names.
    let mut later = external("later", "", "Periodic");
    later["metadata"]
        .as_object_mut()
        .unwrap()
        .remove("namespace");
    seal.write("tree/b.yaml", &later.to_string());
    let start = Instant::now();
    let report = seal.json(
        1,
        &["preapply", "tree", "-n", &shop.name, "--timeout", "1m"],
    );
    assert!(start.elapsed() < Duration::from_secs(20));
    assert_eq!(report["outcome"], "stalled");
    let objects = report["objects"].as_array().unwrap();
    let of = |name: &str| {
        objects
            .iter()
            .find(|object| object["name"] == name)
            .unwrap()
    };
    assert_eq!(
        (&of("bad")["state"], &of("bad")["reason"]),
        (&"Stalled".into(), &"DecryptFailed".into())
    );
    assert_eq!(
        (&of("later")["state"], &of("later")["action"]),
        (&"NotApplied".into(), &"none".into())
    );
    let said = seal.ends(1, &["preapply", "tree", "-n", &shop.name]);
    assert!(
        said.contains("DecryptFailed") && said.contains("1 object not applied"),
        "{said}"
    );
    // Once it is repaired, the run goes on from there.
    seal.write(
        "tree/a.yaml",
        &shop
            .draft("bad")
            .value("password", "v")
            .manifest()
            .to_string(),
    );
    let report = seal.json(
        1,
        &["preapply", "tree", "-n", &shop.name, "--timeout", "3s"],
    );
    assert_ne!(report["objects"][1]["state"], "NotApplied", "{report:#}");
}

#[test]
fn fields_of_other_tools_are_left_to_them() {
    let plane = Shared::get();
    let shop = plane.namespace("pre");
    let seal = Seal::admin(&plane);
    shop.seal("db", &unique_value());
    let value = unique_value();
    let changed = shop.draft("db").value("password", &value).manifest();
    seal.write("db.yaml", &changed.to_string());
    let before = versions(&shop);
    shop.wait_ready("db");
    let said = seal.ends(5, &["preapply", "db.yaml"]);
    assert!(
        said.contains("other tools own fields of the object: gitops (.spec"),
        "{said}"
    );
    assert!(said.contains("--force-conflicts"), "{said}");
    assert_eq!(before.len(), 1);
    let generation = shop.sealed("db")["metadata"]["generation"].clone();
    assert_eq!(generation, 1, "nothing was changed");
    seal.ends(0, &["preapply", "db.yaml", "--force-conflicts"]);
    shop.wait_value("db", &value);
}

#[test]
fn the_role_for_pipelines_is_enough_and_no_role_is_a_clear_error() {
    let plane = Shared::get();
    let shop = plane.namespace("pre");
    let kubectl = |arguments: &[&str]| plane.servers.kubectl(arguments).unwrap();
    kubectl(&["create", "serviceaccount", "nobody", "-n", &shop.name]);
    let nobody = plane
        .servers
        .service_account_kubeconfig(&shop.name, "nobody", None)
        .unwrap();
    let manifest = shop
        .draft("db")
        .value("password", "v")
        .manifest()
        .to_string();
    let seal = Seal::with(&nobody);
    seal.write("db.yaml", &manifest);
    let said = seal.ends(5, &["preapply", "db.yaml"]);
    let expected = format!(
        "not allowed to apply sealedsecrets.sealkit.dev in the namespace {}",
        shop.name
    );
    assert!(said.contains(&expected), "{said}");

    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .join("deploy/integrations/ci");
    kubectl(&[
        "apply",
        "--server-side",
        "-n",
        &shop.name,
        "-k",
        folder.to_str().unwrap(),
    ]);
    kubectl(&["create", "serviceaccount", "ci", "-n", &shop.name]);
    let subject = format!("--serviceaccount={}:ci", shop.name);
    kubectl(&[
        "create",
        "rolebinding",
        "ci",
        "-n",
        &shop.name,
        "--role=seal-preapply",
        &subject,
    ]);
    let account = plane
        .servers
        .service_account_kubeconfig(&shop.name, "ci", None)
        .unwrap();
    let seal = Seal::with(&account);
    seal.write("db.yaml", &manifest);
    wait_until("the role is in force", || {
        seal.run(&["preapply", "db.yaml", "--dry-run"])
            .status
            .success()
    });
    seal.ends(0, &["preapply", "db.yaml"]);
    seal.ends(0, &["preapply", "db.yaml"]);
    seal.ends(0, &["wait", "--all", "-n", &shop.name]);
    let may = |verb: &str, resource: &str| ApiClient::new(&account).may(verb, resource, &shop.name);
    assert!(may("patch", "sealedsecrets.sealkit.dev") && !may("get", "secrets"));
}

#[test]
fn five_hundred_objects_of_a_stream_are_applied_once() {
    let plane = Own::take();
    let controller = plane.leading_controller();
    let shop = plane.namespace("pre");
    let seal = Seal::admin(&plane);
    let objects = (0..500).map(|number| {
        shop.draft(&format!("db-{number}"))
            .value("password", "v")
            .manifest()
    });
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects.collect::<Vec<_>>()})
        .to_string();
    let output = seal.pipe(&["preapply", "-", "--timeout", "2m"], &list);
    assert!(output.status.success(), "{}", text(&output));
    let before = versions(&shop);
    assert_eq!(before.len(), 500);
    let output = seal.pipe(&["preapply", "-"], &list);
    assert!(
        output.status.success() && output.stdout.is_empty(),
        "{}",
        text(&output)
    );
    assert_eq!(versions(&shop), before, "nothing was written");

    // Without a controller, nothing becomes ready, and it is said what does not.
    drop(controller);
    seal.write(
        "db.yaml",
        &shop
            .draft("db-3")
            .value("password", "w")
            .manifest()
            .to_string(),
    );
    let said = seal.ends(1, &["preapply", "db.yaml", "--timeout", "2s"]);
    assert!(
        said.contains("db-3 configured") && said.contains("time ran out"),
        "{said}"
    );
    assert!(
        said.contains("its controller has not reported on this generation yet"),
        "{said}"
    );
    // Ctrl-C does not wait for that.
    let child = seal.start(&["preapply", "db.yaml"]);
    sleep(Duration::from_secs(2));
    let start = Instant::now();
    let kill = Command::new("kill")
        .args(["-s", "INT", &child.id().to_string()])
        .status();
    assert!(kill.unwrap().success());
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(130));
    assert!(start.elapsed() < Duration::from_secs(1));
}

#[test]
fn an_api_server_that_is_away_is_an_error() {
    let plane = Shared::get();
    let shop = plane.namespace("pre");
    let seal = Seal::admin(&plane);
    seal.write(
        "db.yaml",
        &shop
            .draft("db")
            .value("password", "v")
            .manifest()
            .to_string(),
    );
    let kubeconfig = std::fs::read_to_string(plane.servers.kubeconfig()).unwrap();
    let away = kubeconfig.replace(plane.servers.url(), "https://127.0.0.1:1");
    assert_ne!(away, kubeconfig);
    seal.write("away", &away);
    let said = seal.ends(5, &["preapply", "db.yaml", "--kubeconfig", "away"]);
    assert!(said.contains("the cluster is unreachable"), "{said}");
}

/// A SealedSecret holds the token of a store, which an ExternalSecret reads: one run, in order.
#[test]
fn stores_come_after_their_credentials_and_before_what_reads_them() {
    let (plane, bao) = (Shared::get(), OpenBao::shared().unwrap());
    let shop = plane.namespace("pre");
    let seal = Seal::admin(&plane);
    let (mount, vault, value) = (unique("kv"), bao.root(), unique_value());
    vault.mount_kv(&mount).unwrap();
    vault.put(&mount, "team/db", &json!({"a": value})).unwrap();
    let store = json!({
        "apiVersion": "external-secrets.io/v1", "kind": "SecretStore",
        "metadata": {"name": "vault", "namespace": shop.name},
        "spec": {"provider": {"vault": {
            "server": bao.url(), "path": mount, "version": "v2",
            "auth": {"tokenSecretRef": {"name": "vault-token", "key": "token"}},
        }}},
    });
    let token = shop
        .draft("vault-token")
        .value("token", bao.root_token())
        .manifest();
    let stream = format!(
        "{}\n---\n{store}\n---\n{token}",
        external("db", &shop.name, "Periodic")
    );
    let output = seal.pipe(
        &["preapply", "-", "--timeout", "40s", "-o", "json"],
        &stream,
    );
    assert!(output.status.success(), "{}", text(&output));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let order: Vec<_> = report["objects"]
        .as_array()
        .unwrap()
        .iter()
        .map(|object| object["name"].as_str().unwrap())
        .collect();
    assert_eq!(order, ["vault-token", "vault", "db"]);
    assert_eq!(shop.secret("db").unwrap()["data"], data(&[("a", &value)]));
}

/// What the page for pipelines shows is what the command takes.
#[test]
fn the_job_of_the_documentation_is_a_job() {
    let plane = Shared::get();
    let shop = plane.namespace("pre");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let page = std::fs::read_to_string(root.join("docs/pre-apply.md")).unwrap();
    let blocks: Vec<_> = page
        .split("```yaml\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap())
        .collect();
    let jobs: Vec<_> = blocks
        .iter()
        .filter(|block| block.contains("kind: Job"))
        .collect();
    assert!(!jobs.is_empty());
    for job in jobs {
        let arguments = ["create", "--dry-run=server", "-n", &shop.name, "-f", "-"];
        plane.servers.kubectl_with_input(&arguments, job).unwrap();
    }
}
