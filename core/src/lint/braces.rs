//! Templates in YAML: what stands in braces is code of another program, so it is taken out before
//! the rest is read.

/// Stands for each character of an action, so that lines and columns stay as they were.
pub(crate) const HOLE: char = '\u{e000}';

/// The text with a hole instead of every `{{ action }}`. Lines of nothing else become empty.
pub(crate) fn without_actions(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("{{") {
        let (before, action) = rest.split_at(start);
        out.push_str(before);
        let end = if action[2..].trim_start_matches(['-', ' ']).starts_with("/*") {
            action
                .find("*/")
                .and_then(|at| Some(at + action[at..].find("}}")?))
        } else {
            action.find("}}")
        };
        let end = end.map_or(action.len(), |end| end + 2);
        let holes = action[..end].chars();
        out.extend(holes.map(|character| if character == '\n' { '\n' } else { HOLE }));
        rest = &action[end..];
    }
    out.push_str(rest);
    let lines = out.split_inclusive('\n').map(|line| {
        let is_code =
            line.contains(HOLE) && line.trim_matches([HOLE, ' ', '\t', '\r', '\n']).is_empty();
        match (is_code, line.ends_with('\n')) {
            (false, _) => line,
            (true, true) => "\n",
            (true, false) => "",
        }
    });
    lines.collect()
}

/// Does a program fill in a part of this text before the cluster sees it: Helm, or Flux with
/// `${NAME}`?
pub(super) fn is_filled_in(text: &str) -> bool {
    text.contains(HOLE)
        || (text.contains("{{") && text.contains("}}"))
        || text.split("${").skip(1).any(|rest| {
            let name = rest.split(['}', ':']).next().unwrap_or_default();
            let letters = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
            rest.contains('}') && !name.is_empty() && name.bytes().all(letters)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_leave_lines_and_columns_alone() {
        let text = "{{- if .x }}\na: {{ .y }} # z\n{{/* a }} b\n*/}}\n  {{ toYaml . | nindent 2 }}\nb: 1\n";
        let out = without_actions(text);
        assert_eq!(out.lines().count(), text.lines().count());
        let hole = HOLE.to_string().repeat(8);
        assert_eq!(out, format!("\na: {hole} # z\n\n\n\nb: 1\n"));
        assert_eq!(
            without_actions("a: {{ open"),
            format!("a: {}", HOLE.to_string().repeat(7))
        );
        assert_eq!(without_actions("{{ ä"), "");
    }

    #[test]
    fn only_what_is_filled_in_counts() {
        for text in ["{{ .x }}", "a${NAME}b", "${name:=x}"] {
            assert!(is_filled_in(text), "{text}");
        }
        for text in ["{{", "$NAME", "${}", "${a b}"] {
            assert!(!is_filled_in(text), "{text}");
        }
    }
}
