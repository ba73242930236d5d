//! Kubernetes' rules for names, as far as the format and the manifests need them.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

/// Is this an RFC 1123 label (namespaces): 1 to 63 of `[-a-z0-9]`, alphanumeric at both ends?
pub fn is_dns_label(text: &str) -> bool {
    let bytes = text.as_bytes();
    let inner = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-';
    bytes.len() <= 63
        && bytes.iter().all(inner)
        && bytes.first().is_some_and(|byte| *byte != b'-')
        && bytes.last().is_some_and(|byte| *byte != b'-')
}

/// Is this an RFC 1123 subdomain (names of Secrets): labels joined by dots, at most 253 in all?
pub fn is_dns_subdomain(text: &str) -> bool {
    text.len() <= 253
        && !text.is_empty()
        && text.split('.').all(|label| {
            let bytes = label.as_bytes();
            !bytes.is_empty()
                && bytes
                    .iter()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-')
                && bytes[0] != b'-'
                && bytes[bytes.len() - 1] != b'-'
        })
}

/// Is this a key that Kubernetes accepts in a Secret's `data`: 1 to 253 of `[-._a-zA-Z0-9]`, and
/// neither `.` nor anything that begins with `..`?
pub fn is_secret_key(text: &str) -> bool {
    (1..=253).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'))
        && text != "."
        && !text.starts_with("..")
}

/// 32 hex characters of the SHA-256 of something public, which stand for a text where it does not
/// fit. Nobody can make another text with the same characters.
pub fn digest(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest[..16].iter().fold(String::new(), |mut hex, byte| {
        // Writing into memory cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// Makes text from an untrusted file safe for a terminal and a log line: escapes control characters
/// and anything outside printable ASCII, and cuts it after 80 characters.
pub fn printable(text: &str) -> String {
    let mut out: String = text
        .chars()
        .take(80)
        .flat_map(char::escape_default)
        .collect();
    if text.chars().nth(80).is_some() {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_kubernetes() {
        assert!(is_dns_label("shop") && is_dns_label("a-1") && is_dns_label(&"a".repeat(63)));
        assert!(!is_dns_label("") && !is_dns_label("-a") && !is_dns_label("a-"));
        assert!(!is_dns_label("a.b") && !is_dns_label("A") && !is_dns_label(&"a".repeat(64)));
        assert!(is_dns_subdomain("a.b-c.d") && is_dns_subdomain(&"a".repeat(253)));
        assert!(!is_dns_subdomain("a..b") && !is_dns_subdomain(".a") && !is_dns_subdomain("a.-b"));
        assert!(!is_dns_subdomain("") && !is_dns_subdomain(&"a".repeat(254)));
        assert!(is_secret_key(".dockerconfigjson") && is_secret_key("A_b-c.9"));
        assert!(!is_secret_key("") && !is_secret_key(".") && !is_secret_key(".."));
        assert!(!is_secret_key("..a") && !is_secret_key("a/b") && !is_secret_key(&"a".repeat(254)));
    }

    #[test]
    fn escape_sequences_do_not_reach_a_terminal() {
        assert_eq!(printable("a\u{1b}[31mb\n"), "a\\u{1b}[31mb\\n");
        assert_eq!(printable(&"x".repeat(100)).chars().count(), 81);
    }
}
