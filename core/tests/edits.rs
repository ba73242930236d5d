//! Edits in place, over generated layouts: exactly the lines that an edit is about change, whatever
//! the quoting, comments, line ends and other documents are; or it is refused.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use sealkit_core::keys::{Identity, KeyType, RecipientSet};
use sealkit_core::manifest::{Document, SealedEdit, edit_sealed, read_documents};
use sealkit_core::sealed::{Context, Scope, Sealed, seal};
use serde_json::Value;
use zeroize::Zeroizing;

/// What a line belongs to; nothing: no edit may touch it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Owner {
    Nobody,
    Section(&'static str),
    Key(String),
    Envelope(String),
}

/// How a file is laid out.
#[expect(clippy::struct_excessive_bools, reason = "each is a choice of its own")]
#[derive(Clone, Debug)]
struct Layout {
    keys: BTreeSet<String>,
    crlf: bool,
    bom: bool,
    last_line_feed: bool,
    before: bool,
    after: bool,
    indent: usize,
    flow_recipients: bool,
    key_first: bool,
    values_first: bool,
    /// For each line that could have one.
    comments: Vec<u8>,
    /// What makes a refusal legal.
    hostile: Option<Hostile>,
}

#[derive(Clone, Copy, Debug)]
enum Hostile {
    /// `encryptedData: {…}` on one line.
    Flow,
    /// An anchor on an envelope.
    Anchor,
    /// A tag on a value.
    Tag,
    /// The whole spec indented with one space more in the middle of a section.
    Comments,
}

fn layout() -> impl Strategy<Value = Layout> {
    let keys = proptest::collection::btree_set("[-_.a-zA-Z0-9]{1,12}", 1..5);
    let hostile = prop_oneof![
        6 => Just(None),
        1 => Just(Some(Hostile::Flow)),
        1 => Just(Some(Hostile::Anchor)),
        1 => Just(Some(Hostile::Tag)),
        1 => Just(Some(Hostile::Comments)),
    ];
    let flags = proptest::collection::vec(any::<bool>(), 8);
    let comments = proptest::collection::vec(any::<u8>(), 40);
    (keys, flags, 1_usize..3, comments, hostile).prop_map(
        |(keys, flags, half, comments, hostile)| {
            let usable = |key: &String| sealkit_core::names::is_secret_key(key);
            Layout {
                keys: keys.into_iter().filter(usable).collect(),
                crlf: flags[0],
                bom: flags[1],
                last_line_feed: flags[2],
                before: flags[3],
                after: flags[4],
                indent: half * 2,
                flow_recipients: flags[5],
                key_first: flags[6],
                values_first: flags[7],
                comments,
                hostile,
            }
        },
    )
}

/// One envelope with a value under each of these keys.
fn sealed(keys: &[&str]) -> Sealed {
    let identity = Identity::generate(KeyType::Classic);
    let set = RecipientSet::new([identity.recipient().clone()]).unwrap();
    let context = Context::new(Scope::Strict, "shop", "db").unwrap();
    let value = |key: &&str| ((*key).to_owned(), Zeroizing::new(key.as_bytes().to_vec()));
    seal(&keys.iter().map(value).collect(), &context, &set, false).unwrap()
}

/// The lines of a file, each with its owner.
struct Lines<'a> {
    layout: &'a Layout,
    lines: Vec<(Owner, String)>,
}

impl Lines<'_> {
    fn comment(&self) -> u8 {
        self.layout.comments[self.lines.len() % self.layout.comments.len()]
    }

    /// A line, now and then with one above it and a comment behind.
    fn push(&mut self, owner: Owner, text: String) {
        match self.comment() % 8 {
            0 => self
                .lines
                .push((Owner::Nobody, "    # a note: of somebody".to_owned())),
            1 => self.lines.push((Owner::Nobody, String::new())),
            _ => {}
        }
        let behind = if self.comment().is_multiple_of(5) {
            " # keep me"
        } else {
            ""
        };
        self.lines.push((owner, text + behind));
    }

    fn section(&mut self, name: &'static str) {
        self.push(Owner::Section(name), format!("  {name}:"));
    }

    /// A key in one of YAML's spellings.
    fn spelled(&self, key: &str) -> String {
        match self.comment() % 3 {
            0 => format!("\"{key}\""),
            1 => format!("'{key}'"),
            _ => serde_json::json!(key).to_string(),
        }
    }

    fn values(&mut self, all: &[(String, String)]) {
        if matches!(self.layout.hostile, Some(Hostile::Flow)) {
            let all = all.iter().map(|(key, value)| format!("\"{key}\": {value}"));
            let text = format!(
                "  encryptedData: {{{}}}",
                all.collect::<Vec<_>>().join(", ")
            );
            return self.lines.push((Owner::Section("encryptedData"), text));
        }
        self.section("encryptedData");
        for (index, (key, value)) in all.iter().enumerate() {
            let pad = " ".repeat(2 + self.layout.indent);
            let tag = match self.layout.hostile {
                Some(Hostile::Tag) if index == 0 => "!!str ",
                _ => "",
            };
            let text = format!("{pad}{}: {tag}{value}", self.spelled(key));
            self.push(Owner::Key(key.clone()), text);
            if matches!(self.layout.hostile, Some(Hostile::Comments)) {
                self.lines
                    .push((Owner::Nobody, "# at the margin".to_owned()));
            }
        }
    }

    fn envelopes(&mut self, all: &[Sealed]) {
        self.section("envelopes");
        for (index, sealed) in all.iter().enumerate() {
            let owner = || Owner::Envelope(sealed.id.to_string());
            let (pad, inner) = (
                " ".repeat(2 + self.layout.indent),
                " ".repeat(2 + self.layout.indent * 2),
            );
            let anchor = match self.layout.hostile {
                Some(Hostile::Anchor) if index == 0 => " &a",
                _ => "",
            };
            self.push(owner(), format!("{pad}\"{}\":{anchor}", sealed.id));
            let hints = &sealed.envelope.recipients;
            let recipients = if self.layout.flow_recipients {
                vec![format!("{inner}recipients: [\"{}\"]", hints.join("\", \""))]
            } else {
                let items = hints.iter().map(|hint| format!("{inner}- \"{hint}\""));
                std::iter::once(format!("{inner}recipients:"))
                    .chain(items)
                    .collect()
            };
            let key = vec![format!("{inner}ageFile: {}", sealed.envelope.age_file)];
            let fields = if self.layout.key_first {
                [key, recipients]
            } else {
                [recipients, key]
            };
            for line in fields.into_iter().flatten() {
                self.lines.push((owner(), line));
            }
        }
    }
}

/// The text of a file, and its lines.
fn file(layout: &Layout, envelopes: &[Sealed]) -> (String, Vec<(Owner, String)>) {
    let mut file = Lines {
        layout,
        lines: Vec::new(),
    };
    let other = |file: &mut Lines<'_>, name: &str| {
        for line in [
            "apiVersion: v1",
            "kind: ConfigMap",
            "metadata: {name: &n other}",
            "data: # {",
            "  a: *n",
        ] {
            file.lines.push((Owner::Nobody, format!("{line} # {name}")));
        }
    };
    if layout.before {
        other(&mut file, "first");
        file.lines.push((Owner::Nobody, "---".to_owned()));
    }
    for line in [
        "apiVersion: sealkit.dev/v1beta1",
        "kind: SealedSecret",
        "metadata:",
        "  name: db",
        "  namespace: shop",
        "spec:",
        "  template: {metadata: {labels: {a: b}}}",
    ] {
        file.push(Owner::Nobody, line.to_owned());
    }
    let values: Vec<(String, String)> = envelopes
        .iter()
        .flat_map(|sealed| {
            sealed
                .values
                .iter()
                .map(|(key, text)| (key.clone(), text.clone()))
        })
        .collect();
    if layout.values_first {
        file.values(&values);
        file.envelopes(envelopes);
    } else {
        file.envelopes(envelopes);
        file.values(&values);
    }
    if layout.after {
        file.lines.push((Owner::Nobody, "---".to_owned()));
        other(&mut file, "last");
    }
    let lines = file.lines;
    let end = if layout.crlf { "\r\n" } else { "\n" };
    let mut text: String = if layout.bom {
        "\u{feff}".to_owned()
    } else {
        String::new()
    };
    for (_, line) in &lines {
        text.extend([line, end]);
    }
    if !layout.last_line_feed {
        text.truncate(text.trim_end_matches(['\r', '\n']).len());
    }
    (text, lines)
}

/// One of the edits that the tools make.
#[derive(Clone, Debug)]
enum Change {
    /// `seal set` of a key that is there, or of a new one.
    Set(prop::sample::Index, bool),
    /// `seal unset`.
    Unset(prop::sample::Index),
    /// `seal reseal`.
    Rewrap,
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        (any::<prop::sample::Index>(), any::<bool>()).prop_map(|(at, new)| Change::Set(at, new)),
        any::<prop::sample::Index>().prop_map(Change::Unset),
        Just(Change::Rewrap),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn exactly_the_lines_of_an_edit_change(layout in layout(), change in change()) {
        let keys: Vec<&str> = layout.keys.iter().map(String::as_str).collect();
        prop_assume!(!keys.is_empty());
        // Each key under its own envelope, as `seal set` leaves them.
        let envelopes: Vec<Sealed> = keys.iter().map(|key| sealed(&[key])).collect();
        let (text, lines) = file(&layout, &envelopes);
        let documents = read_documents(text.as_bytes()).unwrap();
        let index = documents.iter().position(Document::is_sealed_secret).unwrap();
        let mut edit = SealedEdit::default();
        let mut touched = BTreeSet::new();
        let mut inserted = 0;
        if matches!(layout.hostile, Some(Hostile::Flow)) {
            // One line, which may become several.
            touched.insert(Owner::Section("encryptedData"));
            inserted += 1;
        }
        match &change {
            Change::Set(at, is_new) => {
                let old = at.index(keys.len());
                let key = if *is_new { "brand-new" } else { keys[old] };
                prop_assume!(!is_new || !layout.keys.contains(key));
                edit.put(&sealed(&[key]));
                inserted += 5;
                if !is_new {
                    touched.extend([Owner::Key(key.to_owned()), Owner::Envelope(envelopes[old].id.to_string())]);
                }
            }
            Change::Unset(at) => {
                let old = at.index(keys.len());
                edit.values.insert(keys[old].to_owned(), None);
                touched.extend([Owner::Key(keys[old].to_owned()), Owner::Envelope(envelopes[old].id.to_string())]);
                if keys.len() == 1 {
                    touched.extend([Owner::Section("encryptedData"), Owner::Section("envelopes")]);
                    inserted += 2;
                }
            }
            Change::Rewrap => {
                for old in &envelopes {
                    edit.envelopes.insert(old.id.to_string(), sealed(&["x"]).envelope);
                    touched.insert(Owner::Envelope(old.id.to_string()));
                    inserted += 4;
                }
            }
        }
        let edits = BTreeMap::from([(index, edit.clone())]);
        let Ok(edited) = edit_sealed(&text, &documents, &edits) else {
            prop_assert!(layout.hostile.is_some(), "refused:\n{}", text);
            return Ok(());
        };
        let after = edited.text;

        // What nobody may touch is there, byte for byte and in its order.
        let mut stays: Vec<&str> = lines.iter().filter(|(owner, _)| !touched.contains(owner)).map(|(_, line)| line.as_str()).collect();
        // But that a text without a line feed at its end keeps none.
        while !layout.last_line_feed && stays.last() == Some(&"") {
            stays.pop();
            inserted += 1;
        }
        let new_lines: Vec<&str> = after.trim_start_matches('\u{feff}').lines().collect();
        let mut rest = new_lines.iter();
        for line in &stays {
            prop_assert!(rest.any(|new| new == line), "lost {:?} of\n{}\nin\n{}", line, text, after);
        }
        prop_assert!(new_lines.len() <= stays.len() + inserted, "more than was asked for:\n{}", after);
        prop_assert_eq!(after.starts_with('\u{feff}'), layout.bom);
        prop_assert_eq!(after.ends_with('\n'), layout.last_line_feed);
        let carriage_returns = after.matches("\r\n").count();
        prop_assert_eq!(carriage_returns, if layout.crlf { after.matches('\n').count() } else { 0 });

        // And it says what was meant.
        let read = read_documents(after.as_bytes()).unwrap();
        prop_assert_eq!(read.len(), documents.len());
        let values = |document: &Document| -> BTreeMap<String, Value> {
            let values = document.object["spec"]["encryptedData"].as_object().unwrap();
            values.clone().into_iter().collect()
        };
        let mut expected = values(&documents[index]);
        for (key, value) in &edit.values {
            match value {
                Some(value) => expected.insert(key.clone(), value.clone().into()),
                None => expected.remove(key),
            };
        }
        prop_assert_eq!(values(&read[index]), expected);
        for (id, envelope) in &edit.envelopes {
            prop_assert_eq!(&read[index].object["spec"]["envelopes"][id], &serde_json::json!(envelope));
        }
        prop_assert_eq!(&read[index].object["spec"]["template"], &documents[index].object["spec"]["template"]);
        for (number, document) in documents.iter().enumerate().filter(|(number, _)| *number != index) {
            prop_assert_eq!(&read[number].object, &document.object);
        }
    }
}
