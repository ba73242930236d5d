//! Recipient files: the public keys of a cluster or of recovery, one file for each.

use std::path::{Path, PathBuf};

use sealkit_core::keys::{Fingerprint, Recipient, SUPERSEDES, parse_recipient_file, superseded};
use sealkit_core::names::printable;

use super::config::Config;
use crate::cluster::{Cluster, NewestKey};
use crate::error::{CommandError, Result};
use crate::files::{self, SMALL_FILE};
use crate::git::repository::Location;
use crate::terminal::{safe, shown};

/// Reads a file of recipients. Its text is wiped: somebody may give a private key by mistake.
pub(crate) fn read_recipient_file(path: &Path) -> Result<Vec<Recipient>> {
    let text = files::read(path, SMALL_FILE)?;
    let text = std::str::from_utf8(&text)
        .map_err(|_| CommandError::input("not text in UTF-8").on(shown(path)))?;
    parse_recipient_file(text).map_err(|error| CommandError::input(error).on(shown(path)))
}

/// Whose place the keys of a recipient file take, by its own words: old key and new one.
pub(crate) fn read_superseded(path: &Path) -> Result<Vec<(Fingerprint, Recipient)>> {
    let text = files::read_text(path, SMALL_FILE)?;
    superseded(&text).map_err(CommandError::input)
}

/// The text of a recipient file with the key of a cluster.
pub(crate) fn recipient_file(cluster: &Cluster, key: &NewestKey) -> String {
    format!(
        "# {}, SealingKey {}\n# fingerprint: {}\n{}\n",
        cluster.title(),
        printable(&key.name),
        key.recipient.fingerprint(),
        key.recipient
    )
}

/// Writes a recipient file, over another recipient file at most.
pub(crate) fn write_recipient_file(path: &Path, text: &str) -> Result<()> {
    let place = Location::of(path)?;
    let occupied = || {
        let old = files::read_text(&place.real, SMALL_FILE)?;
        parse_recipient_file(&old).map_err(|_| {
            CommandError::input("the file is there already and holds no recipients")
                .on(shown(path))
                .hint("nothing was changed; choose another path")
        })
    };
    if place.real.exists() {
        occupied()?;
    }
    files::replace(&place.real, text.as_bytes()).map_err(|error| error.on(shown(path)))
}

/// The recipient file of a cluster that has its present key.
pub(crate) struct RecipientFile {
    /// Where it lies.
    pub path: PathBuf,
    text: String,
}

impl RecipientFile {
    /// The file of this cluster that has the key.
    pub fn find(config: &Config, cluster: &str, key: &NewestKey) -> Result<Self> {
        for path in config.recipient_files(cluster)? {
            if read_recipient_file(&path)?.contains(&key.recipient) {
                let text = files::read_text(&path, SMALL_FILE)?;
                return Ok(Self { path, text });
            }
        }
        Err(CommandError::input(format_args!(
            "no recipient file of cluster {} has the key that the cluster seals to, {}",
            safe(cluster),
            key.recipient.fingerprint().short()
        ))
        .hint("bring it up to date first: `seal keys fetch -w FILE`, then `seal reseal`"))
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
