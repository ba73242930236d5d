//! Git, as this program uses it: the place of a repository, its history and its index, and the
//! commands of `seal` that it runs.

pub(crate) mod command;
pub(crate) mod history;
pub(crate) mod repository;
pub(crate) mod setup;
pub(crate) mod staged;
