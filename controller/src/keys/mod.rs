//! The cluster's key pairs. The identity Secrets in the controller's namespace are authoritative; a
//! SealingKey's spec is a request, and its status a projection that the controller restores.
//! Editing SealingKeys without rights on Secrets gains nothing.
//!
//! Every replica reads the keys, so that a replica that waits for the lease can open objects at
//! once when it leads. Only the leader acts on them.

mod decide;
mod reader;
mod reconcile;

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::future::BoxFuture;
use sealkit_core::keys::{Fingerprint, KeyRing, KeyType};
use tokio::sync::watch;

use crate::kubernetes::ApiFailure;

pub use reconcile::{KeyReconciler, NAME};

/// The keys in force. They are replaced as a whole when any of them changes.
#[derive(Clone, Default)]
pub struct Keys {
    /// Identities that may open: Active and DecryptOnly.
    pub ring: KeyRing,
    /// Fingerprints of all identities, including revoked ones.
    pub own: BTreeSet<Fingerprint>,
    /// The newest Active key, which sealing uses.
    pub newest: Option<(Fingerprint, KeyType)>,
    /// When the newest was created, in Unix seconds.
    pub newest_created: i64,
}

impl Keys {
    /// Sets the gauge of the newest key's age.
    pub(crate) fn scrape(&self, metrics: &crate::telemetry::Metrics) {
        metrics.key_age.clear();
        if let Some((fingerprint, _)) = self.newest {
            let label = crate::telemetry::KeyLabel {
                fingerprint: fingerprint.to_string(),
            };
            let age = jiff::Timestamp::now().as_second() - self.newest_created;
            #[expect(clippy::cast_precision_loss, reason = "seconds since a key was made")]
            metrics.key_age.get_or_create(&label).set(age as f64);
        }
    }

    /// Do both lead to the same reconciles of objects?
    pub fn same(&self, other: &Self) -> bool {
        self.newest == other.newest
            && self.own == other.own
            && self
                .ring
                .iter()
                .map(sealkit_core::keys::Identity::fingerprint)
                .eq(other
                    .ring
                    .iter()
                    .map(sealkit_core::keys::Identity::fingerprint))
    }
}

/// The live objects that a key opened and that no other key opens, as `namespace/name`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Users {
    /// Some objects were not reconciled yet.
    Unknown,
    /// These objects cannot be reconciled, and the users may stay unknown.
    Failing(Vec<String>),
    /// These namespaces may not be watched, and their objects are unknown.
    Unwatched(Vec<String>),
    /// The users.
    Known(Vec<String>),
}

/// What the leader knows of the objects that keys open.
pub trait KeyUsers: Send + Sync {
    /// The users of a key, from memory.
    fn users_of(&self, key: &Fingerprint) -> Users;

    /// Does memory have every object as the API server has it now? Memory is old after a freeze, and
    /// while a watch is cut off.
    fn is_current(&self) -> BoxFuture<'_, Result<bool, ApiFailure>>;
}

/// Whom to ask for the users of keys; `None` while another replica leads.
pub type Leading = watch::Receiver<Option<Arc<dyn KeyUsers>>>;

/// The keys in force, and a signal when they change. `None` until they are loaded.
pub type KeysReceiver = watch::Receiver<Option<Arc<Keys>>>;
