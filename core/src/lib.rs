//! The heart of Sealkit: the sealed format, the reading of manifests and the API types.
//!
//! No code here touches a network, a file or a cluster, and no result depends on a clock; only the
//! bound on the time of a render reads one. Dependencies point one way: [`keys`] ← [`sealed`] ←
//! [`template`] ← [`api`], with [`manifest`] beside them. The sealed format knows no Kubernetes
//! type, so another program can use it alone. `docs/design/format.md` specifies the format.

pub mod api;
pub mod keys;
pub mod lint;
pub mod manifest;
pub mod names;
pub mod proxy;
pub mod references;
pub mod sealed;
pub mod template;
