//! The in-cluster controller: opens SealedSecrets, keeps the cluster's sealing keys, and rewraps
//! envelopes when they rotate.
//!
//! One folder per job. A reconciler's folder has `mod.rs` (wiring and triggers) and
//! `reconcile.rs` (observe, decide, act); what it decides are pure functions with table tests.
//! [`queue`] serves all reconcilers, [`target`] is the one way a Secret is written, [`status`] the
//! one way conditions are built, [`telemetry`] logs, metrics, events and health.

mod freeze;
pub mod keys;
pub mod kubernetes;
mod place;
pub mod queue;
pub mod rewrap;
pub mod run;
pub mod sealed_secret;
pub mod settings;
pub mod status;
pub mod target;
pub mod telemetry;
mod watch;
