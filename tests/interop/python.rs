//! The independent reader and writer of the format in Python, both ways.

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sealkit_core::keys::{Identity, KeyRing, KeyType, RecipientSet, parse_recipient_file};
use sealkit_core::manifest::{read_documents, to_yaml};
use sealkit_core::sealed::{Context, Opened, Scope, SealedObject, Search, open, seal, unwrap};
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use crate::by_hand::object;
use crate::peers::{python, run, text, tree};
use crate::random::Random;

const OBJECTS: usize = 30;

type Values = BTreeMap<String, Vec<u8>>;

#[test]
fn python_reader_agrees_with_every_published_vector() {
    for index in ["index.json", "independent/index.json", "rewrap/opens.json"] {
        let index = tree("tests/vectors").join(index);
        let cases: Vec<Value> = serde_json::from_slice(&std::fs::read(&index).unwrap()).unwrap();
        assert_eq!(
            read_index(&index),
            format!("{} passed, 0 failed\n", cases.len()),
            "{}",
            index.display()
        );
    }
}

#[test]
fn objects_sealed_by_core_open_in_the_python_reader() {
    let mut random = Random::new();
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &str| {
        std::fs::write(folder.path().join(name), content).unwrap();
    };
    let mut index = Vec::new();
    for number in 0..OBJECTS {
        let Draw {
            scope,
            namespace,
            name,
            keys,
            ..
        } = draw(&mut random, number);
        let context = Context::new(scope, &namespace, &name).unwrap();
        let set = RecipientSet::new(keys.iter().map(|key| key.recipient().clone())).unwrap();
        let (mut envelopes, mut texts, mut values) = (Map::new(), Map::new(), Map::new());
        // Several operations, as when values are set one by one; later ones replace.
        for _ in 0..=random.below(3) {
            let plain = draw_values(&mut random, number);
            let secret = plain
                .iter()
                .map(|(key, value)| (key.clone(), Zeroizing::new(value.clone())));
            let sealed = seal(&secret.collect(), &context, &set, random.below(2) == 0).unwrap();
            envelopes.insert(sealed.id.to_string(), json!(sealed.envelope));
            texts.extend(
                sealed
                    .values
                    .into_iter()
                    .map(|(key, text)| (key, text.into())),
            );
            values.extend(
                plain
                    .iter()
                    .map(|(key, value)| (key.clone(), encode(value))),
            );
        }
        let mut object = object(
            &namespace,
            &name,
            scope.name(),
            &envelopes.into(),
            &texts.into(),
        );
        // Every other one goes to new recipients, as in a rotation: the values stay as they are.
        let keys = if number % 2 == 0 {
            keys
        } else {
            let new = draw(&mut random, number).keys;
            rewrap(&mut object, &keys, &new);
            new
        };
        let (file, identity) = (format!("{number}.yaml"), format!("{number}.key"));
        write(&file, &to_yaml(&[object]).unwrap());
        write(
            &identity,
            &random
                .pick(&keys.iter().collect::<Vec<_>>())
                .to_secret_text(),
        );
        index.push(json!({
            "case": number.to_string(), "file": file, "identity": identity, "expect": "opens",
            "warn": null, "rule": null, "values": values,
        }));
    }
    write("index.json", &json!(index).to_string());
    let report = read_index(&folder.path().join("index.json"));
    assert_eq!(report, format!("{OBJECTS} passed, 0 failed\n"));
}

/// Seals the envelopes of an object to other keys.
fn rewrap(object: &mut Value, old: &[Identity], new: &[Identity]) {
    let ring = KeyRing::new(old.iter().cloned()).unwrap();
    let recipients = new.iter().map(|key| key.recipient().clone());
    let recipients = RecipientSet::new(recipients).unwrap();
    let sealed = SealedObject::parse(object).unwrap();
    for (id, one) in unwrap(&sealed, &ring, Search::Hinted).unwrap() {
        let envelope = one.seal_to(&recipients).unwrap();
        object["spec"]["envelopes"][id.as_str()] = json!(envelope);
    }
}

#[test]
fn objects_of_the_python_writer_open_in_core() {
    let mut random = Random::new();
    let mut requests = String::new();
    let mut expected = Vec::new();
    for number in 0..OBJECTS {
        let Draw {
            scope,
            namespace,
            name,
            keys,
            render,
        } = draw(&mut random, number);
        let values = draw_values(&mut random, number);
        let request = json!({
            "namespace": namespace, "name": name, "scope": scope.name(), "render": render,
            "recipients": keys.iter().map(|key| key.recipient().to_string()).collect::<Vec<_>>(),
            "values": values.iter().map(|(key, value)| (key.clone(), encode(value))).collect::<Map<_, _>>(),
        });
        requests.push_str(&format!("{request}\n"));
        expected.push((keys, render, values));
    }
    // One process for all: each start of Python costs as much as ten objects.
    let seal_lines = "import json, sys, writer\n\
        for line in sys.stdin: print('---\\n' + writer.seal(json.loads(line)))";
    let yaml = run(python().args(["-c", seal_lines]), requests.as_bytes());
    let documents = read_documents(&yaml).unwrap();
    assert_eq!(documents.len(), OBJECTS);
    for (document, (keys, render, values)) in documents.iter().zip(expected) {
        let sealed = SealedObject::parse(&document.object).unwrap();
        for key in &keys {
            let ring = KeyRing::new([key.clone()]).unwrap();
            let opened = open(&sealed, &ring, Search::Hinted).unwrap();
            assert_eq!(plain(&opened), values);
            assert!(opened.values.values().all(|value| value.render == render));
            assert!(opened.hint_mismatch.is_empty());
        }
    }
}

#[test]
fn keys_have_one_fingerprint_in_both() {
    for key_type in [KeyType::Hybrid, KeyType::Classic] {
        let key = Identity::generate(key_type);
        let name = "import reader, sys\n\
            print(*[f'{name} {key.recipient}' for name, key in reader.read_identities(sys.stdin.read()).items()])";
        let line = text(python().args(["-c", name]), key.to_secret_text().as_bytes());
        let (fingerprint, recipient) = line.trim().split_once(' ').unwrap();
        assert_eq!(fingerprint, key.fingerprint().to_string());
        assert_eq!(
            parse_recipient_file(recipient).unwrap(),
            [key.recipient().clone()]
        );
    }
}

/// What an object is sealed for and to.
struct Draw {
    scope: Scope,
    namespace: String,
    name: String,
    keys: Vec<Identity>,
    render: bool,
}

/// Every type with every scope, the rest as it comes.
fn draw(random: &mut Random, number: usize) -> Draw {
    let letters = "abcdefghijklmnopqrstuvwxyz0123456789";
    let key_type = [KeyType::Hybrid, KeyType::Classic][number % 2];
    let mut label = |longest: usize| {
        let length = random.below(longest) + 1;
        random.text(letters, length)
    };
    Draw {
        scope: [Scope::Strict, Scope::NamespaceWide, Scope::ClusterWide][number / 2 % 3],
        namespace: format!("{}-{}", label(30), label(30)),
        name: format!("{}.{}-{}", label(60), label(60), label(60)),
        keys: (0..=random.below(4))
            .map(|_| Identity::generate(key_type))
            .collect(),
        render: random.below(2) == 0,
    }
}

/// Lengths around each bucket's edge, one long value, any bytes.
fn draw_values(random: &mut Random, number: usize) -> Values {
    const EDGES: [usize; 16] = [
        0, 1, 16, 59, 60, 61, 123, 124, 125, 508, 509, 1_020, 1_021, 1_084, 1_085, 4_093,
    ];
    let mut values = Values::new();
    for index in 0..=random.below(6) {
        let alphabet = "abcxyzABCXYZ0123456789-_.";
        // A dot at the beginning could make `.` or `..`, which Kubernetes refuses.
        let length = random.below(40);
        let key = format!(
            "{}{}",
            random.pick(&["K", "_", "-", ".k", "0"]),
            random.text(alphabet, length)
        );
        let length = if index == 0 {
            EDGES[number % EDGES.len()]
        } else {
            random.below(300)
        };
        let bytes = random.bytes(length);
        values.insert(key, bytes);
    }
    if number.is_multiple_of(10) {
        let length = 60_000 + random.below(60_000);
        values.insert("LONG".to_owned(), random.bytes(length));
    }
    values
}

fn read_index(index: &Path) -> String {
    text(
        python()
            .args(["reader.py", "--rules", "--index"])
            .arg(index),
        b"",
    )
}

fn plain(opened: &Opened) -> Values {
    opened
        .values
        .iter()
        .map(|(key, value)| (key.clone(), value.bytes.to_vec()))
        .collect()
}

fn encode(value: &[u8]) -> Value {
    BASE64_STANDARD.encode(value).into()
}
