//! `seal completions` and `seal man`: made from the same description as `--help`.

use std::path::Path;

use clap::CommandFactory as _;

use crate::args::{Cli, CompletionsArgs, ManArgs};
use crate::error::{CommandError, Result};
use crate::terminal::{Terminal, print, shown};

/// Prints the completions of a shell.
pub(crate) fn completions(args: &CompletionsArgs) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "seal", &mut script);
    print(script)
}

/// Prints the man page of `seal`, or writes one page for each verb into a folder.
pub(crate) fn man(args: &ManArgs, terminal: Terminal) -> Result<()> {
    let Some(folder) = &args.write else {
        let mut page = Vec::new();
        clap_mangen::Man::new(Cli::command())
            .render(&mut page)
            .map_err(|_| CommandError::bug("the man page cannot be made"))?;
        return print(page);
    };
    let fail = |_| CommandError::input("the man pages cannot be written").on(shown(folder));
    std::fs::create_dir_all(folder).map_err(fail)?;
    clap_mangen::generate_to(Cli::command(), Path::new(folder)).map_err(fail)?;
    terminal.done("wrote man pages to", folder);
    Ok(())
}
