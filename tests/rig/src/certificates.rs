//! Keys and certificates of one control plane.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use crate::RigError;
use crate::node::ADDRESS;

/// Everything in PEM.
pub(crate) struct Certificates {
    pub(crate) ca: String,
    pub(crate) server: String,
    pub(crate) server_key: String,
    /// By which the API server shows itself to a node's kubelet.
    pub(crate) kubelet_client: String,
    pub(crate) kubelet_client_key: String,
    pub(crate) kubelet: String,
    pub(crate) kubelet_key: String,
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

        let issuer = Issuer::new(ca, ca_key);
        let server = Pair::issue(
            &issuer,
            CertificateParams::new(SERVER_NAMES.map(str::to_owned))?,
            [(DnType::CommonName, "kube-apiserver")],
            ExtendedKeyUsagePurpose::ServerAuth,
        )?;
        let kubelet_client = Pair::issue(
            &issuer,
            CertificateParams::default(),
            [
                (DnType::OrganizationName, "system:masters"),
                (DnType::CommonName, "kube-apiserver-kubelet-client"),
            ],
            ExtendedKeyUsagePurpose::ClientAuth,
        )?;
        let kubelet = Pair::issue(
            &issuer,
            CertificateParams::new([ADDRESS.to_owned()])?,
            [(DnType::CommonName, "kubelet")],
            ExtendedKeyUsagePurpose::ServerAuth,
        )?;

        let service_account_key = KeyPair::generate()?;
        Ok(Self {
            ca: ca_pem,
            server: server.certificate,
            server_key: server.key,
            kubelet_client: kubelet_client.certificate,
            kubelet_client_key: kubelet_client.key,
            kubelet: kubelet.certificate,
            kubelet_key: kubelet.key,
            service_account_key: service_account_key.serialize_pem(),
            service_account_public_key: service_account_key.public_key_pem(),
        })
    }
}

/// A certificate and its key.
struct Pair {
    certificate: String,
    key: String,
}

impl Pair {
    fn issue<const N: usize>(
        issuer: &Issuer<'_, KeyPair>,
        mut params: CertificateParams,
        subject: [(DnType, &str); N],
        usage: ExtendedKeyUsagePurpose,
    ) -> Result<Self, RigError> {
        for (part, value) in subject {
            params.distinguished_name.push(part, value);
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        Ok(Self {
            certificate: params.signed_by(&key, issuer)?.pem(),
            key: key.serialize_pem(),
        })
    }
}

/// The last three are what clients inside a cluster use; the first of them is the Service's.
const SERVER_NAMES: [&str; 5] = [
    "127.0.0.1",
    "localhost",
    "10.0.0.1",
    ADDRESS,
    "kubernetes.default.svc",
];
