//! The recipient file of a cluster in a repository, and its change when the cluster's key rotates.

use std::path::PathBuf;

use sealkit_core::keys::SUPERSEDES;
use sealkit_core::names::printable;

use super::config::Config;
use super::recipient_file::read_recipient_file;
use crate::cluster::NewestKey;
use crate::error::{CommandError, Result};
use crate::files::{self, SMALL_FILE};
use crate::git::repository::Location;
use crate::terminal::{safe, shown};

/// The recipient file of a cluster that has its present key.
pub(crate) struct ClusterFile {
    /// Where it lies.
    pub path: PathBuf,
    text: String,
}

impl ClusterFile {
    /// The file of this cluster that has the key.
    pub fn find(config: &Config, cluster: &str, key: &NewestKey) -> Result<Self> {
        for path in config.recipient_files(cluster)? {
            if read_recipient_file(&path)?.contains(&key.recipient) {
                let text = files::read_text(&path, SMALL_FILE)?;
                return Ok(Self { path, text });
            }
        }
        Err(CommandError::input(format_args!(
            "no recipient file of cluster {} holds the current key of the cluster, {}",
            safe(cluster),
            key.recipient.fingerprint().short()
        ))
        .hint("update the file first: `seal keys fetch -w FILE`, then `seal reseal`"))
    }

    /// Puts the new key in place of the old one, and says so; other keys and comments stay.
    pub fn replace(&self, old: &NewestKey, new: &NewestKey) -> Result<()> {
        let (name, (old, new)) = (
            (printable(&old.name), printable(&new.name)),
            (&old.recipient, &new.recipient),
        );
        let (was, is) = (old.fingerprint().to_string(), new.fingerprint().to_string());
        let text = self
            .text
            .replace(
                &format!("SealingKey {}\n", name.0),
                &format!("SealingKey {}\n", name.1),
            )
            .replace(
                &format!("# fingerprint: {was}"),
                &format!("# fingerprint: {is}"),
            )
            .replace(&old.to_string(), &format!("{SUPERSEDES}{was}\n{new}"));
        let place = Location::of(&self.path)?;
        files::replace(&place.real, text.as_bytes()).map_err(|error| error.on(shown(&self.path)))
    }
}
