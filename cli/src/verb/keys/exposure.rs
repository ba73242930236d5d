//! `seal keys exposure`: what a leaked key can read, over all of Git's history.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::Path;

use clap::Args;
use kube::ResourceExt as _;
use sealkit_core::keys::{Fingerprint, KeyRing};
use sealkit_core::manifest::Document;
use sealkit_core::names::printable;
use sealkit_core::sealed::{SealedObject, SealedView, age_file_text};
use serde::Serialize;
use serde_json::Value;
use zeroize::Zeroizing;

use super::retire::fingerprint_of;
use crate::cluster::Cluster;
use crate::error::{CommandError, Result};
use crate::git::history::{Blob, Commit, History};
use crate::git::repository::Location;
use crate::identities;
use crate::recipients::names::{Names, beginning, only, unknown};
use crate::report::{Verdict, structured, table};
use crate::sealed_text::{KnownValues, ValueId, sealed_secrets, spelled, title, values};
use crate::terminal::{Session, Terminal, print, safe};

/// Flags of `seal keys exposure`.
#[derive(Args, Debug)]
pub(crate) struct ExposureArgs {
    /// Fingerprint of the key or at least 4 characters of it, or a name of .sealkit.yaml such as
    /// `recovery`
    #[arg(value_name = "KEY")]
    pub key: Option<String>,
    /// List the values of all classic keys, which a quantum computer could read
    #[arg(long)]
    pub classic: bool,
}

/// What became of a value that the key can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Fate {
    /// HEAD has it unchanged: change the value.
    Exposed,
    /// Another branch has it unchanged: change the value.
    OnABranch,
    /// Its key has another ciphertext now, with the same value in it: change it.
    SameValue,
    /// Its key has another ciphertext now; whether the value changed, only an identity can tell.
    SealedAnew,
    /// Its key has another value now.
    Replaced,
    /// Its key is gone.
    Gone,
}

impl Fate {
    const fn words(self) -> &'static str {
        match self {
            Self::Exposed => "exposed",
            Self::OnABranch => "on a branch",
            Self::SameValue => "same value",
            Self::SealedAnew => "sealed anew",
            Self::Replaced => "replaced",
            Self::Gone => "gone",
        }
    }
}

/// One value that the key can read.
#[derive(Serialize)]
struct Finding {
    state: Fate,
    path: String,
    object: String,
    key: String,
    /// Ids of the first and the last commit that brought it.
    first: String,
    last: String,
}

struct Occurrence {
    blob: String,
    path: String,
    object: String,
    key: String,
    first: Commit,
    last: Commit,
}

/// Lists what the key can read. What may be in use is a finding.
pub(super) fn run(args: &ExposureArgs, session: Session<'_>) -> Result<Verdict> {
    let Session { global, terminal } = session;
    let leaked = Leaked::new(args, session)?;
    let ring = identities::ring(session)?;
    let exposed = Exposed::scan(&leaked, &ring, terminal)?;
    if let Some(word) = &args.key
        && !exposed.check_known(word, &leaked)?
    {
        terminal.warning(format_args!(
            "no file names the key {}: these are the values of which nobody can say who can read them",
            safe(word)
        ));
    }
    if let Some(form) = global.output {
        print(structured(&exposed.json(), form)?)?;
    } else {
        exposed.show(terminal)?;
    }
    Ok(Verdict::clean_if(exposed.in_use() == 0))
}

/// All that a key can read.
pub(super) struct Exposed {
    findings: Vec<Finding>,
    /// Versions of files that were read.
    versions: usize,
    /// Was no identity at hand that could compare values?
    guessed: bool,
    /// The keys that envelopes name and that may be meant.
    named: BTreeSet<Fingerprint>,
}

impl Exposed {
    /// Reads all blobs of all refs of the repository at hand.
    pub(super) fn scan(leaked: &Leaked, ring: &KeyRing, terminal: Terminal) -> Result<Self> {
        let here = Location::of(Path::new("-"))?;
        let history = History::open(here.real.parent().unwrap_or(&here.real))?;
        let head = history.commit("HEAD")?;
        let blobs = history.blobs(&["--all", "HEAD"])?;
        let mut seen = Seen::default();
        let ids: Vec<&str> = blobs.keys().map(String::as_str).collect();
        let bar = terminal.progress(ids.len());
        history.read(&ids, |index, bytes| {
            bar.inc(1);
            seen.take_in(ids[index], &blobs[ids[index]], bytes, leaked);
            Ok(())
        })?;
        bar.finish_and_clear();

        let known = seen.values.keys().map(|(sealed, ..)| sealed).collect();
        let now = Now::read(&history, &head, &known)?;
        let mut findings = Vec::new();
        let mut worst: HashMap<&ValueId, (Fate, &Occurrence)> = HashMap::new();
        for ((sealed, _, _), occurrence) in &seen.values {
            if !seen.is_exposed(&sealed.envelope) {
                continue;
            }
            let state = now.fate(&history, sealed, occurrence, ring)?;
            let known = worst.entry(sealed).or_insert((state, occurrence));
            if (state, &occurrence.object, &occurrence.path)
                < (known.0, &known.1.object, &known.1.path)
            {
                *known = (state, occurrence);
            }
        }
        for (sealed, (state, occurrence)) in worst {
            findings.push(Finding {
                state,
                path: now.values.get(sealed).unwrap_or(&occurrence.path).clone(),
                object: occurrence.object.clone(),
                key: occurrence.key.clone(),
                first: occurrence.first.id.clone(),
                last: occurrence.last.id.clone(),
            });
        }
        findings.sort_by(|a, b| {
            (a.state, &a.path, &a.object, &a.key).cmp(&(b.state, &b.path, &b.object, &b.key))
        });
        Ok(Self {
            guessed: ring.is_empty()
                && findings
                    .iter()
                    .any(|finding| finding.state == Fate::SealedAnew),
            versions: ids.len(),
            findings,
            named: seen.named,
        })
    }

    /// Does anybody know the one key that the word means? If not, and nothing is exposed, it is a typo.
    fn check_known(&self, word: &str, leaked: &Leaked) -> Result<bool> {
        let meant: BTreeSet<_> = self.named.iter().chain(&leaked.known).copied().collect();
        let is_known = only(word, &meant)?.is_some();
        if is_known || !self.findings.is_empty() {
            return Ok(is_known);
        }
        Err(unknown(word))
    }

    /// How many of the values may be in use.
    pub(super) fn in_use(&self) -> usize {
        let in_use = |finding: &&Finding| finding.state <= Fate::SealedAnew;
        self.findings.iter().filter(in_use).count()
    }

    /// How many are in no current version.
    pub(super) fn gone(&self) -> usize {
        let gone = |finding: &&Finding| finding.state == Fate::Gone;
        self.findings.iter().filter(gone).count()
    }

    /// For programs.
    pub(super) fn json(&self) -> Value {
        serde_json::json!({"values": self.findings})
    }

    /// For people.
    pub(super) fn show(&self, terminal: Terminal) -> Result<()> {
        print(shown(&self.findings))?;
        terminal.note(format_args!(
            "{} values in {} versions of files, {} of them may be in use; recipients are claims of the files",
            self.findings.len(),
            self.versions,
            self.in_use()
        ));
        terminal
            .note("not searched: forks, backups, reflogs, and refs that this clone does not have");
        if self.guessed {
            terminal.note("pass -i FILE to see which of the values sealed anew have changed");
        }
        Ok(())
    }
}

fn shown(findings: &[Finding]) -> String {
    if findings.is_empty() {
        return String::new();
    }
    let heading = ["STATE", "FILE", "OBJECT", "KEY", "FIRST", "LAST"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    for finding in findings {
        let short = |id: &str| id.get(..12).unwrap_or(id).to_owned();
        rows.push(vec![
            finding.state.words().to_owned(),
            safe(&finding.path),
            safe(&finding.object),
            printable(&finding.key),
            short(&finding.first),
            short(&finding.last),
        ]);
    }
    table(&rows)
}

/// Which envelopes are open to the finder.
pub(super) struct Leaked {
    /// The fingerprint, or its beginning.
    fingerprint: Option<String>,
    classic: bool,
    /// The keys that the config and the cluster know by the word.
    known: BTreeSet<Fingerprint>,
}

impl Leaked {
    /// Those of one key.
    pub(super) fn key(fingerprint: Fingerprint) -> Self {
        Self {
            fingerprint: Some(fingerprint.to_string()),
            classic: false,
            known: BTreeSet::from([fingerprint]),
        }
    }

    fn new(args: &ExposureArgs, session: Session<'_>) -> Result<Self> {
        let Some(word) = &args.key else {
            if !args.classic {
                return Err(CommandError::usage("no key is named").hint(
                    "give the fingerprint or the name of a key, or --classic for all classic keys",
                ));
            }
            return Ok(Self {
                fingerprint: None,
                classic: true,
                known: BTreeSet::new(),
            });
        };
        let mut of_cluster = Vec::new();
        // Only if it is named: history can be searched far from any cluster.
        if session.global.context.is_some() {
            let keys = Cluster::connect(session.global, None)?.sealing_keys()?;
            if let Some(key) = keys.iter().find(|key| key.name_any() == *word) {
                of_cluster.extend(fingerprint_of(key));
            } else {
                let all = keys.iter().filter_map(fingerprint_of);
                of_cluster.extend(Names::here().meant(word, all));
            }
        }
        let mut known = Names::here().meant(word, []);
        known.extend(of_cluster);
        let fingerprint = match (only(word, &known)?, beginning(word)) {
            (Some(known), _) => known.to_string(),
            (None, Some(beginning)) => beginning,
            (None, None) => return Err(unknown(word)),
        };
        Ok(Self {
            fingerprint: Some(fingerprint),
            classic: args.classic,
            known,
        })
    }

    /// The keys of an envelope that may be meant.
    fn named(&self, envelope: &Value) -> Vec<Fingerprint> {
        let hints = envelope.get("recipients").and_then(Value::as_array);
        let hints = hints.into_iter().flatten().filter_map(Value::as_str);
        let meant = |hint: &&str| {
            let leaked = self.fingerprint.as_ref();
            leaked.is_some_and(|leaked| hint.starts_with(leaked.as_str()))
        };
        hints
            .filter(meant)
            .filter_map(|hint| hint.parse().ok())
            .collect()
    }

    /// An envelope that cannot be read counts as exposed.
    fn opens(&self, envelope: &Value) -> bool {
        let hints = envelope.get("recipients").and_then(Value::as_array);
        let named = self.fingerprint.as_ref().is_some_and(|leaked| {
            hints.is_none_or(|hints| {
                let hints = hints.iter().map(|hint| hint.as_str());
                hints.into_iter().any(|hint| {
                    hint.is_none_or(|hint| {
                        hint.parse::<Fingerprint>().is_err() || hint.starts_with(leaked.as_str())
                    })
                })
            })
        });
        named || (self.classic && is_classic(envelope))
    }
}

/// Has the age file a classic stanza? One that cannot be read counts as one.
fn is_classic(envelope: &Value) -> bool {
    use base64::Engine as _;
    let file =
        age_file_text(envelope).and_then(|text| base64::prelude::BASE64_STANDARD.decode(text).ok());
    let stanza = b"\n-> X25519 ";
    file.is_none_or(|file| file.windows(stanza.len()).any(|window| window == stanza))
}

/// All values of all versions, and the envelopes that the key opens.
#[derive(Default)]
struct Seen {
    /// By value, object and key: a value may have stood in several places.
    values: HashMap<(ValueId, String, String), Occurrence>,
    exposed: HashSet<String>,
    /// Envelopes of which some version says who can open them.
    read: HashSet<String>,
    /// The keys that envelopes name and that may be meant.
    named: BTreeSet<Fingerprint>,
}

impl Seen {
    /// An envelope that no object has may be anybody's.
    fn is_exposed(&self, envelope: &str) -> bool {
        self.exposed.contains(envelope) || !self.read.contains(envelope)
    }

    fn take_in(&mut self, id: &str, blob: &Blob, bytes: &[u8], leaked: &Leaked) {
        let documents = sealed_secrets(bytes);
        let mut known = HashSet::new();
        for document in documents.iter().flatten() {
            for (id, envelope) in SealedView::of(&document.object).envelopes() {
                self.read.insert(id.to_owned());
                self.named.extend(leaked.named(envelope));
                if leaked.opens(envelope) {
                    self.exposed.insert(id.to_owned());
                }
            }
            for (key, sealed) in values(document) {
                known.insert(sealed.clone());
                self.insert(id, blob, sealed, title(document), key);
            }
        }
        for spelled in spelled(bytes) {
            if known.contains(&spelled.value) {
                continue;
            }
            let object = if documents.is_some() {
                "(no object)"
            } else {
                // Nobody knows what it says of recipients.
                self.exposed.insert(spelled.value.envelope.clone());
                "(unreadable)"
            };
            let line = spelled.line.map(|line| format!("line {line}"));
            let key = line.unwrap_or_else(|| "(encoded)".to_owned());
            self.insert(id, blob, spelled.value, object.to_owned(), key);
        }
    }

    fn insert(&mut self, id: &str, blob: &Blob, sealed: ValueId, object: String, key: String) {
        let place = (sealed, object.clone(), key.clone());
        let occurrence = self.values.entry(place).or_insert_with(|| Occurrence {
            blob: id.to_owned(),
            path: lossy(&blob.path),
            object,
            key,
            first: blob.first.clone(),
            last: blob.last.clone(),
        });
        occurrence.first = occurrence.first.clone().min(blob.first.clone());
        if blob.last > occurrence.last {
            occurrence.last = blob.last.clone();
            occurrence.path = lossy(&blob.path);
        }
    }
}

/// What HEAD holds.
struct Now {
    /// All values, and a file that holds each.
    values: HashMap<ValueId, String>,
    /// Values at the tips of all branches.
    branches: HashSet<ValueId>,
    /// The files that hold a key of an object.
    keys: HashMap<(String, String), Vec<Document>>,
}

impl Now {
    /// Values that are known stand wherever a file has them, in whatever spelling.
    fn read(history: &History, head: &str, known: &KnownValues) -> Result<Self> {
        let files = history.files(head)?;
        let ids: Vec<&str> = files.iter().map(|(_, id)| id.as_str()).collect();
        let mut now = Self {
            values: HashMap::new(),
            branches: HashSet::new(),
            keys: HashMap::new(),
        };
        history.read(&ids, |index, bytes| {
            let path = lossy(&files[index].0);
            for sealed in known.hidden_in(bytes) {
                now.values.insert(sealed, path.clone());
            }
            for document in sealed_secrets(bytes).unwrap_or_default() {
                for (key, sealed) in values(&document) {
                    now.values.insert(sealed, path.clone());
                    let place = (title(&document), key);
                    now.keys.entry(place).or_default().push(document.clone());
                }
            }
            Ok(())
        })?;
        let mut ids = HashSet::new();
        for tip in history.tips()? {
            ids.extend(history.files(&tip)?.into_iter().map(|(_, id)| id));
        }
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        history.read(&ids, |_, bytes| {
            now.branches.extend(known.hidden_in(bytes));
            Ok(())
        })?;
        Ok(now)
    }

    fn fate(
        &self,
        history: &History,
        sealed: &ValueId,
        old: &Occurrence,
        ring: &KeyRing,
    ) -> Result<Fate> {
        // It stands there as it was.
        if self.values.contains_key(sealed) {
            return Ok(Fate::Exposed);
        }
        if self.branches.contains(sealed) {
            return Ok(Fate::OnABranch);
        }
        let Some(present) = self.keys.get(&(old.object.clone(), old.key.clone())) else {
            return Ok(Fate::Gone);
        };
        // Its key has another ciphertext: only who opens both can compare the values.
        if ring.is_empty() {
            return Ok(Fate::SealedAnew);
        }
        let mut before = None;
        history.read(&[old.blob.as_str()], |_, bytes| {
            let documents = sealed_secrets(bytes).unwrap_or_default();
            before = documents
                .into_iter()
                .find(|document| title(document) == old.object);
            Ok(())
        })?;
        let before = before.and_then(|document| opened(&document, &old.key, ring));
        let Some(before) = before else {
            return Ok(Fate::SealedAnew);
        };
        let mut fate = Fate::Replaced;
        for document in present {
            match opened(document, &old.key, ring) {
                // It may be any value.
                None => return Ok(Fate::SealedAnew),
                Some(now) if now == before => fate = Fate::SameValue,
                // Another value; the next document may have the old one.
                Some(_) => {}
            }
        }
        Ok(fate)
    }
}

/// A path for people.
fn lossy(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn opened(document: &Document, key: &str, ring: &KeyRing) -> Option<Zeroizing<Vec<u8>>> {
    let object = SealedObject::parse(&document.object).ok()?;
    let mut opened = identities::open_object(&object, ring).ok()?;
    opened.values.remove(key).map(|value| value.bytes)
}
