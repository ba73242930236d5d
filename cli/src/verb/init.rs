//! `seal init`: the config and the recipient files of a repository.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use age::secrecy::ExposeSecret as _;
use clap::Args;
use sealkit_core::keys::{Identity, KeyType, Recipient};

use crate::cluster::Cluster;
use crate::error::{CommandError, Result};
use crate::files::{self, Access};
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
}

/// Writes everything or, where a file is in the way, nothing.
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
    let config = root.join(FILE_NAME);
    let entries = entries(args, session)?;
    let key_type = key_type(&entries)?;
    let path = |name: &str| root.join(KEYS).join(format!("{name}.pub"));
    let mut outputs: Vec<(PathBuf, String)> = entries
        .iter()
        .map(|entry| (path(&entry.name), entry.text.clone()))
        .collect();
    let recovery = (!args.no_recovery).then(|| Identity::generate(key_type));
    if let Some(identity) = &recovery {
        let public = identity.recipient();
        let text = format!(
            "# recovery key\n# fingerprint: {}\n{public}\n",
            public.fingerprint()
        );
        outputs.push((path("recovery"), text));
    }
    outputs.push((config, config_text(&entries, recovery.is_some())));
    if let Some((path, _)) = outputs
        .iter()
        .find(|(path, _)| path.symlink_metadata().is_ok())
    {
        return Err(
            CommandError::input("the file already exists and is never overwritten")
                .on(shown(path))
                .hint("nothing was changed; edit it by hand, or remove it first"),
        );
    }
    if let Some(identity) = &recovery {
        keep_recovery_key(identity, args, terminal)?;
    }
    std::fs::create_dir_all(root.join(KEYS)).map_err(|_| {
        CommandError::input("the folder cannot be created").on(shown(&root.join(KEYS)))
    })?;
    for (path, text) in &outputs {
        files::create(path, text.as_bytes(), Access::Public)?;
        terminal.done("wrote", path.strip_prefix(&root).unwrap_or(path));
    }
    // What was written is read as every later command will.
    let config = Config::load(&root)?;
    // Whoever names the recipients knows them.
    let mut known = KnownClusters::load(Some(&root));
    for Entry { name, cluster, .. } in &entries {
        known.remember(&from_config(&config, std::slice::from_ref(name))?.groups);
        if let Some(cluster) = cluster {
            trust_quietly(cluster, &config, name, terminal);
        }
    }
    known.save();
    if args.git {
        setup::install(true, terminal)?;
    }
    Ok(())
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

fn config_text(entries: &[Entry], recovery: bool) -> String {
    let mut text = String::from(
        "# Recipients of the secrets in this repository. Review changes as you review access.\n\
         version: 1\nclusters:\n",
    );
    for Entry { name, cluster, .. } in entries {
        let context = cluster
            .as_ref()
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
