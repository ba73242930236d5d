//! `seal lint` over a tree of sealed files with some plain Secrets among them, against gitleaks.

use std::fs;
use std::path::Path;
use std::process::Command;

use sealkit_core::keys::{Identity, KeyType};

use super::{PART, Tree, start};
use crate::binaries::Binaries;
use crate::clock::median;
use crate::report::{Figure, Quantity, Target};
use crate::{Result, progress};

/// One of so many files is a plain Secret.
const PLAIN: usize = 100;
/// Files that are looked at in a second, at least.
const FILES_A_SECOND: f64 = 10_000.0;

/// Looks for plain text in so many files.
pub fn run(files: usize, runs: usize, ours: &Binaries) -> Result<Vec<Figure>> {
    progress(format_args!(
        "{PART}: plain text looked for in {files} files"
    ));
    let key = Identity::generate(KeyType::Hybrid);
    let tree = Tree::new(files, key.recipient(), key.recipient())?;
    for index in (0..files).step_by(PLAIN) {
        let text = format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: plain-{index}}}\nstringData: {{password: hunter2}}\n"
        );
        fs::write(tree.root.join(format!("plain-{index}.yaml")), text)?;
    }
    let git = Command::new("git")
        .args(["init", "-q"])
        .current_dir(&tree.root)
        .status()?;
    if !git.success() {
        return Err("git init failed".into());
    }
    let mut walls = Vec::new();
    for _ in 0..runs.div_ceil(10).max(3) {
        walls.push(start(&ours.seal, &["lint", "-q"], &tree.root, None, 1)?.0);
    }
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../interop/go/gitleaks");
    let gitleaks = sealkit_rig::go_tools(&source, "interop-gitleaks")?.join("gitleaks");
    let scan = ["dir", "--no-banner", "--exit-code=0", "."];
    let (theirs, _) = start(&gitleaks, &scan, &tree.root, None, 0)?;
    #[expect(clippy::cast_precision_loss, reason = "a number of files is small")]
    let limit = Quantity::Seconds(files as f64 / FILES_A_SECOND);
    Ok(vec![Figure::against(
        PART,
        format!("{files} files: `seal lint`, wall, against `gitleaks dir`"),
        median(walls).into(),
        theirs.into(),
        Some(Target::AtMost(limit)),
    )])
}
