//! A rule of the config: a glob, and what holds for the paths that it matches.

use std::collections::BTreeMap;
use std::path::Path;

use globset::{Glob, GlobBuilder, GlobSet, GlobSetBuilder};
use sealkit_core::names::is_dns_label;
use sealkit_core::sealed::Scope;
use serde::Deserialize;

use crate::terminal::safe;

/// One rule of the config.
#[derive(Debug)]
pub(crate) struct Rule {
    /// The glob as written.
    pub path: String,
    /// Names of clusters, at least one.
    pub clusters: Vec<String>,
    /// The scope it sets.
    pub scope: Option<Scope>,
    /// The namespace of objects that name none: whoever applies them sets it.
    pub namespace: Option<String>,
    /// The globs of the branches that it is for, as written; none where it is for all.
    pub branches: Vec<String>,
    globs: GlobSet,
    branch_globs: GlobSet,
}

/// A rule as written in the file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RuleEntry {
    path: String,
    clusters: Vec<String>,
    scope: Option<String>,
    namespace: Option<String>,
    branches: Option<Vec<String>>,
}

impl Rule {
    /// Checks a rule: its glob, its scope, and that its clusters are among these.
    pub(super) fn new<T>(entry: RuleEntry, clusters: &BTreeMap<String, T>) -> Result<Self, String> {
        let shown = safe(&entry.path);
        if entry.clusters.is_empty() {
            return Err(format!("the rule for {shown} has no clusters"));
        }
        if let Some(name) = entry
            .clusters
            .iter()
            .find(|name| !clusters.contains_key(*name))
        {
            return Err(format!(
                "the rule for {shown} names cluster {}, which the config does not define",
                safe(name)
            ));
        }
        let globs = globs(&entry.path)
            .ok_or_else(|| format!("the rule path {shown} is not a gitignore-style glob"))?;
        let scope = scope(entry.scope.as_deref())?;
        if let Some(namespace) = entry
            .namespace
            .as_deref()
            .filter(|name| !is_dns_label(name))
        {
            return Err(format!(
                "the rule for {shown} has a namespace {}, which is not the name of one",
                safe(namespace)
            ));
        }
        if entry.branches.as_ref().is_some_and(Vec::is_empty) {
            return Err(format!(
                "the rule for {shown} has an empty list of branches, so it is for none"
            ));
        }
        let branches = entry.branches.unwrap_or_default();
        let mut branch_globs = GlobSetBuilder::new();
        for pattern in &branches {
            branch_globs.add(branch_glob(pattern).ok_or_else(|| {
                format!(
                    "the rule for {shown} names branch {}, which is not a glob",
                    safe(pattern)
                )
            })?);
        }
        Ok(Self {
            path: entry.path,
            clusters: entry.clusters,
            scope,
            namespace: entry.namespace,
            branches,
            globs,
            branch_globs: branch_globs.build().map_err(|error| error.to_string())?,
        })
    }

    /// Does it match a path, relative to the config?
    pub fn matches(&self, path: &Path) -> bool {
        self.globs.is_match(path)
    }

    /// Its branches, for people.
    pub fn branches_shown(&self) -> String {
        let all: Vec<String> = self.branches.iter().map(|name| safe(name)).collect();
        all.join(", ")
    }

    /// Is it for a branch? Only asked of one that names branches.
    pub fn is_for(&self, branch: &str) -> bool {
        self.branch_globs.is_match(branch)
    }
}

/// A glob for the whole name of a branch: `*` and `?` match no `/`, `**` does.
fn branch_glob(pattern: &str) -> Option<Glob> {
    if pattern.is_empty() || pattern.starts_with('!') {
        return None;
    }
    glob(pattern)
}

fn glob(pattern: &str) -> Option<Glob> {
    GlobBuilder::new(pattern)
        .literal_separator(true)
        .backslash_escape(true)
        .build()
        .ok()
}

/// As in `.gitignore`: a slash at the front or inside anchors, a pattern that matches a folder
/// matches all below.
pub(super) fn globs(pattern: &str) -> Option<GlobSet> {
    let trimmed = pattern.trim_end_matches('/');
    let anchored = trimmed.contains('/');
    let body = trimmed.strip_prefix('/').unwrap_or(trimmed);
    if body.is_empty() || body.starts_with('!') {
        return None;
    }
    let base = if anchored {
        body.to_owned()
    } else {
        format!("**/{body}")
    };
    let mut set = GlobSetBuilder::new();
    for pattern in [format!("{base}/**"), base] {
        set.add(glob(&pattern)?);
    }
    set.build().ok()
}

/// The scope of this word.
pub(crate) fn scope(word: Option<&str>) -> Result<Option<Scope>, String> {
    word.map(str::parse).transpose().map_err(|()| {
        format!(
            "unknown scope {}: use strict, namespace-wide or cluster-wide",
            safe(word.unwrap_or_default())
        )
    })
}

/// Do more objects open what is sealed with this scope than with another?
pub(crate) fn is_wider(scope: Scope, than: Scope) -> bool {
    let width = |scope| match scope {
        Scope::Strict => 0,
        Scope::NamespaceWide => 1,
        Scope::ClusterWide => 2,
    };
    width(scope) > width(than)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_scope_is_wider_than_those_before_it() {
        let scopes = [Scope::Strict, Scope::NamespaceWide, Scope::ClusterWide];
        for (index, scope) in scopes.into_iter().enumerate() {
            let narrower = scopes.iter().filter(|than| is_wider(scope, **than));
            assert_eq!(narrower.count(), index);
        }
    }

    #[test]
    fn a_branch_is_matched_by_its_whole_name() {
        let table = [
            ("main", "main", true),
            ("main", "old/main", false),
            ("main", "main/old", false),
            ("env/*", "env/eu", true),
            ("env/*", "env/eu/west", false),
            ("env/**", "env/eu/west", true),
            ("{staging,production}", "production", true),
            ("release-?", "release-2", true),
        ];
        for (pattern, branch, matches) in table {
            let glob = branch_glob(pattern).unwrap().compile_matcher();
            assert_eq!(glob.is_match(branch), matches, "{pattern} {branch}");
        }
        for bad in ["", "!main", "a["] {
            assert!(branch_glob(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn globs_are_those_of_gitignore() {
        let table = [
            (
                "clusters/production/**",
                "clusters/production/a/b.yaml",
                true,
            ),
            ("clusters/production", "clusters/production/a/b.yaml", true),
            ("clusters/production/", "clusters/production/b.yaml", true),
            ("/base", "base/x.yaml", true),
            ("/base", "a/base/x.yaml", false),
            ("base", "a/base/x.yaml", true),
            ("*.prod.yaml", "a/b/db.prod.yaml", true),
            ("clusters/*/db.yaml", "clusters/a/db.yaml", true),
            ("clusters/*/db.yaml", "clusters/a/b/db.yaml", false),
            ("**/secrets/**", "a/secrets/b.yaml", true),
            ("clusters/prod", "clusters/production/a.yaml", false),
        ];
        for (pattern, path, matches) in table {
            assert_eq!(
                globs(pattern).unwrap().is_match(path),
                matches,
                "{pattern} {path}"
            );
        }
        for bad in ["", "/", "!a", "a[", "{a"] {
            assert!(globs(bad).is_none(), "{bad}");
        }
    }
}
