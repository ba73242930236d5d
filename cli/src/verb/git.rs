//! What Git calls, and what tells it to: key-wise merge and diff, without a private key.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sealkit_core::manifest::{
    Document, INPUT_BYTES, SealedEdit, edit_sealed, read_documents, to_yaml,
};
use sealkit_core::names::printable;
use sealkit_core::sealed::{SealedEnvelope, SealedObject};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::args::{MergeDriverArgs, TextconvArgs};
use crate::error::{CommandError, Result};
use crate::files::{self, Access};
use crate::repository::{Location, git, git_folder, no_repository, root_of};
use crate::terminal::{Terminal, print, shown};
use crate::wanted::Wanted;

/// Files that the drivers are for.
const PATTERNS: [&str; 2] = ["*.sealed.yaml", "*.sealed.yml"];

/// What Git runs before each commit.
const HOOK: &str = "\
#!/bin/sh
# Nothing is committed in plain text. Written by `seal git install`; `git commit --no-verify` goes past it.
command -v seal > /dev/null || {
  echo 'seal is not on the PATH, and so nobody looks at what is committed; `git commit --no-verify` goes past this' >&2
  exit 1
}
exec seal verify --staged
";
/// What a hook of somebody else has to call.
const CHECK: &str = "seal verify --staged";

/// Sets Git up for this clone, and `.gitattributes` for everybody.
pub fn install(terminal: Terminal) -> Result<()> {
    let here = std::env::current_dir().map_err(|_| CommandError::input("no working directory"))?;
    let root = root_of(&here).ok_or_else(no_repository)?;
    for (name, value) in [
        ("merge.sealkit.name", "key-wise merge of SealedSecrets"),
        ("merge.sealkit.driver", "seal merge-driver %O %A %B %P"),
        ("diff.sealkit.textconv", "seal textconv"),
        // A cache in the repository would be written by everybody.
        ("diff.sealkit.cachetextconv", "false"),
    ] {
        let written = git(&root, &["config", "--local", name, value]);
        if !matches!(written, Some((0, _))) {
            return Err(CommandError::input("Git's configuration cannot be written").on(name));
        }
    }
    let place = Location::of(&root.join(".gitattributes"))?;
    let old = match std::fs::symlink_metadata(&place.real) {
        Ok(_) => files::read_text(&place.real, files::SMALL_FILE)?,
        Err(_) => String::new(),
    };
    let mut text = old.clone();
    for pattern in PATTERNS {
        let line = format!("{pattern} merge=sealkit diff=sealkit");
        if !old.lines().any(|known| known.trim() == line) {
            if !text.is_empty() && !text.ends_with('\n') {
                text.push('\n');
            }
            text.push_str(&line);
            text.push('\n');
        }
    }
    if text != old {
        files::replace(&place.real, text.as_bytes())
            .map_err(|error| error.on(shown(&place.given)))?;
        terminal.done("wrote", Path::new(".gitattributes"));
    }
    install_hook(&root, terminal)?;
    terminal.note("`git merge` and `git diff` of this clone know SealedSecrets now; commit .gitattributes, and run this in every clone");
    Ok(())
}

/// The hook that Git runs before a commit.
pub struct Hook {
    path: PathBuf,
    /// Does it lie in the clone's own folder? Others may serve other clones too, and other programs
    /// write them.
    is_own: bool,
    /// Does it look at what is committed?
    pub is_ours: bool,
}

/// Where it is, or would be; nothing where Git does not say.
pub fn hook(root: &Path) -> Option<Hook> {
    let (0, folder) = git(root, &["rev-parse", "--git-path", "hooks"])? else {
        return None;
    };
    let folder = root.join(folder.trim_end_matches('\n'));
    let own = git_folder(root)?.join("hooks");
    // It need not be there yet.
    let real = |path: &Path| {
        let parent = path.parent().and_then(|parent| parent.canonicalize().ok());
        let last = path
            .file_name()
            .zip(parent)
            .map(|(name, parent)| parent.join(name));
        path.canonicalize().ok().or(last)
    };
    let path = folder.join("pre-commit");
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let mut lines = text.lines().map(str::trim_start);
    let calls = lines.any(|line| !line.starts_with('#') && line.contains(CHECK));
    Some(Hook {
        is_own: real(&folder).is_some_and(|it| Some(it) == real(&own)),
        is_ours: calls && is_executable(&path),
        path,
    })
}

/// Git passes over hooks that cannot be run.
#[cfg(unix)]
fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    path.metadata()
        .is_ok_and(|metadata| metadata.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_executable(_: &Path) -> bool {
    true
}

/// A hook of somebody else stays as it is.
fn install_hook(root: &Path, terminal: Terminal) -> Result<()> {
    let unknown = || CommandError::input("Git does not say where its hooks are");
    let hook = hook(root).ok_or_else(unknown)?;
    if hook.is_ours {
        return Ok(());
    }
    if !hook.is_own || hook.path.symlink_metadata().is_ok() {
        terminal.note(format_args!(
            "let your own hook call `{CHECK}`, and be executable: {} is not touched",
            shown(&hook.path)
        ));
        return Ok(());
    }
    if let Some(folder) = hook.path.parent() {
        std::fs::create_dir_all(folder)
            .map_err(|_| CommandError::input("the folder cannot be made").on(shown(folder)))?;
    }
    files::create(&hook.path, HOOK.as_bytes(), Access::Program)?;
    terminal.done("wrote", hook.path.strip_prefix(root).unwrap_or(&hook.path));
    Ok(())
}

/// What `git diff` shows of a file: a short line for each value, that changes when the value is
/// sealed anew; recipients instead of envelopes; the rest as it is.
pub fn textconv(args: &TextconvArgs) -> Result<()> {
    let bytes = files::read(&args.path, INPUT_BYTES)?;
    let Ok(documents) = read_documents(&bytes) else {
        return print(&bytes);
    };
    let shortened: Vec<Value> = documents.iter().map(shortened).collect();
    let text = to_yaml(&shortened);
    text.map_or_else(|_| print(&bytes), print)
}

fn shortened(document: &Document) -> Value {
    let mut object = document.object.clone();
    if !document.is_sealed_secret() {
        return object;
    }
    let section = |object: &mut Value, name: &str| -> Map<String, Value> {
        let section = object.get_mut("spec").and_then(|spec| spec.get_mut(name));
        section
            .and_then(Value::as_object_mut)
            .map(std::mem::take)
            .unwrap_or_default()
    };
    // Of public text: it tells equal from changed, and nothing of the value.
    let short = |text: &str| {
        let digest = Sha256::digest(text);
        let hex = digest[..16].iter().map(|byte| format!("{byte:02x}"));
        hex.collect::<String>()
    };
    let values = section(&mut object, "encryptedData");
    let values = values.into_iter().map(|(key, value)| {
        let text = value.as_str().unwrap_or_default();
        let id = text.split('.').nth(1).unwrap_or_default();
        (
            key,
            Value::from(format!("sealed {} under {id}", short(text))),
        )
    });
    let values: Map<String, Value> = values.collect();
    let envelopes = section(&mut object, "envelopes");
    let envelopes = envelopes.into_iter().map(|(id, envelope)| {
        let recipients = envelope.get("recipients").cloned().unwrap_or_default();
        let sealed_key = envelope.get("sealedKey").and_then(Value::as_str);
        let sealed_key = short(sealed_key.unwrap_or_default());
        (
            id,
            json!({"recipients": recipients, "sealedKey": sealed_key}),
        )
    });
    let envelopes: Map<String, Value> = envelopes.collect();
    if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
        spec.insert("encryptedData".to_owned(), values.into());
        spec.insert("envelopes".to_owned(), envelopes.into());
    }
    object
}

/// Git's merge driver: values and envelopes are merged key by key, the rest by lines. The result
/// goes into `ours`. Returns false where a person has to decide: conflict markers stand there then.
pub fn merge_driver(args: &MergeDriverArgs, terminal: Terminal) -> Result<bool> {
    let read = |path: &Path| files::read_text(path, INPUT_BYTES);
    let texts = [read(&args.base)?, read(&args.ours)?, read(&args.theirs)?];
    let aligned = Aligned::new(&texts, args.path.as_deref());
    let (mut text, mut clean) = match &aligned {
        Some(aligned) => merge_lines(&aligned.texts)?,
        None => merge_lines(&texts)?,
    };
    // The lines of values and envelopes may differ in order and style, and mean the same.
    if let Some(aligned) = aligned.as_ref().filter(|_| !clean)
        && let Some(whole) = aligned.whole(&texts)
    {
        (text, clean) = (whole.to_owned(), true);
    }
    files::replace(&Location::of(&args.ours)?.real, text.as_bytes())?;
    if !clean {
        for what in aligned.iter().flat_map(|aligned| &aligned.conflicts) {
            terminal.warning(format_args!("both sides changed {what}: keep one of them"));
        }
        return Ok(false);
    }
    // Lines that merge can still say what nobody meant.
    let documents = read_documents(text.as_bytes()).unwrap_or_default();
    let mut sealed = documents.iter().filter(|it| it.is_sealed_secret());
    let valid = !documents.is_empty()
        && sealed.all(|document| SealedObject::parse(&document.object).is_ok());
    let meant = aligned.is_none_or(|aligned| aligned.is_said_by(&documents));
    if !valid || !meant {
        terminal
            .warning("the merge is not what both sides meant: look at the file before you go on");
    }
    Ok(valid && meant)
}

/// `git merge-file` on three texts; false where it left conflict markers.
fn merge_lines([base, ours, theirs]: &[String; 3]) -> Result<(String, bool)> {
    let failed = || CommandError::input("`git merge-file` does not work");
    // Ciphertext, in a folder of its own.
    let folder = tempfile::tempdir().map_err(|_| failed())?;
    let at = |name: &str| folder.path().join(name);
    for (name, text) in [("base", base), ("ours", ours), ("theirs", theirs)] {
        std::fs::write(at(name), text).map_err(|_| failed())?;
    }
    let output = Command::new("git")
        .args([
            "merge-file",
            "-p",
            "-L",
            "ours",
            "-L",
            "base",
            "-L",
            "theirs",
        ])
        .args([at("ours"), at("base"), at("theirs")])
        .stdin(Stdio::null())
        .output()
        .map_err(|_| failed())?;
    let text = String::from_utf8(output.stdout).map_err(|_| failed())?;
    match output.status.code() {
        Some(0) => Ok((text, true)),
        Some(count) if count < 128 => Ok((text, false)),
        _ => Err(failed()),
    }
}

/// Three versions of a file whose values and envelopes say the same, but for conflicts: what is
/// left to merge are lines.
struct Aligned {
    texts: [String; 3],
    /// Keys and envelopes that both sides changed, in words.
    conflicts: Vec<String>,
    /// The values that each object must have in the end.
    values: BTreeMap<(String, String), Value>,
    /// The documents of the three before.
    documents: Vec<Vec<Document>>,
}

impl Aligned {
    /// Nothing where a version cannot be read or edited: then lines decide alone.
    fn new(texts: &[String; 3], path: Option<&Path>) -> Option<Self> {
        let mut documents = Vec::new();
        for text in texts {
            documents.push(read_documents(text.as_bytes()).ok()?);
        }
        let named: Vec<BTreeMap<(String, String), usize>> = documents
            .iter()
            .map(|it| by_name(it))
            .collect::<Option<_>>()?;
        let wanted = path.and_then(wanted);
        let mut edits = [const { BTreeMap::new() }; 3];
        let mut conflicts = Vec::new();
        for (name, ours) in &named[1] {
            // An object that one side added or removed is a matter of lines.
            let (Some(base), Some(theirs)) = (named[0].get(name), named[2].get(name)) else {
                continue;
            };
            let places = [*base, *ours, *theirs];
            let versions: Vec<Version<'_>> = (0..3)
                .map(|side| Version::of(&documents[side][places[side]]))
                .collect::<Option<_>>()?;
            let [base, ours, theirs] = versions.as_slice() else {
                return None;
            };
            let merged = Merged::new(base, ours, theirs, wanted.as_deref())?;
            conflicts.extend(merged.conflicts);
            for (side, edit) in merged.edits.into_iter().enumerate() {
                edits[side].insert(places[side], edit);
            }
        }
        let mut aligned = Vec::new();
        let mut values = BTreeMap::new();
        for (side, text) in texts.iter().enumerate() {
            let edited = edit_sealed(text, &documents[side], &edits[side]).ok()?;
            aligned.push(edited.text);
            if side == 1 {
                for (name, index) in &named[side] {
                    if let Some(object) = edited.objects.get(index) {
                        let said = object.pointer("/spec/encryptedData").cloned();
                        values.insert(name.clone(), said.unwrap_or_default());
                    }
                }
            }
        }
        let texts = aligned.try_into().ok()?;
        Some(Self {
            texts,
            conflicts,
            values,
            documents,
        })
    }

    /// The text of one side, where the other has changed nothing but values and envelopes: it says
    /// all that both mean.
    fn whole(&self, before: &[String; 3]) -> Option<&str> {
        let named: Vec<_> = self.documents.iter().map(|it| by_name(it)).collect();
        let [Some(base), Some(ours), Some(theirs)] = named.as_slice() else {
            return None;
        };
        // An object that came, went or was renamed is for a person to look at.
        let same = base.keys().eq(ours.keys()) && base.keys().eq(theirs.keys());
        if !same || !self.conflicts.is_empty() {
            return None;
        }
        let changed_only_values =
            |side: usize| self.with_values_of_base(side, before).as_ref() == Some(&before[0]);
        let (_, kept) = [(2, 1), (1, 2)]
            .into_iter()
            .find(|(other, _)| changed_only_values(*other))?;
        Some(&self.texts[kept])
    }

    /// The text of a side, its values and envelopes as they were.
    fn with_values_of_base(&self, side: usize, before: &[String; 3]) -> Option<String> {
        let (base, documents) = (&self.documents[0], &self.documents[side]);
        let indices = by_name(documents)?;
        let mut edits = BTreeMap::new();
        for (name, old) in by_name(base)? {
            let index = indices.get(&name)?;
            let (old, new) = (Version::of(&base[old])?, Version::of(&documents[*index])?);
            let mut edit = SealedEdit::default();
            for key in old.values.keys().chain(new.values.keys()) {
                let value = old.values.get(key);
                if value != new.values.get(key) {
                    let value = value.map(|text| (*text).to_owned());
                    edit.values.insert((*key).to_owned(), value);
                }
            }
            for (id, envelope) in &old.envelopes {
                edit.kept.insert((*id).to_owned());
                if new.envelopes.get(id) != Some(envelope) {
                    edit.envelopes.insert((*id).to_owned(), envelope.clone());
                }
            }
            edits.insert(*index, edit);
        }
        Some(edit_sealed(&before[side], documents, &edits).ok()?.text)
    }

    /// Has each object exactly the values that both sides meant?
    fn is_said_by(&self, documents: &[Document]) -> bool {
        let named = by_name(documents);
        self.conflicts.is_empty()
            && named.is_some_and(|named| {
                self.values.iter().all(|(name, values)| {
                    let object = named.get(name).map(|index| &documents[*index].object);
                    object.and_then(|it| it.pointer("/spec/encryptedData")) == Some(values)
                })
            })
    }
}

/// The SealedSecrets of a file; nothing where one stands there twice.
fn by_name(documents: &[Document]) -> Option<BTreeMap<(String, String), usize>> {
    let mut named = BTreeMap::new();
    for (index, document) in documents.iter().enumerate() {
        if document.is_sealed_secret() {
            let name = ["namespace", "name"].map(|field| document.metadata(field).to_owned());
            let [namespace, name] = name;
            if named.insert((namespace, name), index).is_some() {
                return None;
            }
        }
    }
    Some(named)
}

/// Whom the config wants the path to be sealed to, as envelopes show it.
fn wanted(path: &Path) -> Option<Vec<String>> {
    let place = Location::of(path).ok()?;
    let chosen = Wanted::default().at(&place).ok()??;
    let fingerprints = chosen.set.fingerprints();
    Some(fingerprints.iter().map(ToString::to_string).collect())
}

/// Values and envelopes of one side.
struct Version<'a> {
    values: BTreeMap<&'a str, &'a str>,
    envelopes: BTreeMap<&'a str, SealedEnvelope>,
}

impl<'a> Version<'a> {
    fn of(document: &'a Document) -> Option<Self> {
        let section = |name: &str| document.object.get("spec")?.get(name)?.as_object();
        let values = section("encryptedData")?.iter();
        let envelopes = section("envelopes")?.iter();
        Some(Self {
            values: values
                .map(|(key, value)| Some((key.as_str(), value.as_str()?)))
                .collect::<Option<_>>()?,
            envelopes: envelopes
                .map(|(id, it)| Some((id.as_str(), serde_json::from_value(it.clone()).ok()?)))
                .collect::<Option<_>>()?,
        })
    }
}

/// What each of the three versions of an object has to say, so that only conflicts differ.
struct Merged {
    edits: [SealedEdit; 3],
    conflicts: Vec<String>,
}

impl Merged {
    /// Nothing where an envelope has two wraps and nothing decides between them.
    fn new(
        base: &Version<'_>,
        ours: &Version<'_>,
        theirs: &Version<'_>,
        wanted: Option<&[String]>,
    ) -> Option<Self> {
        let sides = [base, ours, theirs];
        let mut edits: [SealedEdit; 3] = std::array::from_fn(|_| SealedEdit::default());
        let mut conflicts = Vec::new();
        let keys: BTreeSet<&str> = sides
            .iter()
            .flat_map(|it| it.values.keys().copied())
            .collect();
        let mut used = BTreeSet::new();
        for key in keys {
            let at = |side: &Version<'_>| side.values.get(key).map(|text| (*text).to_owned());
            let (old, left, right) = (at(base), at(ours), at(theirs));
            let merged = if left == right || right == old {
                left.clone()
            } else if left == old {
                right.clone()
            } else {
                conflicts.push(format!("the value of {}", printable(key)));
                for (edit, value) in edits.iter_mut().zip([&old, &left, &right]) {
                    edit.values.insert(key.to_owned(), value.clone());
                }
                used.extend([old, left, right].into_iter().flatten());
                continue;
            };
            for edit in &mut edits {
                edit.values.insert(key.to_owned(), merged.clone());
            }
            used.extend(merged);
        }
        let used = used.iter().filter_map(|text| text.split('.').nth(1));
        for id in used.collect::<BTreeSet<_>>() {
            let at = |side: &Version<'_>| side.envelopes.get(id).cloned();
            let (old, left, right) = (at(base), at(ours), at(theirs));
            let merged = match (left, right) {
                (Some(left), Some(right)) if left != right => {
                    if old.as_ref() == Some(&left) {
                        right
                    } else if old.as_ref() == Some(&right) {
                        left
                    } else {
                        // Two rotations: the one that the config wants.
                        let fits = |it: &SealedEnvelope| Some(it.recipients.as_slice()) == wanted;
                        match (fits(&left), fits(&right)) {
                            (true, _) => left,
                            (false, true) => right,
                            (false, false) => return None,
                        }
                    }
                }
                (Some(one), _) | (None, Some(one)) => one,
                // Only the old version had it.
                (None, None) => old?,
            };
            for edit in &mut edits {
                edit.envelopes.insert(id.to_owned(), merged.clone());
                edit.kept.insert(id.to_owned());
            }
        }
        Some(Self { edits, conflicts })
    }
}

/// Two files, compared key by key.
pub fn diff(old: &PathBuf, new: &PathBuf) -> Result<bool> {
    let read = |path: &PathBuf| -> Result<Vec<Document>> {
        let bytes = files::read(path, INPUT_BYTES)?;
        read_documents(&bytes).map_err(|error| CommandError::input(error).on(shown(path)))
    };
    let (old, new) = (read(old)?, read(new)?);
    let text = |documents: &[Document]| -> BTreeMap<String, Map<String, Value>> {
        let sealed = documents.iter().filter(|it| it.is_sealed_secret());
        sealed
            .map(|document| {
                let mut facts = Map::new();
                flatten(&shortened(document)["spec"], "", &mut facts);
                (document.title(), facts)
            })
            .collect()
    };
    let (old, new) = (text(&old), text(&new));
    let mut lines = String::new();
    let titles: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for title in titles {
        let empty = Map::new();
        let (before, after) = (
            old.get(title).unwrap_or(&empty),
            new.get(title).unwrap_or(&empty),
        );
        let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
        let changes: Vec<String> = names
            .into_iter()
            .filter_map(|name| {
                let sign = match (before.get(name), after.get(name)) {
                    (None, Some(_)) => '+',
                    (Some(_), None) => '-',
                    (Some(one), Some(other)) if one != other => '~',
                    _ => return None,
                };
                Some(format!("  {sign} {}\n", printable(name)))
            })
            .collect();
        if !changes.is_empty() {
            lines += &format!("{title}\n{}", changes.concat());
        }
    }
    print(&lines)?;
    Ok(lines.is_empty())
}

/// The leaves of a value by their path.
fn flatten(value: &Value, path: &str, facts: &mut Map<String, Value>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let dot = if path.is_empty() { "" } else { "." };
                flatten(value, &format!("{path}{dot}{key}"), facts);
            }
        }
        Value::Null => {}
        other => {
            facts.insert(path.to_owned(), other.clone());
        }
    }
}
