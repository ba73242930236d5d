//! External Secrets' two functions for PEM, with its rules.

use gtmpl_ng::Value;
use pem::{EncodeConfig, LineEnding, Pem};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::ParsedExtension;

use super::{Result, refusal, strings};

/// Certificates of one chain. Every pair of them is compared to find parents.
const CERTIFICATES: usize = 32;

/// `filterPEM "CERTIFICATE" text`: the blocks of that type, in their order.
pub(super) fn filter_pem(args: &[Value]) -> Result<Value> {
    let [kind, text] = strings(args)?;
    let mut blocks = pem::parse_many(text).map_err(|_| refusal("no PEM"))?;
    blocks.retain(|block| block.tag().eq_ignore_ascii_case(kind));
    Ok(encode(&blocks).into())
}

/// `filterCertChain "leaf" text`: the leaf, the intermediate or the root certificates.
pub(super) fn filter_cert_chain(args: &[Value]) -> Result<Value> {
    let [kind, text] = strings(args)?;
    let blocks = pem::parse_many(text).map_err(|_| refusal("no PEM"))?;
    if blocks.len() > CERTIFICATES {
        return Err(refusal("too many certificates"));
    }
    let certificates = blocks
        .into_iter()
        .map(Certificate::read)
        .collect::<Result<Vec<_>>>()?;
    let chain = chain(&certificates)?;
    let (leaf, rest) = chain
        .split_first()
        .ok_or_else(|| refusal("no certificate"))?;
    let chosen: Vec<&Certificate> = match kind {
        "leaf" if !leaf.is_root() => vec![leaf],
        "intermediate" => rest.iter().take_while(|c| !c.is_root()).copied().collect(),
        "root" => chain
            .iter()
            .find(|c| c.is_root())
            .copied()
            .into_iter()
            .collect(),
        "leaf" => Vec::new(),
        _ => return Err(refusal("neither leaf, intermediate nor root")),
    };
    let blocks: Vec<Pem> = chosen.into_iter().map(|c| c.block.clone()).collect();
    Ok(encode(&blocks).into())
}

struct Certificate {
    block: Pem,
    subject_key: Vec<u8>,
    authority_key: Vec<u8>,
}

impl Certificate {
    fn read(block: Pem) -> Result<Self> {
        let (mut subject_key, mut authority_key) = (Vec::new(), Vec::new());
        {
            let invalid = || refusal("no certificate");
            let (_, certificate) =
                x509_parser::parse_x509_certificate(block.contents()).map_err(|_| invalid())?;
            let certificate: X509Certificate<'_> = certificate;
            for extension in certificate.extensions() {
                match extension.parsed_extension() {
                    ParsedExtension::SubjectKeyIdentifier(key) => subject_key = key.0.to_vec(),
                    ParsedExtension::AuthorityKeyIdentifier(key) => {
                        authority_key = key
                            .key_identifier
                            .as_ref()
                            .map_or(Vec::new(), |key| key.0.to_vec());
                    }
                    _ => {}
                }
            }
        }
        Ok(Self {
            block,
            subject_key,
            authority_key,
        })
    }

    fn is_root(&self) -> bool {
        self.authority_key.is_empty() || self.authority_key == self.subject_key
    }
}

/// From the leaf upwards: the parent's subject key is the child's authority key.
fn chain(certificates: &[Certificate]) -> Result<Vec<&Certificate>> {
    let parent = |child: usize| {
        (0..certificates.len()).find(|other| {
            *other != child && certificates[*other].subject_key == certificates[child].authority_key
        })
    };
    let parents: Vec<Option<usize>> = (0..certificates.len()).map(parent).collect();
    let mut leaves = (0..certificates.len()).filter(|index| !parents.contains(&Some(*index)));
    let (Some(leaf), None) = (leaves.next(), leaves.next()) else {
        return Err(refusal("not one chain"));
    };
    let mut chain = Vec::new();
    let mut next = Some(leaf);
    while let Some(index) = next {
        if chain.len() == certificates.len() {
            return Err(refusal("a cycle"));
        }
        chain.push(&certificates[index]);
        next = parents[index];
    }
    Ok(chain)
}

fn encode(blocks: &[Pem]) -> String {
    let config = EncodeConfig::new().set_line_ending(LineEnding::LF);
    blocks
        .iter()
        .map(|block| pem::encode_config(block, config))
        .collect()
}
