//! YAML and JSON with the place of every node, for tools that point at a line. It reads more than
//! [`super::read_documents`]: equal keys, custom tags, and the other documents of a stream when one
//! is broken. What it reads is for people; nothing is sealed or applied from it.

use std::collections::{HashMap, HashSet};

use granit_parser::{Event, Marker, Options, Parser, ScalarStyle};
use serde_json::Value;
use zeroize::Zeroizing;

/// Nodes that one stream may have, those that aliases repeat included.
const NODES: usize = 1_000_000;
/// Collections in collections.
const DEPTH: usize = 64;

/// A place in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

impl Place {
    fn of(mark: Marker) -> Self {
        Self {
            line: mark.line(),
            column: mark.col() + 1,
        }
    }
}

/// A value and its place. It may contain plaintext: no Debug here; wiped when dropped.
#[derive(Clone)]
pub struct Node {
    /// Where it begins.
    pub place: Place,
    /// What it is.
    pub content: Content,
}

/// What a node is.
#[derive(Clone)]
pub enum Content {
    /// Text, a number, a boolean or null.
    Scalar(Scalar),
    /// A list.
    List(Vec<Node>),
    /// A map in the order of the file; equal keys stay apart.
    Map(Vec<(Node, Node)>),
}

/// A text as it is spelled.
#[derive(Clone)]
pub struct Scalar {
    /// After escapes and folding.
    pub text: Zeroizing<String>,
    /// Without quotes, not a block: what may be a number or null.
    pub is_plain: bool,
    /// A block of lines: the node's place is that of the first one with text.
    pub is_block: bool,
}

impl Scalar {
    /// Nothing, however it is spelled.
    pub fn is_null(&self) -> bool {
        self.is_plain && matches!(self.text.as_str(), "" | "~" | "null" | "Null" | "NULL")
    }
}

impl Node {
    /// The text of a scalar.
    pub fn scalar(&self) -> Option<&Scalar> {
        match &self.content {
            Content::Scalar(scalar) => Some(scalar),
            _ => None,
        }
    }

    /// The text of a scalar, or empty.
    pub fn text(&self) -> &str {
        self.scalar().map_or("", |scalar| scalar.text.as_str())
    }

    /// The items of a list, or none.
    pub fn items(&self) -> &[Node] {
        match &self.content {
            Content::List(items) => items,
            _ => &[],
        }
    }

    /// Keys and values of a map, or none; those that `<<` merges in come last.
    pub fn entries(&self) -> Vec<(&Node, &Node)> {
        let Content::Map(entries) = &self.content else {
            return Vec::new();
        };
        let is_merge =
            |key: &Node| key.scalar().is_some_and(|key| key.is_plain) && key.text() == "<<";
        let (merges, own): (Vec<_>, Vec<_>) = entries.iter().partition(|(key, _)| is_merge(key));
        let mut all: Vec<(&Node, &Node)> =
            own.into_iter().map(|(key, value)| (key, value)).collect();
        let mut known: HashSet<&str> = all.iter().map(|(key, _)| key.text()).collect();
        for (_, merged) in merges {
            let maps = match &merged.content {
                Content::List(maps) => maps.as_slice(),
                _ => std::slice::from_ref(merged),
            };
            let entries = maps.iter().flat_map(Self::entries);
            all.extend(entries.filter(|(key, _)| known.insert(key.text())));
        }
        all
    }

    /// The first value of a key.
    pub fn get(&self, key: &str) -> Option<&Node> {
        let mut entries = self.entries().into_iter();
        entries.find_map(|(name, value)| (name.text() == key).then_some(value))
    }

    /// The value below several keys.
    pub fn at(&self, path: &[&str]) -> Option<&Node> {
        path.iter().try_fold(self, |node, key| node.get(key))
    }
}

/// A value that no file holds: all of it is at the first place.
impl From<&Value> for Node {
    fn from(value: &Value) -> Self {
        let scalar = |text: String, is_plain| {
            Content::Scalar(Scalar {
                text: Zeroizing::new(text),
                is_plain,
                is_block: false,
            })
        };
        let place = Place { line: 1, column: 1 };
        let content = match value {
            Value::String(text) => scalar(text.clone(), false),
            Value::Array(items) => Content::List(items.iter().map(Self::from).collect()),
            Value::Object(members) => {
                let key = |name: &String| Self {
                    place,
                    content: scalar(name.clone(), false),
                };
                let members = members.iter();
                Content::Map(
                    members
                        .map(|(name, value)| (key(name), value.into()))
                        .collect(),
                )
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => scalar(value.to_string(), true),
        };
        Self { place, content }
    }
}

/// What a text holds.
pub struct Located {
    /// The roots of the documents that could be read; empty ones are left out.
    pub documents: Vec<Node>,
    /// Where the first broken document stops being YAML.
    pub broken: Option<Place>,
}

/// Reads a stream of documents. A broken one is left out.
pub fn read_located(text: &str) -> Located {
    let mut options = Options::default();
    options.set_emit_comments(false);
    // Large tokens in one line of JSON are no fault.
    options.simple_key_max_lookahead = 1024 * 1024;
    let mut parser = Parser::new_from_str_with_options(text, options);
    let mut builder = Builder::default();
    let mut broken = None;
    loop {
        match parser.next() {
            None => break,
            Some(Ok((event, span))) => {
                if builder.take(event, Place::of(span.start)) {
                    continue;
                }
                broken.get_or_insert(Place::of(span.start));
            }
            Some(Err(error)) => {
                broken.get_or_insert(Place::of(*error.marker()));
            }
        }
        builder.abandon();
        if builder.left == 0 || !matches!(parser.proceed_next_document(), Ok(true)) {
            break;
        }
    }
    Located {
        documents: builder.documents,
        broken,
    }
}

/// An open collection: its place, its anchor, and what it has so far.
struct Open {
    place: Place,
    anchor: usize,
    is_map: bool,
    nodes: Vec<Node>,
}

struct Builder {
    documents: Vec<Node>,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    /// Nodes that may still come.
    left: usize,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            documents: Vec::new(),
            open: Vec::new(),
            anchors: HashMap::new(),
            left: NODES,
        }
    }
}

impl Builder {
    /// Takes one event; false where a limit is reached.
    fn take(&mut self, event: Event<'_>, place: Place) -> bool {
        let mut begin = |anchor, is_map| {
            self.open.push(Open {
                place,
                anchor,
                is_map,
                nodes: Vec::new(),
            });
            self.open.len() <= DEPTH
        };
        match event {
            Event::MappingStart(_, anchor, _) => begin(anchor, true),
            Event::SequenceStart(_, anchor, _) => begin(anchor, false),
            Event::MappingEnd | Event::SequenceEnd => self.close(),
            Event::Scalar(text, style, anchor, _) => {
                let content = Content::Scalar(Scalar {
                    text: Zeroizing::new(text.into_owned()),
                    is_plain: style == ScalarStyle::Plain,
                    is_block: matches!(style, ScalarStyle::Literal | ScalarStyle::Folded),
                });
                self.put(Node { place, content }, anchor)
            }
            Event::Alias(anchor) => {
                let Some(mut node) = self.anchors.get(&anchor).cloned() else {
                    return false;
                };
                node.place = place;
                let size = size(&node);
                self.left = self.left.saturating_sub(size);
                self.left > 0 && self.put(node, 0)
            }
            Event::DocumentEnd => {
                self.anchors.clear();
                true
            }
            _ => true,
        }
    }

    fn close(&mut self) -> bool {
        let Some(open) = self.open.pop() else {
            return false;
        };
        let content = if open.is_map {
            let mut nodes = open.nodes.into_iter();
            let mut entries = Vec::new();
            while let (Some(key), Some(value)) = (nodes.next(), nodes.next()) {
                entries.push((key, value));
            }
            Content::Map(entries)
        } else {
            Content::List(open.nodes)
        };
        let place = open.place;
        self.put(Node { place, content }, open.anchor)
    }

    fn put(&mut self, node: Node, anchor: usize) -> bool {
        if anchor != 0 {
            self.left = self.left.saturating_sub(size(&node));
            self.anchors.insert(anchor, node.clone());
        }
        self.left = self.left.saturating_sub(1);
        if let Some(open) = self.open.last_mut() {
            open.nodes.push(node);
        } else if !node.scalar().is_some_and(Scalar::is_null) {
            self.documents.push(node);
        }
        self.left > 0
    }

    /// Drops the document that is being read.
    fn abandon(&mut self) {
        self.open.clear();
        self.anchors.clear();
    }
}

fn size(node: &Node) -> usize {
    match &node.content {
        Content::Scalar(_) => 1,
        Content::List(items) => 1 + items.iter().map(size).sum::<usize>(),
        Content::Map(entries) => {
            let entries = entries.iter();
            1 + entries
                .map(|(key, value)| size(key) + size(value))
                .sum::<usize>()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(line: usize, column: usize) -> Place {
        Place { line, column }
    }

    #[test]
    fn nodes_know_their_places() {
        let text = "# first\na: 1\nb:\n  - {c: 'ä', d: \"x\"}\n  - e: |\n      one\n      two\n---\n{\"f\": [1, 2]}\n";
        let located = read_located(text);
        assert_eq!(located.broken, None);
        let [first, second] = located.documents.as_slice() else {
            panic!("{}", located.documents.len());
        };
        assert_eq!(first.place, place(2, 1));
        let items = first.get("b").unwrap().items();
        assert_eq!(items[0].get("d").unwrap().place, place(4, 17));
        let block = items[1].get("e").unwrap();
        assert_eq!((block.text(), block.place), ("one\ntwo\n", place(6, 7)));
        assert!(block.scalar().unwrap().is_block);
        assert_eq!(second.get("f").unwrap().items()[1].place, place(9, 11));
    }

    #[test]
    fn a_broken_document_takes_no_other_with_it() {
        let located = read_located("a: 1\n---\nb: [1\n---\nc: 3\n");
        let documents: Vec<_> = located
            .documents
            .iter()
            .map(|node| node.entries()[0].0.text())
            .collect();
        assert_eq!(documents, ["a", "c"]);
        assert!(
            located
                .broken
                .is_some_and(|place| (3..=4).contains(&place.line))
        );
    }

    #[test]
    fn equal_keys_aliases_and_merges_are_read() {
        let located = read_located("x: &x {k: 1, m: 2}\ny: {<<: *x, k: 3}\nz: *x\nz: 4\n");
        let root = &located.documents[0];
        let y = root.get("y").unwrap();
        assert_eq!(
            (y.get("k").unwrap().text(), y.get("m").unwrap().text()),
            ("3", "2")
        );
        assert_eq!(root.get("z").unwrap().get("m").unwrap().text(), "2");
        assert_eq!(root.entries().len(), 4);
    }

    #[test]
    fn hostile_input_ends_quickly() {
        let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
        for level in 1..12 {
            let alias = format!("*a{},", level - 1).repeat(10);
            bomb += &format!("a{level}: &a{level} [{alias}]\n");
        }
        assert!(read_located(&bomb).broken.is_some());
        assert!(read_located(&"[".repeat(100_000)).broken.is_some());
        assert!(read_located(&"{a: ".repeat(1_000)).broken.is_some());
        assert!(read_located("a: *b").broken.is_some());
        assert!(read_located("").documents.is_empty());
    }
}
