//! What a write would change, for people who decide whether to let it happen.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::api::core::v1::Secret;
use sealkit_core::names::printable;

use super::merge::{MergePlan, plan_merge};
use super::plan::{Plan, plan};
use super::{Before, Desired, Ownership, Secrets, WriteError, size};
use crate::kubernetes::{self, ApiFailure};

/// A change of a Secret, besides the marks of its source. Keys and names are public, values are not.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// It would be created.
    Created,
    /// It would be deleted.
    Deleted,
    /// It would be deleted and made again, since nobody can change its type, or it is immutable.
    MadeAgain,
    /// It would become immutable.
    Immutable,
    /// A key would get another value.
    Value(String),
    /// A key would be added.
    Added(String),
    /// A key would be removed.
    Removed(String),
    /// A label would be set.
    Label(String),
    /// An annotation would be set.
    Annotation(String),
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Created => f.write_str("is created"),
            Self::Deleted => f.write_str("is deleted"),
            Self::MadeAgain => f.write_str("is deleted and made again"),
            Self::Immutable => f.write_str("becomes immutable"),
            Self::Value(key) => write!(f, "gets another value of {}", printable(key)),
            Self::Added(key) => write!(f, "gets the key {}", printable(key)),
            Self::Removed(key) => write!(f, "loses the key {}", printable(key)),
            Self::Label(name) => write!(f, "gets the label {}", printable(name)),
            Self::Annotation(name) => write!(f, "gets the annotation {}", printable(name)),
        }
    }
}

impl Secrets {
    /// What [`Secrets::write`] would change. Nothing is written.
    pub async fn forecast(&self, desired: &Desired) -> Result<Vec<Change>, WriteError> {
        if let Some(why) = size::too_large(desired) {
            return Err(WriteError::TooLarge(why));
        }
        let existing = kubernetes::within(self.api(desired).get_opt(&desired.name)).await?;
        let Some(mut existing) = existing else {
            return match desired.ownership {
                Ownership::Merge => Err(WriteError::Missing),
                _ => Ok(vec![Change::Created]),
            };
        };
        let changes = changes(&existing, desired);
        kubernetes::wipe_secret(&mut existing);
        changes
    }
}

impl Secrets {
    /// Does the Secret exist?
    pub async fn exists(&self, namespace: &str, name: &str) -> Result<bool, ApiFailure> {
        let path = format!("/api/v1/namespaces/{namespace}/secrets/{name}");
        match kubernetes::read(&self.client, &path).await {
            Ok(_) => Ok(true),
            Err(ApiFailure::Status { code: 404, .. }) => Ok(false),
            Err(failure) => Err(failure),
        }
    }
}

fn changes(existing: &Secret, desired: &Desired) -> Result<Vec<Change>, WriteError> {
    if desired.ownership.merges() {
        if let MergePlan::Conflict(why) = plan_merge(existing, desired) {
            return Err(WriteError::Conflict(why));
        }
    } else {
        match plan(existing, desired, Before::default()) {
            Plan::Conflict(why) => return Err(WriteError::Conflict(why)),
            Plan::Frozen => return Err(WriteError::Immutable),
            Plan::Replace { .. } => return Ok(vec![Change::MadeAgain]),
            Plan::InSync(_) | Plan::Patch(_) => {}
        }
    }
    let none = BTreeMap::new();
    let data = existing.data.as_ref().unwrap_or(&none);
    let mut changes: Vec<Change> = (desired.data.iter())
        .filter_map(|(key, value)| match data.get(key) {
            None => Some(Change::Added(key.clone())),
            Some(old) => (old.0 != **value).then(|| Change::Value(key.clone())),
        })
        .collect();
    if !desired.ownership.merges() {
        let removed = data.keys().filter(|key| !desired.data.contains_key(*key));
        changes.extend(removed.cloned().map(Change::Removed));
        if desired.immutable && existing.immutable != Some(true) {
            changes.push(Change::Immutable);
        }
    }
    let meta = &existing.metadata;
    let set = |wanted: &BTreeMap<String, String>, old: Option<&BTreeMap<String, String>>| {
        let is_other =
            |(name, value): &(&String, &String)| old.and_then(|old| old.get(*name)) != Some(*value);
        let names = wanted.iter().filter(is_other).map(|(name, _)| name.clone());
        names.collect::<Vec<_>>()
    };
    let labels = set(&desired.labels, meta.labels.as_ref());
    changes.extend(labels.into_iter().map(Change::Label));
    let annotations = set(&desired.annotations, meta.annotations.as_ref());
    changes.extend(annotations.into_iter().map(Change::Annotation));
    Ok(changes)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;

    use super::super::Rights;
    use super::super::desired::tests::desired;
    use super::*;

    fn data(secret: &mut Secret, key: &str, value: &[u8]) {
        let data = secret.data.get_or_insert_default();
        data.insert(key.to_owned(), ByteString(value.to_vec()));
    }

    fn wide() -> Desired {
        Desired {
            adopt: true,
            rights: Rights::Wide,
            ..desired()
        }
    }

    #[test]
    fn what_a_write_would_change_is_told_without_values_and_without_our_marks() {
        let left = |edit: fn(&mut Secret)| {
            let mut secret: Secret = serde_json::from_value(wide().manifest()).unwrap();
            secret.metadata.annotations = None;
            edit(&mut secret);
            changes(&secret, &wide()).unwrap()
        };
        assert_eq!(left(|_| ()), []);
        assert_eq!(
            left(|secret| data(secret, "K", b"other")),
            [Change::Value("K".into())]
        );
        assert_eq!(
            left(|secret| data(secret, "L", b"more")),
            [Change::Removed("L".into())]
        );
        assert_eq!(
            left(|secret| secret.data = None),
            [Change::Added("K".into())]
        );
        assert_eq!(
            left(|secret| secret.metadata.labels = None),
            [Change::Label("team".into())]
        );
        assert_eq!(left(|secret| secret.immutable = Some(true)), []);
        let mut typed: Secret = serde_json::from_value(wide().manifest()).unwrap();
        typed.type_ = Some("kubernetes.io/tls".into());
        assert_eq!(changes(&typed, &wide()), Ok(vec![Change::MadeAgain]));
    }
}
