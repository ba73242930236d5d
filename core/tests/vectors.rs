//! Replays vector folders: every case's code, warning and values.
//!
//! `tests/vectors` is ours, `tests/vectors/independent` was made by another implementation.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sealkit_core::keys::{KeyRing, parse_identity_file};
use sealkit_core::manifest::read_documents;
use sealkit_core::sealed::{OpenError, SealedObject, Search, open};
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
