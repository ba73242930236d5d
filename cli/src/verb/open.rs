//! `seal open`: plaintext for the person who holds a key.

use std::path::PathBuf;

use clap::Args;
use sealkit_core::manifest::{Document, to_json, to_yaml};
use sealkit_core::names::printable;
use sealkit_core::sealed::{Opened, SealedView};
use zeroize::Zeroizing;

use crate::args::Output;
use crate::error::{CommandError, Result};
use crate::git::repository::Location;
use crate::identities;
use crate::recipients::config::{Configs, namespace_for};
use crate::sealing::opened::{Plain, open, rebuild};
use crate::sealing::stream::read_inputs;
use crate::terminal::{Session, print, shown};

/// Flags of `seal open`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  # break glass: the whole Secret
  seal open -i recovery.key db.sealed.yaml

  # one value, raw
  seal open -i recovery.key db.sealed.yaml --key password")]
pub(super) struct OpenArgs {
    /// SealedSecret manifests, - for stdin [default: stdin]
    #[arg(value_name = "FILE")]
    pub paths: Vec<PathBuf>,
    /// Same as the argument FILE; repeatable
    #[arg(short, long = "file", value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Print only the raw value of this key
    #[arg(long, value_name = "KEY")]
    pub key: Option<String>,
    /// Print text values under stringData instead of base64
    #[arg(long, conflicts_with = "key")]
    pub decode: bool,
}

/// Opens every SealedSecret that is read; prints nothing unless all of them open.
pub(super) fn run(args: &OpenArgs, session: Session<'_>) -> Result<()> {
    let Session { global, terminal } = session;
    if global.identities().next().is_none() {
        return Err(
            CommandError::usage("no private key to open the values with")
                .hint("give one with -i FILE or SEALKIT_IDENTITY_FILE"),
        );
    }
    refuse_work_tree()?;
    let paths: Vec<_> = args.files.iter().chain(&args.paths).cloned().collect();
    let inputs = read_inputs(&paths)?;
    let ring = identities::ring(session)?;
    let mut configs = Configs::default();
    let mut opened = Vec::new();
    for input in &inputs {
        // As `seal --all-documents` writes them.
        let passes = input
            .documents
            .iter()
            .any(|document| document.is_sealed_secret());
        for document in &input.documents {
            let subject = input.subject(document);
            let is_passed = passes && !document.is_sealed_secret() && document.foreign().is_none();
            if is_passed && !document.is_secret() {
                terminal.detail(format_args!("left out, since it is not sealed: {subject}"));
                continue;
            }
            let place = input.path.as_deref().map(Location::of).transpose()?;
            let config = place.as_ref().map(|place| configs.at(place)).transpose()?;
            let config = config.flatten();
            let flag = global.namespace.as_deref();
            let namespace = namespace_for(flag, config.as_deref(), place.as_ref())?;
            let object = open(document, &namespace, &ring).map_err(|error| error.on(&subject))?;
            if !object.hint_mismatch.is_empty() {
                terminal.warning(format_args!(
                    "HintMismatch: the listed recipients are not those of the envelope; reseal it, {subject}"
                ));
            }
            opened.push((&**document, object, subject));
        }
    }
    if let Some(key) = &args.key {
        if opened.len() != 1 {
            return Err(CommandError::usage("--key needs a single object")
                .on(format_args!("{} objects", opened.len())));
        }
        let Some((document, opened, subject)) = opened.pop() else {
            return Err(CommandError::bug("no object"));
        };
        return print_key(key, document, opened).map_err(|error| error.on(subject));
    }
    let kept_nowhere = |(document, ..): &(&Document, _, _)| {
        let view = SealedView::of(&document.object);
        view.target().is_some() || view.template_data().is_some()
    };
    if opened.iter().any(kept_nowhere) {
        terminal.note(
            "a Secret cannot hold spec.target and templates: if you seal this output again, they are lost; to change single values, seal those over the old file with -w",
        );
    }
    let secrets: Vec<Plain> = opened
        .into_iter()
        .map(|(document, opened, _)| rebuild(document, opened, args.decode))
        .collect::<Result<_>>()?;
    let text = match global.output.unwrap_or(Output::Yaml) {
        Output::Yaml => to_yaml(&secrets).map_err(|_| ()),
        Output::Json => to_json(&secrets).map_err(|_| ()),
    };
    let text = text.map_err(|()| CommandError::bug("the Secret cannot be written"))?;
    print(Zeroizing::new(text).as_bytes())
}

/// One value as it is sealed, or one that a template makes of them.
fn print_key(key: &str, document: &Document, opened: Opened) -> Result<()> {
    if let Some(value) = opened.values.get(key) {
        return print(&value.bytes);
    }
    let sealed: Vec<_> = opened.values.keys().map(|key| printable(key)).collect();
    let secret = rebuild(document, opened, false)?;
    if let Some(value) = secret.value(key) {
        return print(value);
    }
    Err(
        CommandError::input(format_args!("no key {:?}", printable(key)))
            .hint(format_args!("its keys are {}", sealed.join(", "))),
    )
}

/// `seal open x > y` inside a work tree puts plaintext one `git add` away from everybody.
fn refuse_work_tree() -> Result<()> {
    let Ok(path) = std::fs::read_link("/proc/self/fd/1") else {
        return Ok(());
    };
    if !path.is_file() {
        return Ok(());
    }
    let place = Location::of(&path)?;
    if place.is_committable() {
        return Err(
            CommandError::input("plaintext does not belong in a Git work tree")
                .on(shown(&path))
                .hint("write to a path outside the repository, or to one that Git ignores"),
        );
    }
    Ok(())
}
