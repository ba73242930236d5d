//! ClusterExternalSecrets: one ExternalSecret in each selected namespace.

use std::time::Duration;

use sealkit_rig::{BaoCall, OpenBao};
use sealkit_tests::api::ApiClient;
use sealkit_tests::canary::unique_value;
use sealkit_tests::external::{Team, WAIT, property};
use sealkit_tests::namespace::{Namespace, condition, data, ready_condition};
use sealkit_tests::plane::{Plane, Shared, unique};
use sealkit_tests::wait::wait_within;
use serde_json::{Value, json};

const ALL: &str = "/apis/external-secrets.io/v1/clusterexternalsecrets";
const CLUSTER_STORES: &str = "/apis/external-secrets.io/v1/clustersecretstores";

/// A ClusterExternalSecret over a store of the cluster, for the namespaces with a label of its own.
struct Shop {
    team: Team,
    name: String,
    label: String,
    value: String,
}

impl Shop {
    fn new(plane: &Plane, bao: &OpenBao, interval: &str) -> Self {
        let team = Team::new(plane, bao);
        let (name, value) = (unique("pull"), unique_value());
        let secret = json!({"a": value, "b": "other"});
        team.vault.put(&team.mount, "shared", &secret).unwrap();
        let mut store = team.store(&name, bao.url());
        store["kind"] = json!("ClusterSecretStore");
        let auth = &mut store["spec"]["provider"]["vault"]["auth"]["tokenSecretRef"];
        auth["namespace"] = json!(team.namespace.name);
        team.api().create(CLUSTER_STORES, &store).unwrap();
        let label = unique("shop");
        let object = json!({
            "apiVersion": "external-secrets.io/v1", "kind": "ClusterExternalSecret",
            "metadata": {"name": name},
            "spec": {
                "externalSecretName": "pull",
                "externalSecretMetadata": {"labels": {"team": "shops"}},
                "namespaceSelectors": [{"matchLabels": {"shop": label}}],
                "externalSecretSpec": {
                    "refreshInterval": interval,
                    "secretStoreRef": {"name": name, "kind": "ClusterSecretStore"},
                    "data": [property("a", "shared", "a")],
                },
            },
        });
        team.api().create(ALL, &object).unwrap();
        Self {
            team,
            name,
            label,
            value,
        }
    }

    fn api(&self) -> &ApiClient {
        self.team.api()
    }

    fn path(&self) -> String {
        format!("{ALL}/{}", self.name)
    }

    fn label(&self, namespace: &Namespace, label: Option<&str>) {
        let path = format!("/api/v1/namespaces/{}", namespace.name);
        let patch = json!({"metadata": {"labels": {"shop": label}}});
        self.api().merge(&path, &patch).unwrap();
    }

    /// Waits for a status of the current generation.
    fn wait(&self, what: &str, accept: impl Fn(&Value) -> bool) -> Value {
        wait_within(WAIT * 5, what, || {
            let object = self.api().get(&self.path())?;
            let status = &object["status"];
            let is_current = status["observedGeneration"] == object["metadata"]["generation"];
            (is_current && accept(status)).then(|| object.clone())
        })
    }

    fn wait_provisioned(&self, namespaces: &[&Namespace]) {
        let mut names: Vec<_> = namespaces.iter().map(|one| one.name.as_str()).collect();
        names.sort_unstable();
        self.wait("the namespaces are provisioned", |status| {
            let told = status["provisionedNamespaces"].as_array();
            told.map_or(0, Vec::len) == names.len()
                && (names.is_empty() || status["provisionedNamespaces"] == json!(names))
        });
    }
}

fn external_path(namespace: &Namespace, name: &str) -> String {
    let namespace = &namespace.name;
    format!("/apis/external-secrets.io/v1/namespaces/{namespace}/externalsecrets/{name}")
}

fn wait_gone(api: &ApiClient, path: &str) {
    // The garbage collector learns of a kind within half a minute.
    wait_within(WAIT * 5, "it goes", || {
        api.get(path).is_none().then_some(())
    });
}

#[test]
fn selected_namespaces_have_the_external_secret_and_others_lose_it() {
    let (plane, bao) = (Shared::get(), OpenBao::shared().unwrap());
    let [first, later] = ["first", "later"].map(|name| plane.namespace(name));
    let shop = Shop::new(&plane, bao, "1h");
    let api = shop.api();
    shop.wait_provisioned(&[]);
    // A namespace is selected by a label, whenever it comes.
    shop.label(&first, Some(&shop.label));
    shop.wait_provisioned(&[&first]);
    shop.label(&later, Some(&shop.label));
    shop.wait_provisioned(&[&first, &later]);
    let expected = data(&[("a", &shop.value)]);
    for namespace in [&first, &later] {
        namespace.wait_secret("pull", "it is made", |secret| secret["data"] == expected);
    }
    let (in_first, in_later) = (external_path(&first, "pull"), external_path(&later, "pull"));
    let made = api.get(&in_first).unwrap();
    let owner = &made["metadata"]["ownerReferences"][0];
    assert_eq!(
        (&owner["kind"], &owner["name"]),
        (&json!("ClusterExternalSecret"), &json!(shop.name))
    );
    assert_eq!(made["metadata"]["labels"], json!({"team": "shops"}));
    let object = api.get(&shop.path()).unwrap();
    assert_eq!(condition(&object, "Ready"), Some("True"), "{object:#}");
    let namespace = api
        .get(&format!("/api/v1/namespaces/{}", first.name))
        .unwrap();
    assert_eq!(namespace["metadata"]["finalizers"], Value::Null);

    // What somebody changes or deletes is put right.
    let drift = json!({"spec": {"refreshInterval": "2h"}, "metadata": {"labels": {"team": "x"}}});
    api.merge(&in_first, &drift).unwrap();
    api.delete(&in_later).unwrap();
    wait_within(WAIT, "both are put right", || {
        let right = |path: &str| {
            let now = api.get(path)?;
            let spec = now["spec"]["refreshInterval"] == "1h0m0s";
            (spec && now["metadata"]["labels"]["team"] == "shops").then_some(())
        };
        right(&in_first).and(right(&in_later))
    });

    // A new template reaches all, and the status tells its generation.
    let template = json!({"spec": {
        "externalSecretSpec": {"data": [property("b", "shared", "b")]},
        "externalSecretMetadata": {"labels": {"team": "all"}},
    }});
    api.merge(&shop.path(), &template).unwrap();
    shop.wait_provisioned(&[&first, &later]);
    let expected = data(&[("b", "other")]);
    for namespace in [&first, &later] {
        namespace.wait_secret("pull", "it changes", |secret| secret["data"] == expected);
    }

    // A namespace that is no longer selected loses it, and so does a former name.
    shop.label(&later, None);
    shop.wait_provisioned(&[&first]);
    wait_gone(api, &in_later);
    let name = json!({"spec": {"externalSecretName": "renamed"}});
    api.merge(&shop.path(), &name).unwrap();
    shop.wait_provisioned(&[&first]);
    wait_gone(api, &in_first);
    let renamed = external_path(&first, "renamed");
    assert!(api.get(&renamed).is_some());

    // All go with it.
    api.delete(&shop.path()).unwrap();
    wait_gone(api, &renamed);
}

#[test]
fn an_external_secret_of_somebody_else_is_told_and_left_alone() {
    let (plane, bao) = (Shared::get(), OpenBao::shared().unwrap());
    let shop = Shop::new(&plane, bao, "1h");
    let other = plane.namespace("other");
    let api = shop.api();
    let own = json!({"data": [property("own", "shared", "b")]});
    shop.team.external("pull", "1h", &own);
    for namespace in [&shop.team.namespace, &other] {
        shop.label(namespace, Some(&shop.label));
    }
    let told = shop.wait("the conflict is told", |status| {
        status["failedNamespaces"][0]["namespace"] == shop.team.namespace.name
            && status["provisionedNamespaces"] == json!([other.name])
    });
    let reason = told["status"]["failedNamespaces"][0]["reason"].as_str();
    assert!(
        reason.is_some_and(|reason| reason.starts_with("external secret already exists")),
        "{told:#}"
    );
    assert_eq!(condition(&told, "Ready"), Some("False"));
    assert_eq!(condition(&told, "Stalled"), Some("True"));
    let message = ready_condition(&told)["message"].as_str().unwrap();
    assert!(message.contains(&shop.team.namespace.name), "{message}");
    let theirs = shop.team.look("pull");
    assert_eq!(theirs["metadata"]["ownerReferences"], Value::Null);
    assert_eq!(theirs["spec"]["data"][0]["secretKey"], "own");

    // Once it is gone, the namespace has its own. Theirs was not deleted with the selection, either.
    shop.label(&shop.team.namespace, None);
    shop.wait_provisioned(&[&other]);
    assert_eq!(
        shop.team.look("pull")["metadata"]["uid"],
        theirs["metadata"]["uid"]
    );
    shop.label(&shop.team.namespace, Some(&shop.label));
    shop.wait("it is told again", |status| {
        status["failedNamespaces"][0]["namespace"] == shop.team.namespace.name
    });
    api.delete(&external_path(&shop.team.namespace, "pull"))
        .unwrap();
    shop.wait_provisioned(&[&shop.team.namespace, &other]);
    let ready = api.get(&shop.path()).unwrap();
    assert_eq!(condition(&ready, "Ready"), Some("True"), "{ready:#}");
    api.delete(&shop.path()).unwrap();
}

#[test]
fn five_hundred_namespaces_share_one_read_of_the_provider() {
    let plane = Shared::get();
    let bao = OpenBao::start().unwrap();
    let shop = Shop::new(&plane, &bao, "20s");
    let namespaces: Vec<_> = (0..500).map(|_| plane.namespace("many")).collect();
    for namespace in &namespaces {
        shop.label(namespace, Some(&shop.label));
    }
    let all: Vec<&Namespace> = namespaces.iter().collect();
    shop.wait_provisioned(&all);
    for namespace in &namespaces {
        let expected = data(&[("a", &shop.value)]);
        namespace.wait_secret("pull", "it is made", |secret| secret["data"] == expected);
    }
    let path = format!("{}/data/shared", shop.team.mount);
    let reads = || {
        let calls = bao.calls().unwrap();
        let of_it = |call: &&BaoCall| call.operation == "read" && call.path == path;
        calls.iter().filter(of_it).count()
    };
    let before = reads();
    std::thread::sleep(Duration::from_secs(40));
    let more = reads() - before;
    // Each on its own would make a thousand.
    assert!((1..=3).contains(&more), "{more} reads in two intervals");
    shop.api().delete(&shop.path()).unwrap();
}
