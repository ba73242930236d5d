//! `seal keys rotate`: the cluster's side of a rotation, and the recipient file.

use clap::Args;
use sealkit_core::api::{Algorithm, CONTROLLER_NAMESPACE};
use sealkit_core::names::printable;
use serde_json::json;

use crate::args::WriteClusterArgs;
use crate::cluster::{Cluster, Leader, NewestKey, connect_to_write};
use crate::error::{CommandError, Result};
use crate::git::repository::Location;
use crate::recipients::acceptance::Acceptance;
use crate::recipients::cluster_file::ClusterFile;
use crate::recipients::config::Config;
use crate::recipients::from_config;
use crate::recipients::known::KnownClusters;
use crate::recipients::names::Names;
use crate::recipients::trust::trust_quietly;
use crate::report::structured;
use crate::terminal::{Session, Terminal, print, quoted, safe};

/// Flags of `seal keys rotate`.
#[derive(Args, Debug)]
pub(crate) struct RotateArgs {
    /// Which cluster.
    #[command(flatten)]
    pub cluster: WriteClusterArgs,
    /// Use X25519 instead of the post-quantum hybrid, if the controller allows it
    #[arg(long)]
    pub classic: bool,
    /// Accept recipients that differ from those used before
    #[arg(long)]
    pub accept_recipients: bool,
}

/// A new key in the cluster, and its public half in the recipient file of the repository.
pub(super) fn run(args: &RotateArgs, session: Session<'_>) -> Result<()> {
    let Session { global, terminal } = session;
    let (here, config) = Config::here()?;
    let what = "make a new key in";
    let (cluster, name) = connect_to_write(&args.cluster, config.as_ref(), session, what)?;
    // What is in the way is found before there is a new key: other keys than this clone knows too,
    // since the cluster is told of all of them.
    let mut acceptance = Acceptance::new(args.accept_recipients, terminal);
    if let Some(config) = &config {
        acceptance.compare_all(config, here.root.as_deref())?;
        acceptance.save();
    }
    check_controller(&cluster)?;
    let before = match cluster.newest_key(terminal) {
        Err(error) => cluster.lost_key()?.ok_or(error)?,
        found => found?,
    };
    let entry = match (&config, &name) {
        (Some(config), Some(name)) => Some(Entry {
            file: ClusterFile::find(config, name, &before)?,
            config,
            name,
        }),
        // Nothing says which file is the cluster's.
        _ => None,
    };
    let algorithm = if args.classic {
        Algorithm::Classic
    } else {
        Algorithm::Hybrid
    };
    let made = cluster.make_key(algorithm)?;
    terminal.detail(format_args!("SealingKey {} is created", printable(&made)));
    let key = cluster.wait_for_key(&made)?;
    if let Some(entry) = &entry {
        entry.put(&before, &key, &cluster, &here, terminal)?;
    }
    let path = entry.map(|entry| entry.file.path);
    if let Some(form) = global.output {
        let file = path.map(|path| path.to_string_lossy().into_owned());
        return print(structured(
            &json!({
                "sealingKey": key.name, "fingerprint": key.recipient.fingerprint().to_string(),
                "supersedes": before.recipient.fingerprint().to_string(), "recipientFile": file,
            }),
            form,
        )?);
    }
    say_what_is_next(&before, &key, &cluster, path.is_some(), terminal);
    Ok(())
}

/// Without a controller, nobody would make the key, and the request would wait for one.
fn check_controller(cluster: &Cluster) -> Result<()> {
    // Whoever may not ask is told by the key that never gets ready.
    match cluster.leader(CONTROLLER_NAMESPACE) {
        Ok(Leader::Away | Leader::None) => Err(CommandError::cluster(
            "the controller is not running: nothing was changed",
        )
        .on(cluster.title())
        .hint(format_args!(
            "`seal doctor --context {}` says what to look at",
            quoted(cluster.context())
        ))),
        Ok(Leader::Alive) | Err(_) => Ok(()),
    }
}

/// The cluster as the repository knows it.
struct Entry<'a> {
    config: &'a Config,
    /// Its name in the config.
    name: &'a String,
    /// The file that has its present key.
    file: ClusterFile,
}

impl Entry<'_> {
    /// Puts the new key into the recipient file, into what this clone knows, and into the list of
    /// whom the cluster trusts.
    fn put(
        &self,
        before: &NewestKey,
        key: &NewestKey,
        cluster: &Cluster,
        here: &Location,
        terminal: Terminal,
    ) -> Result<()> {
        let Self { config, name, file } = self;
        file.replace(before, key).map_err(|error| {
            error.hint(format_args!(
                "the cluster already has the new key; write it to a file: `seal keys fetch --context {} -w FILE`",
                safe(cluster.context())
            ))
        })?;
        let path = file.path.strip_prefix(config.root());
        terminal.done("wrote", path.unwrap_or(&file.path));
        // Whoever rotates knows the new recipients.
        let mut known = KnownClusters::load(here.root.as_deref());
        known.remember(&from_config(config, std::slice::from_ref(*name))?.groups);
        known.save();
        trust_quietly(cluster, config, name, terminal);
        Ok(())
    }
}

fn say_what_is_next(
    before: &NewestKey,
    key: &NewestKey,
    cluster: &Cluster,
    has_file: bool,
    terminal: Terminal,
) {
    // As the recipient file says now.
    let config = Config::here().ok().and_then(|(_, config)| config);
    let names = config.as_ref().map(Names::of).unwrap_or_default();
    terminal.note(format_args!(
        "new values are now sealed to {}; {} still opens what is sealed to it, but nothing new is",
        names.title(&key.recipient.fingerprint()),
        names.title(&before.recipient.fingerprint()),
    ));
    if has_file {
        terminal.note(format_args!(
            "next: `seal reseal --context {}` (or -i RECOVERY_KEY), commit, and once nothing needs the old key, `seal keys retire {}`",
            quoted(cluster.context()),
            quoted(&before.name)
        ));
    } else {
        terminal.note(
            "next: write the public key to the recipient file of the repository: `seal keys fetch -w FILE`",
        );
    }
}
