//! `seal set` and `seal unset`: one value of a file, with public keys only.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use age::secrecy::ExposeSecret as _;
use clap::Args;
use sealkit_core::manifest::{INPUT_BYTES, SecretManifest};
use sealkit_core::names;
use sealkit_core::sealed::{Pattern, Scope};
use zeroize::Zeroizing;

use crate::args::RecipientArgs;
use crate::error::{CommandError, Result};
use crate::files;
use crate::files::lock::{Lock, replace_unchanged};
use crate::git::repository::Location;
use crate::identities;
use crate::recipients::Chooser;
use crate::recipients::acceptance::Acceptance;
use crate::recipients::config::{Configs, namespace_for, scope_for};
use crate::sealing::held::{find_object, read};
use crate::sealing::merging::merge_into;
use crate::sealing::piece::Piece;
use crate::sealing::seal_manifest;
use crate::sealing::target::{ScopeLimit, SealTarget, scopes};
use crate::terminal::{Session, Terminal, safe, shown};

/// Flags of `seal set`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  # prompt for the value
  seal set db.sealed.yaml PASSWORD

  # read values from files, or one from stdin
  seal set web.sealed.yaml tls.crt=@web.crt tls.key=@web.key
  pwgen -s 40 1 | tr -d '\\n' | seal set db.sealed.yaml PASSWORD

  # random values that nobody has to see: 32 letters and digits, or 64 hexadecimal ones
  seal set db.sealed.yaml PASSWORD --generate
  seal set db.sealed.yaml COOKIE_KEY --generate=hex:64")]
pub(super) struct SetArgs {
    /// File that holds the SealedSecret
    #[arg(value_name = "FILE")]
    pub path: PathBuf,
    /// Key to set: KEY prompts for the value or reads it from stdin, KEY=@FILE reads it from FILE
    #[arg(value_name = "KEY[=@FILE]", required = true)]
    pub keys: Vec<String>,
    /// Give the keys random values: a length, an alphabet (alnum, letters, digits, hex, url,
    /// printable, bytes) or both; nothing means alnum:32
    #[arg(long, value_name = "[ALPHABET:]LENGTH", num_args = 0..=1, require_equals = true, default_missing_value = "alnum:32")]
    pub generate: Option<Pattern>,
    /// Name of the SealedSecret, if the file holds several
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Scope of the SealedSecret, to confirm one that is wider than its path's rule says
    #[arg(long, value_parser = scopes())]
    pub scope: Option<Scope>,
    /// Recipients.
    #[command(flatten)]
    pub to: RecipientArgs,
    /// Let the templates of the object read these values in the cluster
    #[arg(long)]
    pub render: bool,
}

/// Seals values into an existing object. Only their lines and envelopes change.
pub(super) fn run(args: &SetArgs, session: Session<'_>) -> Result<()> {
    let Session { global, terminal } = session;
    let place = Location::of(&args.path)?;
    let on_file = |error: CommandError| error.on(shown(&args.path));
    let (_, documents) = read(&args.path)?;
    let namespace = global.namespace.as_deref();
    let (_, document) =
        find_object(&documents, namespace, args.name.as_deref()).map_err(on_file)?;
    let config = Configs::default().at(&place)?;
    let elsewhere = namespace_for(namespace, config.as_deref(), Some(&place));
    // Checked first: nobody should type a value that cannot be sealed.
    let target = SealTarget::of(document, &elsewhere).map_err(on_file)?;
    let limit = ScopeLimit {
        rule: scope_for(config.as_deref(), Some(&place)),
        flag: args.scope,
    };
    limit.check(target.scope, target.scope).map_err(on_file)?;
    let mut chooser = Chooser::new(&args.to, session);
    let chosen = chooser.choose(config.as_deref(), Some(&place))?;
    let mut acceptance = Acceptance::new(args.to.accept_recipients, terminal);
    acceptance.compare(&chosen, place.root.as_deref())?;
    let manifest = SecretManifest {
        values: values(&args.keys, args.generate, terminal)?,
        ..SecretManifest::default()
    };
    let item = seal_manifest(&manifest, target, &chosen.set, args.render, None)?;
    if args.render {
        terminal.note("templates in the cluster may read these values: anyone who may change the SealedSecret can learn them");
    }
    // Whoever was asked for a value may have taken a while, and another run may have been faster.
    let _lock = Lock::of([place.real.as_path()]).map_err(on_file)?;
    let (old, documents) = read(&args.path)?;
    let pieces = [Piece::Sealed(Box::new(item))];
    let (text, differences) =
        merge_into(&old, documents, &pieces, limit, terminal).map_err(on_file)?;
    for difference in &differences {
        acceptance.accept(difference).map_err(on_file)?;
    }
    replace_unchanged(&place.real, Some(&old), text.as_bytes()).map_err(on_file)?;
    acceptance.save();
    terminal.done("sealed", &args.path);
    Ok(())
}

/// The values of the keys: each from its file, from stdin, from a person or from chance.
fn values(
    arguments: &[String],
    generate: Option<Pattern>,
    terminal: Terminal,
) -> Result<BTreeMap<String, Zeroizing<Vec<u8>>>> {
    if generate.is_some_and(Pattern::is_weak) {
        terminal
            .warning("so few random characters can be guessed by trying: generate a longer value");
    }
    let mut values = BTreeMap::new();
    let mut from_stdin = None;
    for argument in arguments {
        let (key, source) = match argument.split_once('=') {
            None => (argument.as_str(), None),
            Some((key, source)) => (key, Some(source)),
        };
        let shown_key = names::printable(key);
        if !names::is_secret_key(key) {
            return Err(CommandError::usage(format_args!(
                "{shown_key:?} is not a key that Kubernetes allows"
            )));
        }
        let path = match source {
            None => None,
            Some(source) => match source.strip_prefix('@') {
                Some(path) => Some(path).filter(|path| *path != "-"),
                // It may be a secret: it is not repeated.
                None => {
                    return Err(CommandError::usage("a value on the command line ends up in history files and process lists")
                        .on(shown_key)
                        .hint("treat it as leaked; give a new one in a file (KEY=@FILE), on stdin, or at the prompt"));
                }
            },
        };
        let drawn = generate.filter(|_| source.is_none());
        let value = match path {
            Some(path) => files::read(Path::new(path), INPUT_BYTES)?,
            None if let Some(pattern) = drawn => pattern.draw(),
            None if source.is_none() && terminal.can_ask() => {
                let typed = identities::ask(terminal, &format!("value of {shown_key}: "))?;
                Zeroizing::new(typed.expose_secret().as_bytes().to_vec())
            }
            None => {
                if let Some(other) = from_stdin.replace(shown_key.clone()) {
                    return Err(CommandError::usage("stdin can be read only once")
                        .on(format_args!("{} and {}", safe(&other), safe(&shown_key)))
                        .hint("give one of them with KEY=@FILE"));
                }
                files::read_stdin(INPUT_BYTES)?
            }
        };
        if value.is_empty() && path.is_none() {
            return Err(CommandError::input("no value was given")
                .on(shown_key)
                .hint("for an empty value, give an empty file: KEY=@FILE"));
        }
        if value.ends_with(b"\n") && path.is_none() && drawn.is_none() {
            terminal.note(format_args!(
                "the value of {shown_key} ends with a line feed"
            ));
        }
        if values.insert(key.to_owned(), value).is_some() {
            return Err(CommandError::usage("the key is given twice").on(shown_key));
        }
    }
    Ok(values)
}
