//! Text in templates, including regular expressions.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};

use gtmpl_ng::Value;
use regex::{Regex, RegexBuilder};
use regex_automata::util::interpolate;
use regex_syntax::ast::{self, Ast, ClassPerlKind, ClassSetItem};

use super::super::budget::{self, check_result};
use super::super::limits;
use super::numbers::integer;
use super::{Result, exactly, refusal, string, strings};

pub(super) fn upper(args: &[Value]) -> Result<Value> {
    let [text] = strings(args)?;
    Ok(text.chars().map(to_upper).collect::<String>().into())
}

pub(super) fn lower(args: &[Value]) -> Result<Value> {
    let [text] = strings(args)?;
    Ok(text.chars().map(to_lower).collect::<String>().into())
}

/// Go maps letter by letter: a letter whose capital is several, such as `ß`, stays.
fn to_upper(letter: char) -> char {
    only(letter.to_uppercase()).unwrap_or(letter)
}

/// The same for small letters; of the only one that becomes several, Go takes the first.
fn to_lower(letter: char) -> char {
    letter.to_lowercase().next().unwrap_or(letter)
}

/// The four letters that stand for two have a form with a capital first.
fn to_title(letter: char) -> char {
    match letter {
        '\u{1c4}'..='\u{1c6}' => '\u{1c5}',
        '\u{1c7}'..='\u{1c9}' => '\u{1c8}',
        '\u{1ca}'..='\u{1cc}' => '\u{1cb}',
        '\u{1f1}'..='\u{1f3}' => '\u{1f2}',
        letter => to_upper(letter),
    }
}

fn only(mut letters: impl Iterator<Item = char>) -> Option<char> {
    letters.next().filter(|_| letters.next().is_none())
}

/// Go's `strings.Title`: capitalises the first letter of each word, where words consist of letters,
/// digits and underscores.
pub(super) fn title(args: &[Value]) -> Result<Value> {
    let [text] = strings(args)?;
    let mut titled = String::with_capacity(text.len());
    let mut inside = false;
    for letter in text.chars() {
        if inside {
            titled.push(letter);
        } else {
            titled.push(to_title(letter));
        }
        // Go's isSeparator: ASCII is exact, beyond it only white space separates.
        inside = if letter.is_ascii() {
            letter.is_ascii_alphanumeric() || letter == '_'
        } else {
            letter.is_alphanumeric() || !letter.is_whitespace()
        };
    }
    Ok(titled.into())
}

pub(super) fn trim(args: &[Value]) -> Result<Value> {
    let [text] = strings(args)?;
    Ok(text.trim().into())
}

pub(super) fn trim_all(args: &[Value]) -> Result<Value> {
    let [cut, text] = strings(args)?;
    let cut: HashSet<char> = cut.chars().collect();
    Ok(text.trim_matches(|letter| cut.contains(&letter)).into())
}

pub(super) fn trim_prefix(args: &[Value]) -> Result<Value> {
    let [prefix, text] = strings(args)?;
    Ok(text.strip_prefix(prefix).unwrap_or(text).into())
}

pub(super) fn trim_suffix(args: &[Value]) -> Result<Value> {
    let [suffix, text] = strings(args)?;
    Ok(text.strip_suffix(suffix).unwrap_or(text).into())
}

/// Cuts to this many bytes; a negative count cuts from the end. Cutting inside a character fails:
/// Go would return text that is not UTF-8.
pub(super) fn trunc(args: &[Value]) -> Result<Value> {
    let [count, text] = exactly(args)?;
    let (count, text) = (integer(count)?, string(text)?);
    let bytes = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
    let cut = if bytes >= text.len() {
        Some(text)
    } else if count < 0 {
        text.get(text.len() - bytes..)
    } else {
        text.get(..bytes)
    };
    cut.map(Into::into)
        .ok_or_else(|| refusal("inside a character"))
}

pub(super) fn replace(args: &[Value]) -> Result<Value> {
    let [old, new, text] = strings(args)?;
    let growth = text.matches(old).count().saturating_mul(new.len());
    check_result(growth.saturating_add(text.len()))?;
    Ok(text.replace(old, new).into())
}

pub(super) fn contains(args: &[Value]) -> Result<Value> {
    let [part, text] = strings(args)?;
    Ok(text.contains(part).into())
}

pub(super) fn has_prefix(args: &[Value]) -> Result<Value> {
    let [part, text] = strings(args)?;
    Ok(text.starts_with(part).into())
}

pub(super) fn has_suffix(args: &[Value]) -> Result<Value> {
    let [part, text] = strings(args)?;
    Ok(text.ends_with(part).into())
}

pub(super) fn indent(args: &[Value]) -> Result<Value> {
    let [spaces, text] = exactly(args)?;
    indented(integer(spaces)?, string(text)?).map(Into::into)
}

pub(super) fn nindent(args: &[Value]) -> Result<Value> {
    let [spaces, text] = exactly(args)?;
    Ok(format!("\n{}", indented(integer(spaces)?, string(text)?)?).into())
}

fn indented(spaces: i64, text: &str) -> Result<String> {
    let spaces = usize::try_from(spaces).map_err(|_| refusal("a negative indent"))?;
    let lines = 1 + text.matches('\n').count();
    check_result(text.len().saturating_add(lines.saturating_mul(spaces)))?;
    let pad = " ".repeat(spaces);
    Ok(format!("{pad}{}", text.replace('\n', &format!("\n{pad}"))))
}

pub(super) fn regex_match(args: &[Value]) -> Result<Value> {
    let [pattern, text] = strings(args)?;
    Ok(regex(pattern, text)?.is_match(text).into())
}

/// Go's `ReplaceAllString`: `$1` and `${name}` stand for groups.
pub(super) fn regex_replace_all(args: &[Value]) -> Result<Value> {
    let [pattern, text, replacement] = strings(args)?;
    let regex = regex(pattern, text)?;
    let names = regex.capture_names().enumerate();
    let names: HashMap<&str, usize> = names.filter_map(|(at, name)| Some((name?, at))).collect();
    let mut replaced = String::new();
    let mut end = 0;
    for captures in regex.captures_iter(text) {
        // Each match may read the whole rest of the text, so the matches together may take its
        // square.
        budget::step(replacement.len())?;
        let whole = captures.get_match();
        replaced.push_str(&text[end..whole.start()]);
        // A group may be named many times: none is written beyond the limit.
        let write = |at: usize, replaced: &mut String| {
            let fits = replaced.len() <= limits::RESULT_BYTES;
            if let Some(group) = captures.get(at).filter(|_| fits) {
                replaced.push_str(group.as_str());
            }
        };
        let find = |name: &str| names.get(name).copied();
        interpolate::string(replacement, write, find, &mut replaced);
        end = whole.end();
        check_result(replaced.len())?;
    }
    replaced.push_str(&text[end..]);
    Ok(replaced.into())
}

/// One search is linear in the text by design; text, pattern and program are bounded here. The
/// library bounds the program only: a pattern of many classes takes seconds and gigabytes before
/// there is one.
pub(super) fn regex(pattern: &str, text: &str) -> Result<Regex> {
    if text.len() > limits::REGEX_TEXT || pattern.len() > limits::REGEX_PATTERN {
        return Err(refusal("too large for a regular expression"));
    }
    LAST_REGEX.with_borrow_mut(|last| {
        if let Some((_, regex)) = last.as_ref().filter(|(known, _)| known == pattern) {
            return Ok(regex.clone());
        }
        let regex = built(pattern)?;
        *last = Some((pattern.to_owned(), regex.clone()));
        Ok(regex)
    })
}

thread_local! {
    /// The pattern of the last call and its program: a loop over keys uses one pattern.
    static LAST_REGEX: RefCell<Option<(String, Regex)>> = const { RefCell::new(None) };
}

fn built(pattern: &str) -> Result<Regex> {
    RegexBuilder::new(&as_go_reads(pattern)?)
        .size_limit(limits::REGEX_PROGRAM)
        .dfa_size_limit(8 * limits::REGEX_PROGRAM)
        .nest_limit(NESTING)
        .build()
        .map_err(|_| refusal("no regular expression"))
}

const NESTING: u32 = 50;

/// Writes `\d`, `\s`, `\w` and `\b` as ASCII classes, as Go reads them. Go knows no sets of sets,
/// so they are refused.
fn as_go_reads(pattern: &str) -> Result<String> {
    let parsed = ast::parse::ParserBuilder::new()
        .nest_limit(NESTING)
        .build()
        .parse(pattern)
        .map_err(|_| refusal("no regular expression"))?;
    let mut read = String::with_capacity(pattern.len());
    let mut end = 0;
    for (span, ascii) in ast::visit(&parsed, Classes::default())? {
        read.push_str(&pattern[end..span.start.offset]);
        read.push_str(ascii);
        end = span.end.offset;
    }
    read.push_str(&pattern[end..]);
    Ok(read)
}

/// The classes of a pattern: where Go reads ASCII, and how many characters the others list.
#[derive(Default)]
struct Classes {
    /// Places and their replacements, in the order of the pattern.
    ascii: Vec<(ast::Span, &'static str)>,
    characters: u32,
}

impl Classes {
    /// Characters that a class by name, such as `\pL`, counts for: all letters are as many.
    const NAMED: u32 = 140_000;

    fn count(&mut self, characters: u32) -> Result<()> {
        self.characters = self.characters.saturating_add(characters);
        if self.characters > limits::REGEX_CLASSES {
            return Err(refusal("too many characters in classes"));
        }
        Ok(())
    }

    fn perl(&mut self, class: &ast::ClassPerl) {
        let ascii = match (&class.kind, class.negated) {
            (ClassPerlKind::Digit, false) => "[0-9]",
            (ClassPerlKind::Digit, true) => "[^0-9]",
            (ClassPerlKind::Space, false) => r"[\t\n\f\r ]",
            (ClassPerlKind::Space, true) => r"[^\t\n\f\r ]",
            (ClassPerlKind::Word, false) => "[0-9A-Za-z_]",
            (ClassPerlKind::Word, true) => "[^0-9A-Za-z_]",
        };
        self.ascii.push((class.span, ascii));
    }
}

impl ast::Visitor for Classes {
    type Output = Vec<(ast::Span, &'static str)>;
    type Err = gtmpl_ng::FuncError;

    fn finish(self) -> Result<Self::Output> {
        Ok(self.ascii)
    }

    fn visit_pre(&mut self, ast: &Ast) -> Result<()> {
        match ast {
            Ast::ClassPerl(class) => self.perl(class),
            Ast::ClassUnicode(_) => self.count(Self::NAMED)?,
            Ast::Assertion(assertion) => {
                let ascii = match assertion.kind {
                    ast::AssertionKind::WordBoundary => Some(r"(?-u:\b)"),
                    ast::AssertionKind::NotWordBoundary => Some(r"(?-u:\B)"),
                    _ => None,
                };
                self.ascii
                    .extend(ascii.map(|ascii| (assertion.span, ascii)));
            }
            _ => {}
        }
        Ok(())
    }

    fn visit_class_set_item_pre(&mut self, item: &ClassSetItem) -> Result<()> {
        match item {
            ClassSetItem::Perl(class) => self.perl(class),
            ClassSetItem::Unicode(_) => self.count(Self::NAMED)?,
            ClassSetItem::Range(range) => {
                self.count(u32::from(range.end.c) - u32::from(range.start.c))?;
            }
            ClassSetItem::Bracketed(_) => return Err(refusal("a set in a set")),
            _ => {}
        }
        Ok(())
    }

    fn visit_class_set_binary_op_pre(&mut self, _: &ast::ClassSetBinaryOp) -> Result<()> {
        Err(refusal("a set of sets"))
    }
}
