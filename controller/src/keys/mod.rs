//! The cluster's key pairs. The truth is the identity Secrets in the controller's namespace; a
//! SealingKey's spec is a request, its status a projection that heals. Editing SealingKeys without
//! rights on Secrets gains nothing.
//!
//! Every replica reads the keys, so that one that waits for the lease could open objects at once;
//! only the one that leads acts on them.

mod decide;
mod reader;
mod reconcile;

use std::collections::BTreeSet;
use std::sync::Arc;

use sealkit_core::keys::{Fingerprint, KeyRing, KeyType};
use tokio::sync::watch;

pub use reconcile::{KeyReconciler, NAME};

/// The keys in force. Replaced as a whole when anything about them changes.
#[derive(Clone, Default)]
pub struct Keys {
    /// Identities that may open: Active and DecryptOnly.
    pub ring: KeyRing,
    /// Fingerprints of all identities, the revoked ones too.
    pub own: BTreeSet<Fingerprint>,
    /// The newest Active key, which sealing uses.
    pub newest: Option<(Fingerprint, KeyType)>,
    /// When the newest was made, in Unix seconds.
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

    /// Do they open and judge objects as the others do?
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

/// The live objects that a key really opened and that no other key opens, as `namespace/name`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Users {
    /// Not all objects were looked at yet.
    Unknown,
    /// As before, and these cannot be dealt with: it may stay so.
    Failing(Vec<String>),
    /// These.
    Known(Vec<String>),
}

/// Tells the users of a key.
pub type Usage = Arc<dyn Fn(&Fingerprint) -> Users + Send + Sync>;

/// How to ask for the users of keys: `None` while another replica leads.
pub type Leading = watch::Receiver<Option<Usage>>;

/// The keys in force, and a signal when they change. `None` until they were loaded.
pub type KeysReceiver = watch::Receiver<Option<Arc<Keys>>>;
