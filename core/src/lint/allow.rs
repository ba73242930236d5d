//! `# seal:allow REASON` on the line before a document, a key or anything else: what begins there
//! is allowed, with everything that is indented below it.

use std::ops::Range;

use super::{Finding, Rule};
use crate::manifest::Place;

const MARK: &str = "seal:allow";

/// The lines that comments allow.
#[derive(Default)]
pub struct Allowed {
    lines: Vec<Range<usize>>,
    without_reason: Vec<Place>,
}

impl Allowed {
    /// What the comments of a text say.
    pub fn of(text: &str) -> Self {
        let mut allowed = Self::default();
        if !text.contains(MARK) {
            return allowed;
        }
        let lines: Vec<&str> = text.lines().collect();
        let mut at = 0;
        while at < lines.len() {
            let Some(reason) = reason(lines[at]) else {
                at += 1;
                continue;
            };
            // With the other comments up to what it is about: each line is looked at once.
            let passed = |line: &&&str| {
                comment(line).is_some() || line.trim().is_empty() || is_separator(line)
            };
            let start = at + lines[at..].iter().take_while(passed).count();
            let mut is_given = !reason.is_empty();
            for (number, line) in lines.iter().enumerate().take(start).skip(at) {
                match self::reason(line) {
                    Some("") => {
                        let indent = line
                            .chars()
                            .take_while(|character| character.is_whitespace());
                        let (line, column) = (number + 1, indent.count() + 1);
                        allowed.without_reason.push(Place { line, column });
                    }
                    given => is_given |= given.is_some(),
                }
            }
            if is_given && start < lines.len() {
                allowed.lines.push(start + 1..end_of(&lines, start) + 1);
            }
            at = start.max(at + 1);
        }
        allowed
    }

    /// Is a line allowed? Lines count from 1.
    pub fn holds(&self, line: usize) -> bool {
        self.lines.iter().any(|lines| lines.contains(&line))
    }

    pub(super) fn without_reason(self) -> impl Iterator<Item = Finding> {
        self.without_reason.into_iter().map(|place| {
            let message = "seal:allow without a reason allows nothing".to_owned();
            Finding::new(Rule::AllowWithoutReason, place, message, &[])
        })
    }
}

/// The text of a line that is a comment, in the languages that have such lines.
fn comment(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let marks = ["#", "//", "--", ";", "<!--", "/*", "{{/*", "{{- /*"];
    let is_separator = is_separator(line);
    let mut rests = marks.iter().filter_map(|mark| line.strip_prefix(mark));
    rests.next().filter(|_| !is_separator)
}

/// The reason that a comment gives, which may be empty.
fn reason(line: &str) -> Option<&str> {
    let text = comment(line)?.trim_start_matches(['#', '/', '-', ' ', '\t']);
    let reason = text.strip_prefix(MARK)?;
    let reason = ["-->", "*/ -}}", "*/}}", "*/ }}", "*/"]
        .iter()
        .fold(reason.trim(), |reason, end| reason.trim_end_matches(end))
        .trim_end();
    // Another word that begins alike is none.
    let begins = text[MARK.len()..].chars().next();
    begins
        .is_none_or(|next| !next.is_alphanumeric() && next != '-')
        .then(|| reason.trim_start_matches([':', ' ']))
}

fn is_separator(line: &str) -> bool {
    line.trim_end() == "---" || line.starts_with("--- ")
}

/// The line after what begins at `start`: the whole document where that is its first line.
fn end_of(lines: &[&str], start: usize) -> usize {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let before = lines[..start].iter().rev();
    let mut before = before.skip_while(|line| line.trim().is_empty() || (comment(line).is_some()));
    let begins_document = before.next().is_none_or(|line| is_separator(line));
    let own = indent(lines[start]);
    let is_end = |line: &&str| {
        if begins_document && own == 0 {
            return is_separator(line);
        }
        !line.trim().is_empty() && (indent(line) <= own || is_separator(line))
    };
    let after = &lines[start + 1..];
    start + 1 + after.iter().position(is_end).unwrap_or(after.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<usize> {
        let allowed = Allowed::of(text);
        (1..=text.lines().count())
            .filter(|line| allowed.holds(*line))
            .collect()
    }

    #[test]
    fn a_comment_allows_what_begins_below_it() {
        assert_eq!(
            lines("# seal:allow test\na: 1\nb:\n  c: 2\n---\nd: 1\n"),
            [2, 3, 4]
        );
        assert_eq!(
            lines("a: 1\n---\n# other\n# seal:allow test\n# more\nb: 1\nc: 2\n"),
            [6, 7]
        );
        assert_eq!(lines("# seal:allow test\n---\nb: 1\n"), [3]);
        assert_eq!(
            lines("data:\n  # seal:allow test\n  a: |\n    x\n\n    y\n  b: 2\n"),
            [3, 4, 5, 6]
        );
        assert_eq!(
            lines("x = 1\n// seal:allow test\nkey = 2\nother = 3\n"),
            [3]
        );
    }

    #[test]
    fn without_a_reason_nothing_is_allowed() {
        for text in [
            "# seal:allow\na: 1\n",
            "  #seal:allow  \na: 1\n",
            "<!-- seal:allow -->\na: 1\n",
        ] {
            assert_eq!(lines(text), [0; 0], "{text}");
            assert_eq!(Allowed::of(text).without_reason().count(), 1, "{text}");
        }
        for text in [
            "# seal:allowed x\na: 1\n",
            "a: seal:allow x\nb: 1\n",
            "# see seal:allow x\na: 1\n",
        ] {
            assert_eq!(lines(text), [0; 0], "{text}");
            assert_eq!(Allowed::of(text).without_reason().count(), 0, "{text}");
        }
    }
}
