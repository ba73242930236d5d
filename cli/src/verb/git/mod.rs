//! `seal git`, and the verbs that Git calls: key-wise merge and diff, without a private key.

mod merge;
mod show;

pub(crate) use crate::git::setup::install;
pub(crate) use merge::merge_driver;
pub(crate) use show::{diff, textconv};
