//! `seal keys trust`: tells a cluster whom it may seal to beside itself when it rewraps.

use crate::args::{GlobalArgs, TrustArgs};
use crate::cluster::{connect_to_write, manifest};
use crate::error::{CommandError, Result};
use crate::recipients::acceptance::Acceptance;
use crate::recipients::config::Config;
use crate::recipients::trust::{Wish, write};
use crate::report::structured;
use crate::terminal::{Terminal, print};

/// Writes the recovery keys and the keys of all other clusters of `.sealkit.yaml`.
pub(crate) fn trust(args: &TrustArgs, global: &GlobalArgs, terminal: Terminal) -> Result<()> {
    let (here, config) = Config::here()?;
    let config = config.ok_or_else(|| {
        CommandError::usage("no .sealkit.yaml that could say whom to trust")
            .hint("make one with `seal init`")
    })?;
    let what = "recipients are named to";
    let (cluster, name) = connect_to_write(&args.cluster, Some(&config), global, terminal, what)?;
    let mut acceptance = Acceptance::new(args.accept_recipients, terminal);
    acceptance.compare_all(&config, here.root.as_deref())?;
    let wish = Wish::of(&config, name.as_deref())?;
    let old = cluster.trusted(&args.system_namespace)?;
    let data = wish.merged(&old.data, args.replace)?;
    if let Some(form) = global.output {
        // For whoever keeps it in Git: nothing is written then.
        let map = manifest(&args.system_namespace, &data);
        return print(structured(&map, form)?);
    }
    acceptance.save();
    write(&cluster, &args.system_namespace, &old, &data, terminal)
}
