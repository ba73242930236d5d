//! Objects that External Secrets left, taken over. `sealkit-bench left` recorded them with the real
//! operator; `sealkit-bench take-over` runs both over thousands of them.

use std::env;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use sealkit_rig::{Fault, OpenBao, Proxy};
use sealkit_tests::controller::Flags;
use sealkit_tests::external::{Team, WAIT, property};
use sealkit_tests::namespace::{data, ready_condition};
use sealkit_tests::plane::{Own, Plane, unique};
use sealkit_tests::program::program;
use sealkit_tests::wait::wait_within;
use serde_json::{Value, json};

const LEFT: &str = include_str!("../vectors/left-by-external-secrets.json");
const CLUSTER: &str = "/apis/external-secrets.io/v1/clusterexternalsecrets";
const CLUSTER_STORES: &str = "/apis/external-secrets.io/v1/clustersecretstores";
const FINALIZER: &str = "externalsecrets.external-secrets.io/externalsecret-cleanup";

/// What External Secrets left, in a namespace of its own and over a store of its own.
struct Left {
    team: Team,
    proxy: Proxy,
    bao: OpenBao,
    /// Names of the ExternalSecrets.
    names: Vec<String>,
    /// Reads of the store before any controller started.
    own_reads: usize,
}

impl Left {
    fn new(plane: &Plane) -> Self {
        // Its first controller makes the cluster's key.
        let first = plane.leading_controller();
        let bao = OpenBao::start().unwrap();
        let team = Team::new(plane, &bao);
        drop(first);
        let recorded: Value = serde_json::from_str(LEFT).unwrap();
        for (key, value) in recorded["store"].as_object().unwrap() {
            team.vault.put(&team.mount, key, value).unwrap();
        }
        let (store, spread) = (unique("left"), unique("spread"));
        let proxy = Proxy::start(bao.url()).unwrap();
        let mut object = team.store(&store, proxy.url());
        object["kind"] = json!("ClusterSecretStore");
        let auth = &mut object["spec"]["provider"]["vault"]["auth"]["tokenSecretRef"];
        auth["namespace"] = json!(team.namespace.name);
        team.api().create(CLUSTER_STORES, &object).unwrap();

        // In another namespace, under other names, refreshed ten minutes ago.
        let namespace = &team.namespace.name;
        let then = Timestamp::now() - SignedDuration::from_mins(10);
        let then = Timestamp::from_second(then.as_second()).unwrap();
        let moved = |value: &Value| {
            let mut value = value.clone();
            let meta = &mut value["metadata"];
            if meta["namespace"] == "bench" {
                meta["namespace"] = json!(namespace);
            }
            let reference = &mut value["spec"]["secretStoreRef"];
            if !reference.is_null() {
                reference["name"] = json!(store);
            }
            if value["status"]["refreshTime"].is_string() {
                value["status"]["refreshTime"] = json!(then.to_string());
            }
            value
        };
        let mut cluster = moved(&recorded["clusterExternalSecrets"][0]);
        cluster["metadata"]["name"] = json!(spread);
        let spec = &mut cluster["spec"];
        spec["externalSecretSpec"]["secretStoreRef"]["name"] = json!(store);
        spec["namespaceSelectors"] =
            json!([{"matchLabels": {"kubernetes.io/metadata.name": namespace}}]);
        cluster["status"]["provisionedNamespaces"] = json!([namespace]);
        let cluster_uid = recorded["clusterExternalSecrets"][0]["metadata"]["uid"].clone();
        let mut uids = vec![(cluster_uid, made(&team, CLUSTER, &cluster))];
        let mut names = Vec::new();
        for recorded in recorded["externalSecrets"].as_array().unwrap() {
            let mut object = owned_by(&moved(recorded), &uids);
            // Versions after the recorded one add it to all.
            object["metadata"]["finalizers"] = json!([FINALIZER]);
            if let Some(owner) = object["metadata"]["ownerReferences"].get_mut(0) {
                owner["name"] = json!(spread);
            }
            names.push(object["metadata"]["name"].as_str().unwrap().to_owned());
            let uid = made(&team, &team.path("externalsecrets"), &object);
            uids.push((recorded["metadata"]["uid"].clone(), uid));
        }
        for recorded in recorded["secrets"].as_array().unwrap() {
            let secret = owned_by(&moved(recorded), &uids);
            made(&team, &team.namespace.secrets_path(), &secret);
        }
        let finalizers = json!({"metadata": {"finalizers": [
            "example.com/keeps-it", format!("externalsecrets.external-secrets.io/ces-{spread}"),
        ]}});
        let path = format!("/api/v1/namespaces/{namespace}");
        team.api().merge(&path, &finalizers).unwrap();
        let mut left = Self {
            team,
            proxy,
            bao,
            names,
            own_reads: 0,
        };
        left.own_reads = left.reads();
        left
    }

    /// Makes so many more of what it left under this name.
    fn multiply(&mut self, name: &str, count: usize) {
        let api = self.team.api();
        let (object, secret) = (
            self.team.look(name),
            self.team.namespace.secret(name).unwrap(),
        );
        let copy = |of: &Value, name: &str| {
            let mut copy = of.clone();
            copy["metadata"]["name"] = json!(name);
            for field in ["resourceVersion", "creationTimestamp", "managedFields"] {
                copy["metadata"].as_object_mut().unwrap().remove(field);
            }
            copy
        };
        for number in 0..count {
            let name = format!("{name}-{number}");
            let mut object = copy(&object, &name);
            object["status"]["binding"]["name"] = json!(name);
            let uid = made(&self.team, &self.team.path("externalsecrets"), &object);
            let mut secret = copy(&secret, &name);
            let owner = &mut secret["metadata"]["ownerReferences"][0];
            (owner["name"], owner["uid"]) = (json!(name), json!(uid));
            api.create(&self.team.namespace.secrets_path(), &secret)
                .unwrap();
            self.names.push(name);
        }
    }

    /// Reads of secrets so far, but of those that do not exist.
    fn reads(&self) -> usize {
        let calls = self.bao.calls().unwrap();
        let is_read = |path: &str| path.contains("/data/") && !path.ends_with("/nothing");
        calls.iter().filter(|call| is_read(&call.path)).count() - self.own_reads
    }

    fn secrets(&self) -> Vec<Value> {
        self.team.api().list(&self.team.namespace.secrets_path())
    }

    fn objects(&self) -> Vec<Value> {
        let names = self.names.iter();
        names.map(|name| self.team.look(name)).collect()
    }
}

/// `seal-controller --observe --once`.
fn observe(plane: &Plane) -> Output {
    Command::new(program("seal-controller"))
        .args(["--observe", "--once", "--log=error"])
        .env("KUBECONFIG", &plane.controller_kubeconfig)
        .output()
        .unwrap()
}

/// Makes an object with its status. Returns its UID.
fn made(team: &Team, collection: &str, object: &Value) -> String {
    let mut object = object.clone();
    let status = object.as_object_mut().unwrap().remove("status");
    object["metadata"].as_object_mut().unwrap().remove("uid");
    let made = team.api().create(collection, &object).unwrap();
    assert_eq!(
        made["metadata"]["generation"],
        object["metadata"]["generation"]
    );
    if let Some(status) = status {
        let name = made["metadata"]["name"].as_str().unwrap();
        let mut made = made.clone();
        made["status"] = status;
        team.api()
            .replace(&format!("{collection}/{name}/status"), &made)
            .unwrap();
    }
    made["metadata"]["uid"].as_str().unwrap().to_owned()
}

/// The object with its owners' new UIDs.
fn owned_by(object: &Value, uids: &[(Value, String)]) -> Value {
    let mut object = object.clone();
    let owners = object["metadata"]["ownerReferences"].as_array_mut();
    for owner in owners.into_iter().flatten() {
        let (_, uid) = uids.iter().find(|(old, _)| *old == owner["uid"]).unwrap();
        owner["uid"] = json!(uid);
    }
    object
}

/// Names and versions.
fn versions(objects: &[Value]) -> Vec<(&str, &str)> {
    objects
        .iter()
        .map(|object| {
            let meta = &object["metadata"];
            let text = |field: &str| meta[field].as_str().unwrap();
            (text("name"), text("resourceVersion"))
        })
        .collect()
}

/// A take-over by the rights of `deploy/components/take-over`.
fn taking_over(plane: &Plane) -> Flags {
    let rights = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../deploy/components/take-over/rbac.yaml"
    );
    plane.servers.kubectl(&["apply", "-f", rights]).unwrap();
    Flags {
        more: vec!["--take-over".to_owned()],
        ..Flags::default()
    }
}

#[test]
fn what_external_secrets_left_is_neither_read_nor_written_before_it_is_due() {
    let plane = Own::take();
    let left = Left::new(&plane);
    let namespace = &left.team.namespace;
    let (secrets, before) = (left.secrets(), left.objects());

    let mut controller = plane.controller(&taking_over(&plane));
    controller.wait_leading();
    wait_released(&left);
    wait_within(WAIT, "the namespace is released", || {
        let path = format!("/api/v1/namespaces/{}", namespace.name);
        let finalizers = left.team.api().get(&path)?["metadata"]["finalizers"].clone();
        (finalizers == json!(["example.com/keeps-it"])).then_some(())
    });
    assert_eq!(left.reads(), 0, "nothing is due");
    assert_eq!(versions(&left.secrets()), versions(&secrets));
    for (before, now) in before.iter().zip(left.objects()) {
        let name = now["metadata"]["name"].as_str().unwrap();
        assert_eq!(now["spec"], before["spec"], "{name}");
        assert_eq!(now["metadata"]["generation"], 1, "{name}");
        let (old, new) = (ready_condition(before), ready_condition(&now));
        if name == "failing" {
            // It never synced, and is tried again: nothing is known yet.
            assert_eq!(new["status"], "Unknown", "{new}");
            continue;
        }
        for field in ["status", "reason", "lastTransitionTime"] {
            assert_eq!(new[field], old[field], "{name}: {new}");
        }
        assert_eq!(now["status"]["observedGeneration"], 1, "{name}");
        let refreshed = &before["status"]["refreshTime"];
        assert_eq!(now["status"]["refreshTime"], *refreshed, "{name}");
    }

    // What is taken over is healed, before it is due too.
    let value = data(&[("PASSWORD", "left <by> &co")]);
    let other = json!({"data": {"PASSWORD": "eA=="}});
    let path = namespace.secret_path("owned");
    left.team.api().merge(&path, &other).unwrap();
    left.team
        .api()
        .delete(&namespace.secret_path("never"))
        .unwrap();
    for name in ["owned", "never"] {
        namespace.wait_secret(name, "is healed", |secret| secret["data"] == value);
    }
    // A restart remembers it all, and a deletion waits for nobody.
    let reads = left.reads();
    controller.process.kill().unwrap();
    drop(controller);
    let mut controller = plane.controller(&taking_over(&plane));
    controller.wait_leading();
    let path = format!("{}/orphan", left.team.path("externalsecrets"));
    left.team.api().delete(&path).unwrap();
    wait_within(WAIT, "it is gone", || {
        left.team.api().get(&path).is_none().then_some(())
    });
    assert!(namespace.secret("orphan").is_some());
    // At most the two that were healed, whose refresh was moved to the turn of their key.
    assert!(left.reads() <= reads + 1, "{} reads", left.reads() - reads);
    // A new value is followed when it is asked for, and what others put on the Secret stays.
    let password = "another-value-of-the-store";
    let db = json!({"user": "shop", "password": password, "port": 5432});
    left.team
        .vault
        .put(&left.team.mount, "team/db", &db)
        .unwrap();
    for name in ["merged", "extracted"] {
        let path = format!("{}/{name}", left.team.path("externalsecrets"));
        let asked = json!({"metadata": {"annotations": {"force-sync": "1"}}});
        left.team.api().merge(&path, &asked).unwrap();
    }
    let merged = namespace.wait_secret("theirs", "follows", |secret| {
        secret["data"]["PASSWORD"] == data(&[("a", password)])["a"]
    });
    assert_eq!(merged["data"]["theirs"], "a2VwdA==");
    let extracted = namespace.wait_secret("extracted", "follows", |secret| {
        secret["data"]["password"] == data(&[("a", password)])["a"]
    });
    let old = secrets
        .iter()
        .find(|secret| secret["metadata"]["name"] == "extracted")
        .unwrap();
    assert_eq!(extracted["metadata"]["uid"], old["metadata"]["uid"]);
    for (name, value) in old["metadata"]["labels"].as_object().unwrap() {
        assert_eq!(extracted["metadata"]["labels"][name], *value, "{name}");
    }
    assert_eq!(
        extracted["metadata"]["ownerReferences"],
        old["metadata"]["ownerReferences"]
    );
    controller.assert_lives_within_its_memory();
}

/// `make soak` takes over four thousand.
#[test]
fn a_fleet_is_taken_over_within_the_memory_of_the_base() {
    let count =
        env::var("SEALKIT_SOAK_OBJECTS").map_or(100, |count| 2 * count.parse::<usize>().unwrap());
    let plane = Own::take();
    let mut left = Left::new(&plane);
    left.multiply("owned", count);
    let (secrets, reads) = (left.secrets(), left.reads());
    let start = Instant::now();
    let mut controller = plane.controller(&taking_over(&plane));
    controller.wait_leading();
    let collection = left.team.path("externalsecrets");
    wait_within(Duration::from_mins(5), "all are taken over", || {
        let objects = left.team.api().list(&collection);
        let is_taken = |object: &Value| {
            let meta = &object["metadata"];
            meta["finalizers"].is_null() && object["status"]["observedGeneration"] == 1
        };
        objects.iter().all(is_taken).then_some(())
    });
    println!("{count} more were taken over in {:?}", start.elapsed());
    assert_eq!(left.reads(), reads, "nothing is due");
    assert_eq!(versions(&left.secrets()), versions(&secrets));
    for object in left.team.api().list(&collection) {
        let ready = ready_condition(&object);
        let is_old = object["metadata"]["name"]
            .as_str()
            .unwrap()
            .starts_with("owned");
        assert!(!is_old || ready["status"] == "True", "{ready}");
    }
    controller.assert_lives_within_its_memory();
}

#[test]
fn a_look_says_what_a_take_over_would_change_and_changes_nothing() {
    // One that no other test has left anything on.
    let plane = Plane::with("deploy/base");
    let left = Left::new(&plane);
    let everything = || (left.secrets(), left.objects());
    let before = everything();
    let look = observe(&plane);
    let text = String::from_utf8(look.stdout).unwrap();
    assert!(look.status.success(), "{text}");
    let all = left.names.len();
    let failing = format!("{}/failing: fails as before: ", left.team.namespace.name);
    assert!(text.starts_with(&failing), "{text}");
    let total = format!(
        "{all} ExternalSecrets: {} Secrets stay as they are, 0 would be rewritten, 0 would fail, 1 others\n",
        all - 1
    );
    assert!(text.ends_with(&total), "{text}");

    let value = "a-value-that-nobody-prints";
    let db = json!({"user": value, "password": "left <by> &co", "port": 5432});
    left.team
        .vault
        .put(&left.team.mount, "team/db", &db)
        .unwrap();
    let look = observe(&plane);
    let text = String::from_utf8(look.stdout).unwrap();
    assert_eq!(look.status.code(), Some(1), "{text}");
    let extracted = format!(
        "{}/extracted: gets another value of user\n",
        left.team.namespace.name
    );
    assert!(text.contains(&extracted), "{text}");
    assert!(
        text.contains("/templated: gets another value of url"),
        "{text}"
    );
    assert!(!text.contains("/owned"), "{text}");
    assert!(!text.contains(value) && !String::from_utf8_lossy(&look.stderr).contains(value));
    let after = everything();
    assert_eq!(versions(&after.0), versions(&before.0));
    assert_eq!(versions(&after.1), versions(&before.1));
}

/// Waits until the controller has been at all objects.
fn wait_released(left: &Left) {
    wait_within(Duration::from_mins(1), "all finalizers are removed", || {
        let objects = left.objects();
        let released = |object: &Value| object["metadata"]["finalizers"].is_null();
        objects.iter().all(released).then_some(())
    });
}

#[test]
fn a_take_over_amid_an_outage_with_half_of_the_objects_failing_touches_no_secret() {
    let plane = Own::take();
    let left = Left::new(&plane);
    let failing = ["owned", "orphan", "templated", "merged", "once"];
    for name in failing {
        // What External Secrets writes at a refresh that fails: the Secret and its last refresh stay.
        let mut object = left.team.look(name);
        object["status"]["conditions"] = json!([{
            "type": "Ready", "status": "False", "reason": "SecretSyncedError",
            "message": "could not get secret data from provider",
            "lastTransitionTime": "2026-11-29T13:28:03Z",
        }]);
        let path = format!("{}/{name}/status", left.team.path("externalsecrets"));
        left.team.api().replace(&path, &object).unwrap();
    }
    let secrets = left.secrets();
    left.proxy.set(Fault::Reset);
    let mut controller = plane.controller(&taking_over(&plane));
    controller.wait_leading();
    wait_released(&left);
    for object in left.objects() {
        let ready = ready_condition(&object);
        let name = object["metadata"]["name"].as_str().unwrap();
        let message = ready["message"].as_str().unwrap_or_default();
        if name == "failing" || failing.contains(&name) && name != "once" {
            assert!(message.contains("Vault"), "{name}: {ready}");
        } else {
            assert_eq!(ready["status"], "True", "{name}: {ready}");
        }
    }
    assert_eq!(versions(&left.secrets()), versions(&secrets));
    // It is over: all recover, and no value has changed.
    left.proxy.set(Fault::None);
    wait_within(Duration::from_mins(2), "all recover", || {
        let objects = left.objects();
        let mut rest = objects
            .iter()
            .filter(|object| object["metadata"]["name"] != "failing");
        rest.all(|object| ready_condition(object)["status"] == "True")
            .then_some(())
    });
    let values = |secrets: &[Value]| {
        let of = |secret: &Value| (secret["metadata"]["uid"].clone(), secret["data"].clone());
        secrets.iter().map(of).collect::<Vec<_>>()
    };
    assert_eq!(values(&left.secrets()), values(&secrets));
}

#[test]
fn another_controller_beside_is_told_and_no_secret_flaps() {
    let plane = Own::take();
    let left = Left::new(&plane);
    // Changed since its last refresh: what External Secrets said of it is of another generation.
    let path = format!("{}/changed", left.team.path("externalsecrets"));
    let data_of_user = json!({"spec": {"data": [property("PASSWORD", "team/db", "user")]}});
    left.team.api().merge(&path, &data_of_user).unwrap();
    // Of another class, although Sealkit would not serve it either.
    let mut theirs = left.team.store("theirs", left.proxy.url());
    theirs["spec"]["controller"] = json!("eso");
    left.team.make("secretstores", &theirs);
    let foreign = json!({
        "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret",
        "metadata": {"name": "foreign", "finalizers": [FINALIZER]},
        "spec": {
            "secretStoreRef": {"name": "theirs"}, "data": [property("a", "team/db", "user")],
            "target": {"manifest": {"apiVersion": "v1", "kind": "ConfigMap"}},
        },
    });
    left.team.make("externalsecrets", &foreign);
    let mut controller = plane.controller(&taking_over(&plane));
    controller.wait_leading();
    wait_within(Duration::from_mins(1), "it is taken over", || {
        left.team.look("owned")["metadata"]["finalizers"]
            .is_null()
            .then_some(())
    });
    left.team
        .namespace
        .wait_secret("changed", "follows its spec", |secret| {
            secret["data"] == data(&[("PASSWORD", "shop")])
        });
    let untouched = left.team.look("foreign");
    assert_eq!(untouched["metadata"]["finalizers"], json!([FINALIZER]));
    assert!(untouched["status"]["conditions"].is_null(), "{untouched}");
    // What External Secrets does at each refresh: its finalizer, and the time in the status.
    let path = format!("{}/owned", left.team.path("externalsecrets"));
    let finalizer = json!({"metadata": {"finalizers": [FINALIZER]}});
    left.team.api().merge(&path, &finalizer).unwrap();
    let mut object = left.team.look("owned");
    object["status"]["refreshTime"] = json!(Timestamp::now().to_string());
    left.team
        .api()
        .replace(&format!("{path}/status"), &object)
        .unwrap();
    let asked = json!({"metadata": {"annotations": {"force-sync": "1"}}});
    left.team.api().merge(&path, &asked).unwrap();
    let object = wait_within(WAIT, "the status says so", || {
        let object = left.team.look("owned");
        let says = ready_condition(&object)["message"]
            .as_str()?
            .contains("another controller writes the status");
        says.then_some(object)
    });
    assert_eq!(ready_condition(&object)["status"], "True");
    // Nobody takes the finalizer away from a controller that runs.
    assert_eq!(object["metadata"]["finalizers"], json!([FINALIZER]));
    assert!(
        controller
            .log()
            .contains("another controller writes the status")
    );
    let secret = left.team.namespace.secret("owned").unwrap();
    assert_eq!(secret["data"], data(&[("PASSWORD", "left <by> &co")]));
}
