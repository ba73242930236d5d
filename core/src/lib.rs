//! The heart of Sealkit: the sealed format, the reading of manifests and the API types.
//!
//! Nothing in here touches a network, a file or a cluster, and no result depends on a clock; only
//! the bound on the time of a render reads one. Arrows point one way:
//! [`keys`] ← [`sealed`] ← [`manifest`] ← [`template`] ← [`api`]. The sealed format
//! knows no Kubernetes type, so another program can use it alone. The format itself is specified in
//! `docs/design/format.md`.

pub mod api;
pub mod keys;
pub mod manifest;
pub mod names;
pub mod sealed;
pub mod template;
