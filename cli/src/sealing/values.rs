//! Values as people give them: from files, stdin, a prompt or chance, and never on the command line.

use std::collections::BTreeMap;
use std::path::Path;

use age::secrecy::ExposeSecret as _;
use sealkit_core::manifest::INPUT_BYTES;
use sealkit_core::names;
use sealkit_core::sealed::Pattern;
use zeroize::Zeroizing;

use crate::error::{CommandError, Result};
use crate::files;
use crate::identities;
use crate::terminal::{Terminal, safe};

/// A key, and the file that its value is in, if one is named.
pub(crate) type Source<'a> = (&'a str, Option<&'a str>);

/// The keys that are to be set.
pub(crate) fn sources(arguments: &[String]) -> Result<Vec<Source<'_>>> {
    let mut sources: Vec<Source<'_>> = Vec::new();
    for argument in arguments {
        let (key, source) = match argument.split_once('=') {
            None => (argument.as_str(), None),
            Some((key, source)) => (key, Some(source)),
        };
        let shown_key = names::printable(key);
        if !names::is_secret_key(key) {
            return Err(CommandError::usage(format_args!(
                "{shown_key:?} is not a key that Kubernetes allows"
            )));
        }
        let path = match source {
            None => None,
            Some(source) => match source.strip_prefix('@') {
                Some(path) => Some(path),
                // It may be a secret: it is not repeated.
                None => {
                    return Err(CommandError::usage("a value on the command line ends up in history files and process lists")
                        .on(shown_key)
                        .hint("treat it as leaked; give a new one in a file (KEY=@FILE), on stdin, or at the prompt"));
                }
            },
        };
        if sources.iter().any(|(other, _)| *other == key) {
            return Err(CommandError::usage("the key is given twice").on(shown_key));
        }
        sources.push((key, path));
    }
    Ok(sources)
}

/// The values of the keys: each from its file, from stdin, from a person or from chance.
pub(crate) fn values(
    sources: &[Source<'_>],
    generate: Option<Pattern>,
    terminal: Terminal,
) -> Result<BTreeMap<String, Zeroizing<Vec<u8>>>> {
    if generate.is_some_and(Pattern::is_weak) {
        terminal
            .warning("so few random characters can be guessed by trying: generate a longer value");
    }
    let mut values = BTreeMap::new();
    let mut from_stdin = None;
    for (key, source) in sources {
        let shown_key = names::printable(key);
        let path = source.filter(|path| *path != "-");
        let drawn = generate.filter(|_| source.is_none());
        let value = match path {
            Some(path) => files::read(Path::new(path), INPUT_BYTES)?,
            None if let Some(pattern) = drawn => pattern.draw(),
            None if source.is_none() && terminal.can_ask() => {
                let typed = identities::ask(terminal, &format!("value of {shown_key}: "))?;
                Zeroizing::new(typed.expose_secret().as_bytes().to_vec())
            }
            None => {
                if let Some(other) = from_stdin.replace(shown_key.clone()) {
                    return Err(CommandError::usage("stdin can be read only once")
                        .on(format_args!("{} and {}", safe(&other), safe(&shown_key)))
                        .hint("give one of them with KEY=@FILE"));
                }
                files::read_stdin(INPUT_BYTES)?
            }
        };
        if value.is_empty() && path.is_none() {
            return Err(CommandError::input("no value was read")
                .on(shown_key)
                .hint("for an empty value, give an empty file: KEY=@FILE"));
        }
        if value.ends_with(b"\n") && path.is_none() && drawn.is_none() {
            terminal.note(format_args!(
                "the value of {shown_key} ends with a line feed"
            ));
        }
        values.insert((*key).to_owned(), value);
    }
    Ok(values)
}
