//! What a request changes in `.sealkit.yaml`, whether or not an object stands at the paths yet.

use std::collections::{BTreeSet, HashSet};

use sealkit_core::keys::Fingerprint;
use sealkit_core::manifest::read_documents;
use sealkit_core::sealed::Scope;
use serde::Deserialize;

use super::patterns::{self, covers, may_overlap};
use crate::error::Result;
use crate::recipients::config::Config;
use crate::recipients::path_rule::{is_wider, scope};
use crate::recipients::recipient_file::read_superseded;
use crate::terminal::safe;

/// A config, and its text.
pub(super) type Side<'a> = (&'a Config, &'a [u8]);

/// What a config gives paths: one of its rules, or what holds for paths without one.
struct Given {
    /// Nothing where no rule matches.
    pattern: Option<String>,
    /// The branches that it is for; none where it is for all.
    branches: Vec<String>,
    /// Nothing where a person has to say it.
    clusters: Option<Vec<String>>,
    scope: Scope,
}

impl Given {
    /// In the order in which they are tried.
    fn all((config, text): Side<'_>) -> Vec<Self> {
        #[derive(Default, Deserialize)]
        struct File {
            #[serde(default)]
            rules: Vec<Rule>,
        }
        #[derive(Deserialize)]
        struct Rule {
            path: String,
            #[serde(default)]
            branches: Vec<String>,
            clusters: Vec<String>,
            scope: Option<String>,
        }
        let default = config.default_scope();
        // `Config` has checked it.
        let documents = read_documents(text).unwrap_or_default();
        let mut objects = documents.into_iter().map(|document| document.object);
        let file: Option<File> = objects.find_map(|object| serde_json::from_value(object).ok());
        let file = file.unwrap_or_default();
        let rules = file.rules.into_iter().map(|rule| Self {
            pattern: Some(rule.path),
            branches: rule.branches,
            clusters: Some(rule.clusters),
            scope: scope(rule.scope.as_deref())
                .ok()
                .flatten()
                .unwrap_or(default),
        });
        let mut all: Vec<Self> = rules.collect();
        all.push(Self {
            pattern: None,
            branches: Vec::new(),
            clusters: config.only_cluster(),
            scope: default,
        });
        all
    }

    fn place(&self) -> String {
        let pattern = self.pattern.as_deref().map(safe);
        let mut place = pattern.unwrap_or_else(|| "paths without a rule".to_owned());
        if !self.branches.is_empty() {
            let branches: Vec<String> = self.branches.iter().map(|name| safe(name)).collect();
            place.extend([" on ", &branches.join(", ")]);
        }
        place
    }

    fn covers(&self, other: &Self) -> bool {
        let all_branches = patterns::cover_branches(&self.branches, &other.branches);
        match (&self.pattern, &other.pattern) {
            (Some(pattern), Some(other)) => all_branches && covers(pattern, other),
            (pattern, _) => all_branches && pattern.is_none(),
        }
    }

    fn may_overlap(&self, other: &Self) -> bool {
        let patterns = self.pattern.as_ref().zip(other.pattern.as_ref());
        patterns::may_share_branch(&self.branches, &other.branches)
            && patterns.is_none_or(|(one, other)| may_overlap(one, other))
    }
}

/// What is worth a review, as code and words.
pub(super) fn changes(
    before: Option<Side<'_>>,
    now: Option<Side<'_>>,
) -> Result<Vec<(&'static str, String)>> {
    let Some(now) = now else {
        let detail = "the config is gone: it no longer says to whom and how paths are sealed";
        let gone = before.map(|_| ("NoConfig", detail.to_owned()));
        return Ok(gone.into_iter().collect());
    };
    let new = new_recipients(before.map(|(config, _)| config), now.0)?;
    let mut found: Vec<_> = new
        .into_iter()
        .map(|detail| ("NewRecipient", detail))
        .collect();
    if let Some(before) = before {
        if now.0.takes_consent() && !before.0.takes_consent() {
            let detail = "the config no longer refuses old values that a commit consents to";
            found.push(("NewConsent", detail.to_owned()));
        }
        let (before, now) = (Given::all(before), Given::all(now));
        found.extend(wider_rules(&before, &now));
        found.extend(lost_rules(&before, &now));
    }
    Ok(found)
}

/// Rules without a successor: nobody says any more to whom some paths are sealed, and then nothing
/// compares them.
fn lost_rules(before: &[Given], now: &[Given]) -> Vec<(&'static str, String)> {
    let is_lost = |old: &&Given| {
        old.clusters.is_some()
            && !now
                .iter()
                .any(|new| new.clusters.is_some() && new.covers(old))
    };
    let lost = before.iter().filter(is_lost).map(Given::place);
    lost.map(|place| {
        let detail = format!("no rule says any more to whom values at {place} are sealed");
        ("LostRule", detail)
    })
    .collect()
}

/// Rules that give some paths more clusters or a wider scope than they had: by what they say, or
/// because another rule no longer comes first.
fn wider_rules(before: &[Given], now: &[Given]) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    for (index, rule) in now.iter().enumerate() {
        let had_first = |at: usize| before[..at].iter().any(|first| first.covers(rule));
        let replaced = before.iter().enumerate().filter(|(at, old)| {
            let has_first = now[..index].iter().any(|first| first.covers(old));
            rule.may_overlap(old) && !has_first && !had_first(*at)
        });
        let replaced: Vec<&Given> = replaced.map(|(_, old)| old).collect();
        let clusters = replaced.iter().filter_map(|old| old.clusters.as_ref());
        let new: BTreeSet<String> = clusters
            .flat_map(|old| {
                rule.clusters
                    .iter()
                    .flatten()
                    .filter(|it| !old.contains(it))
            })
            .map(|name| safe(name))
            .collect();
        let place = rule.place();
        if !new.is_empty() {
            let new = Vec::from_iter(new).join(", ");
            let detail = format!("new values at {place} may be sealed to {new}, unlike before");
            found.push(("NewRecipient", detail));
        }
        if let Some(old) = replaced.iter().find(|old| is_wider(rule.scope, old.scope)) {
            let (scope, old) = (rule.scope, old.scope);
            let detail = format!("new objects at {place} may have scope {scope}, not {old}");
            found.push(("NewScope", detail));
        }
    }
    found
}

/// Recipients of a config that an older one does not have for the same cluster, in words.
fn new_recipients(before: Option<&Config>, now: &Config) -> Result<Vec<String>> {
    let known: HashSet<(String, Fingerprint)> = before
        .map(fingerprints)
        .transpose()?
        .into_iter()
        .flatten()
        .collect();
    let new = fingerprints(now)?;
    let new = new.into_iter().filter(|pair| !known.contains(pair));
    let mut said: Vec<String> = new
        .map(|(who, key)| format!("{who} has a new recipient, {}", key.short()))
        .collect();
    let known = before.map(successors).transpose()?.unwrap_or_default();
    let new = successors(now)?.into_iter();
    said.extend(
        new.filter(|successor| !known.contains(successor))
            .map(|(who, old, key)| {
                format!(
                    "{who} names {} as the successor of {}",
                    key.short(),
                    old.short()
                )
            }),
    );
    Ok(said)
}

/// The successors that recipient files name: `seal keys trust` passes them to clusters.
fn successors(config: &Config) -> Result<HashSet<(String, Fingerprint, Fingerprint)>> {
    let mut found = HashSet::new();
    for (who, path) in config.key_files()? {
        let superseded = read_superseded(&path)?.into_iter();
        found.extend(superseded.map(|(old, new)| (who.clone(), old, new.fingerprint())));
    }
    Ok(found)
}

fn fingerprints(config: &Config) -> Result<Vec<(String, Fingerprint)>> {
    let mut found = Vec::new();
    for name in config.cluster_names() {
        for key in config.recipients(name)? {
            found.push((format!("cluster {}", safe(name)), key.fingerprint()));
        }
    }
    for key in config.recovery()? {
        found.push(("recovery".to_owned(), key.fingerprint()));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One rule a word: pattern, `@` and each branch, clusters, and scope if it is not strict.
    fn given(rules: &str) -> Vec<Given> {
        let rule = |rule: &str| {
            let mut words = rule.split('=');
            let mut branches = words.next().unwrap().split('@');
            let pattern = branches.next().unwrap();
            let clusters = words.next().unwrap();
            let clusters = clusters.split(',').map(str::to_owned).collect::<Vec<_>>();
            Given {
                pattern: (pattern != "-").then(|| pattern.to_owned()),
                branches: branches.map(str::to_owned).collect(),
                clusters: (clusters != ["?"]).then_some(clusters),
                scope: scope(words.next()).unwrap().unwrap_or_default(),
            }
        };
        rules.split(' ').map(rule).collect()
    }

    fn check(base: &str, table: &[(&str, &[&str])]) {
        for (now, expected) in table {
            let found = wider_rules(&given(base), &given(now));
            let found: Vec<String> = found
                .into_iter()
                .map(|(code, detail)| format!("{code}: {detail}"))
                .collect();
            assert_eq!(found.len(), expected.len(), "{now}: {found:?}");
            for (line, what) in found.iter().zip(*expected) {
                assert!(line.contains(what), "{now}: {line}");
            }
        }
    }

    /// Whatever the branch is that somebody asks on: the config is merged into others later.
    #[test]
    fn a_rule_that_gives_branches_more_is_found_and_no_other() {
        let base = "a@main=prod a@staging=staging a@env/*=staging b=prod -=?";
        let table: &[(&str, &[&str])] = &[
            (base, &[]),
            (
                "a@staging=staging a@main=prod a@env/*=staging b=prod -=?",
                &[],
            ),
            (
                "a@main@new=prod a@staging=staging a@env/*=staging b=prod -=?",
                &[],
            ),
            (
                "a@main=staging a@staging=staging a@env/*=staging b=prod -=?",
                &["a on main may be sealed to staging"],
            ),
            (
                "a@main@staging=prod a@env/*=staging b=prod -=?",
                &["a on main, staging may be sealed to prod"],
            ),
            (
                "a@env/eu=prod a@main=prod a@staging=staging a@env/*=staging b=prod -=?",
                &["a on env/eu may be sealed to prod"],
            ),
            ("a=staging b=prod -=?", &["a may be sealed to staging"]),
            (
                "a@main=prod a@staging=staging a@env/*=staging b@main=prod -=staging",
                &["paths without a rule may be sealed to staging"],
            ),
        ];
        check(base, table);
    }

    #[test]
    fn a_rule_that_gives_paths_more_is_found_and_no_other() {
        let base = "clusters/prod/**=prod clusters/staging/**=staging base/**=prod,staging -=?";
        let table: &[(&str, &[&str])] = &[
            (base, &[]),
            // Order alone, where no path matches both.
            (
                "/base=prod,staging clusters/staging/**=staging /clusters/prod/=prod -=?",
                &[],
            ),
            // Narrower, new, gone.
            (
                "clusters/prod/**=prod clusters/staging/**=staging base/**=prod apps/**=prod -=?",
                &[],
            ),
            ("clusters/prod/**=prod -=?", &[]),
            (
                "base/prod/**=prod clusters/prod/**=prod clusters/staging/**=staging base/**=prod,staging -=?",
                &[],
            ),
            // More clusters, or others.
            (
                "clusters/prod/**=prod,staging clusters/staging/**=staging base/**=prod,staging -=?",
                &["clusters/prod/** may be sealed to staging"],
            ),
            // In front of another.
            (
                "clusters/prod/new/**=staging clusters/prod/**=prod clusters/staging/**=staging base/**=prod,staging -=?",
                &["clusters/prod/new/** may be sealed to staging"],
            ),
            (
                "*.yaml=staging clusters/prod/**=prod clusters/staging/**=staging base/**=prod,staging -=?",
                &["*.yaml may be sealed to staging"],
            ),
            (
                "clusters/prod/**=prod clusters/staging/**=staging base/**=prod,staging *.yaml=staging -=?",
                &[],
            ),
            // In the place of one that is gone.
            (
                "clusters/**=staging clusters/prod/**=prod base/**=prod,staging -=?",
                &["clusters/** may be sealed to staging"],
            ),
            (
                "clusters/staging/**=staging -=staging",
                &["paths without a rule may be sealed to staging"],
            ),
            (
                "clusters/prod/**=prod=cluster-wide clusters/staging/**=staging base/**=prod,staging new/**=prod=namespace-wide -=?",
                &[
                    "clusters/prod/** may have scope cluster-wide, not strict",
                    "new/** may have scope namespace-wide, not strict",
                ],
            ),
        ];
        check(base, table);
    }
}
