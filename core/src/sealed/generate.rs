//! Values that nobody has to see: drawn from the system's random source, each character of an alphabet
//! as likely as any other.

use std::fmt;
use std::str::FromStr;

use rand_core::{OsRng, RngCore};
use zeroize::Zeroizing;

/// Characters of a value if nobody says how many.
const LENGTH: usize = 32;
/// Characters that a value may have.
const LONGEST: usize = 4096;
/// What a value should be worth at least, in bits: fewer can be tried out.
const STRONG_BITS: f64 = 80.0;

/// Of which characters a value consists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alphabet {
    /// `A` to `Z`, `a` to `z`, `0` to `9`.
    Alphanumeric,
    /// `A` to `Z`, `a` to `z`.
    Letters,
    /// `0` to `9`.
    Digits,
    /// `0` to `9`, `a` to `f`.
    Hex,
    /// `A` to `Z`, `a` to `z`, `0` to `9`, `-`, `_`.
    Url,
    /// All printable characters of ASCII but space, quotes, backquote and backslash.
    Printable,
    /// Bytes of any value.
    Bytes,
}

impl Alphabet {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Alphanumeric,
        Self::Letters,
        Self::Digits,
        Self::Hex,
        Self::Url,
        Self::Printable,
        Self::Bytes,
    ];

    /// The word on command lines.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Alphanumeric => "alnum",
            Self::Letters => "letters",
            Self::Digits => "digits",
            Self::Hex => "hex",
            Self::Url => "url",
            Self::Printable => "printable",
            Self::Bytes => "bytes",
        }
    }

    /// Its characters, each once.
    pub fn characters(self) -> Vec<u8> {
        let is_one = |byte: &u8| match self {
            Self::Alphanumeric => byte.is_ascii_alphanumeric(),
            Self::Letters => byte.is_ascii_alphabetic(),
            Self::Digits => byte.is_ascii_digit(),
            Self::Hex => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
            Self::Url => byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'),
            Self::Printable => byte.is_ascii_graphic() && !b"'\"`\\".contains(byte),
            Self::Bytes => true,
        };
        (0..=u8::MAX).filter(is_one).collect()
    }
}

/// What a generated value looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pattern {
    alphabet: Alphabet,
    length: usize,
}

/// A pattern that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "write a length from 1 to {LONGEST}, an alphabet, or both: 32, hex, hex:64; alphabets are alnum, letters, digits, hex, url, printable, bytes"
)]
pub struct PatternError;

impl Default for Pattern {
    fn default() -> Self {
        Self {
            alphabet: Alphabet::Alphanumeric,
            length: LENGTH,
        }
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    /// `32`, `hex` or `hex:64`.
    fn from_str(text: &str) -> Result<Self, PatternError> {
        let mut pattern = Self::default();
        let length = match text.split_once(':') {
            None if text.bytes().all(|byte| byte.is_ascii_digit()) => Some(text),
            None => {
                pattern.alphabet = alphabet(text)?;
                None
            }
            Some((name, length)) => {
                pattern.alphabet = alphabet(name)?;
                Some(length)
            }
        };
        if let Some(length) = length {
            pattern.length = length.parse().map_err(|_| PatternError)?;
        }
        let fits = (1..=LONGEST).contains(&pattern.length);
        if fits { Ok(pattern) } else { Err(PatternError) }
    }
}

fn alphabet(name: &str) -> Result<Alphabet, PatternError> {
    let mut all = Alphabet::ALL.into_iter();
    all.find(|alphabet| alphabet.name() == name)
        .ok_or(PatternError)
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.alphabet.name(), self.length)
    }
}

impl Pattern {
    /// Draws a value.
    pub fn draw(self) -> Zeroizing<Vec<u8>> {
        let characters = self.alphabet.characters();
        // Bytes past the last whole multiple of the alphabet would favour its first characters.
        let limit = 256 - 256 % characters.len();
        let mut value = Zeroizing::new(Vec::with_capacity(self.length));
        let mut bytes = Zeroizing::new([0; 64]);
        while value.len() < self.length {
            OsRng.fill_bytes(&mut *bytes);
            let drawn = bytes.iter().map(|byte| usize::from(*byte));
            let drawn = drawn.filter(|byte| *byte < limit);
            let left = self.length - value.len();
            value.extend(
                drawn
                    .take(left)
                    .map(|byte| characters[byte % characters.len()]),
            );
        }
        value
    }

    /// Can it be guessed by trying?
    pub fn is_weak(self) -> bool {
        #[expect(clippy::cast_precision_loss, reason = "both are small")]
        let bits = (self.alphabet.characters().len() as f64).log2() * self.length as f64;
        bits < STRONG_BITS
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn pattern(text: &str) -> Pattern {
        text.parse().unwrap()
    }

    #[test]
    fn patterns_name_an_alphabet_and_a_length() {
        for (text, shown) in [
            ("20", "alnum:20"),
            ("hex", "hex:32"),
            ("hex:64", "hex:64"),
            ("bytes:4096", "bytes:4096"),
        ] {
            assert_eq!(pattern(text).to_string(), shown, "{text}");
        }
        for text in [
            "", "0", "4097", "hex:", "hex:-1", ":5", "HEX", "hex:5:6", "+5", "hunter2",
        ] {
            assert_eq!(text.parse::<Pattern>(), Err(PatternError), "{text}");
        }
    }

    #[test]
    fn values_have_their_length_and_only_characters_of_their_alphabet() {
        for alphabet in Alphabet::ALL {
            let characters = alphabet.characters();
            for length in [1, 31, 64, 65, 4096] {
                let value = Pattern { alphabet, length }.draw();
                assert_eq!(value.len(), length);
                assert!(value.iter().all(|byte| characters.contains(byte)));
            }
        }
        assert_eq!(
            Alphabet::ALL.map(|one| one.characters().len()),
            [62, 52, 10, 16, 64, 90, 256]
        );
        let two = [(); 2].map(|()| Pattern::default().draw());
        assert_ne!(two[0], two[1]);
    }

    /// A remainder of 256 would make some characters of 62 a quarter more likely than others.
    #[test]
    fn each_character_is_as_likely_as_any_other() {
        const DRAWS: usize = 100;
        for alphabet in Alphabet::ALL {
            let mut counts = BTreeMap::new();
            for _ in 0..DRAWS {
                let drawn = Pattern {
                    alphabet,
                    length: LONGEST,
                };
                for byte in drawn.draw().iter() {
                    *counts.entry(*byte).or_insert(0u32) += 1;
                }
            }
            #[expect(clippy::cast_precision_loss, reason = "both are small")]
            let (cells, expected) = (
                alphabet.characters().len() as f64,
                (DRAWS * LONGEST) as f64 / alphabet.characters().len() as f64,
            );
            assert_eq!(counts.len(), alphabet.characters().len());
            let square = |count: &u32| (f64::from(*count) - expected).powi(2) / expected;
            let chi_square: f64 = counts.values().map(square).sum();
            // Six standard deviations: it fails by chance once in hundreds of millions of runs.
            let limit = cells - 1.0 + 6.0 * (2.0 * (cells - 1.0)).sqrt() + 12.0;
            assert!(
                chi_square < limit,
                "{}: {chi_square} of {limit}",
                alphabet.name()
            );
        }
    }

    #[test]
    fn short_values_are_weak() {
        for (text, weak) in [
            ("digits:6", true),
            ("8", true),
            ("digits:24", true),
            ("digits:25", false),
            ("14", false),
            ("hex:20", false),
            ("32", false),
        ] {
            assert_eq!(pattern(text).is_weak(), weak, "{text}");
        }
    }
}
