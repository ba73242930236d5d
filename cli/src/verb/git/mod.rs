//! `seal git`, and the verbs that Git calls: key-wise merge and diff, without a private key.

mod merge;
mod show;

use clap::{Args, Subcommand};

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
    Install(InstallArgs),
    /// Undo `seal git install` in this clone
    #[command(after_help = "Example:\n  seal git uninstall")]
    Uninstall,
}

/// Flags of `seal git install`.
#[derive(Args, Debug)]
pub(super) struct InstallArgs {
    /// Leave the pre-commit hook out
    #[arg(long)]
    pub no_hook: bool,
}

/// Runs one of the verbs.
pub(super) fn run(command: &GitCommand, terminal: Terminal) -> Result<()> {
    match command {
        GitCommand::Install(args) => setup::install(!args.no_hook, terminal),
        GitCommand::Uninstall => setup::uninstall(terminal),
    }
}
