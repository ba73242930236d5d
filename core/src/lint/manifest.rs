//! Secrets in YAML and JSON, wherever they are: documents of a stream, items of Lists, objects in
//! objects, manifests in strings.

use std::sync::LazyLock;

use regex::Regex;
use zeroize::Zeroizing;

use super::allow::Allowed;
use super::braces::{HOLE, without_actions};
use super::value::{Around, Judged, judge_data, judge_text};
use super::{Finding, ReadFile, Rule, listed};
use crate::manifest::{Content, Node, Place, read_located};
use crate::names::printable;

/// Manifests in strings of manifests in strings.
const DEPTH: usize = 3;

/// What a text holds.
#[derive(Default)]
pub(super) struct Found {
    pub findings: Vec<Finding>,
    pub secrets: usize,
}

/// Looks at a text of YAML or JSON.
pub(super) fn find(text: &str, in_chart: bool, allowed: &Allowed, read: ReadFile<'_>) -> Found {
    let has_braces = text.contains("{{");
    let mut located = read_located(text);
    let is_code =
        in_chart || located.broken.is_some() || located.documents.iter().any(has_map_as_key);
    let in_chart = has_braces && is_code;
    if in_chart {
        located = read_located(&without_actions(text));
    }
    let mut walk = Walk {
        lines: text.lines().collect(),
        allowed,
        read,
        in_chart,
        shift: Shift::default(),
        depth: 0,
        kinds: 0,
        found: Found::default(),
    };
    for document in &located.documents {
        walk.document(document);
    }
    if let Some(place) = located.broken
        && !has_braces
        && kinds(text) > walk.kinds
    {
        let message = "not valid YAML from here on, and it looks like a Secret".to_owned();
        let line = text
            .lines()
            .nth(place.line.saturating_sub(1))
            .unwrap_or_default();
        let finding = Finding::new(Rule::Unreadable, place, message, &[line.as_bytes()]);
        walk.found.findings.push(finding);
    }
    walk.found
}

/// Code in braces may happen to be YAML: a map whose key is a map.
fn has_map_as_key(node: &Node) -> bool {
    match &node.content {
        Content::Scalar(_) => false,
        Content::List(items) => items.iter().any(has_map_as_key),
        Content::Map(entries) => entries
            .iter()
            .any(|(key, value)| key.scalar().is_none() || has_map_as_key(value)),
    }
}

/// How often a text says `kind: Secret` outside of comments.
fn kinds(text: &str) -> usize {
    static KIND: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new(r#"\bkind["']?\s*:\s*(?:[&!]\S+\s+)*["']?Secret(?:List)?["']?\s*(?:[,}#]|$)"#)
            .ok()
    });
    let Some(kind) = KIND.as_ref() else { return 0 };
    let lines = text
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'));
    lines.map(|line| kind.find_iter(line).count()).sum()
}

/// How places in a manifest within a string become places of the file.
#[derive(Clone, Copy, Default)]
struct Shift {
    line: usize,
    column: usize,
    /// Quoted strings: everything is where the string begins.
    fixed: Option<Place>,
}

/// One pass over the documents of a file.
pub(super) struct Walk<'a> {
    lines: Vec<&'a str>,
    allowed: &'a Allowed,
    /// Reads a file that a kustomization names.
    pub read: ReadFile<'a>,
    in_chart: bool,
    shift: Shift,
    depth: usize,
    /// Maps of kind Secret, references included.
    kinds: usize,
    found: Found,
}

/// The values of one object, or of something that makes one, as they are judged one by one.
#[derive(Default)]
pub(super) struct Values {
    exposed: Vec<Exposed>,
    /// Slips once the object is sealed. One that exposes nothing need not be.
    if_sealed: Vec<Finding>,
}

/// A value that anyone can read.
struct Exposed {
    place: Place,
    key: String,
    value: Zeroizing<Vec<u8>>,
}

impl Walk<'_> {
    fn document(&mut self, root: &Node) {
        self.kustomization(root);
        if let Content::List(operations) = &root.content {
            // Which kind it is for, only the kustomization knows; no other has this field.
            self.operations(operations, &["stringData"], None);
        }
        self.visit(root, None);
    }

    /// `inherited` is the kind of items whose list says it.
    fn visit(&mut self, node: &Node, inherited: Option<&str>) {
        match &node.content {
            Content::Scalar(_) => self.string(node),
            Content::List(items) => items.iter().for_each(|item| self.visit(item, inherited)),
            Content::Map(_) => {
                let kind = node
                    .get("kind")
                    .map_or(inherited.unwrap_or_default(), Node::text);
                if kind == "Secret" {
                    self.kinds += 1;
                    if is_core(node) {
                        self.secret(node);
                    }
                }
                let items = kind.strip_suffix("List").filter(|kind| !kind.is_empty());
                self.kinds += usize::from(kind == "SecretList");
                for (key, value) in node.entries() {
                    let key = key.text();
                    if kind != "Secret" || !matches!(key, "data" | "stringData") {
                        self.visit(value, items.filter(|_| key == "items"));
                    }
                }
            }
        }
    }

    /// A manifest in a string: a patch, a `ConfigMap` with manifests, what `kubectl apply` recorded.
    fn string(&mut self, node: &Node) {
        let text = node.text();
        let words = ["kind", "Secret", "ata"];
        if self.depth == DEPTH || !words.iter().all(|word| text.contains(word)) {
            return;
        }
        let outer = self.enter(node);
        for document in &read_located(text).documents {
            if matches!(document.content, Content::Map(_)) {
                self.visit(document, None);
            }
        }
        self.leave(outer);
    }

    /// From here on, places are those of the text of this scalar.
    fn enter(&mut self, node: &Node) -> (Shift, usize) {
        let outer = (self.shift, self.kinds);
        let is_block = node.scalar().is_some_and(|scalar| scalar.is_block);
        if !is_block || self.shift.fixed.is_some() {
            self.shift.fixed = Some(self.place(node.place));
        } else {
            let empty = node
                .text()
                .lines()
                .take_while(|line| line.trim().is_empty());
            self.shift.line += (node.place.line - 1).saturating_sub(empty.count());
            self.shift.column += node.place.column - 1;
        }
        self.depth += 1;
        outer
    }

    fn leave(&mut self, outer: (Shift, usize)) {
        (self.shift, self.kinds) = outer;
        self.depth -= 1;
    }

    /// A place in the file.
    fn place(&self, place: Place) -> Place {
        self.shift.fixed.unwrap_or(Place {
            line: place.line + self.shift.line,
            column: place.column + self.shift.column,
        })
    }

    fn secret(&mut self, node: &Node) {
        self.found.secrets += 1;
        let object = title(node);
        let annotations = node.at(&["metadata", "annotations"]);
        let around = Around {
            in_chart: self.in_chart,
            is_for_vault_plugin: annotations
                .is_some_and(|all| all.get("avp.kubernetes.io/path").is_some()),
        };
        let mut values = Values::default();
        for section in ["data", "stringData"] {
            let entries = node.get(section).map(Node::entries).unwrap_or_default();
            for (key, value) in entries {
                let judged = match value.scalar() {
                    Some(scalar)
                        if self.in_chart
                            && self.depth == 0
                            && scalar.is_block
                            && self.has_code_below(key.place) =>
                    {
                        Judged::default()
                    }
                    Some(scalar) if section == "data" => judge_data(scalar, around),
                    Some(scalar) => judge_text(scalar, around),
                    // No cluster takes it, but it is there to be read.
                    None => Judged {
                        exposes: true,
                        slips: Vec::new(),
                    },
                };
                self.value(
                    &mut values,
                    object.as_deref(),
                    key,
                    value.text().as_bytes(),
                    judged,
                );
            }
        }
        let who = object.as_deref().map_or("a Secret".to_owned(), |object| {
            format!("Secret {}", printable(object))
        });
        self.exposed(values, object.as_deref(), &who);
    }

    /// What surrounds values that are no Secret's yet.
    pub fn around(&self) -> Around {
        Around {
            in_chart: self.in_chart,
            is_for_vault_plugin: false,
        }
    }

    /// Takes up one value; its slips are findings of their own.
    pub fn value(
        &mut self,
        values: &mut Values,
        object: Option<&str>,
        key: &Node,
        text: &[u8],
        judged: Judged,
    ) {
        self.named_value(values, object, key.text(), key.place, text, judged);
    }

    /// The same for a key that is no node.
    pub fn named_value(
        &mut self,
        values: &mut Values,
        object: Option<&str>,
        key: &str,
        place: Place,
        text: &[u8],
        judged: Judged,
    ) {
        let place = self.place(place);
        if self.allowed.holds(place.line) {
            return;
        }
        let key = if key.contains(HOLE) {
            "a templated key"
        } else {
            key
        };
        for slip in judged.slips {
            let message = format!("the value of {} {}", printable(key), words(slip));
            let identity = [object.unwrap_or_default().as_bytes(), key.as_bytes(), text];
            let finding = Finding::new(slip, place, message, &identity);
            let finding = finding.about(object, vec![key.to_owned()]);
            // What is empty or filled in by another program may stand in plain text.
            if matches!(slip, Rule::EmptyValue | Rule::VaultPlaceholder) {
                values.if_sealed.push(finding);
            } else {
                self.found.findings.push(finding);
            }
        }
        if judged.exposes {
            let (key, value) = (key.to_owned(), text.to_vec().into());
            values.exposed.push(Exposed { place, key, value });
        }
    }

    /// In a chart: is there code in the block of lines below a key? Lines of code alone are gone
    /// from the text that was read.
    fn has_code_below(&self, key: Place) -> bool {
        let is_inside = |line: &str| {
            line.len() - line.trim_start_matches(' ').len() >= key.column || line.trim().is_empty()
        };
        let is_code = |line: &str| line.trim_start().starts_with("{{");
        let below = self.lines.get(key.line..).unwrap_or_default();
        let end = below
            .iter()
            .position(|line| !is_inside(line) && !is_code(line));
        let below = &below[..end.unwrap_or(below.len())];
        let last = below.iter().rposition(|line| is_inside(line));
        let block = &below[..last.map_or(0, |last| last + 1)];
        block.iter().any(|line| line.contains("{{"))
    }

    /// One finding for all values that are exposed.
    pub fn exposed(&mut self, values: Values, object: Option<&str>, who: &str) {
        let mut exposed = values.exposed;
        exposed.sort_by_key(|value| value.place);
        let Some(first) = exposed.first() else { return };
        self.found.findings.extend(values.if_sealed);
        let keys: Vec<String> = exposed.iter().map(|value| value.key.clone()).collect();
        let message = format!("{who} has values in plain text: {}", listed(&keys));
        let mut identity = vec![object.unwrap_or_default().as_bytes()];
        let parts = exposed.iter();
        identity.extend(parts.flat_map(|value| [value.key.as_bytes(), value.value.as_slice()]));
        let finding = Finding::new(Rule::PlaintextSecret, first.place, message, &identity);
        self.found.findings.push(finding.about(object, keys));
    }

    /// The operations of a JSON patch (RFC 6902) that set values below these fields. What is in
    /// another file is reported where that is named.
    pub fn operations(&mut self, operations: &[Node], fields: &[&str], at: Option<Place>) {
        let around = self.around();
        let mut values = Values::default();
        for operation in operations {
            let path = operation.get("path").map_or("", Node::text);
            let mut parts = path.trim_start_matches('/').splitn(2, '/');
            let (field, key) = (parts.next().unwrap_or_default(), parts.next());
            let Some(value) = operation.get("value").filter(|_| fields.contains(&field)) else {
                continue;
            };
            let entries = match key {
                Some(key) => vec![(key.replace("~1", "/").replace("~0", "~"), value)],
                None => value
                    .entries()
                    .into_iter()
                    .map(|(key, value)| (key.text().to_owned(), value))
                    .collect(),
            };
            for (key, value) in entries {
                let Some(scalar) = value.scalar() else {
                    continue;
                };
                let judged = if field == "data" {
                    judge_data(scalar, around)
                } else {
                    judge_text(scalar, around)
                };
                let place = at.unwrap_or(value.place);
                self.named_value(
                    &mut values,
                    None,
                    &key,
                    place,
                    scalar.text.as_bytes(),
                    judged,
                );
            }
        }
        self.exposed(values, None, "a patch of a Secret");
    }

    /// The same for a patch in a string.
    pub fn inline_operations(&mut self, node: &Node) {
        let outer = self.enter(node);
        for document in &read_located(node.text()).documents {
            self.operations(document.items(), &["data", "stringData"], None);
        }
        self.leave(outer);
    }
}

/// A Secret of Kubernetes itself, or of no known API: a patch may leave that out.
fn is_core(node: &Node) -> bool {
    let version = node.get("apiVersion").map_or("", Node::text);
    version.is_empty() || version == "v1" || version.contains(HOLE)
}

/// `namespace/name`, if it is known.
pub(super) fn title(node: &Node) -> Option<String> {
    let text = |field: &str| node.at(&["metadata", field]).map_or("", Node::text);
    let (namespace, name) = (text("namespace"), text("name"));
    let is_known = !name.is_empty() && !name.contains(HOLE);
    is_known.then(|| {
        if namespace.is_empty() || namespace.contains(HOLE) {
            name.to_owned()
        } else {
            format!("{namespace}/{name}")
        }
    })
}

/// What is wrong with a value, after `the value of KEY`.
fn words(slip: Rule) -> &'static str {
    match slip {
        Rule::NotBase64 => "is not Base64, which data must be",
        Rule::TrailingNewline => "ends with a line feed, which becomes part of it",
        Rule::DoubleBase64 => "is Base64-encoded once more than it should be",
        Rule::Placeholder => "is a placeholder",
        Rule::VaultPlaceholder => "is a placeholder of argocd-vault-plugin",
        Rule::EmptyValue => "is empty",
        Rule::ByteOrderMark => "begins with a byte order mark, which becomes part of it",
        _ => "is not as it should be",
    }
}
