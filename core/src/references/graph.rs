//! The graph: which uses have a provider, and what is missing.

use super::{Found, Keys, Provider, Use};
use crate::names::printable;

/// Providers and uses of a tree.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    /// What makes Secrets.
    pub providers: Vec<Provider>,
    /// What uses them.
    pub uses: Vec<Use>,
    affixes: Vec<(String, String)>,
    external: Vec<(String, String)>,
}

/// A use that nothing fulfils.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing<'a> {
    /// The use.
    pub needed: &'a Use,
    /// What is missing.
    pub fault: Fault,
    /// A name that looks alike.
    pub meant: Option<String>,
}

/// What is missing of a use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing makes the Secret.
    Secret,
    /// The Secret has not this key.
    Key,
}

impl Missing<'_> {
    /// In words: what needs what, and perhaps what was meant.
    pub fn message(&self) -> String {
        let Use {
            object, name, how, ..
        } = self.needed;
        let (kind, object) = (printable(&object.kind), printable(&object.name));
        let (name, how) = (printable(name), printable(how));
        let what = match self.fault {
            Fault::Secret => format!("Secret {name}, which nothing here makes"),
            Fault::Key => {
                let key = printable(self.needed.key.as_deref().unwrap_or_default());
                format!("key {key} of Secret {name}, which does not have it")
            }
        };
        let meant = self.meant.as_ref();
        let meant = meant.map(|meant| format!(" (did you mean {}?)", printable(meant)));
        format!(
            "{kind} {object} ({how}) needs {what}{}",
            meant.unwrap_or_default()
        )
    }
}

impl Graph {
    /// Adds what a file says.
    pub fn add(&mut self, found: Found) {
        self.providers.extend(found.providers);
        self.uses.extend(found.uses);
        self.affixes.extend(found.affixes);
    }

    /// Secrets that something else makes: `name` or `namespace/name`, each with `*` for any text.
    pub fn add_external(&mut self, pattern: &str) {
        let (namespace, name) = pattern.split_once('/').unwrap_or(("*", pattern));
        self.external.push((namespace.to_owned(), name.to_owned()));
    }

    /// What makes a Secret. Where a manifest has no namespace, any will do: a
    /// kustomization or the one who applies it chooses.
    pub fn providers_of(&self, namespace: &str, name: &str) -> Vec<&Provider> {
        let providers = self.providers.iter();
        let all = providers.filter(|provider| {
            same_namespace(&provider.namespace, namespace) && self.same_name(&provider.name, name)
        });
        all.collect()
    }

    /// The uses that get this sealed value of a maker: by its key, within a template's, or with the
    /// whole Secret.
    pub fn users(&self, maker: &Provider, value: &str) -> Vec<&Use> {
        let has_it = |key: &String| {
            key == value || key.contains('*') || maker.rendered.iter().any(|it| it == key)
        };
        let uses = self.uses.iter().filter(|used| {
            same_namespace(&maker.namespace, &used.namespace)
                && self.same_name(&maker.name, &used.name)
                && used.key.as_ref().is_none_or(has_it)
        });
        uses.collect()
    }

    /// The uses that nothing fulfils, in the order in which they were added. Optional ones and those
    /// whose names a template hides are none.
    pub fn missing(&self) -> Vec<Missing<'_>> {
        let uses = self
            .uses
            .iter()
            .filter(|needed| !needed.optional && !needed.name.contains('*'));
        uses.filter_map(|needed| self.judge(needed)).collect()
    }

    /// What is missing of one use, if anything is.
    fn judge<'a>(&self, needed: &'a Use) -> Option<Missing<'a>> {
        if self.is_external(needed) {
            return None;
        }
        let providers = self.providers_of(&needed.namespace, &needed.name);
        if providers.is_empty() {
            let near = self
                .providers
                .iter()
                .filter(|provider| same_namespace(&provider.namespace, &needed.namespace));
            let meant = nearest(&needed.name, near.map(|provider| provider.name.as_str()));
            let fault = Fault::Secret;
            return Some(Missing {
                needed,
                fault,
                meant,
            });
        }
        let key = needed.key.as_deref().filter(|key| !key.contains('*'))?;
        let mut all = Vec::new();
        for provider in providers {
            match &provider.keys {
                Keys::Unknown => return None,
                Keys::Known(keys) if keys.contains(key) => return None,
                Keys::Known(keys) => all.extend(keys.iter().map(String::as_str)),
            }
        }
        let (fault, meant) = (Fault::Key, nearest(key, all.into_iter()));
        Some(Missing {
            needed,
            fault,
            meant,
        })
    }

    fn is_external(&self, needed: &Use) -> bool {
        self.external.iter().any(|(namespace, name)| {
            let in_namespace = needed.namespace.is_empty() || matches(namespace, &needed.namespace);
            in_namespace && matches(name, &needed.name)
        })
    }

    /// Equal, or equal but for what a template hides or a kustomization adds.
    fn same_name(&self, provided: &str, needed: &str) -> bool {
        let equal = |name: &str| {
            matches(provided, name) || (needed.contains('*') && matches(name, provided))
        };
        equal(needed)
            || self.affixes.iter().any(|(prefix, suffix)| {
                equal(&format!("{prefix}{needed}{suffix}"))
                    || matches(&format!("{prefix}{provided}{suffix}"), needed)
            })
    }
}

fn same_namespace(one: &str, other: &str) -> bool {
    one.is_empty() || other.is_empty() || one == other
}

/// Does a text match a pattern in which `*` stands for any text?
fn matches(pattern: &str, text: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(text) = text.strip_prefix(start) else {
        return false;
    };
    if rest.is_empty() {
        return true;
    }
    let mut places = (0..=text.len()).filter(|at| text.is_char_boundary(*at));
    places.any(|at| matches(rest, &text[at..]))
}

/// The other name that looks most alike, if one does. Upper and lower case, and the signs between
/// words, are the same here: `PASSWORD` is meant where there is `password`.
pub fn nearest<'a>(name: &str, others: impl Iterator<Item = &'a str>) -> Option<String> {
    let plain = |name: &str| name.to_lowercase().replace(['-', '.'], "_");
    let (allowed, wanted) = ((name.len() / 3).clamp(1, 3), plain(name));
    let near = others
        .filter(|other| *other != name && !other.contains('*'))
        .filter(|other| other.len().abs_diff(name.len()) <= allowed)
        .map(|other| (strsim::damerau_levenshtein(&wanted, &plain(other)), other))
        .filter(|(distance, _)| *distance <= allowed);
    near.min().map(|(_, other)| other.to_owned())
}
