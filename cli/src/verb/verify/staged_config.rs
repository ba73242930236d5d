//! What the next commit brings, as it stands in Git's index: whatever lies in the work tree
//! meanwhile, and whatever the work tree's config says.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use sealkit_core::manifest::{read_documents, wipe};
use sealkit_core::sealed::{Scope, SealedObject};
use tempfile::TempDir;

use super::baseline;
use crate::error::{CommandError, Result};
use crate::files::tree::is_manifest;
use crate::git::history::History;
use crate::git::repository::Location;
use crate::git::staged::Staged;
use crate::recipients::config::Config;
use crate::sealed_text::{PrivateKey, envelopes, plain, private_keys, title};

/// Where a merge or a cherry-pick takes files from.
const OTHERS: [&str; 2] = ["MERGE_HEAD", "CHERRY_PICK_HEAD"];

/// See the module's text.
pub(super) struct Index {
    history: History,
    root: PathBuf,
    staged: Vec<Staged>,
    /// The config that is committed with it, if there is one.
    pub config: Option<Rc<Config>>,
    /// Files of the config; gone when this is.
    _folder: TempDir,
}

/// What was committed before, and is no matter of the next commit.
#[derive(Default)]
pub(super) struct Standing {
    /// Age files of envelopes, as text.
    envelopes: HashSet<String>,
    /// Those that only what is merged has.
    merged: HashSet<String>,
    /// Digests of plain Secrets and private keys.
    pub plain: HashSet<[u8; 32]>,
    /// Objects with the scope that each had.
    pub scopes: HashSet<(String, Scope)>,
}

impl Standing {
    /// Was this age file committed before? What was `carried` over from another branch must have been
    /// on this one.
    pub fn has(&self, age_file: &str, carried: bool) -> bool {
        self.envelopes.contains(age_file) || !carried && self.merged.contains(age_file)
    }

    /// The private keys in a file that were not committed before.
    pub fn new_private_keys(&self, bytes: &[u8]) -> impl Iterator<Item = PrivateKey> {
        let keys = private_keys(bytes).into_iter();
        keys.filter(|key| !self.plain.contains(&key.digest))
    }
}

impl Index {
    /// The index of the repository around the working directory.
    pub fn read() -> Result<Self> {
        let here = std::env::current_dir();
        let here = here.map_err(|_| CommandError::input("no working directory"))?;
        let history = History::around(&here)?;
        let root = history.root().canonicalize();
        let root = root.unwrap_or_else(|_| history.root().to_owned());
        let folder = tempfile::tempdir()
            .map_err(|_| CommandError::input("a temporary folder cannot be created"))?;
        let config = baseline::config(&history, &history.index()?, &root, folder.path())?;
        Ok(Self {
            staged: history.staged()?,
            history,
            root,
            config: config.map(Rc::new),
            _folder: folder,
        })
    }

    /// What the files had in the last commit, and have in what is merged: under any of their names,
    /// since files are renamed.
    pub fn standing(&self) -> Result<Standing> {
        let mut ids: Vec<String> = self
            .staged
            .iter()
            .filter_map(|file| file.before.clone())
            .collect();
        let own = ids.len();
        let paths: HashSet<&Path> = self.staged.iter().map(|file| file.path.as_path()).collect();
        for other in OTHERS {
            // There is none, mostly.
            let Ok(commit) = self.history.commit(other) else {
                continue;
            };
            let files = self.history.files(&commit)?.into_iter();
            ids.extend(
                files
                    .filter(|(path, _)| paths.contains(path.as_path()))
                    .map(|(_, id)| id),
            );
        }
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let mut standing = Standing::default();
        self.history.read(&ids, |index, bytes| {
            let known = if index < own {
                &mut standing.envelopes
            } else {
                &mut standing.merged
            };
            known.extend(envelopes(bytes));
            let keys = private_keys(bytes).into_iter().map(|key| key.digest);
            standing.plain.extend(keys);
            for mut document in read_documents(bytes).unwrap_or_default() {
                standing.plain.extend(plain(&document));
                if let Ok(object) = SealedObject::parse(&document.object) {
                    let scope = object.context().scope();
                    standing.scopes.insert((title(&document), scope));
                }
                wipe(&mut document.object);
            }
            Ok(())
        })?;
        Ok(standing)
    }

    /// Hands out each file: its place, and its bytes if it is not too large to be looked at. `true`
    /// says that it is a manifest.
    pub fn each(
        &self,
        mut each: impl FnMut(&Location, bool, Option<&[u8]>) -> Result<()>,
    ) -> Result<()> {
        let files: Vec<(&Staged, &str)> = self
            .staged
            .iter()
            .filter_map(|file| Some((file, file.id.as_deref()?)))
            .collect();
        let ids: Vec<&str> = files.iter().map(|(_, id)| *id).collect();
        // As committed: what stands at that path on the disk, or above it, does not matter.
        let place = |file: &Staged| Location {
            given: file.path.clone(),
            real: self.root.join(&file.path),
            root: Some(self.root.clone()),
        };
        let mut large: Vec<bool> = vec![true; files.len()];
        self.history.read(&ids, |index, bytes| {
            let (file, _) = files[index];
            large[index] = false;
            let manifest = !file.is_link && is_manifest(&file.path);
            each(&place(file), manifest, Some(bytes))
        })?;
        let large = files.iter().zip(large).filter(|(_, large)| *large);
        for ((file, _), _) in large {
            each(&place(file), is_manifest(&file.path), None)?;
        }
        Ok(())
    }
}
