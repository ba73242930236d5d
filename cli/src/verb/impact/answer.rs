//! The answer: each Secret with what makes it, its sealed values, and what uses it.

use std::collections::BTreeSet;

use sealkit_core::references::{Graph, Keys, Missing, Object, Provider, Use};
use serde_json::{Value, json};

use super::story::{Held, Story};
use super::target::Target;
use crate::error::Result;
use crate::exposure::Fate;
use crate::files::tree::Found;
use crate::recipients::config::Configs;
use crate::terminal::{safe, shown};

/// All that is known, and the parts that are asked for.
pub(super) struct Answer<'a> {
    pub graph: &'a Graph,
    pub files: &'a [Found],
    /// The uses that are asked for.
    pub uses: &'a [&'a Use],
    pub missing: &'a [Missing<'a>],
    /// All sealed values of the files.
    pub held: &'a [Held],
    pub parts: Vec<Part<'a>>,
}

/// A Secret.
pub(super) struct Part<'a> {
    pub namespace: String,
    pub name: String,
    pub made: Vec<Made<'a>>,
    pub used: Vec<Used<'a>>,
}

/// What makes a Secret.
pub(super) struct Made<'a> {
    pub provider: &'a Provider,
    /// The clusters of its file, as the config says.
    pub clusters: Vec<String>,
    /// The sealed values that are asked for, by their numbers.
    pub values: Vec<usize>,
}

/// What uses a Secret.
pub(super) struct Used<'a> {
    pub reference: &'a Use,
    pub missing: Option<&'a Missing<'a>>,
    /// The clusters of its file, as the config says.
    pub clusters: Vec<String>,
    /// What became of the exposed value that it uses; the worst of several.
    pub exposed: Option<Fate>,
}

impl Part<'_> {
    /// `namespace/name`, or the name alone.
    pub fn title(&self) -> String {
        let slash = if self.namespace.is_empty() { "" } else { "/" };
        format!("{}{slash}{}", self.namespace, self.name)
    }
}

impl Answer<'_> {
    /// Finds what concerns these Secrets.
    pub fn find(&mut self, secrets: &BTreeSet<(String, String)>, target: &Target) -> Result<()> {
        let (graph, files, uses, missing) = (self.graph, self.files, self.uses, self.missing);
        let mut configs = Configs::default();
        let mut clusters = |file: usize| -> Result<Vec<String>> {
            let place = &files[file].place;
            let config = configs.at(place)?;
            let clusters = config.map(|config| config.clusters_for(Some(place)));
            Ok(clusters.transpose()?.flatten().unwrap_or_default())
        };
        let asked = match target {
            Target::Secret { key, .. } => key.as_deref(),
            _ => None,
        };
        for (namespace, name) in secrets {
            let mut part = Part {
                namespace: namespace.clone(),
                name: name.clone(),
                made: Vec::new(),
                used: Vec::new(),
            };
            for provider in graph.providers_of(namespace, name) {
                part.made.push(Made {
                    provider,
                    clusters: clusters(provider.file)?,
                    values: self.values_of(provider, asked),
                });
            }
            let all = uses.iter().filter(|used| is_of(used, &part));
            let all: Vec<&&Use> = all.collect();
            for used in all {
                part.used.push(Used {
                    reference: used,
                    missing: missing.iter().find(|it| it.needed == *used),
                    clusters: clusters(used.file)?,
                    exposed: None,
                });
            }
            self.parts.push(part);
        }
        Ok(())
    }

    /// The sealed values of a maker that a key of its Secret is made of; without one, all.
    fn values_of(&self, provider: &Provider, key: Option<&str>) -> Vec<usize> {
        // They are in the order of their files.
        let start = self.held.partition_point(|held| held.file < provider.file);
        let held = self.held.iter().enumerate().skip(start);
        let held = held.take_while(|(_, held)| held.file == provider.file);
        let is_asked = |held: &Held| {
            let is_made = |key| held.key == key || provider.rendered.contains(key);
            key.is_none_or(is_made)
        };
        held.filter(|(_, held)| held.is_of(provider) && is_asked(held))
            .map(|(number, _)| number)
            .collect()
    }

    /// The numbers of all values that are asked for.
    pub fn concerned(&self) -> BTreeSet<usize> {
        let made = self.parts.iter().flat_map(|part| &part.made);
        made.flat_map(|made| made.values.iter().copied()).collect()
    }

    /// Leaves only values that the key can read, and what uses them.
    pub fn keep_exposed(&mut self, stories: &Story) {
        for part in &mut self.parts {
            for made in &mut part.made {
                made.values
                    .retain(|number| stories.states.contains_key(number));
                for number in &made.values {
                    let state = stories.states[number];
                    let users = self.graph.users(made.provider, &self.held[*number].key);
                    let reached = part.used.iter_mut().filter(|it| {
                        users.contains(&it.reference)
                            && share_a_cluster(&it.clusters, &made.clusters)
                    });
                    for used in reached {
                        used.exposed = Some(used.exposed.map_or(state, |old| old.min(state)));
                    }
                }
            }
            part.made.retain(|made| !made.values.is_empty());
            part.used.retain(|used| used.exposed.is_some());
        }
        self.parts.retain(|part| !part.made.is_empty());
    }

    /// Is nothing missing, and nothing exposed?
    pub fn is_clean(&self, stories: &Story) -> bool {
        let mut used = self.parts.iter().flat_map(|part| &part.used);
        stories.states.is_empty() && used.all(|used| used.missing.is_none())
    }

    /// File and line, for people.
    pub fn place(&self, file: usize, line: usize) -> String {
        format!("{}:{line}", shown(&self.files[file].place.given))
    }

    /// A Secret, for people.
    pub fn text(&self, part: &Part<'_>, stories: &Story) -> String {
        let mut text = format!("Secret {}\n", safe(&part.title()));
        for made in &part.made {
            let Made {
                provider, clusters, ..
            } = made;
            text += &format!(
                "  made by {} {} ({}){}: {}\n",
                safe(&provider.object.kind),
                safe(&provider.object.title()),
                self.place(provider.file, provider.place.line),
                within(clusters),
                keys(&provider.keys)
            );
            for number in &made.values {
                let held = &self.held[*number];
                let key = safe(&held.key);
                text += &format!("  value {key}: {}\n", stories.words(*number, held));
            }
        }
        for used in &part.used {
            let state = if used.missing.is_some() {
                ": MISSING".to_owned()
            } else {
                loud(used.exposed)
            };
            let Use {
                object,
                file,
                place,
                ..
            } = used.reference;
            text += &format!(
                "  {} used by {} {}, {} ({}){}{state}\n",
                wanted(used.reference),
                safe(&object.kind),
                safe(&object.title()),
                safe(&used.reference.how),
                self.place(*file, place.line),
                within(&used.clusters)
            );
        }
        text
    }

    /// A Secret, for programs.
    pub fn object(&self, part: &Part<'_>, stories: &Story) -> Value {
        let object = |object: &Object| json!({"kind": object.kind, "namespace": object.namespace, "name": object.name});
        let path = |file: usize| self.files[file].place.given.to_string_lossy().into_owned();
        let providers = part.made.iter().map(|made| {
            let provider = made.provider;
            let keys = match &provider.keys {
                Keys::Known(keys) => json!(keys),
                Keys::Unknown => Value::Null,
            };
            let values = made.values.iter();
            let values = values.map(|number| stories.object(*number, &self.held[*number]));
            let values: Vec<Value> = values.collect();
            json!({
                "object": object(&provider.object), "path": path(provider.file),
                "line": provider.place.line, "keys": keys,
                "clusters": made.clusters, "values": values,
            })
        });
        let uses = part.used.iter().map(|it| {
            let used = it.reference;
            json!({
                "object": object(&used.object), "path": path(used.file), "line": used.place.line,
                "key": used.key, "how": used.how, "optional": used.optional,
                "clusters": it.clusters, "exposed": it.exposed,
                "missing": it.missing.map(Missing::message),
            })
        });
        let (providers, uses): (Vec<Value>, Vec<Value>) = (providers.collect(), uses.collect());
        json!({"namespace": part.namespace, "name": part.name, "providers": providers, "uses": uses})
    }
}

/// Does it use this Secret? A manifest without a namespace may be of any.
fn is_of(used: &Use, part: &Part<'_>) -> bool {
    used.name == part.name
        && (used.namespace.is_empty()
            || part.namespace.is_empty()
            || used.namespace == part.namespace)
}

/// May two files be applied to one cluster? Where the config names none for one of them, nobody
/// knows.
fn share_a_cluster(one: &[String], other: &[String]) -> bool {
    one.is_empty() || other.is_empty() || one.iter().any(|name| other.contains(name))
}

/// What a use wants of a Secret, for people.
pub(super) fn wanted(used: &Use) -> String {
    let key = used.key.as_ref();
    key.map_or("all keys".to_owned(), |key| format!("key {}", safe(key)))
}

/// The clusters of a file, for people.
pub(super) fn within(clusters: &[String]) -> String {
    if clusters.is_empty() {
        return String::new();
    }
    let names: Vec<String> = clusters.iter().map(|name| safe(name)).collect();
    format!(" in {}", names.join(", "))
}

/// The mark of what a leaked key can read.
pub(super) fn loud(state: Option<Fate>) -> String {
    state.map_or(String::new(), |state| {
        format!(": {}", state.words().to_uppercase())
    })
}

fn keys(keys: &Keys) -> String {
    match keys {
        Keys::Unknown => "keys unknown here".to_owned(),
        Keys::Known(keys) if keys.is_empty() => "no keys".to_owned(),
        Keys::Known(keys) => {
            let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
            safe(&keys.join(", "))
        }
    }
}
