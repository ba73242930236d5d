//! Public keys, sets of them for one envelope, and the files that hold them.

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;

use age_core::format::{FileKey, Stanza};
use age_core::primitives::{bech32_decode, bech32_encode};
use bech32::Hrp;

use super::classic::check_x25519_point;
use super::hybrid::{PUBLIC_SIZE, PublicPart};
use super::{Fingerprint, KeyError, KeyType};

const CLASSIC_HRP: Hrp = Hrp::parse_unchecked("age");
const HYBRID_HRP: Hrp = Hrp::parse_unchecked("age1pq");

/// A public key of an accepted type, checked when read: canonical, of full order, lower-case.
#[derive(Clone)]
pub struct Recipient {
    part: Part,
    text: String,
    fingerprint: Fingerprint,
}

#[derive(Clone)]
enum Part {
    Hybrid(PublicPart),
    Classic(age::x25519::Recipient),
}

impl Recipient {
    /// The type of the key.
    pub fn key_type(&self) -> KeyType {
        match self.part {
            Part::Hybrid(_) => KeyType::Hybrid,
            Part::Classic(_) => KeyType::Classic,
        }
    }

    /// The fingerprint of the key.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    pub(super) fn from_hybrid(part: PublicPart) -> Self {
        let text = bech32_encode(HYBRID_HRP, &part.to_bytes());
        Self {
            part: Part::Hybrid(part),
            fingerprint: Fingerprint::of_recipient_text(&text),
            text,
        }
    }

    pub(super) fn from_classic(recipient: age::x25519::Recipient) -> Self {
        let text = recipient.to_string();
        Self {
            part: Part::Classic(recipient),
            fingerprint: Fingerprint::of_recipient_text(&text),
            text,
        }
    }
}

impl FromStr for Recipient {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        if text
            .get(..15)
            .is_some_and(|head| head.eq_ignore_ascii_case("AGE-SECRET-KEY-"))
        {
            return Err(KeyError::PrivateKeyGiven);
        }
        if is_ssh(text) {
            return Err(KeyError::SshKey);
        }
        if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(KeyError::WrongCase);
        }
        let (hrp, bytes) = bech32_decode(
            text,
            |_| KeyError::NotARecipient,
            |hrp| {
                (hrp == HYBRID_HRP || hrp == CLASSIC_HRP)
                    .then_some(())
                    .ok_or(KeyError::NotARecipient)
            },
            |hrp, bytes| Ok((hrp, bytes.collect::<Vec<u8>>())),
        )?;
        let recipient = if hrp == HYBRID_HRP {
            let bytes: &[u8; PUBLIC_SIZE] = bytes
                .as_slice()
                .try_into()
                .map_err(|_| KeyError::NotARecipient)?;
            Self::from_hybrid(PublicPart::from_bytes(bytes)?)
        } else {
            if bytes.len() != 32 {
                return Err(KeyError::NotARecipient);
            }
            check_x25519_point(&bytes)?;
            Self::from_classic(text.parse().map_err(|_| KeyError::NotARecipient)?)
        };
        // Bech32 has slack bits: only the spelling that we would write is a recipient.
        if recipient.text == text {
            Ok(recipient)
        } else {
            Err(KeyError::NonCanonical)
        }
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recipient({} {})", self.key_type(), self.fingerprint)
    }
}

impl PartialEq for Recipient {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Recipient {}

impl age::Recipient for Recipient {
    fn wrap_file_key(
        &self,
        file_key: &FileKey,
    ) -> Result<(Vec<Stanza>, HashSet<String>), age::EncryptError> {
        match &self.part {
            Part::Hybrid(part) => part.wrap_file_key(file_key),
            Part::Classic(part) => part.wrap_file_key(file_key),
        }
    }
}

/// Recipients that an envelope may have.
const MAX_RECIPIENTS: usize = 32;

/// The recipients of one envelope: 1 to 32, of one type, sorted by fingerprint, each once.
#[derive(Clone, Debug)]
pub struct RecipientSet(Vec<Recipient>);

impl RecipientSet {
    /// Sorts, merges equal keys and checks the set. Errors: [`KeyError::Empty`],
    /// [`KeyError::TooMany`], [`KeyError::MixedTypes`], [`KeyError::FingerprintCollision`].
    pub fn new(recipients: impl IntoIterator<Item = Recipient>) -> Result<Self, KeyError> {
        let mut recipients: Vec<Recipient> = recipients.into_iter().collect();
        recipients.sort_by(|a, b| (a.fingerprint, &a.text).cmp(&(b.fingerprint, &b.text)));
        recipients.dedup();
        let first = recipients.first().ok_or(KeyError::Empty)?;
        if recipients.len() > MAX_RECIPIENTS {
            return Err(KeyError::TooMany(recipients.len()));
        }
        if recipients
            .iter()
            .any(|recipient| recipient.key_type() != first.key_type())
        {
            return Err(KeyError::MixedTypes);
        }
        if let Some(pair) = recipients
            .windows(2)
            .find(|p| p[0].fingerprint == p[1].fingerprint)
        {
            return Err(KeyError::FingerprintCollision(pair[0].fingerprint));
        }
        Ok(Self(recipients))
    }

    /// The recipients, sorted by fingerprint.
    pub fn iter(&self) -> impl Iterator<Item = &Recipient> {
        self.0.iter()
    }

    /// Their fingerprints, sorted.
    pub fn fingerprints(&self) -> Vec<Fingerprint> {
        self.0.iter().map(Recipient::fingerprint).collect()
    }
}

/// Reads a recipient file: one recipient per line, with `#` comments and empty lines allowed.
pub fn parse_recipient_file(text: &str) -> Result<Vec<Recipient>, KeyError> {
    let mut recipients = Vec::new();
    for (number, line) in key_lines(text) {
        let recipient = line.parse().map_err(|cause| KeyError::Line {
            line: number,
            cause: Box::new(cause),
        })?;
        recipients.push(recipient);
    }
    if recipients.is_empty() {
        Err(KeyError::Empty)
    } else {
        Ok(recipients)
    }
}

/// Does it begin as the keys of OpenSSH do, public or private?
pub(super) fn is_ssh(text: &str) -> bool {
    let begins = [
        "ssh-",
        "ecdsa-sha2-",
        "sk-ssh-",
        "sk-ecdsa-",
        "-----BEGIN OPENSSH ",
    ];
    begins.iter().any(|start| text.starts_with(start))
}

/// The lines of a key file that contain keys, with their numbers from 1.
pub(super) fn key_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    // Editors of Windows begin a file with the mark.
    let text = text.trim_start_matches('\u{feff}');
    text.lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line.trim()))
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
}
