//! What is not history yet: the index, which the next commit is made of, and the work tree.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::command::path;
use super::history::{History, failed, is_file, is_submodule};
use crate::error::{CommandError, Result};

/// A file that the next commit makes new, changes or takes away. Submodules are none.
#[derive(Clone, Debug)]
pub(crate) struct Staged {
    /// Its path in the repository.
    pub path: PathBuf,
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
        let tree = tree.map_err(|error| {
            let unmerged = self.ask_bytes(&["ls-files", "--unmerged", "-z"]);
            if unmerged.is_ok_and(|list| !list.is_empty()) {
                return CommandError::input("the index has unresolved conflicts");
            }
            error
        })?;
        Ok(tree.trim().to_owned())
    }

    /// What the next commit brings.
    pub fn staged(&self) -> Result<Vec<Staged>> {
        let list = self.ask_bytes(&[
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
        let mut tokens = list
            .split(|byte| *byte == 0)
            .filter(|token| !token.is_empty());
        while let (Some(meta), Some(name)) = (tokens.next(), tokens.next()) {
            // Modes and ids, old and new, and what happened.
            let meta = String::from_utf8_lossy(meta);
            let fields: Vec<&str> = meta.trim_start_matches(':').split(' ').collect();
            let [before_mode, mode, before, id, _] = fields.as_slice() else {
                return Err(failed());
            };
            let is_link = mode.starts_with("120");
            staged.push(Staged {
                path: path(name).ok_or_else(failed)?,
                id: (is_file(mode) || is_link).then(|| (*id).to_owned()),
                is_link,
                before: is_file(before_mode).then(|| (*before).to_owned()),
            });
        }
        Ok(staged)
    }

    /// Files of the work tree that are tracked, or would be if they were added. Of a submodule, or
    /// of a repository inside of this one, its folder.
    pub fn work_tree(&self) -> Result<Vec<PathBuf>> {
        let list = [
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ];
        let list = self.ask_bytes(&list)?;
        let names = list
            .split(|byte| *byte == 0)
            .filter(|name| !name.is_empty());
        let paths = names.map(|name| Ok(self.root().join(path(name).ok_or_else(failed)?)));
        let mut paths = paths.collect::<Result<Vec<PathBuf>>>()?;
        paths.sort();
        paths.dedup();
        Ok(paths)
    }

    /// The files of the index, those that a sparse checkout leaves out included: path and id.
    pub fn index_files(&self) -> Result<Vec<(PathBuf, String)>> {
        self.in_index(is_file)
    }

    /// The submodules of the index: path and commit.
    pub fn index_submodules(&self) -> Result<Vec<(PathBuf, String)>> {
        self.in_index(is_submodule)
    }

    fn in_index(&self, wanted: fn(&str) -> bool) -> Result<Vec<(PathBuf, String)>> {
        let entries = self.entries(&["ls-files", "-z", "--full-name", "--stage"])?;
        // Mode, id, and the side of a conflict.
        let entries = entries.into_iter().filter_map(|(words, path)| {
            let [mode, id, _] = words.try_into().ok()?;
            wanted(&mode).then_some((path, id))
        });
        Ok(entries.collect())
    }

    /// Those of these files for which an attribute is set: `filter` names a program that changes a
    /// file before Git stores it, as Git LFS does.
    pub fn with_attribute(&self, name: &str, paths: &[&Path]) -> Result<HashSet<PathBuf>> {
        /// As many as a command line takes.
        const AT_ONCE: usize = 1000;
        let mut found = HashSet::new();
        for paths in paths.chunks(AT_ONCE) {
            let mut arguments = ["check-attr", "-z", name, "--"].map(OsStr::new).to_vec();
            arguments.extend(paths.iter().map(|path| path.as_os_str()));
            let list = self.ask_bytes(&arguments)?;
            let tokens: Vec<&[u8]> = list.split(|byte| *byte == 0).collect();
            // Path, attribute, value.
            found.extend(tokens.chunks_exact(3).filter_map(|entry| match entry {
                [_, _, b"unspecified" | b"unset"] => None,
                [name, ..] => path(name),
                _ => None,
            }));
        }
        Ok(found)
    }
}
