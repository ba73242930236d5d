//! Recipients that differ from those used before: a person is warned, a program stops.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::config::Config;
use super::known::KnownClusters;
use super::{Chosen, from_config};
use crate::error::{CommandError, Result};
use crate::terminal::Terminal;

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

    /// Compares with what the clone at this root sealed to before, and takes it for known. The first
    /// time everything that its config names is: what comes later is new.
    pub fn compare(&mut self, chosen: &Chosen, root: Option<&Path>) -> Result<()> {
        let known = self
            .known
            .entry(root.map(Path::to_owned))
            .or_insert_with_key(|root| KnownClusters::load(root.as_deref()));
        let difference = known.difference(&chosen.groups);
        if known.is_empty() {
            known.remember(&chosen.others);
        }
        known.remember(&chosen.groups);
        difference.map_or(Ok(()), |difference| self.accept(&difference))
    }

    /// Compares all clusters of a config, each with the recovery keys.
    pub fn compare_all(&mut self, config: &Config, root: Option<&Path>) -> Result<()> {
        let names: Vec<String> = config.cluster_names().map(str::to_owned).collect();
        for name in names {
            self.compare(&from_config(config, &[name])?, root)?;
        }
        Ok(())
    }

    /// Says a difference, or fails with it.
    pub fn accept(&self, difference: &str) -> Result<()> {
        if self.accepts {
            self.terminal.note(difference);
        } else if self.terminal.is_attended() {
            self.terminal.warning(difference);
        } else {
            return Err(CommandError::input(difference).hint(
                "find out who changed the recipients and why; if the change is right, pass --accept-recipients",
            ));
        }
        Ok(())
    }

    /// Writes down what is known now.
    pub fn save(&self) {
        if !self.known.values().all(KnownClusters::save) {
            self.terminal
                .detail("the recipients could not be saved in .git/sealkit");
        }
    }
}
