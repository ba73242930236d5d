//! Submodules, which are read as the repository around them, as far as they are checked out.

use std::path::{Path, PathBuf};

use super::Baseline;
use crate::error::Result;
use crate::git::history::History;
use crate::terminal::Terminal;
use crate::verb::verify::stored::Stored;

impl Baseline {
    /// Takes in submodules of the repository in `folder`: each at the commit that Git has now, and
    /// at the one that the revision has.
    pub(super) fn take_in_submodules(
        &mut self,
        root: &Path,
        folder: &Path,
        submodules: Vec<(PathBuf, String)>,
        terminal: Terminal,
    ) -> Result<()> {
        for (path, commit) in submodules {
            let path = folder.join(path);
            if let Some(why) = self.take_in_submodule(root, &path, &commit, terminal)? {
                self.unread.push((path, why));
            }
        }
        Ok(())
    }

    /// Says why it cannot be compared, if it cannot.
    fn take_in_submodule(
        &mut self,
        root: &Path,
        path: &Path,
        commit: &str,
        terminal: Terminal,
    ) -> Result<Option<&'static str>> {
        let before = self.submodules.get(path).cloned();
        let is_changed = before.as_deref() != Some(commit);
        let folder = root.join(path);
        if !folder.join(".git").exists() {
            return Ok(is_changed.then_some("the submodule changed and is not checked out"));
        }
        let history = History::around(&folder)?;
        if history.is_shallow()? {
            return Ok(is_changed.then_some("the submodule changed and is a shallow clone"));
        }
        // One of the revision may have another path now.
        for (old_path, old) in self.submodules.clone() {
            if !self.read_submodules.contains(&old_path) && history.has(&old) {
                self.take_in_history(&history, &old, &old_path, terminal)?;
                self.read_submodules.insert(old_path);
            }
        }
        if before.is_some() && !self.read_submodules.contains(path) {
            let why = "the submodule changed, and its clone lacks the commit of the revision";
            return Ok(is_changed.then_some(why));
        }
        if !history.has(commit) {
            return Ok(Some("the submodule's clone lacks its new commit"));
        }
        if is_changed {
            // It chooses recipients for the files in the submodule.
            self.compare_config(&history, before.as_deref(), &folder, path)?;
        }
        let submodules = history.submodules(commit)?;
        let files = history.files(commit)?.into_iter();
        let files = files.map(|(name, id)| (path.join(name), id)).collect();
        self.stored.push(Stored {
            folder: path.to_owned(),
            history,
            files,
        });
        self.take_in_submodules(root, path, submodules, terminal)?;
        Ok(None)
    }
}
