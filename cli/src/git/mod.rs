//! Git, as this program uses it: where a repository lies, what its history and its index hold, and
//! what of `seal` it is told to call.

pub(crate) mod command;
pub(crate) mod history;
pub(crate) mod repository;
pub(crate) mod setup;
pub(crate) mod staged;
