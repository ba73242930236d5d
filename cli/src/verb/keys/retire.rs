//! `seal keys retire`: ends a key that was superseded.

use clap::Args;
use kube::ResourceExt as _;
use sealkit_core::api::{KeyState, SealingKey};
use sealkit_core::names::printable;

use crate::args::WriteClusterArgs;
use crate::cluster::{Cluster, connect_to_write};
use crate::error::{CommandError, Result};
use crate::recipients::config::Config;
use crate::terminal::{Session, Terminal, safe};

/// Flags of `seal keys retire`.
#[derive(Args, Debug)]
pub(crate) struct RetireArgs {
    /// Name of the SealingKey, or the beginning of its fingerprint
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
    if name == cluster.newest_key(terminal)?.name {
        return Err(CommandError::input("the cluster still seals to this key")
            .on(safe(&name))
            .hint("make a new one first: `seal keys rotate`"));
    }
    end(&cluster, &name, terminal)
}

/// The key of this name, or whose fingerprint begins so.
pub(super) fn find<'a>(keys: &'a [SealingKey], named: &str) -> Result<&'a SealingKey> {
    let is_meant = |key: &&SealingKey| {
        let status = key.status.as_ref();
        let fingerprint = status.and_then(|status| status.fingerprint.as_deref());
        key.name_any() == named
            || (named.len() >= 8 && fingerprint.is_some_and(|text| text.starts_with(named)))
    };
    let mut meant = keys.iter().filter(is_meant);
    match (meant.next(), meant.next()) {
        (Some(key), None) => Ok(key),
        _ => Err(CommandError::input("no key of the cluster matches, or several do")
            .on(safe(named))
            .hint("see `seal keys list`; give its name or the first 16 characters of its fingerprint")),
    }
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
