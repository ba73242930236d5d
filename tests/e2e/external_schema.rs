//! The schema of External Secrets' resources: the API server takes what External Secrets takes, and
//! refuses the rest with a message that helps.

use std::path::Path;

use sealkit_core::manifest::read_documents;
use sealkit_tests::api::{Answer, ApiClient};
use sealkit_tests::plane::{Shared, unique};
use serde_json::{Value, json};

/// Manifests that set every field together.
const EXAMPLES: &[u8] = include_bytes!("../../core/src/api/external/examples.yaml");

fn examples() -> Vec<Value> {
    let documents = read_documents(EXAMPLES).unwrap().into_iter();
    documents.map(|document| document.object).collect()
}

/// A namespace for objects that no controller is meant to serve.
fn namespace(api: &ApiClient) -> String {
    let name = unique("external-schema");
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    api.create("/api/v1/namespaces", &namespace).unwrap();
    name
}

/// Where objects of a kind are.
fn collection(version: &str, kind: &str, namespace: &str) -> String {
    let group = format!("/apis/external-secrets.io/{version}");
    match kind {
        "ExternalSecret" => format!("{group}/namespaces/{namespace}/externalsecrets"),
        "SecretStore" => format!("{group}/namespaces/{namespace}/secretstores"),
        _ => format!("{group}/clustersecretstores"),
    }
}

/// What the API server says to an object, without keeping it.
fn check(api: &ApiClient, namespace: &str, object: &Value) -> Answer {
    let version = object["apiVersion"].as_str().unwrap().rsplit('/').next();
    let kind = object["kind"].as_str().unwrap();
    let path = collection(version.unwrap(), kind, namespace);
    api.create(&format!("{path}?dryRun=All&fieldValidation=Strict"), object)
}

/// Does a value have all that another one has? It may have defaults besides.
fn contains(value: &Value, expected: &Value) -> bool {
    match expected {
        Value::Object(fields) => fields.iter().all(|(name, it)| contains(&value[name], it)),
        Value::Array(items) => {
            value.as_array().is_some_and(|all| all.len() == items.len())
                && items
                    .iter()
                    .enumerate()
                    .all(|(at, it)| contains(&value[at], it))
        }
        leaf => value == leaf,
    }
}

#[test]
fn every_example_is_taken_in_both_versions_and_kept_whole() {
    let plane = Shared::get();
    let namespace = namespace(&plane.api);
    for mut object in examples() {
        for version in ["v1", "v1beta1"] {
            let interval = &object["spec"]["refreshInterval"];
            if version == "v1beta1" && object["kind"] != "ExternalSecret" && interval.is_string() {
                // v1beta1 takes seconds only.
                object["spec"]["refreshInterval"] = json!(300);
            }
            object["apiVersion"] = json!(format!("external-secrets.io/{version}"));
            let kept = check(&plane.api, &namespace, &object)
                .unwrap_or_else(|refusal| panic!("{}: {refusal:?}", object["metadata"]));
            assert!(
                contains(&kept["spec"], &object["spec"]),
                "{version} of {object} became {kept}"
            );
            let unobserved = json!({"observedGeneration": -1});
            assert_eq!(kept["status"], unobserved, "as Flux's own kinds");
        }
    }
}

#[test]
fn list_items_come_back_as_they_were_written() {
    let plane = Shared::get();
    let namespace = namespace(&plane.api);
    let of_kind = |object: &Value| object["kind"] == "ExternalSecret";
    for object in examples().into_iter().filter(of_kind) {
        let kept = check(&plane.api, &namespace, &object).unwrap();
        for list in ["/data", "/dataFrom", "/target/template/templateFrom"] {
            let (kept, written) = (kept["spec"].pointer(list), object["spec"].pointer(list));
            assert_eq!(kept, written, "{list} of {}", object["metadata"]);
        }
    }
}

#[test]
fn defaults_and_nulls_are_those_of_external_secrets() {
    let plane = Shared::get();
    let namespace = namespace(&plane.api);
    let object = json!({
        "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret",
        "metadata": {"name": "defaults"},
        "spec": {
            "secretStoreRef": {"name": "vault", "kind": null},
            "target": {"name": null, "template": {"metadata": null}},
            "data": [{"secretKey": "a", "remoteRef": {"key": "a", "property": null}}],
        },
    });
    let kept = check(&plane.api, &namespace, &object).unwrap();
    let expected = json!({
        "refreshInterval": "1h0m0s",
        "secretStoreRef": {"name": "vault"},
        "target": {
            "creationPolicy": "Owner", "deletionPolicy": "Retain",
            "template": {"engineVersion": "v2", "mergePolicy": "Replace"},
        },
        "data": [{"secretKey": "a", "remoteRef": {"key": "a"}}],
    });
    assert_eq!(kept["spec"], expected);
}

#[test]
fn what_is_written_as_v1_is_read_as_v1beta1() {
    let plane = Shared::get();
    let namespace = namespace(&plane.api);
    for name in ["every-option", "azure"] {
        let mut object = examples()
            .into_iter()
            .find(|object| object["metadata"]["name"] == name)
            .unwrap();
        let own = format!("{namespace}-{name}");
        object["metadata"]["name"] = own.clone().into();
        let kind = object["kind"].as_str().unwrap().to_owned();
        let path = |version| format!("{}/{own}", collection(version, &kind, &namespace));
        let v1 = plane.api.apply(&path("v1"), &object).unwrap();
        let v1beta1 = plane.api.get(&path("v1beta1")).unwrap();
        assert_eq!(v1beta1["apiVersion"], "external-secrets.io/v1beta1");
        assert_eq!(v1beta1["spec"], v1["spec"], "nothing is lost");
        // And back.
        let label = json!({"metadata": {"labels": {"written": "as-v1beta1"}}});
        plane.api.merge(&path("v1beta1"), &label).unwrap();
        let again = plane.api.get(&path("v1")).unwrap();
        assert_eq!(again["metadata"]["labels"]["written"], "as-v1beta1");
        assert_eq!(again["spec"], v1["spec"]);
        plane.api.delete(&path("v1")).unwrap();
    }
}

/// A bad spec, and a part of the message.
type Bad = (Value, &'static str);

fn bad_secrets() -> Vec<Bad> {
    let from = |entry: Value| json!({"dataFrom": [entry]});
    let data = |entry: Value| json!({"data": [entry]});
    let extract = json!({"key": "a"});
    let generator = json!({"generatorRef": {"kind": "Password", "name": "a"}});
    let nothing = "set data or dataFrom";
    let one = "set exactly one of extract, find and sourceRef.generatorRef";
    vec![
        (json!({}), nothing),
        (json!({"data": [], "dataFrom": []}), nothing),
        (from(json!({})), one),
        (from(json!({"sourceRef": {"storeRef": {"name": "a"}}})), one),
        (from(json!({"extract": extract, "find": {}})), one),
        (
            from(json!({"extract": extract, "sourceRef": generator})),
            one,
        ),
        (
            from(json!({"extract": extract, "rewrite": [{}]})),
            "spec.dataFrom[0].rewrite[0]",
        ),
        (
            json!({"dataFrom": vec![json!({"extract": extract}); 1001]}),
            "at most 1000 items",
        ),
        (
            data(json!({"secretKey": "a/b", "remoteRef": extract})),
            "spec.data[0].secretKey",
        ),
        (
            data(json!({"secretKey": "a", "remoteRef": {}})),
            "spec.data[0].remoteRef.key: Required value",
        ),
    ]
}

fn bad_targets() -> Vec<Bad> {
    let row = |target: Value, message| {
        let data = json!([{"secretKey": "a", "remoteRef": {"key": "a"}}]);
        (json!({"target": target, "data": data}), message)
    };
    let policies = |deletion: &str, creation: &str, message| {
        row(
            json!({"deletionPolicy": deletion, "creationPolicy": creation}),
            message,
        )
    };
    let deletes = "deletionPolicy Delete needs creationPolicy Owner or Orphan";
    vec![
        policies("Delete", "Merge", deletes),
        policies("Delete", "None", deletes),
        policies("Delete", "CreateOrMerge", deletes),
        policies("Merge", "None", "creationPolicy None makes no Secret"),
        policies("Retain", "Ours", "Unsupported value: \"Ours\""),
        row(json!({"name": "No_Name"}), "spec.target.name"),
        row(json!({"nam": "a"}), "unknown field \"spec.target.nam\""),
    ]
}

fn bad_stores() -> Vec<Bad> {
    let provider = |provider: Value| json!({"provider": provider});
    let vault = |auth: Value| provider(json!({"vault": {"server": "x", "auth": auth}}));
    let kubernetes = |auth: Value| provider(json!({"kubernetes": {"auth": auth}}));
    let tags = json!({"esoNamespace": "x"});
    let aws = json!({"service": "SecretsManager", "region": "x", "customSessionTags": tags});
    vec![
        (json!({}), "spec.provider: Required value"),
        (provider(json!({})), "at least 1 properties"),
        (
            provider(json!({"fake": {"data": []}, "azurekv": {}})),
            "at most 1 item",
        ),
        (
            provider(json!({"fake": {}})),
            "spec.provider.fake.data: Required value",
        ),
        (
            vault(json!({"approle": {}})),
            "unknown field \"spec.provider.vault.auth.approle\"",
        ),
        (
            kubernetes(json!({"serviceAccount": {"name": "a"}, "token": {}})),
            "at most 1 item",
        ),
        (provider(json!({"aws": aws})), "are set by the controller"),
    ]
}

#[test]
fn bad_resources_are_refused_with_a_clear_message() {
    let plane = Shared::get();
    let namespace = namespace(&plane.api);
    let secrets = bad_secrets().into_iter().chain(bad_targets());
    let rows: Vec<_> = secrets
        .map(|row| ("ExternalSecret", row))
        .chain(bad_stores().into_iter().map(|row| ("SecretStore", row)))
        .collect();
    for version in ["v1", "v1beta1"] {
        for (kind, (spec, message)) in &rows {
            let object = json!({
                "apiVersion": format!("external-secrets.io/{version}"),
                "kind": kind, "metadata": {"name": "bad"}, "spec": spec,
            });
            let refusal = check(&plane.api, &namespace, &object).expect_err(message);
            assert!(
                refusal.message.contains(message),
                "{message}: {}",
                refusal.message
            );
        }
    }
    let mut old = json!({
        "apiVersion": "external-secrets.io/v1beta1", "kind": "SecretStore",
        "metadata": {"name": "old"},
        "spec": {"provider": {"azurekv": {}}, "refreshInterval": "5m"},
    });
    let refusal = check(&plane.api, &namespace, &old).unwrap_err();
    assert!(
        refusal.message.contains("spec.refreshInterval"),
        "{refusal:?}"
    );
    old["apiVersion"] = "external-secrets.io/v1".into();
    check(&plane.api, &namespace, &old).unwrap();
}

#[test]
fn short_names_columns_and_field_selectors_are_served() {
    let plane = Shared::get();
    let namespace = namespace(&plane.api);
    let mut object = examples()
        .into_iter()
        .find(|object| object["metadata"]["name"] == "one-key")
        .unwrap();
    // No controller has a store of this name to read from.
    object["spec"]["secretStoreRef"]["name"] = "absent".into();
    let path = format!("{}/one-key", collection("v1", "ExternalSecret", &namespace));
    plane.api.apply(&path, &object).unwrap();
    let shown = plane
        .servers
        .kubectl(&["get", "es", "-n", &namespace])
        .unwrap();
    let columns: Vec<_> = shown.lines().next().unwrap().split("  ").collect();
    let columns: Vec<_> = columns
        .iter()
        .map(|it| it.trim())
        .filter(|it| !it.is_empty())
        .collect();
    let expected = [
        "NAME",
        "STORETYPE",
        "STORE",
        "REFRESH INTERVAL",
        "STATUS",
        "READY",
        "LAST SYNC",
    ];
    assert_eq!(columns, expected);
    for selector in [
        "spec.target.name=database",
        "spec.secretStoreRef.name=absent,spec.secretStoreRef.kind=SecretStore",
        "spec.refreshInterval=1h",
    ] {
        let found = format!(
            "{}?fieldSelector={selector}",
            collection("v1", "ExternalSecret", &namespace)
        );
        assert_eq!(plane.api.list(&found).len(), 1, "{selector}");
    }
    plane.api.delete(&path).unwrap();
    for short in ["ss", "css"] {
        plane.servers.kubectl(&["get", short, "-A"]).unwrap();
    }
}

#[test]
fn the_crds_can_be_left_out() {
    let plane = Shared::get();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let folder = tempfile::tempdir_in(root.join("target")).unwrap();
    let crds = |component: &str| -> Vec<String> {
        let text = format!("{component}\nresources: [../../deploy/base]\n");
        std::fs::write(folder.path().join("kustomization.yaml"), text).unwrap();
        let path = folder.path().to_str().unwrap();
        let built = plane.servers.kubectl(&["kustomize", path]).unwrap();
        let objects = read_documents(built.as_bytes()).unwrap().into_iter();
        let crds = objects.filter(|it| it.kind() == "CustomResourceDefinition");
        let group = |object: &Value| object["spec"]["group"].as_str().map(str::to_owned);
        crds.filter_map(|it| group(&it.object)).collect()
    };
    let of_external = |groups: &[String]| {
        let found = groups.iter().filter(|it| *it == "external-secrets.io");
        found.count()
    };
    let all = crds("");
    let ours = crds("components: [../../deploy/components/without-external-secrets-crds]");
    assert_eq!((of_external(&all), of_external(&ours)), (4, 0));
    assert_eq!(ours.len(), all.len() - 4, "nothing else is left out");
}
