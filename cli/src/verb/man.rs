//! `seal man`: made from the same description as `--help`.

use std::path::PathBuf;

use clap::Args;

use crate::error::{CommandError, Result};
use crate::terminal::{Terminal, print, shown};

/// Flags of `seal man`.
#[derive(Args, Debug)]
pub(super) struct ManArgs {
    /// Folder to write one page for each verb to [default: print the page of `seal`]
    #[arg(short, long, value_name = "DIR")]
    pub write: Option<PathBuf>,
}

/// Prints the man page of `seal`, or writes one page for each verb into a folder.
pub(super) fn run(args: &ManArgs, command: clap::Command, terminal: Terminal) -> Result<()> {
    let Some(folder) = &args.write else {
        let mut page = Vec::new();
        clap_mangen::Man::new(command)
            .render(&mut page)
            .map_err(|_| CommandError::bug("the man page cannot be made"))?;
        return print(page);
    };
    let fail = |_| CommandError::input("the man pages cannot be written").on(shown(folder));
    std::fs::create_dir_all(folder).map_err(fail)?;
    clap_mangen::generate_to(command, folder).map_err(fail)?;
    terminal.done("wrote man pages to", folder);
    Ok(())
}
