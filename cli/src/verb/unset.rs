//! `seal unset`: removes values from a file.

use std::path::PathBuf;

use clap::Args;

use crate::error::{CommandError, Result};
use crate::files::lock::{Lock, replace_unchanged};
use crate::git::repository::Location;
use crate::sealing::held::{find_object, read};
use crate::sealing::merging::without;
use crate::terminal::{Session, shown};

/// Flags of `seal unset`.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  seal unset db.sealed.yaml OLD_PASSWORD")]
pub(super) struct UnsetArgs {
    /// File that holds the SealedSecret
    #[arg(value_name = "FILE")]
    pub path: PathBuf,
    /// Key to remove
    #[arg(value_name = "KEY", required = true)]
    pub keys: Vec<String>,
    /// Name of the SealedSecret, if the file holds several
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
}

/// Removes values from an object.
pub(super) fn run(args: &UnsetArgs, session: Session<'_>) -> Result<()> {
    let Session { global, terminal } = session;
    let place = Location::of(&args.path)?;
    let on_file = |error: CommandError| error.on(shown(&args.path));
    let _lock = Lock::of([place.real.as_path()]).map_err(on_file)?;
    let (old, documents) = read(&args.path)?;
    let namespace = global.namespace.as_deref();
    let (index, _) = find_object(&documents, namespace, args.name.as_deref()).map_err(on_file)?;
    let text = without(&old, &documents, index, &args.keys).map_err(on_file)?;
    replace_unchanged(&place.real, Some(&old), text.as_bytes()).map_err(on_file)?;
    terminal.done("changed", &args.path);
    Ok(())
}
