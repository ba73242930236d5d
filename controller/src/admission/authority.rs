//! The webhook's own certificate authorities, and the certificates that they sign; pure but for the
//! system's randomness.
//!
//! A new authority is trusted first and signs later: API servers know it by then. An old one stays
//! trusted until nobody serves with what it signed. So no call fails while they change.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData,
};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use zeroize::Zeroizing;

/// How long an authority lives. After two thirds, the next one is made.
const AUTHORITY_LIFE: Duration = Duration::from_hours(365 * 24);
/// How long a certificate lives. After two thirds, the next one is signed.
const CERTIFICATE_LIFE: Duration = Duration::from_hours(30 * 24);
/// How far the clocks of API servers may be behind.
const SKEW: Duration = Duration::from_hours(1);
/// Authorities in a Secret; more than that were not written by us.
const MOST: usize = 8;

/// What failed to be made or read. Names no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// A key or a certificate cannot be made.
    #[error("cannot make a key or a certificate: check --webhook-names")]
    Make,
    /// A text is no certificate and key that belong together.
    #[error("the certificate and the key are not readable as PEM, or do not belong together")]
    Read,
}

/// One certificate authority. No Debug: it holds a private key.
#[derive(Clone)]
pub struct Authority {
    certificate: String,
    key: Arc<Zeroizing<String>>,
    /// When it was made, and when it ends, in Unix seconds.
    born: u64,
    ends: u64,
}

impl Authority {
    /// Makes one.
    pub fn new(now: SystemTime) -> Result<Self, CertificateError> {
        let mut params = CertificateParams::default();
        let name = format!("sealkit webhook {}", seconds(now));
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let (from, to) = (now - SKEW, now + AUTHORITY_LIFE);
        (params.not_before, params.not_after) = (from.into(), to.into());
        let key = KeyPair::generate().map_err(|_| CertificateError::Make)?;
        let certificate = params.self_signed(&key);
        Ok(Self {
            certificate: certificate.map_err(|_| CertificateError::Make)?.pem(),
            key: Arc::new(key.serialize_pem().into()),
            born: seconds(now),
            ends: seconds(to),
        })
    }

    /// Reads one: a certificate and its key, both PEM.
    fn read(certificate: &str, key: &str) -> Option<Self> {
        let pair = KeyPair::from_pem(key).ok()?;
        let (_, pem) = x509_parser::pem::parse_x509_pem(certificate.as_bytes()).ok()?;
        let parsed = pem.parse_x509().ok()?;
        let validity = parsed.validity();
        let belongs = parsed.public_key().raw == pair.subject_public_key_info();
        (belongs && parsed.is_ca()).then_some(())?;
        let unix = |time: i64| u64::try_from(time).ok();
        Some(Self {
            certificate: certificate.to_owned(),
            key: Arc::new(key.to_owned().into()),
            born: unix(validity.not_before.timestamp())? + SKEW.as_secs(),
            ends: unix(validity.not_after.timestamp())?,
        })
    }

    /// Signs a certificate for these names and addresses, with a key that only this process has.
    pub fn sign(&self, names: &[String], now: SystemTime) -> Result<Signed, CertificateError> {
        let failed = |_| CertificateError::Make;
        let own = KeyPair::from_pem(&self.key).map_err(failed)?;
        let issuer = Issuer::from_ca_cert_pem(&self.certificate, own).map_err(failed)?;
        let mut params = CertificateParams::new(names).map_err(failed)?;
        let name = names.first().cloned().unwrap_or_default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let ends = (seconds(now) + CERTIFICATE_LIFE.as_secs()).min(self.ends);
        let to = UNIX_EPOCH + Duration::from_secs(ends);
        (params.not_before, params.not_after) = ((now - SKEW).into(), to.into());
        let key = KeyPair::generate().map_err(failed)?;
        let certificate = params.signed_by(&key, &issuer).map_err(failed)?.pem();
        let text = Zeroizing::new(key.serialize_pem());
        Ok(Signed {
            served: certified(certificate.as_bytes(), text.as_bytes())?,
            authority: self.certificate.clone(),
            next: seconds(now) + ends.saturating_sub(seconds(now)) * 2 / 3,
        })
    }

    fn age(&self, now: SystemTime) -> Duration {
        Duration::from_secs(seconds(now).saturating_sub(self.born))
    }

    fn is_due(&self, now: SystemTime) -> bool {
        self.age(now) > AUTHORITY_LIFE * 2 / 3
    }
}

/// A certificate with its key.
pub struct Signed {
    /// For the TLS server.
    pub served: CertifiedKey,
    /// The certificate of the authority that signed it.
    authority: String,
    /// When to sign the next one, in Unix seconds.
    next: u64,
}

impl Signed {
    /// Is it to be replaced by one that this authority signs?
    pub fn is_due(&self, authority: &Authority, now: SystemTime) -> bool {
        self.authority != authority.certificate || self.next <= seconds(now)
    }
}

/// The authorities, the newest one first. Empty where none was read.
#[derive(Clone, Default)]
pub struct Authorities(Vec<Authority>);

impl Authorities {
    /// Reads certificates and their keys, in the same order. `None` if any part is damaged.
    pub fn read(certificates: &[u8], keys: &[u8]) -> Option<Self> {
        let (certificates, keys) = (blocks(certificates)?, blocks(keys)?);
        if certificates.len() != keys.len() || !(1..=MOST).contains(&keys.len()) {
            return None;
        }
        let pairs = certificates.iter().zip(keys.iter());
        let all = pairs.map(|(certificate, key)| Authority::read(certificate, key));
        all.collect::<Option<_>>().map(Self)
    }

    /// All certificates, PEM: what API servers trust.
    pub fn certificates(&self) -> String {
        self.0.iter().map(|one| one.certificate.as_str()).collect()
    }

    /// All keys, PEM.
    pub fn keys(&self) -> Zeroizing<String> {
        let all = self.0.iter().map(|one| one.key.as_str());
        Zeroizing::new(all.collect())
    }

    /// What should be stored instead of what is stored, if that should change: a new authority
    /// begins when the newest one grows old, or when the Secret is gone or damaged. `known` are those
    /// that this process used last. An old one goes once the next one has signed for `overlap`.
    pub fn next(
        stored: Option<&Self>,
        known: &Self,
        overlap: Duration,
        now: SystemTime,
    ) -> Result<Option<Self>, CertificateError> {
        let mut all = stored.unwrap_or(known).0.clone();
        all.retain(|one| one.ends > seconds(now));
        let is_over = |one: &Authority| one.age(now) >= overlap * 2;
        if let Some(signs) = all.iter().position(is_over) {
            all.truncate(signs + 1);
        }
        if stored.is_none() || all.first().is_none_or(|newest| newest.is_due(now)) {
            all.insert(0, Authority::new(now)?);
            all.truncate(MOST);
        }
        let next = Self(all);
        let is_new = stored.is_none_or(|old| old.certificates() != next.certificates());
        Ok(is_new.then_some(next))
    }

    /// The authority that signs: the newest one that API servers have known for `overlap`. `trusted`
    /// is what they trust, if anything calls the webhook yet.
    pub fn signer(
        &self,
        trusted: Option<&str>,
        overlap: Duration,
        now: SystemTime,
    ) -> Option<&Authority> {
        let is_known = |one: &&Authority| {
            one.age(now) >= overlap && trusted.is_none_or(|all| all.contains(&one.certificate))
        };
        self.0.iter().find(is_known).or(self.0.last())
    }
}

/// A certificate chain and its key, both PEM, for a TLS server.
pub fn certified(chain: &[u8], key: &[u8]) -> Result<CertifiedKey, CertificateError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain).collect();
    let chain = chain.map_err(|_| CertificateError::Read)?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| CertificateError::Read)?;
    CertifiedKey::from_der(chain, key, &default_provider()).map_err(|_| CertificateError::Read)
}

/// The PEM blocks of a text, each as we write it.
fn blocks(text: &[u8]) -> Option<Vec<Zeroizing<String>>> {
    const END: &str = "-----END ";
    let mut rest = std::str::from_utf8(text).ok()?;
    let mut blocks = Vec::new();
    while !rest.trim().is_empty() {
        let end = rest.find(END)?;
        let line = rest[end..].find('\n').map_or(rest.len(), |at| end + at + 1);
        blocks.push(Zeroizing::new(rest[..line].to_owned()));
        rest = &rest[line..];
    }
    Some(blocks)
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OVERLAP: Duration = Duration::from_mins(5);

    fn day(days: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_hours(24) * u32::try_from(20_000 + days).unwrap()
    }

    fn first(now: SystemTime) -> Authorities {
        let made = Authorities::next(None, &Authorities::default(), OVERLAP, now);
        made.unwrap().unwrap()
    }

    fn reread(all: &Authorities) -> Authorities {
        let (certificates, keys) = (all.certificates(), all.keys());
        Authorities::read(certificates.as_bytes(), keys.as_bytes()).unwrap()
    }

    #[test]
    fn a_young_authority_is_kept_and_read_back() {
        let all = reread(&first(day(0)));
        assert_eq!(all.0[0].born, seconds(day(0)));
        let next = Authorities::next(Some(&all), &all, OVERLAP, day(200)).unwrap();
        assert!(next.is_none());
    }

    #[test]
    fn an_authority_is_trusted_before_it_signs_and_after_it_signed() {
        let old = first(day(0));
        let (due, mut trusted) = (day(250), old.certificates());
        let both = Authorities::next(Some(&old), &old, OVERLAP, due);
        let both = reread(&both.unwrap().unwrap());
        assert_eq!(both.0.len(), 2);
        assert!(both.certificates().ends_with(&trusted));
        let signer = |trusted: &str, now| {
            let signer = both.signer(Some(trusted), OVERLAP, now);
            signer.unwrap().certificate == both.0[0].certificate
        };
        let later = due + OVERLAP;
        assert!(!signer(&trusted, later), "API servers do not know it");
        trusted = both.certificates();
        assert!(!signer(&trusted, due), "they have just been told");
        assert!(signer(&trusted, later));
        let still = Authorities::next(Some(&both), &both, OVERLAP, later).unwrap();
        assert!(
            still.is_none(),
            "another replica may serve with the old one"
        );
        let alone = Authorities::next(Some(&both), &both, OVERLAP, due + OVERLAP * 2);
        let alone = alone.unwrap().unwrap();
        assert_eq!(alone.certificates(), both.0[0].certificate);
    }

    #[test]
    fn a_secret_that_is_gone_or_damaged_begins_a_new_one_beside_those_in_use() {
        let old = first(day(0));
        let (certificates, keys) = (old.certificates(), old.keys());
        let other = first(day(1)).keys();
        for (certificates, keys) in [
            ("", ""),
            (&certificates, ""),
            (&certificates, &other),
            (&certificates[40..], &keys),
            ("no certificate", &keys),
        ] {
            let read = Authorities::read(certificates.as_bytes(), keys.as_bytes());
            assert!(read.is_none());
        }
        let next = Authorities::next(None, &old, OVERLAP, day(1))
            .unwrap()
            .unwrap();
        assert_eq!(next.0.len(), 2);
        let trusted = next.certificates();
        let signer = next.signer(Some(&trusted), OVERLAP, day(1)).unwrap();
        assert_eq!(signer.certificate, certificates);
    }

    #[test]
    fn expired_authorities_are_replaced() {
        let old = first(day(0));
        let next = Authorities::next(Some(&old), &old, OVERLAP, day(400));
        let next = next.unwrap().unwrap();
        assert_eq!((next.0.len(), next.0[0].born), (1, seconds(day(400))));
        assert!(next.signer(Some(""), OVERLAP, day(400)).is_some());
    }

    #[test]
    fn certificates_are_signed_in_time_and_never_outlive_their_authority() {
        let all = first(day(0));
        let authority = all.signer(None, OVERLAP, day(0)).unwrap();
        let names = ["webhook.example.svc".to_owned(), "127.0.0.1".to_owned()];
        let signed = authority.sign(&names, day(0)).unwrap();
        assert!(!signed.is_due(authority, day(19)));
        assert!(signed.is_due(authority, day(21)));
        assert!(signed.is_due(&first(day(1)).0[0], day(1)), "another signs");
        let late = authority.sign(&names, day(360)).unwrap();
        let der = late.served.end_entity_cert().unwrap();
        let (_, parsed) = x509_parser::parse_x509_certificate(der).unwrap();
        let ends = parsed.validity().not_after.timestamp();
        assert_eq!(u64::try_from(ends), Ok(authority.ends));
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let (one, other) = (first(day(0)), first(day(0)));
        let (certificates, keys) = (one.certificates(), other.keys());
        let read = certified(certificates.as_bytes(), keys.as_bytes());
        assert_eq!(read.err(), Some(CertificateError::Read));
    }
}
