//! What Git has stored of the work tree: attributes and filters can show others different bytes
//! than this checkout.

use std::path::{Path, PathBuf};

use sealkit_core::manifest::INPUT_BYTES;

use crate::error::Result;
use crate::files;
use crate::git::history::History;
use crate::git::repository::Location;
use crate::report::Finding;

/// The files of one repository, as Git has stored them.
pub(super) struct Stored {
    /// Where the repository stands in the one that is verified.
    pub folder: PathBuf,
    /// Where their bytes are.
    pub history: History,
    /// Path in the repository that is verified, and id.
    pub files: Vec<(PathBuf, String)>,
}

/// A file that the work tree has otherwise, or not at all.
pub(super) struct StoredFile<'a> {
    /// Its place; the path is that in the repository which is verified.
    pub place: Location,
    /// Nothing where there are too many.
    pub bytes: Option<&'a [u8]>,
}

impl Stored {
    /// Hands out the files that the work tree has otherwise.
    pub fn each(
        &self,
        root: &Path,
        mut each: impl FnMut(&StoredFile<'_>) -> Result<()>,
    ) -> Result<()> {
        let place = |path: &Path| Location {
            given: path.to_owned(),
            real: root.join(path),
            root: Some(root.join(&self.folder)),
        };
        let ids: Vec<&str> = self.files.iter().map(|(_, id)| id.as_str()).collect();
        let mut large = vec![true; ids.len()];
        self.history.read(&ids, |index, bytes| {
            large[index] = false;
            let place = place(&self.files[index].0);
            if is_in_work_tree(&place.real, bytes) {
                return Ok(());
            }
            let bytes = Some(bytes);
            each(&StoredFile { place, bytes })
        })?;
        let large = self.files.iter().zip(large).filter(|(_, large)| *large);
        for ((path, _), _) in large {
            let (place, bytes) = (place(path), None);
            each(&StoredFile { place, bytes })?;
        }
        Ok(())
    }
}

fn is_in_work_tree(path: &Path, bytes: &[u8]) -> bool {
    let is_file = path.symlink_metadata().is_ok_and(|it| it.is_file());
    is_file && files::read(path, INPUT_BYTES).is_ok_and(|found| **found == *bytes)
}

/// Leaves those findings from `start` on that the work tree does not show too, and says so.
pub(super) fn mark(findings: &mut Vec<Finding>, start: usize) {
    for mut finding in findings.split_off(start) {
        if !findings.contains(&finding) {
            finding.detail.push_str(" (as Git stores the file)");
            findings.push(finding);
        }
    }
}
