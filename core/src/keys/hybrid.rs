//! The hybrid recipient `mlkem768x25519`: X-Wing (ML-KEM-768 and X25519) under HPKE, as age's
//! specification (c2sp.org/age) defines it. HPKE is RFC 9180, base mode, one message.

use std::collections::HashSet;

use age_core::format::{FILE_KEY_BYTES, FileKey, Stanza};
use age_core::secrecy::ExposeSecret;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use chacha20poly1305::aead::Aead;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit};
use hkdf::Hkdf;
use ml_kem::kem::Decapsulate;
use ml_kem::{B32, EncapsulateDeterministic, Encoded, EncodedSizeUser, KemCore, MlKem768};
use rand_core::{OsRng, RngCore};
use sha2::Sha256;
use sha3::digest::{ExtendableOutput, Update, XofReader};
use sha3::{Digest, Sha3_256, Shake256};
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::{Zeroize, Zeroizing};

use super::KeyError;
use super::classic::check_x25519_point;

pub(super) const STANZA_TAG: &str = "mlkem768x25519";
/// Bytes of a public key: `ek_PQ` (1184) and `ek_T` (32).
pub(super) const PUBLIC_SIZE: usize = 1184 + 32;
/// Bytes of an encapsulated secret: `ct_PQ` (1088) and `ct_T` (32).
pub(super) const ENCAPSULATED_SIZE: usize = 1088 + 32;
const LABEL: &str = "postquantum";
const INFO: &[u8] = b"age-encryption.org/mlkem768x25519";
/// HPKE's suite: KEM 0x647a (X-Wing), KDF 0x0001 (HKDF-SHA256), AEAD 0x0003 (ChaCha20-Poly1305).
const SUITE: &[u8] = b"HPKE\x64\x7a\x00\x01\x00\x03";
/// `\./` and `/^\`: X-Wing's label.
const XWING_LABEL: &[u8] = &[0x5c, 0x2e, 0x2f, 0x2f, 0x5e, 0x5c];

type DecapsulationKey = <MlKem768 as KemCore>::DecapsulationKey;
type EncapsulationKey = <MlKem768 as KemCore>::EncapsulationKey;

/// A public key, checked: canonical `ek_PQ`, canonical `ek_T` of full order.
#[derive(Clone, PartialEq)]
pub(super) struct PublicPart {
    pq: Box<EncapsulationKey>,
    traditional: PublicKey,
}

impl PublicPart {
    /// Reads the 1,216 bytes of a public key. Errors: see [`KeyError`].
    pub(super) fn from_bytes(bytes: &[u8; PUBLIC_SIZE]) -> Result<Self, KeyError> {
        let (pq_bytes, point) = bytes.split_at(1184);
        let encoded =
            Encoded::<EncapsulationKey>::try_from(pq_bytes).map_err(|_| KeyError::NotARecipient)?;
        let pq = EncapsulationKey::from_bytes(&encoded);
        // ml-kem reads coefficients ≥ q silently; FIPS 203 7.2 demands that they re-encode.
        if pq.as_bytes().as_slice() != pq_bytes {
            return Err(KeyError::NonCanonical);
        }
        let traditional = check_x25519_point(point)?;
        Ok(Self {
            pq: Box::new(pq),
            traditional,
        })
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.pq.as_bytes().to_vec();
        bytes.extend_from_slice(self.traditional.as_bytes());
        bytes
    }
}

impl age::Recipient for PublicPart {
    fn wrap_file_key(
        &self,
        file_key: &FileKey,
    ) -> Result<(Vec<Stanza>, HashSet<String>), age::EncryptError> {
        let (encapsulated, secret) = encapsulate(self)?;
        let (key, nonce) = hpke_key_schedule(&secret);
        let body = ChaCha20Poly1305::new((&*key).into())
            .encrypt((&nonce).into(), file_key.expose_secret().as_slice())
            .map_err(|_| age::EncryptError::Io(std::io::Error::other("hybrid seal failed")))?;
        let stanza = Stanza {
            tag: STANZA_TAG.to_owned(),
            args: vec![BASE64_STANDARD_NO_PAD.encode(encapsulated)],
            body,
        };
        Ok((vec![stanza], HashSet::from([LABEL.to_owned()])))
    }
}

/// A private key: the 32-byte seed, and the keys that are expanded from it once.
/// Deliberately without Debug; `ml-kem` and `x25519-dalek` wipe their parts when dropped.
#[derive(Clone)]
pub(super) struct PrivatePart {
    seed: Zeroizing<[u8; 32]>,
    pq: Box<DecapsulationKey>,
    traditional: StaticSecret,
    public: PublicPart,
}

impl PrivatePart {
    pub(super) fn from_seed(seed: Zeroizing<[u8; 32]>) -> Self {
        let mut shake = Shake256::default();
        Update::update(&mut shake, seed.as_slice());
        let mut full = Zeroizing::new([0; 96]);
        shake.finalize_xof().read(full.as_mut_slice());
        let mut d = B32::default();
        let mut z = B32::default();
        d.copy_from_slice(&full[..32]);
        z.copy_from_slice(&full[32..64]);
        let (dk, ek) = MlKem768::generate_deterministic(&d, &z);
        d.as_mut_slice().zeroize();
        z.as_mut_slice().zeroize();
        let mut scalar = Zeroizing::new([0; 32]);
        scalar.copy_from_slice(&full[64..]);
        let traditional = StaticSecret::from(*scalar);
        let public = PublicPart {
            pq: Box::new(ek),
            traditional: PublicKey::from(&traditional),
        };
        Self {
            seed,
            pq: Box::new(dk),
            traditional,
            public,
        }
    }

    pub(super) fn seed(&self) -> &[u8; 32] {
        &self.seed
    }

    pub(super) fn public(&self) -> &PublicPart {
        &self.public
    }

    fn decapsulate(&self, encapsulated: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
        let (ct_pq, ct_t) = encapsulated.split_at_checked(1088)?;
        let ct_t: [u8; 32] = ct_t.try_into().ok()?;
        let ss_t = self.traditional.diffie_hellman(&PublicKey::from(ct_t));
        if is_zero(ss_t.as_bytes()) {
            return None;
        }
        let mut ss_pq = self.pq.decapsulate(ct_pq.try_into().ok()?).ok()?;
        let secret = combine(
            ss_pq.as_slice(),
            ss_t.as_bytes(),
            &ct_t,
            self.public.traditional.as_bytes(),
        );
        ss_pq.as_mut_slice().zeroize();
        Some(secret)
    }
}

impl age::Identity for PrivatePart {
    fn unwrap_stanza(&self, stanza: &Stanza) -> Option<Result<FileKey, age::DecryptError>> {
        if stanza.tag != STANZA_TAG {
            return None;
        }
        // Shapes as in c2sp.org/age: a wrong one fails the whole header.
        let invalid = || Some(Err(age::DecryptError::InvalidHeader));
        let [argument] = stanza.args.as_slice() else {
            return invalid();
        };
        let Ok(encapsulated) = BASE64_STANDARD_NO_PAD.decode(argument) else {
            return invalid();
        };
        if encapsulated.len() != ENCAPSULATED_SIZE || stanza.body.len() != FILE_KEY_BYTES + 16 {
            return invalid();
        }
        let Some(secret) = self.decapsulate(&encapsulated) else {
            return invalid();
        };
        let (key, nonce) = hpke_key_schedule(&secret);
        // A failure is another key's stanza: ML-KEM rejects implicitly.
        let opened = ChaCha20Poly1305::new((&*key).into())
            .decrypt((&nonce).into(), stanza.body.as_slice())
            .ok()?;
        let opened = Zeroizing::new(opened);
        Some(Ok(FileKey::init_with_mut(|file_key| {
            file_key.copy_from_slice(&opened);
        })))
    }
}

/// X-Wing's encapsulation. Errors if the shared point is zero, which cannot happen with a checked
/// public key unless the random source is broken.
fn encapsulate(public: &PublicPart) -> Result<(Vec<u8>, Zeroizing<[u8; 32]>), age::EncryptError> {
    let failed = || age::EncryptError::Io(std::io::Error::other("hybrid encapsulation failed"));
    let mut m = B32::default();
    OsRng.fill_bytes(m.as_mut_slice());
    let (ct_pq, mut ss_pq) = public
        .pq
        .encapsulate_deterministic(&m)
        .map_err(|()| failed())?;
    m.as_mut_slice().zeroize();
    let ephemeral = StaticSecret::random_from_rng(OsRng);
    let ct_t = PublicKey::from(&ephemeral);
    let ss_t = ephemeral.diffie_hellman(&public.traditional);
    if is_zero(ss_t.as_bytes()) {
        return Err(failed());
    }
    let secret = combine(
        ss_pq.as_slice(),
        ss_t.as_bytes(),
        ct_t.as_bytes(),
        public.traditional.as_bytes(),
    );
    ss_pq.as_mut_slice().zeroize();
    let mut encapsulated = ct_pq.to_vec();
    encapsulated.extend_from_slice(ct_t.as_bytes());
    Ok((encapsulated, secret))
}

/// X-Wing's combiner.
fn combine(ss_pq: &[u8], ss_t: &[u8], ct_t: &[u8], ek_t: &[u8]) -> Zeroizing<[u8; 32]> {
    let mut hash = Sha3_256::new();
    for part in [ss_pq, ss_t, ct_t, ek_t, XWING_LABEL] {
        Digest::update(&mut hash, part);
    }
    Zeroizing::new(hash.finalize().into())
}

/// RFC 9180 section 5.1, mode base, empty PSK: key and nonce of the first message.
fn hpke_key_schedule(shared_secret: &[u8; 32]) -> (Zeroizing<[u8; 32]>, [u8; 12]) {
    let extract = |salt: &[u8], label: &[u8], ikm: &[u8]| {
        let labeled = Zeroizing::new([b"HPKE-v1", SUITE, label, ikm].concat());
        Hkdf::<Sha256>::extract(Some(salt), &labeled)
    };
    let (psk_id_hash, _) = extract(&[], b"psk_id_hash", &[]);
    let (info_hash, _) = extract(&[], b"info_hash", INFO);
    let context = [&[0u8][..], &psk_id_hash, &info_hash].concat();
    let (mut pseudo_random_key, secret) = extract(shared_secret, b"secret", &[]);
    pseudo_random_key.as_mut_slice().zeroize();
    let mut key = Zeroizing::new([0; 32]);
    let mut nonce = [0; 12];
    expand(&secret, b"key", &context, key.as_mut_slice());
    expand(&secret, b"base_nonce", &context, &mut nonce);
    (key, nonce)
}

fn expand(secret: &Hkdf<Sha256>, label: &[u8], context: &[u8], out: &mut [u8]) {
    // Both outputs are far below 2^16 bytes and HKDF's limit of 8,160.
    let length = [0, u8::try_from(out.len()).unwrap_or(u8::MAX)];
    let info = [&length[..], b"HPKE-v1", SUITE, label, context].concat();
    #[expect(
        clippy::expect_used,
        reason = "32 and 12 bytes are legal HKDF-SHA256 lengths"
    )]
    secret.expand(&info, out).expect("legal length");
}

fn is_zero(bytes: &[u8; 32]) -> bool {
    bytes.iter().fold(0, |all, byte| all | byte) == 0
}
