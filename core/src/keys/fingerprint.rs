//! The name of a key pair.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

/// Fingerprint of a key pair: the first 16 bytes of SHA-256 over the lower-case recipient string.
///
/// `Display` writes all 32 hex characters, as they are stored; [`Fingerprint::short`] returns the
/// 16 that people see. The order is that of the hex text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 16]);

impl Fingerprint {
    /// The fingerprint of the key whose canonical recipient string this is.
    pub(crate) fn of_recipient_text(recipient: &str) -> Self {
        let digest = Sha256::digest(recipient.as_bytes());
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        Self(bytes)
    }

    /// The first 16 hex characters, for people.
    pub fn short(&self) -> String {
        self.to_string()[..16].to_owned()
    }

    /// Several short fingerprints for people, separated by commas.
    pub fn short_list<'a>(fingerprints: impl IntoIterator<Item = &'a Self>) -> String {
        let short: Vec<String> = fingerprints.into_iter().map(Self::short).collect();
        short.join(", ")
    }
}

impl FromStr for Fingerprint {
    type Err = ();

    /// Accepts exactly 32 lower-case hex characters.
    fn from_str(text: &str) -> Result<Self, ()> {
        let hex = text.as_bytes();
        if hex.len() != 32 {
            return Err(());
        }
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Ok(byte - b'0'),
            b'a'..=b'f' => Ok(byte - b'a' + 10),
            _ => Err(()),
        };
        let mut bytes = [0; 16];
        for (byte, pair) in bytes.iter_mut().zip(hex.chunks_exact(2)) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_strict_and_reads_back() {
        let text = "b99cab502b61ae411e7109b89c75b05a";
        let parsed: Fingerprint = text.parse().unwrap();
        assert_eq!(parsed.to_string(), text);
        assert_eq!(parsed.short(), "b99cab502b61ae41");
        for bad in [
            "",
            &text[1..],
            &text.to_uppercase(),
            "g99cab502b61ae411e7109b89c75b05a",
        ] {
            assert!(bad.parse::<Fingerprint>().is_err(), "{bad}");
        }
    }
}
