//! Which cluster a verb talks to: by its name in the config, by a kubeconfig context, or the one at
//! hand.

use super::Cluster;
use crate::args::{ClusterArgs, GlobalArgs, WriteClusterArgs};
use crate::error::{CommandError, Result};
use crate::recipients::config::Config;
use crate::terminal::{Session, safe};

/// The cluster to read from.
pub(crate) fn connect(args: &ClusterArgs, global: &GlobalArgs) -> Result<Cluster> {
    let Some(name) = &args.cluster else {
        return Cluster::connect(global, None);
    };
    let config = Config::here()?.1.ok_or_else(|| {
        CommandError::usage("no .sealkit.yaml defines this cluster")
            .on(safe(name))
            .hint("name the kubeconfig context instead: --context NAME")
    })?;
    let context = config.context(name)?.ok_or_else(|| {
        CommandError::input(format_args!(
            "the config names no context for cluster {}",
            safe(name)
        ))
        .hint("name the kubeconfig context: --context NAME")
    })?;
    Cluster::connect(global, Some(context))
}

/// The cluster to write to, and its name in the config. A context that only the config names is
/// not trusted with a write: whoever can change the file would choose the cluster.
pub(crate) fn connect_to_write(
    args: &WriteClusterArgs,
    config: Option<&Config>,
    session: Session<'_>,
    what: &str,
) -> Result<(Cluster, Option<String>)> {
    let Session { global, terminal } = session;
    let context = match (&args.cluster, config) {
        // By --context, or the one at hand.
        (None, _) => None,
        // A name that nothing explains.
        (Some(name), None) => {
            return Err(CommandError::usage("no .sealkit.yaml defines this cluster")
                .on(safe(name))
                .hint("name the kubeconfig context: --context NAME"));
        }
        // By the config, which may leave it to --context.
        (Some(name), Some(config)) => config.context(name)?,
    };
    if let (Some(name), None, None) = (&args.cluster, context, &global.context) {
        return Err(CommandError::input(format_args!(
            "the config names no context for cluster {}",
            safe(name)
        ))
        .hint("name the kubeconfig context: --context NAME"));
    }
    let asks = global.context.is_none() && context.is_some();
    let cluster = Cluster::connect(global, global.context.as_deref().or(context))?;
    if asks && !terminal.confirm(&format!("{what} {}", cluster.title()))? {
        return Err(CommandError::usage("nothing was changed"));
    }
    let by_context = |config: &Config| {
        let mut names = config
            .cluster_names()
            .filter(|name| config.context(name).ok().flatten() == Some(cluster.context()));
        names.next().map(str::to_owned)
    };
    let name = args.cluster.clone().or_else(|| config.and_then(by_context));
    Ok((cluster, name))
}
