//! Files of other programs that keep secrets in Git: what they are, and the way from there to here.

use std::path::Path;

use sealkit_core::manifest::{Document, Foreign};

use crate::error::CommandError;
use crate::terminal::{quoted, shown};

/// Where the ways are described.
const PAGE: &str = "docs/migrate.md describes the whole way";

/// What a document is, if another program encrypted it: an error with the command that moves it.
pub(crate) fn refusal(document: &Document, path: Option<&Path>) -> Option<CommandError> {
    let file = path.map_or_else(|| "FILE".to_owned(), |path| quoted(&shown(path)));
    let stem = file
        .trim_end_matches(".yaml")
        .trim_end_matches(".yml")
        .trim_end_matches(".json");
    let target = format!(
        "{}.sealed.yaml",
        stem.trim_end_matches(".sealed").trim_end_matches(".enc")
    );
    let (name, namespace) = (document.metadata("name"), document.metadata("namespace"));
    let error = match document.foreign()? {
        Foreign::SealedSecrets => {
            let namespace = if namespace.is_empty() {
                "NAMESPACE"
            } else {
                namespace
            };
            CommandError::input("a SealedSecret of Sealed Secrets (bitnami.com), which only its own controller opens")
                .hint(format_args!(
                    "take the values from the live Secret: `kubectl get secret {} -n {} -o yaml | seal -w {target}`",
                    quoted(name),
                    quoted(namespace)
                ))
        }
        Foreign::Sops => CommandError::input("encrypted by SOPS").hint(format_args!(
            "decrypt it on the way: `sops -d {file} | seal -w {target}`"
        )),
    };
    Some(error.hint(PAGE))
}

/// The same for the first such document of a file, if no document is ours.
pub(crate) fn refusal_of_all(documents: &[Document], path: Option<&Path>) -> Option<CommandError> {
    if documents.iter().any(Document::is_sealed_secret) {
        return None;
    }
    documents
        .iter()
        .find_map(|document| refusal(document, path))
}
