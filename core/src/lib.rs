//! The heart of Sealkit: the sealed format, the reading of manifests and the API types.
//!
//! Nothing in here touches a network, a clock, a file or a cluster. Arrows point one way:
//! [`keys`] ← [`sealed`] ← [`api`] and [`template`], with [`manifest`] beside them. The sealed
//! format knows no Kubernetes type, so another program can use it alone. The format itself is
//! specified in `docs/design/format.md`.

pub mod api;
pub mod keys;
pub mod manifest;
pub mod names;
pub mod sealed;
pub mod template;
