//! `.sealkit.yaml`: which clusters a repository seals to. One file, at the root of the repository.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use globset::GlobSet;
use sealkit_core::keys::Recipient;
use sealkit_core::manifest::read_documents;
use sealkit_core::sealed::Scope;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::branch::{self, Branch};
use super::path_rule::{Rule, RuleEntry, globs, scope};
use super::recipient_file::parsed;
use crate::error::{CommandError, Result};
use crate::files::{self, SMALL_FILE};
use crate::git::repository::Location;
use crate::terminal::{safe, shown};

/// Name of the file.
pub(crate) const FILE_NAME: &str = ".sealkit.yaml";

/// The config of a repository, checked.
#[derive(Debug)]
pub(crate) struct Config {
    root: PathBuf,
    /// Where its key files are, when that is not the root.
    folder: PathBuf,
    trust: Trust,
    clusters: BTreeMap<String, ClusterEntry>,
    recovery: Vec<PathBuf>,
    rules: Vec<Rule>,
    default_scope: Option<Scope>,
    external: Vec<String>,
    ignored: Vec<GlobSet>,
    rollback: Rollback,
}

/// What `seal verify --base` says of an old value that comes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Rollback {
    /// A commit can consent to it.
    #[default]
    Consent,
    /// It is a finding, whatever a commit says.
    Refuse,
}

/// What says that the config and its key files may choose recipients.
#[derive(Clone, Copy, Debug)]
enum Trust {
    /// Git has accepted the owner of the repository that they are in.
    Repository,
    /// There is no repository: each file must be one that only its owner can change.
    Owner,
}

impl Trust {
    /// Reads a file that the config's folder holds.
    fn read(self, folder: &Path, name: &Path) -> Result<Zeroizing<Vec<u8>>> {
        match self {
            Self::Owner => files::read_trusted(folder, name, SMALL_FILE),
            Self::Repository => {
                let path = folder.join(name);
                if leads_out(&path, folder) {
                    let what = "a symbolic link points outside the repository";
                    return Err(CommandError::input(what).on(shown(&path)));
                }
                files::read(&path, SMALL_FILE)
            }
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u64,
    #[serde(default)]
    clusters: BTreeMap<String, ClusterEntry>,
    #[serde(default)]
    recovery: Vec<PathBuf>,
    #[serde(default)]
    rules: Vec<RuleEntry>,
    #[serde(default)]
    defaults: Defaults,
    #[serde(default)]
    external: Vec<String>,
    #[serde(default)]
    ignore: Vec<String>,
    #[serde(default)]
    rollback: Rollback,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ClusterEntry {
    recipients: Vec<PathBuf>,
    context: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Defaults {
    scope: Option<String>,
}

/// The configs of one run, each read once.
#[derive(Debug, Default)]
pub(crate) struct Configs(HashMap<PathBuf, Option<Rc<Config>>>);

impl Configs {
    /// See [`Config::find`].
    pub fn at(&mut self, place: &Location) -> Result<Option<Rc<Config>>> {
        let folder = place.real.parent().unwrap_or(&place.real).to_owned();
        if let Some(config) = self.0.get(&folder) {
            return Ok(config.clone());
        }
        let config = Config::find(place)?.map(Rc::new);
        self.0.insert(folder, config.clone());
        Ok(config)
    }
}

impl Config {
    /// The config that holds for a place. Outside a repository only the folder of the place is
    /// looked at: a file further up may be anybody's.
    pub fn find(place: &Location) -> Result<Option<Self>> {
        let folder = place.real.parent().unwrap_or(&place.real);
        let Some(root) = &place.root else {
            if folder.join(FILE_NAME).symlink_metadata().is_err() {
                return Ok(None);
            }
            return Self::load_from(folder, Trust::Owner).map(Some);
        };
        let nested = folder
            .ancestors()
            .take_while(|above| *above != root)
            .map(|above| above.join(FILE_NAME))
            .find(|file| file.exists());
        if let Some(file) = nested {
            return Err(
                CommandError::input("a repository has one config, at its root")
                    .on(shown(&file))
                    .hint(format_args!(
                        "move its rules to {}",
                        shown(&root.join(FILE_NAME))
                    )),
            );
        }
        if root.join(FILE_NAME).exists() {
            Self::load(root).map(Some)
        } else {
            Ok(None)
        }
    }

    /// The working directory, and the config that holds there.
    pub fn here() -> Result<(Location, Option<Self>)> {
        let here = Location::of(Path::new("-"))?;
        let config = Self::find(&here)?;
        Ok((here, config))
    }

    /// Reads the config in this folder, the root of a repository.
    pub fn load(root: &Path) -> Result<Self> {
        Self::load_from(root, Trust::Repository)
    }

    fn load_from(root: &Path, trust: Trust) -> Result<Self> {
        let path = root.join(FILE_NAME);
        let refuse = |what: String| CommandError::input(what).on(shown(&path));
        let text = trust.read(root, Path::new(FILE_NAME))?;
        let mut documents = read_documents(&text).map_err(|error| refuse(error.to_string()))?;
        if documents.len() != 1 {
            return Err(refuse(
                "the config must be a single YAML document".to_owned(),
            ));
        }
        let file: File = serde_json::from_value(documents.remove(0).object)
            .map_err(|error| refuse(format!("invalid config: {}", safe(&error.to_string()))))?;
        if file.version != 1 {
            return Err(refuse(format!(
                "unknown config version {}: use version 1",
                file.version
            )));
        }
        let paths = file
            .clusters
            .values()
            .flat_map(|cluster| &cluster.recipients);
        for key_file in paths.chain(&file.recovery) {
            let plain = |part| matches!(part, Component::Normal(_) | Component::CurDir);
            if !key_file.components().all(plain) {
                return Err(refuse(format!(
                    "the path {} points outside the repository",
                    shown(key_file)
                )));
            }
        }
        if let Some((name, _)) = file
            .clusters
            .iter()
            .find(|(_, entry)| entry.recipients.is_empty())
        {
            return Err(refuse(format!("cluster {} has no recipients", safe(name))));
        }
        let rules = file
            .rules
            .into_iter()
            .map(|entry| Rule::new(entry, &file.clusters))
            .collect::<std::result::Result<_, _>>()
            .map_err(refuse)?;
        let default_scope = scope(file.defaults.scope.as_deref()).map_err(refuse)?;
        let ignored = file.ignore.iter().map(|pattern| {
            let what = || format!("ignore: {} is not a gitignore-style glob", safe(pattern));
            globs(pattern).ok_or_else(|| refuse(what()))
        });
        let ignored = ignored.collect::<Result<_>>()?;
        let (clusters, recovery) = (file.clusters, file.recovery);
        Ok(Self {
            root: root.to_owned(),
            folder: root.to_owned(),
            trust,
            clusters,
            recovery,
            rules,
            default_scope,
            external: file.external,
            ignored,
            rollback: file.rollback,
        })
    }

    /// The names of the clusters in the text of a config, if it is one.
    pub fn names_in(text: &str) -> Option<BTreeSet<String>> {
        let mut documents = read_documents(text.as_bytes()).ok()?;
        let file: File = serde_json::from_value(documents.pop()?.object).ok()?;
        Some(file.clusters.into_keys().collect())
    }

    /// The same for paths below another folder: of a revision that was written elsewhere.
    pub fn for_paths_in(self, root: &Path) -> Self {
        let root = root.to_owned();
        Self { root, ..self }
    }

    /// Folder of the config: globs and key files are relative to it.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Secrets that something outside of the repository makes: `name` or `namespace/name`, each with
    /// `*` for any text.
    pub fn external(&self) -> &[String] {
        &self.external
    }

    /// May a commit consent to a value of the history that comes back?
    pub fn takes_consent(&self) -> bool {
        self.rollback == Rollback::Consent
    }

    /// Does `seal lint` pass over a path, relative to the config?
    pub fn ignores(&self, path: &Path) -> bool {
        self.ignored.iter().any(|globs| globs.is_match(path))
    }

    /// The first rule that matches a path and is for the branch.
    pub fn rule(&self, place: &Location) -> Result<Option<&Rule>> {
        for rule in self.matching(place) {
            if self.is_in_force(rule, place)? {
                return Ok(Some(rule));
            }
        }
        Ok(None)
    }

    /// The rules that match a path, and are for other branches alone.
    pub fn rules_elsewhere(&self, place: &Location) -> Result<Vec<&Rule>> {
        let mut found = Vec::new();
        for rule in self.matching(place) {
            if !self.is_in_force(rule, place)? {
                found.push(rule);
            }
        }
        Ok(found)
    }

    /// The branch that decides which rules are in force for a path.
    pub fn branch(&self, place: &Location) -> Result<Branch> {
        branch::branch(&self.root).ok_or_else(|| {
            let what = "a rule for this path names branches, but HEAD is on none";
            CommandError::input(what)
                .on(shown(&place.given))
                .hint("name the branch that the file is for: --branch NAME")
        })
    }

    fn matching(&self, place: &Location) -> impl Iterator<Item = &Rule> {
        let path = place.real.strip_prefix(&self.root).ok();
        let rules = self.rules.iter();
        rules.filter(move |rule| path.is_some_and(|path| rule.matches(path)))
    }

    fn is_in_force(&self, rule: &Rule, place: &Location) -> Result<bool> {
        Ok(rule.branches.is_empty() || rule.is_for(&self.branch(place)?.name))
    }

    /// The clusters for a path: those of its rule, else the only one there is.
    pub fn clusters_for(&self, place: Option<&Location>) -> Result<Option<Vec<String>>> {
        let rule = place.map(|place| self.rule(place)).transpose()?;
        if let Some(rule) = rule.flatten() {
            return Ok(Some(rule.clusters.clone()));
        }
        Ok(self.only_cluster())
    }

    /// The cluster for paths without a rule, if there is one alone.
    pub fn only_cluster(&self) -> Option<Vec<String>> {
        (self.clusters.len() == 1).then(|| self.clusters.keys().cloned().collect())
    }

    /// The scope for paths whose rule sets none, or that have no rule.
    pub fn default_scope(&self) -> Scope {
        self.default_scope.unwrap_or_default()
    }

    /// Names of all clusters.
    pub fn cluster_names(&self) -> impl Iterator<Item = &str> {
        self.clusters.keys().map(String::as_str)
    }

    /// The kubeconfig context of a cluster.
    pub fn context(&self, cluster: &str) -> Result<Option<&str>> {
        Ok(self.cluster(cluster)?.context.as_deref())
    }

    /// The recipient files of one cluster.
    pub fn recipient_files(&self, cluster: &str) -> Result<Vec<PathBuf>> {
        let paths = &self.cluster(cluster)?.recipients;
        self.check_owners(paths)?;
        Ok(paths.iter().map(|path| self.folder.join(path)).collect())
    }

    /// The files of the recovery keys.
    pub fn recovery_files(&self) -> Vec<PathBuf> {
        self.recovery
            .iter()
            .map(|path| self.folder.join(path))
            .collect()
    }

    /// All files of recipients, each with whose it is, for people.
    pub fn key_files(&self) -> Result<Vec<(String, PathBuf)>> {
        let mut files = Vec::new();
        for name in self.cluster_names() {
            let who = format!("cluster {}", safe(name));
            let paths = self.recipient_files(name)?.into_iter();
            files.extend(paths.map(|path| (who.clone(), path)));
        }
        self.check_owners(&self.recovery)?;
        let recovery = self.recovery_files().into_iter();
        files.extend(recovery.map(|path| ("recovery".to_owned(), path)));
        Ok(files)
    }

    /// The recipients of one cluster.
    pub fn recipients(&self, cluster: &str) -> Result<Vec<Recipient>> {
        self.read_keys(&self.cluster(cluster)?.recipients)
    }

    /// The recipients that every envelope gets besides.
    pub fn recovery(&self) -> Result<Vec<Recipient>> {
        self.read_keys(&self.recovery)
    }

    fn cluster(&self, name: &str) -> Result<&ClusterEntry> {
        self.clusters.get(name).ok_or_else(|| {
            let known: Vec<_> = self.cluster_names().map(safe).collect();
            CommandError::input(format_args!("no cluster {} in the config", safe(name)))
                .on(shown(&self.root.join(FILE_NAME)))
                .hint(format_args!("its clusters are {}", known.join(", ")))
        })
    }

    /// For callers that read these files themselves, and may find that one is missing.
    fn check_owners(&self, paths: &[PathBuf]) -> Result<()> {
        let exists = |path: &&PathBuf| self.folder.join(path).symlink_metadata().is_ok();
        let mut paths = paths.iter().filter(exists);
        match self.trust {
            Trust::Repository => Ok(()),
            Trust::Owner => {
                paths.try_for_each(|path| self.trust.read(&self.folder, path).map(drop))
            }
        }
    }

    fn read_keys(&self, paths: &[PathBuf]) -> Result<Vec<Recipient>> {
        let mut keys = Vec::new();
        for path in paths {
            let bytes = self.trust.read(&self.folder, path)?;
            keys.extend(parsed(&bytes, &self.folder.join(path))?);
        }
        Ok(keys)
    }
}

/// The scope for a path: that of its rule, else the default of the config, else the narrowest.
pub(crate) fn scope_for(config: Option<&Config>, place: Option<&Location>) -> Result<Scope> {
    let Some(config) = config else {
        return Ok(Scope::default());
    };
    let rule = place.map(|place| config.rule(place)).transpose()?;
    let scope = rule.flatten().and_then(|rule| rule.scope);
    Ok(scope.unwrap_or_else(|| config.default_scope()))
}

/// The namespace of objects in a file that names none: `-n`, or else what the rule of its path says;
/// empty where neither does.
pub(crate) fn namespace_for(
    flag: Option<&str>,
    config: Option<&Config>,
    place: Option<&Location>,
) -> Result<String> {
    if let Some(name) = flag.filter(|name| !name.is_empty()) {
        return Ok(name.to_owned());
    }
    let rule = match config.zip(place) {
        Some((config, place)) => config.rule(place)?,
        None => None,
    };
    let named = rule.and_then(|rule| rule.namespace.clone());
    Ok(named.unwrap_or_default())
}

/// Is an existing file really outside the folder that its path names?
fn leads_out(path: &Path, folder: &Path) -> bool {
    let real = path.canonicalize().ok().zip(folder.canonicalize().ok());
    real.is_some_and(|(path, folder)| !path.starts_with(folder))
}
