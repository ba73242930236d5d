//! The age test kit (C2SP's CCTV), file by file, through the age layer of envelopes.

use std::collections::BTreeMap;

use sealkit_core::keys::{Identity, parse_identity_file};
use sealkit_core::sealed::{OpenError, Rule, testing};
use sha2::{Digest, Sha256};

use crate::peers::{go, text};

/// All vectors of the pinned kit: one that goes missing must be noticed.
const TOTAL: usize = 147;
/// Those with the types of keys and the encoding that envelopes have.
const IN_SCOPE: usize = 85;

/// Vectors of encodings and keys that no envelope has: armor, passphrases.
const OUT_OF_SCOPE: [&str; 62] = [
    "armor_cr_between_padding",
    "armor_cr_in_body",
    "armor_cr_line_start",
    "armor_crlf",
    "armor_double_crlf",
    "armor_empty",
    "armor_empty_last_line",
    "armor_empty_line_begin",
    "armor_empty_line_end",
    "armor_eol_between_padding",
    "armor_full_last_line",
    "armor_garbage_encoded",
    "armor_garbage_leading",
    "armor_garbage_trailing",
    "armor_header_crlf",
    "armor_headers",
    "armor_hybrid",
    "armor_invalid_character_header",
    "armor_invalid_character_payload",
    "armor_long_line",
    "armor_lowercase",
    "armor_no_end_line",
    "armor_no_eol",
    "armor_no_match",
    "armor_no_padding",
    "armor_not_canonical",
    "armor_pgp_checksum",
    "armor_scrypt",
    "armor_short_line",
    "armor_whitespace_begin",
    "armor_whitespace_end",
    "armor_whitespace_eol",
    "armor_whitespace_last_line",
    "armor_whitespace_line_start",
    "armor_whitespace_outside",
    "armor_wrong_type",
    "armor_x25519",
    "scrypt",
    "scrypt_and_x25519",
    "scrypt_bad_tag",
    "scrypt_double",
    "scrypt_extra_argument",
    "scrypt_long_file_key",
    "scrypt_no_match",
    "scrypt_not_canonical_body",
    "scrypt_not_canonical_salt",
    "scrypt_salt_long",
    "scrypt_salt_missing",
    "scrypt_salt_short",
    "scrypt_uppercase",
    "scrypt_work_factor_23",
    "scrypt_work_factor_hex",
    "scrypt_work_factor_leading_garbage",
    "scrypt_work_factor_leading_plus",
    "scrypt_work_factor_leading_zero_decimal",
    "scrypt_work_factor_leading_zero_octal",
    "scrypt_work_factor_missing",
    "scrypt_work_factor_negative",
    "scrypt_work_factor_overflow",
    "scrypt_work_factor_trailing_garbage",
    "scrypt_work_factor_wrong",
    "scrypt_work_factor_zero",
];

/// Vectors whose result differs from the kit's: the rule that refuses them here, and why.
const DIFFERENCES: [(Rule, &[&str], &str); 5] = [
    (
        Rule::StanzaMixed,
        &["hybrid_and_x25519"],
        "the kit's file opens: age checks the labels of recipients when sealing, we also when opening",
    ),
    (
        Rule::StanzaUnknown,
        &[
            "hybrid_grease",
            "hybrid_uppercase",
            "stanza_empty_body",
            "stanza_empty_last_line",
            "stanza_multiple_short_lines",
            "stanza_valid_characters",
            "x25519_grease",
            "x25519_lowercase",
        ],
        "a stanza of an unknown type might be for a reader that `to` cannot name; the kit's grease \
         is named `grease`, that of age's writers ends in `-grease`",
    ),
    (
        Rule::StanzaDoesNotOpen,
        &[
            "hybrid_identity",
            "hybrid_low_order",
            "x25519_identity",
            "x25519_low_order",
        ],
        "not a fault of the whole header: the stanza of the next hint is still tried",
    ),
    (
        Rule::AgePayload,
        &["stream_no_nonce", "stream_short_nonce"],
        "what follows the header is not public text: a fault there needs a key to be reported",
    ),
    (
        Rule::AgeFileSize,
        &[
            "stream_257_chunks",
            "stream_257_chunks_full",
            "stream_258_chunks",
            "stream_bad_tag_second_chunk",
            "stream_bad_tag_second_chunk_full",
            "stream_last_chunk_empty",
            "stream_last_chunk_full",
            "stream_last_chunk_full_second",
            "stream_no_final_full",
            "stream_no_final_two_chunks",
            "stream_no_final_two_chunks_full",
            "stream_short_second_chunk",
            "stream_three_chunks",
            "stream_trailing_garbage_long",
            "stream_trailing_garbage_short",
            "stream_two_chunks",
            "stream_two_final_chunks",
            "stream_two_final_chunks_full",
            "stream_two_final_chunks_second",
        ],
        "an envelope has at most 2,048 bytes after the header, a chunk of these 65,536",
    ),
];

struct Vector {
    name: String,
    expect: String,
    /// SHA-256 of the plaintext, where there is one.
    payload: Option<String>,
    identities: Vec<Identity>,
    armored: bool,
    passphrase: bool,
    file: Vec<u8>,
}

#[test]
fn vectors_of_accepted_types_give_the_result_of_the_kit() {
    let vectors = vectors();
    let (out_of_scope, in_scope): (Vec<_>, Vec<_>) = vectors
        .iter()
        .partition(|vector| vector.armored || vector.passphrase);
    let names: Vec<_> = out_of_scope
        .iter()
        .map(|vector| vector.name.as_str())
        .collect();
    assert_eq!(names, OUT_OF_SCOPE);
    assert_eq!(in_scope.len(), IN_SCOPE);

    let mut differences: BTreeMap<&str, Rule> = DIFFERENCES
        .iter()
        .flat_map(|(rule, names, _)| names.iter().map(|name| (*name, *rule)))
        .collect();
    let mut wrong = Vec::new();
    for vector in in_scope {
        let opened = testing::open_age_file(vector.file.clone(), &vector.identities);
        let expected = differences.remove(vector.name.as_str());
        if !vector.agrees(
            expected,
            opened.as_ref().map(|plaintext| plaintext.as_slice()),
        ) {
            let result = opened.map(|plaintext| plaintext.len());
            wrong.push(format!("{}, {}: {result:?}", vector.name, vector.expect));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(differences.is_empty(), "not in the kit: {differences:?}");
}

impl Vector {
    /// Is this the result that the kit expects, or the rule of a known difference?
    fn agrees(&self, difference: Option<Rule>, opened: Result<&[u8], &OpenError>) -> bool {
        match (opened, self.expect.as_str()) {
            (Err(error), _) if difference.is_some() => difference == Some(error.rule),
            (Ok(plaintext), "success") if difference.is_none() => {
                self.payload == Some(format!("{:x}", Sha256::digest(plaintext)))
            }
            (Err(error), "no match") => error.rule == Rule::StanzaDoesNotOpen,
            (Err(error), "HMAC failure") => error.rule == Rule::AgeMac,
            (Err(error), "payload failure") => error.rule == Rule::AgePayload,
            (Err(error), "header failure") => {
                matches!(error.rule, Rule::AgeHeader | Rule::StanzaShape)
            }
            _ => false,
        }
    }
}

/// The kit, as its Go module embeds it.
fn vectors() -> Vec<Vector> {
    let folder = tempfile::tempdir().unwrap();
    let written = text(go("cctv", "cctv").arg(folder.path()), b"");
    let mut vectors: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let bytes = std::fs::read(entry.path()).unwrap();
            parse(entry.file_name().into_string().unwrap(), &bytes)
        })
        .collect();
    vectors.sort_by(|a, b| a.name.cmp(&b.name));
    assert_eq!(written.trim(), TOTAL.to_string());
    assert_eq!(vectors.len(), TOTAL);
    vectors
}

/// Lines of `key: value`, an empty line, the age file.
fn parse(name: String, bytes: &[u8]) -> Vector {
    let end = bytes.windows(2).position(|pair| pair == b"\n\n").unwrap();
    let header = std::str::from_utf8(&bytes[..end]).unwrap();
    let fields: Vec<(&str, &str)> = header
        .lines()
        .map(|line| line.split_once(": ").unwrap())
        .collect();
    let known = [
        "expect",
        "payload",
        "file key",
        "identity",
        "passphrase",
        "armored",
        "compressed",
        "comment",
    ];
    assert!(fields.iter().all(|(key, _)| known.contains(key)), "{name}");
    let all = |key| {
        fields
            .iter()
            .filter(move |field| field.0 == key)
            .map(|field| field.1)
    };
    Vector {
        expect: all("expect").next().unwrap().to_owned(),
        payload: all("payload").next().map(str::to_owned),
        identities: all("identity")
            .flat_map(|key| parse_identity_file(key).unwrap())
            .collect(),
        armored: all("armored").any(|armored| armored == "yes"),
        passphrase: all("passphrase").next().is_some(),
        file: bytes[end + 2..].to_vec(),
        name,
    }
}
