//! What somebody with few rights tried once, and must not gain.

use http::Request;
use sealkit_core::keys::{Identity, KeyType, Recipient, RecipientSet};
use sealkit_core::sealed::{Context, Scope, content_fingerprint, seal};
use sealkit_tests::api::{ApiClient, runtime};
use sealkit_tests::canary::unique_value;
use sealkit_tests::controller::Flags;
use sealkit_tests::namespace::{
    Namespace, condition, data, message, ready_condition, resource_version, uid,
};
use sealkit_tests::plane::{Own, Plane, SEALING_KEYS, Shared, name_of, recipient, unique};
use sealkit_tests::rewrap::{create, request, trust, wait_answer};
use sealkit_tests::wait::{wait_for, wait_until};
use serde_json::{Value, json};

/// Requests a reconcile and waits until it was handled.
fn reconcile(namespace: &Namespace, name: &str) -> Value {
    let stamp = unique("request");
    let request =
        json!({"metadata": {"annotations": {"sealkit.dev/reconcile-requested-at": stamp}}});
    let path = namespace.sealed_path(name);
    namespace.api.merge(&path, &request).unwrap();
    wait_for("the request is handled", || {
        let object = namespace.sealed(name);
        (object["status"]["lastHandledReconcileAt"] == *stamp).then_some(object)
    })
}

fn forge_status(plane: &Plane, path: &str, status: &Value) {
    let forged = json!({"status": status});
    plane.api.merge(&format!("{path}/status"), &forged).unwrap();
}

/// Makes a new key and waits until it is the newest.
fn rotate(plane: &Plane) -> Value {
    let name = unique("attacked");
    let key = json!({"apiVersion": "sealkit.dev/v1beta1", "kind": "SealingKey", "metadata": {"name": name}, "spec": {}});
    plane.api.create(SEALING_KEYS, &key).unwrap();
    wait_for("the new key is the newest", || {
        Some(plane.newest_key()).filter(|key| name_of(key) == name)
    })
}

fn key_path(key: &Value) -> String {
    format!("{SEALING_KEYS}/{}", name_of(key))
}

#[test]
fn a_status_makes_no_secret_ours() {
    let plane = Shared::get();
    let shop = plane.namespace("attacks");
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
        "metadata": {"name": "db"}, "data": data(&[("theirs", "kept")]),
    });
    let theirs = shop.api.create(&shop.secrets_path(), &secret).unwrap();
    shop.seal("db", &unique_value());
    shop.wait_stalled("db", "TargetConflict");
    let target = json!({"target": {
        "name": "db", "uid": uid(&theirs),
        "resourceVersion": theirs["metadata"]["resourceVersion"],
    }});
    forge_status(&plane, &shop.sealed_path("db"), &target);
    for _ in 0..2 {
        reconcile(&shop, "db");
        let object = shop.wait_stalled("db", "TargetConflict");
        assert!(
            message(&object).contains("nothing on it says"),
            "{}",
            message(&object)
        );
    }
    assert_eq!(shop.secret("db"), Some(theirs));
}

/// A process that starts knows only statuses of the objects that are in sync.
#[test]
fn a_status_makes_no_key_unused() {
    let plane = Own::take();
    let mut controller = plane.leading_controller();
    let old = plane.newest_key();
    let shop = plane.namespace("attacks");
    shop.seal("db", &unique_value());
    shop.wait_ready("db");
    let new = rotate(&plane);
    wait_until("it is to be resealed", || {
        shop.sealed("db")["status"]["needsReseal"] == true
    });
    controller.process.kill().unwrap();
    let status = json!({"sealedTo": [new["status"]["fingerprint"]], "needsReseal": false});
    forge_status(&plane, &shop.sealed_path("db"), &status);
    let revoke = json!({"spec": {"state": "Revoked"}});
    plane.api.merge(&key_path(&old), &revoke).unwrap();
    let _controller = plane.leading_controller();
    let refused = wait_for("the revocation has an answer", || {
        let key = plane.sealing_key(name_of(&old));
        let looked = key["status"]["observedGeneration"] == key["metadata"]["generation"];
        looked.then_some(key)
    });
    let ready = ready_condition(&refused);
    assert_eq!(ready["reason"], "InUse", "{ready}");
    assert_eq!(refused["status"]["state"], "DecryptOnly");

    // Nor is a key in use that a status says is: resealed, the object needs it no more.
    let draft = shop.draft("db").value("password", unique_value());
    shop.apply(&draft.to(recipient(&new)).manifest());
    wait_until("the key is revoked", || {
        plane.sealing_key(name_of(&old))["status"]["state"] == "Revoked"
    });
}

/// Two managers may own one key while its value is the same. A guess must then say nothing.
#[test]
fn a_key_that_somebody_applies_too_answers_no_guess() {
    let plane = Shared::get();
    let mut told = Vec::new();
    for guess in ["kept", "wrong"] {
        let shop = plane.namespace("attacks");
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
            "metadata": {"name": "db", "annotations": {"sealkit.dev/allow": "SealedSecret/db:merge"}},
        });
        shop.api.create(&shop.secrets_path(), &secret).unwrap();
        let merging = |value: &str| {
            let draft = shop.draft("db").value("a", value);
            draft.target(json!({"creationPolicy": "Merge"})).manifest()
        };
        shop.apply(&merging("kept"));
        shop.wait_ready("db");
        let theirs = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "db"},
            "data": data(&[("a", "kept")]),
        });
        shop.api.apply(&shop.secret_path("db"), &theirs).unwrap();
        shop.apply(&merging(guess));
        let object = shop.wait_stalled("db", "TargetConflict");
        assert_eq!(shop.secret("db").unwrap()["data"], data(&[("a", "kept")]));
        told.push(message(&object).replace(&shop.name, ""));
    }
    assert_eq!(told[0], told[1]);
    assert!(told[0].contains("key a"), "{}", told[0]);
}

/// A text that renders to this many thousand bytes.
fn filling(thousands: usize) -> String {
    let digits = r#"{{ range splitList "," "0,1,2,3,4,5,6,7,8,9" }}"#;
    let line = "x".repeat(thousands);
    format!("{digits}{digits}{digits}{line}{}", "{{ end }}".repeat(3))
}

/// The API server takes values of 1 MiB. Known bytes beside a value would tell its length.
#[test]
fn known_bytes_beside_a_value_do_not_tell_its_length() {
    let plane = Shared::get();
    let mut told = Vec::new();
    // One size class.
    for length in [592_000, 606_000] {
        let shop = plane.namespace("attacks");
        shop.seal("db", &"v".repeat(length));
        shop.wait_ready("db");
        let answers = [442, 443, 456].map(|thousands| {
            let patch = json!({"spec": {"template": {"data": {"fill": filling(thousands)}}}});
            shop.api.merge(&shop.sealed_path("db"), &patch).unwrap();
            let object = shop.wait_looked("db");
            let ready = ready_condition(&object);
            (ready["reason"].clone(), ready["message"].clone())
        });
        assert_eq!(answers[0].0, "Opened", "{answers:?}");
        assert_eq!(answers[1].0, "TargetWriteFailed", "{answers:?}");
        told.push(answers);
    }
    assert_eq!(told[0], told[1]);
}

#[test]
fn the_size_of_a_secret_that_consents_to_a_merge_is_not_searched() {
    let plane = Shared::get();
    let mut told = Vec::new();
    for (theirs, ours) in [
        (600_000, 1),
        (600_000, 440_000),
        (520_000, 500_000),
        (520_000, 530_000),
    ] {
        let shop = plane.namespace("attacks");
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
            "metadata": {"name": "db", "annotations": {"sealkit.dev/allow": "SealedSecret/db:merge"}},
            "data": data(&[("theirs", &"x".repeat(theirs))]),
        });
        let before = shop.api.create(&shop.secrets_path(), &secret).unwrap();
        let draft = shop.draft("db").value("a", "v".repeat(ours));
        shop.apply(&draft.target(json!({"creationPolicy": "Merge"})).manifest());
        let object = shop.wait_looked("db");
        let ready = ready_condition(&object);
        told.push(ready["reason"].clone());
        assert!(!message(&object).contains("422"), "{ready}");
        if theirs == 600_000 {
            assert!(message(&object).contains("512 KiB"), "{ready}");
            assert_eq!(shop.secret("db"), Some(before));
        }
    }
    assert_eq!(
        told,
        [
            "TargetConflict",
            "TargetConflict",
            "Opened",
            "TargetWriteFailed"
        ]
    );
}

/// The API server takes any text as kind and name of an owner, and `kubectl` prints messages raw.
#[test]
fn a_status_shows_no_control_characters_of_others() {
    let plane = Shared::get();
    let shop = plane.namespace("attacks");
    let long = "x".repeat(300_000);
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "db", "ownerReferences": [{
            "apiVersion": "x/v1", "kind": "X\u{1b}]0;pwned\u{7}\u{1b}[31m", "controller": true,
            "name": format!("line one\nReady=True Opened all is well\u{1b}[2K{long}"),
            "uid": "00000000-0000-0000-0000-000000000001",
        }]},
    });
    shop.api.create(&shop.secrets_path(), &secret).unwrap();
    shop.seal("db", &unique_value());
    let object = shop.wait_stalled("db", "TargetConflict");
    let event = shop.wait_event(&object, "TargetConflict");
    for text in [message(&object), event["note"].as_str().unwrap()] {
        assert!(text.contains("line one\\nReady=True"), "{text}");
        assert!(
            text.bytes()
                .all(|byte| byte.is_ascii_graphic() || byte == b' ' || !byte.is_ascii())
        );
        assert!(text.len() < 500, "{text}");
    }
    let hostile =
        json!({"metadata": {"annotations": {"sealkit.dev/reconcile-requested-at": "a\u{1b}[2K"}}});
    shop.api.merge(&shop.sealed_path("db"), &hostile).unwrap();
    reconcile(&shop, "db");
}

/// Refuses to write statuses of SealedSecrets of a namespace.
fn refuse_statuses(namespace: &Namespace) {
    let name = format!("statuses-{}", namespace.name);
    let group = "admissionregistration.k8s.io/v1";
    let create = |kind: &str, plural: &str, spec: Value| {
        let object =
            json!({"apiVersion": group, "kind": kind, "metadata": {"name": name}, "spec": spec});
        namespace
            .api
            .create(&format!("/apis/{group}/{plural}"), &object)
            .unwrap();
    };
    let rule = json!({"apiGroups": ["sealkit.dev"], "apiVersions": ["*"],
        "operations": ["UPDATE"], "resources": ["sealedsecrets/status"]});
    let spec = json!({"matchConstraints": {"resourceRules": [rule]}, "validations": [{"expression": "false"}]});
    create(
        "ValidatingAdmissionPolicy",
        "validatingadmissionpolicies",
        spec,
    );
    let labels = json!({"kubernetes.io/metadata.name": namespace.name});
    let spec = json!({"policyName": name, "validationActions": ["Deny"],
        "matchResources": {"namespaceSelector": {"matchLabels": labels}}});
    create(
        "ValidatingAdmissionPolicyBinding",
        "validatingadmissionpolicybindings",
        spec,
    );
}

#[test]
fn a_status_that_cannot_be_written_holds_up_no_revocation() {
    let plane = Own::take();
    let _controller = plane.leading_controller();
    let old = plane.newest_key();
    rotate(&plane);
    let shop = plane.namespace("attacks");
    refuse_statuses(&shop);
    let probe = json!({"apiVersion": "sealkit.dev/v1beta1", "kind": "SealedSecret",
        "metadata": {"name": "probe"}, "spec": {"suspend": true}});
    shop.api
        .create(&shop.sealed_secrets_path(), &probe)
        .unwrap();
    wait_until("statuses are refused", || {
        let status = json!({"status": {"needsReseal": true}});
        let path = format!("{}/status", shop.sealed_path("probe"));
        shop.api.merge(&path, &status).is_err()
    });
    let value = unique_value();
    shop.seal("db", &value);
    shop.wait_value("db", &value);
    let revoke = json!({"spec": {"state": "Revoked"}});
    plane.api.merge(&key_path(&old), &revoke).unwrap();
    wait_until("the key is revoked", || {
        plane.sealing_key(name_of(&old))["status"]["state"] == "Revoked"
    });
    assert!(condition(&shop.sealed("db"), "Ready").is_none());
}

#[test]
fn a_chain_of_ten_thousand_successors_is_refused_and_stops_nobody() {
    let plane = Own::take();
    let mut controller = plane.leading_controller();
    let shop = plane.namespace("attacks");
    let stranger = Identity::generate(KeyType::Hybrid).recipient().clone();
    let both = RecipientSet::new([recipient(&plane.newest_key()), stranger]).unwrap();
    let context = Context::new(Scope::Strict, &shop.name, "db").unwrap();
    let values = [("a".to_owned(), b"b".to_vec().into())].into();
    let sealed = seal(&values, &context, &both, false).unwrap();
    let id = sealed.id.to_string();
    let chain: Vec<Recipient> = (0..=10_000)
        .map(|_| Identity::generate(KeyType::Classic).recipient().clone())
        .collect();
    let line = |pair: &[Recipient]| format!("{}={}\n", pair[0].fingerprint(), pair[1]);
    let lines: String = chain.windows(2).map(line).collect();
    trust(&plane.api, &json!({"successors": lines}));
    let asked = request([(id.clone(), json!(sealed.envelope))]);
    let made = [(); 4].map(|()| create(&plane.api, &shop.name, &asked).unwrap());
    for made in made {
        let answered = wait_answer(&plane.api, &made);
        let error = answered["status"]["envelopes"][&id]["error"].as_str();
        let error = error.unwrap();
        assert!(error.contains("at most 2000 lines"), "{error}");
    }
    shop.seal("other", &unique_value());
    shop.wait_ready("other");
    assert!(controller.process.is_running());
}

/// What the API server fills in, leaves out or spells in its own way must not look like drift.
#[test]
fn a_second_look_writes_nothing() {
    let plane = Shared::get();
    let shop = plane.namespace("attacks");
    let templates = [
        json!({"type": ""}),
        json!({"type": "Opaque", "immutable": false}),
        json!({"immutable": true}),
        json!({"type": "", "immutable": true}),
        json!({"type": "example.com/odd. Type."}),
        json!({"metadata": {}}),
        json!({"metadata": null}),
        json!({"metadata": {"labels": {}, "annotations": {}}, "data": {}}),
        json!({"metadata": {"labels": {"empty": "", "A.b_c": "1.0"}}}),
        json!({"metadata": {"annotations": {"empty": "", "text": " a\n\u{e9}\u{0} "}}}),
        json!({"includeRaw": false}),
        json!({"data": {"empty": ""}}),
    ];
    let policies = ["Owner", "Orphan"];
    let names: Vec<String> = templates
        .iter()
        .flat_map(|template| policies.map(|policy| (template, policy)))
        .enumerate()
        .map(|(index, (template, policy))| {
            let name = format!("db-{index}");
            let draft = shop.draft(&name).value("a", "").value("b", "c");
            let target = json!({"creationPolicy": policy});
            shop.apply(&draft.template(template.clone()).target(target).manifest());
            name
        })
        .collect();
    let secrets: Vec<Value> = names
        .iter()
        .map(|name| {
            shop.wait_ready(name);
            shop.secret(name).unwrap()
        })
        .collect();
    for (name, secret) in names.iter().zip(secrets) {
        let object = reconcile(&shop, name);
        assert_eq!(ready_condition(&object)["reason"], "Opened", "{object:#}");
        assert_eq!(shop.secret(name), Some(secret), "{}", object["spec"]);
        let healed = shop.events(uid(&object));
        assert!(healed.iter().all(|event| event["reason"] != "Healed"));
    }
}

#[test]
fn a_second_look_merges_nothing() {
    let plane = Shared::get();
    let templates = [
        json!(null),
        json!({"immutable": false}),
        json!({"metadata": {"labels": {}, "annotations": {}}}),
        json!({"metadata": {"labels": {"empty": ""}, "annotations": {"empty": ""}}}),
        json!({"includeRaw": false}),
    ];
    for template in templates {
        let shop = plane.namespace("attacks");
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": "db", "annotations": {"sealkit.dev/allow": "SealedSecret/db:merge"}},
        });
        shop.api.create(&shop.secrets_path(), &secret).unwrap();
        let target = json!({"creationPolicy": "Merge"});
        let draft = shop.draft("db").value("a", "").value("b", "c");
        shop.apply(&draft.template(template.clone()).target(target).manifest());
        shop.wait_ready("db");
        let secret = shop.secret("db");
        reconcile(&shop, "db");
        assert_eq!(shop.secret("db"), secret, "{template}");
    }
}

/// Fields that the API server takes and a typed reader refuses. Whoever writes an object chooses
/// them.
fn strange_fields(api_version: &Value) -> Value {
    let mut fields = json!({});
    for _ in 0..200 {
        fields = json!({UNDECODABLE: fields});
    }
    json!([{
        "manager": "strange", "operation": "Update", "apiVersion": api_version,
        "time": "9999-12-31T23:59:59Z", "fieldsType": "FieldsV1",
        "fieldsV1": {"f:metadata": fields},
    }])
}

/// Stands for a byte that is not UTF-8: the API server takes it in the name of a field.
const UNDECODABLE: &str = "f:undecodable";

/// Creates an object with such fields.
fn create_strange(api: &ApiClient, collection: &str, mut object: Value) {
    object["metadata"]["managedFields"] = strange_fields(&object["apiVersion"]);
    let text = object.to_string();
    let mut parts = text.split(UNDECODABLE);
    let mut body = parts.next().unwrap().as_bytes().to_vec();
    for part in parts {
        body.extend(b"f:\xff");
        body.extend(part.as_bytes());
    }
    let request = Request::post(collection).header("content-type", "application/json");
    let (client, request) = (api.kube(), request.body(body).unwrap());
    let answer = runtime().block_on(client.request_text(request));
    // Answers for custom resources have no such bytes.
    match answer {
        Ok(text) => assert!(serde_json::from_str::<Value>(&text).is_err(), "{text}"),
        Err(error) => assert!(matches!(error, kube::Error::FromUtf8(_)), "{error}"),
    }
}

/// The reason of such an object's Ready. Our own reader refuses the object.
fn strange_ready(plane: &Plane, named: &[&str]) -> String {
    let output = "-ojsonpath={.status.conditions[?(@.type=='Ready')].reason}";
    let arguments = [&["get"], named, &[output]].concat();
    plane.servers.kubectl(&arguments).unwrap()
}

#[test]
fn a_status_with_a_strange_time_stops_no_key() {
    let plane = Plane::with("deploy/base");
    let mut controller = plane.leading_controller();
    let (key, shop) = (plane.newest_key(), plane.namespace("attacks"));
    controller.stop();
    let condition = json!({
        "type": "Ready", "status": "True", "reason": "x", "message": "",
        "observedGeneration": 1, "lastTransitionTime": "9999-12-31T23:59:59Z",
    });
    let status = json!({"conditions": [condition], "createdAt": "9999-12-31T23:59:59Z"});
    forge_status(&plane, &key_path(&key), &status);
    let strange = json!({
        "apiVersion": "sealkit.dev/v1beta1", "kind": "SealingKey",
        "metadata": {"name": "strange"}, "spec": {},
    });
    create_strange(&plane.api, SEALING_KEYS, strange);
    let mut controller = plane.leading_controller();
    shop.seal("db", &unique_value());
    shop.wait_ready("db");
    wait_until("the status is restored", || {
        let status = &plane.sealing_key(name_of(&key))["status"];
        !status.to_string().contains("9999")
    });
    wait_until("the strange key has its key pair", || {
        strange_ready(&plane, &["sealingkey", "strange"]) == "KeyAvailable"
    });
    // It happens while the controller runs, too.
    forge_status(&plane, &key_path(&key), &status);
    shop.seal("later", &unique_value());
    shop.wait_ready("later");
    assert!(controller.process.is_running());
}

#[test]
fn strange_metadata_stops_no_watch() {
    for plane in [
        Plane::with("deploy/base"),
        Plane::without_watch_list("deploy/base"),
    ] {
        let mut controller = plane.leading_controller();
        let (evil, shop) = (plane.namespace("evil"), plane.namespace("shop"));
        let create = |name: &str| {
            let secret = json!({
                "apiVersion": "v1", "kind": "Secret",
                "metadata": {
                    "name": format!("labelled-{name}"), "labels": {"sealkit.dev/managed": "true"},
                },
            });
            create_strange(&plane.api, &evil.secrets_path(), secret);
            let sealed = evil.draft(name).value("a", "b").manifest();
            create_strange(&plane.api, &evil.sealed_secrets_path(), sealed);
            let group = "/apis/sealkit.dev/v1beta1";
            let requests = format!("{group}/namespaces/{}/rewraprequests", evil.name);
            let request = json!({
                "apiVersion": "sealkit.dev/v1beta1", "kind": "RewrapRequest",
                "metadata": {"name": name}, "spec": {"envelopes": {}},
            });
            create_strange(&plane.api, &requests, request);
        };
        controller.stop();
        create("before");
        let mut controller = plane.leading_controller();
        shop.seal("db", &unique_value());
        shop.wait_ready("db");
        create("meanwhile");
        shop.seal("later", &unique_value());
        shop.wait_ready("later");
        // Drift is noticed by the watch of Secrets.
        shop.api.delete(&shop.secret_path("db")).unwrap();
        shop.wait_secret("db", "is back", |_| true);
        for name in ["before", "meanwhile"] {
            wait_until("the strange object opens", || {
                strange_ready(&plane, &["sealedsecret", name, "-n", &evil.name]) == "Opened"
            });
        }
        let log = controller.log();
        assert!(!log.contains("watch failed"), "{log}");
        assert!(!log.contains("did not answer"), "{log}");
        assert!(controller.process.is_running());
    }
}

/// A reference takes few bytes in etcd and many once it is read. Lists in pages, of several
/// namespaces, were in memory at once.
#[test]
fn secrets_with_many_owners_fit_into_memory() {
    let plane = Plane::without_watch_list("deploy/base");
    let mut controller = plane.leading_controller();
    let (shop, evil) = (
        plane.namespace("shop"),
        [plane.namespace("evil"), plane.namespace("evil")],
    );
    controller.stop();
    let owner =
        |number| json!({"apiVersion": "a/b", "kind": "c", "name": "d", "uid": format!("{number}")});
    let owners: Vec<Value> = (0..54_000).map(owner).collect();
    for namespace in &evil {
        for number in 0..20 {
            let secret = json!({
                "apiVersion": "v1", "kind": "Secret", "metadata": {
                    "name": format!("large-{number}"), "ownerReferences": owners,
                    "labels": {"sealkit.dev/managed": "true"},
                },
            });
            shop.api.create(&namespace.secrets_path(), &secret).unwrap();
        }
    }
    let names = [&evil[0], &evil[1], &shop].map(|namespace| namespace.name.as_str());
    let mut controller = plane.controller(&Flags {
        more: vec![format!("--watch-namespaces={}", names.join(","))],
        ..Flags::default()
    });
    controller.wait_leading();
    shop.seal("db", &unique_value());
    shop.wait_ready("db");
    println!("{} KiB", controller.peak_memory());
    controller.assert_lives_within_its_memory();
}

/// The answer to a Secret with all our marks and a guess of the value: what the status says, which
/// events came, and whether the Secret is still the same object, or untouched.
fn answer_to_guess(
    shop: &Namespace,
    guess: &str,
    immutable: bool,
) -> (Value, Vec<String>, [bool; 2]) {
    let draft = shop.draft("db").value("password", "4711");
    let draft = draft.template(json!({"immutable": immutable}));
    let sealed = shop.apply(&draft.suspended().manifest());
    shop.wait_stalled("db", "Suspended");
    let source = format!("SealedSecret/{}/db/{}", shop.name, uid(&sealed));
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "Opaque", "immutable": immutable,
        "metadata": {
            "name": "db",
            "labels": {"sealkit.dev/managed": "true"},
            "annotations": {
                "sealkit.dev/source": source,
                "sealkit.dev/generation": "2",
                "sealkit.dev/content": content_fingerprint(&sealed["spec"]),
            },
            "ownerReferences": [{
                "apiVersion": "sealkit.dev/v1beta1", "kind": "SealedSecret", "name": "db",
                "uid": uid(&sealed), "controller": true,
            }],
        },
        "data": data(&[("password", guess)]),
    });
    let forged = shop.api.create(&shop.secrets_path(), &secret).unwrap();
    let resume = json!({"spec": {"suspend": false}});
    shop.api.merge(&shop.sealed_path("db"), &resume).unwrap();
    let object = shop.wait_ready("db");
    shop.wait_event(&object, "Opened");
    let events = shop.events(uid(&object));
    let mut reasons: Vec<String> = events
        .iter()
        .map(|event| event["reason"].to_string())
        .collect();
    reasons.sort();
    let target = &object["status"]["target"];
    let same = ["uid", "resourceVersion"].map(|part| target[part] == forged["metadata"][part]);
    let written = shop.secret("db").unwrap();
    assert_eq!(written["data"], data(&[("password", "4711")]));
    assert_eq!(target["resourceVersion"], resource_version(&written));
    (ready_condition(&object)["message"].clone(), reasons, same)
}

/// Whoever may create Secrets can give one all the marks of ours. It must not show whether its
/// values are those of the source.
#[test]
fn a_secret_with_forged_marks_answers_no_guess() {
    let plane = Shared::get();
    for immutable in [false, true] {
        let [right, wrong] = ["4711", "4712"].map(|guess| {
            let shop = plane.namespace("attacks");
            answer_to_guess(&shop, guess, immutable)
        });
        assert_eq!(right, wrong);
        assert_eq!(right.2, [!immutable, false], "it is written");
    }
}

/// The most bytes that the name of an owner of the Secret may have, for a value of this length.
fn room_beside(shop: &Namespace, length: usize) -> usize {
    let (mut fits, mut over) = (0, 100_000);
    let mut told = String::new();
    while over - fits > 1 {
        let middle = usize::midpoint(fits, over);
        let name = format!("db-{length:02}-{middle:05}");
        let owner = json!({"apiVersion": "example.com/v1", "kind": "Unknown", "name": "n".repeat(middle), "uid": "0"});
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
            "metadata": {
                "name": name, "ownerReferences": [owner],
                "annotations": {"sealkit.dev/source": format!("SealedSecret/{}/{name}/", shop.name)},
            },
        });
        shop.api.create(&shop.secrets_path(), &secret).unwrap();
        shop.seal(&name, &"v".repeat(length));
        let object = shop.wait_looked(&name);
        if ready_condition(&object)["reason"] == "Opened" {
            fits = middle;
        } else {
            over = middle;
            told = message(&object).replace(&name, "db");
        }
        shop.delete_sealed(&name);
    }
    assert!(
        told.contains("the Secret db has other metadata of somebody else with more than 64 KiB"),
        "{told}"
    );
    fits
}

/// etcd takes 1.5 MiB. What somebody puts on the Secret beforehand must not tell what is left.
#[test]
fn metadata_of_others_beside_a_value_does_not_tell_its_length() {
    let plane = Shared::get();
    let shop = plane.namespace("attacks");
    let (long, short) = (room_beside(&shop, 58), room_beside(&shop, 10));
    // A second look counts our own entry of managedFields a little differently. A value that counted
    // would make 48 bytes.
    assert!(long.abs_diff(short) < 40, "{long} and {short}");
}
