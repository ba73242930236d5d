//! Keys and certificates of one control plane.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use crate::RigError;

/// Everything in PEM.
pub(crate) struct Certificates {
    pub(crate) ca: String,
    pub(crate) server: String,
    pub(crate) server_key: String,
    pub(crate) service_account_key: String,
    pub(crate) service_account_public_key: String,
}

impl Certificates {
    pub(crate) fn generate() -> Result<Self, RigError> {
        let mut ca = CertificateParams::new(Vec::new())?;
        ca.distinguished_name
            .push(DnType::CommonName, "sealkit-rig CA");
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyCertSign,
        ];
        let ca_key = KeyPair::generate()?;
        let ca_pem = ca.self_signed(&ca_key)?.pem();

        let mut server = CertificateParams::new(SERVER_NAMES.map(str::to_owned))?;
        server
            .distinguished_name
            .push(DnType::CommonName, "kube-apiserver");
        server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        server.use_authority_key_identifier_extension = true;
        let server_key = KeyPair::generate()?;
        let server_pem = server
            .signed_by(&server_key, &Issuer::new(ca, ca_key))?
            .pem();

        let service_account_key = KeyPair::generate()?;
        Ok(Self {
            ca: ca_pem,
            server: server_pem,
            server_key: server_key.serialize_pem(),
            service_account_key: service_account_key.serialize_pem(),
            service_account_public_key: service_account_key.public_key_pem(),
        })
    }
}

/// The last is what clients inside a cluster use.
const SERVER_NAMES: [&str; 3] = ["127.0.0.1", "localhost", "kubernetes.default.svc"];
