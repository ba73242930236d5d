//! Who may use a store of the cluster: its conditions say which namespaces, its key policy which
//! keys; pure. Both name what is allowed: what they do not name is refused.

use std::collections::BTreeMap;
use std::fmt;

use globset::{GlobBuilder, GlobMatcher};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::{Selector, SelectorExt as _};
use regex::Regex;
use sealkit_core::api::external::NamespaceCondition;
use sealkit_core::names;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};

/// Labels of a namespace.
pub(super) type Labels = BTreeMap<String, String>;

/// The conditions of a store, of which a namespace must meet one. Without any, all may use it.
#[derive(Debug, Default)]
pub(super) struct Conditions {
    names: Vec<String>,
    patterns: Vec<Regex>,
    selectors: Vec<Selector>,
    is_open: bool,
}

impl Conditions {
    /// Errors with what is wrong with an expression or a selector.
    pub(super) fn parse(all: &[NamespaceCondition]) -> Result<Self, String> {
        let mut conditions = Self {
            is_open: all.is_empty(),
            ..Self::default()
        };
        for one in all {
            conditions.names.extend(one.namespaces.iter().cloned());
            for pattern in &one.namespace_regexes {
                let pattern = Regex::new(pattern).map_err(|_| {
                    let pattern = names::printable(pattern);
                    format!("conditions: {pattern:?} is not a regular expression")
                })?;
                conditions.patterns.push(pattern);
            }
            let selector = one.namespace_selector.as_ref().map(selector).transpose()?;
            conditions.selectors.extend(selector);
        }
        Ok(conditions)
    }

    /// May the namespace use the store? Without its labels, no selector matches it.
    pub(super) fn allow(&self, namespace: &str, labels: Option<&Labels>) -> bool {
        self.is_open
            || self.names.iter().any(|name| name == namespace)
            || self.patterns.iter().any(|one| one.is_match(namespace))
            || labels.is_some_and(|labels| self.selectors.iter().any(|one| one.matches(labels)))
    }
}

fn selector(selector: &LabelSelector) -> Result<Selector, String> {
    let invalid = |_| "conditions: namespaceSelector has an operator that is none".to_owned();
    selector.clone().try_into().map_err(invalid)
}

/// Which keys each namespace may read: globs of namespaces with globs of keys. The first namespace
/// that matches counts.
#[derive(Debug)]
pub(super) struct KeyPolicy(Vec<(GlobMatcher, Vec<GlobMatcher>)>);

impl KeyPolicy {
    /// Reads JSON such as `{"shop-*": ["shop/**"], "*": ["public/*"]}`. Errors with what is wrong.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let refused = |what: &str| format!("the annotation sealkit.dev/key-policy {what}");
        let Ordered(rows) = serde_json::from_str(text).map_err(|_| {
            refused("is not a JSON object of namespaces with lists of keys, such as {\"shop\": [\"shop/**\"]}")
        })?;
        let glob = |text: &str| {
            let glob = GlobBuilder::new(text).literal_separator(true).build();
            let glob = glob.map_err(|_| refused("has a pattern that is none"));
            Ok::<_, String>(glob?.compile_matcher())
        };
        let row = |(namespace, keys): (String, Vec<String>)| {
            let keys = keys.iter().map(|key| glob(key));
            Ok((glob(&namespace)?, keys.collect::<Result<_, _>>()?))
        };
        rows.into_iter()
            .map(row)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// May the namespace read this key, written as the provider resolves it?
    pub(super) fn allows(&self, namespace: &str, key: &str) -> bool {
        let mut rows = self.0.iter();
        let row = rows.find(|(pattern, _)| pattern.is_match(namespace));
        row.is_some_and(|(_, keys)| keys.iter().any(|pattern| pattern.is_match(key)))
    }

    /// May the namespace read every key?
    pub(super) fn allows_all(&self, namespace: &str) -> bool {
        let mut rows = self.0.iter();
        let row = rows.find(|(pattern, _)| pattern.is_match(namespace));
        row.is_some_and(|(_, keys)| keys.iter().any(|pattern| pattern.glob().glob() == "**"))
    }
}

/// A JSON object in the order of its text.
struct Ordered(Vec<(String, Vec<String>)>);

impl<'de> Deserialize<'de> for Ordered {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Rows;
        impl<'de> Visitor<'de> for Rows {
            type Value = Ordered;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Ordered, A::Error> {
                let mut rows = Vec::new();
                while let Some(row) = map.next_entry()? {
                    rows.push(row);
                }
                Ok(Ordered(rows))
            }
        }
        deserializer.deserialize_map(Rows)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn conditions(all: Value) -> Result<Conditions, String> {
        let all: Vec<NamespaceCondition> = serde_json::from_value(all).unwrap();
        Conditions::parse(&all)
    }

    fn labels(all: &[(&str, &str)]) -> Labels {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        all.iter().map(own).collect()
    }

    #[test]
    fn a_namespace_that_meets_one_condition_may_use_the_store() {
        let open = conditions(json!([])).unwrap();
        assert!(open.allow("shop", None));
        let some = conditions(json!([
            {"namespaces": ["shop"]},
            {"namespaceRegexes": ["^team-[a-c]$"]},
            {"namespaceSelector": {"matchLabels": {"tier": "gold"},
                "matchExpressions": [{"key": "closed", "operator": "DoesNotExist"}]}},
        ]))
        .unwrap();
        let gold = labels(&[("tier", "gold")]);
        let closed = labels(&[("tier", "gold"), ("closed", "")]);
        for (namespace, labels, allowed) in [
            ("shop", None, true),
            ("shops", None, false),
            ("team-b", None, true),
            ("team-d", None, false),
            ("bank", Some(&gold), true),
            ("bank", Some(&closed), false),
            ("bank", None, false),
        ] {
            assert_eq!(
                some.allow(namespace, labels),
                allowed,
                "{namespace} {labels:?}"
            );
        }
        // A condition without a field names nobody.
        assert!(!conditions(json!([{}])).unwrap().allow("shop", None));
        let broken = conditions(json!([{"namespaceRegexes": ["["]}])).unwrap_err();
        assert!(broken.contains("not a regular expression"), "{broken}");
        let expressions = json!([{"key": "a", "operator": "Like"}]);
        let selector = json!([{"namespaceSelector": {"matchExpressions": expressions}}]);
        assert!(conditions(selector).is_err());
    }

    #[test]
    fn the_first_namespace_that_matches_says_which_keys() {
        let policy = KeyPolicy::parse(
            r#"{"shop-test": [], "shop-*": ["shop/**", "shared/ca"], "*": ["public/*"]}"#,
        )
        .unwrap();
        for (namespace, key, allowed) in [
            ("shop-live", "shop/db", true),
            ("shop-live", "shop/a/b", true),
            ("shop-live", "shared/ca", true),
            ("shop-live", "public/x", false),
            ("shop-live", "shops/db", false),
            ("shop-live", "Shop/db", false),
            ("shop-test", "shop/db", false),
            ("bank", "public/x", true),
            ("bank", "public/x/y", false),
            ("bank", "shop/db", false),
        ] {
            assert_eq!(policy.allows(namespace, key), allowed, "{namespace} {key}");
        }
        assert!(!policy.allows_all("shop-live"));
        let all = KeyPolicy::parse(r#"{"ops": ["**"]}"#).unwrap();
        assert!(all.allows_all("ops") && !all.allows_all("shop"));
        for broken in ["", "[]", r#"{"a": "b"}"#, r#"{"a": ["["]}"#] {
            assert!(KeyPolicy::parse(broken).is_err(), "{broken}");
        }
    }
}
