//! `--max-age`: how old values are, by Git's history. A value is as old as the first commit that has
//! its text. A reseal replaces envelopes and leaves that text, so it makes no value younger.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use jiff::{SignedDuration, Span, SpanRelativeTo, Timestamp};
use sealkit_core::manifest::Document;
use sealkit_core::names::printable;

use super::baseline::each_value;
use crate::error::Result;
use crate::git::history::{Commit, History};
use crate::git::repository::{Location, no_repository};
use crate::report::Finding;
use crate::sealed_text::{ValueId, values};
use crate::terminal::{Terminal, quoted};

/// Reads the age of a flag: `90d`, `12w`, `36h`.
pub(super) fn age(text: &str) -> std::result::Result<SignedDuration, String> {
    let span: Option<Span> = text.parse().ok();
    let age = span.and_then(|it| it.to_duration(SpanRelativeTo::days_are_24_hours()).ok());
    let age = age.filter(SignedDuration::is_positive);
    age.ok_or_else(|| "write it in days, weeks or hours: 90d, 12w, 36h".to_owned())
}

/// The values that were seen, and how old they may be.
pub(super) struct Ages {
    limit: SignedDuration,
    /// By the root of their repository.
    seen: BTreeMap<PathBuf, Vec<Seen>>,
}

struct Seen {
    /// What is found if it is too old, without words.
    finding: Finding,
    key: String,
    value: ValueId,
}

impl Ages {
    /// None are seen yet.
    pub fn new(limit: SignedDuration) -> Self {
        Self {
            limit,
            seen: BTreeMap::new(),
        }
    }

    /// Takes in the values of an object. One outside of a repository has no history, which is an error.
    pub fn take_in(&mut self, place: &Location, document: &Document) -> Result<()> {
        let root = place.root.clone().ok_or_else(no_repository)?;
        let seen = values(document).into_iter().map(|(key, value)| Seen {
            finding: Finding::new(&place.given, Some(document), "TooOld", String::new()),
            key,
            value,
        });
        self.seen.entry(root).or_default().extend(seen);
        Ok(())
    }

    /// The values that are too old. What no commit has yet is new. A shallow clone is an error.
    pub fn findings(self, terminal: Terminal) -> Result<Vec<Finding>> {
        let now = Timestamp::now().as_second();
        let mut findings = Vec::new();
        for (root, seen) in self.seen {
            let first = first_commits(&History::open(&root)?, &seen, terminal)?;
            for Seen {
                mut finding,
                key,
                value,
            } in seen
            {
                let Some(commit) = first.get(&value) else {
                    continue;
                };
                let age = SignedDuration::from_secs(now.saturating_sub(commit.time));
                if age > self.limit {
                    finding.detail = format!(
                        "the value of {} is {} old, since commit {}, and may be {} old: set another one, `seal set {} {}`",
                        printable(&key),
                        words(age),
                        commit.id.get(..12).unwrap_or_default(),
                        words(self.limit),
                        quoted(&finding.path),
                        quoted(&key)
                    );
                    findings.push(finding);
                }
            }
        }
        Ok(findings)
    }
}

/// The first commit of HEAD's history that has each of these values.
fn first_commits(
    history: &History,
    seen: &[Seen],
    terminal: Terminal,
) -> Result<HashMap<ValueId, Commit>> {
    let mut first: HashMap<ValueId, Option<Commit>> =
        seen.iter().map(|seen| (seen.value.clone(), None)).collect();
    // A repository without a commit has none.
    if let Ok(head) = history.commit("HEAD") {
        each_value(history, &head, terminal, |blob, value| {
            if let Some(known) = first.get_mut(&value)
                && known.as_ref().is_none_or(|known| blob.first < *known)
            {
                *known = Some(blob.first.clone());
            }
        })?;
    }
    let first = first.into_iter();
    Ok(first.filter_map(|(value, it)| Some((value, it?))).collect())
}

/// An age for people.
fn words(age: SignedDuration) -> String {
    let hours = age.as_hours();
    let (count, unit) = if hours >= 48 {
        (hours / 24, "day")
    } else {
        (hours, "hour")
    };
    let ending = if count == 1 { "" } else { "s" };
    format!("{count} {unit}{ending}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_days_weeks_or_hours() {
        for (text, hours, said) in [
            ("90d", 90 * 24, "90 days"),
            ("12w", 84 * 24, "84 days"),
            ("36h", 36, "36 hours"),
            ("1d", 24, "24 hours"),
            ("1h", 1, "1 hour"),
        ] {
            let age = age(text).unwrap();
            assert_eq!(age, SignedDuration::from_hours(hours), "{text}");
            assert_eq!(words(age), said);
        }
        for text in ["90", "", "-1d", "0d", "3mo", "1y", "soon"] {
            assert!(age(text).is_err(), "{text}");
        }
    }
}
