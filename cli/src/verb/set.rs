//! `seal set` and `seal unset`: one value of a file, with public keys only.

use std::path::PathBuf;

use clap::Args;
use sealkit_core::manifest::{Document, SecretManifest};
use sealkit_core::names;
use sealkit_core::references::nearest;
use sealkit_core::sealed::{Pattern, Scope, SealedView};

use crate::args::RecipientArgs;
use crate::error::{CommandError, Result};
use crate::files::lock::{Lock, replace_unchanged};
use crate::git::repository::Location;
use crate::recipients::Chooser;
use crate::recipients::acceptance::Acceptance;
use crate::recipients::config::{Configs, namespace_for, scope_for};
use crate::sealing::held::{find_object, read};
use crate::sealing::merging::{check_readable, merge_into};
use crate::sealing::piece::Piece;
use crate::sealing::seal_manifest;
use crate::sealing::target::{ScopeLimit, SealTarget, scopes};
use crate::sealing::values::{Source, sources, values};
use crate::terminal::{Session, Terminal, ask_yes, shown};

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
    /// Add keys that look like a misspelt one of the object
    #[arg(long)]
    pub new: bool,
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
    let elsewhere = namespace_for(namespace, config.as_deref(), Some(&place))?;
    // All is checked first: nobody should type a value that cannot be sealed.
    let target = SealTarget::of(document, &elsewhere).map_err(on_file)?;
    let limit = ScopeLimit {
        rule: scope_for(config.as_deref(), Some(&place))?,
        flag: args.scope,
    };
    limit.check(target.scope, target.scope).map_err(on_file)?;
    let mut chooser = Chooser::new(&args.to, session);
    let chosen = chooser.choose(config.as_deref(), Some(&place))?;
    let mut acceptance = Acceptance::new(args.to.accept_recipients, terminal);
    acceptance.compare(&chosen, place.root.as_deref())?;
    let sources = sources(&args.keys)?;
    check_new(document, &sources, args.new, terminal).map_err(on_file)?;
    let keys = sources.iter().map(|(key, _)| *key);
    check_readable(document, keys, args.render).map_err(on_file)?;
    let manifest = SecretManifest {
        values: values(&sources, args.generate, terminal)?,
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

/// Asks whether keys that the object does not have are meant. Where nobody can be asked, one that
/// looks like a key of the object needs the flag: it is a slip more often than not.
fn check_new(
    document: &Document,
    sources: &[Source<'_>],
    flag: bool,
    terminal: Terminal,
) -> Result<()> {
    let held: Vec<&str> = SealedView::of(&document.object)
        .values()
        .map(|(key, _)| key)
        .collect();
    if flag || held.is_empty() {
        return Ok(());
    }
    for (key, _) in sources.iter().filter(|(key, _)| !held.contains(key)) {
        let (title, shown_key) = (document.title(), names::printable(key));
        let meant = misspelt(key, &held).map(|meant| names::printable(&meant));
        if terminal.can_ask() {
            let meant = meant.map_or_else(String::new, |meant| format!(", but {meant}"));
            if !ask_yes(&format!(
                "{title} has no key {shown_key}{meant}. Add {shown_key}?"
            ))? {
                return Err(CommandError::usage("nothing was changed"));
            }
        } else if let Some(meant) = meant {
            let what = format_args!("{title} has no key {shown_key}, but {meant}");
            return Err(CommandError::usage(what).hint(format_args!(
                "did you mean {meant}? to add {shown_key} beside it, pass --new"
            )));
        }
    }
    Ok(())
}

/// The key that is meant, if this one looks like a slip. Names that count, such as `HOST_1`, differ in
/// digits alone on purpose, and short ones are all alike.
fn misspelt(key: &str, held: &[&str]) -> Option<String> {
    let letters = |name: &str| name.replace(|it: char| it.is_ascii_digit(), "");
    let may_be_meant = |other: &&str| {
        other.eq_ignore_ascii_case(key) || (key.len() > 3 && letters(other) != letters(key))
    };
    nearest(key, held.iter().copied().filter(may_be_meant))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_told_from_a_name_of_its_own() {
        let held = ["password", "DB_HOST", "HOST_1", "tls.crt", "A"];
        for (key, meant) in [
            ("PASSWORD", Some("password")),
            ("pasword", Some("password")),
            ("passwrod", Some("password")),
            ("DB-HOST", Some("DB_HOST")),
            ("db_hots", Some("DB_HOST")),
            ("a", Some("A")),
            ("B", None),
            ("HOST_2", None),
            ("tls.key", None),
            ("token", None),
        ] {
            assert_eq!(misspelt(key, &held).as_deref(), meant, "{key}");
        }
    }
}
