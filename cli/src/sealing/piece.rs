//! The documents of an output: sealed Secrets, and what passes through beside them.

use sealkit_core::manifest::Document;
use serde_json::Value;

use super::SealedItem;
use super::stream::Input;
use crate::error::CommandError;

/// One document of the output.
pub(crate) enum Piece {
    /// A sealed Secret.
    Sealed(Box<SealedItem>),
    /// Another document, passed through.
    Other(Passed),
}

/// A document that passes through, with its own text where that could be cut out.
pub(crate) struct Passed {
    /// The object.
    pub object: Value,
    /// Its text.
    pub text: Option<String>,
}

impl Passed {
    /// A document of `input`: comments and layout stay, but for items of Lists.
    pub fn new(document: &Document, input: &Input) -> Self {
        let text = input.text_of(document).map(str::to_owned);
        Self {
            object: document.object.clone(),
            text,
        }
    }
}

/// An object of ours that does not encode.
pub(super) fn unwritable(error: impl std::fmt::Display) -> CommandError {
    CommandError::bug(format_args!("the object cannot be written: {error}"))
}
