//! age v1 files as the format accepts them: a strict, linear reading of the header before the age
//! library sees it. The library by itself accepts legacy stanzas and parses the header again for
//! every line, so that a hostile header of 128 KiB takes half a minute.

use std::io::{self, BufRead, Read, Write};

use age_core::format::{AgeStanza, Stanza};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use zeroize::Zeroizing;

use super::{OpenError, Rule, limits};
use crate::keys::{Identity, KeyType, RecipientSet};

const VERSION_LINE: &[u8] = b"age-encryption.org/v1\n";

/// An age file whose header was read strictly.
#[derive(Clone, Debug)]
pub(super) struct AgeFile {
    bytes: Vec<u8>,
    header_size: usize,
    key_type: KeyType,
    accepted: usize,
}

impl AgeFile {
    /// Reads the header of a binary age file. Every stanza is of an accepted type and of its
    /// exact shape, or grease. Linear in the size of the input.
    pub(super) fn parse(bytes: Vec<u8>) -> Result<Self, OpenError> {
        let reject = |rule, what: &str| Err(OpenError::new(rule, what));
        let head = &bytes[..bytes.len().min(limits::HEADER_BYTES)];
        let Some(mut rest) = head.strip_prefix(VERSION_LINE) else {
            return reject(Rule::AgeHeader, "ageFile is not a binary age v1 file");
        };
        let mut stanzas = 0;
        let mut accepted = Vec::new();
        while rest.starts_with(b"-> ") {
            // The strict parser: age's own falls back to a legacy form.
            let Ok((after, stanza)) = age_core::format::read::age_stanza(rest) else {
                return reject(Rule::AgeHeader, "a stanza of the age header is malformed");
            };
            stanzas += 1;
            if stanzas > limits::STANZAS {
                return reject(Rule::StanzaCount, "the age header has more than 64 stanzas");
            }
            if let Some(key_type) = accepted_type(&stanza)? {
                accepted.push(key_type);
            }
            rest = after;
        }
        let mac_line = rest.get(..48).filter(|line| {
            line.starts_with(b"--- ")
                && line[47] == b'\n'
                && BASE64_STANDARD_NO_PAD
                    .decode(&line[4..47])
                    .is_ok_and(|mac| mac.len() == 32)
        });
        if mac_line.is_none() {
            return reject(
                Rule::AgeHeader,
                "the age header does not end with a valid MAC line",
            );
        }
        let header_size = head.len() - rest.len() + 48;
        if bytes.len() - header_size > limits::PAYLOAD_BYTES {
            return reject(
                Rule::AgeFileSize,
                "the age file is longer than an envelope may be",
            );
        }
        let Some(&key_type) = accepted.first() else {
            return reject(Rule::RecipientCount, "the age header has no recipient");
        };
        if accepted.iter().any(|other| *other != key_type) {
            return reject(Rule::StanzaMixed, "the age header mixes two types of keys");
        }
        Ok(Self {
            bytes,
            header_size,
            key_type,
            accepted: accepted.len(),
        })
    }

    /// The type of all its recipients.
    pub(super) fn key_type(&self) -> KeyType {
        self.key_type
    }

    /// How many stanzas of an accepted type it has: at least 1.
    pub(super) fn recipients(&self) -> usize {
        self.accepted
    }

    /// Tries `attempts` in order, each identity on the accepted stanza of its index. The first that
    /// unwraps ends the search. Returns the plaintext and the index of that attempt. Each attempt
    /// costs one decapsulation.
    pub(super) fn decrypt(
        &self,
        attempts: &[(usize, &Identity)],
    ) -> Result<(Zeroizing<Vec<u8>>, usize), OpenError> {
        let (header, payload) = self.bytes.split_at(self.header_size);
        let altered = |rule| OpenError::new(rule, "the envelope was altered or damaged");
        let search = HintedSearch {
            attempts,
            opened: std::sync::OnceLock::new(),
        };
        let decryptor = age::Decryptor::new_buffered(WholeHeader { header, payload })
            .map_err(|_| altered(Rule::AgePayload))?;
        let identity: &dyn age::Identity = &search;
        let mut reader =
            decryptor
                .decrypt(std::iter::once(identity))
                .map_err(|error| match error {
                    age::DecryptError::InvalidMac => altered(Rule::AgeMac),
                    _ => altered(Rule::StanzaDoesNotOpen),
                })?;
        // One allocation, so that no plaintext stays behind in a smaller one.
        let mut plaintext = Zeroizing::new(Vec::with_capacity(limits::PAYLOAD_BYTES + 64));
        reader
            .read_to_end(&mut plaintext)
            .map_err(|_| altered(Rule::AgePayload))?;
        if plaintext.len() > limits::ENVELOPE_PLAINTEXT_BYTES {
            return Err(altered(Rule::AgePayload));
        }
        let opened = search
            .opened
            .get()
            .copied()
            .ok_or_else(|| altered(Rule::StanzaDoesNotOpen))?;
        Ok((plaintext, opened))
    }
}

/// Encrypts to all recipients, with stanzas in the order of the set.
pub(super) fn encrypt(
    plaintext: &[u8],
    recipients: &RecipientSet,
) -> Result<Vec<u8>, age::EncryptError> {
    let encryptor =
        age::Encryptor::with_recipients(recipients.iter().map(|r| r as &dyn age::Recipient))?;
    let mut file = Vec::new();
    let mut writer = encryptor.wrap_output(&mut file)?;
    writer.write_all(plaintext)?;
    writer.finish()?;
    Ok(file)
}

/// The type of a stanza if it is accepted; `None` if it is grease.
fn accepted_type(stanza: &AgeStanza<'_>) -> Result<Option<KeyType>, OpenError> {
    let Some(key_type) = KeyType::from_name(stanza.tag) else {
        return if stanza.tag.ends_with("-grease") {
            Ok(None)
        } else {
            let tag = crate::names::printable(stanza.tag);
            let detail =
                format!("the age header has a recipient of type {tag:?}, which is not accepted");
            Err(OpenError::new(Rule::StanzaUnknown, detail))
        };
    };
    let share = match stanza.args.as_slice() {
        [share] => BASE64_STANDARD_NO_PAD.decode(share).ok(),
        _ => None,
    };
    if share.is_none_or(|share| share.len() != key_type.share_size()) || stanza.body().len() != 32 {
        let detail = format!("a stanza of type {key_type} has the wrong shape");
        return Err(OpenError::new(Rule::StanzaShape, detail));
    }
    Ok(Some(key_type))
}

/// An identity that gives each attempt its own stanza.
struct HintedSearch<'a> {
    attempts: &'a [(usize, &'a Identity)],
    opened: std::sync::OnceLock<usize>,
}

impl age::Identity for HintedSearch<'_> {
    fn unwrap_stanza(
        &self,
        _: &Stanza,
    ) -> Option<Result<age_core::format::FileKey, age::DecryptError>> {
        None
    }

    fn unwrap_stanzas(
        &self,
        stanzas: &[Stanza],
    ) -> Option<Result<age_core::format::FileKey, age::DecryptError>> {
        let accepted: Vec<&Stanza> = stanzas
            .iter()
            .filter(|stanza| KeyType::from_name(&stanza.tag).is_some())
            .collect();
        self.attempts
            .iter()
            .enumerate()
            .find_map(|(attempt, (index, identity))| {
                // An error (a share of low order, say) is this stanza's fault, not the header's:
                // shapes were checked for all.
                let file_key = identity.unwrap_stanza(accepted.get(*index)?)?.ok()?;
                let _ = self.opened.set(attempt);
                Some(Ok(file_key))
            })
    }
}

/// Gives age the whole measured header in one `read_until`, so that it is parsed once.
struct WholeHeader<'a> {
    header: &'a [u8],
    payload: &'a [u8],
}

impl Read for WholeHeader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let source = if self.header.is_empty() {
            &mut self.payload
        } else {
            &mut self.header
        };
        source.read(buffer)
    }
}

impl BufRead for WholeHeader<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        Ok(if self.header.is_empty() {
            self.payload
        } else {
            self.header
        })
    }

    fn consume(&mut self, amount: usize) {
        let source = if self.header.is_empty() {
            &mut self.payload
        } else {
            &mut self.header
        };
        *source = &source[amount..];
    }

    fn read_until(&mut self, delimiter: u8, out: &mut Vec<u8>) -> io::Result<usize> {
        if self.header.is_empty() {
            return self.payload.read_until(delimiter, out);
        }
        out.extend_from_slice(self.header);
        Ok(std::mem::take(&mut self.header).len())
    }
}
