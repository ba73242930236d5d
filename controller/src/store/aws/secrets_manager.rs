//! Secrets Manager: which secret a key is, and how many calls it takes.

use std::collections::BTreeMap;

use aws_sdk_secretsmanager::config::Config;
use aws_sdk_secretsmanager::operation::batch_get_secret_value::BatchGetSecretValueOutput;
use aws_sdk_secretsmanager::types::{
    Filter, FilterNameStringType, SecretListEntry, SecretValueEntry,
};
use aws_sdk_secretsmanager::{Client, primitives::Blob};
use serde_json::Value;

use super::batch::Batches;
use super::endpoint::Service;
use super::failure::Failure;
use super::identity::Identity;
use super::refusals::Refusals;
use super::{Calls, transport};
use crate::store::binary;
use crate::store::find::{NAMES, too_large};
use crate::store::{Find, Object, StoreError};

/// Secrets that one call reads.
pub(super) const BATCH: usize = 20;
/// The version that is read when none is named.
pub(super) const CURRENT: &str = "AWSCURRENT";
/// Filters that one call may have.
const FILTERS: usize = 10;

/// Secrets Manager under one identity.
pub(super) struct SecretsManager {
    client: Client,
    refusals: Refusals,
}

impl Batches for SecretsManager {
    const ACTION: &str = "BatchGetSecretValue";
    type Answer = BatchGetSecretValueOutput;

    fn refusals(&self) -> &Refusals {
        &self.refusals
    }

    async fn many(&self, ids: Vec<String>) -> Result<Self::Answer, Failure> {
        let call = self.client.batch_get_secret_value();
        let answer = call.set_secret_id_list(Some(ids)).send().await;
        answer.map_err(|error| self.refusals.failure(&error))
    }

    fn take(answer: &mut Self::Answer, id: &str) -> Option<Result<Object, StoreError>> {
        let is = |value: &SecretValueEntry| is_named(id, value.name(), value.arn());
        let values = answer.secret_values.get_or_insert_default();
        if let Some(place) = values.iter().position(is) {
            let value = values.swap_remove(place);
            return Some(object(value.secret_string, value.secret_binary));
        }
        let mut errors = answer.errors().iter();
        let error = errors.find(|error| error.secret_id() == Some(id))?;
        let failure = Failure::of_code(error.error_code(), error.message(), 400);
        let is_certain = failure.is_missing() || failure.is_denied();
        is_certain.then(|| Err(failure.while_reading("GetSecretValue", id)))
    }

    async fn one(&self, id: &str) -> Result<Object, StoreError> {
        self.secret(id, CURRENT).await
    }
}

impl SecretsManager {
    pub(super) fn new(identity: &Identity, calls: &Calls) -> Result<Self, StoreError> {
        let mut config = Config::builder()
            .behavior_version(Calls::behavior())
            .region(calls.region.clone())
            .http_client(transport::client()?)
            .retry_config(calls.retries.clone())
            .timeout_config(Calls::timeouts())
            .credentials_provider(identity.credentials.clone());
        config.set_endpoint_url(Service::SecretsManager.endpoint()?);
        Ok(Self {
            client: Client::from_conf(config.build()),
            refusals: Refusals::default(),
        })
    }

    pub(super) fn is_refused(&self) -> bool {
        self.refusals.is_refused()
    }

    /// One secret. A version is `uuid/` and its ID, or the label of a stage.
    pub(super) async fn secret(&self, id: &str, version: &str) -> Result<Object, StoreError> {
        let call = self.client.get_secret_value().secret_id(id);
        let call = match version.strip_prefix("uuid/") {
            Some(version) => call.version_id(version),
            None => call.version_stage(version),
        };
        let answer = call.send().await;
        let answer = answer.map_err(|error| {
            self.refusals
                .failure(&error)
                .while_reading("GetSecretValue", id)
        })?;
        object(answer.secret_string, answer.secret_binary)
    }

    /// The tags of a secret.
    pub(super) async fn tags(&self, id: &str) -> Result<Object, StoreError> {
        let answer = self.client.describe_secret().secret_id(id).send().await;
        let answer = answer.map_err(|error| {
            self.refusals
                .failure(&error)
                .while_reading("DescribeSecret", id)
        })?;
        let tags = answer.tags.unwrap_or_default().into_iter();
        let tags =
            tags.filter_map(|tag| Some((tag.key?, Value::from(tag.value.unwrap_or_default()))));
        Ok(Object(Value::Object(tags.collect())))
    }

    /// The names of secrets that match, each once. As with External Secrets, a name counts more than
    /// tags.
    pub(super) async fn names(
        &self,
        find: &Find,
        matches: impl Fn(&str) -> bool,
    ) -> Result<Vec<String>, StoreError> {
        let call = self.client.list_secrets();
        let filters = filters(find);
        let mut pages = call
            .set_filters(Some(filters).filter(|filters| !filters.is_empty()))
            .into_paginator()
            .page_size(100)
            .send();
        let mut names = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| {
                self.refusals
                    .failure(&error)
                    .while_reading("ListSecrets", &find.path)
            })?;
            let secrets = page.secret_list.unwrap_or_default().into_iter();
            let found =
                secrets.filter(|secret| find.name.is_some() || has_tags(secret, &find.tags));
            let found = found.filter_map(|secret| secret.name);
            names.extend(found.filter(|name| name.starts_with(&find.path) && matches(name)));
            if names.len() > NAMES {
                return Err(too_large(&format!("matches more than {NAMES} names")));
            }
        }
        Ok(names)
    }
}

/// What AWS narrows its list by: by beginnings of words, and tags not in pairs. What it lists is
/// looked at again.
fn filters(find: &Find) -> Vec<Filter> {
    let filter = |key, value: &String| Filter::builder().key(key).values(value).build();
    // An exclamation mark would turn the filter into its opposite.
    let path = Some(&find.path).filter(|path| !path.is_empty() && !path.starts_with('!'));
    let path = path.map(|path| filter(FilterNameStringType::Name, path));
    let keys = find
        .tags
        .keys()
        .filter(|key| find.name.is_none() && !key.starts_with('!'));
    let keys = keys.map(|key| filter(FilterNameStringType::TagKey, key));
    path.into_iter().chain(keys).take(FILTERS).collect()
}

fn has_tags(secret: &SecretListEntry, tags: &BTreeMap<String, String>) -> bool {
    tags.iter().all(|(key, value)| {
        let mut held = secret.tags().iter();
        held.any(|tag| tag.key() == Some(key) && tag.value() == Some(value))
    })
}

/// Is this secret the one of an ID: a name, an ARN, or an ARN without its random end?
fn is_named(id: &str, name: Option<&str>, arn: Option<&str>) -> bool {
    let is_random_end = |end: &str| end.is_empty() || (end.len() == 7 && end.starts_with('-'));
    let is_arn =
        |arn: &str| id.starts_with("arn:") && arn.strip_prefix(id).is_some_and(is_random_end);
    name == Some(id) || arn.is_some_and(is_arn)
}

/// A text, or the bytes of a binary secret.
fn object(text: Option<String>, binary: Option<Blob>) -> Result<Object, StoreError> {
    if let Some(text) = text {
        return Ok(Object(binary::value(text.into_bytes())));
    }
    let bytes = binary.ok_or_else(|| StoreError::Answer("AWS's answer has no value".to_owned()))?;
    Ok(Object(binary::value(bytes.into_inner())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_known_by_its_name_or_arn() {
        let arn = "arn:aws:secretsmanager:eu-west-1:1:secret:team/db-AbC123";
        let is = |id: &str| is_named(id, Some("team/db"), Some(arn));
        assert!(is("team/db"));
        assert!(is(arn));
        assert!(is("arn:aws:secretsmanager:eu-west-1:1:secret:team/db"));
        for other in [
            "team/d",
            "team/db-AbC123",
            "arn:aws:secretsmanager:eu-west-1:1:secret:team/d",
            "",
            "arn:",
        ] {
            assert!(!is(other), "{other:?}");
        }
    }

    #[test]
    fn aws_narrows_the_list_without_turning_a_filter_around() {
        let find = |path: &str, tags: &[&str]| Find {
            path: path.to_owned(),
            name: None,
            tags: tags
                .iter()
                .map(|key| ((*key).to_owned(), String::new()))
                .collect(),
        };
        let keys = |find: &Find| -> Vec<String> {
            let all = filters(find).into_iter();
            all.map(|filter| format!("{}={}", filter.key().unwrap().as_str(), filter.values()[0]))
                .collect()
        };
        assert_eq!(
            keys(&find("team/", &["env"])),
            ["name=team/", "tag-key=env"]
        );
        assert!(keys(&find("!team", &["!env"])).is_empty());
        let named = Find {
            name: Some("db".to_owned()),
            ..find("", &["env"])
        };
        assert!(keys(&named).is_empty(), "a name counts more");
        let many: Vec<String> = (0..40).map(|number| number.to_string()).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(keys(&find("a", &many)).len(), FILTERS);
    }
}
