//! Where recipients come from: flags, then a cluster by name, then the rule for the path, then the
//! only cluster of the config, and without a config the cluster at hand.

pub(crate) mod acceptance;
pub(crate) mod branch;
pub(crate) mod cluster_file;
pub(crate) mod config;
pub(crate) mod known;
pub(crate) mod names;
pub(crate) mod path_rule;
pub(crate) mod recipient_file;
pub(crate) mod trust;
pub(crate) mod wanted;

use std::collections::HashMap;
use std::path::PathBuf;
use std::rc::Rc;

use sealkit_core::keys::{KeyError, Recipient, RecipientSet};

use crate::args::RecipientArgs;
use crate::cluster::Cluster;
use crate::cluster::kubeconfig;
use crate::error::{CommandError, Result};
use crate::git::repository::Location;
use crate::terminal::{Session, safe, shown};
use config::{Config, FILE_NAME};
use known::Group;
use names::named;
use recipient_file::read_recipient_file;

/// The recipients for a path, and how they came about.
#[derive(Debug)]
pub(crate) struct Chosen {
    /// Whom to seal to.
    pub set: RecipientSet,
    /// Named groups in it, to be compared with what the clone knows.
    pub groups: Vec<Group>,
    /// All other groups of the config.
    pub others: Vec<Group>,
}

/// Chooses recipients, each set once.
pub(crate) struct Chooser<'a> {
    args: &'a RecipientArgs,
    session: Session<'a>,
    chosen: HashMap<Origin, Rc<Chosen>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Origin {
    Flags,
    Config(PathBuf, Vec<String>),
    Context,
}

impl<'a> Chooser<'a> {
    /// As the flags say.
    pub fn new(args: &'a RecipientArgs, session: Session<'a>) -> Self {
        Self {
            args,
            session,
            chosen: HashMap::new(),
        }
    }

    /// The recipients for an object that goes to `place`, where that is known.
    pub fn choose(
        &mut self,
        config: Option<&Config>,
        place: Option<&Location>,
    ) -> Result<Rc<Chosen>> {
        let origin = self.origin(config, place)?;
        if let Some(chosen) = self.chosen.get(&origin) {
            return Ok(Rc::clone(chosen));
        }
        let chosen = match (&origin, config) {
            (Origin::Config(_, clusters), Some(config)) => from_config(config, clusters)?,
            (Origin::Flags, _) => self.chosen_by_flags()?,
            _ => self.chosen_by_context()?,
        };
        self.session.terminal.detail(format_args!(
            "sealing to {}",
            named(&chosen.set.fingerprints())
        ));
        let chosen = Rc::new(chosen);
        self.chosen.insert(origin, Rc::clone(&chosen));
        Ok(chosen)
    }

    fn origin(&self, config: Option<&Config>, place: Option<&Location>) -> Result<Origin> {
        if !self.args.recipients.is_empty() || !self.args.recipients_files.is_empty() {
            return Ok(Origin::Flags);
        }
        let Some(config) = config else {
            if let Some(name) = self.args.clusters.first() {
                return Err(CommandError::usage("no .sealkit.yaml defines this cluster")
                    .on(safe(name))
                    .hint("make one with `seal init`, or give the public key with -R FILE"));
            }
            return Ok(Origin::Context);
        };
        let clusters = if self.args.clusters.is_empty() {
            match config.clusters_for(place)? {
                Some(clusters) => clusters,
                None => return Err(no_rule(config, place)?),
            }
        } else {
            self.args.clusters.clone()
        };
        Ok(Origin::Config(config.root().to_owned(), clusters))
    }

    fn chosen_by_flags(&self) -> Result<Chosen> {
        let keys = given(&self.args.recipients, &self.args.recipients_files)?;
        Ok(Chosen {
            set: set(keys)?,
            groups: Vec::new(),
            others: Vec::new(),
        })
    }

    fn chosen_by_context(&self) -> Result<Chosen> {
        if !kubeconfig::is_configured(self.session.global)? {
            return Err(CommandError::usage("no recipient to seal to")
                .hint("in a repository: `seal init` writes .sealkit.yaml with the keys of your clusters")
                .hint("with a public key: -r AGE1… or -R FILE")
                .hint("with a cluster: a kubeconfig whose current context runs Sealkit, or --context NAME"));
        }
        let cluster = Cluster::connect(self.session.global, None)?;
        let key = cluster.newest_key(self.session.terminal)?;
        let fingerprint = key.recipient.fingerprint();
        self.session.terminal.note(format_args!(
            "sealed to the key {} of {}",
            fingerprint.short(),
            cluster.title()
        ));
        let label = format!("context {}", cluster.context());
        let groups = vec![Group {
            label,
            fingerprints: vec![fingerprint],
        }];
        Ok(Chosen {
            set: set(vec![key.recipient])?,
            groups,
            others: Vec::new(),
        })
    }
}

/// The keys of `-r` and `-R`.
pub(crate) fn given(texts: &[String], files: &[PathBuf]) -> Result<Vec<Recipient>> {
    let mut keys = Vec::new();
    for text in texts {
        let key: Recipient = text.trim().parse().map_err(|error: KeyError| {
            // The text itself stays out: it may be a private key.
            let refused = CommandError::usage(&error).on("-r");
            if error == KeyError::PrivateKeyGiven {
                refused.hint("the key is now in your shell's history: treat it as leaked")
            } else if std::path::Path::new(text).exists() {
                refused.hint(format_args!(
                    "pass a file of public keys with -R {}",
                    safe(text)
                ))
            } else {
                refused
            }
        })?;
        keys.push(key);
    }
    for path in files {
        keys.extend(read_recipient_file(path)?);
    }
    Ok(keys)
}

/// The recipients of these clusters and the recovery keys.
pub(crate) fn from_config(config: &Config, clusters: &[String]) -> Result<Chosen> {
    let group = |label: String, keys: &[Recipient]| {
        let mut fingerprints: Vec<_> = keys.iter().map(Recipient::fingerprint).collect();
        fingerprints.sort_unstable();
        Group {
            label,
            fingerprints,
        }
    };
    let mut all = Vec::new();
    let mut groups = Vec::new();
    let mut add = |label: String, keys: Vec<Recipient>| {
        groups.push(group(label, &keys));
        all.extend(keys);
    };
    for name in clusters {
        add(format!("cluster {name}"), config.recipients(name)?);
    }
    add("recovery".to_owned(), config.recovery()?);
    let set = set(all).map_err(|error| error.on(shown(&config.root().join(FILE_NAME))))?;
    let others = config
        .cluster_names()
        .filter(|name| !clusters.iter().any(|chosen| chosen == name));
    let others = others.filter_map(|name| {
        // A broken key file is reported where it is used.
        let keys = config.recipients(name).ok()?;
        Some(group(format!("cluster {name}"), &keys))
    });
    Ok(Chosen {
        others: others.collect(),
        set,
        groups,
    })
}

fn set(keys: Vec<Recipient>) -> Result<RecipientSet> {
    RecipientSet::new(keys).map_err(|error| {
        let refused = CommandError::input(&error);
        if error == KeyError::MixedTypes {
            refused.hint("use keys of one type for all clusters and the recovery key of a rule")
        } else {
            refused
        }
    })
}

fn no_rule(config: &Config, place: Option<&Location>) -> Result<CommandError> {
    let file = shown(&config.root().join(FILE_NAME));
    let names: Vec<_> = config.cluster_names().map(safe).collect();
    let refused = match place {
        Some(place) => uncovered(config, place, &file)?.on(shown(&place.given)),
        None => CommandError::input(
            "the config has several clusters, and no output path for a rule to match",
        )
        .on(file),
    };
    Ok(refused
        .hint(format_args!(
            "choose with --cluster NAME, one of {}",
            names.join(", ")
        ))
        .hint("or write to a path that a rule covers: -w FILE"))
}

fn uncovered(config: &Config, place: &Location, file: &str) -> Result<CommandError> {
    let what = format!("no rule of {file} covers this path");
    let elsewhere = config.rules_elsewhere(place)?;
    if elsewhere.is_empty() {
        return Ok(CommandError::input(what));
    }
    let branches: Vec<_> = elsewhere.iter().map(|rule| rule.branches_shown()).collect();
    let branch = config.branch(place)?;
    Ok(
        CommandError::input(format_args!("{what} on branch {branch}")).hint(format_args!(
            "name the branch that the file is for, as its rules do: --branch NAME, {}",
            branches.join(", ")
        )),
    )
}
