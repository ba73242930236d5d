//! The sealed values of the files: who can open each, since which commit it is there, and what a
//! leaked key can read.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};

use sealkit_core::keys::Fingerprint;
use sealkit_core::references::Provider;
use sealkit_core::sealed::SealedView;
use serde_json::{Value, json};

use super::answer::{Answer, loud};
use crate::error::Result;
use crate::exposure::{Exposed, Fate, Leaked, Past};
use crate::files::tree::Found;
use crate::git::history::{Author, History};
use crate::git::repository::{Location, Repository};
use crate::identities;
use crate::recipients::names::named;
use crate::sealed_text::{ValueId, sealed_secrets, title, values};
use crate::terminal::{Session, Terminal, safe};

/// A sealed value of an object in a file.
pub(super) struct Held {
    /// Number of its file.
    pub file: usize,
    /// `namespace/name` of its object.
    object: String,
    /// Its key.
    pub key: String,
    id: ValueId,
    /// Whom its envelope claims to be sealed to.
    recipients: BTreeSet<Fingerprint>,
    /// Does the leaked key open its envelope? Nothing where the object has no such envelope.
    opens: Option<bool>,
}

impl Held {
    /// Those of a file.
    pub fn in_file(file: usize, bytes: &[u8], leaked: Option<&Leaked>) -> Vec<Self> {
        let mut all = Vec::new();
        for document in sealed_secrets(bytes).unwrap_or_default() {
            let view = SealedView::of(&document.object);
            for (key, id) in values(&document) {
                let envelope = view.envelope(&id.envelope);
                let hints = envelope.and_then(|envelope| envelope.get("recipients")?.as_array());
                let hints = hints.into_iter().flatten().filter_map(Value::as_str);
                all.push(Self {
                    file,
                    object: title(&document),
                    key,
                    recipients: hints.filter_map(|hint| hint.parse().ok()).collect(),
                    opens: envelope.map(|it| leaked.is_some_and(|leaked| leaked.opens(it))),
                    id,
                });
            }
        }
        all
    }

    /// Is it of this object?
    pub fn is_of(&self, provider: &Provider) -> bool {
        let object = &provider.object;
        self.file == provider.file
            && object.kind == "SealedSecret"
            && self.object == format!("{}/{}", object.namespace, object.name)
    }

    /// Can the key read it? It may have been sealed to other keys before.
    fn is_exposed(&self, past: &Past) -> bool {
        match self.opens {
            Some(opens) => opens || past.opens(&self.id.envelope),
            None => past.is_exposed(&self.id.envelope),
        }
    }
}

/// Since when a value is there.
#[derive(Clone, Debug)]
enum Origin {
    /// Since this commit.
    Commit(String, Author),
    /// No commit has it.
    Uncommitted,
    /// The clone lacks a part of the history: why.
    Incomplete(&'static str),
    /// Its file is in no repository.
    NoRepository,
}

/// What is known of the values, by their numbers.
#[derive(Default)]
pub(super) struct Story {
    origins: HashMap<usize, Origin>,
    /// What became of those that the leaked key can read, if they may be in use.
    pub states: BTreeMap<usize, Fate>,
    /// Values that may be in use and are in none of the files.
    elsewhere: usize,
}

impl Story {
    /// Reads the history of each repository of these values, once.
    pub fn tell(
        held: &[Held],
        concerned: &BTreeSet<usize>,
        files: &[Found],
        leaked: Option<(&str, &Leaked)>,
        session: Session<'_>,
    ) -> Result<Self> {
        let mut story = Self::default();
        let mut roots = by_repository(held, concerned, files);
        let ring = leaked.map(|_| identities::ring(session)).transpose()?;
        // The key is looked for in the repository at hand, as `seal keys exposure` does.
        let mut here = None;
        if leaked.is_some() {
            let place = Location::of(Path::new("-"))?;
            let root = Repository::required(place.real.parent().unwrap_or(&place.real))?.root;
            roots.entry(Some(root.clone())).or_default();
            here = Some(root);
        }
        for (root, numbers) in roots {
            let Some(root) = root else {
                for number in numbers {
                    story.origins.insert(number, Origin::NoRepository);
                    if held[number].opens == Some(true) {
                        story.states.insert(number, Fate::Exposed);
                    }
                }
                continue;
            };
            let nobody = Leaked::default();
            let key = leaked.map_or(&nobody, |(_, leaked)| leaked);
            let past = match past(&root, key, leaked.is_some(), session.terminal)? {
                Ok(past) => past,
                Err(origin) => {
                    let origins = numbers.into_iter().map(|it| (it, origin.clone()));
                    story.origins.extend(origins);
                    continue;
                }
            };
            story.date(held, &numbers, &past)?;
            if let Some(((word, leaked), ring)) = leaked.zip(ring.as_ref()) {
                let exposed = Exposed::among(&past, ring)?;
                if here.as_ref() == Some(&root) {
                    exposed.check_known(word, leaked, session.terminal)?;
                }
                story.judge(held, &numbers, files, &past, &exposed);
            }
        }
        Ok(story)
    }

    /// Since when the values are there.
    fn date(&mut self, held: &[Held], numbers: &[usize], past: &Past) -> Result<()> {
        let origins = past.origins();
        let first = |number: &usize| origins.get(&held[*number].id).map(|it| it.id.as_str());
        let commits: BTreeSet<&str> = numbers.iter().filter_map(first).collect();
        let authors = past.history.authors(&commits)?;
        for number in numbers {
            let known = first(number).and_then(|id| authors.get_key_value(id));
            let origin = known.map_or(Origin::Uncommitted, |(id, author)| {
                Origin::Commit(id.clone(), author.clone())
            });
            self.origins.insert(*number, origin);
        }
        Ok(())
    }

    /// What the leaked key can read: a value as it stands in a file, or an older one of its key.
    fn judge(
        &mut self,
        held: &[Held],
        numbers: &[usize],
        files: &[Found],
        past: &Past,
        exposed: &Exposed,
    ) {
        let mut places: HashMap<(&str, &str), Vec<usize>> = HashMap::new();
        for number in numbers {
            let it = &held[*number];
            let same = places.entry((&it.object, &it.key)).or_default();
            same.push(*number);
            if it.is_exposed(past) {
                self.states.insert(*number, Fate::Exposed);
            }
        }
        let all = held.iter().map(|it| (it.object.as_str(), it.key.as_str()));
        let all: HashSet<(&str, &str)> = all.collect();
        for finding in exposed.used() {
            let place = (finding.object.as_str(), finding.key.as_str());
            if !all.contains(&place) {
                self.elsewhere += 1;
            }
            let Some(same) = places.get(&place) else {
                continue;
            };
            // Then a file has it as it was, or is about to change it.
            if finding.state == Fate::Exposed {
                continue;
            }
            let is_there = |number: &&usize| {
                let place = &files[held[**number].file].place;
                place.path() == Path::new(&finding.path)
            };
            // One object may be in a file for each cluster.
            let there: Vec<usize> = same.iter().filter(is_there).copied().collect();
            for number in if there.is_empty() { same } else { &there } {
                let state = self.states.entry(*number).or_insert(finding.state);
                *state = (*state).min(finding.state);
            }
        }
    }

    /// A value, for people.
    pub fn words(&self, number: usize, held: &Held) -> String {
        let mut words = Vec::new();
        words.extend(self.since(number));
        if !held.recipients.is_empty() {
            words.push(format!("sealed to {}", named(&held.recipients)));
        }
        if words.is_empty() {
            words.push("sealed to no key that its file names".to_owned());
        }
        words.join("; ") + &loud(self.states.get(&number).copied())
    }

    /// Since when a value is there, for people.
    pub fn since(&self, number: usize) -> Option<String> {
        match self.origins.get(&number)? {
            Origin::Commit(id, author) => Some(format!(
                "since {} ({}) by {}",
                id.get(..12).unwrap_or(id),
                safe(author.date.get(..10).unwrap_or(&author.date)),
                safe(&author.name)
            )),
            Origin::Uncommitted => Some("not committed".to_owned()),
            Origin::Incomplete(why) => Some(format!("since unknown: {why}")),
            Origin::NoRepository => None,
        }
    }

    /// A value, for programs.
    pub fn object(&self, number: usize, held: &Held) -> Value {
        let (history, since) = match self.origins.get(&number) {
            Some(Origin::Commit(id, author)) => (
                "known",
                json!({"commit": id, "date": author.date, "author": author.name, "email": author.email}),
            ),
            Some(Origin::Uncommitted) => ("not-committed", Value::Null),
            Some(Origin::Incomplete(_)) => ("incomplete", Value::Null),
            Some(Origin::NoRepository) | None => ("no-repository", Value::Null),
        };
        let recipients: Vec<String> = held.recipients.iter().map(ToString::to_string).collect();
        json!({
            "key": held.key, "recipients": recipients, "history": history, "since": since,
            "exposed": self.states.get(&number),
        })
    }

    /// What holds for the whole answer.
    pub fn conclude(&self, answer: &Answer<'_>, is_leak: bool, terminal: Terminal) {
        let has = |wanted: fn(&Origin) -> bool| self.origins.values().any(wanted);
        if has(|origin| matches!(origin, Origin::NoRepository)) {
            terminal.note(
                "not a Git repository: since when a value is there, and who set it, is unknown",
            );
        }
        if has(|origin| matches!(origin, Origin::Incomplete(_))) {
            terminal.note("fetch the whole history to see since when a value is there: `git fetch --unshallow`, or `git fetch --refetch` in a partial clone");
        }
        if !is_leak {
            return;
        }
        let parts = || answer.parts.iter();
        let values: usize = parts()
            .flat_map(|part| &part.made)
            .map(|made| made.values.len())
            .sum();
        let workloads: BTreeSet<_> = parts()
            .flat_map(|part| &part.used)
            .map(|used| (used.reference.file, &used.reference.object))
            .collect();
        terminal.note(format_args!(
            "{values} values that the key can read may be in use here, by {} workloads; recipients are claims of the files",
            workloads.len()
        ));
        if self.elsewhere > 0 {
            terminal.note(format_args!(
                "{} more may be in use and are in none of these files: see `seal keys exposure`",
                self.elsewhere
            ));
        }
    }
}

/// The values by the root of their repository.
fn by_repository(
    held: &[Held],
    numbers: &BTreeSet<usize>,
    files: &[Found],
) -> BTreeMap<Option<PathBuf>, Vec<usize>> {
    let mut roots: BTreeMap<_, Vec<usize>> = BTreeMap::new();
    for number in numbers {
        let root = files[held[*number].file].place.root.clone();
        roots.entry(root).or_default().push(*number);
    }
    roots
}

/// The past of a repository, or what can be said without it. For a leaked key it must be whole.
fn past(
    root: &Path,
    leaked: &Leaked,
    strict: bool,
    terminal: Terminal,
) -> Result<std::result::Result<Past, Origin>> {
    if strict {
        return Past::read(&History::open(root)?, leaked, terminal).map(Ok);
    }
    let history = History::around(root)?;
    if history.is_shallow()? {
        return Ok(Err(Origin::Incomplete("shallow clone")));
    }
    if !history.has("HEAD") {
        return Ok(Err(Origin::Uncommitted));
    }
    match Past::read(&history, leaked, terminal) {
        Err(_) if history.is_partial() => Ok(Err(Origin::Incomplete("partial clone"))),
        past => past.map(Ok),
    }
}
