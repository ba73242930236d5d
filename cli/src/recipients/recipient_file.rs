//! Recipient files: the public keys of a cluster or of recovery, one file for each.

use std::path::Path;

use sealkit_core::keys::{Fingerprint, Recipient, parse_recipient_file, superseded};
use sealkit_core::names::printable;

use crate::cluster::{Cluster, NewestKey};
use crate::error::{CommandError, Result};
use crate::files::{self, SMALL_FILE};
use crate::git::repository::Location;
use crate::terminal::shown;

/// Reads a file of recipients. Its text is wiped: somebody may give a private key by mistake.
pub(crate) fn read_recipient_file(path: &Path) -> Result<Vec<Recipient>> {
    parsed(&files::read(path, SMALL_FILE)?, path)
}

/// The recipients in the bytes of this file.
pub(super) fn parsed(bytes: &[u8], path: &Path) -> Result<Vec<Recipient>> {
    let text = std::str::from_utf8(bytes).map_err(|_| files::not_text(bytes).on(shown(path)))?;
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
            CommandError::input("the file already exists and is not a recipient file")
                .on(shown(path))
                .hint("nothing was changed; choose another path")
        })
    };
    if place.real.exists() {
        occupied()?;
    }
    files::replace(&place.real, text.as_bytes()).map_err(|error| error.on(shown(path)))
}
