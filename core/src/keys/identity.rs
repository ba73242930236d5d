//! Private keys, and the files that hold them.

use std::str::FromStr;

use age_core::format::{FileKey, Stanza};
use age_core::primitives::{bech32_decode, bech32_encode};
use age_core::secrecy::ExposeSecret;
use bech32::Hrp;
use rand_core::{OsRng, RngCore};
use zeroize::{Zeroize, Zeroizing};

use super::hybrid::PrivatePart;
use super::recipient::{is_ssh, key_lines};
use super::{Fingerprint, KeyError, KeyType, Recipient};

const HYBRID_HRP: Hrp = Hrp::parse_unchecked("age-secret-key-pq-");

/// A private key of an accepted type. It has no Debug, Display or Serialize on purpose; its memory
/// is wiped when it is dropped.
#[derive(Clone)]
pub struct Identity {
    part: Part,
    recipient: Recipient,
}

#[derive(Clone)]
enum Part {
    Hybrid(Box<PrivatePart>),
    Classic(age::x25519::Identity),
}

impl Identity {
    /// A new key pair from the system's random source.
    pub fn generate(key_type: KeyType) -> Self {
        match key_type {
            KeyType::Hybrid => {
                let mut seed = Zeroizing::new([0; 32]);
                OsRng.fill_bytes(seed.as_mut_slice());
                Self::from_hybrid(PrivatePart::from_seed(seed))
            }
            KeyType::Classic => Self::from_classic(age::x25519::Identity::generate()),
        }
    }

    /// The public half.
    pub fn recipient(&self) -> &Recipient {
        &self.recipient
    }

    /// The fingerprint of the key pair.
    pub fn fingerprint(&self) -> Fingerprint {
        self.recipient.fingerprint()
    }

    /// The line of an identity file, upper-case. Wiped when dropped.
    pub fn to_secret_text(&self) -> Zeroizing<String> {
        match &self.part {
            Part::Hybrid(part) => {
                let lower = Zeroizing::new(bech32_encode(HYBRID_HRP, part.seed()));
                Zeroizing::new(lower.to_uppercase())
            }
            Part::Classic(part) => Zeroizing::new(part.to_string().expose_secret().to_owned()),
        }
    }

    fn from_hybrid(part: PrivatePart) -> Self {
        let recipient = Recipient::from_hybrid(part.public().clone());
        Self {
            part: Part::Hybrid(Box::new(part)),
            recipient,
        }
    }

    fn from_classic(part: age::x25519::Identity) -> Self {
        let recipient = Recipient::from_classic(part.to_public());
        Self {
            part: Part::Classic(part),
            recipient,
        }
    }
}

impl FromStr for Identity {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        if is_ssh(text) {
            return Err(KeyError::SshKey);
        }
        if text.bytes().any(|byte| byte.is_ascii_lowercase()) {
            let known = text
                .get(..4)
                .is_some_and(|head| head.eq_ignore_ascii_case("age-"));
            return Err(if known {
                KeyError::WrongCase
            } else {
                KeyError::NotAnIdentity
            });
        }
        let identity = if text.starts_with("AGE-SECRET-KEY-PQ-1") {
            let seed = bech32_decode(
                text,
                |_| KeyError::NotAnIdentity,
                |hrp| {
                    (hrp == HYBRID_HRP)
                        .then_some(())
                        .ok_or(KeyError::NotAnIdentity)
                },
                |_, bytes| {
                    let mut bytes: Vec<u8> = bytes.collect();
                    let seed = <[u8; 32]>::try_from(bytes.as_slice()).map(Zeroizing::new);
                    bytes.zeroize();
                    seed.map_err(|_| KeyError::NotAnIdentity)
                },
            )?;
            Self::from_hybrid(PrivatePart::from_seed(seed))
        } else {
            Self::from_classic(text.parse().map_err(|_| KeyError::NotAnIdentity)?)
        };
        // Bech32 has slack bits: only the spelling that we would write is an identity.
        if identity.to_secret_text().as_str() == text {
            Ok(identity)
        } else {
            Err(KeyError::NotAnIdentity)
        }
    }
}

impl age::Identity for Identity {
    fn unwrap_stanza(&self, stanza: &Stanza) -> Option<Result<FileKey, age::DecryptError>> {
        match &self.part {
            Part::Hybrid(part) => part.unwrap_stanza(stanza),
            Part::Classic(part) => part.unwrap_stanza(stanza),
        }
    }
}

/// Reads an identity file as age writes it: one identity per line, with `#` comments allowed.
pub fn parse_identity_file(text: &str) -> Result<Vec<Identity>, KeyError> {
    let mut identities = Vec::new();
    for (number, line) in key_lines(text) {
        let identity = line.parse().map_err(|cause| KeyError::Line {
            line: number,
            cause: Box::new(cause),
        })?;
        identities.push(identity);
    }
    if identities.is_empty() {
        Err(KeyError::Empty)
    } else {
        Ok(identities)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{RecipientSet, parse_recipient_file};
    use super::*;

    #[test]
    fn keys_read_back_as_written() {
        for key_type in [KeyType::Hybrid, KeyType::Classic] {
            let identity = Identity::generate(key_type);
            let text = identity.to_secret_text();
            let read: Identity = text.parse().unwrap();
            assert_eq!(read.recipient(), identity.recipient());
            let public = identity.recipient().to_string();
            assert_eq!(&public.parse::<Recipient>().unwrap(), identity.recipient());
            assert_eq!(identity.recipient().key_type(), key_type);
            assert!(matches!(
                text.to_lowercase().parse::<Identity>(),
                Err(KeyError::WrongCase)
            ));
            assert_eq!(
                public.to_uppercase().parse::<Recipient>(),
                Err(KeyError::WrongCase)
            );
            assert_eq!(text.parse::<Recipient>(), Err(KeyError::PrivateKeyGiven));
        }
        assert_eq!(
            Identity::generate(KeyType::Hybrid)
                .recipient()
                .to_string()
                .len(),
            1959
        );
    }

    #[test]
    fn weak_and_non_canonical_public_keys_are_refused() {
        let classic = |bytes: [u8; 32]| bech32_encode(Hrp::parse_unchecked("age"), &bytes);
        let mut order_eight = [0; 32];
        order_eight.copy_from_slice(&[
            0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f,
            0xc4, 0x6a, 0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16,
            0x5f, 0x49, 0xb8, 0x00,
        ]);
        let mut one = [0; 32];
        one[0] = 1;
        for low in [[0; 32], one, order_eight] {
            assert_eq!(classic(low).parse::<Recipient>(), Err(KeyError::LowOrder));
        }
        let mut prime = [0xff; 32];
        prime[0] = 0xed;
        prime[31] = 0x7f;
        let mut top_bit = [9; 32];
        top_bit[31] = 0x89;
        for double in [prime, top_bit] {
            assert_eq!(
                classic(double).parse::<Recipient>(),
                Err(KeyError::NonCanonical)
            );
        }

        let hybrid = |bytes: &[u8]| bech32_encode(Hrp::parse_unchecked("age1pq"), bytes);
        let Part::Hybrid(part) = Identity::generate(KeyType::Hybrid).part else {
            panic!()
        };
        let good = part.public().to_bytes();
        assert!(hybrid(&good).parse::<Recipient>().is_ok());
        let mut low = good.clone();
        low[1184..].fill(0);
        assert_eq!(hybrid(&low).parse::<Recipient>(), Err(KeyError::LowOrder));
        let mut coefficients = good.clone();
        coefficients[..3].fill(0xff);
        assert_eq!(
            hybrid(&coefficients).parse::<Recipient>(),
            Err(KeyError::NonCanonical)
        );
        assert_eq!(
            hybrid(&good[1..]).parse::<Recipient>(),
            Err(KeyError::NotARecipient)
        );
    }

    #[test]
    fn files_report_the_line() {
        let key = Identity::generate(KeyType::Classic).recipient().to_string();
        let read = parse_recipient_file(&format!("# mine\n\n  {key}  \r\n")).unwrap();
        assert_eq!(read[0].to_string(), key);
        let error = parse_recipient_file(&format!("{key}\nage1nonsense\n")).unwrap_err();
        assert_eq!(error.to_string().split(':').next(), Some("line 2"));
        assert_eq!(parse_recipient_file("# nothing\n"), Err(KeyError::Empty));
        assert!(matches!(
            parse_identity_file(&key),
            Err(KeyError::Line { line: 1, .. })
        ));
    }

    #[test]
    fn sets_are_sorted_unique_and_of_one_type() {
        let keys: Vec<_> = (0..3)
            .map(|_| Identity::generate(KeyType::Classic).recipient().clone())
            .collect();
        let set = RecipientSet::new(keys.iter().chain(&keys).cloned()).unwrap();
        assert_eq!(set.iter().count(), 3);
        assert!(set.fingerprints().is_sorted());
        let hybrid = Identity::generate(KeyType::Hybrid).recipient().clone();
        let mixed = RecipientSet::new([keys[0].clone(), hybrid]).unwrap_err();
        assert_eq!(mixed, KeyError::MixedTypes);
        assert_eq!(RecipientSet::new([]).unwrap_err(), KeyError::Empty);
        let many = (0..33).map(|_| Identity::generate(KeyType::Classic).recipient().clone());
        assert_eq!(RecipientSet::new(many).unwrap_err(), KeyError::TooMany(33));
    }
}
