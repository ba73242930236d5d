//! Whom the config wants each path to be sealed to.

use std::collections::HashMap;
use std::path::PathBuf;
use std::rc::Rc;

use super::config::{Config, Configs, namespace_for};
use super::{Chosen, from_config};
use crate::error::Result;
use crate::git::repository::Location;

/// The recipients of paths, each set read once.
#[derive(Default)]
pub(crate) struct Wanted {
    source: Source,
    sets: HashMap<(PathBuf, Vec<String>), Rc<Chosen>>,
}

/// Which config holds.
enum Source {
    /// That of the path's own repository.
    Files(Configs),
    /// That of a revision, if it had one.
    Revision(Option<Rc<Config>>),
}

impl Default for Source {
    fn default() -> Self {
        Self::Files(Configs::default())
    }
}

impl Wanted {
    /// As the config of a revision wants, whatever the files say now.
    pub fn by_revision(config: Option<Rc<Config>>) -> Self {
        Self {
            source: Source::Revision(config),
            ..Self::default()
        }
    }

    /// The namespace of objects in a file that names none, or empty.
    pub fn namespace(&mut self, flag: Option<&str>, place: &Location) -> Result<String> {
        let config = self.config(place)?;
        namespace_for(flag, config.as_deref(), Some(place))
    }

    /// The recipients for a path; nothing where no config or no rule speaks of it.
    pub fn at(&mut self, place: &Location) -> Result<Option<Rc<Chosen>>> {
        let Some(config) = self.config(place)? else {
            return Ok(None);
        };
        let Some(clusters) = config.clusters_for(Some(place))? else {
            return Ok(None);
        };
        self.chosen(&config, clusters).map(Some)
    }

    /// The rules for a path that are for other branches alone: the branches of each, for people, and
    /// its recipients. Keys that cannot be read are reported where they are used.
    pub fn elsewhere(&mut self, place: &Location) -> Result<Vec<(String, Rc<Chosen>)>> {
        let Some(config) = self.config(place)? else {
            return Ok(Vec::new());
        };
        let rules = config.rules_elsewhere(place)?.into_iter();
        let found = rules.filter_map(|rule| {
            let chosen = self.chosen(&config, rule.clusters.clone()).ok()?;
            Some((rule.branches_shown(), chosen))
        });
        Ok(found.collect())
    }

    fn chosen(&mut self, config: &Config, clusters: Vec<String>) -> Result<Rc<Chosen>> {
        let key = (config.root().to_owned(), clusters);
        if let Some(chosen) = self.sets.get(&key) {
            return Ok(Rc::clone(chosen));
        }
        let chosen = Rc::new(from_config(config, &key.1)?);
        self.sets.insert(key, Rc::clone(&chosen));
        Ok(chosen)
    }

    fn config(&mut self, place: &Location) -> Result<Option<Rc<Config>>> {
        match &mut self.source {
            Source::Files(configs) => configs.at(place),
            Source::Revision(config) => Ok(config.clone()),
        }
    }
}
