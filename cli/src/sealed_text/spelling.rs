//! The ways in which a text can be spelled so that other programs read the same: escaped, folded
//! over lines, in UTF-16, in Base64.

use std::borrow::Cow;

/// How often escapes may hide escapes.
const LAYERS: usize = 8;

/// The text without escapes, and without the zeros of UTF-16. What ends a word still ends it.
/// Whether a program would read an escape at that place does not matter here.
pub(super) fn unescaped(bytes: &[u8]) -> Cow<'_, [u8]> {
    let special = |byte: &u8| matches!(byte, 0 | b'\\' | b'%' | b'&');
    if !bytes.iter().any(special) {
        return Cow::Borrowed(bytes);
    }
    let mut text: Vec<u8> = bytes.iter().copied().filter(|byte| *byte != 0).collect();
    for _ in 0..LAYERS {
        let next = without_a_layer(&text);
        // Each escape is longer than what it stands for.
        if next.len() == text.len() {
            break;
        }
        text = next;
    }
    Cow::Owned(text)
}

fn without_a_layer(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        let read = match first {
            b'\\' => Some(backslash(after)),
            b'%' => digits(after, 2, 16),
            b'&' => entity(after),
            _ => None,
        };
        let (character, length) = read.unwrap_or((Some(*first), 0));
        out.extend(character);
        rest = &after[length..];
    }
    out
}

/// What a backslash and the text after it stand for, and the length of that text. Several
/// backslashes count as one: a text can hold a text that holds an escape.
fn backslash(after: &[u8]) -> (Option<u8>, usize) {
    let more = after.iter().take_while(|byte| **byte == b'\\').count();
    let text = &after[more..];
    let read = match text {
        [b'x', digits @ ..] => hex(digits, 2),
        [b'u', b'{', digits @ ..] => {
            let length = digits.iter().position(|byte| *byte == b'}');
            length
                .and_then(|length| hex(digits, length))
                .map(|(character, length)| (character, length + 2))
        }
        [b'u', digits @ ..] => hex(digits, 4),
        [b'U', digits @ ..] => hex(digits, 8),
        [b'0'..=b'3', b'0'..=b'7', b'0'..=b'7', ..] => {
            digits(text, 3, 8).map(|(character, length)| (character, length - 1))
        }
        [b'\n' | b'\r', ..] => {
            // The next line goes on here.
            let blank = |byte: &&u8| matches!(byte, b'\n' | b'\r' | b' ' | b'\t');
            Some((None, text.iter().take_while(blank).count() - 1))
        }
        // Line feeds, tabs and the like.
        [character, ..] if b"0abefnrtvNLP_".contains(character) => Some((Some(b' '), 0)),
        _ => None,
    };
    match (read, text.first()) {
        (Some((character, length)), _) => (character, more + 1 + length),
        (None, Some(character)) => (Some(*character), more + 1),
        (None, None) => (None, more),
    }
}

fn hex(text: &[u8], length: usize) -> Option<(Option<u8>, usize)> {
    digits(text, length, 16)
}

/// A character by its number. One that is not ASCII ends words, whichever it is.
fn digits(text: &[u8], length: usize, radix: u32) -> Option<(Option<u8>, usize)> {
    let number = str::from_utf8(text.get(..length)?).ok()?;
    let number = u32::from_str_radix(number, radix).ok()?;
    let ascii = u8::try_from(number).ok().filter(u8::is_ascii);
    Some((Some(ascii.unwrap_or(b' ')), length))
}

/// `&#115;` or `&#x73;`.
fn entity(after: &[u8]) -> Option<(Option<u8>, usize)> {
    let end = after.iter().take(12).position(|byte| *byte == b';')?;
    let (character, _) = match &after[..end] {
        [b'#', b'x' | b'X', number @ ..] => digits(number, number.len(), 16)?,
        [b'#', number @ ..] => digits(number, number.len(), 10)?,
        _ => return None,
    };
    Some((character, end + 1))
}

/// The text without what a sealed value cannot hold: lines, indents, quotes.
pub(super) fn joined(text: &[u8]) -> Vec<u8> {
    let kept = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    text.iter().copied().filter(kept).collect()
}

/// What each run of Base64 in a text decodes to, if it may hold a sealed value.
pub(super) fn decoded_runs(text: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let runs = text.split(|byte| sextet(*byte).is_none());
    let marked = runs.filter(|run| may_encode_value(run));
    marked.map(|run| decoded(run.iter().copied().filter_map(sextet)))
}

/// Has it `sk1.` in Base64, at one of the three places where that may begin?
pub(super) fn may_encode_value(text: &[u8]) -> bool {
    const MARKS: [&[u8]; 3] = [b"c2sxL", b"NrMS", b"zazEu"];
    let has = |mark: &&[u8]| text.windows(mark.len()).any(|window| window == *mark);
    MARKS.iter().any(has)
}

/// What a text decodes to if all of it is Base64 that was cut into pieces, from each of the four
/// characters where that may begin: the readable parts, since most of it is noise.
pub(super) fn decoded_whole(text: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    /// Shorter than any value; noise is never readable for so long.
    const PART: usize = 40;
    let is_noise = |byte: &u8| !matches!(byte, 0 | b'\t' | b'\n' | b'\r' | b' '..=b'~');
    let kept: Vec<u8> = text.iter().copied().filter_map(sextet).collect();
    (0..4).map(move |start| {
        let decoded = decoded(kept.iter().copied().skip(start));
        let parts = decoded.split(is_noise).filter(|part| part.len() >= PART);
        parts.collect::<Vec<&[u8]>>().join(&b' ')
    })
}

fn decoded(sextets: impl Iterator<Item = u8>) -> Vec<u8> {
    let mut out = Vec::new();
    let (mut bits, mut count) = (0_u32, 0);
    for value in sextets {
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push(u8::try_from(bits >> count & 0xff).unwrap_or_default());
        }
    }
    out
}

/// A character of either alphabet of Base64.
fn sextet(byte: u8) -> Option<u8> {
    match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' | b'-' => Some(62),
        b'/' | b'_' => Some(63),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_escape_is_read_wherever_it_stands() {
        for text in [
            r"sk1.a",
            r"\x73k1.a",
            r"\u0073k1\x2ea",
            r"\U00000073k1.\u{61}",
            r"\\\\u0073k1.a",
            r"\x5cu0073k1.a",
            r"%73%6b1.a",
            "&#115;&#x6b;1.a",
            r"\163k1.a",
            "sk1\\\n    .a",
            "sk1\\\r\n\t.a",
            r"s\k1.a",
            "s\0k\x001\0.\0a\0",
        ] {
            assert_eq!(&*unescaped(text.as_bytes()), b"sk1.a", "{text:?}");
        }
        // Words stay apart.
        assert_eq!(&*unescaped(br"a\nb\tc\u2028d"), b"a b c d");
        for odd in [
            "\\", "%", "%7", "&#;", "&#x", "\\u{", "\\u{}", "\\x7", "\\U0000", "\\9",
        ] {
            let _ = unescaped(odd.as_bytes());
        }
    }

    #[test]
    fn base64_is_decoded_in_pieces_and_as_a_whole() {
        use base64::Engine as _;
        use base64::prelude::BASE64_STANDARD;
        for before in ["", "x", "xy"] {
            let long = "c".repeat(40);
            let text = BASE64_STANDARD.encode(format!("{before}sk1.ab{long}"));
            let inside = format!("data: \"{text}\"\n");
            let has = |bytes: Vec<u8>| bytes.windows(7).any(|window| window == b"sk1.abc");
            assert!(decoded_runs(inside.as_bytes()).any(has), "{before}");
            let (one, two) = text.split_at(5);
            let folded = format!("data: >-\n  {one}\n  {two}\n");
            assert!(!decoded_runs(folded.as_bytes()).any(has));
            assert!(decoded_whole(folded.as_bytes()).any(has), "{before}");
        }
    }
}
