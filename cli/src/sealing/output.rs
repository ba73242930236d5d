//! The output of sealed objects: one stream, or existing files, whose other content stays.

use std::io::ErrorKind;

use sealkit_core::manifest::{INPUT_BYTES, to_json, to_yaml};

use super::check_limits;
use super::merging::{Takes, merge};
use super::piece::{Passed, Piece, unwritable};
use super::target::ScopeLimit;
use crate::args::Output;
use crate::error::{CommandError, Result};
use crate::files;
use crate::git::repository::Location;
use crate::terminal::{Terminal, shown};

/// A file as it is to be.
pub(crate) struct Update {
    /// Where.
    pub place: Location,
    /// What it holds now; nothing where it does not exist.
    pub old: Option<String>,
    /// All of it.
    pub text: String,
    /// Existing envelopes with other recipients, in words.
    pub differences: Vec<String>,
}

/// All pieces as one text.
pub(crate) fn stream(pieces: &[Piece], form: Output, terminal: Terminal) -> Result<String> {
    let mut objects = Vec::new();
    for piece in pieces {
        objects.push(match piece {
            Piece::Sealed(item) => {
                let object = serde_json::to_value(&item.object).map_err(unwritable)?;
                check_limits(&object, &item.target, terminal)?;
                object
            }
            Piece::Other(passed) => passed.object.clone(),
        });
    }
    if form == Output::Json {
        return to_json(&objects).map_err(unwritable);
    }
    let mut out = String::new();
    for piece in pieces {
        if !out.is_empty() {
            out.push_str("---\n");
        }
        match piece {
            // From the resource and not from its value: the fields stand in the usual order.
            Piece::Sealed(item) => out.push_str(&item.yaml()?),
            Piece::Other(Passed {
                text: Some(text), ..
            }) => {
                out.push_str(text);
                if !text.ends_with('\n') {
                    out.push('\n');
                }
            }
            Piece::Other(passed) => out.push_str(&to_yaml(&[&passed.object]).map_err(unwritable)?),
        }
    }
    Ok(out)
}

/// What a file is to say: all pieces where it is new; else their values are put into the objects
/// that it holds, and objects that it does not hold are added to it.
pub(crate) fn update(
    place: Location,
    pieces: &[Piece],
    form: Output,
    limit: ScopeLimit,
    takes: Takes,
    terminal: Terminal,
) -> Result<Update> {
    let old = match std::fs::metadata(&place.real) {
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Ok(metadata) if !metadata.is_file() && !metadata.is_dir() => {
            return Err(CommandError::input("not a regular file").on(shown(&place.given)));
        }
        _ => Some(
            files::read_text(&place.real, INPUT_BYTES)
                .map_err(|error| error.on(shown(&place.given)))?,
        ),
    };
    let (text, differences) = match old.as_deref().filter(|old| !old.trim().is_empty()) {
        None => (stream(pieces, form, terminal)?, Vec::new()),
        Some(old) => merge(old, pieces, limit, takes, terminal)
            .map_err(|error| error.on(shown(&place.given)))?,
    };
    Ok(Update {
        place,
        old,
        text,
        differences,
    })
}
