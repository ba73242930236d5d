//! What objects of every kind have in common: their place, their name, how they are read, and what
//! is remembered about them.

mod known;
mod metadata;
mod origin;
mod place;
mod raw;
mod version;

pub use known::{Known, News};
pub(crate) use metadata::reads;
pub use metadata::{Labelled, RawMeta, used as used_metadata};
pub use origin::{Kind, Origin, REWRAP_REQUEST, SEALED_SECRET, SEALING_KEY};
pub use place::{Key, Namespaces, api, served};
pub use raw::{Asked, Raw, Spec, Waiting, WaitingRoom};
pub use version::Version;
