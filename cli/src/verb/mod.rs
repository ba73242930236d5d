//! The verbs, one file or folder each.

pub mod completions;
pub mod doctor;
pub mod edit;
pub mod git;
pub mod init;
pub mod keys;
pub mod open;
pub mod reseal;
pub mod seal;
pub mod set;
pub mod status;
pub mod verify;
pub mod version;
