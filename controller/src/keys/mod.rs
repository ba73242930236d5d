//! The cluster's key pairs. The truth is the identity Secrets in the controller's namespace; a
//! SealingKey's spec is a request, its status a projection that heals. Editing SealingKeys without
//! rights on Secrets gains nothing.

mod decide;
mod reconcile;

use std::collections::BTreeSet;
use std::sync::Arc;

use sealkit_core::keys::{Fingerprint, KeyRing, KeyType};
use tokio::sync::watch;

pub use reconcile::KeyReconciler;

/// Label of an identity Secret and annotation of a SealingKey: 32 hex characters, recomputed from
/// the identity and never believed.
pub const FINGERPRINT: &str = "sealkit.dev/fingerprint";
/// Annotation of an identity Secret: Active, DecryptOnly or Revoked.
pub const STATE_ANNOTATION: &str = "sealkit.dev/state";
/// Annotation of an identity Secret: when the key pair was made.
pub const CREATED_ANNOTATION: &str = "sealkit.dev/created-at";
/// Annotation of an identity Secret: the name of its SealingKey.
pub const SEALING_KEY_ANNOTATION: &str = "sealkit.dev/sealing-key";
/// Annotation of a SealingKey: revoke this fingerprint although objects need it.
pub const FORCE_REVOKE: &str = "sealkit.dev/force-revoke";

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

/// The keys in force, and a signal when they change. `None` until they were loaded.
pub type KeysReceiver = watch::Receiver<Option<Arc<Keys>>>;
