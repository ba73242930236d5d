//! What the API server refuses by the CRDs alone, without the webhook, and what it takes.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sealkit_core::manifest::read_documents;
use sealkit_core::sealed::{SealedObject, compact_size, limits};
use sealkit_tests::api::Answer;
use sealkit_tests::canary::unique_value;
use sealkit_tests::namespace::Namespace;
use sealkit_tests::plane::{Own, Shared};
use sealkit_tests::rewrap;
use sealkit_tests::wait::wait_until;
use serde_json::{Map, Value, json};

use crate::limits::envelopes;

/// The CRD of SealedSecrets.
const CRD: &str =
    "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/sealedsecrets.sealkit.dev";
/// What a rule says of a bad id, key or value.
const ID: &str = "an envelope id must be 32 characters of [a-z2-7]";
const KEY: &str = "a key must be 1 to 253 characters of [-._a-zA-Z0-9]";
const VALUE: &str = "a value must be sk1.<envelope id>.<base64url>";

/// What the API server says to an object, without keeping it.
fn check(shop: &Namespace, object: &Value) -> Answer {
    let path = format!("{}?dryRun=All", shop.sealed_secrets_path());
    shop.api.create(&path, object)
}

/// What `kubectl apply --dry-run=server` prints of an object that is refused.
fn refusal(plane: &Shared, object: &Value) -> String {
    let run = ["apply", "--dry-run=server", "-f", "-"];
    let said = plane.servers.kubectl_with_input(&run, &object.to_string());
    said.unwrap_err().to_string()
}

#[test]
fn a_bad_id_key_or_value_is_refused_by_field_and_rule() {
    let plane = Shared::get();
    let shop = plane.namespace("schema");
    let good = shop.draft("bad").value("a", unique_value()).manifest();
    let value = good["spec"]["encryptedData"]["a"].as_str().unwrap();
    let (ids, keys, values) = ("envelopes", "encryptedData", "encryptedData");
    let envelope = json!({"recipients": [], "ageFile": ""});
    let rows = [
        (ids, ID, json!({"ID": envelope})),
        (ids, ID, json!({"a".repeat(33): envelope})),
        (keys, KEY, json!({"a/b": value})),
        (keys, KEY, json!({"": value})),
        (keys, KEY, json!({".": value})),
        (keys, KEY, json!({"..a": value})),
        (keys, KEY, json!({"k".repeat(254): value})),
        (values, VALUE, json!({"a": value, "b": "canary-not-sealed"})),
        (values, VALUE, json!({"a": ""})),
        (values, VALUE, json!({"a": value[..value.len() - 1]})),
        (
            values,
            VALUE,
            json!({"a": value.replacen("sk1.", "sk2.", 1)}),
        ),
        (
            values,
            VALUE,
            json!({"a": value.replacen("sk1.", "sk1.a", 1)}),
        ),
        ("template", KEY, json!({"data": {"a/b": "x"}})),
    ];
    for (field, rule, content) in rows {
        let mut object = good.clone();
        object["spec"][field] = content.clone();
        let said = refusal(&plane, &object);
        assert!(
            said.contains(&format!("spec.{field}")) && said.contains(rule),
            "{content}: {said}"
        );
        assert!(
            !said.contains("canary") && !said.contains(&value[4..]),
            "no text of an object: {said}"
        );
    }
    let mut request = rewrap::request([("ID".to_owned(), envelope)]);
    request["metadata"] = json!({"name": "bad", "namespace": shop.name});
    let said = refusal(&plane, &request);
    assert!(
        said.contains("spec.envelopes: ") && said.contains(ID),
        "{said}"
    );
}

/// An object as large as the format lets one be, whose keys are named by `key`.
fn full(shop: &Namespace, key: impl Fn(usize) -> String) -> Value {
    let mut draft = shop.draft("full");
    let entry = key(0).len() + "\"\":\"\",".len() + limits::VALUE_CHARACTERS;
    for index in 0..(limits::OBJECT_BYTES - 4_096) / entry {
        draft = draft.value(&key(index), "v");
    }
    draft.manifest()
}

#[test]
fn the_largest_legal_objects_are_taken() {
    let plane = Shared::get();
    let shop = plane.namespace("schema");
    let texts: Map<String, Value> = (0..100).map(|at| (format!("t{at}"), json!("x"))).collect();
    let mut most = envelopes(&shop, "most", 64).0;
    most["spec"]["template"] = json!({"data": texts});
    let one = shop.draft("one").value("a", vec![7; 880_000]).manifest();
    let objects = [
        ("values", full(&shop, |index| format!("{index:04x}"))),
        ("long keys", full(&shop, |index| format!("{index:k>253}"))),
        ("one value", one),
        ("envelopes", most),
    ];
    for (what, object) in objects {
        SealedObject::parse(&object).unwrap();
        let values = object["spec"]["encryptedData"].as_object().unwrap().len();
        let start = Instant::now();
        let taken = check(&shop, &object);
        println!(
            "{what}: {values} values, {} bytes: {:?}",
            compact_size(&object),
            start.elapsed()
        );
        assert!(taken.is_ok(), "{what}: {taken:?}");
    }
}

/// The objects of a folder of vectors, with the name of each case and the rule that it breaks.
fn vectors(folder: &Path) -> Vec<(String, Option<String>, Value)> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let index = std::fs::read(folder.join("index.json")).unwrap();
    let index: Vec<Value> = serde_json::from_slice(&index).unwrap();
    let read = |case: &Value| {
        let file = std::fs::read(folder.join(case["file"].as_str().unwrap())).unwrap();
        let object = read_documents(&file).ok()?.into_iter().next()?.object;
        Some((text(&case["case"]).unwrap(), text(&case["rule"]), object))
    };
    index.iter().filter_map(read).collect()
}

/// The format looks at no envelope that no value names; the API server wants its fields.
const UNREFERENCED: [&str; 2] = ["unreferenced-entry", "unreferenced-string"];

/// The API server drops members that are null: an envelope of the object takes their place.
fn without_null(envelopes: &mut Value) {
    let all = envelopes.as_object_mut().into_iter();
    let mut all: Vec<&mut Value> = all.flat_map(|all| all.values_mut()).collect();
    let whole = all.iter().find(|envelope| envelope.is_object());
    if let Some(whole) = whole.map(|envelope| (**envelope).clone()) {
        let null = all.iter_mut().filter(|envelope| envelope.is_null());
        null.for_each(|envelope| **envelope = whole.clone());
    }
}

#[test]
fn what_the_format_takes_is_taken() {
    let plane = Shared::get();
    let shop = plane.namespace("schema");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors");
    let folders: [PathBuf; 2] = [folder.join("independent"), folder];
    let (mut taken, mut refused) = (0, 0);
    for (case, rule, mut object) in folders.iter().flat_map(|folder| vectors(folder)) {
        let is_legal = SealedObject::parse(&object).is_ok();
        object["apiVersion"] = json!("sealkit.dev/v1beta1");
        object["kind"] = json!("SealedSecret");
        object["metadata"] = json!({"name": "vector", "namespace": shop.name});
        without_null(&mut object["spec"]["envelopes"]);
        let said = check(&shop, &object);
        if is_legal && !UNREFERENCED.contains(&case.as_str()) {
            assert!(said.is_ok(), "{case}: {said:?}");
            taken += 1;
        }
        let rule = rule.unwrap_or_default();
        if ["envelope-count", "envelope-id", "key-name"].contains(&rule.as_str()) {
            assert_eq!(said.unwrap_err().code, 422, "{case}");
            refused += 1;
        }
    }
    println!("{taken} legal vectors taken, {refused} refused");
    assert!(taken > 100 && refused > 5, "{taken}, {refused}");
}

#[test]
fn very_many_bad_members_are_refused_at_once_by_few_words() {
    let plane = Shared::get();
    let shop = plane.namespace("schema");
    let good = shop.draft("bad").value("a", unique_value()).manifest();
    let names = (0..25_000).map(|index| (format!("{index:x}"), json!("")));
    let many: Map<String, Value> = names.collect();
    let with = |field: &str, content: Value| {
        let mut object = good.clone();
        object["spec"][field] = content;
        object
    };
    let empty = json!({"ID": {"recipients": vec![""; 25_000], "ageFile": ""}});
    let objects = [
        ("values", with("encryptedData", json!(many))),
        ("texts", with("template", json!({"data": many}))),
        ("recipients", with("envelopes", empty)),
    ];
    for (what, object) in objects {
        let start = Instant::now();
        let refusal = check(&shop, &object).unwrap_err();
        let took = start.elapsed();
        println!("{what}: {took:?}, {} bytes said", refusal.message.len());
        assert_eq!(refusal.code, 422, "{what}: {refusal:?}");
        assert!(took < Duration::from_secs(20), "{what}: {took:?}");
        assert!(refusal.message.len() < 2_000, "{what}: {refusal:?}");
    }
}

/// The API server checks a change of a status together with the spec that is there.
#[test]
fn what_was_stored_before_the_rules_keeps_its_status() {
    let plane = Own::take();
    let mut controller = plane.leading_controller();
    let shop = plane.namespace("schema");
    controller.stop();
    let good = shop.draft("old").value("a", unique_value()).manifest();
    let mut bad = good.clone();
    bad["spec"]["encryptedData"] = json!({"a/b": "plain"});
    let spec = |schema: Value| {
        let mut crd = plane.api.get(CRD).unwrap();
        let whole = &mut crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        let before = std::mem::replace(&mut whole["properties"]["spec"], schema);
        plane.api.replace(CRD, &crd).unwrap();
        before
    };
    let rules = spec(json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}));
    wait_until("the object is stored", || shop.try_apply(&bad).is_ok());
    spec(rules);
    wait_until("the rules are back", || {
        check(&shop, &renamed(&bad)).is_err()
    });
    let _controller = plane.leading_controller();
    shop.wait_stalled("old", "InvalidSpec");
    // Whatever does not touch the bad map is taken as well, and a good one mends it.
    let change = json!({"spec": {"template": {"immutable": false}}});
    shop.api.merge(&shop.sealed_path("old"), &change).unwrap();
    shop.apply(&good);
    shop.wait_ready("old");
}

fn renamed(object: &Value) -> Value {
    let mut object = object.clone();
    object["metadata"]["name"] = json!("new");
    object
}
