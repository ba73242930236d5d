//! The branch that rules of the config are for: that of `--branch`, else the one that CI names, else
//! that of HEAD.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::git::repository::{branch_of, branch_of_head};
use crate::terminal::{Terminal, safe};

/// A branch, and what named it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Branch {
    /// Its name, without `refs/heads/`.
    pub name: String,
    said_by: &'static str,
}

impl fmt::Display for Branch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&safe(&self.name))?;
        if [FLAG, HEAD, BASE].contains(&self.said_by) {
            return Ok(());
        }
        write!(formatter, " (as {} says)", self.said_by)
    }
}

const FLAG: &str = "--branch";
const HEAD: &str = "HEAD";
const BASE: &str = "--base";

/// The branch of the flag, and whom to warn.
static SAID: OnceLock<(Option<String>, Terminal)> = OnceLock::new();
/// The revision that a request is compared with.
static REQUEST: OnceLock<String> = OnceLock::new();
/// The branch of each repository, in this run.
static KNOWN: Mutex<BTreeMap<std::path::PathBuf, Option<Branch>>> = Mutex::new(BTreeMap::new());

/// Sets the branch that the command line names, for the whole process.
pub(crate) fn say(flag: Option<&str>, terminal: Terminal) {
    let name = flag.map(|name| name.strip_prefix(HEADS).unwrap_or(name).to_owned());
    // Once: a process has one command line.
    let _ = SAID.set((name, terminal));
}

/// From now on, the branch is that which a request will be merged into: whoever makes the request
/// chooses its own.
pub(crate) fn say_base(revision: &str) {
    let _ = REQUEST.set(revision.to_owned());
}

/// The branch of the repository with this root, or nothing where HEAD is on none and nobody names one.
pub(crate) fn branch(root: &Path) -> Option<Branch> {
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let known = known.entry(root.to_owned());
    known.or_insert_with(|| find(root)).clone()
}

fn find(root: &Path) -> Option<Branch> {
    let said = SAID.get();
    if let Some((Some(name), _)) = said {
        let (name, said_by) = (name.clone(), FLAG);
        return Some(Branch { name, said_by });
    }
    let head = branch_of_head(root);
    let variable = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
    if let Some(revision) = REQUEST.get() {
        let target = of_build(root, &variable).filter(|(_, is_target)| *is_target);
        let of_base = || {
            let (name, said_by) = (branch_of(root, revision)?, BASE);
            Some(Branch { name, said_by })
        };
        return target.map(|(branch, _)| branch).or_else(of_base);
    }
    let Some((branch, is_target)) = of_build(root, &variable) else {
        let said_by = HEAD;
        return head.map(|name| Branch { name, said_by });
    };
    // A job may have checked out another branch than the one that started it.
    if let Some((_, terminal)) = said
        && let Some(head) = head.filter(|head| *head != branch.name && !is_target)
    {
        terminal.warning(format_args!(
            "rules are taken for branch {branch}, but HEAD is on {}: if that is the branch that the files are for, pass --branch",
            safe(&head)
        ));
    }
    Some(branch)
}

const HEADS: &str = "refs/heads/";
/// Branches on which GitHub tries what a merge queue will merge: `BASE/pr-NUMBER-COMMIT` follows.
const MERGE_QUEUE: &str = "gh-readonly-queue/";

/// What a CI system sets for its jobs.
struct System {
    /// Where it checked out the repository that it builds.
    folder: &'static str,
    /// The branch that the request under test is for.
    target: &'static str,
    /// The branch under test.
    branch: &'static str,
    /// The variable that says that this is a tag, and how its value begins then.
    tag: (&'static str, &'static str),
}

/// By the documentation of each.
const SYSTEMS: [System; 6] = [
    // GitHub Actions, and those that follow it.
    System {
        folder: "GITHUB_WORKSPACE",
        target: "GITHUB_BASE_REF",
        branch: "GITHUB_REF_NAME",
        tag: ("GITHUB_REF_TYPE", "tag"),
    },
    // GitLab.
    System {
        folder: "CI_PROJECT_DIR",
        target: "CI_MERGE_REQUEST_TARGET_BRANCH_NAME",
        branch: "CI_COMMIT_BRANCH",
        tag: ("CI_COMMIT_TAG", ""),
    },
    // Jenkins, multibranch pipelines.
    System {
        folder: "WORKSPACE",
        target: "CHANGE_TARGET",
        branch: "BRANCH_NAME",
        tag: ("TAG_NAME", ""),
    },
    // Azure Pipelines: names of refs.
    System {
        folder: "BUILD_REPOSITORY_LOCALPATH",
        target: "SYSTEM_PULLREQUEST_TARGETBRANCH",
        branch: "BUILD_SOURCEBRANCH",
        tag: ("BUILD_SOURCEBRANCH", "refs/tags/"),
    },
    // Bitbucket Pipelines.
    System {
        folder: "BITBUCKET_CLONE_DIR",
        target: "BITBUCKET_PR_DESTINATION_BRANCH",
        branch: "BITBUCKET_BRANCH",
        tag: ("BITBUCKET_TAG", ""),
    },
    // CircleCI, which does not say what a request is for.
    System {
        folder: "CIRCLE_WORKING_DIRECTORY",
        target: "",
        branch: "CIRCLE_BRANCH",
        tag: ("CIRCLE_TAG", ""),
    },
];

/// The branch that CI names for the repository with this root, and whether that is what a request will be
/// merged into. A job may work on a clone of another repository, whose branches its variables do not
/// know.
fn of_build(root: &Path, variable: &dyn Fn(&str) -> Option<String>) -> Option<(Branch, bool)> {
    SYSTEMS.iter().find_map(|system| {
        let target = variable(system.target).map(|name| (name, system.target, true));
        let is_tag = variable(system.tag.0).is_some_and(|text| text.starts_with(system.tag.1));
        let branch = || variable(system.branch).filter(|_| !is_tag);
        let (name, said_by, is_target) =
            target.or_else(|| branch().map(|name| (name, system.branch, false)))?;
        let folder = variable(system.folder);
        if folder.is_some_and(|folder| !is_same(&folder, root, variable)) {
            return None;
        }
        let name = branch_name(&name)?;
        Some((Branch { name, said_by }, is_target))
    })
}

/// The name of a branch as a variable has it.
fn branch_name(text: &str) -> Option<String> {
    let name = text.strip_prefix(HEADS).unwrap_or(text);
    let queued = name.strip_prefix(MERGE_QUEUE);
    let name = queued
        .and_then(|name| name.rsplit_once("/pr-"))
        .map_or(name, |(base, _)| base);
    (!name.starts_with("refs/")).then(|| name.to_owned())
}

fn is_same(folder: &str, root: &Path, variable: &dyn Fn(&str) -> Option<String>) -> bool {
    let home = folder.strip_prefix("~/").zip(variable("HOME"));
    let folder = match home {
        Some((below, home)) => Path::new(&home).join(below),
        None => folder.into(),
    };
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    real(&folder) == real(root)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_names_its_branch_as_its_system_does() {
        /// Variables; the branch, and whether a request will be merged into it.
        type Row<'a> = (&'a [(&'a str, &'a str)], Option<(&'a str, bool)>);
        let table: [Row<'_>; 17] = [
            (&[], None),
            (&[("GITHUB_REF_NAME", "main")], Some(("main", false))),
            (
                &[
                    ("GITHUB_BASE_REF", "production"),
                    ("GITHUB_REF_NAME", "7/merge"),
                ],
                Some(("production", true)),
            ),
            (
                &[("GITHUB_REF_NAME", "v1"), ("GITHUB_REF_TYPE", "tag")],
                None,
            ),
            (
                &[(
                    "GITHUB_REF_NAME",
                    "gh-readonly-queue/env/eu/pr-12-0123456789abcdef",
                )],
                Some(("env/eu", false)),
            ),
            (&[("CI_COMMIT_BRANCH", "env/eu")], Some(("env/eu", false))),
            (
                &[("CI_MERGE_REQUEST_TARGET_BRANCH_NAME", "main")],
                Some(("main", true)),
            ),
            (&[("BRANCH_NAME", "main")], Some(("main", false))),
            (
                &[("BRANCH_NAME", "PR-7"), ("CHANGE_TARGET", "main")],
                Some(("main", true)),
            ),
            (&[("BRANCH_NAME", "v1"), ("TAG_NAME", "v1")], None),
            (
                &[("BUILD_SOURCEBRANCH", "refs/heads/env/eu")],
                Some(("env/eu", false)),
            ),
            (&[("BUILD_SOURCEBRANCH", "refs/tags/v1")], None),
            (
                &[
                    ("BUILD_SOURCEBRANCH", "refs/pull/7/merge"),
                    ("SYSTEM_PULLREQUEST_TARGETBRANCH", "refs/heads/main"),
                ],
                Some(("main", true)),
            ),
            (
                &[
                    ("BITBUCKET_BRANCH", "topic"),
                    ("BITBUCKET_PR_DESTINATION_BRANCH", "main"),
                ],
                Some(("main", true)),
            ),
            (&[("CIRCLE_BRANCH", "main")], Some(("main", false))),
            // It builds this repository, or another one.
            (
                &[("GITHUB_REF_NAME", "main"), ("GITHUB_WORKSPACE", "/a/b")],
                Some(("main", false)),
            ),
            (
                &[("GITHUB_REF_NAME", "main"), ("GITHUB_WORKSPACE", "/a")],
                None,
            ),
        ];
        for (variables, expected) in table {
            let found = of_build(Path::new("/a/b"), &|name| {
                let same = variables.iter().find(|(known, _)| *known == name);
                same.map(|(_, value)| (*value).to_owned())
            });
            let found = found.map(|(branch, is_target)| (branch.name, is_target));
            let expected = expected.map(|(name, is_target)| (name.to_owned(), is_target));
            assert_eq!(found, expected, "{variables:?}");
        }
    }
}
