//! `seal git`, and the verbs that Git calls: key-wise merge and diff, without a private key.

mod merge;
mod show;

use clap::Subcommand;

use crate::error::Result;
use crate::git::setup;
use crate::terminal::Terminal;

pub(super) use merge::{MergeDriverArgs, merge_driver};
pub(super) use show::{DiffArgs, TextconvArgs, diff, textconv};

/// The verbs of `seal git`.
#[derive(Debug, Subcommand)]
pub(super) enum GitCommand {
    /// Set up merge driver, diff driver and pre-commit hook of this clone, and .gitattributes
    #[command(after_help = "Example:\n  seal git install && git add .gitattributes")]
    Install,
}

/// Runs one of the verbs.
pub(super) fn run(command: &GitCommand, terminal: Terminal) -> Result<()> {
    match command {
        GitCommand::Install => setup::install(terminal),
    }
}
