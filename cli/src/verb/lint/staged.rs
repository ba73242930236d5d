//! What the next commit brings, as it stands in Git's index. What was committed before is not
//! reported again.

use std::collections::HashSet;
use std::path::Path;

use sealkit_core::lint::{Linted, lint};
use zeroize::Zeroizing;

use super::{Findings, Identities, targets, too_large};
use crate::error::{CommandError, Result};
use crate::git::history::History;
use crate::git::staged::Staged;

/// Where a merge or a cherry-pick takes files from.
const OTHERS: [&str; 2] = ["MERGE_HEAD", "CHERRY_PICK_HEAD"];

/// Looks at the index of the repository around the working directory.
pub(super) fn findings() -> Result<Findings> {
    let here = std::env::current_dir();
    let here = here.map_err(|_| CommandError::input("no working directory"))?;
    let history = History::around(&here)?;
    let staged = history.staged()?;
    let mut standing = standing(&history, &staged)?;
    let tree = history.index()?;
    let beside = |path: &Path, name: &str| {
        let path = targets::joined(path, name)?;
        let bytes = history.file(&tree, path.to_str()?).ok()??;
        Some(Zeroizing::new(bytes))
    };
    let files: Vec<(&Staged, &str)> = staged
        .iter()
        .filter(|file| !file.is_link)
        .filter_map(|file| Some((file, file.id.as_deref()?)))
        .collect();
    let ids: Vec<&str> = files.iter().map(|(_, id)| *id).collect();
    let mut findings = Findings::default();
    let mut seen = vec![false; files.len()];
    history.read(&ids, |index, bytes| {
        seen[index] = true;
        let path = &files[index].0.path;
        let mut linted = lint(bytes, targets::kind(path), &|name| beside(path, name));
        linted.findings.retain(|finding| {
            let known = standing
                .get_mut(&finding.identity)
                .filter(|left| **left > 0);
            known.map(|left| *left -= 1).is_none()
        });
        findings.add(path, path, linted);
        Ok(())
    })?;
    let unread = files.iter().zip(seen).filter(|(_, seen)| !seen);
    for ((file, _), _) in unread {
        findings.add(&file.path, &file.path, too_large());
    }
    Ok(findings)
}

/// What the files had in the last commit, and have in what is merged: under any of their names,
/// since files are renamed.
fn standing(history: &History, staged: &[Staged]) -> Result<Identities> {
    let mut files: Vec<(&Path, String)> = staged
        .iter()
        .filter_map(|file| Some((file.path.as_path(), file.before.clone()?)))
        .collect();
    let paths: HashSet<&Path> = staged.iter().map(|file| file.path.as_path()).collect();
    for other in OTHERS {
        // There is none, mostly.
        let Ok(commit) = history.commit(other) else {
            continue;
        };
        for (path, id) in history.files(&commit)? {
            files.extend(paths.get(path.as_path()).map(|path| (*path, id)));
        }
    }
    let ids: Vec<&str> = files.iter().map(|(_, id)| id.as_str()).collect();
    let mut identities = Identities::new();
    history.read(&ids, |index, bytes| {
        // Files that a kustomization named then are not read: what is in them counts as new.
        let Linted { findings, .. } = lint(bytes, targets::kind(files[index].0), &|_| None);
        for finding in findings {
            *identities.entry(finding.identity).or_default() += 1;
        }
        Ok(())
    })?;
    Ok(identities)
}
