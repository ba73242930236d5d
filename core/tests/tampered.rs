//! A hundred thousand tampered objects, none of which opens.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::thread;

use sealkit_core::keys::{Identity, KeyRing, KeyType, RecipientSet};
use sealkit_core::sealed::{Code, Context, Scope, SealedObject, Search, open, seal};
use serde_json::{Value, json};
use zeroize::Zeroizing;

const OBJECTS: usize = 100_000;
const THREADS: usize = 4;

/// `SplitMix64`.
fn next(state: &mut u64) -> usize {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    usize::try_from((z ^ (z >> 31)) >> 1).unwrap()
}

struct World {
    ring: KeyRing,
    /// Of several scopes, names and key types; two envelopes and three values in each.
    originals: Vec<Value>,
}

fn world() -> World {
    let keys = [KeyType::Classic, KeyType::Classic, KeyType::Hybrid].map(Identity::generate);
    let mut originals = Vec::new();
    for (index, key) in keys.iter().enumerate() {
        let set = RecipientSet::new([key.recipient().clone()]).unwrap();
        for scope in [Scope::Strict, Scope::NamespaceWide, Scope::ClusterWide] {
            let name = format!("db-{index}");
            let context = Context::new(scope, "shop", &name).unwrap();
            let mut object = json!({
                "metadata": {"name": name, "namespace": "shop"},
                "spec": {"scope": scope.name(), "envelopes": {}, "encryptedData": {}},
            });
            for names in [&["A", "B"][..], &["C"]] {
                let value = |name: &&str| ((*name).to_owned(), Zeroizing::new(b"secret".to_vec()));
                let values: BTreeMap<_, _> = names.iter().map(value).collect();
                let sealed = seal(&values, &context, &set, false).unwrap();
                object["spec"]["envelopes"][sealed.id.as_str()] = json!(sealed.envelope);
                for (name, text) in sealed.values {
                    object["spec"]["encryptedData"][name] = text.into();
                }
            }
            originals.push(object);
        }
    }
    World {
        ring: KeyRing::new(keys).unwrap(),
        originals,
    }
}

/// A change that nobody makes by accident, in one of eight ways. Returns which.
fn tamper(world: &World, state: &mut u64) -> (Value, usize) {
    let count = world.originals.len();
    let index = next(state) % count;
    let mut object = world.originals[index].clone();
    // Of another scope: a value may move where its scope lets it, that is what scopes are for.
    let other = &world.originals[(index + 1 + next(state) % 2 + 3 * (next(state) % 3)) % count];
    let other = if other["spec"]["scope"] == object["spec"]["scope"] {
        &world.originals[(index + 1) % count]
    } else {
        other
    };
    let values = |object: &Value| object["spec"]["encryptedData"].clone();
    let key = ["A", "B", "C"][next(state) % 3];
    let way = next(state) % 8;
    match way {
        // A character of a value, of its id or of its prefix.
        0 => {
            let text = object["spec"]["encryptedData"][key]
                .as_str()
                .unwrap()
                .to_owned();
            object["spec"]["encryptedData"][key] = flip(&text, state).into();
        }
        // A character of an envelope.
        1 => {
            let envelopes = object["spec"]["envelopes"].as_object_mut().unwrap();
            let envelope = envelopes.values_mut().nth(next(state) % 2).unwrap();
            let text = envelope["ageFile"].as_str().unwrap().to_owned();
            envelope["ageFile"] = flip(&text, state).into();
        }
        // Two values change places.
        2 => {
            let all = values(&object);
            let with = if key == "A" { "B" } else { "A" };
            object["spec"]["encryptedData"][key] = all[with].clone();
            object["spec"]["encryptedData"][with] = all[key].clone();
        }
        // A value of another object, with its envelope.
        3 => {
            let foreign = values(other)[key].clone();
            let id = foreign
                .as_str()
                .unwrap()
                .split('.')
                .nth(1)
                .unwrap()
                .to_owned();
            object["spec"]["encryptedData"][key] = foreign;
            object["spec"]["envelopes"][&id] = other["spec"]["envelopes"][&id].clone();
        }
        // An envelope under the id of another.
        4 => {
            let envelopes = object["spec"]["envelopes"].as_object_mut().unwrap();
            let ids: Vec<String> = envelopes.keys().cloned().collect();
            let (a, b) = (envelopes[&ids[0]].clone(), envelopes[&ids[1]].clone());
            envelopes.insert(ids[0].clone(), b);
            envelopes.insert(ids[1].clone(), a);
        }
        // Another name, namespace or scope.
        5 => {
            let strict = object["spec"]["scope"] == "strict";
            let wide = object["spec"]["scope"] == "cluster-wide";
            match next(state) % 3 {
                0 if strict => object["metadata"]["name"] = "moved".into(),
                1 if !wide => object["metadata"]["namespace"] = "moved".into(),
                _ => {
                    let scopes = ["strict", "namespace-wide", "cluster-wide"];
                    let now = scopes
                        .iter()
                        .position(|scope| object["spec"]["scope"] == *scope);
                    let then = (now.unwrap() + 1 + next(state) % 2) % 3;
                    object["spec"]["scope"] = scopes[then].into();
                }
            }
        }
        // A value under another key.
        6 => {
            let all = object["spec"]["encryptedData"].as_object_mut().unwrap();
            let value = all.remove(key).unwrap();
            all.insert(format!("{key}2"), value);
        }
        // Cut or extended.
        _ => {
            let text = object["spec"]["encryptedData"][key].as_str().unwrap();
            let text = if next(state).is_multiple_of(2) {
                text[..text.len() - 1 - next(state) % 60].to_owned()
            } else {
                format!("{text}{}", "A".repeat(1 + next(state) % 100))
            };
            object["spec"]["encryptedData"][key] = text.into();
        }
    }
    (object, way)
}

/// Another letter of either alphabet in place of one.
fn flip(text: &str, state: &mut u64) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_=.";
    let mut bytes = text.as_bytes().to_vec();
    let at = next(state) % bytes.len();
    let old = bytes[at];
    while bytes[at] == old {
        bytes[at] = LETTERS[next(state) % LETTERS.len()];
    }
    String::from_utf8(bytes).unwrap()
}

#[test]
fn a_hundred_thousand_tampered_objects_stay_closed() {
    let world = world();
    for original in &world.originals {
        let sealed = SealedObject::parse(original).unwrap();
        let opened = open(&sealed, &world.ring, Search::Hinted).map(|opened| opened.values.len());
        assert_eq!(opened, Ok(3), "the originals open");
    }
    let totals: Vec<BTreeMap<(usize, Code), usize>> = thread::scope(|scope| {
        let run = |thread: usize| {
            let world = &world;
            move || {
                let mut state = 20_260_117 + thread as u64;
                let mut refused = BTreeMap::new();
                for _ in 0..OBJECTS / THREADS {
                    let (object, way) = tamper(world, &mut state);
                    let opened = SealedObject::parse(&object)
                        .and_then(|sealed| open(&sealed, &world.ring, Search::Hinted));
                    let code = match opened {
                        Ok(_) => panic!("way {way} opened: {object}"),
                        Err(error) => error.code(),
                    };
                    *refused.entry((way, code)).or_default() += 1;
                }
                refused
            }
        };
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| scope.spawn(run(thread)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    let mut codes = BTreeMap::<Code, usize>::new();
    for ((_, code), count) in totals.iter().flatten() {
        *codes.entry(*code).or_default() += count;
    }
    println!("{codes:?}");
    assert_eq!(codes.values().sum::<usize>(), OBJECTS);
    for code in [Code::InvalidSpec, Code::DecryptFailed, Code::ScopeMismatch] {
        assert!(
            codes.get(&code).is_some_and(|count| *count > 1_000),
            "{codes:?}"
        );
    }
}
