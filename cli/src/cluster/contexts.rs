//! Which cluster of the config a kubeconfig context leads to. Names of contexts are personal: each
//! clone keeps its own, and a cluster is recognised by its keys.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use sealkit_core::keys::{Fingerprint, Recipient};

use super::{Cluster, kubeconfig};
use crate::args::GlobalArgs;
use crate::error::{CommandError, Result};
use crate::files::{self, SMALL_FILE};
use crate::git::repository::git_folder;
use crate::recipients::config::Config;
use crate::recipients::names::named;
use crate::recipients::recipient_file::read_superseded;
use crate::terminal::{quoted, safe};

/// The contexts of a clone, by the clusters of its config: `.git/sealkit/contexts`. Nobody but the
/// owner of the clone writes there: it comes with no pull.
#[derive(Debug, Default)]
pub(crate) struct Contexts {
    path: Option<PathBuf>,
    by_cluster: BTreeMap<String, String>,
}

/// A context, and who says that it is the one of a cluster.
pub(crate) enum Named {
    /// The owner of the clone.
    Clone(String),
    /// Only the config, which may be by somebody else.
    Config(String),
}

impl Contexts {
    /// Those of the clone at this root. A damaged file counts as empty.
    pub fn load(root: &Path) -> Self {
        let path = git_folder(root).map(|git| git.join("sealkit/contexts"));
        let text = path
            .as_ref()
            .and_then(|path| files::read_text(path, SMALL_FILE).ok());
        let by_cluster = text.and_then(|text| serde_json::from_str(&text).ok());
        Self {
            path,
            by_cluster: by_cluster.unwrap_or_default(),
        }
    }

    /// Is this the context of the cluster?
    pub fn leads(&self, cluster: &str, context: &str) -> bool {
        self.by_cluster
            .get(cluster)
            .is_some_and(|known| known == context)
    }

    /// Forgets them all, with the config that named the clusters.
    pub fn forget(&mut self) {
        self.by_cluster.clear();
        if let Some(path) = &self.path {
            let _ = std::fs::remove_file(path);
        }
    }

    /// From now on, this is the context of the cluster. Failure loses only that.
    pub fn remember(&mut self, cluster: &str, context: &str) {
        let before = self
            .by_cluster
            .insert(cluster.to_owned(), context.to_owned());
        if before.as_deref() == Some(context) {
            return;
        }
        if let Some(path) = &self.path {
            let text = serde_json::to_string_pretty(&self.by_cluster).unwrap_or_default() + "\n";
            let folder = path.parent().map(std::fs::create_dir_all);
            if folder.is_some_and(|made| made.is_ok()) {
                let _ = files::replace(path, text.as_bytes());
            }
        }
    }
}

/// The context of a cluster of the config: as this clone knows it, else as the config says, if the
/// kubeconfig has such a context.
pub(crate) fn context_of(
    config: &Config,
    cluster: &str,
    global: &GlobalArgs,
) -> Result<Option<Named>> {
    let said = config.context(cluster)?;
    if let Some(own) = Contexts::load(config.root()).by_cluster.remove(cluster) {
        return Ok(Some(Named::Clone(own)));
    }
    let Some(said) = said else { return Ok(None) };
    let exists = kubeconfig::read(global)?.is_some_and(|kubeconfig| {
        kubeconfig
            .contexts
            .iter()
            .any(|context| context.name == said)
    });
    Ok(exists.then(|| Named::Config(said.to_owned())))
}

impl Named {
    /// The context.
    pub fn context(&self) -> &str {
        match self {
            Self::Clone(context) | Self::Config(context) => context,
        }
    }
}

/// No context is known for a cluster.
pub(crate) fn no_context(cluster: &str) -> CommandError {
    let cluster = safe(cluster);
    CommandError::usage(format_args!("this clone knows no kubeconfig context of cluster {cluster}"))
        .hint(format_args!("name it once with --context NAME: `kubectl config get-contexts` lists them, and the clone remembers which of them is {cluster}"))
}

/// The clusters of the config that this one is, by its keys. One that was made anew is none.
pub(crate) fn recognised(cluster: &Cluster, config: &Config) -> Result<Vec<String>> {
    let own = cluster.sealing_keys()?;
    let own = own.iter().filter_map(|key| {
        let recipient = key.status.as_ref()?.recipient.as_ref()?;
        Some(recipient.parse::<Recipient>().ok()?.fingerprint())
    });
    let own: HashSet<Fingerprint> = own.collect();
    let names = config.cluster_names();
    let is_it = |name: &&str| keys_of(config, name).iter().any(|key| own.contains(key));
    Ok(names.filter(is_it).map(str::to_owned).collect())
}

/// Refuses a cluster that is not the one of this name, and remembers the context of one that is.
pub(crate) fn check(cluster: &Cluster, config: &Config, name: &str) -> Result<()> {
    if recognised(cluster, config)?
        .iter()
        .any(|known| known == name)
    {
        Contexts::load(config.root()).remember(name, cluster.context());
        return Ok(());
    }
    let keys = keys_of(config, name);
    let (shown, context) = (safe(name), quoted(cluster.context()));
    Err(CommandError::input(format_args!(
        "this is not cluster {shown}: it has none of its keys, {}",
        named(&keys)
    ))
    .on(cluster.title())
    .hint(format_args!("name the context of {shown}: --context NAME"))
    .hint(format_args!(
        "if the cluster was made anew, fetch its key first: `seal keys fetch --context {context} -w FILE`, FILE being its recipient file"
    )))
}

/// The keys of a cluster by the config, those that others took the place of included. What cannot be
/// read is reported where it is used.
fn keys_of(config: &Config, name: &str) -> Vec<Fingerprint> {
    let now = config.recipients(name).unwrap_or_default();
    let mut keys: Vec<_> = now.iter().map(Recipient::fingerprint).collect();
    for path in config.recipient_files(name).unwrap_or_default() {
        let superseded = read_superseded(&path).unwrap_or_default();
        keys.extend(superseded.into_iter().map(|(old, _)| old));
    }
    keys
}
