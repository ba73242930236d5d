//! Which cluster a verb talks to: by its name in the config, by a kubeconfig context, or the one at
//! hand.

use super::Cluster;
use super::contexts::{Contexts, Named, check, context_of, no_context, recognised};
use crate::args::{ClusterArgs, GlobalArgs, WriteClusterArgs};
use crate::error::{CommandError, Result};
use crate::recipients::config::Config;
use crate::terminal::{Session, safe};

/// The cluster to read from. One that is named must be the one of that name.
pub(crate) fn connect(args: &ClusterArgs, global: &GlobalArgs) -> Result<Cluster> {
    let Some(name) = &args.cluster else {
        return Cluster::connect(global, None);
    };
    let config = Config::here()?.1.ok_or_else(|| undefined(name))?;
    let known = context_of(&config, name, global)?;
    let context = global.context.as_deref();
    let context = context.or(known.as_ref().map(Named::context));
    let cluster = Cluster::connect(global, Some(context.ok_or_else(|| no_context(name))?))?;
    check(&cluster, &config, name)?;
    Ok(cluster)
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
    let Some(name) = &args.cluster else {
        let cluster = Cluster::connect(global, None)?;
        let name = config.and_then(|config| name_of(&cluster, config));
        return Ok((cluster, name));
    };
    let config = config.ok_or_else(|| undefined(name))?;
    let known = context_of(config, name, global)?;
    let (context, asks) = match (&global.context, &known) {
        (Some(context), _) | (None, Some(Named::Clone(context))) => (context.as_str(), false),
        (None, Some(Named::Config(context))) => (context.as_str(), true),
        (None, None) => return Err(no_context(name)),
    };
    let cluster = Cluster::connect(global, Some(context))?;
    if asks && !terminal.confirm(&format!("{what} {}", cluster.title()))? {
        return Err(CommandError::usage("nothing was changed"));
    }
    check(&cluster, config, name)?;
    Ok((cluster, Some(name.clone())))
}

/// The name in the config of a cluster that somebody named by its context. If it has several, it is
/// the one that this clone knows, or none.
fn name_of(cluster: &Cluster, config: &Config) -> Option<String> {
    let mut names = recognised(cluster, config).unwrap_or_default();
    let mut contexts = Contexts::load(config.root());
    if let [name] = names.as_slice() {
        contexts.remember(name, cluster.context());
    } else {
        names.retain(|name| contexts.leads(name, cluster.context()));
    }
    let name = names.pop();
    name.filter(|_| names.is_empty())
}

fn undefined(name: &str) -> CommandError {
    CommandError::usage("no .sealkit.yaml defines this cluster")
        .on(safe(name))
        .hint("name the kubeconfig context: --context NAME")
}
