//! Finds secrets by their names or custom metadata.

use futures::{StreamExt, TryStreamExt, stream};

use super::{Vault, answer};
use crate::store::find::{AT_ONCE, NAMES, pattern, read_all, too_large, within_time};
use crate::store::{Find, Object, StoreError};

/// Folders that a search may list.
const FOLDERS: usize = 1_000;

impl Vault {
    /// All secrets that match, by their paths below the mount.
    pub(super) async fn find(&self, find: &Find) -> Result<Object, StoreError> {
        if !self.engine.is_v2 && !find.tags.is_empty() {
            return Err(StoreError::Config(
                "find.tags needs a KV engine of version 2: there is no metadata in version 1"
                    .to_owned(),
            ));
        }
        let pattern = find.name.as_deref().map(pattern).transpose()?;
        within_time(async {
            let mut names = self.names(&find.path).await?;
            match &pattern {
                Some(pattern) => names.retain(|name| pattern.is_match(name)),
                None if find.tags.is_empty() => {}
                None => names = self.tagged(names, find).await?,
            }
            let read = async |name: String| absent(self.secret(&name, None).await);
            read_all(names, read).await
        })
        .await
    }

    /// The names of all secrets below a folder.
    async fn names(&self, folder: &str) -> Result<Vec<String>, StoreError> {
        let mut folders = vec![folder.trim_matches('/').to_owned()];
        let (mut listed, mut names) = (0, Vec::new());
        while let Some(folder) = folders.pop() {
            listed += 1;
            // What is deleted while it is listed is no failure.
            let Some(entries) = absent(self.list(&folder).await)? else {
                continue;
            };
            for entry in entries {
                let path = if folder.is_empty() {
                    entry
                } else {
                    format!("{folder}/{entry}")
                };
                match path.strip_suffix('/') {
                    Some(folder) => folders.push(folder.to_owned()),
                    None => names.push(path),
                }
            }
            if names.len() > NAMES || listed + folders.len() > FOLDERS {
                let what = format!("looks at more than {NAMES} secrets or {FOLDERS} folders");
                return Err(too_large(&what));
            }
        }
        names.sort();
        Ok(names)
    }

    async fn list(&self, folder: &str) -> Result<Vec<String>, StoreError> {
        let mut url = self.url(&self.engine.folder(folder)?);
        url.query_pairs_mut().append_pair("list", "true");
        let body = self.body_for(folder, url).await?;
        answer::names(&body, folder)
    }

    /// Those of the names whose custom metadata has all tags.
    async fn tagged(&self, names: Vec<String>, find: &Find) -> Result<Vec<String>, StoreError> {
        let tagged = names.into_iter().map(|name| async move {
            let Some(known) = absent(self.metadata(&name).await)? else {
                return Ok(None);
            };
            let mut tags = find.tags.iter();
            Ok(tags
                .all(|(tag, value)| known.0[tag] == *value)
                .then_some(name))
        });
        let tagged = stream::iter(tagged).buffered(AT_ONCE);
        tagged
            .try_filter_map(async |name| Ok(name))
            .try_collect()
            .await
    }
}

/// What does not exist is none.
fn absent<T>(found: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
    match found {
        Err(StoreError::Missing(_)) => Ok(None),
        found => found.map(Some),
    }
}
