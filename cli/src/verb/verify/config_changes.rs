//! What a request changes in `.sealkit.yaml`, whether or not an object stands at the paths yet.

use std::collections::HashSet;

use sealkit_core::keys::Fingerprint;

use crate::error::Result;
use crate::recipients::config::Config;
use crate::recipients::recipient_file::read_superseded;
use crate::terminal::safe;

/// Recipients of a config that an older one does not have for the same cluster, in words.
pub(super) fn new_recipients(before: Option<&Config>, now: &Config) -> Result<Vec<String>> {
    let known: HashSet<(String, Fingerprint)> = before
        .map(fingerprints)
        .transpose()?
        .into_iter()
        .flatten()
        .collect();
    let new = fingerprints(now)?;
    let new = new.into_iter().filter(|pair| !known.contains(pair));
    let mut said: Vec<String> = new
        .map(|(who, key)| format!("{who} has a new recipient, {}", key.short()))
        .collect();
    let known = before.map(successors).transpose()?.unwrap_or_default();
    let new = successors(now)?.into_iter();
    said.extend(
        new.filter(|successor| !known.contains(successor))
            .map(|(who, old, key)| {
                format!(
                    "{who} names {} as the successor of {}",
                    key.short(),
                    old.short()
                )
            }),
    );
    Ok(said)
}

/// The successors that recipient files name: `seal keys trust` passes them to clusters.
fn successors(config: &Config) -> Result<HashSet<(String, Fingerprint, Fingerprint)>> {
    let mut found = HashSet::new();
    for (who, path) in config.key_files()? {
        let superseded = read_superseded(&path)?.into_iter();
        found.extend(superseded.map(|(old, new)| (who.clone(), old, new.fingerprint())));
    }
    Ok(found)
}

fn fingerprints(config: &Config) -> Result<Vec<(String, Fingerprint)>> {
    let mut found = Vec::new();
    for name in config.cluster_names() {
        for key in config.recipients(name)? {
            found.push((format!("cluster {}", safe(name)), key.fingerprint()));
        }
    }
    for key in config.recovery()? {
        found.push(("recovery".to_owned(), key.fingerprint()));
    }
    Ok(found)
}
