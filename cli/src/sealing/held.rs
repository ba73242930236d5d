//! A file that holds SealedSecrets already, and the one of them that a person means.

use std::path::Path;

use sealkit_core::manifest::{Document, INPUT_BYTES, read_documents};

use super::foreign::refusal_of_all;
use crate::error::{CommandError, Result};
use crate::files;
use crate::terminal::shown;

/// Text and objects of a file.
pub(crate) fn read(path: &Path) -> Result<(String, Vec<Document>)> {
    let text = files::read_text(path, INPUT_BYTES)?;
    let documents = read_documents(text.as_bytes())
        .map_err(|error| CommandError::input(error).on(shown(path)))?;
    Ok((text, documents))
}

/// The SealedSecret of a file that a person means: the only one, or that of this name.
pub(crate) fn find_object<'d>(
    documents: &'d [Document],
    namespace: Option<&str>,
    name: Option<&str>,
) -> Result<(usize, &'d Document)> {
    let meant = |document: &Document| {
        document.is_sealed_secret()
            && namespace.is_none_or(|namespace| {
                // It may have that of whoever applies it.
                let named = document.metadata("namespace");
                named.is_empty() || named == namespace
            })
            && name.is_none_or(|name| document.metadata("name") == name)
    };
    let mut found = documents
        .iter()
        .enumerate()
        .filter(|(_, document)| meant(document));
    let first = found.next().ok_or_else(|| {
        refusal_of_all(documents, None).unwrap_or_else(|| {
            CommandError::input("no such SealedSecret in the file")
                .hint("to add a new one, seal it with -w: see `seal --help`")
        })
    })?;
    if found.next().is_some() {
        let names: Vec<_> = documents
            .iter()
            .filter(|document| document.is_sealed_secret())
            .collect();
        let names: Vec<_> = names.iter().map(|document| document.title()).collect();
        return Err(
            CommandError::input("the file holds more than one SealedSecret").hint(format_args!(
                "choose with --name and -n: {}",
                names.join(", ")
            )),
        );
    }
    Ok(first)
}
