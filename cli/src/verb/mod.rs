//! The verbs, one file or folder each.

pub(crate) mod completions;
pub(crate) mod doctor;
pub(crate) mod edit;
pub(crate) mod git;
pub(crate) mod init;
pub(crate) mod keys;
pub(crate) mod open;
pub(crate) mod reseal;
pub(crate) mod seal;
pub(crate) mod set;
pub(crate) mod status;
pub(crate) mod verify;
pub(crate) mod version;
