//! The graph as a picture: a flowchart of Mermaid, which Git hosts and editors draw.

use std::collections::BTreeMap;

use super::answer::{Answer, loud, wanted, within};
use super::story::Story;
use crate::terminal::shown;

/// Nodes by their text, each once, and arrows.
#[derive(Default)]
struct Chart {
    nodes: BTreeMap<String, usize>,
    lines: String,
    exposed: Vec<String>,
}

impl Chart {
    /// The name of a node; a new one is drawn.
    fn node(&mut self, lines: &[String], is_exposed: bool) -> String {
        let text: Vec<String> = lines.iter().map(|line| escaped(line)).collect();
        let text = text.join("<br>");
        let next = self.nodes.len();
        let number = *self.nodes.entry(text.clone()).or_insert(next);
        let name = format!("n{number}");
        if number == next {
            self.lines += &format!("  {name}[\"{text}\"]\n");
        }
        if is_exposed && !self.exposed.contains(&name) {
            self.exposed.push(name.clone());
        }
        name
    }
}

/// What makes each Secret stands left of it, what uses it right.
pub(super) fn mermaid(answer: &Answer<'_>, stories: &Story) -> String {
    let mut chart = Chart::default();
    for part in &answer.parts {
        let is_exposed = part.used.iter().any(|used| used.exposed.is_some());
        let secret = chart.node(&[format!("Secret {}", part.title())], is_exposed);
        for made in &part.made {
            let provider = made.provider;
            let place = answer.place(provider.file, provider.place.line);
            let title = format!("{} {}", provider.object.kind, provider.object.title());
            let mut lines = vec![title, format!("{place}{}", within(&made.clusters))];
            for number in &made.values {
                let since = stories.since(*number).map(|since| format!(": {since}"));
                let state = loud(stories.states.get(number).copied());
                let key = &answer.held[*number].key;
                lines.push(format!("{key}{}{state}", since.unwrap_or_default()));
            }
            let is_exposed = made.values.iter().any(|it| stories.states.contains_key(it));
            let maker = chart.node(&lines, is_exposed);
            chart.lines += &format!("  {maker} --> {secret}\n");
        }
        for used in &part.used {
            let it = used.reference;
            let title = format!("{} {}", it.object.kind, it.object.title());
            // A workload is one node, however often it refers to Secrets.
            let file = shown(&answer.files[it.file].place.given);
            let place = format!("{file}{}", within(&used.clusters));
            let user = chart.node(&[title, place], used.exposed.is_some());
            let label = escaped(&format!("{}, {}", wanted(it), it.how));
            let (arrow, state) = match used.missing {
                Some(_) => ("-.->", ": MISSING"),
                None => ("-->", ""),
            };
            chart.lines += &format!("  {secret} {arrow}|\"{label}{state}\"| {user}\n");
        }
    }
    let mut text = format!("flowchart LR\n{}", chart.lines);
    if !chart.exposed.is_empty() {
        text += "  classDef exposed fill:#fee2e2,stroke:#b91c1c,color:#7f1d1d\n";
        text += &format!("  class {} exposed\n", chart.exposed.join(","));
    }
    text
}

/// Text that Mermaid shows as it is.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for character in text.chars() {
        if character.is_ascii_alphanumeric() || " -_./:,()".contains(character) {
            out.push(character);
        } else {
            out += &format!("#{};", u32::from(character));
        }
    }
    out
}
