//! Certificates of an OpenBao server that also speaks TLS, and of one client.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    date_time_ymd,
};

use crate::RigError;
use crate::run_dir::write_private;

/// A name of the server's certificate: it is not valid for `127.0.0.1`.
pub(super) const NAME: &str = "localhost";
/// Another one, which no DNS knows.
pub(super) const FAR_NAME: &str = "vault.corp.example";

/// Certificates and private keys, in PEM.
pub struct Tls {
    /// The CA of the server and of the client.
    pub ca: String,
    /// The client's certificate.
    pub client: String,
    /// The client's private key.
    pub client_key: String,
}

/// Where a listener finds its certificate, its key, and the CA of clients.
pub(super) struct Files {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
    pub(super) ca: PathBuf,
    expired_certificate: PathBuf,
}

impl Files {
    /// The same with the expired certificate.
    pub(super) fn expired(&self) -> Self {
        Self {
            certificate: self.expired_certificate.clone(),
            key: self.key.clone(),
            ca: self.ca.clone(),
            expired_certificate: self.expired_certificate.clone(),
        }
    }
}

impl Tls {
    /// Draws new keys, and writes those of the server to `dir`.
    pub(super) fn generate(dir: &Path) -> Result<(Self, Files), RigError> {
        let mut ca = CertificateParams::new(Vec::new())?;
        ca.distinguished_name
            .push(DnType::CommonName, "sealkit-rig OpenBao CA");
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca_key = KeyPair::generate()?;
        let ca_pem = ca.self_signed(&ca_key)?.pem();
        let issuer = Issuer::new(ca, ca_key);
        let params = |names: &[&str], usage| -> Result<CertificateParams, RigError> {
            let all: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            let mut params = CertificateParams::new(all)?;
            params.distinguished_name.push(DnType::CommonName, names[0]);
            params.extended_key_usages = vec![usage];
            Ok(params)
        };
        let server_key = KeyPair::generate()?;
        let mut server = params(&[NAME, FAR_NAME], ExtendedKeyUsagePurpose::ServerAuth)?;
        let server_pem = server.signed_by(&server_key, &issuer)?.pem();
        server.not_after = date_time_ymd(2020, 1, 1);
        let expired = server.signed_by(&server_key, &issuer)?.pem();
        let client_key = KeyPair::generate()?;
        let client = params(&["client"], ExtendedKeyUsagePurpose::ClientAuth)?;
        let client = client.signed_by(&client_key, &issuer)?.pem();
        let dir = dir.join("tls");
        fs::create_dir(&dir).map_err(RigError::io(format!("create {}", dir.display())))?;
        let files = Files {
            certificate: dir.join("server.pem"),
            key: dir.join("server-key.pem"),
            ca: dir.join("ca.pem"),
            expired_certificate: dir.join("expired.pem"),
        };
        write_private(&files.certificate, &server_pem)?;
        write_private(&files.expired_certificate, &expired)?;
        write_private(&files.key, &server_key.serialize_pem())?;
        write_private(&files.ca, &ca_pem)?;
        let tls = Self {
            ca: ca_pem,
            client,
            client_key: client_key.serialize_pem(),
        };
        Ok((tls, files))
    }
}
