//! `seal edit`: the values of an object in an editor, with a private key or from the live Secret.
//! Plaintext is in a private folder only, in memory if the system has one, and is removed with it.

mod editor;
mod folder;
mod live;

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use sealkit_core::keys::{Fingerprint, RecipientSet};
use sealkit_core::manifest::{
    Document, INPUT_BYTES, SecretManifest, read_documents, to_yaml_for_people, wipe,
};
use sealkit_core::names;
use sealkit_core::sealed::{Scope, SealedObject};
use serde_json::{Map, Value, json};
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
use crate::sealed_text::{self, ValueId};
use crate::sealing::held::{find_object, read};
use crate::sealing::merging::{merge_into, without};
use crate::sealing::piece::Piece;
use crate::sealing::seal_manifest;
use crate::sealing::target::{ScopeLimit, SealTarget, scopes};
use crate::signals::Signals;
use crate::terminal::{Session, Terminal, ask_yes, shown};
use editor::Editor;
use folder::{PrivateFolder, forbid_core_dumps, guard};

/// Flags of `seal edit`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  seal edit -i ~/recovery.key db.sealed.yaml
  EDITOR='code --wait' seal edit -i ~/recovery.key db.sealed.yaml")]
pub(super) struct EditArgs {
    /// File that holds the SealedSecret
    #[arg(value_name = "FILE")]
    pub path: PathBuf,
    /// Name of the SealedSecret, if the file holds several
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Scope of the SealedSecret, to confirm one that is wider than its path's rule says
    #[arg(long, value_parser = scopes())]
    pub scope: Option<Scope>,
    /// Recipients.
    #[command(flatten)]
    pub to: RecipientArgs,
    /// Let the templates of the object read the values that you change or add
    #[arg(long)]
    pub render: bool,
    /// Remove FILE, a private folder, if stdin ends without a byte
    #[arg(long, hide = true, conflicts_with_all = ["name", "scope", "render"])]
    pub guard: bool,
}

type Values = BTreeMap<String, Zeroizing<Vec<u8>>>;

/// Opens, lets a person change, seals what changed. Everything else keeps its ciphertext.
pub(super) fn run(args: &EditArgs, session: Session<'_>) -> Result<()> {
    if args.guard {
        return guard(&args.path);
    }
    forbid_core_dumps();
    let Session { global, terminal } = session;
    let place = Location::of(&args.path)?;
    let on_file = |error: CommandError| error.on(shown(&args.path));
    let (_, documents) = read(&args.path)?;
    let (namespace, name) = (global.namespace.as_deref(), args.name.as_deref());
    let (_, document) = find_object(&documents, namespace, name).map_err(on_file)?;
    let config = Configs::default().at(&place)?;
    let elsewhere = namespace_for(namespace, config.as_deref(), Some(&place))?;
    let target = SealTarget::of(document, &elsewhere).map_err(on_file)?;
    let limit = ScopeLimit {
        rule: scope_for(config.as_deref(), Some(&place))?,
        flag: args.scope,
    };
    limit.check(target.scope, target.scope).map_err(on_file)?;
    let chosen = Chooser::new(&args.to, session).choose(config.as_deref(), Some(&place))?;
    let mut acceptance = Acceptance::new(args.to.accept_recipients, terminal);
    acceptance.compare(&chosen, place.root.as_deref())?;
    let opened = if global.identities().next().is_some() {
        with_keys(document, &target.namespace, session).map_err(on_file)?
    } else {
        let cluster = live::cluster(global, config.as_deref(), &place).map_err(on_file)?;
        live::open(&cluster, document, &target, session).map_err(on_file)?
    };
    acceptance.admit(&missing(&opened, &chosen.set), place.root.as_deref())?;

    let before = sealed_text::values(document);
    let edited = edited(&opened, &target, terminal)?;
    let was = |key: &String| opened.values.get(key);
    let removed: Vec<String> = opened
        .values
        .keys()
        .filter(|key| !edited.contains_key(*key))
        .cloned()
        .collect();
    let changed: Values = edited
        .into_iter()
        .filter(|(key, value)| was(key).is_none_or(|old| **old != **value))
        .collect();
    if removed.is_empty() && changed.is_empty() {
        terminal.note("nothing was changed");
        return Ok(());
    }
    let touched: Vec<String> = removed.iter().chain(changed.keys()).cloned().collect();
    let (readable, private) = split(changed, &opened, args.render, terminal)?;
    let mut pieces = Vec::new();
    for (values, render) in [(private, false), (readable, true)] {
        if !values.is_empty() {
            pieces.push(sealed(values, target.clone(), &chosen.set, render)?);
        }
    }
    let _lock = Lock::of([place.real.as_path()]).map_err(on_file)?;
    let (old, documents) = read(&args.path)?;
    let (_, document) = find_object(&documents, namespace, name).map_err(on_file)?;
    check_untouched(&touched, &before, &sealed_text::values(document)).map_err(on_file)?;
    let updated = updated(
        args,
        session,
        (&old, documents),
        &pieces,
        &removed,
        limit,
        &acceptance,
    );
    let text = updated.map_err(on_file)?;
    replace_unchanged(&place.real, Some(&old), text.as_bytes()).map_err(on_file)?;
    acceptance.save();
    terminal.done("sealed", &args.path);
    Ok(())
}

/// The file with the new values and without the removed ones. The editor may have been open for
/// long: it is taken as it is now, other keys included.
fn updated(
    args: &EditArgs,
    session: Session<'_>,
    (old, mut documents): (&str, Vec<Document>),
    pieces: &[Piece],
    removed: &[String],
    limit: ScopeLimit,
    acceptance: &Acceptance,
) -> Result<String> {
    let mut text = old.to_owned();
    if !pieces.is_empty() {
        let (merged, mut differences) =
            merge_into(&text, documents, pieces, limit, session.terminal)?;
        differences.dedup();
        for difference in &differences {
            acceptance.accept(difference)?;
        }
        text = merged;
        documents = read_documents(text.as_bytes()).map_err(CommandError::bug)?;
    }
    let (namespace, name) = (session.global.namespace.as_deref(), args.name.as_deref());
    let (index, document) = find_object(&documents, namespace, name)?;
    let present = sealed_text::values(document);
    let removed = removed.iter().filter(|key| present.contains_key(*key));
    let removed: Vec<String> = removed.cloned().collect();
    if removed.is_empty() {
        return Ok(text);
    }
    without(&text, &documents, index, &removed)
}

/// Refuses to put a value over one that nobody saw in the editor.
fn check_untouched(
    keys: &[String],
    before: &BTreeMap<String, ValueId>,
    now: &BTreeMap<String, ValueId>,
) -> Result<()> {
    let changed = |key: &&String| now.contains_key(*key) && now.get(*key) != before.get(*key);
    let changed: Vec<_> = keys
        .iter()
        .filter(changed)
        .map(|key| names::printable(key))
        .collect();
    if changed.is_empty() {
        return Ok(());
    }
    Err(CommandError::input(format_args!(
        "somebody else changed {} while the editor was open",
        changed.join(", ")
    ))
    .hint("nothing was changed; edit again, and start from the new values"))
}

/// The values of an object, as far as they could be read.
struct OpenValues {
    values: Values,
    /// Could templates read it? Where that is known.
    render: BTreeMap<String, bool>,
    /// Keys whose values stay as they are unless a new one is given.
    unreadable: Vec<String>,
    /// The recipients of each envelope, where they are proven.
    recipients: Vec<Vec<Fingerprint>>,
}

fn with_keys(document: &Document, namespace: &str, session: Session<'_>) -> Result<OpenValues> {
    let ring = identities::ring(session)?;
    let object = SealedObject::parse_in(&document.object, namespace)
        .map_err(|error| CommandError::input(format_args!("{}: {}", error.code(), error.detail)))?;
    let opened = identities::open_object(&object, &ring).map_err(|error| {
        CommandError::unopened(format_args!("{}: {}", error.code(), error.detail))
    })?;
    let envelopes = opened.envelopes.into_values().map(|envelope| envelope.to);
    let render = opened.values.iter();
    Ok(OpenValues {
        render: render
            .map(|(key, value)| (key.clone(), value.render))
            .collect(),
        values: opened
            .values
            .into_iter()
            .map(|(key, value)| (key, value.bytes))
            .collect(),
        unreadable: Vec::new(),
        recipients: envelopes.collect(),
    })
}

/// Those who will be able to open the new values, and could not open all of the old ones.
fn missing(opened: &OpenValues, wanted: &RecipientSet) -> Vec<Fingerprint> {
    let could = |fingerprint: &Fingerprint| {
        let mut envelopes = opened.recipients.iter();
        envelopes.all(|recipients| recipients.contains(fingerprint))
    };
    let mut wanted = wanted.fingerprints();
    wanted.retain(|fingerprint| !could(fingerprint));
    wanted
}

/// The values that templates may read, and the others. Only the flag or a person lets templates
/// read a value: that they could read the old one, somebody else may have seen to.
fn split(
    values: Values,
    opened: &OpenValues,
    flag: bool,
    terminal: Terminal,
) -> Result<(Values, Values)> {
    const RISK: &str = "anyone who may change the SealedSecret can learn them";
    if flag && !values.is_empty() {
        let keys: Vec<&str> = values.keys().map(String::as_str).collect();
        let keys = keys.join(", ");
        terminal.note(format_args!(
            "templates in the cluster may read the values of {keys}: {RISK}"
        ));
        return Ok((values, Values::new()));
    }
    let (could, others): (Values, Values) = values
        .into_iter()
        .partition(|(key, _)| opened.render.get(key) == Some(&true));
    if could.is_empty() {
        return Ok((could, others));
    }
    let keys: Vec<&str> = could.keys().map(String::as_str).collect();
    let keys = keys.join(", ");
    if terminal.can_ask()
        && ask_yes(&format!(
            "templates could read the old values of {keys}. Let them read the new ones, so that {RISK}?"
        ))?
    {
        return Ok((could, others));
    }
    terminal.warning(format_args!(
        "templates could read the old values of {keys}, but cannot read the new ones: they are sealed without --render"
    ));
    Ok((Values::new(), could.into_iter().chain(others).collect()))
}

fn sealed(
    values: Values,
    target: SealTarget,
    recipients: &RecipientSet,
    render: bool,
) -> Result<Piece> {
    let manifest = SecretManifest {
        values,
        ..SecretManifest::default()
    };
    let item = seal_manifest(&manifest, target, recipients, render, None)?;
    Ok(Piece::Sealed(Box::new(item)))
}

/// The values as a person left them.
fn edited(opened: &OpenValues, target: &SealTarget, terminal: Terminal) -> Result<Values> {
    let editor = Editor::of_person()?;
    editor.tell(terminal);
    // Before any plaintext is written.
    let mut signals = Signals::caught()?;
    let folder = PrivateFolder::new()?;
    let path = folder.path().join("values.yaml");
    std::fs::write(&path, shown_values(opened, target)?.as_bytes())
        .map_err(|_| CommandError::input("the private folder cannot be written to"))?;
    loop {
        editor.edit(&path, &folder, &mut signals)?;
        let text = files::read(&path, INPUT_BYTES).map_err(|_| {
            CommandError::input("the edited file is gone").hint("nothing was changed")
        })?;
        let error = match parsed(&text) {
            Ok(values) => {
                drop(folder);
                signals.release();
                return Ok(values);
            }
            Err(error) => error,
        };
        if !terminal.can_ask() {
            return Err(error.hint("nothing was changed"));
        }
        terminal.warning(&error);
        if !ask_yes("edit it again? otherwise your changes are lost")? {
            return Err(error.hint("nothing was changed"));
        }
    }
}

const HEADING: &str = "\
# Values of this object in plain text. Change, add or remove keys, save, and close the editor.
# stringData holds text, data holds bytes in base64. Values that you do not change keep their ciphertext.
";

fn shown_values(opened: &OpenValues, target: &SealTarget) -> Result<Zeroizing<String>> {
    use base64::Engine as _;
    let (mut texts, mut bytes) = (Map::new(), Map::new());
    for (key, value) in &opened.values {
        if let Ok(text) = std::str::from_utf8(value) {
            texts.insert(key.clone(), text.into());
        } else {
            let encoded = base64::prelude::BASE64_STANDARD.encode(&**value);
            bytes.insert(key.clone(), encoded.into());
        }
    }
    let mut manifest = json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": target.name, "namespace": target.namespace},
        "stringData": Value::Object(texts),
    });
    if !bytes.is_empty() {
        manifest["data"] = bytes.into();
    }
    let text = to_yaml_for_people(&manifest).map(Zeroizing::new);
    wipe(&mut manifest);
    let text = text.map_err(|_| CommandError::bug("the values cannot be written"))?;
    let mut heading = HEADING.to_owned();
    for key in &opened.unreadable {
        heading.extend(["# cannot be shown here, stays unchanged: ", key, "\n"]);
    }
    Ok(Zeroizing::new(format!("{heading}{}", *text)))
}

fn parsed(text: &[u8]) -> Result<Values> {
    let mut documents = read_documents(text).map_err(CommandError::input)?;
    let manifest = match documents.as_slice() {
        [document] => SecretManifest::from_document(document).map_err(CommandError::input),
        _ => Err(CommandError::input("the file holds more than one document")),
    };
    documents
        .iter_mut()
        .for_each(|document| wipe(&mut document.object));
    Ok(manifest?.values)
}
