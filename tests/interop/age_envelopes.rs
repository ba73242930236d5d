//! Envelopes of ours opened with Go's age and with typage, and theirs opened by us.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sealkit_core::keys::{Identity, KeyRing, KeyType, RecipientSet};
use sealkit_core::sealed::{Context, EnvelopeId, Rule, Scope, SealedObject, Search, open, seal};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::age_keys::TYPES;
use crate::by_hand::{Envelope, object};
use crate::peers::{go, run, text, typage};
use crate::random::Random;

/// Another implementation of age.
#[derive(Clone, Copy, Debug)]
enum Peer {
    /// Go's, the reference.
    Go,
    /// JavaScript's.
    Typage,
}

const PEERS: [Peer; 2] = [Peer::Go, Peer::Typage];

#[test]
fn envelopes_of_core_open_with_age_for_each_recipient() {
    let scopes = [Scope::Strict, Scope::NamespaceWide, Scope::ClusterWide];
    for ((key_type, _), count) in TYPES
        .into_iter()
        .zip([1, 3])
        .chain(TYPES.into_iter().zip([3, 1]))
    {
        for (scope, render) in scopes.into_iter().zip([false, true, false]) {
            let identities = keys(key_type, count);
            let recipients = identities.iter().map(|key| key.recipient().clone());
            let set = RecipientSet::new(recipients).unwrap();
            let context = Context::new(scope, "shop", "db").unwrap();
            let values =
                BTreeMap::from([("PASSWORD".to_owned(), Zeroizing::new(b"tr0ub4dor".to_vec()))]);
            let sealed = seal(&values, &context, &set, render).unwrap();

            let file = BASE64_STANDARD.decode(&sealed.envelope.age_file).unwrap();
            let pairs = identities
                .iter()
                .flat_map(|identity| PEERS.map(|peer| (identity, peer)));
            for (identity, peer) in pairs {
                let plaintext = peer.decrypt(&file, identity);
                let fields: Value = serde_json::from_slice(&plaintext).unwrap();
                let key = BASE64_STANDARD
                    .decode(fields["key"].as_str().unwrap())
                    .unwrap();
                let envelope = Envelope {
                    id: sealed.id.as_str(),
                    scope: scope.name(),
                    namespace: context.namespace(),
                    name: context.name(),
                    render,
                    to: &fingerprints(&identities),
                    key: key.try_into().unwrap(),
                };
                assert_eq!(String::from_utf8(plaintext).unwrap(), envelope.plaintext());
                let value = envelope.open("PASSWORD", &sealed.values["PASSWORD"]);
                assert_eq!(value, b"tr0ub4dor");
            }
        }
    }
}

#[test]
fn envelopes_made_with_age_open_in_core_for_each_recipient() {
    for ((key_type, _), peer) in TYPES.into_iter().flat_map(|t| PEERS.map(|peer| (t, peer))) {
        for count in [1, 2, 5] {
            let identities = keys(key_type, count);
            let to = fingerprints(&identities);
            let object = object_made_with(peer, &identities, &to);
            let sealed = SealedObject::parse(&object).unwrap();
            for identity in &identities {
                let ring = KeyRing::new([identity.clone()]).unwrap();
                let opened = open(&sealed, &ring, Search::Hinted).unwrap();
                assert_eq!(*opened.values["TOKEN"].bytes, b"from another hand");
                assert!(opened.hint_mismatch.is_empty());
                let envelope = opened.envelopes.values().next().unwrap();
                assert_eq!(envelope.opened_by, identity.fingerprint());
                assert_eq!(envelope.key_type, key_type);
                assert_eq!(
                    envelope.to,
                    identities
                        .iter()
                        .map(Identity::fingerprint)
                        .collect::<Vec<_>>()
                );
            }
        }
    }
}

#[test]
fn stanzas_in_another_order_than_to_open_and_are_reported() {
    for (key_type, _) in TYPES {
        let mut identities = keys(key_type, 3);
        let to = fingerprints(&identities);
        identities.reverse();
        let sealed = SealedObject::parse(&object_made_with(Peer::Go, &identities, &to)).unwrap();
        for identity in &identities {
            let ring = KeyRing::new([identity.clone()]).unwrap();
            let opened = open(&sealed, &ring, Search::Hinted).unwrap();
            assert_eq!(*opened.values["TOKEN"].bytes, b"from another hand");
            assert_eq!(opened.hint_mismatch.len(), 1);
        }
    }
}

#[test]
fn armored_files_of_age_are_refused() {
    let identities = keys(KeyType::Classic, 1);
    let to = fingerprints(&identities);
    let mut object = object_made_with(Peer::Go, &identities, &to);
    let armored = encrypt_with_go(b"{}", &identities, &["--armor"]);
    for envelope in object["spec"]["envelopes"]
        .as_object_mut()
        .unwrap()
        .values_mut()
    {
        envelope["ageFile"] = BASE64_STANDARD.encode(&armored).into();
    }
    assert_eq!(
        SealedObject::parse(&object).unwrap_err().rule,
        Rule::AgeHeader
    );
}

/// An object with one value, whose envelope `peer` encrypted: stanzas and hints in the order of
/// `identities`.
fn object_made_with(peer: Peer, identities: &[Identity], to: &[String]) -> Value {
    let mut random = Random::new();
    let key: [u8; 32] = random.bytes(32).try_into().unwrap();
    let id = EnvelopeId::of(&key, false);
    let envelope = Envelope {
        id: id.as_str(),
        scope: "strict",
        namespace: "shop",
        name: "db",
        render: false,
        to,
        key,
    };
    let file = peer.encrypt(envelope.plaintext().as_bytes(), identities);
    let hints: Vec<_> = identities
        .iter()
        .map(|key| key.fingerprint().to_string())
        .collect();
    let nonce = random.bytes(24).try_into().unwrap();
    object(
        "shop",
        "db",
        "strict",
        &json!({id.as_str(): {"recipients": hints, "ageFile": BASE64_STANDARD.encode(file)}}),
        &json!({"TOKEN": envelope.seal("TOKEN", nonce, b"from another hand")}),
    )
}

/// New keys in the order of fingerprints.
fn keys(key_type: KeyType, count: usize) -> Vec<Identity> {
    let mut keys: Vec<_> = (0..count).map(|_| Identity::generate(key_type)).collect();
    keys.sort_by_key(Identity::fingerprint);
    keys
}

fn fingerprints(identities: &[Identity]) -> Vec<String> {
    identities
        .iter()
        .map(|key| key.fingerprint().to_string())
        .collect()
}

impl Peer {
    fn encrypt(self, plaintext: &[u8], to: &[Identity]) -> Vec<u8> {
        match self {
            Self::Go => encrypt_with_go(plaintext, to, &[]),
            Self::Typage => {
                let to = to.iter().map(|identity| identity.recipient().to_string());
                ask_typage(&json!({
                    "recipients": to.collect::<Vec<_>>(),
                    "plaintext": BASE64_STANDARD.encode(plaintext),
                }))
            }
        }
    }

    fn decrypt(self, file: &[u8], identity: &Identity) -> Vec<u8> {
        let secret = identity.to_secret_text();
        match self {
            Self::Go => {
                let folder = tempfile::tempdir().unwrap();
                let key = folder.path().join("key.txt");
                std::fs::write(&key, secret.as_bytes()).unwrap();
                run(go("age", "age").args(["--decrypt", "-i"]).arg(key), file)
            }
            Self::Typage => ask_typage(&json!({
                "identity": secret.as_str(),
                "file": BASE64_STANDARD.encode(file),
            })),
        }
    }
}

fn encrypt_with_go(plaintext: &[u8], to: &[Identity], options: &[&str]) -> Vec<u8> {
    let mut age = go("age", "age");
    age.arg("--encrypt").args(options);
    for identity in to {
        age.arg("-r").arg(identity.recipient().to_string());
    }
    run(&mut age, plaintext)
}

fn ask_typage(request: &Value) -> Vec<u8> {
    let answer = text(&mut typage(), format!("{request}\n").as_bytes());
    BASE64_STANDARD.decode(answer.trim()).unwrap()
}

#[test]
fn typage_knows_the_public_half_of_our_keys() {
    for (key_type, _) in TYPES {
        let identity = Identity::generate(key_type);
        let request = json!({"identity": identity.to_secret_text().as_str()});
        let answer = text(&mut typage(), format!("{request}\n").as_bytes());
        assert_eq!(answer.trim(), identity.recipient().to_string());
    }
}
