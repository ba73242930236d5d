//! Whom the config wants each path to be sealed to.

use std::collections::HashMap;
use std::path::PathBuf;
use std::rc::Rc;

use crate::config::Configs;
use crate::error::Result;
use crate::recipients::{Chosen, from_config};
use crate::repository::Location;

/// The recipients of paths, each set read once.
#[derive(Default)]
pub struct Wanted {
    configs: Configs,
    sets: HashMap<(PathBuf, Vec<String>), Rc<Chosen>>,
}

impl Wanted {
    /// The recipients for a path; nothing where no config or no rule speaks of it.
    pub fn at(&mut self, place: &Location) -> Result<Option<Rc<Chosen>>> {
        let Some(config) = self.configs.at(place)? else {
            return Ok(None);
        };
        let Some(clusters) = config.clusters_for(Some(place)) else {
            return Ok(None);
        };
        let key = (config.root().to_owned(), clusters);
        if let Some(chosen) = self.sets.get(&key) {
            return Ok(Some(Rc::clone(chosen)));
        }
        let chosen = Rc::new(from_config(&config, &key.1)?);
        self.sets.insert(key, Rc::clone(&chosen));
        Ok(Some(chosen))
    }
}
