//! Manifests from files and stdin.

use std::cell::OnceCell;
use std::io::IsTerminal as _;
use std::ops::{Deref, Range};
use std::path::{Path, PathBuf};

use sealkit_core::manifest::{Document, INPUT_BYTES, document_ranges, read_documents, wipe};
use serde_json::Value;
use zeroize::Zeroizing;

use crate::error::{CommandError, Result};
use crate::files;
use crate::terminal::shown;

/// One input: its documents, and its text for what passes through unchanged.
pub(crate) struct Input {
    /// The file, unless it is stdin.
    pub path: Option<PathBuf>,
    /// The bytes as read. May hold plaintext.
    pub text: Zeroizing<Vec<u8>>,
    /// The objects in it.
    pub documents: Vec<PlainDocument>,
    ranges: OnceCell<Vec<Range<usize>>>,
}

impl Input {
    /// A manifest that was made here.
    pub fn of(object: Value) -> Self {
        let document = Document {
            number: 1,
            item: None,
            object,
        };
        Self {
            path: None,
            text: Zeroizing::default(),
            documents: vec![PlainDocument(document)],
            ranges: OnceCell::new(),
        }
    }

    /// The text of a document with its comments, where it can be cut out: not of items of Lists.
    pub fn text_of(&self, document: &Document) -> Option<&str> {
        let text = std::str::from_utf8(&self.text).ok()?;
        let ranges = self.ranges.get_or_init(|| document_ranges(text));
        let range = ranges.get(document.number - 1)?;
        text.get(range.clone()).filter(|text| {
            document.item.is_none()
                && read_documents(text.as_bytes())
                    .is_ok_and(|read| read.len() == 1 && read[0].object == document.object)
        })
    }

    /// For messages: the file, and the document where there are several.
    pub fn subject(&self, document: &Document) -> String {
        let name = self
            .path
            .as_deref()
            .map_or_else(|| "stdin".to_owned(), shown);
        if self.documents.len() == 1 {
            return format!("{name}: {}", document.title());
        }
        let item = document
            .item
            .map(|item| format!(" item {item}"))
            .unwrap_or_default();
        format!(
            "{name}: document {}{item} ({})",
            document.number,
            document.title()
        )
    }
}

/// A document that may hold plaintext: wiped when dropped.
pub(crate) struct PlainDocument(Document);

impl Deref for PlainDocument {
    type Target = Document;

    fn deref(&self) -> &Document {
        &self.0
    }
}

impl Drop for PlainDocument {
    fn drop(&mut self) {
        wipe(&mut self.0.object);
    }
}

/// Reads these files, `-` being stdin; none means stdin, unless a person sits there.
pub(crate) fn read_inputs(paths: &[PathBuf]) -> Result<Vec<Input>> {
    if paths.is_empty() {
        if std::io::stdin().is_terminal() {
            return Err(CommandError::usage("nothing to read")
                .hint("pass -f FILE, or pipe a manifest to stdin; see `seal --help`"));
        }
        return Ok(vec![read_input(None)?]);
    }
    if paths.iter().filter(|path| path.as_os_str() == "-").count() > 1 {
        return Err(CommandError::usage("stdin can be read only once").on("-f -"));
    }
    paths
        .iter()
        .map(|path| read_input((path.as_os_str() != "-").then_some(path)))
        .collect()
}

fn read_input(path: Option<&PathBuf>) -> Result<Input> {
    let text = match path {
        Some(path) => files::read(path, INPUT_BYTES)?,
        None => files::read_stdin(INPUT_BYTES)?,
    };
    let documents = read_documents(&text).map_err(|error| {
        let name = path.map_or_else(|| "stdin".to_owned(), |path| shown(Path::new(path)));
        CommandError::input(error).on(name)
    })?;
    let documents = documents.into_iter().map(PlainDocument).collect();
    Ok(Input {
        path: path.cloned(),
        text,
        documents,
        ranges: OnceCell::new(),
    })
}
