//! Writes YAML that all readers understand alike, including readers of YAML 1.1.

use std::io;

use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter};
use zeroize::{Zeroize, Zeroizing};

use crate::keys::Fingerprint;
use crate::sealed::EnvelopeId;

/// Writes objects as a YAML stream that readers of YAML 1.1 and 1.2 understand alike: whatever some
/// reader might take for a number, a bool, a date or null is quoted, and so are all envelope ids
/// and fingerprints.
///
/// Errors only if a value cannot be YAML at all, which does not happen with our objects.
pub fn to_yaml<T: Serialize>(objects: &[T]) -> Result<String, serde_saphyr::SerializeError> {
    let mut out = String::new();
    for object in objects {
        if !out.is_empty() {
            out.push_str("---\n");
        }
        let options = serde_saphyr::ser_options! {
            prefer_block_scalars: false,
        };
        for line in serde_saphyr::to_string_with_options(object, options)?.lines() {
            push_line(&mut out, line);
        }
    }
    Ok(out)
}

/// Like [`to_yaml`], but texts of several lines are blocks, so that a change of one line is one in
/// Git. A text whose block some reader might take for another text is quoted.
pub fn to_yaml_in_blocks<T: Serialize>(
    objects: &[T],
) -> Result<String, serde_saphyr::SerializeError> {
    let mut out = String::new();
    for line in to_yaml(objects)?.lines() {
        match block(line) {
            Some(block) => out.push_str(&block),
            None => out.extend([line, "\n"]),
        }
    }
    Ok(out)
}

/// The lines of a block instead of a line with a quoted text of several lines.
fn block(line: &str) -> Option<String> {
    let depth = line.len() - line.trim_start_matches(' ').len();
    let key = if line[depth..].starts_with('"') {
        // A quoted key ends with the first quote that no backslash hides.
        let inner = &line[depth + 1..];
        let mut hidden = false;
        let end = inner.find(|letter| {
            let is_end = letter == '"' && !hidden;
            hidden = letter == '\\' && !hidden;
            is_end
        });
        depth + 1 + end? + 1
    } else {
        depth + line[depth..].find(": ")?
    };
    let quoted = line[key..].strip_prefix(": ")?;
    if line[depth..].starts_with("- ") || !quoted.starts_with('"') || !quoted.contains("\\n") {
        return None;
    }
    let text: String = serde_saphyr::from_str(quoted).ok()?;
    let is_plain = |letter: char| {
        matches!(letter, '\n' | '\t') || !(letter.is_control() || is_no_yaml(letter))
    };
    let content = text.strip_suffix('\n').unwrap_or(&text);
    // Leading and trailing lines without content need marks that people get wrong.
    if content.starts_with(['\n', ' ', '\t'])
        || content.trim_end().len() < content.len()
        || !text.contains('\n')
        || !text.chars().all(is_plain)
    {
        return None;
    }
    let chomping = if text.ends_with('\n') { "" } else { "-" };
    let mut out = format!("{}: |{chomping}\n", &line[..key]);
    for line in content.split('\n') {
        if !line.is_empty() {
            out.extend(std::iter::repeat_n(' ', depth + 2));
            out.push_str(line);
        }
        out.push('\n');
    }
    Some(out)
}

/// Writes one object as YAML that a person can edit: texts of several lines are blocks. It reads
/// back the same, but is not meant for Git, since a value has several lines.
pub fn to_yaml_for_people<T: Serialize>(
    object: &T,
) -> Result<String, serde_saphyr::SerializeError> {
    let options = serde_saphyr::ser_options! {
        prefer_block_scalars: true,
    };
    serde_saphyr::to_string_with_options(object, options)
}

/// Writes objects as JSON: one object by itself, several as a `List`. The result is YAML too:
/// characters that readers of YAML refuse or fold are escaped.
pub fn to_json<T: Serialize>(objects: &[T]) -> Result<String, serde_json::Error> {
    let mut text = match objects {
        [object] => serde_json::to_string_pretty(object)?,
        items => serde_json::to_string_pretty(
            &serde_json::json!({"apiVersion": "v1", "kind": "List", "items": items}),
        )?,
    };
    text.push('\n');
    if !text.contains(is_no_yaml) {
        return Ok(text);
    }
    // They occur only in texts: the rest of JSON is ASCII.
    let mut escaped = String::with_capacity(text.len() * 6);
    for letter in text.chars() {
        if is_no_yaml(letter) {
            escaped.extend(format!("\\u{:04x}", u32::from(letter)).chars());
        } else {
            escaped.push(letter);
        }
    }
    // It may contain opened values.
    text.zeroize();
    Ok(escaped)
}

/// Compact JSON as Go writes it: sorted keys, and characters escaped that mean something in HTML. It
/// may be a secret.
pub fn to_go_json(value: &serde_json::Value) -> Zeroizing<String> {
    let mut text = Zeroizing::new(Vec::new());
    let mut writer = serde_json::Serializer::with_formatter(&mut *text, Go);
    // Writing a value into memory does not fail, and JSON is text.
    let _ = value.serialize(&mut writer);
    Zeroizing::new(String::from_utf8(std::mem::take(&mut *text)).unwrap_or_default())
}

/// See [`to_go_json`].
struct Go;

impl Formatter for Go {
    /// Go has exponents below 1e-6 and from 1e21 on only.
    fn write_f64<W: io::Write + ?Sized>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        let size = value.abs();
        if (1e-6..1e-4).contains(&size) || (1e16..1e21).contains(&size) {
            return write!(writer, "{value}");
        }
        CompactFormatter.write_f64(writer, value)
    }

    fn write_string_fragment<W: io::Write + ?Sized>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let is_escaped = |letter| matches!(letter, '<' | '>' | '&' | '\u{2028}' | '\u{2029}');
        for part in fragment.split_inclusive(is_escaped) {
            let letter = part
                .chars()
                .next_back()
                .filter(|letter| is_escaped(*letter));
            let plain = part.len() - letter.map_or(0, char::len_utf8);
            writer.write_all(&part.as_bytes()[..plain])?;
            if let Some(letter) = letter {
                write!(writer, "\\u{:04x}", u32::from(letter))?;
            }
        }
        Ok(())
    }
}

/// Characters that are legal in JSON, but in YAML are illegal, a line break or ignored.
fn is_no_yaml(letter: char) -> bool {
    matches!(
        letter,
        '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}'
    )
}

/// Adds a line. Without block scalars, each line is one node. An id or a fingerprint is quoted
/// whatever its digits are, since the library only quotes what it finds ambiguous. If it leaves
/// digits alone bare, they are a number.
fn push_line(out: &mut String, line: &str) {
    let mut content = line.trim_start_matches(' ');
    while let Some(item) = content.strip_prefix("- ") {
        content = item.trim_start_matches(' ');
    }
    let (lead, text) = line.split_at(line.len() - content.len());
    let (text, tail) = text.strip_suffix(':').map_or((text, ""), |key| (key, ":"));
    let is_id = text.parse::<EnvelopeId>().is_ok() || text.parse::<Fingerprint>().is_ok();
    let number = text.bytes().all(|byte| byte.is_ascii_digit());
    out.push_str(lead);
    if is_id && !number {
        out.extend(["\"", text, "\""]);
    } else {
        out.push_str(text);
    }
    out.push_str(tail);
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::manifest::read_documents;

    #[test]
    fn what_readers_disagree_about_is_quoted() {
        let words = [
            "yes",
            "no",
            "on",
            "off",
            "y",
            "n",
            "true",
            "null",
            "~",
            "012",
            "0o14",
            "1e3",
            "0x1F",
            "1_000",
            "1.5",
            "12:30:45",
            "2001-01-01",
            ".inf",
            ".nan",
            "<<",
            "=",
            "",
        ];
        for word in words {
            let yaml = to_yaml(&[json!({"v": word, word: "x"})]).unwrap();
            let quoted = format!("\"{word}\"");
            assert!(yaml.contains(&format!("v: {quoted}\n")), "{yaml}");
            assert!(yaml.contains(&format!("{quoted}: x\n")), "{yaml}");
        }
    }

    #[test]
    fn ids_and_fingerprints_are_quoted() {
        for (id, print) in [
            (
                "dkygiqm6nibo27suvpmyknuwvetd3o33",
                "b99cab502b61ae411e7109b89c75b05a",
            ),
            (
                "22e45672345672345672345672345672",
                "12e45678901234561234567890123456",
            ),
            (
                "abcdefghijklmnopqrstuvwxyzabcdef",
                "abcdefabcdefabcdabcdefabcdefabcd",
            ),
            (
                "22345672345672345672345672345672",
                "12345678901234561234567890123456",
            ),
        ] {
            let yaml = |v: Value| to_yaml(&[v]).unwrap();
            let yaml = yaml(json!({"envelopes": {id: {"recipients": [print, print]}}}));
            let want = format!(
                "envelopes:\n  \"{id}\":\n    recipients:\n    - \"{print}\"\n    - \"{print}\"\n"
            );
            assert_eq!(yaml, want);
        }
    }

    #[test]
    fn numbers_as_long_as_an_id_stay_numbers() {
        let numbers = [8_888_888_888_888_888_i64, -9_999_999_999_999_999];
        let object = json!({"n": [numbers[0], numbers[1], "8888888888888888"]});
        let yaml = to_yaml(&[&object]).unwrap();
        assert_eq!(
            read_documents(yaml.as_bytes()).unwrap()[0].object,
            object,
            "{yaml}"
        );
    }

    #[test]
    fn a_text_of_several_lines_is_a_block_where_all_readers_agree() {
        let object = json!({"a.yaml": "x: 1\n\n  # y\n", "b": "a\nb", "one": "a\\nb"});
        let want = "a.yaml: |\n  x: 1\n\n    # y\nb: |-\n  a\n  b\none: ";
        let yaml = to_yaml_in_blocks(&[&object]).unwrap();
        assert!(yaml.starts_with(want), "{yaml}");
        assert_eq!(read_documents(yaml.as_bytes()).unwrap()[0].object, object);
        let object = json!({"\"q\\: x": "c: d\ne\n"});
        let yaml = to_yaml_in_blocks(&[&object]).unwrap();
        assert!(yaml.ends_with(": |\n  c: d\n  e\n"), "{yaml}");
        assert_eq!(read_documents(yaml.as_bytes()).unwrap()[0].object, object);
        for text in [
            " a\nb",
            "\na",
            "a\n\n",
            "a\r\nb",
            "a\n ",
            "a\u{85}\nb",
            "a\u{2028}\nb",
        ] {
            let yaml = to_yaml_in_blocks(&[json!({"k": text})]).unwrap();
            assert!(
                yaml.starts_with("k: \"") && yaml.lines().count() == 1,
                "{yaml}"
            );
        }
    }

    #[test]
    fn every_text_reads_back() {
        let texts = [
            "a\nb\n",
            "---",
            "...",
            "- a",
            "# a",
            "a # b",
            "a: b",
            "\u{1b}\u{7f}\u{85}\u{2028}\u{feff}\u{ffff}",
            " a ",
            "'",
            "\"",
            "\\",
            "é",
            "*a",
            "&a",
            "!a",
            "{",
            "[",
            "%",
            "@",
            "`",
            "\t",
            "a\r\n",
            "?",
            "-",
        ];
        for text in texts {
            let object = json!({"k": text, text: {"list": [text, {"a": text}]}});
            let written = [
                to_yaml(&[&object]).unwrap(),
                to_yaml_in_blocks(&[&object]).unwrap(),
                to_json(&[&object]).unwrap(),
                to_yaml_for_people(&object).unwrap(),
            ];
            for text in written {
                let read = read_documents(text.as_bytes()).unwrap();
                assert_eq!(read[0].object, object, "{text}");
            }
        }
    }
}
