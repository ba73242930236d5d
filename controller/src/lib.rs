//! The in-cluster controller: opens SealedSecrets, makes Secrets of what stores hold, keeps the
//! cluster's sealing keys, and rewraps envelopes when they rotate.
//!
//! One folder per resource or job: `sealed_secret`, `external_secret`, `cluster_external_secret`,
//! `secret_store`, `rewrap`, `restart`, `keys`. Each has `mod.rs` (wiring and triggers) and `reconcile.rs`
//! (observe, decide, act); decisions are pure functions with table tests. `admission` is the webhook,
//! which judges by the same rules before an object is stored. All of them share `reconciler` (their frame),
//! `in_hand` (what a process that died worked on), `object` (what every kind has), `queue` (waiting
//! work), `watch` (watches that never end), `secret` (the only place that watches and writes
//! Secrets), [`render`] (templates, in a process of their own), [`status`] (the only place that
//! writes statuses) and [`telemetry`] (logs, metrics, events, health). `store` has the providers of
//! external secrets, `proxies` the ways to them.

mod admission;
mod cluster_external_secret;
mod external_secret;
mod in_hand;
mod keys;
mod kubernetes;
mod lock;
mod object;
pub mod observe;
mod proxies;
mod queue;
mod reconciler;
pub mod render;
mod restart;
mod rewrap;
pub mod run;
mod sealed_secret;
mod secret;
mod secret_store;
pub mod settings;
mod sources;
pub mod status;
mod store;
pub mod telemetry;
mod utf8;
mod watch;

/// For tests on real API servers that no custom resource can trigger yet. Not part of the API.
#[doc(hidden)]
pub mod testing {
    pub use crate::object::{Kind, Origin, SEALED_SECRET};
    pub use crate::secret::{
        Before, Consent, Desired, Freeze, Op, Ownership, Revision, Rights, Secrets, Values,
        WriteError,
    };
    pub use crate::store::parsed_answers;
}
