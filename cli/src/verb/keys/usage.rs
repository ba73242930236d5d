//! `seal keys usage`: what is sealed to which key, in the cluster and in the repository.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use clap::Args;
use kube::ResourceExt as _;
use sealkit_core::manifest::{INPUT_BYTES, read_documents};
use sealkit_core::names::printable;
use sealkit_core::sealed::SealedObject;
use serde_json::{Value, json};

use crate::args::ClusterArgs;
use crate::cluster::connect;
use crate::error::Result;
use crate::files;
use crate::files::tree::{Found, Tree};
use crate::report::{structured, table};
use crate::terminal::{Session, Terminal, print, shown};

/// Flags of `seal keys usage`.
#[derive(Args, Debug)]
pub(crate) struct UsageArgs {
    /// Which cluster.
    #[command(flatten)]
    pub cluster: ClusterArgs,
    /// Files and folders of the repository [default: the working directory]
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
}

/// Files and objects that are named in one message.
pub(super) const NAMED: usize = 5;

/// What is known of one key.
#[derive(Default)]
struct Usage {
    name: Option<String>,
    state: Option<String>,
    /// Objects of the cluster that it really opened.
    objects: usize,
    claims: Claims,
}

/// What the files of a repository claim of one key.
#[derive(Clone, Default)]
pub(crate) struct Claims {
    /// Envelopes that claim to be sealed to it.
    pub(super) envelopes: usize,
    /// Files that those are in.
    pub(super) files: usize,
    /// The first of them.
    pub(super) named: Vec<String>,
}

/// Counts what files claim, by fingerprint as it is spelled there.
pub(crate) fn claims(paths: &[PathBuf], terminal: Terminal) -> Result<BTreeMap<String, Claims>> {
    let mut claims: BTreeMap<String, Claims> = BTreeMap::new();
    let tree = Tree::below(paths)?;
    let bar = terminal.progress(tree.files.len());
    for file in &tree.files {
        bar.inc(1);
        let bytes = files::read(&file.place.given, INPUT_BYTES)?;
        let mut in_file = BTreeSet::new();
        let mut count = |hint: String| {
            claims.entry(hint.clone()).or_default().envelopes += 1;
            in_file.insert(hint);
        };
        let Ok(documents) = read_documents(&bytes) else {
            // Nobody knows what it is: whatever looks like a fingerprint may be one.
            fingerprints(&bytes).into_iter().for_each(&mut count);
            count_file(&mut claims, in_file, file);
            continue;
        };
        for document in documents
            .iter()
            .filter(|document| document.is_sealed_secret())
        {
            if let Ok(object) = SealedObject::parse(&document.object) {
                // Those that values refer to.
                let hints = object.hints().flat_map(|(_, hints)| hints);
                hints.map(ToString::to_string).for_each(&mut count);
            } else {
                let text = document.object.to_string();
                fingerprints(text.as_bytes())
                    .into_iter()
                    .for_each(&mut count);
            }
        }
        count_file(&mut claims, in_file, file);
    }
    bar.finish_and_clear();
    Ok(claims)
}

fn count_file(claims: &mut BTreeMap<String, Claims>, in_file: BTreeSet<String>, file: &Found) {
    for hint in in_file {
        let claims = claims.entry(hint).or_default();
        claims.files += 1;
        if claims.named.len() < NAMED {
            claims.named.push(shown(&file.place.given));
        }
    }
}

/// All texts of 32 hex characters, each once.
fn fingerprints(bytes: &[u8]) -> BTreeSet<String> {
    let words = bytes.split(|byte| !byte.is_ascii_hexdigit());
    words
        .filter(|word| word.len() == 32)
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect()
}

/// Counts, by fingerprint.
pub(super) fn run(args: &UsageArgs, session: Session<'_>) -> Result<()> {
    let Session { global, terminal } = session;
    let cluster = connect(&args.cluster, global)?;
    let mut usages: BTreeMap<String, Usage> = BTreeMap::new();
    for key in cluster.sealing_keys()? {
        let status = key.status.clone().unwrap_or_default();
        if let Some(fingerprint) = status.fingerprint {
            let usage = usages.entry(fingerprint).or_default();
            usage.name = Some(key.name_any());
            usage.state = status.state.map(|state| state.name().to_owned());
        }
    }
    for fingerprint in cluster.sealed_to(global.namespace.as_deref())? {
        usages.entry(fingerprint).or_default().objects += 1;
    }
    for (fingerprint, claims) in claims(&args.paths, terminal)? {
        let usage = usages.entry(fingerprint).or_default();
        usage.claims = claims;
    }
    if let Some(form) = global.output {
        let keys: Vec<Value> = usages
            .iter()
            .map(|(fingerprint, usage)| {
                json!({
                    "fingerprint": fingerprint, "sealingKey": usage.name, "state": usage.state,
                    "objects": usage.objects,
                    "envelopes": usage.claims.envelopes, "files": usage.claims.files,
                })
            })
            .collect();
        return print(structured(&json!({"keys": keys}), form)?);
    }
    let heading = [
        "FINGERPRINT",
        "NAME",
        "STATE",
        "OBJECTS",
        "ENVELOPES",
        "FILES",
    ];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    for (fingerprint, usage) in &usages {
        let text =
            |text: &Option<String>| text.as_deref().map_or_else(|| "-".to_owned(), printable);
        rows.push(vec![
            printable(fingerprint.get(..16).unwrap_or(fingerprint)),
            text(&usage.name),
            text(&usage.state),
            usage.objects.to_string(),
            usage.claims.envelopes.to_string(),
            usage.claims.files.to_string(),
        ]);
    }
    print(table(&rows))?;
    if let Some(namespace) = &global.namespace {
        terminal.note(format_args!(
            "OBJECTS are those of the namespace {}, ENVELOPES and FILES those of all files",
            printable(namespace)
        ));
    }
    terminal.note("OBJECTS are those of the cluster that the key opened; ENVELOPES and FILES are claims of the files");
    Ok(())
}
