//! Replays vector folders: every case's code, warning and values.
//!
//! `tests/vectors` is ours, `tests/vectors/independent` was made by another implementation.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sealkit_core::keys::{KeyRing, TrustedRecipients, parse_identity_file, parse_recipient_file};
use sealkit_core::manifest::read_documents;
use sealkit_core::sealed::{
    OpenError, RewrapError, SealedObject, Search, Successors, open, unwrap_envelope,
};
use serde_json::{Value, json};

fn folders() -> Vec<PathBuf> {
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors");
    vec![vectors.join("independent"), vectors]
}

/// What the reader says of one case: code or "opens", rule, warning, values.
fn result(yaml: &[u8], identity: &str) -> Value {
    let ring = KeyRing::new(parse_identity_file(identity).unwrap()).unwrap();
    let Ok(documents) = read_documents(yaml) else {
        return json!({"expect": "InvalidSpec", "rule": "yaml"});
    };
    let opened = SealedObject::parse(&documents[0].object)
        .and_then(|object| open(&object, &ring, Search::Hinted));
    match opened {
        Err(OpenError { rule, .. }) => {
            json!({"expect": rule.code().name(), "rule": rule.name()})
        }
        Ok(opened) => {
            let values: serde_json::Map<String, Value> = opened
                .values
                .iter()
                .map(|(key, value)| (key.clone(), BASE64_STANDARD.encode(&value.bytes).into()))
                .collect();
            let warn = (!opened.hint_mismatch.is_empty()).then_some("HintMismatch");
            json!({"expect": "opens", "warn": warn, "values": values})
        }
    }
}

#[test]
fn every_vector_gives_its_code_warning_and_values() {
    let mut wrong = Vec::new();
    let mut cases = 0;
    for folder in folders() {
        let index = std::fs::read(folder.join("index.json"))
            .unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let index: Vec<Value> = serde_json::from_slice(&index).unwrap();
        assert!(index.len() > 20, "{} is cut", folder.display());
        for case in index {
            cases += 1;
            let read =
                |field: &str| std::fs::read(folder.join(case[field].as_str().unwrap())).unwrap();
            let identity = String::from_utf8(read("identity")).unwrap();
            let got = result(&read("file"), &identity);
            // An object that does not open has neither warning nor values.
            for field in ["expect", "warn", "values"] {
                let expected = if field == "expect" || got["expect"] == "opens" {
                    &case[field]
                } else {
                    &Value::Null
                };
                if expected != &got[field] {
                    wrong.push(format!(
                        "{}: {field}: {} instead of {expected}",
                        case["case"], got
                    ));
                }
            }
            if got["rule"] != case["rule"] {
                println!(
                    "{}: rule {} where the index has {}",
                    case["case"], got["rule"], case["rule"]
                );
            }
        }
    }
    println!("{cases} cases");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Each rewrap has the outcome that its vector says; what is new opens to the same values, and so
/// does the answer of another implementation that stands beside it.
#[test]
fn every_rewrap_has_its_outcome() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors/rewrap");
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    let list = |name: &str| serde_json::from_str::<Vec<Value>>(&read(name)).unwrap();
    let opens: BTreeMap<String, Value> = list("opens.json")
        .into_iter()
        .map(|case| (case["case"].as_str().unwrap().to_owned(), case))
        .collect();
    let cases = list("index.json");
    assert!(cases.len() > 20, "the index is cut");
    let mut rewrapped = 0;
    for case in &cases {
        let text = |field: &str| case[field].as_str().unwrap();
        let name = text("case");
        let mut object = read_documents(read(text("file")).as_bytes())
            .unwrap()
            .remove(0)
            .object;
        let id = text("envelope");
        let ring = KeyRing::new(parse_identity_file(&read(text("identity"))).unwrap()).unwrap();
        let newest = parse_recipient_file(&read(text("newest")))
            .unwrap()
            .remove(0);
        let trusted: BTreeMap<String, String> =
            serde_json::from_value(case["trusted"].clone()).unwrap();
        let own: Vec<String> = serde_json::from_value(case["own"].clone()).unwrap();
        let successors = Successors {
            own: &own
                .iter()
                .map(|fingerprint| fingerprint.parse().unwrap())
                .collect(),
            newest: &newest,
            trusted: &TrustedRecipients::parse(&trusted).unwrap(),
        };
        let entry = &object["spec"]["envelopes"][id];
        let outcome = unwrap_envelope(id.parse().unwrap(), entry, &ring)
            .map_err(|error| error.code().name().to_owned())
            .and_then(|unwrapped| match unwrapped.succeed(&successors, &ring) {
                Ok(new) => Ok(new),
                Err(RewrapError::Unknown(who)) => {
                    let who: Vec<String> = who.iter().map(ToString::to_string).collect();
                    assert_eq!(json!(who), case["unknown"], "{name}");
                    Err("unknown".to_owned())
                }
                Err(RewrapError::Stanzas) => Err("stanzas".to_owned()),
                Err(error) => panic!("{name}: {error}"),
            });
        match outcome {
            Err(why) => assert_eq!(why, case["expect"], "{name}"),
            Ok(None) => assert_eq!(case["expect"], "current", "{name}"),
            Ok(Some(envelope)) => {
                assert_eq!(case["expect"], "rewraps", "{name}");
                assert_eq!(json!(envelope.recipients), case["to"], "{name}");
                object["spec"]["envelopes"][id] = json!({
                    "recipients": envelope.recipients, "ageFile": envelope.age_file,
                });
                let expected = &opens[name];
                let identity = read(expected["identity"].as_str().unwrap());
                let ours = object.to_string();
                for after in [ours, read(text("after"))] {
                    let got = result(after.as_bytes(), &identity);
                    for field in ["expect", "warn", "values"] {
                        assert_eq!(got[field], expected[field], "{name}: {field}");
                    }
                }
                rewrapped += 1;
            }
        }
    }
    assert_eq!(rewrapped, opens.len());
    println!("{} cases", cases.len());
}
