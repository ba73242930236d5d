//! From keys to paths, by the rules that External Secrets has for `path` and `data/`.

use super::StoreError;

/// A KV engine: where it is mounted, and of which version.
pub(super) struct Engine {
    /// Without slashes at its ends. If absent, keys begin with the mount.
    mount: Option<String>,
    pub(super) is_v2: bool,
}

impl Engine {
    pub(super) fn new(mount: Option<&str>, is_v2: bool) -> Self {
        Self {
            mount: mount.map(|mount| mount.trim_matches('/').to_owned()),
            is_v2,
        }
    }

    /// Where the secret of a key is.
    pub(super) fn secret(&self, key: &str) -> Result<String, StoreError> {
        self.path(key, "data")
    }

    /// The one name of a secret, whichever way a key is written: its path below the mount, or the whole
    /// path if the store names no mount.
    pub(super) fn resolved(&self, key: &str) -> Result<String, StoreError> {
        let path = self.secret(key)?;
        let Some(mount) = &self.mount else {
            return Ok(path);
        };
        let section = if self.is_v2 { "/data/" } else { "/" };
        let below = path.strip_prefix(mount.as_str());
        let below = below.and_then(|rest| rest.strip_prefix(section));
        Ok(below.unwrap_or(&path).to_owned())
    }

    /// Where the metadata of a key, or the list of a folder, is.
    pub(super) fn metadata(&self, key: &str) -> Result<String, StoreError> {
        self.path(key, "metadata")
    }

    /// A key is one path below the mount: it cannot leave it, whatever characters it has.
    fn path(&self, key: &str, section: &str) -> Result<String, StoreError> {
        let trimmed = key.trim_matches('/');
        let path = match &self.mount {
            Some(mount) => self.below(mount, trimmed, section),
            None => self.named(trimmed, section),
        };
        let is_bad = |segment: &str| {
            segment.is_empty()
                || matches!(segment, "." | "..")
                || segment.contains(|c: char| c.is_control() || c == '%' || c == '\\')
        };
        if !path.contains('/') || path.split('/').any(is_bad) {
            let what = format!("{key:?} is no key: it needs a path without empty parts, . and ..");
            return Err(StoreError::NoProperty(what));
        }
        if self.mount.is_none() && is_of_vault_itself(&path) {
            let what = format!("{key:?} is no key: Vault has no engine of secrets there");
            return Err(StoreError::NoProperty(what));
        }
        Ok(path)
    }

    fn below(&self, mount: &str, key: &str, section: &str) -> String {
        let stripped = key
            .strip_prefix(mount)
            .and_then(|rest| rest.strip_prefix('/'));
        if !self.is_v2 {
            return format!("{mount}/{}", stripped.unwrap_or(key));
        }
        let key = match stripped {
            Some(rest) => rest.strip_prefix("data/").unwrap_or(rest),
            None => key,
        };
        format!("{mount}/{section}/{key}")
    }

    /// The path of a key that begins with the mount.
    fn named(&self, key: &str, section: &str) -> String {
        if !self.is_v2 {
            return key.to_owned();
        }
        if key.contains("/data/") {
            return key.replacen("/data/", &format!("/{section}/"), 1);
        }
        match key.split_once('/') {
            Some((mount, rest)) => format!("{mount}/{section}/{rest}"),
            None => key.to_owned(),
        }
    }

    /// Where the names in a folder are. Error: [`StoreError::Config`] if no mount is named.
    pub(super) fn folder(&self, folder: &str) -> Result<String, StoreError> {
        let folder = folder.trim_matches('/');
        if folder.contains('/') || (self.mount.is_some() && !folder.is_empty()) {
            return self.metadata(folder);
        }
        // The mount itself.
        let mount = self.mount.as_deref().unwrap_or(folder);
        if mount.is_empty() {
            return Err(StoreError::Config(
                "find.path must begin with the mount, since the store has no path".to_owned(),
            ));
        }
        Ok(if self.is_v2 {
            format!("{mount}/metadata")
        } else {
            mount.to_owned()
        })
    }
}

/// Is it a path where no engine can be mounted? Vault answers there too: below `auth/token` with the
/// token that asks. Servers with namespaces take the name of one in front.
fn is_of_vault_itself(path: &str) -> bool {
    let first = path.split('/').next().unwrap_or_default();
    let first = first.to_ascii_lowercase();
    let own = ["auth", "sys", "cubbyhole", "identity", "audit"];
    own.contains(&first.as_str()) || path.to_ascii_lowercase().contains("/auth/token/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_become_paths_as_external_secrets_makes_them() {
        let rows = [
            (Some("secret"), true, "db", "secret/data/db"),
            (Some("secret"), true, "secret/db", "secret/data/db"),
            (Some("secret"), true, "secret/data/db", "secret/data/db"),
            (Some("secret"), true, "data/db", "secret/data/data/db"),
            (Some("/a/b/"), true, "/team/db/", "a/b/data/team/db"),
            (Some("secret"), true, "secrets/db", "secret/data/secrets/db"),
            (Some("secret"), false, "secret/db", "secret/db"),
            (Some("secret"), false, "data/db", "secret/data/db"),
            (None, true, "secret/team/db", "secret/data/team/db"),
            (None, true, "secret/data/team/db", "secret/data/team/db"),
            (None, false, "kv/team/db", "kv/team/db"),
        ];
        for (mount, is_v2, key, path) in rows {
            let found = Engine::new(mount, is_v2).secret(key).unwrap();
            assert_eq!(found, path, "{mount:?} {is_v2} {key}");
        }
        let rows = [
            (Some("secret"), "secret/data/db", "secret/metadata/db"),
            (None, "secret/data/team/db", "secret/metadata/team/db"),
            (None, "secret/team/db", "secret/metadata/team/db"),
        ];
        for (mount, key, path) in rows {
            let found = Engine::new(mount, true).metadata(key).unwrap();
            assert_eq!(found, path, "{mount:?} {key}");
        }
    }

    #[test]
    fn one_secret_has_one_name_however_its_key_is_written() {
        let resolved = |mount, is_v2, key| Engine::new(mount, is_v2).resolved(key).unwrap();
        for key in ["team/db", "/team/db/", "kv/team/db", "kv/data/team/db"] {
            assert_eq!(resolved(Some("kv"), true, key), "team/db", "{key}");
        }
        assert_eq!(resolved(Some("kv"), true, "data/team/db"), "data/team/db");
        assert_eq!(
            resolved(Some("kv"), false, "kv/data/team/db"),
            "data/team/db"
        );
        // Another engine may be mounted at kv/team.
        assert_eq!(resolved(None, true, "kv/team/db"), "kv/data/team/db");
        assert_eq!(resolved(None, true, "kv/team/data/db"), "kv/team/data/db");
    }

    #[test]
    fn folders_are_listed_below_their_mount() {
        let rows = [
            (Some("secret"), true, "", "secret/metadata"),
            (Some("secret"), true, "/team/", "secret/metadata/team"),
            (Some("kv"), false, "", "kv"),
            (Some("kv"), false, "team", "kv/team"),
            (None, true, "secret", "secret/metadata"),
            (None, true, "secret/team", "secret/metadata/team"),
            (None, false, "kv/team/", "kv/team"),
        ];
        for (mount, is_v2, folder, path) in rows {
            let found = Engine::new(mount, is_v2).folder(folder).unwrap();
            assert_eq!(found, path, "{mount:?} {is_v2} {folder}");
        }
        let nowhere = Engine::new(None, true).folder("");
        assert!(matches!(nowhere, Err(StoreError::Config(_))));
        assert!(Engine::new(Some("secret"), true).folder("../sys").is_err());
    }

    #[test]
    fn no_key_leads_to_the_token_of_the_store() {
        for is_v2 in [false, true] {
            let engine = Engine::new(None, is_v2);
            for key in [
                "auth/token/lookup-self",
                "/Auth/token/lookup-self",
                "team/auth/token/lookup-self",
                "sys/mounts",
                "cubbyhole/a",
                "identity/entity/id/a",
            ] {
                let refused = engine.secret(key);
                let is_reached = refused.is_ok_and(|path| !path.contains("/data/"));
                assert!(!is_reached, "{is_v2} {key:?}");
            }
        }
        let named = Engine::new(Some("kv"), false);
        assert_eq!(named.secret("auth/token/a").unwrap(), "kv/auth/token/a");
    }

    #[test]
    fn no_key_leaves_its_mount() {
        let engine = Engine::new(Some("secret"), true);
        for key in [
            "../sys/seal",
            "a/../b",
            "a//b",
            ".",
            "",
            "a/%2e%2e/b",
            "a/\\..",
            "a\nb",
        ] {
            let refused = engine.secret(key);
            assert!(matches!(refused, Err(StoreError::NoProperty(_))), "{key:?}");
        }
    }
}
