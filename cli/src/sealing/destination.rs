//! Which file an object goes to.

use std::path::{Path, PathBuf};

use super::SealedItem;
use super::piece::Piece;
use crate::args::Output;
use crate::error::{CommandError, Result};
use crate::terminal::shown;

/// Where the output goes.
pub(crate) enum Destination {
    /// Printed.
    Stdout,
    /// All objects as one stream.
    File(PathBuf),
    /// One file for each object.
    Folder(PathBuf),
}

impl Destination {
    /// As `-w` says.
    pub fn new(write: Option<&Path>, all_documents: bool) -> Result<Self> {
        let Some(path) = write.filter(|path| path.as_os_str() != "-") else {
            return Ok(Self::Stdout);
        };
        if !path.is_dir() && !path.to_string_lossy().ends_with('/') {
            return Ok(Self::File(path.to_owned()));
        }
        if all_documents {
            return Err(CommandError::usage("--all-documents needs one output file")
                .on(shown(path))
                .hint("pass a file: -w FILE"));
        }
        Ok(Self::Folder(path.to_owned()))
    }

    /// The file for an object of this name; nothing for stdout.
    pub fn path(&self, name: &str, form: Option<Output>) -> Option<PathBuf> {
        match self {
            Self::Stdout => None,
            Self::File(path) => Some(path.clone()),
            Self::Folder(folder) => {
                let ending = if form == Some(Output::Json) {
                    "json"
                } else {
                    "yaml"
                };
                Some(folder.join(format!("{name}.sealed.{ending}")))
            }
        }
    }
}

/// Does the piece stand in the way of one before it?
pub(crate) fn clash(piece: &Piece, pieces: &[Piece], destination: &Destination) -> Option<String> {
    let Piece::Sealed(item) = piece else {
        return None;
    };
    let same = |other: &SealedItem| {
        matches!(destination, Destination::Folder(_))
            || (other.target.name == item.target.name
                && other.target.namespace == item.target.namespace)
    };
    pieces
        .iter()
        .any(|other| matches!(other, Piece::Sealed(other) if same(other)))
        .then(|| item.target.title())
}
