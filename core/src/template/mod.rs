//! Go templates over opened values: `template.data` of a SealedSecret.
//!
//! The text is untrusted, since whoever may write the resource writes it. A render therefore has no
//! clock, no randomness, no environment and no network, and it is bounded in text, values, memory
//! and time ([`limits`]). Errors report a position in the public text or nothing: run-time errors
//! of the engine quote values, so they are dropped unread.

mod budget;
mod functions;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::time::{Duration, Instant};

use gtmpl_ng::{Context, ExecError, Limits, ParseError, Template, Value};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::names;
use crate::sealed::OpenedValue;

/// What a template may contain and consume. The limits fit configuration files; together they keep
/// one render within [`limits::MEMORY`], whatever the text says.
pub mod limits {
    use std::time::Duration;

    /// Entries of `template.data`.
    pub const ENTRIES: usize = 100;
    /// Bytes of one text.
    pub const TEXT_BYTES: usize = 64 * 1024;
    /// Actions (`{{ … }}`) in one text.
    pub const ACTIONS: usize = 1_000;
    /// Bytes of one action.
    pub const ACTION_BYTES: usize = 512;
    /// Declarations of variables (`:=`) in one text. Variables contain copies.
    pub const DECLARATIONS: usize = 128;
    /// Bytes of all values together that the templates of one object may read.
    pub const VALUES_BYTES: usize = 64 * 1024;
    /// Bytes that all texts of one object may write together: a Secret cannot hold more.
    pub const OUTPUT_BYTES: usize = 1024 * 1024;
    /// Runs of loop bodies in one text.
    pub const ITERATIONS: usize = 10_000;
    /// Bytes of the result of one function.
    pub const RESULT_BYTES: usize = 128 * 1024;
    /// Members of all lists and maps in the result of one function.
    pub const RESULT_MEMBERS: usize = 1_024;
    /// Bytes and members of all arguments of one call.
    pub const ARGUMENTS: usize = 512 * 1024;
    /// Bytes and members that all calls of one text may read and write.
    pub const WORK: usize = 32 * 1024 * 1024;
    /// Bytes of a regular expression.
    pub const REGEX_PATTERN: usize = 1_024;
    /// Characters that the classes of a regular expression list together: enough for all there are,
    /// twice.
    pub const REGEX_CLASSES: u32 = 2 * 0x11_0000;
    /// Bytes of a text that a regular expression reads.
    pub const REGEX_TEXT: usize = 32 * 1024;
    /// Bytes of a compiled regular expression: all letters (`\pL`) have 44,000. The time of one
    /// search can grow with the product of text and program.
    pub const REGEX_PROGRAM: usize = 64 * 1024;
    /// Bytes that parsing and rendering hold at once at most. Nothing enforces it here: it follows
    /// from the other limits, and a fuzz target measures it.
    pub const MEMORY: usize = 64 * 1024 * 1024;
    /// Time of all texts of one object, including parsing. On a busy machine it may run out, so a
    /// retry is worthwhile.
    pub const TIME: Duration = Duration::from_millis(250);
}

/// Why a template cannot be used. Contains public text and positions only, never a value or an
/// output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("template.data[{key}]: {cause}")]
pub struct TemplateError {
    /// The key of `template.data`, safe to print.
    pub key: String,
    /// What is wrong.
    pub cause: TemplateErrorKind,
}

/// What is wrong with a template.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum TemplateErrorKind {
    /// Kubernetes would refuse the key.
    #[error("not a key that Kubernetes allows")]
    KeyName,
    /// The text breaks a limit of [`limits`].
    #[error("{0}")]
    TooLarge(Cow<'static, str>),
    /// Templates cannot call templates.
    #[error("line {line}: define, block, template and call are not available")]
    Unavailable {
        /// Line in the text, from 1.
        line: usize,
    },
    /// The text does not parse.
    #[error("line {line}, column {column}: {what}")]
    Syntax {
        /// Line in the text, from 1.
        line: usize,
        /// Byte in the line, from 1.
        column: usize,
        /// The parser's message about the public text, safe to print.
        what: String,
    },
    /// The values that templates may read are too large.
    #[error(
        "the values that templates may read have more than 64 KiB together: \
         seal those that no template needs without --render"
    )]
    ValuesTooLarge,
    /// Rendering failed: a value is missing, or a function refused its arguments. The error does
    /// not say why, since that would reveal something about the values.
    #[error(
        "rendering failed: the template uses a value that is missing, binary or sealed without \
         --render, or a function refused its arguments"
    )]
    Render,
    /// Rendering took too long.
    #[error("rendering took too long")]
    TooSlow,
    /// Rendering took more memory than it may.
    #[error("rendering took too much memory")]
    TooMuchMemory,
}

impl TemplateError {
    fn new(key: &str, cause: TemplateErrorKind) -> Self {
        let key = names::printable(key);
        Self { key, cause }
    }

    /// May the same text and values succeed at another time?
    pub fn may_pass(&self) -> bool {
        self.cause == TemplateErrorKind::TooSlow
    }
}

/// What a text reads that is rendered once for each word: see [`Templates::render_each`].
const EACH: &str = "value";

/// The texts of `template.data`, parsed.
pub struct Templates {
    texts: BTreeMap<String, Template>,
    /// Time that parsing took.
    spent: Duration,
}

impl Templates {
    /// Parses all texts. Errors with the first that breaks a limit or does not parse.
    pub fn parse(texts: &BTreeMap<String, String>) -> Result<Self, TemplateError> {
        if let Some((key, _)) = texts.iter().nth(limits::ENTRIES) {
            let cause =
                TemplateErrorKind::TooLarge("template.data has more than 100 entries".into());
            return Err(TemplateError::new(key, cause));
        }
        let start = Instant::now();
        let parse = |(key, text): (&String, &String)| {
            if start.elapsed() > limits::TIME {
                return Err(TemplateError::new(key, TemplateErrorKind::TooSlow));
            }
            let template = parse(key, text).map_err(|cause| TemplateError::new(key, cause))?;
            Ok((key.clone(), template))
        };
        let texts = texts.iter().map(parse).collect::<Result<_, _>>()?;
        let spent = start.elapsed();
        Ok(Self { texts, spent })
    }

    /// Renders all texts over `values`. Values that are not UTF-8 do not exist for templates. All
    /// or nothing. It may take [`limits::TIME`], so do not call it in a task that serves others.
    pub fn render<'a>(
        &mut self,
        values: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    ) -> Result<BTreeMap<String, Zeroizing<Vec<u8>>>, TemplateError> {
        let mut bytes = 0;
        let mut fields = HashMap::new();
        for (key, value) in values {
            if let Ok(text) = std::str::from_utf8(value) {
                bytes += text.len();
                fields.insert(key.to_owned(), Value::from(text));
            }
        }
        let Some((first, _)) = self.texts.first_key_value() else {
            return Ok(BTreeMap::new());
        };
        if bytes > limits::VALUES_BYTES {
            return Err(TemplateError::new(first, TemplateErrorKind::ValuesTooLarge));
        }
        // An object, not a map, makes a missing key an error (`missingkey=error`).
        let context = Context::from(Value::Object(fields));
        let start = Instant::now();
        let time = limits::TIME.saturating_sub(self.spent);
        let mut room = limits::OUTPUT_BYTES;
        let render = |(key, template): (&String, &mut Template)| {
            let left = time.saturating_sub(start.elapsed());
            budget::refill(left);
            template.limits.deadline = Some(left);
            template.limits.output_bytes = Some(room);
            let mut output = Zeroizing::new(Vec::with_capacity(4096));
            let written = template.execute(&mut Output(&mut output), &context);
            match written {
                Ok(()) => {
                    room -= output.len();
                    Ok((key.clone(), output))
                }
                Err(_) if start.elapsed() >= time => {
                    Err(TemplateError::new(key, TemplateErrorKind::TooSlow))
                }
                Err(error) => Err(TemplateError::new(key, failure(&error))),
            }
        };
        let rendered = self.texts.iter_mut().map(render).collect();
        self.spent += start.elapsed();
        rendered
    }

    /// Renders the first text once for each of these words, which it reads as `.value` beside
    /// `values`. Returns what each word became. All words together have the time and the room of
    /// one render.
    pub fn render_each<'a>(
        &mut self,
        values: &BTreeMap<String, Zeroizing<Vec<u8>>>,
        words: impl IntoIterator<Item = &'a str>,
    ) -> Result<BTreeMap<String, Zeroizing<Vec<u8>>>, TemplateError> {
        let Some(key) = self.texts.keys().next().cloned() else {
            return Ok(BTreeMap::new());
        };
        let mut room = limits::OUTPUT_BYTES;
        let mut all = BTreeMap::new();
        for word in words {
            let values = values
                .iter()
                .map(|(key, value)| (key.as_str(), value.as_slice()));
            let rendered = self
                .render(values.chain([(EACH, word.as_bytes())]))?
                .remove(&key);
            let rendered = rendered.unwrap_or_default();
            room = room
                .checked_sub(rendered.len() + word.len())
                .ok_or_else(|| {
                    TemplateError::new(
                        &key,
                        TemplateErrorKind::TooLarge("makes more than 1 MiB".into()),
                    )
                })?;
            all.insert(word.to_owned(), rendered);
        }
        Ok(all)
    }
}

/// Is this a regular expression that templates take: in Go's syntax, and within [`limits`]?
pub fn is_regex(pattern: &str) -> bool {
    functions::is_regex(pattern)
}

/// The values that templates may read.
pub fn readable(values: &BTreeMap<String, OpenedValue>) -> impl Iterator<Item = (&str, &[u8])> {
    let readable = values.iter().filter(|(_, value)| value.render);
    readable.map(|(key, value)| (key.as_str(), value.bytes.as_slice()))
}

/// The data of the Secret: the rendered texts, and with `include_raw` the values themselves, which
/// take precedence.
pub fn secret_data(
    mut rendered: BTreeMap<String, Zeroizing<Vec<u8>>>,
    values: BTreeMap<String, OpenedValue>,
    include_raw: bool,
) -> BTreeMap<String, Zeroizing<Vec<u8>>> {
    if include_raw {
        rendered.extend(values.into_iter().map(|(key, value)| (key, value.bytes)));
    }
    rendered
}

fn parse(key: &str, text: &str) -> Result<Template, TemplateErrorKind> {
    if !names::is_secret_key(key) {
        return Err(TemplateErrorKind::KeyName);
    }
    let text = checked(text)?;
    let mut template = Template::with_limits(
        Limits::default()
            .with_iterations(limits::ITERATIONS)
            .with_total_iterations(limits::ITERATIONS)
            .with_function_output(limits::RESULT_BYTES),
    );
    template.funcs = functions::table().collect();
    template.parse(&text).map_err(|error| syntax(&error))?;
    Ok(template)
}

/// The text in a form that the engine reads correctly, within bounds that limit its copies of
/// values: it copies each argument and variable.
fn checked(text: &str) -> Result<String, TemplateErrorKind> {
    let too_large = |what| Err(TemplateErrorKind::TooLarge(Cow::Borrowed(what)));
    if text.len() > limits::TEXT_BYTES {
        return too_large("the text has more than 64 KiB");
    }
    if text.matches(":=").count() > limits::DECLARATIONS {
        return too_large("the text declares more than 128 variables");
    }
    let mut actions = 0;
    let mut readable = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, action)) = rest.split_once("{{") {
        actions += 1;
        if actions > limits::ACTIONS {
            return too_large("the text has more than 1,000 actions");
        }
        // Counted only for an error, since it starts at the beginning.
        let line = || {
            let until = text.len() - rest.len() + before.len();
            1 + text[..until].matches('\n').count()
        };
        // The engine's lexer hangs on some of these.
        let end = action_end(action).ok_or_else(|| TemplateErrorKind::Syntax {
            line: line(),
            column: 1,
            what: "an action, string or comment that does not end, or a numeric escape".to_owned(),
        })?;
        if end > limits::ACTION_BYTES {
            return too_large("an action has more than 512 bytes");
        }
        let word = action[..end]
            .trim_start_matches(['-', ' ', '\t', '\r', '\n'])
            .split(|c: char| !c.is_ascii_alphanumeric())
            .next();
        if matches!(word, Some("define" | "block" | "template")) {
            return Err(TemplateErrorKind::Unavailable { line: line() });
        }
        readable.push_str(before);
        readable.push_str("{{");
        push_action(&mut readable, &action[..end]);
        rest = &action[end..];
    }
    readable.push_str(rest);
    Ok(readable)
}

/// The engine reads a backslash in a raw string as an escape, and regular expressions are full of
/// them. Such a string is written as a quoted one. The action is complete: [`action_end`] checked
/// it.
fn push_action(readable: &mut String, action: &str) {
    let is_comment = action
        .trim_start_matches(['-', ' ', '\t', '\r', '\n'])
        .starts_with("/*");
    let mut rest = action;
    while !is_comment && let Some(start) = rest.find(['"', '\'', '`']) {
        let (before, string) = rest.split_at(start);
        readable.push_str(before);
        let end = string_end(string);
        let (string, after) = string.split_at(end);
        match string
            .strip_prefix('`')
            .and_then(|raw| raw.strip_suffix('`'))
        {
            Some(raw) if raw.contains('\\') => {
                let quoted = raw.replace('\\', r"\\").replace('"', "\\\"");
                let quoted = quoted.replace('\n', "\\n").replace('\r', "");
                readable.push('"');
                readable.push_str(&quoted);
                readable.push('"');
            }
            _ => readable.push_str(string),
        }
        rest = after;
    }
    readable.push_str(rest);
}

/// Bytes of the string or character at the start of a text.
fn string_end(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut at = 1;
    while at < bytes.len() && bytes[at] != bytes[0] {
        let escape = bytes[0] != b'`' && bytes[at] == b'\\';
        at += if escape { 2 } else { 1 };
    }
    (at + 1).min(bytes.len())
}

/// Where an action ends: at `}}` outside of strings and comments. `None` if it does not end, or if
/// a string has a numeric escape: the engine hangs on malformed ones.
fn action_end(action: &str) -> Option<usize> {
    let bytes = action.as_bytes();
    let content = action.trim_start_matches(['-', ' ', '\t', '\r', '\n']);
    if content.starts_with("/*") {
        let end = action.find("*/")? + 2;
        return action[end..].find("}}").map(|at| end + at);
    }
    let mut quote = None;
    let mut at = 0;
    while at < bytes.len() {
        match (quote, bytes[at]) {
            (None, b'}') if bytes.get(at + 1) == Some(&b'}') => return Some(at),
            (None, b'"' | b'\'' | b'`') => quote = Some(bytes[at]),
            (Some(b'"' | b'\''), b'\\') => {
                at += 1;
                if !bytes
                    .get(at)
                    .is_some_and(|next| b"abfnrtv\\'\"".contains(next))
                {
                    return None;
                }
            }
            (Some(b'"' | b'\''), b'\n') => return None,
            (Some(open), byte) if open == byte => quote = None,
            _ => {}
        }
        at += 1;
    }
    None
}

fn syntax(error: &ParseError) -> TemplateErrorKind {
    let (line, column, what) = match error {
        ParseError::WithContext(context, what) => (context.line, context.col, what.clone()),
        other => (1, 1, other.to_string()),
    };
    let what = names::printable(&what);
    TemplateErrorKind::Syntax { line, column, what }
}

/// The kind of a run-time failure. Only one text is recognised, which names no value.
fn failure(error: &ExecError) -> TemplateErrorKind {
    let slow = match error {
        ExecError::DeadlineExceeded { .. } => true,
        ExecError::Structured(error) => error
            .message
            .starts_with("the render did not finish within"),
        _ => false,
    };
    if slow {
        TemplateErrorKind::TooSlow
    } else {
        TemplateErrorKind::Render
    }
}

/// Writes into memory that is wiped, including the old memory of a growing buffer.
struct Output<'a>(&'a mut Zeroizing<Vec<u8>>);

impl io::Write for Output<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > self.0.capacity() {
            let mut larger = Zeroizing::new(Vec::with_capacity(
                (self.0.capacity() * 2).max(self.0.len() + bytes.len()),
            ));
            larger.extend_from_slice(self.0);
            *self.0 = larger;
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
