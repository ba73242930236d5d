//! Keeps the webhook's certificate: signs it by an authority that all replicas share through a
//! Secret, and tells API servers whom to trust. Or reads the files that somebody else keeps.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Api, Client};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use serde::Deserialize;
use serde_json::{Value, json};
use zeroize::{Zeroize, Zeroizing};

use super::authority::{Authorities, CertificateError, Signed, certified};
use crate::kubernetes::{self, ApiFailure, within};
use crate::lock::lock;
use crate::object::{reads, used_metadata};
use crate::telemetry::Health;

/// The Service through which API servers call the webhook, and the Secret with its authorities.
pub const SERVICE: &str = "seal-controller-webhook";
/// The webhook configuration of `deploy/components/webhook`.
const CONFIGURATION: &str =
    "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/sealkit";
/// The manager of the field `caBundle`, and of nothing else.
const FIELD_MANAGER: &str = "seal-controller-webhook";
/// Certificates and keys of the authorities in the Secret.
const CERTIFICATES: &str = "ca.crt";
const KEYS: &str = "ca.key";
/// The longest pause between two looks at Secret, configuration or files. Damage lasts no longer.
const EVERY: Duration = Duration::from_secs(5);

/// What went wrong in one look.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("{0}: {1}")]
    Api(&'static str, ApiFailure),
    #[error("{0}")]
    Certificate(#[from] CertificateError),
    #[error("cannot read tls.crt and tls.key in --webhook-cert-dir: {0}")]
    File(std::io::ErrorKind),
}

/// The certificate that is served now; `None` until there is one.
#[derive(Default)]
pub struct Served(Mutex<Option<Arc<CertifiedKey>>>);

impl Served {
    fn replace(&self, with: CertifiedKey) {
        *lock(&self.0) = Some(Arc::new(with));
    }
}

impl std::fmt::Debug for Served {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Served")
    }
}

impl ResolvesServerCert for Served {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        lock(&self.0).clone()
    }
}

/// Whose certificate is served.
pub enum Source {
    /// Our own, for these names and addresses.
    Own {
        /// The API server.
        client: Client,
        /// The namespace of the Secret.
        namespace: String,
        /// What callers may call the webhook.
        names: Vec<String>,
        /// How long API servers get to know a new authority before it signs.
        overlap: Duration,
    },
    /// That of `tls.crt` and `tls.key` in a folder. Its keeper tells API servers whom to trust.
    Files(PathBuf),
}

impl Source {
    /// The pause between two looks. Every replica has to look several times while authorities overlap.
    fn pause(&self) -> Duration {
        match self {
            Self::Own { overlap, .. } => EVERY.min(*overlap / 4).max(EVERY / 20),
            Self::Files(_) => EVERY,
        }
    }
}

/// Keeps the certificate until the task is dropped. `part` is ready once there is one.
pub async fn keep(source: Source, served: Arc<Served>, health: Arc<Health>, part: &'static str) {
    let mut keeper = Keeper {
        served,
        authorities: Authorities::default(),
        signed: None,
        files: None,
    };
    let mut told = String::new();
    loop {
        match keeper.look(&source).await {
            Ok(()) => {
                health.ready(part);
                told.clear();
            }
            Err(trouble) => {
                let trouble = trouble.to_string();
                // Once for each kind of trouble, not every few seconds.
                if trouble != told {
                    tracing::warn!("the webhook's certificate: {trouble}, will retry");
                    told = trouble;
                }
            }
        }
        tokio::time::sleep(source.pause()).await;
    }
}

struct Keeper {
    served: Arc<Served>,
    /// Those that were stored last.
    authorities: Authorities,
    signed: Option<Signed>,
    files: Option<(Vec<u8>, Zeroizing<Vec<u8>>)>,
}

impl Keeper {
    async fn look(&mut self, source: &Source) -> Result<(), Trouble> {
        match source {
            Source::Own {
                client,
                namespace,
                names,
                overlap,
            } => {
                let trusted = self.share(client, namespace, *overlap).await?;
                self.sign(trusted.as_deref(), names, *overlap)
            }
            Source::Files(folder) => self.read_files(folder),
        }
    }

    /// Agrees with the other replicas on the authorities, and tells API servers. Returns what they
    /// trusted before.
    async fn share(
        &mut self,
        client: &Client,
        namespace: &str,
        overlap: Duration,
    ) -> Result<Option<String>, Trouble> {
        let secret_failed = |failure| Trouble::Api("the Secret with its authority", failure);
        let secrets: Api<StoredSecret> = Api::namespaced(client.clone(), namespace);
        let stored = within(secrets.get_opt(SERVICE))
            .await
            .map_err(secret_failed)?;
        let read = stored.as_ref().and_then(StoredSecret::authorities);
        let now = SystemTime::now();
        let next = Authorities::next(read.as_ref(), &self.authorities, overlap, now)?;
        if let Some(next) = &next {
            // Whoever comes second reads at the next look what the first one wrote.
            let written = write(client, namespace, stored.as_ref(), next).await;
            written.map_err(secret_failed)?;
            tracing::info!("stored the certificate authorities of the webhook");
        }
        self.authorities = next.or(read).unwrap_or_default();
        let told = tell(client, &self.authorities.certificates()).await;
        told.map_err(|failure| Trouble::Api("the ValidatingWebhookConfiguration", failure))
    }

    fn sign(
        &mut self,
        trusted: Option<&str>,
        names: &[String],
        overlap: Duration,
    ) -> Result<(), Trouble> {
        let now = SystemTime::now();
        let Some(authority) = self.authorities.signer(trusted, overlap, now) else {
            return Ok(());
        };
        let is_due = |signed: &Signed| signed.is_due(authority, now);
        if self.signed.as_ref().is_none_or(is_due) {
            let signed = authority.sign(names, now)?;
            self.served.replace(signed.served.clone());
            self.signed = Some(signed);
            tracing::info!("serving a new certificate of the webhook");
        }
        Ok(())
    }

    fn read_files(&mut self, folder: &Path) -> Result<(), Trouble> {
        let read = |name| std::fs::read(folder.join(name));
        let failed = |error: std::io::Error| Trouble::File(error.kind());
        let chain = read("tls.crt").map_err(failed)?;
        let key = Zeroizing::new(read("tls.key").map_err(failed)?);
        let is_new = |(old_chain, old_key): &(Vec<u8>, Zeroizing<Vec<u8>>)| {
            *old_chain != chain || *old_key != key
        };
        if self.files.as_ref().is_none_or(is_new) {
            self.served.replace(certified(&chain, &key)?);
            self.files = Some((chain, key));
            tracing::info!("serving a new certificate of the webhook");
        }
        Ok(())
    }
}

/// The Secret as the API server sends it, whatever its metadata holds.
#[derive(Clone, Deserialize)]
struct StoredSecret {
    #[serde(deserialize_with = "used_metadata")]
    metadata: ObjectMeta,
    data: Option<BTreeMap<String, ByteString>>,
}

reads!([] StoredSecret as Secret, metadata_only: false);

/// Shows the name only: it holds a private key.
impl std::fmt::Debug for StoredSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "StoredSecret({:?})", self.metadata.name)
    }
}

impl Drop for StoredSecret {
    fn drop(&mut self) {
        let values = self.data.iter_mut().flat_map(|data| data.values_mut());
        values.for_each(|value| value.0.zeroize());
    }
}

impl StoredSecret {
    fn authorities(&self) -> Option<Authorities> {
        let data = self.data.as_ref()?;
        Authorities::read(&data.get(CERTIFICATES)?.0, &data.get(KEYS)?.0)
    }
}

/// Writes the Secret, if it is still as it was read.
async fn write(
    client: &Client,
    namespace: &str,
    old: Option<&StoredSecret>,
    new: &Authorities,
) -> Result<(), ApiFailure> {
    let path = format!("/api/v1/namespaces/{namespace}/secrets");
    let mut secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": SERVICE},
        "data": {
            CERTIFICATES: BASE64_STANDARD.encode(new.certificates()),
            KEYS: BASE64_STANDARD.encode(new.keys().as_bytes()),
        },
    });
    let written = match old {
        None => kubernetes::create(client, &path, &secret).await,
        Some(old) => {
            secret["metadata"]["uid"] = json!(old.metadata.uid);
            secret["metadata"]["resourceVersion"] = json!(old.metadata.resource_version);
            let path = format!("{path}/{SERVICE}");
            kubernetes::merge_patch(client, &path, &secret).await
        }
    };
    sealkit_core::manifest::wipe(&mut secret);
    written.map(drop)
}

/// Makes API servers trust these certificates. Returns what they trusted before: what every webhook
/// of the configuration has. `None` without a configuration: then nothing calls.
async fn tell(client: &Client, certificates: &str) -> Result<Option<String>, ApiFailure> {
    let Some(configuration) = kubernetes::read_whole(client, CONFIGURATION).await? else {
        return Ok(None);
    };
    let wanted = BASE64_STANDARD.encode(certificates);
    let webhooks = configuration["webhooks"].as_array();
    let bundle = |webhook: &Value| webhook["clientConfig"]["caBundle"].clone();
    let old: Vec<Value> = webhooks.into_iter().flatten().map(bundle).collect();
    if old.iter().all(|bundle| *bundle == wanted) {
        return Ok(Some(certificates.to_owned()));
    }
    let named = webhooks
        .into_iter()
        .flatten()
        .map(|webhook| json!({"name": webhook["name"], "clientConfig": {"caBundle": wanted}}));
    let applied = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {
            "name": configuration["metadata"]["name"], "uid": configuration["metadata"]["uid"],
        },
        "webhooks": named.collect::<Vec<_>>(),
    });
    // Whoever set another bundle made the webhook unreachable.
    let path = format!("{CONFIGURATION}?fieldManager={FIELD_MANAGER}&force=true");
    kubernetes::apply(client, &path, &applied).await?;
    tracing::info!("told API servers which certificate authorities to trust");
    let decode = |bundle: &Value| BASE64_STANDARD.decode(bundle.as_str()?).ok();
    let texts = old.iter().map(|bundle| decode(bundle).unwrap_or_default());
    let texts = texts.map(|text| String::from_utf8_lossy(&text).into_owned());
    // Only what all of them trusted was trusted.
    let same = texts.reduce(|one, other| if one == other { one } else { String::new() });
    Ok(Some(same.unwrap_or_default()))
}
