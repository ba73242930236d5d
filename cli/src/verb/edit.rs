//! `seal edit`: the values of an object in an editor, with a private key. Plaintext lives in a
//! private folder, in memory where the system has one, and goes with it.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use sealkit_core::keys::RecipientSet;
use sealkit_core::manifest::{
    INPUT_BYTES, SecretManifest, read_documents, to_yaml_for_people, wipe,
};
use sealkit_core::sealed::{OpenedValue, SealedObject};
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use tokio::signal::unix::{Signal, SignalKind, signal};
use zeroize::Zeroizing;

use super::set::{placement, read};
use crate::acceptance::Acceptance;
use crate::args::{EditArgs, GlobalArgs};
use crate::config::Configs;
use crate::error::{CommandError, Result};
use crate::files;
use crate::identities;
use crate::merging::{find_object, merge_into, without};
use crate::piece::Piece;
use crate::recipients::Chooser;
use crate::repository::Location;
use crate::sealed_text;
use crate::sealing::{Placement, seal_manifest};
use crate::terminal::{Terminal, ask_yes, shown};

type Values = BTreeMap<String, Zeroizing<Vec<u8>>>;

/// Opens, lets a person change, seals what changed. Everything else keeps its ciphertext.
pub fn run(args: &EditArgs, global: &GlobalArgs, terminal: Terminal) -> Result<()> {
    if global.identities().next().is_none() {
        return Err(CommandError::usage("no private key to open with")
            .hint("give one with -i FILE or SEALKIT_IDENTITY_FILE")
            .hint("without one, `seal set` changes a value that nobody needs to see"));
    }
    let place = Location::of(&args.path)?;
    let on_file = |error: CommandError| error.on(shown(&args.path));
    let (_, documents) = read(&args.path)?;
    let (namespace, name) = (global.namespace.as_deref(), args.name.as_deref());
    let (_, document) = find_object(&documents, namespace, name).map_err(on_file)?;
    let placement = placement(document).map_err(on_file)?;
    let config = Configs::default().at(&place)?;
    let chosen =
        Chooser::new(&args.to, global, terminal).choose(config.as_deref(), Some(&place))?;
    let mut acceptance = Acceptance::new(args.to.accept_recipients, terminal);
    acceptance.compare(&chosen, place.root.as_deref())?;
    let ring = identities::ring(global, terminal)?;
    let object = SealedObject::parse(&document.object).map_err(|error| {
        on_file(CommandError::input(format_args!(
            "{}: {}",
            error.code(),
            error.detail
        )))
    })?;
    let opened = identities::open_object(&object, &ring).map_err(|error| {
        on_file(CommandError::unopened(format_args!(
            "{}: {}",
            error.code(),
            error.detail
        )))
    })?;

    let edited = edited(&opened.values, &placement, terminal)?;
    let was = |key: &String| opened.values.get(key);
    let removed: Vec<String> = opened
        .values
        .keys()
        .filter(|key| !edited.contains_key(*key))
        .cloned()
        .collect();
    // What templates may read stays so: the old envelope says it, and it was opened.
    let mut changed = [Values::new(), Values::new()];
    for (key, value) in edited {
        if was(&key).is_some_and(|old| *old.bytes == *value) {
            continue;
        }
        let render = was(&key).map_or(args.render, |old| old.render);
        changed[usize::from(render)].insert(key, value);
    }
    if removed.is_empty() && changed.iter().all(BTreeMap::is_empty) {
        terminal.note("nothing was changed");
        return Ok(());
    }
    // The editor may have been open for long: the file is taken as it is now, other keys included.
    let (mut text, mut documents) = read(&args.path)?;
    for (render, values) in changed.into_iter().enumerate() {
        if values.is_empty() {
            continue;
        }
        let piece = sealed(values, placement.clone(), &chosen.set, render == 1)?;
        let (merged, differences) =
            merge_into(&text, documents, &[piece], terminal).map_err(on_file)?;
        for difference in &differences {
            acceptance.accept(difference).map_err(on_file)?;
        }
        text = merged;
        documents = read_documents(text.as_bytes()).map_err(CommandError::bug)?;
    }
    let (index, document) = find_object(&documents, namespace, name).map_err(on_file)?;
    let present = sealed_text::values(document);
    let removed: Vec<String> = removed
        .into_iter()
        .filter(|key| present.contains_key(key))
        .collect();
    if !removed.is_empty() {
        text = without(&text, &documents, index, &removed).map_err(on_file)?;
    }
    files::replace(&place.real, text.as_bytes()).map_err(on_file)?;
    acceptance.save();
    terminal.done("sealed", &args.path);
    Ok(())
}

fn sealed(
    values: Values,
    placement: Placement,
    recipients: &RecipientSet,
    render: bool,
) -> Result<Piece> {
    let manifest = SecretManifest {
        values,
        ..SecretManifest::default()
    };
    let item = seal_manifest(&manifest, placement, recipients, render, None)?;
    Ok(Piece::Sealed(Box::new(item)))
}

/// The values as a person left them.
fn edited(
    values: &BTreeMap<String, OpenedValue>,
    placement: &Placement,
    terminal: Terminal,
) -> Result<Values> {
    // Before there is plaintext anywhere.
    let mut signals = Signals::caught()?;
    let folder = PrivateFolder::new()?;
    let path = folder.path().join("values.yaml");
    std::fs::write(&path, shown_values(values, placement)?.as_bytes())
        .map_err(|_| CommandError::input("the private folder cannot be written to"))?;
    loop {
        edit(&path, &folder, &mut signals)?;
        let text = files::read(&path, INPUT_BYTES).map_err(|_| {
            CommandError::input("the editor left no file").hint("nothing was changed")
        })?;
        let error = match parsed(&text) {
            Ok(values) => return Ok(values),
            Err(error) => error,
        };
        if !terminal.can_ask() {
            return Err(error.hint("nothing was changed"));
        }
        terminal.warning(&error);
        if !ask_yes("edit it again? what you typed is lost otherwise")? {
            return Err(error.hint("nothing was changed"));
        }
    }
}

const HEADING: &str = "\
# Values of this object in plain text. Change, add and remove keys, save, and close the editor.
# stringData holds texts, data holds bytes as base64. What you leave as it is keeps its ciphertext.
";

fn shown_values(
    values: &BTreeMap<String, OpenedValue>,
    placement: &Placement,
) -> Result<Zeroizing<String>> {
    use base64::Engine as _;
    let (mut texts, mut bytes) = (Map::new(), Map::new());
    for (key, value) in values {
        if let Ok(text) = std::str::from_utf8(&value.bytes) {
            texts.insert(key.clone(), text.into());
        } else {
            let encoded = base64::prelude::BASE64_STANDARD.encode(&*value.bytes);
            bytes.insert(key.clone(), encoded.into());
        }
    }
    let mut manifest = json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": placement.name, "namespace": placement.namespace},
        "stringData": Value::Object(texts),
    });
    if !bytes.is_empty() {
        manifest["data"] = bytes.into();
    }
    let text = to_yaml_for_people(&manifest).map(Zeroizing::new);
    wipe(&mut manifest);
    let text = text.map_err(|_| CommandError::bug("the values cannot be written"))?;
    Ok(Zeroizing::new(format!("{HEADING}{}", *text)))
}

fn parsed(text: &[u8]) -> Result<Values> {
    let mut documents = read_documents(text).map_err(CommandError::input)?;
    let manifest = match documents.as_slice() {
        [document] => SecretManifest::from_document(document).map_err(CommandError::input),
        _ => Err(CommandError::input("the file holds more than one document")),
    };
    documents.iter_mut().for_each(|it| wipe(&mut it.object));
    Ok(manifest?.values)
}

/// The signals that would end this program and leave plaintext behind.
struct Signals {
    runtime: tokio::runtime::Runtime,
    /// The terminal sends these to the editor too, which may live on.
    shared: [Signal; 2],
    /// These are for us.
    ours: [Signal; 2],
}

impl Signals {
    fn caught() -> Result<Self> {
        let failed = |_| CommandError::bug("signals cannot be caught");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(failed)?;
        let entered = runtime.enter();
        let catch = |kind| signal(kind).map_err(failed);
        let shared = [catch(SignalKind::interrupt())?, catch(SignalKind::quit())?];
        let ours = [
            catch(SignalKind::terminate())?,
            catch(SignalKind::hangup())?,
        ];
        drop(entered);
        Ok(Self {
            runtime,
            shared,
            ours,
        })
    }

    /// Waits for a process; nothing if a signal that is for us comes first.
    fn wait(&mut self, child: &mut Child) -> io::Result<Option<ExitStatus>> {
        let ([interrupt, quit], [terminate, hangup]) = (&mut self.shared, &mut self.ours);
        self.runtime.block_on(async {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = quit.recv() => {}
                    _ = terminate.recv() => return Ok(None),
                    _ = hangup.recv() => return Ok(None),
                    () = tokio::time::sleep(POLL) => {
                        if let Some(status) = child.try_wait()? {
                            return Ok(Some(status));
                        }
                    }
                }
            }
        })
    }
}

const POLL: Duration = Duration::from_millis(50);

/// Runs the editor of the person, as Git does. A signal that would end us ends it first, and the
/// private folder goes.
fn edit(path: &Path, folder: &PrivateFolder, signals: &mut Signals) -> Result<()> {
    let variable = |name| {
        std::env::var(name)
            .ok()
            .filter(|text| !text.trim().is_empty())
    };
    let editor = variable("VISUAL")
        .or_else(|| variable("EDITOR"))
        .unwrap_or_else(|| "vi".to_owned());
    let failed = |_| CommandError::input("the editor cannot be started").hint("set EDITOR");
    // Through the shell, since it may have arguments; the path is one of its own.
    let mut child = Command::new("sh")
        .args(["-c", &format!("{editor} \"$@\""), "seal-edit"])
        .arg(path)
        // Swap and undo files that go by it.
        .env("TMPDIR", folder.path())
        .spawn()
        .map_err(failed)?;
    match signals.wait(&mut child) {
        Ok(Some(status)) if status.success() => Ok(()),
        Ok(Some(_)) => Err(CommandError::input("the editor failed").hint("nothing was changed")),
        Ok(None) | Err(_) => {
            let _ = child.kill();
            let _ = child.wait();
            Err(CommandError::input("interrupted").hint("nothing was changed"))
        }
    }
}

/// A folder for plaintext: only for its owner, in memory where the system has such a place. Its
/// files are overwritten before they go.
struct PrivateFolder(TempDir);

impl PrivateFolder {
    fn new() -> Result<Self> {
        let mut builder = tempfile::Builder::new();
        builder
            .prefix("seal-edit-")
            .permissions(std::fs::Permissions::from_mode(0o700));
        let memory = Path::new("/dev/shm");
        let made = if memory.is_dir() {
            builder.tempdir_in(memory).or_else(|_| builder.tempdir())
        } else {
            builder.tempdir()
        };
        made.map(Self)
            .map_err(|_| CommandError::input("no private folder can be made"))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for PrivateFolder {
    fn drop(&mut self) {
        overwrite(self.path());
    }
}

fn overwrite(folder: &Path) {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    for path in paths {
        match path.symlink_metadata() {
            Ok(metadata) if metadata.is_dir() => overwrite(&path),
            Ok(metadata) if metadata.is_file() => {
                let size = usize::try_from(metadata.len()).unwrap_or_default();
                let file = std::fs::OpenOptions::new().write(true).open(&path);
                if let Ok(mut file) = file {
                    let _ = io::Write::write_all(&mut file, &vec![0; size]);
                    let _ = file.sync_all();
                }
            }
            _ => {}
        }
    }
}
