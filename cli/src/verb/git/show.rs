//! What Git and people are shown of SealedSecrets: `seal textconv` and `seal diff`. Neither needs a
//! private key.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use clap::Args;
use sealkit_core::manifest::{Document, INPUT_BYTES, read_documents, to_yaml_in_blocks};
use sealkit_core::names::{digest, printable};
use sealkit_core::sealed::{age_file_text, envelope_id};
use serde_json::{Map, Value, json};

use crate::error::{CommandError, Result};
use crate::files;
use crate::files::tree::{Tree, is_manifest};
use crate::git::history::History;
use crate::git::repository::Location;
use crate::report::Verdict;
use crate::terminal::{print, shown};

/// Flags of `seal diff`.
#[derive(Args, Debug)]
pub(crate) struct DiffArgs {
    /// The old file, or a revision of Git
    #[arg(value_name = "OLD|REF")]
    pub old: PathBuf,
    /// The new file, or another revision [default: the work tree]
    #[arg(value_name = "NEW|REF")]
    pub new: Option<PathBuf>,
    /// Files and folders, where revisions are compared
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
}

/// Flags of `seal textconv`.
#[derive(Args, Debug)]
pub(crate) struct TextconvArgs {
    /// The file
    #[arg(value_name = "FILE")]
    pub path: PathBuf,
}

/// What `git diff` shows of a file: a short line for each value, that changes when the value is
/// sealed anew; recipients instead of envelopes; the rest as it is.
pub(crate) fn textconv(args: &TextconvArgs) -> Result<()> {
    let bytes = files::read(&args.path, INPUT_BYTES)?;
    let Ok(documents) = read_documents(&bytes) else {
        return print(&bytes);
    };
    let shortened: Vec<Value> = documents.iter().map(shortened).collect();
    let text = to_yaml_in_blocks(&shortened);
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
    let short = |text: &str| digest(text.as_bytes());
    let values = section(&mut object, "encryptedData");
    let values = values.into_iter().map(|(key, value)| {
        let text = value.as_str().unwrap_or_default();
        let id = envelope_id(text).unwrap_or_default();
        (
            key,
            Value::from(format!("sealed {} under {id}", short(text))),
        )
    });
    let values: Map<String, Value> = values.collect();
    let envelopes = section(&mut object, "envelopes");
    let envelopes = envelopes.into_iter().map(|(id, envelope)| {
        let recipients = envelope.get("recipients").cloned().unwrap_or_default();
        let age_file = short(age_file_text(&envelope).unwrap_or_default());
        (id, json!({"recipients": recipients, "ageFile": age_file}))
    });
    let envelopes: Map<String, Value> = envelopes.collect();
    if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
        spec.insert("encryptedData".to_owned(), values.into());
        spec.insert("envelopes".to_owned(), envelopes.into());
    }
    object
}

/// Two files, compared key by key. What differs is a finding.
pub(crate) fn diff(args: &DiffArgs) -> Result<Verdict> {
    let DiffArgs { old, new, paths } = args;
    let new = match new {
        Some(new) if old.exists() && paths.is_empty() => new,
        _ => return diff_revisions(args),
    };
    let read = |path: &PathBuf| -> Result<Vec<Document>> {
        let bytes = files::read(path, INPUT_BYTES)?;
        read_documents(&bytes).map_err(|error| CommandError::input(error).on(shown(path)))
    };
    let lines = compared(&read(old)?, &read(new)?);
    print(&lines)?;
    Ok(Verdict::clean_if(lines.is_empty()))
}

/// The manifests that differ between two revisions, or between one and the work tree, each compared
/// key by key.
fn diff_revisions(DiffArgs { old, new, paths }: &DiffArgs) -> Result<Verdict> {
    let here = Location::of(Path::new("-"))?;
    let root = here.root.ok_or_else(|| {
        CommandError::usage("two files are compared, or revisions of a Git repository")
            .hint("`seal diff OLD NEW`, or in a repository `seal diff REF [REF] [PATH]`")
    })?;
    let history = History::open(&root)?;
    let old_commit = history.commit(&old.to_string_lossy())?;
    let mut given = paths.clone();
    let mut new_commit = None;
    if let Some(new) = new {
        // A path that exists is one, as for Git.
        if new.exists() {
            given.insert(0, new.clone());
        } else {
            new_commit = Some(history.commit(&new.to_string_lossy())?);
        }
    }
    let limits: Vec<PathBuf> = given
        .iter()
        .map(|path| Ok(Location::of(path)?.real))
        .collect::<Result<_>>()?;
    let real = root.canonicalize().unwrap_or(root);
    let is_meant = |path: &Path| {
        is_manifest(path)
            && (limits.is_empty()
                || limits
                    .iter()
                    .any(|limit| real.join(path).starts_with(limit)))
    };
    let before = texts_of(&history, &old_commit, &is_meant)?;
    let after = if let Some(commit) = &new_commit {
        texts_of(&history, commit, &is_meant)?
    } else {
        texts_below(&real, &is_meant)?
    };
    let documents = |texts: &BTreeMap<PathBuf, Vec<u8>>, path: &Path| {
        let bytes = texts.get(path).map(Vec::as_slice).unwrap_or_default();
        // What is no manifest has no SealedSecret.
        read_documents(bytes).unwrap_or_default()
    };
    let mut lines = String::new();
    let all: BTreeSet<&PathBuf> = before.keys().chain(after.keys()).collect();
    for path in all {
        if before.get(path) == after.get(path) {
            continue;
        }
        let changes = compared(&documents(&before, path), &documents(&after, path));
        if !changes.is_empty() {
            lines.extend([&shown(path), ":\n", &changes]);
        }
    }
    print(&lines)?;
    Ok(Verdict::clean_if(lines.is_empty()))
}

/// The files of a work tree by their paths.
fn texts_below(
    root: &Path,
    is_meant: &dyn Fn(&Path) -> bool,
) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut texts = BTreeMap::new();
    for file in Tree::below(&[root.to_owned()])?.files {
        let real = &file.place.real;
        let path = real.strip_prefix(root).unwrap_or(real);
        if is_meant(path) {
            texts.insert(path.to_owned(), files::read(real, INPUT_BYTES)?.to_vec());
        }
    }
    Ok(texts)
}

/// The files of a commit by their paths.
fn texts_of(
    history: &History,
    commit: &str,
    is_meant: &dyn Fn(&Path) -> bool,
) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut files = history.files(commit)?;
    files.retain(|(path, _)| is_meant(path));
    let ids: Vec<&str> = files.iter().map(|(_, id)| id.as_str()).collect();
    let mut texts = BTreeMap::new();
    history.read(&ids, |index, bytes| {
        texts.insert(files[index].0.clone(), bytes.to_vec());
        Ok(())
    })?;
    Ok(texts)
}

/// The keys that differ between objects of the same names.
fn compared(old: &[Document], new: &[Document]) -> String {
    let text = |documents: &[Document]| -> BTreeMap<String, Map<String, Value>> {
        let sealed = documents
            .iter()
            .filter(|document| document.is_sealed_secret());
        sealed
            .map(|document| {
                let mut facts = Map::new();
                flatten(&shortened(document)["spec"], "", &mut facts);
                (document.title(), facts)
            })
            .collect()
    };
    let (old, new) = (text(old), text(new));
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
                    (Some(before), Some(after)) if before != after => '~',
                    _ => return None,
                };
                Some(format!("  {sign} {}\n", printable(name)))
            })
            .collect();
        if !changes.is_empty() {
            lines += &format!("{title}\n{}", changes.concat());
        }
    }
    lines
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
