//! `seal keys retire`: ends a key that was superseded.

use clap::Args;
use kube::ResourceExt as _;
use sealkit_core::api::{KeyState, SealingKey};
use sealkit_core::names::printable;

use crate::args::WriteClusterArgs;
use crate::cluster::{Cluster, connect_to_write, fingerprint_of};
use crate::error::{CommandError, Result};
use crate::recipients::config::Config;
use crate::recipients::names::{Names, only};
use crate::terminal::{Session, Terminal, safe};

/// Flags of `seal keys retire`.
#[derive(Args, Debug)]
pub(crate) struct RetireArgs {
    /// Name of the SealingKey, or at least 4 characters of its fingerprint
    #[arg(value_name = "KEY")]
    pub key: String,
    /// Which cluster.
    #[command(flatten)]
    pub cluster: WriteClusterArgs,
}

/// Ends a key that was superseded: the cluster revokes it once nothing needs it.
pub(super) fn run(args: &RetireArgs, session: Session<'_>) -> Result<()> {
    let terminal = session.terminal;
    let (_, config) = Config::here()?;
    let (cluster, _) =
        connect_to_write(&args.cluster, config.as_ref(), session, "retire a key in")?;
    let keys = cluster.sealing_keys()?;
    let key = find(&keys, &args.key)?;
    let name = key.name_any();
    // Where the newest key is lost, others can be retired all the same.
    if cluster
        .newest_key(terminal)
        .is_ok_and(|newest| newest.name == name)
    {
        return Err(CommandError::input("the cluster still seals to this key")
            .on(safe(&name))
            .hint("make a new one first: `seal keys rotate`"));
    }
    end(&cluster, &name, terminal)
}

/// The key of this name, that of the config's cluster of this name, or the one whose fingerprint
/// begins so.
pub(super) fn find<'a>(keys: &'a [SealingKey], word: &str) -> Result<&'a SealingKey> {
    if let Some(key) = keys.iter().find(|key| key.name_any() == word) {
        return Ok(key);
    }
    let all = keys.iter().filter_map(fingerprint_of);
    let mut meant = Names::here().meant(word, all.clone());
    meant.retain(|meant| all.clone().any(|key| key == *meant));
    let meant = only(word, &meant)?;
    let found = keys
        .iter()
        .find(|key| meant.is_some() && fingerprint_of(key) == meant);
    found.ok_or_else(|| {
        CommandError::input(
            "no key of the cluster is called so, and none has a fingerprint that begins so",
        )
        .on(safe(word))
        .hint("see `seal keys list`; give its name, or at least 4 characters of its fingerprint")
    })
}

/// Has the cluster revoke a key.
pub(super) fn end(cluster: &Cluster, name: &str, terminal: Terminal) -> Result<()> {
    let (state, message) = cluster.request_state(name, KeyState::Revoked)?;
    if state == Some(KeyState::Revoked) {
        terminal.note(format_args!(
            "{} is revoked: the cluster no longer opens anything with it; anyone who has it can still read the values in Git's history",
            printable(name)
        ));
        return Ok(());
    }
    Err(
        CommandError::cluster(format_args!("not revoked yet: {}", safe(&message)))
            .on(printable(name))
            .hint("the cluster revokes the key by itself once nothing needs it"),
    )
}
