//! `seal keys fetch`: the public key of a cluster as a recipient file.

use std::path::PathBuf;

use clap::Args;

use crate::args::ClusterArgs;
use crate::cluster::connect;
use crate::error::Result;
use crate::recipients::recipient_file::{recipient_file, write_recipient_file};
use crate::terminal::{Session, print};

/// Flags of `seal keys fetch`.
#[derive(Args, Debug)]
pub(crate) struct FetchArgs {
    /// Which cluster.
    #[command(flatten)]
    pub cluster: ClusterArgs,
    /// Recipient file to write or replace [default: stdout]
    #[arg(short, long, value_name = "FILE")]
    pub write: Option<PathBuf>,
}

/// Prints the file, or writes it over another recipient file at most.
pub(super) fn run(args: &FetchArgs, session: Session<'_>) -> Result<()> {
    let Session { global, terminal } = session;
    let cluster = connect(&args.cluster, global)?;
    let key = cluster.newest_key(terminal)?;
    let text = recipient_file(&cluster, &key);
    let Some(path) = args.write.as_ref().filter(|path| path.as_os_str() != "-") else {
        return print(text);
    };
    write_recipient_file(path, &text)?;
    terminal.done("wrote", path);
    Ok(())
}
