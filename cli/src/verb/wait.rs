//! `seal wait`: until the Secrets of a cluster are there, for what was applied last.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;

use crate::args::ClusterArgs;
use crate::cluster::ready::{Board, Patience, Scope, as_json, duration, report};
use crate::cluster::{Cluster, KINDS, ObjectKey, SecretsKind, Served, connect, manifests};
use crate::error::{CommandError, Result};
use crate::report::Verdict;
use crate::terminal::{Session, Terminal, safe};

/// Flags of `seal wait`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  # everything in a namespace
  seal wait --all -n shop --timeout 2m

  # two objects, or those of a folder of manifests
  seal wait sealedsecret/db externalsecret/mail -n shop
  seal wait -f clusters/production/

  # by label, as a report for programs
  seal wait -l app=web -o json")]
#[command(group = clap::ArgGroup::new("what").required(true).multiple(true))]
pub(super) struct WaitArgs {
    /// Objects to wait for, such as sealedsecret/db or externalsecret/mail
    #[arg(value_name = "KIND/NAME", group = "what")]
    pub objects: Vec<String>,
    /// Wait for the objects of this file or folder, or of stdin with -; repeatable
    #[arg(short, long = "file", value_name = "PATH", group = "what")]
    pub files: Vec<PathBuf>,
    /// Wait for all SealedSecrets, ExternalSecrets and stores of the cluster, or of the namespace -n
    #[arg(long, group = "what", conflicts_with_all = ["objects", "files", "selector"])]
    pub all: bool,
    /// Wait for the objects with these labels; at least one must exist
    #[arg(short = 'l', long, value_name = "SELECTOR", group = "what", conflicts_with_all = ["objects", "files"])]
    pub selector: Option<String>,
    /// How long to wait; 0s looks once
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration)]
    pub timeout: Duration,
    /// Keep waiting for objects that fail until somebody changes them
    #[arg(long)]
    pub ignore_stalled: bool,
    /// Which cluster.
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// Waits. What is not ready is a finding.
pub(super) fn run(args: &WaitArgs, session: Session<'_>) -> Result<Verdict> {
    let until = Instant::now() + args.timeout;
    let cluster = connect(&args.cluster, session.global)?;
    let named = named(args, &cluster, session)?;
    let served = cluster.served()?;
    let mut board = Board::default();
    let (scopes, skipped) = if named.is_empty() {
        let found = everything(args, session, &served);
        skip(&found.1, session.terminal);
        found
    } else {
        (scopes_of(named, &cluster, &served, &mut board)?, Vec::new())
    };
    let patience = Patience {
        until,
        ignore_stalled: args.ignore_stalled,
        needs_one: args.selector.is_some(),
    };
    let outcome = cluster.wait_until_ready(&mut board, &scopes, patience, session.terminal)?;
    let mut whole = as_json(outcome, &board.lines());
    let skipped = skipped.iter().map(|kind| kind.resource());
    whole["skipped"] = json!(skipped.collect::<Vec<_>>());
    let place = match &session.global.namespace {
        Some(namespace) => format!("the namespace {}", safe(namespace)),
        None => "the cluster".to_owned(),
    };
    let nothing = format!("there is nothing to wait for in {place}");
    report(outcome, &board, &whole, &nothing, session)
}

/// The objects that the arguments and the files name.
fn named(args: &WaitArgs, cluster: &Cluster, session: Session<'_>) -> Result<BTreeSet<ObjectKey>> {
    let namespace = session.global.namespace.as_deref();
    let namespace = namespace.unwrap_or_else(|| cluster.namespace());
    let mut keys = BTreeSet::new();
    for text in &args.objects {
        keys.insert(object(text, namespace)?);
    }
    if !args.files.is_empty() {
        let read = manifests::read(&args.files, namespace)?;
        if read.objects.is_empty() {
            return Err(CommandError::input(
                "the input has no SealedSecret, ExternalSecret or store",
            ));
        }
        keys.extend(read.objects.into_iter().map(|manifest| manifest.key));
    }
    Ok(keys)
}

fn object(text: &str, namespace: &str) -> Result<ObjectKey> {
    let parts = text.split_once('/').filter(|(_, name)| !name.is_empty());
    let (word, name) = parts.ok_or_else(|| {
        CommandError::usage("not an object")
            .on(safe(text))
            .hint("write KIND/NAME, such as sealedsecret/db")
    })?;
    let kind = SecretsKind::of_word(word).ok_or_else(|| {
        let words: Vec<_> = KINDS.iter().map(ToString::to_string).collect();
        CommandError::usage("no kind that makes Secrets")
            .on(safe(text))
            .hint(format_args!("it is one of {}", words.join(", ")))
    })?;
    Ok(ObjectKey {
        kind,
        namespace: if kind.namespaced { namespace } else { "" }.to_owned(),
        name: name.to_owned(),
    })
}

/// Watches over these objects, of kinds that the cluster has.
fn scopes_of(
    named: BTreeSet<ObjectKey>,
    cluster: &Cluster,
    served: &Served,
    board: &mut Board,
) -> Result<Vec<Scope>> {
    let mut objects = Vec::new();
    for key in named {
        let resource = served.find(key.kind).ok_or_else(|| cluster.no_kind(&key))?;
        objects.push((key.clone(), resource.clone()));
        board.expect(key, 0);
    }
    Ok(Scope::of_objects(objects))
}

/// Watches over all kinds that the cluster has, and the kinds that it does not have.
fn everything(
    args: &WaitArgs,
    session: Session<'_>,
    served: &Served,
) -> (Vec<Scope>, Vec<&'static SecretsKind>) {
    let namespace = &session.global.namespace;
    let (mut scopes, mut skipped) = (Vec::new(), Vec::new());
    let meant =
        |kind: &&SecretsKind| kind.stage.is_some() && (kind.namespaced || namespace.is_none());
    for kind in KINDS.iter().filter(meant) {
        match served.find(kind) {
            None => skipped.push(kind),
            Some(resource) => scopes.push(Scope {
                kind,
                resource: resource.clone(),
                namespace: namespace.clone(),
                name: None,
                selector: args.selector.clone(),
                whole: true,
            }),
        }
    }
    (scopes, skipped)
}

fn skip(skipped: &[&SecretsKind], terminal: Terminal) {
    if !skipped.is_empty() {
        let names: Vec<_> = skipped.iter().map(ToString::to_string).collect();
        terminal.note(format_args!(
            "not installed in this cluster, and skipped: {}",
            names.join(", ")
        ));
    }
}
