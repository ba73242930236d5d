//! Recipients that differ from those used before: a person is asked, a program stops.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use sealkit_core::keys::Fingerprint;

use super::config::Config;
use super::known::{Group, KnownClusters};
use super::names::named;
use super::{Chosen, from_config};
use crate::error::{CommandError, Result};
use crate::terminal::{Terminal, ask_yes};

/// What the clones of one run sealed to before, and whether another answer is taken.
pub(crate) struct Acceptance {
    accepts: bool,
    terminal: Terminal,
    known: HashMap<Option<PathBuf>, KnownClusters>,
}

impl Acceptance {
    /// `accepts` is `--accept-recipients`.
    pub fn new(accepts: bool, terminal: Terminal) -> Self {
        Self {
            accepts,
            terminal,
            known: HashMap::new(),
        }
    }

    /// Compares with what the clone at this root sealed to before. The first time there is nothing
    /// to compare with, and everything that its config names is noted: what comes later is new.
    pub fn compare(&mut self, chosen: &Chosen, root: Option<&Path>) -> Result<()> {
        let known = self.known(root);
        if known.is_empty() {
            known.meet(&chosen.others);
            known.meet(&chosen.groups);
        } else if let Some(difference) = known.difference(&chosen.groups) {
            self.accept(&difference)?;
            self.known(root).remember(&chosen.groups);
        }
        if self.accepts {
            self.known(root).accept(&chosen.set.fingerprints());
        }
        Ok(())
    }

    /// Compares all clusters of a config, each with the recovery keys, before a cluster is told to
    /// trust them. A clone that knows nobody has nothing to compare with: a person must say so.
    pub fn compare_all(&mut self, config: &Config, root: Option<&Path>) -> Result<()> {
        let is_first = self.known(root).is_empty();
        let mut groups: Vec<Group> = Vec::new();
        let names: Vec<String> = config.cluster_names().map(str::to_owned).collect();
        for name in names {
            let chosen = from_config(config, &[name])?;
            self.compare(&chosen, root)?;
            groups.extend(chosen.groups);
        }
        if !is_first || groups.is_empty() {
            return Ok(());
        }
        let mut all: Vec<Fingerprint> = groups
            .iter()
            .flat_map(|group| &group.fingerprints)
            .copied()
            .collect();
        all.sort_unstable();
        all.dedup();
        self.accept(&format!(
            "this clone has sealed to nobody before; .sealkit.yaml names {}",
            named(&all)
        ))?;
        self.known(root).accept(&all);
        Ok(())
    }

    /// Lets these open old values that they could not open before, if a person accepted them in the
    /// clone at this root or does so now. That the config names them is not enough: it may have come
    /// with a pull, as the `# supersedes:` lines of key files may.
    pub fn admit(&mut self, added: &[Fingerprint], root: Option<&Path>) -> Result<()> {
        let mut new = self.unaccepted(added, root);
        new.sort_unstable();
        new.dedup();
        if new.is_empty() {
            return Ok(());
        }
        self.accept(&format!(
            "{} could not open these values before, and nobody accepted them in this clone",
            named(&new)
        ))?;
        self.known(root).accept(&new);
        Ok(())
    }

    /// Those whom nobody accepted in the clone at this root, and whom the command does not accept.
    pub fn unaccepted(&mut self, all: &[Fingerprint], root: Option<&Path>) -> Vec<Fingerprint> {
        if self.accepts {
            return Vec::new();
        }
        self.known(root).unaccepted(all)
    }

    /// Says a difference and asks for an answer, or fails with it.
    pub fn accept(&self, difference: &str) -> Result<()> {
        let refused = CommandError::input(difference);
        if self.accepts {
            self.terminal.note(difference);
        } else if !self.terminal.can_ask() {
            return Err(refused.hint(
                "find out who changed the recipients and why; if the change is right, pass --accept-recipients",
            ));
        } else {
            self.terminal.warning(difference);
            if !ask_yes("did you check this, and is it right?")? {
                return Err(refused
                    .hint("nothing was changed; find out who changed the recipients and why"));
            }
        }
        Ok(())
    }

    fn known(&mut self, root: Option<&Path>) -> &mut KnownClusters {
        self.known
            .entry(root.map(Path::to_owned))
            .or_insert_with_key(|root| KnownClusters::load(root.as_deref()))
    }

    /// Writes down what is known now.
    pub fn save(&self) {
        if !self.known.values().all(KnownClusters::save) {
            self.terminal
                .detail("the recipients could not be saved in .git/sealkit");
        }
    }
}
