//! What is asked for: a Secret, a key of one, a workload, or all.

use std::collections::BTreeSet;

use sealkit_core::references::{Graph, Keys, Provider, Use, nearest};

use crate::error::CommandError;
use crate::terminal::safe;

/// What is asked for.
pub(super) enum Target {
    All,
    Secret { name: String, key: Option<String> },
    Workload { kind: String, name: String },
}

impl Target {
    /// Reads the words of a person.
    pub fn of(text: Option<&str>) -> Self {
        let Some(text) = text else { return Self::All };
        match text.split_once('/') {
            Some((kind, name)) if !kind.eq_ignore_ascii_case("secret") => Self::Workload {
                kind: kind.to_ascii_lowercase(),
                name: name.to_owned(),
            },
            _ => {
                let text = text.split_once('/').map_or(text, |(_, name)| name);
                let (name, key) = text
                    .split_once(':')
                    .map_or((text, None), |(name, key)| (name, Some(key)));
                Self::Secret {
                    name: name.to_owned(),
                    key: key.map(str::to_owned),
                }
            }
        }
    }

    /// Is a use part of the answer?
    pub fn takes(&self, used: &Use) -> bool {
        match self {
            Self::All => true,
            Self::Secret { name, key } => {
                let same_key = |wanted: &String| used.key.as_ref().is_none_or(|key| key == wanted);
                used.name == *name && key.as_ref().is_none_or(same_key)
            }
            Self::Workload { kind, name } => {
                used.object.name == *name && used.object.kind.to_ascii_lowercase() == *kind
            }
        }
    }
}

/// Namespace and name of the Secrets of an answer; a Secret whose namespace nothing says has none.
pub(super) fn secrets(
    graph: &Graph,
    target: &Target,
    uses: &[&Use],
    in_namespace: &dyn Fn(&str) -> bool,
) -> BTreeSet<(String, String)> {
    let title = |namespace: &str, name: &str| (namespace.to_owned(), name.to_owned());
    let mut secrets: BTreeSet<_> = uses
        .iter()
        .map(|used| title(&used.namespace, &used.name))
        .collect();
    let made = graph
        .providers
        .iter()
        .filter(|provider| in_namespace(&provider.namespace));
    secrets.extend(made.filter_map(|provider| {
        let is_wanted = match target {
            Target::All => true,
            Target::Secret { name, .. } => provider.name == *name,
            Target::Workload { .. } => false,
        };
        is_wanted.then(|| title(&provider.namespace, &provider.name))
    }));
    // One without a namespace is the same as one with it, where there is only one.
    let names: Vec<String> = secrets
        .iter()
        .filter(|(namespace, _)| !namespace.is_empty())
        .map(|(_, name)| name.clone())
        .collect();
    secrets.retain(|(namespace, name)| !namespace.is_empty() || !names.contains(name));
    secrets
}

/// The key that is asked for, if nothing uses it by its name and all makers make other keys.
pub(super) fn unheard_of<'a>(
    target: &'a Target,
    graph: &Graph,
    secrets: &BTreeSet<(String, String)>,
    uses: &[&Use],
) -> Option<&'a str> {
    let Target::Secret { key: Some(key), .. } = target else {
        return None;
    };
    let makers = |(namespace, name): &(String, String)| graph.providers_of(namespace, name);
    let makers: Vec<_> = secrets.iter().flat_map(makers).collect();
    let is_other = |maker: &&Provider| match &maker.keys {
        Keys::Known(keys) => !keys.contains(key),
        Keys::Unknown => false,
    };
    let is_used = uses.iter().any(|used| used.key.as_ref() == Some(key));
    (!is_used && !makers.is_empty() && makers.iter().all(is_other)).then_some(key)
}

/// Nothing is called so; something may be meant.
pub(super) fn unknown(graph: &Graph, target: &Target, asked: &str) -> CommandError {
    let error = CommandError::input("nothing here makes or uses it").on(safe(asked));
    let meant = match target {
        Target::All => None,
        Target::Secret { name, .. } => {
            let made = graph
                .providers
                .iter()
                .map(|provider| provider.name.as_str());
            nearest(
                name,
                made.chain(graph.uses.iter().map(|used| used.name.as_str())),
            )
        }
        Target::Workload { name, .. } => {
            let objects = graph.uses.iter().map(|used| &used.object);
            let same = objects.clone().find(|object| object.name == *name);
            same.map(|object| format!("{}/{name}", object.kind.to_ascii_lowercase()))
                .or_else(|| nearest(name, objects.map(|object| object.name.as_str())))
        }
    };
    match meant {
        Some(meant) => error.hint(format_args!("did you mean {}?", safe(&meant))),
        None => error.hint("name the files with -f, and the namespace with -n"),
    }
}
