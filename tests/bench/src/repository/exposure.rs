//! `seal keys exposure` over a long history.

use std::fs;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use sealkit_core::keys::{Identity, KeyType, RecipientSet};
use sealkit_core::manifest::to_yaml;

use super::{PART, VALUES, object, start};
use crate::binaries::Binaries;
use crate::report::{Figure, Quantity};
use crate::{Result, progress};

/// Measures it over so many commits, each of which seals one of so many files anew.
pub fn run(commits: usize, files: usize, ours: &Binaries) -> Result<Vec<Figure>> {
    progress(format_args!(
        "{PART}: what a key exposed, {commits} commits over {files} files"
    ));
    let folder = tempfile::tempdir()?;
    let root = folder.path().join("repository");
    let key = Identity::generate(KeyType::Hybrid);
    history(
        &root,
        commits,
        files,
        &RecipientSet::new([key.recipient().clone()])?,
    )?;
    let fingerprint = key.fingerprint().to_string();
    let output = Command::new(&ours.seal)
        .args(["keys", "exposure", "-q", "-o", "json", &fingerprint])
        .current_dir(&root)
        .output()?;
    let report: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let found = report["values"].as_array().map_or(0, Vec::len);
    if found != (commits - 1 + files) * VALUES {
        return Err(format!("`seal keys exposure` found {found} values").into());
    }
    // It finds something, which is not success.
    let (wall, memory) = start(
        &ours.seal,
        &["keys", "exposure", "-q", &fingerprint],
        &root,
        None,
        1,
    )?;
    let what =
        |text: &str| format!("`seal keys exposure`, {commits} commits x {files} files: {text}");
    Ok(vec![
        Figure::limited(
            PART,
            what("wall"),
            wall.into(),
            Duration::from_secs(60).into(),
        ),
        Figure::limited(
            PART,
            what("peak memory"),
            memory,
            Quantity::Bytes(500_000_000),
        ),
    ])
}

/// A repository whose first commit has all files.
fn history(root: &Path, commits: usize, files: usize, to: &RecipientSet) -> Result<()> {
    fs::create_dir_all(root)?;
    let git = |arguments: &[&str]| -> Result<()> {
        let status = Command::new("git")
            .arg("-C")
            .arg(root)
            .args(arguments)
            .status()?;
        status
            .success()
            .then_some(())
            .ok_or_else(|| format!("git {arguments:?} failed").into())
    };
    git(&["init", "-q", "-b", "main"])?;
    let mut import = Command::new("git");
    import.arg("-C").arg(root).args(["fast-import", "--quiet"]);
    let mut import = import.stdin(Stdio::piped()).spawn()?;
    let mut stream = BufWriter::new(import.stdin.take().ok_or("no stdin")?);
    for commit in 0..commits {
        let time = 1_700_000_000 + commit;
        write!(
            stream,
            "commit refs/heads/main\ncommitter b <b@example.com> {time} +0000\ndata 1\nx\n"
        )?;
        let changed = if commit == 0 {
            0..files
        } else {
            commit % files..commit % files + 1
        };
        for file in changed {
            let text = to_yaml(&[object(&format!("object-{file:05}"), VALUES, to)?])?;
            let length = text.len();
            write!(
                stream,
                "M 100644 inline f{file:05}.sealed.yaml\ndata {length}\n{text}\n"
            )?;
        }
    }
    drop(stream);
    if !import.wait()?.success() {
        return Err("git fast-import failed".into());
    }
    git(&["reset", "-q", "--hard"])
}
