//! `seal merge-driver`: three versions of a file, merged key by key and without a private key.

use std::path::{Path, PathBuf};

use clap::Args;
use sealkit_core::manifest::merge::Aligned;
use sealkit_core::manifest::{INPUT_BYTES, read_documents};
use sealkit_core::sealed::SealedObject;

use crate::error::{CommandError, Result};
use crate::files;
use crate::git::command::command;
use crate::git::repository::Location;
use crate::recipients::wanted::Wanted;
use crate::report::Verdict;
use crate::terminal::Terminal;

/// Flags of `seal merge-driver`: files that Git made.
#[derive(Args, Debug)]
pub(crate) struct MergeDriverArgs {
    /// The common ancestor
    #[arg(value_name = "BASE")]
    pub base: PathBuf,
    /// Our version; receives the result
    #[arg(value_name = "OURS")]
    pub ours: PathBuf,
    /// Their version
    #[arg(value_name = "THEIRS")]
    pub theirs: PathBuf,
    /// Path of the file in the repository
    #[arg(value_name = "PATH")]
    pub path: Option<PathBuf>,
}

/// Git's merge driver: values and envelopes are merged key by key, the rest by lines. The result
/// is written to `ours`. A conflict that a person has to resolve is a finding, with markers.
pub(crate) fn merge_driver(args: &MergeDriverArgs, terminal: Terminal) -> Result<Verdict> {
    let read = |path: &Path| files::read_text(path, INPUT_BYTES);
    let texts = [read(&args.base)?, read(&args.ours)?, read(&args.theirs)?];
    let wanted = args.path.as_deref().and_then(wanted);
    let aligned = Aligned::new(&texts, wanted.as_deref());
    let (mut text, mut clean) = match &aligned {
        Some(aligned) => merge_lines(aligned.texts())?,
        None => merge_lines(&texts)?,
    };
    // The lines of values and envelopes may differ in order and style, and mean the same.
    if let Some(aligned) = aligned.as_ref().filter(|_| !clean)
        && let Some(whole) = aligned.whole(&texts)
    {
        (text, clean) = (whole.to_owned(), true);
    }
    files::replace(&Location::of(&args.ours)?.real, text.as_bytes())?;
    if !clean {
        for what in aligned.iter().flat_map(Aligned::conflicts) {
            terminal.warning(format_args!("both sides changed {what}: keep one of them"));
        }
        return Ok(Verdict::Findings);
    }
    // A merge without conflicts can still change the meaning.
    let documents = read_documents(text.as_bytes()).unwrap_or_default();
    let mut sealed = documents
        .iter()
        .filter(|document| document.is_sealed_secret());
    let valid = !documents.is_empty()
        && sealed.all(|document| SealedObject::parse(&document.object).is_ok());
    let meant = aligned.is_none_or(|aligned| aligned.is_said_by(&documents));
    if !valid || !meant {
        terminal.warning(
            "the merge result is not what both sides meant: check the file before you continue",
        );
    }
    Ok(Verdict::clean_if(valid && meant))
}

/// `git merge-file` on three texts; false where it left conflict markers.
fn merge_lines([base, ours, theirs]: &[String; 3]) -> Result<(String, bool)> {
    let failed = || CommandError::input("`git merge-file` failed");
    // Ciphertext, in a folder of its own.
    let folder = tempfile::tempdir().map_err(|_| failed())?;
    let at = |name: &str| folder.path().join(name);
    for (name, text) in [("base", base), ("ours", ours), ("theirs", theirs)] {
        std::fs::write(at(name), text).map_err(|_| failed())?;
    }
    // Run here, where Git's configuration says how to mark conflicts.
    let output = command(Path::new("."))
        .args([
            "merge-file",
            "-p",
            "-L",
            "ours",
            "-L",
            "base",
            "-L",
            "theirs",
        ])
        .args([at("ours"), at("base"), at("theirs")])
        .output()
        .map_err(|_| failed())?;
    let text = String::from_utf8(output.stdout).map_err(|_| failed())?;
    match output.status.code() {
        Some(0) => Ok((text, true)),
        Some(count) if count < 128 => Ok((text, false)),
        _ => Err(failed()),
    }
}

/// Whom the config wants the path to be sealed to, as envelopes show it.
fn wanted(path: &Path) -> Option<Vec<String>> {
    let place = Location::of(path).ok()?;
    let chosen = Wanted::default().at(&place).ok()??;
    let fingerprints = chosen.set.fingerprints();
    Some(fingerprints.iter().map(ToString::to_string).collect())
}
