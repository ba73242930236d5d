use std::collections::BTreeMap;
use std::sync::LazyLock;

use sealkit_core::keys::{Identity, KeyType, RecipientSet};
use sealkit_core::manifest::{
    Document, SealedEdit, SecretManifest, edit_sealed, read_documents, to_json, to_yaml,
};
use sealkit_core::sealed::{Context, Scope, Sealed, seal};
use serde_json::Value;
use zeroize::Zeroizing;

use crate::{CANARY, is_printable, says_nothing};

/// What is read can be written and is read the same.
pub fn documents(bytes: &[u8]) {
    let documents = match read_documents(bytes) {
        Ok(documents) => documents,
        Err(error) => return says_nothing(&error.to_string()),
    };
    let objects: Vec<&Value> = documents.iter().map(|document| &document.object).collect();
    for document in &documents {
        is_printable(&document.title());
    }
    // Items of Lists become documents, those of Lists in them too.
    let yaml = to_yaml(&objects).expect("what was read can be written");
    let again = read_documents(yaml.as_bytes()).expect("what was written can be read");
    let again: Vec<&Value> = again.iter().map(|document| &document.object).collect();
    assert_eq!(again, objects);
}

/// A Secret is taken apart or refused, and no refusal quotes it.
pub fn secret(bytes: &[u8]) {
    for document in read_documents(bytes).unwrap_or_default() {
        match SecretManifest::from_document(&document) {
            Ok(secret) => assert!(!secret.values.is_empty()),
            // Names of fields and keys are public, and told.
            Err(error) if has_canary_name(&document.object) => is_printable(&error.to_string()),
            Err(error) => says_nothing(&error.to_string()),
        }
    }
}

fn has_canary_name(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.iter().any(has_canary_name),
        Value::Object(map) => map
            .iter()
            .any(|(name, value)| name.contains(CANARY) || has_canary_name(value)),
        _ => false,
    }
}

/// JSON survives our YAML.
pub fn emit(bytes: &[u8]) {
    let Ok(value) = serde_json::from_slice::<Value>(bytes) else {
        return;
    };
    let object = serde_json::json!({"kind": "X", "spec": value});
    // Deeper than the reader goes, or larger.
    let text = object.to_string();
    let deep = text.matches(['[', '{']).count() > 60;
    // JSON's largest numbers have no exact place in the reader's model.
    let numbers = has_odd_number(&object);
    // YAML's keys have at most 1,024 characters, escapes counted; Kubernetes' have a third of it.
    if deep || numbers || has_long_key(&object) {
        return;
    }
    let yaml = to_yaml(&[&object]).expect("JSON can be YAML");
    let read = read_documents(yaml.as_bytes()).expect("our YAML can be read");
    assert_eq!(read[0].object, object, "{yaml}");
    let json = to_json(&[&object]).expect("JSON can be JSON");
    let read = read_documents(json.as_bytes()).expect("JSON is YAML");
    assert_eq!(read[0].object, object, "{json}");
}

fn has_long_key(value: &Value) -> bool {
    const LONGEST: usize = 1024 / "\\u0000".len();
    match value {
        Value::Array(items) => items.iter().any(has_long_key),
        Value::Object(map) => {
            let mut entries = map.iter();
            entries.any(|(key, value)| key.chars().count() > LONGEST || has_long_key(value))
        }
        _ => false,
    }
}

fn has_odd_number(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.as_i64().is_none(),
        Value::Array(items) => items.iter().any(has_odd_number),
        Value::Object(map) => map.values().any(has_odd_number),
        _ => false,
    }
}

static SEALED: LazyLock<Sealed> = LazyLock::new(|| {
    let key = Identity::generate(KeyType::Classic);
    let set = RecipientSet::new([key.recipient().clone()]).unwrap();
    let context = Context::new(Scope::Strict, "shop", "db").unwrap();
    let value = Zeroizing::new(b"new".to_vec());
    let values = BTreeMap::from([("password".to_owned(), value)]);
    seal(&values, &context, &set, false).unwrap()
});

/// A file takes a new value, loses one, takes an envelope in place of another, with everything
/// else as it was, or it is refused.
pub fn merge(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let before = match read_documents(text.as_bytes()) {
        Ok(documents) => documents,
        Err(error) => return says_nothing(&error.to_string()),
    };
    let Some(index) = before.iter().position(Document::is_sealed_secret) else {
        return;
    };
    let mut put = SealedEdit::default();
    put.put(&SEALED);
    let mut taken = SealedEdit::default();
    taken.values.insert("password".to_owned(), None);
    let mut rewrapped = SealedEdit::default();
    let envelopes = before[index].object.pointer("/spec/envelopes");
    if let Some((id, _)) = envelopes
        .and_then(Value::as_object)
        .and_then(|it| it.iter().next())
    {
        rewrapped
            .envelopes
            .insert(id.clone(), SEALED.envelope.clone());
    }
    for edit in [put, taken, rewrapped] {
        let edits = BTreeMap::from([(index, edit.clone())]);
        let edited = match edit_sealed(text, &before, &edits) {
            Ok(edited) => edited.text,
            Err(error) => {
                says_nothing(&error.to_string());
                continue;
            }
        };
        let after = read_documents(edited.as_bytes()).unwrap();
        assert_eq!(before.len(), after.len());
        for (number, (before, after)) in before.iter().zip(&after).enumerate() {
            if number == index {
                check_edit(&before.object, &after.object, &edit);
            } else {
                assert_eq!(before.object, after.object);
            }
        }
    }
}

fn check_edit(before: &Value, after: &Value, edit: &SealedEdit) {
    // A Secret without values needs neither map.
    let whole = |object: &Value| {
        let mut object = object.clone();
        for map in ["encryptedData", "envelopes"] {
            let map = &mut object["spec"][map];
            if map.is_null() {
                *map = serde_json::json!({});
            }
        }
        object
    };
    let (before, after) = (&whole(before), &whole(after));
    let values = after["spec"]["encryptedData"].as_object().unwrap();
    for (key, value) in &edit.values {
        assert_eq!(values.get(key).and_then(Value::as_str), value.as_deref());
    }
    let used: Vec<&str> = values
        .values()
        .filter_map(|value| value.as_str()?.split('.').nth(1))
        .collect();
    for (id, envelope) in after["spec"]["envelopes"].as_object().unwrap() {
        assert!(used.contains(&id.as_str()), "an envelope without values");
        if let Some(new) = edit.envelopes.get(id) {
            assert_eq!(*envelope, serde_json::json!(new));
        }
    }
    // Without what was edited, and without envelopes that nothing refers to, they are equal.
    let rest = |object: &Value| {
        let mut object = object.clone();
        let values = object["spec"]["encryptedData"].as_object_mut().unwrap();
        values.retain(|key, _| !edit.values.contains_key(key));
        let envelopes = object["spec"]["envelopes"].as_object_mut().unwrap();
        envelopes.retain(|id, _| !edit.envelopes.contains_key(id) && used.contains(&id.as_str()));
        object
    };
    assert_eq!(rest(before), rest(after));
}

/// Whatever a file holds, what is said of it points into it and can be printed.
pub fn lint(bytes: &[u8]) {
    use sealkit_core::lint::{FileKind, lint};
    use sealkit_core::references::{Graph, find};
    let lines = bytes.split(|byte| *byte == b'\n').count() + 1;
    let read = |_: &str| Some(Zeroizing::new(bytes.to_vec()));
    for kind in [FileKind::Manifest, FileKind::ChartTemplate, FileKind::Text] {
        for finding in lint(bytes, kind, &read).findings {
            assert!(finding.place.line >= 1 && finding.place.column >= 1);
            // UTF-16 has other line feeds.
            assert!(finding.place.line <= lines || bytes.contains(&0));
            is_printable(&finding.message);
        }
    }
    let mut graph = Graph::default();
    graph.add(find(&String::from_utf8_lossy(bytes), 0, &read));
    for missing in graph.missing() {
        is_printable(&missing.message());
    }
}
