//! Interop tests: other implementations of age, of the sealed format, of YAML and of status
//! readers must agree with ours. The peers are built once into the rig's cache, from the pinned
//! manifests under `go` and `tests/second_reader`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed step should end the test right there"
)]

mod age_envelopes;
mod age_keys;
mod by_hand;
mod cctv;
mod hpke_kem;
mod hydrator;
mod notifications;
mod peers;
mod python;
mod random;
mod recovery_text;
mod release;
mod scanners;
mod schemas;
mod status;
mod template;
mod yaml;
