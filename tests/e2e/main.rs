//! End-to-end tests: the real controller under its real rights, on real servers.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod canary;
mod conflict;
mod crash;
mod drift;
mod keys;
mod limits;
mod opening;
mod outage;
mod probes;
mod recovery;
mod refusal;
mod replicas;
mod rights;
