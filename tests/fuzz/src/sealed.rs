use std::sync::LazyLock;

use sealkit_core::keys::{
    Identity, KeyError, KeyRing, Recipient, parse_identity_file, parse_recipient_file,
};
use sealkit_core::sealed::{Code, SealedObject, Search, open, testing};
use serde_json::{Value, json};

use crate::says_nothing;

/// The keys of the seeds: public, like all under `tests/`.
const IDENTITIES: &str = include_str!("../seeds/identities.txt");

static KEYS: LazyLock<Vec<Identity>> = LazyLock::new(|| parse_identity_file(IDENTITIES).unwrap());
static RING: LazyLock<KeyRing> = LazyLock::new(|| KeyRing::new(KEYS.iter().cloned()).unwrap());

/// An object opens to what was sealed, or is refused; public checks never need a key.
pub fn object(bytes: &[u8]) {
    let Ok(value) = serde_json::from_slice::<Value>(bytes) else {
        return;
    };
    let sealed = match SealedObject::parse(&value) {
        Ok(sealed) => sealed,
        Err(error) => {
            assert_eq!(error.code(), Code::InvalidSpec);
            return says_nothing(&error.to_string());
        }
    };
    for search in [Search::Hinted, Search::Exhaustive] {
        match open(&sealed, &RING, search) {
            Ok(opened) => assert_eq!(opened.values.len(), sealed.keys().count()),
            Err(error) => {
                assert_ne!(error.code(), Code::InvalidSpec);
                says_nothing(&error.to_string());
            }
        }
    }
}

/// A header is read in bounded time or refused.
pub fn age_file(bytes: &[u8]) {
    if let Err(error) = testing::open_age_file(bytes.to_vec(), &KEYS) {
        says_nothing(&error.to_string());
    }
}

/// An envelope's plaintext has one spelling.
pub fn envelope(bytes: &[u8]) {
    match testing::decode_envelope(bytes) {
        Ok(again) => assert_eq!(again.as_slice(), bytes),
        Err(error) => says_nothing(&error.to_string()),
    }
}

/// A value and its key in an object with a good envelope.
pub fn value(bytes: &[u8]) {
    static OBJECT: LazyLock<Value> = LazyLock::new(|| {
        serde_json::from_str(include_str!("../seeds/object/classic.json")).unwrap()
    });
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let (key, text) = text.split_once('\n').unwrap_or(("password", text));
    let mut object = OBJECT.clone();
    let original = object["spec"]["encryptedData"].clone();
    object["spec"]["encryptedData"] = json!({key: text});
    let same = original.get(key).and_then(Value::as_str) == Some(text);
    let opened =
        SealedObject::parse(&object).and_then(|sealed| open(&sealed, &RING, Search::Hinted));
    match opened {
        Ok(opened) => assert!(
            same && opened.values.contains_key(key),
            "opened another text"
        ),
        Err(error) => {
            assert!(!same, "the original does not open");
            says_nothing(&error.to_string());
        }
    }
}

/// A key has one spelling, and no message quotes one.
pub fn keys(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    for line in text.lines() {
        if let Ok(recipient) = line.parse::<Recipient>() {
            assert_eq!(recipient.to_string(), line);
        }
        if let Ok(identity) = line.parse::<Identity>() {
            assert_eq!(identity.to_secret_text().as_str(), line);
        }
    }
    let told = |error: KeyError| says_nothing(&error.to_string());
    parse_recipient_file(text).map_or_else(told, drop);
    parse_identity_file(text).map_or_else(told, drop);
}
