//! What is not history yet: the index, which the next commit is made of, and the work tree.

use std::path::PathBuf;

use super::history::{History, failed};
use crate::error::{CommandError, Result};

/// A file that the next commit makes new, changes or takes away. Submodules are none.
#[derive(Clone, Debug)]
pub(crate) struct Staged {
    /// Its path in the repository.
    pub path: String,
    /// Its version, unless it goes.
    pub id: Option<String>,
    /// Is that the target of a link?
    pub is_link: bool,
    /// The version that it had in the last commit.
    pub before: Option<String>,
}

impl History {
    /// The tree of the next commit.
    pub fn index(&self) -> Result<String> {
        let tree = self.ask(&["write-tree"]);
        let tree = tree.map_err(|_| CommandError::input("the index has unresolved conflicts"))?;
        Ok(tree.trim().to_owned())
    }

    /// What the next commit brings.
    pub fn staged(&self) -> Result<Vec<Staged>> {
        let list = self.ask(&[
            "diff",
            "--cached",
            "--raw",
            "-z",
            "--no-abbrev",
            "--no-renames",
            "--no-ext-diff",
            "--no-color",
            "--diff-filter=ADMT",
        ])?;
        let mut staged = Vec::new();
        let mut tokens = list.split('\0').filter(|token| !token.is_empty());
        while let (Some(meta), Some(path)) = (tokens.next(), tokens.next()) {
            // Modes and ids, old and new, and what happened.
            let fields: Vec<&str> = meta.trim_start_matches(':').split(' ').collect();
            let [before_mode, mode, before, id, _] = fields.as_slice() else {
                return Err(failed());
            };
            let is_link = mode.starts_with("120");
            staged.push(Staged {
                path: path.to_owned(),
                id: (mode.starts_with("100") || is_link).then(|| (*id).to_owned()),
                is_link,
                before: before_mode.starts_with("100").then(|| (*before).to_owned()),
            });
        }
        Ok(staged)
    }

    /// Files of the work tree that are tracked, or would be if they were added.
    pub fn work_tree(&self) -> Result<Vec<PathBuf>> {
        let list = [
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ];
        let list = self.ask(&list)?;
        let mut paths: Vec<PathBuf> = list
            .split('\0')
            .filter(|path| !path.is_empty())
            .map(|path| self.root().join(path))
            .collect();
        paths.sort();
        paths.dedup();
        Ok(paths)
    }
}
