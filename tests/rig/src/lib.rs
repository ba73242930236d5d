//! Starts a real Kubernetes control plane (etcd, kube-apiserver, kube-controller-manager) as local
//! processes, without containers, for tests and for people.
//!
//! ```no_run
//! use sealkit_rig::{ControlPlane, Options};
//!
//! # fn main() -> Result<(), sealkit_rig::RigError> {
//! let cluster = ControlPlane::start(Options::default())?;
//! cluster.kubectl(&["create", "namespace", "demo"])?;
//! # Ok(())
//! # }
//! ```
//!
//! The binaries come from `KUBEBUILDER_ASSETS` or are built once from the pinned Go module
//! `tests/rig/k8s` into a cache outside the tree; see [`Assets`]. Other servers and tools join the
//! same way: [`go_tools`], [`python_venv`], [`node_script`], [`Process`], [`free_port`].
//!
//! [`Flux`] and [`ArgoCd`] deliver to a control plane what a [`GitServer`] holds.
//!
//! [`Prometheus`] scrapes what serves metrics and answers queries.
//!
//! [`OpenBao`] is a real server of secrets, [`Moto`] answers as AWS does; a [`Proxy`] before one of
//! them, or before any other server that speaks plain HTTP, injects faults. A
//! [`ForwardProxy`] stands between a client and the world, as those of companies do.
//!
//! A [`Node`] is a control plane that also runs pods, from an [`Image`] made of a folder.
//!
//! Where util-linux's `setpriv` exists, the kernel kills every process as soon as the test process
//! is gone, however it ended. Elsewhere only `Drop` does.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))] // a failed step should end the test right there

mod argocd;
mod assets;
mod cache;
mod certificates;
mod control_plane;
mod error;
mod flux;
mod forward;
mod git_server;
mod image;
mod kept;
mod kubeconfig;
mod memory;
mod moto;
mod node;
mod openbao;
mod ports;
mod process;
mod prometheus;
mod proxy;
mod run_dir;
mod servers;
mod tools;

pub use argocd::ArgoCd;
pub use assets::Assets;
pub use control_plane::{ControlPlane, Options};
pub use error::RigError;
pub use flux::Flux;
pub use forward::{ForwardProxy, Manners};
pub use git_server::{GitRepository, GitServer};
pub use image::Image;
pub use kept::{running_kubeconfig, stop_kept};
pub use memory::MemoryLimit;
pub use moto::{Moto, MotoCall};
pub use node::Node;
pub use openbao::{BaoAnswer, BaoCall, BaoClient, OpenBao};
pub use ports::free_port;
pub use process::Process;
pub use prometheus::Prometheus;
pub use proxy::{Fault, Proxy};
pub use tools::{go_tools, node_script, python_venv};
