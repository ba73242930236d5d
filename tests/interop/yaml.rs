//! What we write as YAML says the same to readers of YAML 1.1 and 1.2, in three languages.

use sealkit_core::keys::{Identity, KeyType, RecipientSet};
use sealkit_core::manifest::{read_documents, to_yaml};
use sealkit_core::sealed::{Context, Scope, seal};
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use crate::by_hand::object;
use crate::peers::{go, python, text};

/// Words that some reader takes for something else where they stand bare: bools and nulls in the
/// spellings of YAML 1.1, numbers, times and dates, words of the language.
const WORDS: &str = r#"
    yes Yes YES no No NO on On ON off Off OFF y Y n N true True TRUE false False FALSE
    null Null NULL ~
    0 -0 +1 012 0o14 0b101 0x1F 1e3 1E3 1e+3 1. .5 1.5 1_000 12345678901234567890
    .inf -.Inf .nan .NaN nan 12:30:45 190:20:30 1:30
    2001-01-01 2001-1-1 2001-12-14t21:59:43.10-05:00
    << = - --- ... ? : a: a:b # #x a#x &a *a !a | |- > >+ % @a `a` { } {} [ ] []
    , ' '' it's " "a" \ \n a\tb key ${HOME}
    é 日本語 🔑 מפתח
    dkygiqm6nibo27suvpmyknuwvetd3o33 22e45672345672345672345672345672
    22345672345672345672345672345672 2e345672345672345672345672345672
    12e4567890123456 1234567890123456 4be1c07d92aa6f03
    0000000000000000 12345678901234567890123456789012 1e345678901234567890123456789012
"#;

/// Texts with white space, or with characters that no editor shows.
const TEXTS: &[&str] = &[
    "",
    " ",
    "  ",
    " lead",
    "trail ",
    "\t",
    "tab\tinside",
    "\tlead",
    "trail\t",
    "\n",
    "\n\n",
    "\r",
    "a\nb",
    "a\n",
    "\na",
    "a\n\n  b\n",
    "a\r\nb",
    "a\rb",
    "- a\n- b",
    "a: b\nc: d\n",
    "# a\nb",
    "2001-12-14 21:59:43",
    "- a",
    "? a",
    ": a",
    "a: b",
    "a #x",
    "!!str a",
    "%YAML 1.1",
    "{a: b}",
    "[a, b]",
    "null # no",
    "{{ .VALUE }}",
    "ключ: значение",
    "e\u{301}",
    "\0",
    "\u{1}",
    "\u{1b}[31m",
    "\u{7f}",
    "\u{85}",
    "a\u{85}b",
    "\u{a0}",
    "\u{200b}",
    "\u{2028}",
    "a\u{2029}b",
    "\u{feff}",
    "\u{feff}a",
    "\u{e000}",
    "\u{fffd}",
    "\u{fffe}",
    "\u{ffff}",
    "\u{10ffff}",
];

#[test]
fn every_reader_reads_nasty_texts_as_they_are() {
    let nasty: Vec<&str> = WORDS
        .split_whitespace()
        .chain(TEXTS.iter().copied())
        .collect();
    let map: Map<String, Value> = nasty
        .iter()
        .map(|text| ((*text).to_owned(), (*text).into()))
        .collect();
    assert_eq!(map.len(), nasty.len());
    let lists: Vec<Value> = nasty
        .iter()
        .map(|text| json!([text, {*text: [*text]}]))
        .collect();
    let object = json!({
        "apiVersion": "sealkit.dev/v1beta1",
        "kind": "SealedSecret",
        "metadata": {"name": "db", "labels": map, "annotations": map},
        "spec": {"template": {"metadata": {"labels": map}}, "lists": lists, "same": nasty},
    });
    assert_readers_agree(&to_yaml(&[&object]).unwrap(), &object);
}

#[test]
fn every_reader_reads_long_texts_as_they_are() {
    let texts: Vec<String> = [
        "word ".repeat(100),
        "a".repeat(2_000),
        format!("{}: {}", "k".repeat(300), "v".repeat(300)),
        "line of text\n".repeat(50),
        format!("{} # no comment", "x ".repeat(200)),
    ]
    .into();
    let object = json!({"kind": "SealedSecret", "texts": texts, "map": {&texts[1][..900]: 1}});
    assert_readers_agree(&to_yaml(&[&object]).unwrap(), &object);
}

#[test]
fn every_reader_reads_a_sealed_object_as_it_is() {
    let set =
        RecipientSet::new([1, 2].map(|_| Identity::generate(KeyType::Hybrid).recipient().clone()))
            .unwrap();
    let context = Context::new(Scope::Strict, "shop", "1e3").unwrap();
    let values = ["yes", "null", "012", "1e3", "2001-01-01", "_", "-", "a.b"]
        .map(|key| (key.to_owned(), Zeroizing::new(key.as_bytes().to_vec())));
    let sealed = seal(&values.into(), &context, &set, false).unwrap();
    let envelopes = json!({sealed.id.as_str(): sealed.envelope});
    let object = object("shop", "1e3", "strict", &envelopes, &json!(sealed.values));
    let yaml = to_yaml(&[&object]).unwrap();
    // Quoted whatever the digits are: diffs show no noise when the next id is all digits.
    assert!(yaml.contains(&format!("\n    \"{}\":\n", sealed.id)));
    for fingerprint in set.fingerprints() {
        assert!(yaml.contains(&format!("- \"{fingerprint}\"\n")));
    }
    assert_readers_agree(&yaml, &object);
}

#[test]
fn readers_disagree_about_bare_words() {
    let [_, python, kubernetes, third] = readings("a: yes\nb: 012\nc: 2001-01-01\n");
    assert_eq!(
        python.1,
        json!({"a": true, "b": 10, "c": "datetime.date(2001, 1, 1)"})
    );
    assert_eq!(kubernetes.1, json!({"a": true, "b": 10, "c": "2001-01-01"}));
    assert_eq!(
        third.1,
        json!({"a": "yes", "b": 10, "c": "2001-01-01T00:00:00Z"})
    );
}

fn assert_readers_agree(yaml: &str, written: &Value) {
    for (reader, read) in readings(yaml) {
        assert_same(reader, &read, written);
    }
}

/// What core, Python's YAML 1.1 and Go's two readers make of a document.
fn readings(yaml: &str) -> [(&'static str, Value); 4] {
    let core = read_documents(yaml.as_bytes()).unwrap().remove(0).object;
    // What becomes a date, a set or bytes shows as Python writes it: different from the text.
    let load = "import json, sys, yaml\n\
        print(json.dumps(yaml.safe_load(sys.stdin.buffer), default=repr))";
    let python = text(python().args(["-c", load]), yaml.as_bytes());
    let go = text(&mut go("yaml", "yaml"), yaml.as_bytes());
    let (kubernetes, third) = go.split_once('\n').unwrap();
    [
        ("core", core),
        ("PyYAML", serde_json::from_str(&python).unwrap()),
        (
            "sigs.k8s.io/yaml",
            serde_json::from_str(kubernetes).unwrap(),
        ),
        ("gopkg.in/yaml.v3", serde_json::from_str(third).unwrap()),
    ]
}

/// Names the places where they differ: whole objects are too long to compare by eye.
fn assert_same(reader: &str, read: &Value, written: &Value) {
    fn differences(path: &str, read: &Value, written: &Value, found: &mut Vec<String>) {
        match (read, written) {
            (Value::Object(a), Value::Object(b)) if a.keys().eq(b.keys()) => {
                for (key, value) in a {
                    differences(&format!("{path}/{key:?}"), value, &b[key], found);
                }
            }
            (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
                for (index, (a, b)) in a.iter().zip(b).enumerate() {
                    differences(&format!("{path}/{index}"), a, b, found);
                }
            }
            (Value::Object(a), Value::Object(b)) => {
                let only = |a: &Map<String, Value>, b: &Map<String, Value>| {
                    a.keys()
                        .filter(|key| !b.contains_key(*key))
                        .cloned()
                        .collect::<Vec<_>>()
                };
                found.push(format!(
                    "{path}: read {:?}, written {:?}",
                    only(a, b),
                    only(b, a)
                ));
            }
            _ if read != written => found.push(format!("{path}: read {read}, written {written}")),
            _ => {}
        }
    }
    let mut found = Vec::new();
    differences("", read, written, &mut found);
    assert!(found.is_empty(), "{reader}:\n{}", found.join("\n"));
}
