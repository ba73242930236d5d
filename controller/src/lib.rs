//! The in-cluster controller: opens SealedSecrets, keeps the cluster's sealing keys, and rewraps
//! envelopes when they rotate.
//!
//! One folder per resource or job: `sealed_secret`, `rewrap`, `keys`. Each has `mod.rs` (wiring and
//! triggers) and `reconcile.rs` (observe, decide, act); what it decides are pure functions with
//! table tests. What all of them share has rooms of its own: `reconciler` is their frame, `object`
//! what every kind has, `queue` what waits, `secret` the one way a Secret is watched and written,
//! [`status`] the one way a status is, [`telemetry`] logs, metrics, events and health.

mod keys;
mod kubernetes;
mod object;
mod queue;
mod reconciler;
mod rewrap;
pub mod run;
mod sealed_secret;
mod secret;
pub mod settings;
pub mod status;
pub mod telemetry;
mod watch;

/// For tests on real servers that no custom resource can set up yet. Not part of the API.
#[doc(hidden)]
pub mod testing {
    pub use crate::object::{Kind, Origin, SEALED_SECRET};
    pub use crate::secret::{
        Consent, Desired, Freeze, Op, Ownership, Revision, Secrets, WriteError,
    };
}
