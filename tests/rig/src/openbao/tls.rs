//! Certificates of an OpenBao server that also speaks TLS, and of one client.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
};

use crate::RigError;
use crate::run_dir::write_private;

/// The one name of the server's certificate: it is not valid for `127.0.0.1`.
pub(super) const NAME: &str = "localhost";

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
        let signed = |name: &str, usage| -> Result<(String, String), RigError> {
            let mut params = CertificateParams::new([name.to_owned()])?;
            params.distinguished_name.push(DnType::CommonName, name);
            params.extended_key_usages = vec![usage];
            let key = KeyPair::generate()?;
            let certificate = params.signed_by(&key, &issuer)?.pem();
            Ok((certificate, key.serialize_pem()))
        };
        let (server, server_key) = signed(NAME, ExtendedKeyUsagePurpose::ServerAuth)?;
        let (client, client_key) = signed("client", ExtendedKeyUsagePurpose::ClientAuth)?;
        let dir = dir.join("tls");
        fs::create_dir(&dir).map_err(RigError::io(format!("create {}", dir.display())))?;
        let files = Files {
            certificate: dir.join("server.pem"),
            key: dir.join("server-key.pem"),
            ca: dir.join("ca.pem"),
        };
        write_private(&files.certificate, &server)?;
        write_private(&files.key, &server_key)?;
        write_private(&files.ca, &ca_pem)?;
        let tls = Self {
            ca: ca_pem,
            client,
            client_key,
        };
        Ok((tls, files))
    }
}
