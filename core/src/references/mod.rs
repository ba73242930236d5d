//! Which workload uses which key of which Secret, and what makes that Secret: a graph over
//! manifests, built from names alone. What a template hides is unknown, never guessed.

mod graph;
mod providers;
mod table;
mod uses;

use std::collections::BTreeSet;

use serde_json::Value;

use crate::lint::{ReadFile, without_actions};
use crate::manifest::{Node, Place, read_located};
pub use graph::{Fault, Graph, Missing, nearest};

/// An object in a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Object {
    /// Its kind.
    pub kind: String,
    /// Its namespace; empty where the manifest does not say.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl Object {
    /// `namespace/name`, or the name alone.
    pub fn title(&self) -> String {
        let slash = if self.namespace.is_empty() { "" } else { "/" };
        format!("{}{slash}{}", self.namespace, self.name)
    }
}

/// What is known of the keys of a Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keys {
    /// These and no others.
    Known(BTreeSet<String>),
    /// Only the cluster or a store knows.
    Unknown,
}

/// What makes a Secret, or a part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provider {
    /// The object that makes it.
    pub object: Object,
    /// Number of its file, as the caller counts.
    pub file: usize,
    /// Where it is.
    pub place: Place,
    /// Namespace of the Secret; empty where it is not known.
    pub namespace: String,
    /// Name of the Secret; `*` stands for what a template hides.
    pub name: String,
    /// Its keys.
    pub keys: Keys,
    /// Those that a template makes of sealed values: each may hold any of them.
    pub rendered: BTreeSet<String>,
}

/// A Secret that a workload needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Use {
    /// The workload.
    pub object: Object,
    /// Number of its file, as the caller counts.
    pub file: usize,
    /// Where the reference is.
    pub place: Place,
    /// Namespace of the Secret; empty where it is not known.
    pub namespace: String,
    /// Name of the Secret; `*` stands for what a template hides.
    pub name: String,
    /// The key; nothing where the whole Secret is used.
    pub key: Option<String>,
    /// How it is used, such as `env DB_PASSWORD`.
    pub how: String,
    /// The workload starts without it too.
    pub optional: bool,
}

/// What one file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// What makes Secrets.
    pub providers: Vec<Provider>,
    /// What uses them.
    pub uses: Vec<Use>,
    /// Prefixes and suffixes that kustomizations give to names.
    pub affixes: Vec<(String, String)>,
}

/// Reads a file. `read` reads another one that it names.
pub fn find(text: &str, file: usize, read: ReadFile<'_>) -> Found {
    let words = [
        "ecret",
        "certificateRefs",
        "namePrefix",
        "nameSuffix",
        "Certificate",
        "postgresql.cnpg.io",
        "monitoring.coreos.com",
        "velero.io",
    ];
    let mut found = Found::default();
    if !words.iter().any(|word| text.contains(word)) {
        return found;
    }
    let located = if text.contains("{{") {
        read_located(&without_actions(text))
    } else {
        read_located(text)
    };
    for root in &located.documents {
        object(root, file, read, &mut found);
    }
    found
}

/// Names of the Secrets that pods of this template read: in variables and volumes, not to pull images.
pub fn read_by_pods(template: &Value) -> BTreeSet<String> {
    let at = At {
        file: 0,
        object: Object {
            kind: "Pod".to_owned(),
            namespace: String::new(),
            name: String::new(),
        },
    };
    let mut found = Found::default();
    uses::find(&template.into(), &at, &mut found);
    let read = found.uses.into_iter();
    read.filter(|used| used.how != uses::TO_PULL_IMAGES)
        .map(|used| used.name)
        .collect()
}

/// One object, or those of a List.
fn object(root: &Node, file: usize, read: ReadFile<'_>, found: &mut Found) {
    let kind = text(root, &["kind"]);
    if kind.ends_with("List") && root.get("items").is_some() {
        let items = root.get("items").map(Node::items).unwrap_or_default();
        return items
            .iter()
            .for_each(|item| object(item, file, read, found));
    }
    let at = At {
        file,
        object: Object {
            kind: kind.to_owned(),
            namespace: known(text(root, &["metadata", "namespace"])),
            name: pattern(text(root, &["metadata", "name"])),
        },
    };
    providers::find(root, &at, read, found);
    uses::find(root, &at, found);
}

/// The object that is being read, and its file.
struct At {
    file: usize,
    object: Object,
}

/// The text at a path, or empty.
fn text<'a>(node: &'a Node, path: &[&str]) -> &'a str {
    node.at(path).map_or("", Node::text)
}

/// A name with `*` for what a program fills in.
fn pattern(name: &str) -> String {
    let mut out = String::new();
    let mut rest = crate::lint::without_actions(name);
    // Flux: `${NAME}` and `${NAME:=default}`.
    while let Some(start) = rest.find("${") {
        let end = rest[start..]
            .find('}')
            .map_or(rest.len(), |end| start + end + 1);
        rest.replace_range(start..end, "*");
    }
    for character in rest.chars() {
        let hidden = character == crate::lint::HOLE || character == '*';
        if !hidden {
            out.push(character);
        } else if !out.ends_with('*') {
            out.push('*');
        }
    }
    // Nothing but code: its line was taken out.
    if out.is_empty() && !name.is_empty() {
        "*".to_owned()
    } else {
        out
    }
}

/// A namespace, or empty where a program fills it in.
fn known(namespace: &str) -> String {
    let pattern = pattern(namespace);
    if pattern.contains('*') {
        String::new()
    } else {
        pattern
    }
}

#[cfg(test)]
mod tests;
