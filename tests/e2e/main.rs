//! End-to-end tests: the real controller under its real rights, on real servers.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod attacks;
mod canary;
mod conflict;
mod crash;
mod deploy;
mod drift;
mod external;
mod external_schema;
mod fairness;
mod flood;
mod flux;
mod image;
mod keys;
mod limits;
mod memory;
mod namespaced;
mod opening;
mod operations;
mod outage;
mod policy;
mod probes;
mod recovery;
mod refusal;
mod replicas;
mod reseal;
mod rewrap;
mod rights;
mod rotation;
mod rules;
mod soak;
mod suspend;
mod tampered;
mod template;
