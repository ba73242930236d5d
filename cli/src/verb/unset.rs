//! `seal unset`: removes values from a file.

use std::path::PathBuf;

use clap::Args;
use sealkit_core::names::printable;
use sealkit_core::sealed::SealedView;

use crate::error::{CommandError, Result};
use crate::files::lock::{Lock, replace_unchanged};
use crate::git::repository::Location;
use crate::sealing::held::{find_object, read};
use crate::sealing::merging::{check_readable, without};
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
    let view = SealedView::of(&documents[index].object);
    let left: Vec<&str> = view
        .values()
        .map(|(key, _)| key)
        .filter(|key| !args.keys.iter().any(|gone| gone == key))
        .collect();
    check_readable(
        &documents[index],
        args.keys.iter().map(String::as_str),
        false,
    )
    .map_err(|_| still_read(&args.keys))
    .map_err(on_file)?;
    let title = documents[index].title();
    if left.is_empty() {
        terminal.warning(format_args!(
            "{title} has no value any more: the cluster makes an empty Secret of it"
        ));
    }
    let secret_type = view
        .template()
        .and_then(|template| template.get("type")?.as_str())
        .unwrap_or_default();
    let missing: Vec<&str> = required(secret_type)
        .iter()
        .copied()
        .filter(|key| args.keys.iter().any(|gone| gone == key))
        .collect();
    if !missing.is_empty() {
        terminal.warning(format_args!(
            "{title}: a Secret of type {} needs {}: the API server refuses it without",
            printable(secret_type),
            missing.join(", ")
        ));
    }
    let text = without(&old, &documents, index, &args.keys).map_err(on_file)?;
    replace_unchanged(&place.real, Some(&old), text.as_bytes()).map_err(on_file)?;
    terminal.done("changed", &args.path);
    Ok(())
}

/// The templates of the object would fail.
fn still_read(keys: &[String]) -> CommandError {
    let keys: Vec<_> = keys.iter().map(|key| printable(key)).collect();
    CommandError::input(format_args!(
        "templates of the object read {}",
        keys.join(", ")
    ))
    .hint(
        "take it out of spec.template first: without the value, the templates fail in the cluster",
    )
}

/// The keys that the API server wants in Secrets of a type.
fn required(secret_type: &str) -> &'static [&'static str] {
    match secret_type {
        "kubernetes.io/tls" => &["tls.crt", "tls.key"],
        "kubernetes.io/dockerconfigjson" => &[".dockerconfigjson"],
        "kubernetes.io/dockercfg" => &[".dockercfg"],
        "kubernetes.io/ssh-auth" => &["ssh-privatekey"],
        _ => &[],
    }
}
