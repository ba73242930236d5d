//! Our HPKE key schedule, written out by hand, against the `hpke` crate: X-Wing as a KEM of that
//! crate, and both open what the other seals.

use age::{Identity as _, Recipient as _};
use age_core::format::{FileKey, Stanza};
use age_core::primitives::{bech32_encode, hpke_open, hpke_seal};
use age_core::secrecy::ExposeSecret as _;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use bech32::Hrp;
use hpke::generic_array::typenum::{Sum, U32, U96, U192, U1024};
use hpke::generic_array::{ArrayLength, GenericArray};
use hpke::kem::SharedSecret;
use hpke::{Deserializable, HpkeError, Kem, Serializable};
use ml_kem::kem::Decapsulate as _;
use ml_kem::{
    B32, EncapsulateDeterministic as _, Encoded, EncodedSizeUser as _, KemCore, MlKem768,
};
use rand_core::{CryptoRng, OsRng, RngCore};
use sealkit_core::keys::Identity;
use sha3::digest::{ExtendableOutput as _, Update, XofReader as _};
use sha3::{Digest, Sha3_256, Shake256};
use x25519_dalek::{PublicKey, StaticSecret};

const TAG: &str = "mlkem768x25519";
const INFO: &[u8] = b"age-encryption.org/mlkem768x25519";

#[test]
fn the_hpke_crate_opens_what_core_wraps() {
    for _ in 0..10 {
        let (identity, seed) = key();
        let file_key = FileKey::new(Box::new([7; 16]));
        let (stanzas, _) = identity.recipient().wrap_file_key(&file_key).unwrap();
        let [stanza] = stanzas.as_slice() else {
            panic!("{} stanzas", stanzas.len())
        };
        let enc = BASE64_STANDARD_NO_PAD.decode(&stanza.args[0]).unwrap();
        let enc = Bytes::from_bytes(&enc).unwrap();
        let opened = hpke_open::<XWing>(&enc, &seed, INFO, &stanza.body).unwrap();
        assert_eq!(opened, file_key.expose_secret());
    }
}

#[test]
fn core_unwraps_what_the_hpke_crate_seals() {
    for _ in 0..10 {
        let (identity, seed) = key();
        let public = XWing::sk_to_pk(&seed);
        let (enc, body) = hpke_seal::<XWing, _>(&public, INFO, &[9; 16], &mut OsRng);
        let args = vec![BASE64_STANDARD_NO_PAD.encode(enc.to_bytes())];
        let stanza = Stanza {
            tag: TAG.to_owned(),
            args,
            body,
        };
        let Some(Ok(opened)) = identity.unwrap_stanza(&stanza) else {
            panic!("does not open")
        };
        assert_eq!(opened.expose_secret(), &[9; 16]);
    }
}

/// A key of core, and the seed that it has.
fn key() -> (Identity, Bytes<U32>) {
    let (seed, public) = XWing::gen_keypair(&mut OsRng);
    let text = bech32_encode(Hrp::parse("age-secret-key-pq-").unwrap(), &seed.0).to_uppercase();
    let identity: Identity = text.parse().unwrap();
    let recipient = bech32_encode(Hrp::parse("age1pq").unwrap(), &public.0);
    assert_eq!(identity.recipient().to_string(), recipient);
    (identity, seed)
}

struct XWing;

impl Kem for XWing {
    type PublicKey = Bytes<Sum<U1024, U192>>;
    type PrivateKey = Bytes<U32>;
    type EncappedKey = Bytes<Sum<U1024, U96>>;
    type NSecret = U32;
    const KEM_ID: u16 = 0x647a;

    fn sk_to_pk(seed: &Self::PrivateKey) -> Self::PublicKey {
        let (_, pq, traditional) = expand(seed);
        joined(&pq.as_bytes(), PublicKey::from(&traditional))
    }

    fn derive_keypair(ikm: &[u8]) -> (Self::PrivateKey, Self::PublicKey) {
        let seed = Bytes(GenericArray::clone_from_slice(ikm));
        let public = Self::sk_to_pk(&seed);
        (seed, public)
    }

    fn decap(
        seed: &Self::PrivateKey,
        _: Option<&Self::PublicKey>,
        enc: &Self::EncappedKey,
    ) -> Result<SharedSecret<Self>, HpkeError> {
        let (pq, _, traditional) = expand(seed);
        let (ct_pq, ct_t) = enc.0.split_at(1088);
        let ss_pq = pq.decapsulate(ct_pq.try_into().unwrap()).unwrap();
        let ss_t = traditional.diffie_hellman(&point(ct_t));
        Ok(combined(
            &ss_pq,
            ss_t.as_bytes(),
            ct_t,
            PublicKey::from(&traditional).as_bytes(),
        ))
    }

    fn encap<R: CryptoRng + RngCore>(
        public: &Self::PublicKey,
        _: Option<(&Self::PrivateKey, &Self::PublicKey)>,
        random: &mut R,
    ) -> Result<(SharedSecret<Self>, Self::EncappedKey), HpkeError> {
        let (ek_pq, ek_t) = public.0.split_at(1184);
        let ek_pq = Encoded::<EncapsulationKey>::try_from(ek_pq).unwrap();
        let mut message = B32::default();
        random.fill_bytes(&mut message);
        let ek_pq = EncapsulationKey::from_bytes(&ek_pq);
        let (ct_pq, ss_pq) = ek_pq.encapsulate_deterministic(&message).unwrap();
        let ephemeral = StaticSecret::random_from_rng(random);
        let ct_t = PublicKey::from(&ephemeral);
        let ss_t = ephemeral.diffie_hellman(&point(ek_t));
        let secret = combined(&ss_pq, ss_t.as_bytes(), ct_t.as_bytes(), ek_t);
        Ok((secret, joined(&ct_pq, ct_t)))
    }
}

type DecapsulationKey = <MlKem768 as KemCore>::DecapsulationKey;
type EncapsulationKey = <MlKem768 as KemCore>::EncapsulationKey;

/// The keys that a seed stands for: post-quantum private and public, and traditional private.
fn expand(seed: &Bytes<U32>) -> (DecapsulationKey, EncapsulationKey, StaticSecret) {
    let mut full = [0; 96];
    Update::chain(Shake256::default(), seed.0.as_slice())
        .finalize_xof()
        .read(&mut full);
    let part = |start| <[u8; 32]>::try_from(&full[start..start + 32]).unwrap();
    let (private, public) = MlKem768::generate_deterministic(&part(0).into(), &part(32).into());
    (private, public, StaticSecret::from(part(64)))
}

fn combined(ss_pq: &[u8], ss_t: &[u8], ct_t: &[u8], ek_t: &[u8]) -> SharedSecret<XWing> {
    let mut hash = Sha3_256::new();
    for part in [ss_pq, ss_t, ct_t, ek_t, br"\.//^\"] {
        Digest::update(&mut hash, part);
    }
    SharedSecret(hash.finalize())
}

fn joined<N: ArrayLength<u8>>(pq: &[u8], traditional: PublicKey) -> Bytes<N> {
    Bytes(GenericArray::clone_from_slice(
        &[pq, traditional.as_bytes()].concat(),
    ))
}

fn point(bytes: &[u8]) -> PublicKey {
    PublicKey::from(<[u8; 32]>::try_from(bytes).unwrap())
}

/// Keys and ciphertexts, as the bytes that they are.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Bytes<N: ArrayLength<u8>>(GenericArray<u8, N>);

impl<N: ArrayLength<u8>> Serializable for Bytes<N> {
    type OutputSize = N;

    fn write_exact(&self, buffer: &mut [u8]) {
        buffer.copy_from_slice(&self.0);
    }
}

impl<N: ArrayLength<u8>> Deserializable for Bytes<N> {
    fn from_bytes(encoded: &[u8]) -> Result<Self, HpkeError> {
        GenericArray::from_exact_iter(encoded.iter().copied())
            .map(Self)
            .ok_or(HpkeError::ValidationError)
    }
}
