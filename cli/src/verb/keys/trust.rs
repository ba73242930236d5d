//! `seal keys trust`: tells a cluster to which other recipients it may rewrap.

use crate::args::WriteClusterArgs;
use crate::cluster::{connect_to_write, manifest};
use crate::error::{CommandError, Result};
use crate::recipients::acceptance::Acceptance;
use crate::recipients::config::Config;
use crate::recipients::trust::{Wish, write};
use crate::report::structured;
use crate::terminal::{Session, print, safe};
use clap::Args;

/// Flags of `seal keys trust`.
#[derive(Args, Debug)]
pub(crate) struct TrustArgs {
    /// Which cluster.
    #[command(flatten)]
    pub cluster: WriteClusterArgs,
    /// Also remove keys that no recipient file supersedes, and accept successors that the list of
    /// the cluster does not confirm
    #[arg(long)]
    pub replace: bool,
    /// Also remove entries that no file of this repository names; other repositories that share the
    /// cluster may need them
    #[arg(long)]
    pub prune: bool,
    /// Accept recipients that differ from those used before
    #[arg(long)]
    pub accept_recipients: bool,
    /// Namespace of the controller
    #[arg(long, value_name = "NAME", default_value = sealkit_core::api::CONTROLLER_NAMESPACE)]
    pub system_namespace: String,
}

/// Writes the recovery keys and the keys of all other clusters of `.sealkit.yaml`.
pub(super) fn run(args: &TrustArgs, session: Session<'_>) -> Result<()> {
    let Session { global, terminal } = session;
    let (here, config) = Config::here()?;
    let config = config.ok_or_else(|| {
        CommandError::usage("no .sealkit.yaml names recipients to trust")
            .hint("make one with `seal init`")
    })?;
    let what = "write the trusted recipients to";
    let (cluster, name) = connect_to_write(&args.cluster, Some(&config), session, what)?;
    let mut acceptance = Acceptance::new(args.accept_recipients, terminal);
    acceptance.compare_all(&config, here.root.as_deref())?;
    let wish = Wish::of(&config, name.as_deref())?;
    let old = cluster.trusted(&args.system_namespace)?;
    let mut data = wish.merged(&old.data, args.replace)?;
    let unnamed = wish.unnamed(&data);
    if args.prune {
        for entry in &unnamed {
            terminal.note(format_args!(
                "removed {}: the cluster no longer reseals to it",
                safe(entry)
            ));
            data.remove(entry);
        }
    } else if !unnamed.is_empty() {
        let unnamed: Vec<_> = unnamed.iter().map(|entry| safe(entry)).collect();
        terminal.note(format_args!(
            "the cluster also trusts {}, which no file of this repository names: if no other repository needs it, pass --prune",
            unnamed.join(", ")
        ));
    }
    if let Some(form) = global.output {
        // For those who keep it in Git: nothing is written to the cluster.
        let map = manifest(&args.system_namespace, &data);
        return print(structured(&map, form)?);
    }
    acceptance.save();
    write(&cluster, &args.system_namespace, &old, &data, terminal)
}
