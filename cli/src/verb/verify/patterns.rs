//! How the patterns of two rules relate, as far as their text tells.

/// Does the first match every path that the second matches? `false` where that is not certain.
pub(super) fn covers(pattern: &str, other: &str) -> bool {
    let (pattern, other) = (Parsed::of(pattern), Parsed::of(other));
    let is_folder = pattern.is_anchored && pattern.names.len() == pattern.literal;
    pattern == other || is_folder && other.literal().starts_with(pattern.literal())
}

/// Is there a path that both match? `true` where that is not certain.
pub(super) fn may_overlap(one: &str, other: &str) -> bool {
    let (one, other) = (Parsed::of(one), Parsed::of(other));
    let mut names = one.literal().iter().zip(other.literal());
    names.all(|(one, other)| one == other)
}

/// Is a rule for these branches for all that another one is for? None stands for all.
pub(super) fn cover_branches(branches: &[String], others: &[String]) -> bool {
    let are_all = !others.is_empty() && others.iter().all(|other| branches.contains(other));
    branches.is_empty() || are_all
}

/// Is there a branch that both rules are for? `true` where that is not certain.
pub(super) fn may_share_branch(branches: &[String], others: &[String]) -> bool {
    let anchored = |branch: &String| format!("/{branch}");
    let may_match = |one: &String| {
        let mut others = others.iter();
        others.any(|other| may_overlap(&anchored(one), &anchored(other)))
    };
    branches.is_empty() || others.is_empty() || branches.iter().any(may_match)
}

/// A pattern, as `.gitignore` reads it.
#[derive(PartialEq)]
struct Parsed<'a> {
    /// Does it hold for paths from the root alone?
    is_anchored: bool,
    /// Names of its path, without `**` at the end.
    names: Vec<&'a str>,
    /// How many of them, from the root, are no globs.
    literal: usize,
}

impl<'a> Parsed<'a> {
    fn of(pattern: &'a str) -> Self {
        let pattern = pattern.trim_end_matches('/');
        let is_anchored = pattern.contains('/');
        let pattern = pattern.strip_prefix('/').unwrap_or(pattern);
        let pattern = pattern.strip_suffix("/**").unwrap_or(pattern);
        let names: Vec<&str> = pattern.split('/').collect();
        let is_literal = |name: &&&str| !name.contains(['*', '?', '[', ']', '{', '}', '\\']);
        let literal = names.iter().take_while(is_literal).count();
        Self {
            is_anchored,
            literal: if is_anchored { literal } else { 0 },
            names,
        }
    }

    fn literal(&self) -> &[&'a str] {
        &self.names[..self.literal]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_compared_by_their_text() {
        // Covers, and may overlap.
        let table = [
            ("a/b", "a/b/**", true, true),
            ("/a", "a/b/c.yaml", true, true),
            ("/a/", "a/*.yaml", true, true),
            ("a/b/c", "a/b", false, true),
            ("a/b/**", "a/bc/**", false, false),
            ("/a", "b/a", false, false),
            ("a", "a", true, true),
            ("a", "b/a", false, true),
            ("*.yaml", "a/b", false, true),
            ("a/*/c", "a/b/c", false, true),
            ("a/*/c", "b/*/c", false, false),
            ("{a,b}/c", "b/c", false, true),
        ];
        for (one, other, does_cover, overlaps) in table {
            assert_eq!(covers(one, other), does_cover, "{one} {other}");
            assert_eq!(may_overlap(one, other), overlaps, "{one} {other}");
            assert_eq!(may_overlap(other, one), overlaps, "{one} {other}");
        }
    }
}
