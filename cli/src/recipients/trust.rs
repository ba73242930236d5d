//! The other recipients that a cluster should trust, by the config of a repository: the recovery
//! keys and the keys of all other clusters.

use std::collections::BTreeMap;

use sealkit_core::api::CONTROLLER_NAMESPACE;
use sealkit_core::keys::{Fingerprint, Recipient, TrustedRecipients, parse_recipient_file};

use super::config::Config;
use super::names::named;
use super::recipient_file::read_superseded;
use crate::cluster::{Cluster, TrustedMap};
use crate::error::{CommandError, Result};
use crate::terminal::{Terminal, quoted, safe, shown};

/// How the names of the entries of recovery keys begin.
const RECOVERY: &str = "recovery-";

/// The same after a key was made or fetched: a failure is a note only.
pub(crate) fn trust_quietly(cluster: &Cluster, config: &Config, name: &str, terminal: Terminal) {
    let namespace = CONTROLLER_NAMESPACE;
    let done = Wish::of(config, Some(name)).and_then(|wish| {
        if wish.entries.is_empty() {
            return Ok(());
        }
        let old = cluster.trusted(namespace)?;
        let data = wish.merged(&old.data, false)?;
        write(cluster, namespace, &old, &data, terminal)
    });
    if let Err(error) = done {
        terminal.note(format_args!(
            "the cluster does not know yet which other recipients it may reseal to: {error}; if you have the rights, run `seal keys trust --context {}`",
            quoted(cluster.context())
        ));
    }
}

/// Writes the wished entries, unless the cluster has them already.
pub(crate) fn write(
    cluster: &Cluster,
    namespace: &str,
    old: &TrustedMap,
    data: &BTreeMap<String, String>,
    terminal: Terminal,
) -> Result<()> {
    if old.data == *data {
        terminal.detail("the cluster already knows all recipients");
        return Ok(());
    }
    cluster.write_trusted(namespace, old, data)?;
    let trusted = TrustedRecipients::parse(data)
        .map_err(|_| CommandError::bug("what was written cannot be read"))?;
    for (old, new) in trusted.successors() {
        terminal.note(format_args!(
            "{} is succeeded by {}",
            named(&[*old]),
            named(&[new.fingerprint()])
        ));
    }
    let prints: Vec<Fingerprint> = trusted.recipients().map(Recipient::fingerprint).collect();
    terminal.note(format_args!(
        "{} may reseal to {} and to its own key",
        cluster.title(),
        named(&prints)
    ));
    Ok(())
}

/// The entries that the repository wants.
pub(crate) struct Wish {
    /// By name of the entry.
    entries: BTreeMap<String, Vec<Recipient>>,
    /// Who takes whose place, by the words of the recipient files of an entry.
    successors: BTreeMap<Fingerprint, (String, Recipient)>,
}

impl Wish {
    /// Of all other clusters, and of the recovery keys.
    pub fn of(config: &Config, itself: Option<&str>) -> Result<Self> {
        let mut wish = Self {
            entries: BTreeMap::new(),
            successors: BTreeMap::new(),
        };
        for name in config.cluster_names().filter(|name| Some(*name) != itself) {
            let entry = format!("{name}.pub");
            wish.successors(&entry, &config.recipient_files(name)?)?;
            wish.entries.insert(entry, config.recipients(name)?);
        }
        // Each under its own name: several repositories may share a cluster.
        for key in config.recovery()? {
            let entry = format!("{RECOVERY}{}.pub", key.fingerprint().short());
            wish.entries.insert(entry, vec![key]);
        }
        wish.successors(RECOVERY, &config.recovery_files())?;
        Ok(wish)
    }

    fn successors(&mut self, entry: &str, paths: &[std::path::PathBuf]) -> Result<()> {
        for path in paths {
            let found = read_superseded(path).map_err(|error| error.on(shown(path)))?;
            let found = found.into_iter();
            self.successors
                .extend(found.map(|(old, new)| (old, (entry.to_owned(), new))));
        }
        Ok(())
    }

    /// The entries with what is wished. Entries of others stay: several repositories may share a
    /// cluster. One of ours that holds a key which no file of ours supersedes may be theirs. A file
    /// may say whom its key supersedes; that is taken over only for keys that stood in the same
    /// entry, or whose successor did.
    pub fn merged(
        &self,
        old: &BTreeMap<String, String>,
        replace: bool,
    ) -> Result<BTreeMap<String, String>> {
        let before = TrustedRecipients::parse(old).map_err(|error| {
            CommandError::cluster(format_args!(
                "ConfigMap {} is malformed, {error}",
                TrustedRecipients::NAME
            ))
            .hint("repair it with kubectl")
        })?;
        let mut data = old.clone();
        for (entry, keys) in &self.entries {
            if !replace {
                self.check_entry(old, entry, keys)?;
            }
            let mut text = String::new();
            for key in keys {
                text.extend([&key.to_string(), "\n"]);
            }
            data.insert(entry.clone(), text);
        }
        let mut successors: BTreeMap<Fingerprint, &Recipient> =
            before.successors().map(|(old, new)| (*old, new)).collect();
        for (superseded, (entry, new)) in &self.successors {
            let held = keys_of(old, entry);
            let is_borne_out = match successors.get(superseded) {
                // The entry held it.
                None => held.iter().any(|key| key.fingerprint() == *superseded),
                // The list says so already, or the entry held the key between them.
                Some(next) => *next == new || held.contains(*next),
            };
            if is_borne_out || replace {
                successors.insert(*superseded, new);
                if entry == RECOVERY {
                    data.remove(&format!("{RECOVERY}{}.pub", superseded.short()));
                }
            }
        }
        if !successors.is_empty() {
            let mut text = String::new();
            for (old, new) in successors {
                text.extend([&old.to_string(), "=", &new.to_string(), "\n"]);
            }
            data.insert(TrustedRecipients::SUCCESSORS.to_owned(), text);
        }
        TrustedRecipients::parse(&data).map_err(|error| {
            CommandError::input(error)
                .hint("check the `# supersedes:` lines of the recipient files")
        })?;
        Ok(data)
    }

    /// The entries of a list that no file of this repository names: of clusters and people that are
    /// gone, or of other repositories.
    pub fn unnamed(&self, data: &BTreeMap<String, String>) -> Vec<String> {
        let names = data
            .keys()
            .filter(|entry| *entry != TrustedRecipients::SUCCESSORS);
        let unnamed = names.filter(|entry| !self.entries.contains_key(*entry));
        unnamed.cloned().collect()
    }

    /// An entry may be written over if each key that it loses is superseded by a file of ours.
    fn check_entry(
        &self,
        old: &BTreeMap<String, String>,
        entry: &str,
        keys: &[Recipient],
    ) -> Result<()> {
        let lost: Vec<Fingerprint> = keys_of(old, entry)
            .iter()
            .filter(|key| !keys.contains(key))
            .map(Recipient::fingerprint)
            .filter(|lost| !self.successors.contains_key(lost))
            .collect();
        if lost.is_empty() {
            return Ok(());
        }
        Err(CommandError::input(format_args!(
            "entry {} of ConfigMap {} holds {}, which no recipient file of this repository supersedes",
            safe(entry),
            TrustedRecipients::NAME,
            named(&lost)
        ))
        .hint("if another repository wrote the entry, give your cluster another name in .sealkit.yaml")
        .hint("if it is an earlier key of your recipient file, pass --replace"))
    }
}

/// The keys of an entry; those of recovery are spread over several.
fn keys_of(data: &BTreeMap<String, String>, entry: &str) -> Vec<Recipient> {
    let named = data
        .iter()
        .filter(|(name, _)| *name == entry || (entry == RECOVERY && name.starts_with(RECOVERY)));
    let keys = named.filter_map(|(_, text)| parse_recipient_file(text).ok());
    keys.flatten().collect()
}

#[cfg(test)]
mod tests {
    use sealkit_core::keys::{Identity, KeyType};

    use super::*;

    fn key() -> Recipient {
        Identity::generate(KeyType::Classic).recipient().clone()
    }

    #[test]
    fn entries_of_others_stay_and_keys_that_nobody_superseded_too() {
        let [old, new, theirs] = std::array::from_fn(|_| key());
        let wish = |keys: &[&Recipient], successors: &[(&Recipient, &Recipient)]| Wish {
            entries: BTreeMap::from([(
                "staging.pub".to_owned(),
                keys.iter().map(|key| (*key).clone()).collect(),
            )]),
            successors: successors
                .iter()
                .map(|(old, new)| {
                    (
                        old.fingerprint(),
                        ("staging.pub".to_owned(), (*new).clone()),
                    )
                })
                .collect(),
        };
        let first = wish(&[&old], &[])
            .merged(
                &BTreeMap::from([("theirs.pub".to_owned(), format!("{theirs}\n"))]),
                false,
            )
            .unwrap();
        assert_eq!(first["theirs.pub"], format!("{theirs}\n"));
        assert_eq!(first["staging.pub"], format!("{old}\n"));
        assert!(wish(&[&new], &[]).merged(&first, false).is_err());
        assert!(wish(&[&new], &[]).merged(&first, true).is_ok());
        let second = wish(&[&new], &[(&old, &new)])
            .merged(&first, false)
            .unwrap();
        let trusted = TrustedRecipients::parse(&second).unwrap();
        assert_eq!(trusted.successor(&old.fingerprint()), Some(&new));
        assert_eq!(
            wish(&[&new], &[(&old, &new)])
                .merged(&second, false)
                .unwrap(),
            second
        );
        assert!(
            wish(&[&old], &[(&new, &old)])
                .merged(&second, false)
                .is_err(),
            "a circle"
        );
        // A key that stood elsewhere, or nowhere, is not taken over by a comment.
        let other = key();
        let grab = wish(&[&new], &[(&theirs, &new), (&other, &new)]);
        let kept = grab.merged(&second, false).unwrap();
        assert_eq!(kept, second);
        let forced = grab.merged(&second, true).unwrap();
        let forced = TrustedRecipients::parse(&forced).unwrap();
        assert_eq!(forced.successor(&other.fingerprint()), Some(&new));
        // Nor is another successor than before.
        let turned = wish(&[&new, &other], &[(&old, &other)]);
        let turned = turned.merged(&second, false).unwrap();
        let turned = TrustedRecipients::parse(&turned).unwrap();
        assert_eq!(
            turned.successor(&old.fingerprint()),
            Some(&other),
            "its next key was in the entry"
        );
        let broken = BTreeMap::from([("a".to_owned(), "x".to_owned())]);
        assert!(wish(&[&new], &[]).merged(&broken, true).is_err());
    }
}
