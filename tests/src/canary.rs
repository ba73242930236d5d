//! Values that must not appear anywhere, and the search for them in every usual encoding.

use std::fmt::Write as _;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

/// Begins every secret value that a test seals.
pub const MARKER: &str = "cAnArY-7f3k9q2mX5-";

/// A value that no other test has.
pub fn unique_value() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    static SALT: LazyLock<u32> =
        LazyLock::new(|| jiff::Timestamp::now().subsec_nanosecond().unsigned_abs());
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{MARKER}{:x}-{count}-tAiL{}", *SALT, count * 7919)
}

/// How a secret may be spelt.
pub struct Needle {
    spellings: Vec<(&'static str, Vec<u8>)>,
}

impl Needle {
    /// The spellings of a secret: plain, base64 at each of the three alignments (also URL-safe),
    /// hex of either case.
    pub fn new(secret: &[u8]) -> Self {
        assert!(secret.len() >= 12, "a short needle is found by chance");
        let mut spellings = vec![("plain", secret.to_vec())];
        for (alignment, name) in ["base64", "base64 shifted by 1", "base64 shifted by 2"]
            .iter()
            .enumerate()
        {
            let shifted = [&b"xx"[..alignment], secret].concat();
            let text = BASE64_STANDARD.encode(&shifted);
            // Characters that also depend on the bytes around the secret are left out.
            let from = (alignment * 8).div_ceil(6);
            let to = shifted.len() * 8 / 6;
            let middle = &text[from..to];
            spellings.push((name, middle.into()));
            spellings.push((name, middle.replace('+', "-").replace('/', "_").into()));
        }
        let mut hex = String::new();
        for byte in secret {
            let _ = write!(hex, "{byte:02x}");
        }
        spellings.push(("hex", hex.to_uppercase().into()));
        spellings.push(("hex", hex.into()));
        Self { spellings }
    }

    /// The spelling that the haystack holds, if any.
    pub fn find(&self, haystack: &[u8]) -> Option<&'static str> {
        let holds =
            |needle: &[u8]| match (std::str::from_utf8(haystack), std::str::from_utf8(needle)) {
                (Ok(haystack), Ok(needle)) => haystack.contains(needle),
                _ => haystack
                    .windows(needle.len())
                    .any(|window| window == needle),
            };
        self.spellings
            .iter()
            .find(|(_, needle)| holds(needle))
            .map(|(name, _)| *name)
    }
}

/// [`MARKER`] as a needle.
pub fn marker() -> &'static Needle {
    static NEEDLE: LazyLock<Needle> = LazyLock::new(|| Needle::new(MARKER.as_bytes()));
    &NEEDLE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_is_found() {
        let secret = "s3cret?value>~with+all";
        let needle = Needle::new(secret.as_bytes());
        for before in ["", "a", "ab", "abc"] {
            for after in ["", "z", "zz"] {
                let text = format!("{before}{secret}{after}");
                assert!(
                    needle
                        .find(BASE64_STANDARD.encode(&text).as_bytes())
                        .is_some(),
                    "{text}"
                );
                let url_safe = base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(&text);
                assert!(needle.find(url_safe.as_bytes()).is_some(), "{text}");
            }
        }
        assert_eq!(needle.find(b"xs3cret?value>~with+allx"), Some("plain"));
        assert_eq!(
            needle.find(b"\xff\xfes3cret?value>~with+allx"),
            Some("plain")
        );
        assert_eq!(
            needle.find(b"7333637265743F76616C75653E7E776974682B616C6C"),
            Some("hex")
        );
        assert_eq!(needle.find(b"s3cret?value>~with+al"), None);
    }

    #[test]
    fn values_are_unique_and_marked() {
        assert_ne!(unique_value(), unique_value());
        assert_eq!(marker().find(unique_value().as_bytes()), Some("plain"));
    }
}
