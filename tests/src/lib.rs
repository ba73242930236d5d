//! What end-to-end tests share: control planes with the manifests of `deploy/base`, controllers
//! as processes under their own `ServiceAccount`, and one recorder that holds every status ever
//! written against the rules of the status design.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]
#![allow(
    clippy::missing_panics_doc,
    reason = "a failed step ends the test right there"
)]

pub mod api;
pub mod canary;
pub mod controller;
pub mod delivery;
pub mod external;
pub mod namespace;
pub mod plane;
pub mod program;
pub mod recorder;
pub mod repository;
pub mod rewrap;
pub mod sealing;
pub mod secret_watch;
pub mod status_history;
pub mod status_rules;
pub mod wait;
pub mod webhook;
