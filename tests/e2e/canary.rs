//! No value leaves the Secret it belongs to.

use std::fs;

use sealkit_core::keys::{Identity, KeyType};
use sealkit_rig::OpenBao;
use sealkit_tests::api::ApiClient;
use sealkit_tests::canary::{Needle, marker, unique_value};
use sealkit_tests::external::{Team, WAIT};
use sealkit_tests::namespace::{Namespace, condition, data, ready_condition, uid};
use sealkit_tests::plane::Shared;
use sealkit_tests::wait::{wait_until, wait_within};
use serde_json::{Value, json};

/// Refuses Secrets of a namespace and quotes them while doing so, as admission policies may.
fn quoting_policy(api: &ApiClient, namespace: &Namespace) {
    let path = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies";
    let name = format!("quoting-{}", namespace.name);
    let kind = |kind: &str, spec: Value| json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": name}, "spec": spec});
    let policy = kind(
        "ValidatingAdmissionPolicy",
        json!({
            "matchConstraints": {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"],
                "operations": ["CREATE", "UPDATE"], "resources": ["secrets"]}]},
            "validations": [{"expression": "false", "messageExpression": "'no ' + string(object.data['password'])"}],
        }),
    );
    api.create(path, &policy).unwrap();
    let binding = kind(
        "ValidatingAdmissionPolicyBinding",
        json!({
            "policyName": name, "validationActions": ["Deny"],
            "matchResources": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace.name}}},
        }),
    );
    api.create(
        "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings",
        &binding,
    )
    .unwrap();
}

/// An admission policy in force, and proof that it quotes.
fn quoted(plane: &Shared) -> Namespace {
    let shop = plane.namespace("quoting");
    quoting_policy(&plane.api, &shop);
    let probe = unique_value();
    let needle = Needle::new(probe.as_bytes());
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "probe"}, "data": data(&[("password", &probe)])});
    wait_until("the policy quotes what it refuses", || {
        let _ = shop.api.delete(&shop.secret_path("probe"));
        let refusal = shop.api.create(&shop.secrets_path(), &secret).err();
        refusal.is_some_and(|refusal| needle.find(refusal.message.as_bytes()).is_some())
    });
    shop
}

#[test]
fn no_value_appears_anywhere_else() {
    let plane = Shared::get();
    let values: Vec<String> = (0..9).map(|_| unique_value()).collect();
    let shop = plane.namespace("shop");
    open_and_fail(&shop, &values[..7]);
    fail_to_write(&plane, &shop, &values[7], &values[8]);

    for (place, content) in places(&plane, &shop) {
        let found = marker().find(&content);
        assert_eq!(found, None, "a value of some test in: {place}");
        for value in &values {
            let found = Needle::new(value.as_bytes()).find(&content);
            assert_eq!(found, None, "{value} in: {place}");
            let end = &value.as_bytes()[value.len() - 16..];
            let found = Needle::new(end).find(&content);
            assert_eq!(found, None, "the end of {value} in: {place}");
        }
    }
}

/// Values that open, drift and are healed, and objects that do not open for each reason.
fn open_and_fail(shop: &Namespace, values: &[String]) {
    shop.seal("good", &values[0]);
    let good = shop.wait_ready("good");
    let secret = shop.secret("good").unwrap();
    let needle = Needle::new(values[0].as_bytes());
    let found = needle.find(secret.to_string().as_bytes());
    assert_eq!(found, Some("base64"), "what is searched for can be found");
    shop.seal("good", &values[1]);
    shop.wait_value("good", &values[1]);
    shop.api.delete(&shop.secret_path("good")).unwrap();
    shop.wait_value("good", &values[1]);

    let mut moved = shop.draft("db").value("password", &values[2]).manifest();
    moved["metadata"]["name"] = json!("moved");
    shop.apply(&moved);
    shop.wait_stalled("moved", "ScopeMismatch");
    let mut half = shop
        .draft("half")
        .value("a", &values[3])
        .value("b", &values[4])
        .manifest();
    half["spec"]["encryptedData"]["b"] = half["spec"]["encryptedData"]["a"].clone();
    shop.apply(&half);
    shop.wait_stalled("half", "DecryptFailed");
    let stranger = Identity::generate(KeyType::Hybrid);
    shop.apply(
        &shop
            .draft("keyless")
            .value("a", &values[5])
            .to(stranger.recipient().clone())
            .manifest(),
    );
    shop.wait_reason("keyless", "Unknown", "NoMatchingKey");
    let foreign = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "taken"}});
    shop.api.create(&shop.secrets_path(), &foreign).unwrap();
    shop.seal("taken", &values[6]);
    shop.wait_stalled("taken", "TargetConflict");
    shop.wait_event(&good, "Opened");
}

/// What the API server says of a broken registry login, or a policy of anything, holds the value.
fn fail_to_write(plane: &Shared, shop: &Namespace, login: &str, policed_value: &str) {
    let login = format!("{{\"auths\": {{\"registry\": {{\"auth\": \"{login}\"");
    let template = json!({"type": "kubernetes.io/dockerconfigjson"});
    shop.apply(
        &shop
            .draft("login")
            .value(".dockerconfigjson", &login)
            .template(template)
            .manifest(),
    );
    let broken = shop.wait_stalled("login", "TargetWriteFailed");
    let message = ready_condition(&broken)["message"].as_str().unwrap();
    assert!(
        message.contains("422") && message.contains(".dockerconfigjson"),
        "{message}"
    );
    let policed = quoted(plane);
    policed.seal("db", policed_value);
    policed.wait_looked("db");
    let refused = policed.sealed("db");
    assert_eq!(ready_condition(&refused)["reason"], "TargetWriteFailed");
    assert_eq!(condition(&refused, "Ready"), Some("False"));
    policed.wait_event(&refused, "TargetWriteFailed");
}

/// Everything that people or machines read of the controller, by name. The log tells of these objects.
fn public(plane: &Shared, told: &[&str], kinds: &[(&str, &str)]) -> Vec<(String, Vec<u8>)> {
    let mut places: Vec<(String, Vec<u8>)> = Vec::new();
    let (log, metrics, pid) = plane.controller(|controller| {
        (
            controller.log(),
            controller.metrics(),
            controller.process.id(),
        )
    });
    for name in told {
        assert!(
            log.contains(&format!("\"{name}\"")),
            "the log tells of {name}"
        );
    }
    places.push(("log".into(), log.into()));
    places.push(("metrics".into(), metrics.into()));
    for file in ["cmdline", "environ"] {
        let content = fs::read(format!("/proc/{pid}/{file}")).unwrap();
        let known = if file == "cmdline" {
            "--identity="
        } else {
            "SEALKIT_LOG=trace"
        };
        assert!(String::from_utf8_lossy(&content).contains(known), "{file}");
        places.push((format!("/proc/PID/{file}"), content));
    }
    let always = [
        ("events", "/apis/events.k8s.io/v1/events"),
        ("core events", "/api/v1/events"),
        ("leases", "/apis/coordination.k8s.io/v1/leases"),
    ];
    for (what, path) in always.iter().chain(kinds) {
        let items = plane.api.list(path);
        assert!(!items.is_empty(), "{what}");
        places.push(((*what).into(), Value::from(items).to_string().into()));
    }
    places
}

fn places(plane: &Shared, shop: &Namespace) -> Vec<(String, Vec<u8>)> {
    let kinds = [
        ("SealedSecrets", "/apis/sealkit.dev/v1beta1/sealedsecrets"),
        ("SealingKeys", "/apis/sealkit.dev/v1beta1/sealingkeys"),
    ];
    let told = ["moved", "half", "keyless", "taken", "login"];
    let mut places = public(plane, &told, &kinds);
    for name in ["good", "moved", "half", "keyless", "taken", "login"] {
        let object = shop.sealed(name);
        let statuses = plane
            .recorder
            .versions(uid(&object))
            .into_iter()
            .map(|version| version.status);
        places.push((
            format!("statuses of {name}"),
            statuses.collect::<Value>().to_string().into(),
        ));
    }
    places
}

/// Values of a store, and what proves to it who asks.
#[test]
fn nothing_of_a_store_appears_anywhere_else() {
    let plane = Shared::get();
    let bao = OpenBao::start().unwrap();
    let team = Team::new(&plane, &bao);
    let [value, misnamed, nul, policed_value] = [(); 4].map(|()| unique_value());
    let put = |key: &str, secret: &Value| team.vault.put(&team.mount, key, secret).unwrap();
    put("db", &json!({"password": value, "nul": format!("{nul}\0")}));
    let long = "x".repeat(300);
    put("names", &json!({long: misnamed}));
    let one = |property: &str| json!({"secretKey": "a", "remoteRef": {"key": "db", "property": property}});
    team.external("canary-good", "2s", &json!({"data": [one("password")]}));
    wait_within(WAIT, "it is made", || team.namespace.secret("canary-good"));
    let mut refused = one("nul");
    refused["remoteRef"]["nullBytePolicy"] = json!("Fail");
    let template = |text: &str| json!({"template": {"data": {"a": text}}});
    let label =
        json!({"template": {"metadata": {"labels": {"a": "{{ .a }}/x"}}, "data": {"a": "b"}}});
    let wants = [
        ("canary-absent", json!({"data": [one("passwords")]})),
        ("canary-below", json!({"data": [one("password.x.y")]})),
        (
            "canary-text",
            json!({"dataFrom": [{"extract": {"key": "db", "property": "password"}}]}),
        ),
        ("canary-nul", json!({"data": [refused]})),
        (
            "canary-names",
            json!({"dataFrom": [{"extract": {"key": "names"}}]}),
        ),
        (
            "canary-function",
            json!({"data": [one("password")], "target": template("{{ .a | fromJson | toYaml | int64 | index .a }}")}),
        ),
        (
            "canary-label",
            json!({"data": [one("password")], "target": label}),
        ),
    ];
    for (name, spec) in &wants {
        team.external(name, "2s", spec);
    }
    let mut wrong = team.store("canary-login", bao.url());
    let auth = &mut wrong["spec"]["provider"]["vault"]["auth"];
    let id = unique_value();
    let secret_ref = json!({"name": "canary-role", "key": "secret-id"});
    *auth = json!({"appRole": {"path": "approle", "roleId": id, "secretRef": secret_ref}});
    let secret_id = unique_value();
    team.secret("canary-role", &[("secret-id", &secret_id)]);
    team.make("secretstores", &wrong);
    let spec = json!({"secretStoreRef": {"name": "canary-login"}, "data": [one("password")]});
    team.external("canary-login", "2s", &spec);
    let names = wants.iter().map(|(name, _)| *name).chain(["canary-login"]);
    let told: Vec<&str> = names.collect();
    for name in &told {
        wait_within(WAIT, name, || {
            let object = team.look(name);
            (ready_condition(&object)["reason"] == "SecretSyncedError").then_some(())
        });
    }
    quoting_policy(&plane.api, &team.namespace);
    put("policed", &json!({"password": policed_value}));
    let all = json!({"dataFrom": [{"extract": {"key": "policed"}}]});
    wait_within(WAIT, "the policy is in force", || {
        let probe = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "probe"},
            "data": data(&[("password", "x")])});
        let _ = team.api().delete(&team.namespace.secret_path("probe"));
        team.api()
            .create(&team.namespace.secrets_path(), &probe)
            .err()
    });
    team.external("canary-policed", "2s", &all);
    team.wait_message("canary-policed", "ValidatingAdmissionPolicy quoting-");

    let kinds = [
        (
            "ExternalSecrets",
            "/apis/external-secrets.io/v1/externalsecrets",
        ),
        ("SecretStores", "/apis/external-secrets.io/v1/secretstores"),
    ];
    // The role id stands in the store's spec.
    let secrets = [&value, &misnamed, &nul, &policed_value, &secret_id];
    for (place, content) in public(&plane, &told, &kinds) {
        for text in secrets
            .iter()
            .map(|text| text.as_str())
            .chain([bao.root_token()])
        {
            let found = Needle::new(text.as_bytes()).find(&content);
            assert_eq!(found, None, "{text} in: {place}");
        }
        if place == "log" {
            assert_eq!(Needle::new(id.as_bytes()).find(&content), None, "role id");
        }
    }
}
