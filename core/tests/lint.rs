//! A thousand Secrets, hidden anywhere in valid YAML: each is found, at its line and column.
#![expect(clippy::unwrap_used, reason = "a test that panics fails")]

use sealkit_core::lint::{FileKind, Rule, lint};

const SECRETS: u64 = 1_000;
const NEEDLE: &str = "needle-key";
const VALUE: &str = "cAnArY-9q2mX5";

/// xorshift64*: the same texts in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(high).unwrap() % bound
    }

    fn chance(&mut self, one_in: usize) -> bool {
        self.below(one_in) == 0
    }

    fn pick<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[self.below(all.len())]
    }
}

/// Lines of a block mapping, indented by nothing.
type Block = Vec<String>;

fn indented(block: &Block, spaces: usize) -> Block {
    let pad = " ".repeat(spaces);
    let lines = block.iter();
    lines
        .map(|line| {
            if line.is_empty() {
                String::new()
            } else {
                format!("{pad}{line}")
            }
        })
        .collect()
}

/// A Secret with one value under the needle, in any order and spelling.
fn secret(random: &mut Random) -> Block {
    let kind = random.pick(&[
        "Secret",
        "\"Secret\"",
        "'Secret'",
        "!!str Secret",
        "&kind Secret",
        "Secret # of the shop",
    ]);
    let (section, value) = if random.chance(2) {
        ("data", "Y0FuQXJZLTlxMm1YNQ==")
    } else {
        ("stringData", VALUE)
    };
    let entry = match random.below(6) {
        0 => vec![format!("{section}: {{{NEEDLE}: {value}}}")],
        1 => vec![format!("{section}: {{ \"{NEEDLE}\": \"{value}\" }}")],
        2 => vec![
            format!("{section}:"),
            format!("  {NEEDLE}: |-"),
            format!("    {value}"),
        ],
        3 => vec![
            format!("{section}:"),
            format!("    {NEEDLE}: >-"),
            String::new(),
            format!("      {value}"),
        ],
        4 => vec![
            format!("\"{section}\":"),
            format!("  '{NEEDLE}':"),
            format!("    '{value}'"),
        ],
        _ => vec![
            format!("{section}:"),
            "  # the value".to_owned(),
            format!("  {NEEDLE}: {value}"),
        ],
    };
    let mut annotations = vec![
        "metadata:".to_owned(),
        "  name: db".to_owned(),
        "  annotations:".to_owned(),
    ];
    let count = 1 + random.below(12);
    annotations.extend((0..count).map(|index| {
        format!(
            "    example.com/{index}: {}",
            "long".repeat(random.below(30) + 1)
        )
    }));
    let mut parts = [
        vec!["apiVersion: v1".to_owned()],
        vec![format!("kind: {kind}")],
        annotations,
        entry,
    ];
    for at in (1..parts.len()).rev() {
        parts.swap(at, random.below(at + 1));
    }
    parts.concat()
}

/// Another object, with words that look alike.
fn other(random: &mut Random) -> Block {
    let texts = [
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  kind: Secret\n  text: |\n    stringData:\n      a: b",
        "apiVersion: sealkit.dev/v1beta1\nkind: SealedSecret\nspec:\n  encryptedData:\n    a: sk1.x",
        "# kind: Secret\napiVersion: apps/v1\nkind: Deployment\nspec: {template: {spec: {volumes: [{name: s, secret: {secretName: db}}]}}}",
        "apiVersion: v1\nkind: Secret\nmetadata: {name: empty}\ndata: {}",
        "list:\n- 1\n- [a, {b: c}]\n-\n  - x\n- >\n  folded\n  text",
    ];
    random.pick(&texts).lines().map(str::to_owned).collect()
}

/// Puts an object somewhere else: into a List, another object, a string, JSON.
fn hidden(random: &mut Random, object: Block) -> Block {
    match random.below(6) {
        0 => {
            let mut lines = vec![
                "apiVersion: v1".to_owned(),
                "kind: List".to_owned(),
                "items:".to_owned(),
            ];
            for _ in 0..random.below(3) {
                lines.push("-".to_owned());
                lines.extend(indented(&other(random), 2));
            }
            lines.push("-".to_owned());
            lines.extend(indented(&object, 2));
            lines
        }
        1 => {
            let mut lines = vec![
                "kind: Object".to_owned(),
                "spec:".to_owned(),
                "  list:".to_owned(),
                "  - manifest:".to_owned(),
            ];
            lines.extend(indented(&object, 6));
            lines
        }
        2 => {
            let head = random.pick(&["|", "|-", "|+", "|2"]);
            let mut lines = vec![
                "kind: ConfigMap".to_owned(),
                "data:".to_owned(),
                format!("  m.yaml: {head}"),
            ];
            let spaces = if head == "|2" { 4 } else { 4 + random.below(3) };
            lines.extend(indented(&object, spaces));
            lines
        }
        _ => object,
    }
}

/// A stream with one Secret that has a value.
fn stream(random: &mut Random) -> String {
    let mut documents: Vec<Block> = (0..random.below(4)).map(|_| other(random)).collect();
    let at = random.below(documents.len() + 1);
    let object = secret(random);
    documents.insert(at, hidden(random, object));
    let mut text = String::new();
    for (index, document) in documents.iter().enumerate() {
        if index > 0 || random.chance(2) {
            text += random.pick(&[
                "---\n",
                "--- # next\n",
                "---\n# a comment\n\n",
                "...\n---\n",
            ]);
        }
        text += &document.join("\n");
        text += "\n";
    }
    if random.chance(5) {
        text = text.replace('\n', "\r\n");
    }
    if random.chance(10) {
        text.insert(0, '\u{feff}');
    }
    text
}

#[test]
fn a_thousand_hidden_secrets_are_found_where_they_are() {
    let mut random = Random(0x5eed);
    for index in 0..SECRETS {
        let text = stream(&mut random);
        let linted = lint(text.as_bytes(), FileKind::Manifest, &|_| None);
        let [finding] = linted.findings.as_slice() else {
            panic!("{index}: {:?}\n{text}", linted.findings);
        };
        assert_eq!(finding.rule, Rule::PlaintextSecret, "{index}:\n{text}");
        assert_eq!(finding.keys, [NEEDLE], "{index}:\n{text}");
        assert!(!format!("{finding:?}").contains(VALUE), "{finding:?}");
        let text = text.trim_start_matches('\u{feff}');
        let (line, whole) = text
            .lines()
            .enumerate()
            .find(|(_, line)| line.contains(NEEDLE))
            .unwrap();
        let column = whole.find(NEEDLE).unwrap();
        let quoted = whole[..column].ends_with(['"', '\'']);
        let expected = (line + 1, column + 1 - usize::from(quoted));
        assert_eq!(
            (finding.place.line, finding.place.column),
            expected,
            "{index}:\n{text}"
        );
        // Without its value, nothing is left.
        let empty = text
            .replace(VALUE, "'{{ .Values.x }}'")
            .replace("Y0FuQXJZLTlxMm1YNQ==", "");
        let left = lint(empty.as_bytes(), FileKind::Manifest, &|_| None).findings;
        assert!(
            left.iter()
                .all(|finding| finding.rule != Rule::PlaintextSecret),
            "{index}:\n{empty}"
        );
    }
}
