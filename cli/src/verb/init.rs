//! `seal init`: the config and the recipient files of a repository.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use age::secrecy::ExposeSecret as _;
use clap::Args;
use sealkit_core::keys::{Identity, KeyType, Recipient};

use crate::cluster::Cluster;
use crate::cluster::contexts::Contexts;
use crate::error::{CommandError, Result};
use crate::files::{self, Access, SMALL_FILE};
use crate::git::repository::{Location, no_repository};
use crate::git::setup;
use crate::identities::{ask, encrypt, key_file, write_key_file};
use crate::recipients::config::{Config, FILE_NAME};
use crate::recipients::from_config;
use crate::recipients::known::KnownClusters;
use crate::recipients::recipient_file::{read_recipient_file, recipient_file};
use crate::recipients::trust::trust_quietly;
use crate::terminal::{Session, Terminal, print, safe, shown};

/// Flags of `seal init`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  # fetch the keys of two clusters through kubeconfig contexts, and set up Git
  seal init --cluster staging=kind-staging --cluster production=prod-eu \\
    --recovery-key ~/recovery.key --git

  # later, another cluster
  seal init --cluster dr=prod-us

  # another repository, with the recovery key that you have
  seal init --cluster production=prod-eu --recovery-recipient ../shop/.sealkit/recovery.pub

  # without contacting a cluster
  seal init --cluster-key production=production.pub --no-recovery")]
pub(super) struct InitArgs {
    /// Fetch the key of this cluster through CONTEXT [default: the current one]; repeatable
    #[arg(long = "cluster", value_name = "NAME[=CONTEXT]")]
    pub clusters: Vec<String>,
    /// Take the key of this cluster from a recipient file; repeatable
    #[arg(long = "cluster-key", value_name = "NAME=FILE")]
    pub cluster_keys: Vec<String>,
    /// File for the private recovery key, outside the repository [default: print it once]
    #[arg(long, value_name = "FILE", conflicts_with = "no_recovery")]
    pub recovery_key: Option<PathBuf>,
    /// Recipient file of a recovery key that you have already, such as that of another repository
    #[arg(long, value_name = "FILE", conflicts_with_all = ["no_recovery", "recovery_key"])]
    pub recovery_recipient: Option<PathBuf>,
    /// Encrypt the recovery key file with a passphrase
    #[arg(long, requires = "recovery_key")]
    pub passphrase: bool,
    /// Also set up Git, like `seal git install`
    #[arg(long)]
    pub git: bool,
    /// Make no recovery key: if a cluster loses its keys, its values are lost
    #[arg(long)]
    pub no_recovery: bool,
}

/// Folder of the recipient files.
const KEYS: &str = ".sealkit";

/// A cluster of the new config.
struct Entry {
    name: String,
    /// Reached through its context, if it was.
    cluster: Option<Cluster>,
    keys: Vec<Recipient>,
    text: String,
    /// Does the config not have it yet?
    is_new: bool,
}

/// Writes everything or, where a file is in the way, nothing. A config that exists gets what is new.
pub(super) fn run(args: &InitArgs, session: Session<'_>) -> Result<()> {
    let terminal = session.terminal;
    let here = Location::of(Path::new("-"))?;
    let folder = here.real.parent().unwrap_or(&here.real).to_owned();
    let repository = here.root.clone();
    if args.git && repository.is_none() {
        return Err(no_repository());
    }
    let root = repository.unwrap_or_else(|| {
        terminal.note("this is not a Git repository: the config applies to this folder only");
        folder
    });
    let file = root.join(FILE_NAME);
    let before = match file.symlink_metadata() {
        Ok(_) => Some((files::read_text(&file, SMALL_FILE)?, load(&root, &here)?)),
        Err(_) => None,
    };
    let mut entries = entries(args, session)?;
    if let Some((_, config)) = &before {
        entries = new_ones(entries, config)?;
    }
    check_types(&entries, before.as_ref().map(|(_, config)| config))?;
    let recovery = Recovery::of(args, &entries, before.as_ref().map(|(_, config)| config))?;
    let path = |name: &str| root.join(KEYS).join(format!("{name}.pub"));
    let new = entries.iter().filter(|entry| entry.is_new);
    let mut outputs: Vec<(PathBuf, String)> = new
        .map(|entry| (path(&entry.name), entry.text.clone()))
        .collect();
    if let Some(text) = recovery.public_text() {
        outputs.push((path("recovery"), text));
    }
    let text = match &before {
        None => Some(config_text(
            &entries,
            recovery.is_some(),
            here.root.is_some(),
        )),
        Some((text, config)) => added(text, config, &entries, recovery.is_some())?,
    };
    if before.is_none() {
        outputs.push((file.clone(), text.clone().unwrap_or_default()));
    }
    if let Some((path, _)) = outputs
        .iter()
        .find(|(path, _)| path.symlink_metadata().is_ok())
    {
        return Err(CommandError::input(format_args!(
            "{} exists and is never overwritten",
            shown(path)
        ))
        .hint("nothing was changed; edit it by hand, or remove it first"));
    }
    if let Recovery::New(identity) = &recovery {
        keep_recovery_key(identity, args, terminal)?;
    }
    std::fs::create_dir_all(root.join(KEYS)).map_err(|_| {
        CommandError::input("the folder cannot be created").on(shown(&root.join(KEYS)))
    })?;
    for (path, text) in &outputs {
        files::create(path, text.as_bytes(), Access::Public)?;
        terminal.done("wrote", path.strip_prefix(&root).unwrap_or(path));
    }
    if let (Some(_), Some(text)) = (&before, &text) {
        files::replace(&file, text.as_bytes())?;
        terminal.done("changed", Path::new(FILE_NAME));
    }
    // What was written is read as every later command will.
    let config = load(&root, &here)?;
    know(&root, &config, &entries, before.is_none(), terminal)?;
    if args.git {
        setup::install(true, terminal)?;
    } else if here.root.is_some() {
        setup::ignore_leftovers(&root);
    }
    say_what_is_next(
        args,
        &config,
        before.is_some(),
        here.root.is_some(),
        terminal,
    );
    Ok(())
}

fn load(root: &Path, here: &Location) -> Result<Config> {
    match Config::find(here)? {
        Some(config) => Ok(config),
        None => Config::load(root),
    }
}

/// Whoever names the recipients knows them. What an earlier config of this clone named, and no file
/// names any more, is forgotten with it.
fn know(
    root: &Path,
    config: &Config,
    entries: &[Entry],
    is_first: bool,
    terminal: Terminal,
) -> Result<()> {
    let mut known = if is_first {
        KnownClusters::forgotten(Some(root))
    } else {
        KnownClusters::load(Some(root))
    };
    let mut contexts = Contexts::load(root);
    if is_first {
        contexts.forget();
    }
    for Entry { name, cluster, .. } in entries {
        known.remember(&from_config(config, std::slice::from_ref(name))?.groups);
        if let Some(cluster) = cluster {
            contexts.remember(name, cluster.context());
            trust_quietly(cluster, config, name, terminal);
        }
    }
    known.save();
    Ok(())
}

fn say_what_is_next(
    args: &InitArgs,
    config: &Config,
    is_more: bool,
    is_repository: bool,
    terminal: Terminal,
) {
    if let Some(path) = &args.recovery_key {
        terminal.note(format_args!(
            "keep {} where it survives the loss of the cluster, not in the repository",
            shown(path)
        ));
    }
    let attributes = if args.git { " .gitattributes" } else { "" };
    if is_repository {
        terminal.note(format_args!(
            "next: `git add {FILE_NAME} {KEYS}{attributes} && git commit`: this decides who can read your secrets, so review it and protect it with CODEOWNERS"
        ));
    }
    if is_more {
        let all: Vec<_> = config.cluster_names().map(safe).collect();
        terminal.note(format_args!(
            "then: name the clusters of each path in the rules of {FILE_NAME} ({}), and `seal reseal -i RECOVERY_KEY` adds new ones to the files that are there",
            all.join(", ")
        ));
    } else {
        let folder = match config.cluster_names().collect::<Vec<_>>().as_slice() {
            [_] => "secrets/".to_owned(),
            names => format!(
                "clusters/{}/",
                names.first().map(|name| safe(name)).unwrap_or_default()
            ),
        };
        terminal.note(format_args!(
            "then: `seal create NAME --key KEY -n NAMESPACE -w {folder}` makes the first secret"
        ));
        if is_repository && !args.git {
            terminal.note(
                "in each clone: `seal git install` sets up the pre-commit hook, merges and diffs",
            );
        }
    }
}

/// The recovery key that every envelope gets besides.
enum Recovery {
    /// None, or the config has one already.
    Unchanged,
    /// One that is made here.
    New(Box<Identity>),
    /// The public half of one that somebody has.
    Given(Vec<Recipient>),
}

impl Recovery {
    fn of(args: &InitArgs, entries: &[Entry], before: Option<&Config>) -> Result<Self> {
        let has_one = match before {
            Some(config) => !config.recovery()?.is_empty(),
            None => false,
        };
        let is_wanted = args.recovery_key.is_some() || args.recovery_recipient.is_some();
        if has_one && is_wanted {
            return Err(CommandError::usage(format_args!(
                "{FILE_NAME} names a recovery key already"
            ))
            .hint("nothing was changed; leave the flag out to keep that key")
            .hint("to change it, replace the key in its recipient file, and run `seal reseal`"));
        }
        if args.no_recovery || has_one || (before.is_some() && !is_wanted) {
            return Ok(Self::Unchanged);
        }
        let key_type = key_type(entries)?;
        let Some(path) = &args.recovery_recipient else {
            return Ok(Self::New(Box::new(Identity::generate(key_type))));
        };
        let keys = read_recipient_file(path)?;
        if keys.iter().any(|key| key.key_type() != key_type) {
            return Err(CommandError::input(
                "the recovery key has another type than the keys of the clusters",
            )
            .on(shown(path))
            .hint(
                "an envelope takes keys of one type only: make another with `seal keys generate`",
            ));
        }
        Ok(Self::Given(keys))
    }

    fn is_some(&self) -> bool {
        !matches!(self, Self::Unchanged)
    }

    /// The recipient file.
    fn public_text(&self) -> Option<String> {
        let own;
        let keys = match self {
            Self::Unchanged => return None,
            Self::New(identity) => {
                own = [identity.recipient().clone()];
                &own[..]
            }
            Self::Given(keys) => keys,
        };
        let mut text = String::from("# recovery key\n");
        for key in keys {
            let _ = writeln!(text, "# fingerprint: {}\n{key}", key.fingerprint());
        }
        Some(text)
    }
}

/// Marks those that the config has already, with the same keys.
fn new_ones(mut entries: Vec<Entry>, config: &Config) -> Result<Vec<Entry>> {
    for entry in &mut entries {
        let name = safe(&entry.name);
        if !config.cluster_names().any(|known| known == entry.name) {
            continue;
        }
        let known = config.recipients(&entry.name)?;
        if !entry.keys.iter().all(|key| known.contains(key)) {
            return Err(CommandError::input(format_args!(
                "{FILE_NAME} has a cluster {name} already, with another key"
            ))
            .hint("nothing was changed; if the key of the cluster changed, update its recipient file: `seal keys fetch -w FILE`")
            .hint("if it is another cluster, give it another name"));
        }
        entry.is_new = false;
    }
    Ok(entries)
}

/// A config with more clusters, or with a recovery key; everything else stays as it is written.
/// `None` if there is nothing to add.
fn added(text: &str, config: &Config, entries: &[Entry], recovery: bool) -> Result<Option<String>> {
    let new: Vec<&str> = entries
        .iter()
        .filter(|entry| entry.is_new)
        .map(|entry| entry.name.as_str())
        .collect();
    if new.is_empty() && !recovery {
        return Ok(None);
    }
    let cluster = |name: &str| format!("{}: {{recipients: [{KEYS}/{name}.pub]}}", quoted(name));
    let rule = |path: &str, name: &str| {
        format!("- path: {}\n  clusters: [{}]", quoted(path), quoted(name))
    };
    let rules: Vec<String> = new
        .iter()
        .map(|name| rule(&format!("clusters/{name}/**"), name))
        .collect();
    let mut lines: Vec<String> = Vec::new();
    let mut old = text.lines().peekable();
    let (mut has_clusters, mut has_rules) = (false, false);
    while let Some(line) = old.next() {
        lines.push(line.to_owned());
        let key = line.split('#').next().unwrap_or_default().trim_end();
        if key == "clusters:" {
            has_clusters = true;
            let next = old.peek().copied().unwrap_or_default();
            let indent = next.len() - next.trim_start().len();
            let indent = " ".repeat(if indent == 0 { 2 } else { indent });
            lines.extend(new.iter().map(|name| format!("{indent}{}", cluster(name))));
        } else if key == "rules:" {
            has_rules = true;
            let next = old.peek().copied().unwrap_or_default();
            let indent = " ".repeat(next.len() - next.trim_start().len());
            let all = rules.iter().flat_map(|rule| rule.lines());
            lines.extend(all.map(|line| format!("{indent}{line}")));
        }
    }
    if recovery {
        lines.push(format!(
            "recovery: [{KEYS}/recovery.pub] # added to every envelope"
        ));
    }
    if !has_rules && !new.is_empty() {
        lines.push("rules: # first match wins; globs as in .gitignore".to_owned());
        lines.extend(rules);
        // What was sealed to the only cluster still is.
        if let [only] = config.cluster_names().collect::<Vec<_>>().as_slice() {
            lines.push(rule("**", only));
        }
    }
    let text = lines.join("\n") + "\n";
    let is_right = Config::names_in(&text).is_some_and(|names| {
        let all = config.cluster_names().chain(new.iter().copied());
        has_clusters
            && all
                .map(str::to_owned)
                .collect::<std::collections::BTreeSet<_>>()
                == names
    });
    if is_right || new.is_empty() {
        return Ok(Some(text));
    }
    let mut refused = CommandError::input(format_args!(
        "{FILE_NAME} is written in a way that cannot be added to"
    ))
    .hint("nothing was changed; add these lines by hand, and write the key of the cluster with `seal keys fetch -w FILE`");
    for name in new {
        refused = refused.hint(format_args!("under clusters: {}", cluster(name)));
    }
    Err(refused)
}

fn entries(args: &InitArgs, session: Session<'_>) -> Result<Vec<Entry>> {
    let Session { global, terminal } = session;
    let mut entries: Vec<Entry> = Vec::new();
    for text in &args.cluster_keys {
        let (name, file) = text
            .split_once('=')
            .filter(|(_, file)| !file.is_empty())
            .ok_or_else(|| CommandError::usage("--cluster-key takes NAME=FILE").on(safe(text)))?;
        let keys = read_recipient_file(Path::new(file))?;
        let mut text = format!("# cluster {}\n", safe(name));
        for key in &keys {
            let _ = writeln!(text, "# fingerprint: {}\n{key}", key.fingerprint());
        }
        entries.push(Entry {
            name: name.to_owned(),
            cluster: None,
            keys,
            text,
            is_new: true,
        });
    }
    for text in &args.clusters {
        let (name, context) = text
            .split_once('=')
            .map_or((text.as_str(), None), |(n, c)| (n, Some(c)));
        let cluster = Cluster::connect(global, context)?;
        let key = cluster.newest_key(terminal)?;
        let text = recipient_file(&cluster, &key);
        entries.push(Entry {
            name: name.to_owned(),
            cluster: Some(cluster),
            keys: vec![key.recipient],
            text,
            is_new: true,
        });
    }
    for (index, Entry { name, .. }) in entries.iter().enumerate() {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if name.is_empty()
            || !name.bytes().all(plain)
            || name.starts_with('.')
            || name == "recovery"
        {
            return Err(CommandError::usage(
                "invalid cluster name: use letters, digits, '-', '_' and '.'",
            )
            .on(safe(name)));
        }
        if entries[..index].iter().any(|other| other.name == *name) {
            return Err(CommandError::usage("two clusters have the same name").on(safe(name)));
        }
    }
    if entries.is_empty() {
        return Err(CommandError::usage("no cluster to seal to")
            .hint("fetch the key from a kubeconfig context: --cluster NAME=CONTEXT")
            .hint("or give a file with its public key: --cluster-key NAME=FILE"));
    }
    Ok(entries)
}

/// A new cluster needs keys of the type that the recovery key has.
fn check_types(entries: &[Entry], before: Option<&Config>) -> Result<()> {
    let own = key_type(entries)?;
    let recovery = before
        .map(Config::recovery)
        .transpose()?
        .unwrap_or_default();
    if recovery.iter().all(|key| key.key_type() == own) {
        return Ok(());
    }
    Err(
        CommandError::input("the cluster has a key of another type than the recovery key")
            .hint("an envelope takes keys of one type only: use the same type for all clusters"),
    )
}

/// The one type of all keys: the recovery key shares envelopes with every cluster.
fn key_type(entries: &[Entry]) -> Result<KeyType> {
    let mut types = entries
        .iter()
        .flat_map(|entry| &entry.keys)
        .map(Recipient::key_type);
    let first = types.next().unwrap_or(KeyType::Hybrid);
    if types.any(|other| other != first) {
        return Err(CommandError::input(
            "the clusters have keys of two types, mlkem768x25519 and X25519",
        )
        .hint("an envelope takes keys of one type only: use the same type for all clusters"));
    }
    Ok(first)
}

fn keep_recovery_key(identity: &Identity, args: &InitArgs, terminal: Terminal) -> Result<()> {
    let text = key_file(identity);
    let Some(path) = &args.recovery_key else {
        if !terminal.is_attended() {
            return Err(
                CommandError::usage("no terminal to show the recovery key on")
                    .hint("write it to a file outside the repository: --recovery-key FILE")
                    .hint("or make no recovery key: --no-recovery"),
            );
        }
        terminal.warning(
            "the recovery key is shown only once: keep it where it survives the loss of the cluster",
        );
        return print(text.as_bytes());
    };
    if args.passphrase {
        let passphrase = ask(terminal, "passphrase of the recovery key: ")?;
        let again = ask(terminal, "repeat the passphrase: ")?;
        if passphrase.expose_secret().is_empty()
            || passphrase.expose_secret() != again.expose_secret()
        {
            return Err(CommandError::usage("the passphrases are empty or differ"));
        }
        write_key_file(path, &encrypt(&text, passphrase)?)?;
    } else {
        write_key_file(path, text.as_bytes())?;
    }
    terminal.done("wrote", path);
    Ok(())
}

/// Names of contexts are personal: a clone keeps its own, and only where there is none the config has
/// to say them.
fn config_text(entries: &[Entry], recovery: bool, is_clone: bool) -> String {
    let mut text = String::from(
        "# Recipients of the secrets in this repository. Review changes as you review access.\n\
         version: 1\nclusters:\n",
    );
    for Entry { name, cluster, .. } in entries {
        let context = cluster
            .as_ref()
            .filter(|_| !is_clone)
            .map(|cluster| format!(", context: {}", quoted(cluster.context())));
        let name = quoted(name);
        let file = format!("{KEYS}/{}.pub", name.trim_matches('"'));
        let _ = writeln!(
            text,
            "  {name}: {{recipients: [{file}]{}}}",
            context.unwrap_or_default()
        );
    }
    if recovery {
        let _ = writeln!(
            text,
            "recovery: [{KEYS}/recovery.pub] # added to every envelope"
        );
    }
    if entries.len() > 1 {
        text.push_str("rules: # first match wins; globs as in .gitignore\n");
        for Entry { name, .. } in entries {
            let _ = writeln!(
                text,
                "- path: clusters/{name}/**\n  clusters: [{}]",
                quoted(name)
            );
        }
    }
    text.push_str("defaults: {scope: strict}\n");
    text
}

/// JSON strings are YAML strings.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
