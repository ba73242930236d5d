//! Private keys in any text: age, PEM of every kind, `OpenPGP`, SSH, `PuTTY`; in JSON strings and in
//! Base64 too. Talk of them is none.

use std::sync::LazyLock;

use base64::Engine as _;
use regex::Regex;
use zeroize::Zeroizing;

use super::{Finding, Rule};
use crate::keys::Identity;
use crate::manifest::Place;

/// Base64 characters that the smallest private key has, and no placeholder.
const SMALLEST: usize = 48;

/// A private key of age in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AgeKey<'a> {
    /// Bytes before it.
    pub offset: usize,
    /// Its text.
    pub text: &'a str,
}

/// All private keys of age, whatever is around them; only what really is one.
pub fn age_keys(bytes: &[u8]) -> Vec<AgeKey<'_>> {
    const MARK: &[u8] = b"AGE-SECRET-KEY-";
    /// Characters of a classic and of a hybrid one, each 32 bytes in Bech32.
    const LENGTHS: [usize; 2] = [
        "AGE-SECRET-KEY-1".len() + 58,
        "AGE-SECRET-KEY-PQ-1".len() + 58,
    ];
    static MARKS: LazyLock<Option<regex::bytes::Regex>> =
        LazyLock::new(|| regex::bytes::Regex::new("(?-u)AGE-SECRET-KEY-").ok());
    let mut found = Vec::new();
    let Some(marks) = MARKS.as_ref() else {
        return found;
    };
    let mut at = 0;
    while let Some(mark) = marks.find_at(bytes, at) {
        let offset = mark.start();
        let keys = LENGTHS.iter().filter_map(|length| {
            let text = std::str::from_utf8(bytes.get(offset..offset + length)?).ok()?;
            text.parse::<Identity>().ok()?;
            Some(AgeKey { offset, text })
        });
        found.extend(keys);
        at = offset + MARK.len();
    }
    found
}

/// The findings of a text.
pub(super) fn find(text: &str) -> Vec<Finding> {
    static MARKS: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new(
            "AGE-SECRET-KEY-|-----? ?BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)? ?-----?|PuTTY-User-Key-File-[0-9]|LS0tLS1CRUdJTi[A-Za-z0-9+/]+",
        )
        .ok()
    });
    let mut found = Vec::new();
    let Some(marks) = MARKS.as_ref() else {
        return found;
    };
    let mut ages = None;
    let mut lines = Lines {
        text,
        at: 0,
        line: 1,
    };
    for mark in marks.find_iter(text) {
        let (start, rest) = (mark.start(), &text[mark.end()..]);
        let kind = match mark.as_str() {
            word if word.starts_with('A') => {
                let ages = ages.get_or_insert_with(|| age_keys(text.as_bytes()));
                let key = ages.binary_search_by_key(&start, |key| key.offset);
                let key = key.ok().map(|at| &ages[at]);
                key.map(|key| ("of age".to_owned(), &text[start..start + key.text.len()]))
            }
            word if word.starts_with("PuTTY") => rest
                .contains("Private-Lines:")
                .then(|| ("of PuTTY".to_owned(), rest)),
            word if word.starts_with("LS0") => encoded(word).map(|kind| (kind, word)),
            word => has_body(rest).then(|| (kind_of(word), body(rest))),
        };
        if let Some((kind, key)) = kind {
            let place = lines.place(start);
            let message =
                format!("a private key ({kind}): anyone who can read the file can use it");
            found.push(Finding::new(
                Rule::PrivateKey,
                place,
                message,
                &[key.as_bytes()],
            ));
        }
    }
    found
}

/// In words, such as `PEM, RSA`.
fn kind_of(header: &str) -> String {
    let words = header.trim_matches(['-', ' ']).trim_start_matches("BEGIN ");
    let kind = words
        .trim_end_matches(" BLOCK")
        .trim_end_matches("PRIVATE KEY")
        .trim();
    match kind {
        "" => "PEM".to_owned(),
        "PGP" => "OpenPGP".to_owned(),
        "OPENSSH" => "OpenSSH".to_owned(),
        "ENCRYPTED" => "PEM, encrypted with a passphrase".to_owned(),
        kind => format!("PEM, {kind}"),
    }
}

/// What follows a header up to its end, or to where no key can go on.
fn body(rest: &str) -> &str {
    const LONGEST: usize = 64 * 1024;
    let rest = &rest[..rest.floor_char_boundary(LONGEST)];
    // Base64 has no dash: this is its end, or the beginning of another.
    &rest[..rest.find("----").unwrap_or(rest.len())]
}

/// Does a key follow its header? A JSON string spells line feeds with a backslash.
fn has_body(rest: &str) -> bool {
    let lines = body(rest).replace("\\r", "").replace("\\n", "\n");
    let lines = Zeroizing::new(lines);
    let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
    let mut length = 0;
    for line in lines.lines() {
        let line = line.trim_matches(|character: char| {
            !character.is_ascii_graphic() || "\"',+|>\\".contains(character)
        });
        // Headers such as `Proc-Type: 4,ENCRYPTED`.
        if line.is_empty() || (length == 0 && line.contains(": ")) {
            continue;
        }
        if !line.bytes().all(is_base64) {
            break;
        }
        length += line.len();
    }
    length >= SMALLEST
}

/// What kind of key this Base64 holds, if it does.
fn encoded(text: &str) -> Option<String> {
    let whole = &text[..text.len() / 4 * 4];
    let decoded = base64::prelude::BASE64_STANDARD.decode(whole).ok()?;
    let decoded = Zeroizing::new(decoded);
    let text = std::str::from_utf8(&decoded).ok()?;
    let first = text.lines().next()?;
    let is_key = first.contains("PRIVATE KEY") && has_body(&text[first.len()..]);
    is_key.then(|| format!("{}, in Base64", kind_of(first)))
}

/// Counts lines up to one offset after the other.
struct Lines<'a> {
    text: &'a str,
    at: usize,
    line: usize,
}

impl Lines<'_> {
    /// The place of an offset, which is not before the last one.
    fn place(&mut self, offset: usize) -> Place {
        let between = &self.text[self.at..offset];
        self.line += between.split('\n').count() - 1;
        self.at = offset;
        let start = self.text[..offset].rfind('\n').map_or(0, |at| at + 1);
        Place {
            line: self.line,
            column: self.text[start..offset].chars().count() + 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::KeyType;

    const BODY: &str = "MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g";

    fn places(text: &str) -> Vec<(usize, usize)> {
        let found = find(text);
        found
            .iter()
            .map(|finding| (finding.place.line, finding.place.column))
            .collect()
    }

    #[test]
    fn keys_of_age_are_found_and_no_talk_of_them() {
        let [classic, hybrid] = [KeyType::Classic, KeyType::Hybrid].map(Identity::generate);
        let (classic, hybrid) = (classic.to_secret_text(), hybrid.to_secret_text());
        let text = format!(
            "# AGE-SECRET-KEY-1...\nkey: {}\nx{}x",
            classic.as_str(),
            hybrid.as_str()
        );
        assert_eq!(places(&text), [(2, 6), (3, 2)]);
        assert_eq!(places(&"AGE-SECRET-KEY-".repeat(10_000)), []);
    }

    #[test]
    fn armoured_keys_are_found_however_they_are_spelled() {
        let pem = |kind: &str| format!("-----BEGIN {kind}-----\n{BODY}\n-----END {kind}-----\n");
        for kind in [
            "PRIVATE KEY",
            "RSA PRIVATE KEY",
            "EC PRIVATE KEY",
            "OPENSSH PRIVATE KEY",
            "ENCRYPTED PRIVATE KEY",
            "PGP PRIVATE KEY BLOCK",
        ] {
            let text = pem(kind);
            assert_eq!(places(&text), [(1, 1)], "{kind}");
            assert_eq!(places(&text.replace('\n', "\r\n")), [(1, 1)], "{kind}");
            let json = serde_json::json!({"a": 1, "key": text}).to_string();
            assert_eq!(places(&json), [(1, 15)], "{kind}");
            let encoded = base64::prelude::BASE64_STANDARD.encode(&text);
            assert_eq!(
                places(&format!("a:\n  client-key-data: {encoded}\n")),
                [(2, 20)],
                "{kind}"
            );
        }
        let headers =
            format!("-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\n{BODY}\n-----END");
        assert_eq!(places(&headers), [(1, 1)]);
        let ssh = format!("---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----\n{BODY}\n---- END");
        assert_eq!(places(&ssh), [(1, 1)]);
    }

    #[test]
    fn certificates_public_keys_and_examples_are_no_keys() {
        for text in [
            format!("-----BEGIN CERTIFICATE-----\n{BODY}\n-----END CERTIFICATE-----\n"),
            format!("-----BEGIN PUBLIC KEY-----\n{BODY}\n-----END PUBLIC KEY-----\n"),
            "-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----\n".to_owned(),
            "-----BEGIN PRIVATE KEY-----\nMIIE...\n-----END PRIVATE KEY-----\n".to_owned(),
            "grep -e '-----BEGIN PRIVATE KEY-----' *\n".to_owned(),
            format!("-----BEGIN AGE ENCRYPTED FILE-----\n{BODY}\n-----END"),
            base64::prelude::BASE64_STANDARD
                .encode(format!("-----BEGIN CERTIFICATE-----\n{BODY}\n")),
        ] {
            assert_eq!(places(&text), [], "{text}");
        }
    }
}
