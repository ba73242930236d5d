//! Figures, and the report made of them.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use crate::{Result, Scale, machine};

/// One line of the report.
#[derive(Debug, Serialize)]
pub struct Figure {
    /// The part of the benchmark: a heading.
    part: &'static str,
    /// What was measured.
    what: String,
    /// Sealkit's value.
    measured: Quantity,
    /// The peer's value in the same run.
    peer: Option<Quantity>,
    /// Sealkit's value against the peer's, in the direction of the target.
    ratio: Option<f64>,
    /// What it should be; a line without target is for information.
    pub target: Option<Target>,
    /// Does it hold?
    met: Option<bool>,
}

/// A value with its unit.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(tag = "unit", content = "value", rename_all = "camelCase")]
pub enum Quantity {
    /// Time.
    Seconds(f64),
    /// Memory.
    Bytes(u64),
    /// How many.
    Count(usize),
    /// Speed.
    PerSecond(f64),
}

/// What a figure should be.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(tag = "kind", content = "value", rename_all = "camelCase")]
pub enum Target {
    /// The peer needs at least this many times as much.
    TimesLess(f64),
    /// At most this share of the peer's.
    AtMostShare(f64),
    /// At least this share of the peer's.
    AtLeastShare(f64),
    /// At most this.
    AtMost(Quantity),
}

impl Figure {
    /// For information.
    pub fn note(part: &'static str, what: impl Into<String>, measured: Quantity) -> Self {
        let what = what.into();
        Self {
            part,
            what,
            measured,
            peer: None,
            ratio: None,
            target: None,
            met: None,
        }
    }

    /// Against a fixed limit.
    pub fn limited(
        part: &'static str,
        what: impl Into<String>,
        measured: Quantity,
        limit: Quantity,
    ) -> Self {
        Self {
            met: Some(measured.number() <= limit.number()),
            target: Some(Target::AtMost(limit)),
            ..Self::note(part, what, measured)
        }
    }

    /// Against a peer.
    pub fn against(
        part: &'static str,
        what: impl Into<String>,
        measured: Quantity,
        peer: Quantity,
        target: Option<Target>,
    ) -> Self {
        let (ours, theirs) = (measured.number(), peer.number());
        let (ratio, met) = match target {
            None => (ours / theirs, None),
            Some(Target::TimesLess(times)) => (theirs / ours, Some(theirs / ours >= times)),
            Some(Target::AtMostShare(share)) => (ours / theirs, Some(ours / theirs <= share)),
            Some(Target::AtLeastShare(share)) => (ours / theirs, Some(ours / theirs >= share)),
            Some(Target::AtMost(limit)) => (ours / theirs, Some(ours <= limit.number())),
        };
        let ratio = ratio.is_finite().then_some(ratio);
        Self {
            peer: Some(peer),
            ratio,
            target,
            met,
            ..Self::note(part, what, measured)
        }
    }

    fn row(&self) -> String {
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "–".to_owned());
        let result = match self.met {
            Some(true) => "ok",
            Some(false) => "**missed**",
            None => "",
        };
        format!(
            "| {} | {} | {} | {} | {} | {result} |",
            self.what,
            self.measured,
            or_dash(self.peer.map(|peer| peer.to_string())),
            or_dash(self.ratio.map(|ratio| format!("{ratio:.2}"))),
            or_dash(self.target.map(|target| target.to_string())),
        )
    }
}

impl From<Duration> for Quantity {
    fn from(time: Duration) -> Self {
        Self::Seconds(time.as_secs_f64())
    }
}

impl Quantity {
    #[expect(clippy::cast_precision_loss, reason = "for ratios")]
    fn number(self) -> f64 {
        match self {
            Self::Seconds(number) | Self::PerSecond(number) => number,
            Self::Bytes(number) => number as f64,
            Self::Count(number) => number as f64,
        }
    }
}

impl std::fmt::Display for Quantity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {
            Self::Seconds(time) if time < 1e-3 => write!(f, "{:.0} µs", time * 1e6),
            Self::Seconds(time) if time < 1.0 => write!(f, "{:.1} ms", time * 1e3),
            Self::Seconds(time) => write!(f, "{time:.2} s"),
            Self::Bytes(bytes) if bytes < 1_000_000 => write!(f, "{:.1} KB", self.number() / 1e3),
            Self::Bytes(_) => write!(f, "{:.1} MB", self.number() / 1e6),
            Self::Count(number) => write!(f, "{number}"),
            Self::PerSecond(speed) => write!(f, "{speed:.0}/s"),
        }
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TimesLess(times) => write!(f, "≥ {} × less", plain(*times)),
            Self::AtMostShare(share) => write!(f, "≤ {} × peer", plain(*share)),
            Self::AtLeastShare(share) => write!(f, "≥ {} × peer", plain(*share)),
            Self::AtMost(limit) => write!(f, "≤ {limit}"),
        }
    }
}

/// A number as people write it: at most two decimals, none that says nothing.
fn plain(number: f64) -> String {
    let text = format!("{number:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Does the document end with the method that this program follows?
pub fn has_method(document: &str) -> bool {
    document.ends_with(METHOD)
}

/// All figures of a run.
#[derive(Debug, Serialize)]
pub struct Report {
    command: String,
    date: String,
    machine: Vec<(String, String)>,
    full: bool,
    figures: Vec<Figure>,
}

impl Report {
    /// A report of this run.
    pub fn new(scale: Scale, figures: Vec<Figure>) -> Self {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        Self {
            command: format!(
                "cargo run --release -p sealkit-bench -- {}",
                arguments.join(" ")
            ),
            date: jiff::Zoned::now().date().to_string(),
            machine: machine::describe(),
            full: scale.is_full(),
            figures,
        }
    }

    /// The tables, a heading for each part.
    pub fn table(&self) -> String {
        let mut text = String::new();
        let mut part = "";
        for figure in &self.figures {
            if figure.part != part {
                part = figure.part;
                // Writing into memory cannot fail.
                let _ = write!(text, "\n## {part}\n\n{HEAD}\n");
            }
            text.push_str(&figure.row());
            text.push('\n');
        }
        text
    }

    /// The whole document.
    pub fn markdown(&self) -> String {
        let mut text = format!("{INTRODUCTION}\n    {}\n\n", self.command);
        let _ = writeln!(text, "| | |\n|---|---|\n| date | {} |", self.date);
        for (name, value) in &self.machine {
            let _ = writeln!(text, "| {name} | {value} |");
        }
        if !self.full {
            text.push_str("\n**Scaled down: these figures only show that the benchmark runs.**\n");
        }
        let judged = self
            .figures
            .iter()
            .filter(|figure| figure.met.is_some())
            .count();
        let met = self
            .figures
            .iter()
            .filter(|figure| figure.met == Some(true))
            .count();
        let _ = writeln!(text, "\n{met} of {judged} targets met.");
        text.push_str(&self.table());
        text.push_str(METHOD);
        text
    }

    /// Writes `target/bench/<name>.json` and returns its path.
    pub fn write_json(&self, name: &str) -> Result<PathBuf> {
        let folder = machine::target_dir()?.join("bench");
        std::fs::create_dir_all(&folder)?;
        let path = folder.join(format!("{name}.json"));
        std::fs::write(&path, serde_json::to_vec_pretty(self)?)?;
        Ok(path)
    }
}

const HEAD: &str = "| what | Sealkit | peer | ratio | target | |\n|---|---|---|---|---|---|";

const INTRODUCTION: &str = "\
# Benchmarks

<!-- Written by `make bench`. Do not edit. -->

Every figure stands against a peer or a limit measured in the same run, on the same machine:
";

const METHOD: &str = include_str!("method.md");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_read_as_people_write_them() {
        for (target, text) in [
            (Target::AtMostShare(1.2 * 41.6 / 41.6), "≤ 1.2 × peer"),
            (Target::AtMostShare(1.0 / 3.0), "≤ 0.33 × peer"),
            (Target::AtLeastShare(5.0), "≥ 5 × peer"),
            (Target::TimesLess(200.0), "≥ 200 × less"),
            (Target::AtMost(Quantity::Seconds(0.05)), "≤ 50.0 ms"),
        ] {
            assert_eq!(target.to_string(), text);
        }
    }
}
