//! `sealkit-recipients`: the recipients to which a cluster may reseal besides its own keys.

use std::collections::{BTreeMap, BTreeSet};

use super::recipient::key_lines;
use super::{Fingerprint, KeyError, Recipient, parse_recipient_file};

/// The recipients to which a cluster may seal besides its own keys, and their successors: recovery
/// keys and sister clusters. The text form is the `data` of the ConfigMap `sealkit-recipients`:
/// each entry is a recipient file, except the entry `successors`, which has lines `OLD=recipient`,
/// where OLD is a fingerprint.
#[derive(Clone, Debug, Default)]
pub struct TrustedRecipients {
    recipients: BTreeMap<Fingerprint, Recipient>,
    successors: BTreeMap<Fingerprint, Recipient>,
    /// For each key with a successor, the key whose successor is the last of its chain.
    ends: BTreeMap<Fingerprint, Fingerprint>,
    /// Lines with keys.
    lines: usize,
}

/// What is wrong with an entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("entry {entry}: {cause}")]
pub struct TrustedError {
    /// Name of the entry.
    pub entry: String,
    /// What is wrong.
    pub cause: TrustedCause,
}

/// See [`TrustedError`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrustedCause {
    /// A key is refused.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Not `OLD=recipient`.
    #[error("line {0}: must be FINGERPRINT=RECIPIENT, with all 32 characters of the fingerprint")]
    Line(usize),
    /// Two successors of one key.
    #[error("{0} has two successors")]
    Twice(Fingerprint),
    /// Keys that follow each other in a circle.
    #[error("the successors of {0} lead back to it")]
    Circle(Fingerprint),
    /// Too many lines with keys.
    #[error(
        "all entries together may have at most {} lines with keys: remove what no envelope is sealed to any more",
        TrustedRecipients::LINES
    )]
    TooMany,
}

impl TrustedRecipients {
    /// Name of the ConfigMap in the controller's namespace.
    pub const NAME: &str = "sealkit-recipients";
    /// The entry that is not a recipient file.
    pub const SUCCESSORS: &str = "successors";
    /// Lines with keys that all entries may have together.
    pub const LINES: usize = 2_000;

    /// Reads all entries.
    pub fn parse(data: &BTreeMap<String, String>) -> Result<Self, TrustedError> {
        let mut trusted = Self::default();
        for (entry, text) in data {
            trusted.entry(entry, text).map_err(|cause| TrustedError {
                entry: crate::names::printable(entry),
                cause,
            })?;
        }
        trusted.ends = ends(&trusted.successors).map_err(|cause| TrustedError {
            entry: Self::SUCCESSORS.to_owned(),
            cause,
        })?;
        Ok(trusted)
    }

    fn entry(&mut self, entry: &str, text: &str) -> Result<(), TrustedCause> {
        // Before any of them is read.
        self.lines += key_lines(text).count();
        if self.lines > Self::LINES {
            return Err(TrustedCause::TooMany);
        }
        if entry != Self::SUCCESSORS {
            for recipient in parse_recipient_file(text)? {
                let fingerprint = recipient.fingerprint();
                let held = self.recipients.insert(fingerprint, recipient.clone());
                if held.is_some_and(|held| held != recipient) {
                    return Err(KeyError::FingerprintCollision(fingerprint).into());
                }
            }
            return Ok(());
        }
        for (number, line) in key_lines(text) {
            let (old, new) = line.split_once('=').ok_or(TrustedCause::Line(number))?;
            let old = old
                .trim()
                .parse()
                .map_err(|()| TrustedCause::Line(number))?;
            let new = new.trim().parse().map_err(|cause| KeyError::Line {
                line: number,
                cause: Box::new(cause),
            })?;
            if self.successors.insert(old, new).is_some() {
                return Err(TrustedCause::Twice(old));
            }
        }
        Ok(())
    }

    /// The recipient that takes the place of this one: its last successor, or itself if it has none
    /// and is trusted. `None` if it is unknown.
    pub fn successor(&self, fingerprint: &Fingerprint) -> Option<&Recipient> {
        match self.ends.get(fingerprint) {
            Some(end) => self.successors.get(end),
            None => self.recipients.get(fingerprint),
        }
    }

    /// All recipients in recipient files, by fingerprint.
    pub fn recipients(&self) -> impl Iterator<Item = &Recipient> {
        self.recipients.values()
    }

    /// The successors as they are written: old fingerprint and next recipient.
    pub fn successors(&self) -> impl Iterator<Item = (&Fingerprint, &Recipient)> {
        self.successors.iter()
    }
}

/// For each key with a successor, the key whose successor is the last of its chain. Each step is
/// taken once, however long the chains are.
fn ends(
    successors: &BTreeMap<Fingerprint, Recipient>,
) -> Result<BTreeMap<Fingerprint, Fingerprint>, TrustedCause> {
    let mut ends: BTreeMap<Fingerprint, Fingerprint> = BTreeMap::new();
    for start in successors.keys() {
        let mut passed = BTreeSet::new();
        let mut at = *start;
        let end = loop {
            if let Some(end) = ends.get(&at) {
                break *end;
            }
            if !passed.insert(at) {
                return Err(TrustedCause::Circle(at));
            }
            match successors.get(&at).map(Recipient::fingerprint) {
                Some(next) if successors.contains_key(&next) => at = next,
                _ => break at,
            }
        };
        ends.extend(passed.into_iter().map(|key| (key, end)));
    }
    Ok(ends)
}

/// Comment in a recipient file: the next key in it supersedes the key with this fingerprint (all 32
/// characters).
pub const SUPERSEDES: &str = "# supersedes: ";

/// The keys that a recipient file says are superseded, with their successors. Keys are not checked
/// here.
pub fn superseded(text: &str) -> Result<Vec<(Fingerprint, Recipient)>, TrustedCause> {
    let mut found = Vec::new();
    let mut waiting = Vec::new();
    let text = text.trim_start_matches('\u{feff}');
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if let Some(old) = line.strip_prefix(SUPERSEDES.trim_end()) {
            let old = old.trim().parse();
            waiting.push(old.map_err(|()| TrustedCause::Line(index + 1))?);
        } else if let Ok(recipient) = line.parse::<Recipient>() {
            found.extend(waiting.drain(..).map(|old| (old, recipient.clone())));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::{Identity, KeyType};

    #[test]
    fn successors_are_followed_to_the_last() {
        let keys: Vec<Recipient> = (0..4)
            .map(|_| Identity::generate(KeyType::Classic).recipient().clone())
            .collect();
        let print = |index: usize| keys[index].fingerprint();
        let parse = |file: &str, successors: String| {
            TrustedRecipients::parse(&BTreeMap::from([
                ("recovery.pub".to_owned(), file.to_owned()),
                ("successors".to_owned(), successors),
            ]))
        };
        let file = format!("# recovery\n{}\n{}\n", keys[0], keys[1]);
        let chain = format!(
            "{}={}\n# then\n{} = {}\n",
            print(0),
            keys[2],
            print(2),
            keys[3]
        );
        let trusted = parse(&file, chain).unwrap();
        let successor = |index| trusted.successor(&print(index)).map(Recipient::fingerprint);
        assert_eq!(successor(0), Some(print(3)));
        assert_eq!(successor(1), Some(print(1)), "trusted as it is");
        assert_eq!(successor(2), Some(print(3)));
        assert_eq!(successor(3), None, "not itself trusted");

        let circle = format!("{}={}\n{}={}\n", print(0), keys[2], print(2), keys[0]);
        let cause = |text: String| parse(&file, text).unwrap_err().cause;
        assert!(matches!(cause(circle), TrustedCause::Circle(_)));
        let twice = format!("{0}={1}\n{0}={2}\n", print(0), keys[2], keys[3]);
        assert_eq!(cause(twice), TrustedCause::Twice(print(0)));
        let short = format!("{}={}\n", print(0).short(), keys[2]);
        assert_eq!(cause(short), TrustedCause::Line(1));
        assert!(parse("x", String::new()).is_err());
    }

    /// Whoever may write the ConfigMap chooses how long its chains are.
    #[test]
    fn long_chains_are_followed_to_the_end_and_have_a_limit() {
        let keys: Vec<Recipient> = (0..=TrustedRecipients::LINES)
            .map(|_| Identity::generate(KeyType::Classic).recipient().clone())
            .collect();
        let line = |pair: &[Recipient]| format!("{}={}\n", pair[0].fingerprint(), pair[1]);
        let mut lines: Vec<String> = keys.windows(2).map(line).collect();
        let parse = |lines: &[String]| {
            let data = BTreeMap::from([("successors".to_owned(), lines.concat())]);
            TrustedRecipients::parse(&data)
        };
        let trusted = parse(&lines).unwrap();
        for key in &keys[..keys.len() - 1] {
            let last = trusted.successor(&key.fingerprint());
            assert_eq!(last, keys.last());
        }
        let last = keys.len() - 1;
        lines.push(format!("{}={}\n", keys[last].fingerprint(), keys[0]));
        let error = parse(&lines).unwrap_err();
        assert_eq!(error.cause, TrustedCause::TooMany);
        lines.remove(1);
        let chain = parse(&lines).unwrap();
        let end = chain.successor(&keys[2].fingerprint());
        assert_eq!(end, Some(&keys[1]), "the last leads to the first");
    }

    #[test]
    fn a_recipient_file_says_whom_its_keys_supersede() {
        let keys: Vec<Recipient> = (0..4)
            .map(|_| Identity::generate(KeyType::Classic).recipient().clone())
            .collect();
        let print = |index: usize| keys[index].fingerprint();
        let text = format!(
            "{}\n# a\n# supersedes: {}\n  # supersedes:{}\n{}\n# supersedes: {}\n",
            keys[0],
            print(2),
            print(3),
            keys[1],
            print(0)
        );
        let expected = [(print(2), keys[1].clone()), (print(3), keys[1].clone())];
        assert_eq!(superseded(&text).unwrap(), expected);
        assert_eq!(
            superseded("#\n# supersedes: 12\n"),
            Err(TrustedCause::Line(2))
        );
    }
}
