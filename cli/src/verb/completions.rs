//! `seal completions`: made from the same description as `--help`.

use clap::Args;

use crate::error::Result;
use crate::terminal::print;

/// Flags of `seal completions`.
#[derive(Args, Debug)]
pub(super) struct CompletionsArgs {
    /// Shell to complete for
    pub shell: clap_complete::Shell,
}

/// Prints the completions of a shell.
pub(super) fn run(args: &CompletionsArgs, mut command: clap::Command) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "seal", &mut script);
    print(script)
}
