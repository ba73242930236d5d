//! Runs the real binary: one module per verb, and the things that must never happen.
#![expect(clippy::unwrap_used, reason = "a test that panics fails")]
#![expect(clippy::too_many_lines, reason = "tables of cases")]

mod bad_input;
mod bad_sealed;
mod base;
mod branches;
mod canary;
mod cluster;
mod documentation;
mod edit;
mod examples;
mod exposure;
mod git;
mod impact;
mod init;
mod keys;
mod lint;
mod migrate;
mod open;
mod recipients;
mod repository;
mod reseal;
mod sealing;
mod set;
mod spelling;
mod support;
mod template;
mod updating;
mod usage;
mod verify;
mod verify_age;
mod verify_kustomize;
mod verify_scope;
