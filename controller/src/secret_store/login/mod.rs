//! From a store's provider to a session: which Secrets and ServiceAccounts it may use, and the login.
//! One file for each provider that needs one.

mod aws;
mod credentials;
mod kubernetes;
mod vault;

use kube::Client;
use sealkit_core::api::external::{
    AwsProvider, FakeProvider, KubernetesProvider, ProviderChoice, RetrySettings, SecretStoreSpec,
    StoreKind, VaultProvider,
};
use sealkit_core::names;

use super::StoreName;
use crate::sources::Used;
use crate::store::{Fake, Provider, Session, StoreError};

use credentials::Credentials;

/// The provider of a store, and how it proves who asks.
pub(super) enum Login<'a> {
    Vault(&'a VaultProvider, vault::Auth<'a>),
    Aws(&'a AwsProvider, aws::Auth<'a>, Option<&'a RetrySettings>),
    Kubernetes(&'a KubernetesProvider, kubernetes::Auth<'a>),
    Fake(&'a FakeProvider),
}

impl<'a> Login<'a> {
    /// Decides by the spec alone. Error: [`StoreError::Config`].
    pub(super) fn of(spec: &'a SecretStoreSpec) -> Result<Self, StoreError> {
        match spec.provider.choice() {
            Some(ProviderChoice::Vault(vault)) => Ok(Self::Vault(vault, vault::auth(vault)?)),
            Some(ProviderChoice::Aws(aws)) => Ok(Self::Aws(
                aws,
                aws::auth(aws)?,
                spec.retry_settings.as_ref(),
            )),
            Some(ProviderChoice::Kubernetes(kubernetes)) => {
                Ok(Self::Kubernetes(kubernetes, kubernetes::auth(kubernetes)?))
            }
            Some(ProviderChoice::Fake(fake)) => Ok(Self::Fake(fake)),
            Some(ProviderChoice::Unserved(other)) => {
                Err(not_served(&format!("provider {}", names::printable(other))))
            }
            None => Err(StoreError::Config(
                "the store names no provider, or two".to_owned(),
            )),
        }
    }

    /// The namespace whose identity a store of the cluster uses, if its references name none: that of
    /// whoever uses it.
    pub(super) fn referent(&self, store: &StoreName, user: &str) -> Option<String> {
        let is_referent = match self {
            Self::Vault(provider, auth) => vault::is_referent(provider, auth),
            Self::Aws(provider, auth, _) => aws::is_referent(provider, auth),
            Self::Kubernetes(provider, auth) => kubernetes::is_referent(provider, auth),
            Self::Fake(_) => false,
        };
        (is_referent && store.kind == StoreKind::ClusterSecretStore).then(|| user.to_owned())
    }

    /// Reads what the store refers to, which `used` takes down, and logs in. With `lends_identity`, the controller's own
    /// identity may serve stores of the cluster.
    pub(super) async fn open(
        &self,
        client: &Client,
        store: &StoreName,
        user: &str,
        lends_identity: bool,
        used: &Used,
    ) -> Result<Session, StoreError> {
        let team = match store.kind {
            StoreKind::SecretStore => store.namespace.clone(),
            StoreKind::ClusterSecretStore => {
                let referent = self.referent(store, user);
                referent.unwrap_or_else(|| format!("ClusterSecretStore/{}", store.name))
            }
        };
        let credentials = Credentials {
            client,
            store,
            user,
            lends_identity,
            team,
            used,
        };
        let provider = match self {
            Self::Vault(provider, auth) => {
                Provider::Vault(vault::open(&credentials, provider, auth).await?)
            }
            Self::Aws(provider, auth, retry) => {
                Provider::Aws(aws::open(&credentials, provider, auth, *retry).await?)
            }
            Self::Kubernetes(provider, auth) => {
                Provider::Kubernetes(kubernetes::open(&credentials, provider, auth).await?)
            }
            Self::Fake(provider) => Provider::Fake(Fake::new(provider)),
        };
        Ok(Session::new(provider, &credentials.team))
    }
}

/// The error for what somebody may ask for, later.
pub(super) fn not_served(what: &str) -> StoreError {
    StoreError::Config(format!("{what} is not served by Sealkit"))
}
