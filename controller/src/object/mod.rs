//! What objects of every kind have: where they are, what they are called, how they are read, and
//! what is remembered of them.

mod known;
mod origin;
mod place;
mod raw;

pub use known::{Known, News};
pub use origin::{Kind, Origin, REWRAP_REQUEST, SEALED_SECRET, SEALING_KEY};
pub use place::{Key, Namespaces, api, served};
pub use raw::{Asked, Raw, Spec, Waiting, WaitingRoom};
