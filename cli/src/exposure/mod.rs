//! What a leaked key can read: the values of all versions of files, and what became of each.

mod leaked;
mod now;
mod past;

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use sealkit_core::keys::{Fingerprint, KeyRing};
use sealkit_core::names::printable;
use serde::Serialize;
use serde_json::Value;

use crate::error::Result;
use crate::git::history::History;
use crate::git::repository::Location;
use crate::recipients::names::{only, unknown};
use crate::report::table;
use crate::sealed_text::ValueId;
use crate::terminal::{Terminal, print, safe};
pub(crate) use leaked::Leaked;
use now::Now;
use past::Occurrence;
pub(crate) use past::Past;

/// What became of a value that the key can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Fate {
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
    /// In words.
    pub const fn words(self) -> &'static str {
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
pub(crate) struct Finding {
    /// What became of it.
    pub state: Fate,
    /// The last file that it was in.
    pub path: String,
    /// Its object, `namespace/name`.
    pub object: String,
    /// Its key in the object.
    pub key: String,
    /// Ids of the first and the last commit that brought it.
    first: String,
    last: String,
}

/// All that a key can read.
pub(crate) struct Exposed {
    findings: Vec<Finding>,
    /// Versions of files that were read.
    versions: usize,
    /// Was no identity at hand that could compare values?
    guessed: bool,
    /// The keys that envelopes name and that may be meant.
    named: BTreeSet<Fingerprint>,
}

impl Exposed {
    /// Reads the history of the repository at hand.
    pub fn scan(leaked: &Leaked, ring: &KeyRing, terminal: Terminal) -> Result<Self> {
        let here = Location::of(Path::new("-"))?;
        let history = History::open(here.real.parent().unwrap_or(&here.real))?;
        Self::among(&Past::read(&history, leaked, terminal)?, ring)
    }

    /// What the key can read of the past.
    pub fn among(past: &Past, ring: &KeyRing) -> Result<Self> {
        let known = past.values.keys().map(|(sealed, ..)| sealed).collect();
        let now = Now::read(&past.history, &past.head, &known)?;
        let mut findings = Vec::new();
        let mut worst: HashMap<&ValueId, (Fate, &Occurrence)> = HashMap::new();
        for ((sealed, _, _), occurrence) in &past.values {
            if !past.is_exposed(&sealed.envelope) {
                continue;
            }
            let state = now.fate(&past.history, sealed, occurrence, ring)?;
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
            versions: past.versions,
            findings,
            named: past.named.clone(),
        })
    }

    /// Does anybody know the one key that the word means? If not, and nothing is exposed, it is a typo.
    pub fn check_known(&self, word: &str, leaked: &Leaked, terminal: Terminal) -> Result<()> {
        let meant: BTreeSet<_> = self.named.iter().chain(&leaked.known).copied().collect();
        if only(word, &meant)?.is_some() {
            return Ok(());
        }
        if self.findings.is_empty() {
            return Err(unknown(word));
        }
        terminal.warning(format_args!(
            "no file names the key {}: these are the values of which nobody can say who can read them",
            safe(word)
        ));
        Ok(())
    }

    /// The values that may be in use.
    pub fn used(&self) -> impl Iterator<Item = &Finding> {
        let used = |finding: &&Finding| finding.state <= Fate::SealedAnew;
        self.findings.iter().filter(used)
    }

    /// How many of the values may be in use.
    pub fn in_use(&self) -> usize {
        self.used().count()
    }

    /// How many are in no current version.
    pub fn gone(&self) -> usize {
        let gone = |finding: &&Finding| finding.state == Fate::Gone;
        self.findings.iter().filter(gone).count()
    }

    /// For programs.
    pub fn json(&self) -> Value {
        serde_json::json!({"values": self.findings})
    }

    /// For people.
    pub fn show(&self, terminal: Terminal) -> Result<()> {
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

/// A path for people.
fn lossy(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
