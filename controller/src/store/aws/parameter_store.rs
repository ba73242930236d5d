//! The Parameter Store of Systems Manager.

use aws_sdk_ssm::Client;
use aws_sdk_ssm::config::Config;
use aws_sdk_ssm::types::{Parameter, ParameterStringFilter, ResourceTypeForTagging};
use serde_json::Value;

use super::batch::Batches;
use super::endpoint::Service;
use super::failure::Failure;
use super::identity::Identity;
use super::refusals::Refusals;
use super::{Calls, transport};
use crate::store::binary;
use crate::store::find::{Found, NAMES, too_large};
use crate::store::{Find, Object, StoreError};

/// Parameters that one call reads.
pub(super) const BATCH: usize = 10;

/// The Parameter Store under one identity.
pub(super) struct ParameterStore {
    client: Client,
    refusals: Refusals,
}

/// What a search comes to.
pub(super) enum Search {
    /// Names, whose values are still to be read.
    Names(Vec<String>),
    /// A JSON object of names and values.
    Values(Object),
}

/// Why a path was not read.
enum Unread {
    /// AWS refused a call.
    Refused(Failure),
    /// There is too much, or nothing.
    Found(StoreError),
}

impl Batches for ParameterStore {
    const ACTION: &str = "GetParameters";
    type Answer = Vec<Parameter>;

    fn refusals(&self) -> &Refusals {
        &self.refusals
    }

    async fn many(&self, ids: Vec<String>) -> Result<Self::Answer, Failure> {
        let call = self.client.get_parameters().set_names(Some(ids));
        let answer = call.with_decryption(true).send().await;
        let answer = answer.map_err(|error| self.refusals.failure(&error))?;
        Ok(answer.parameters.unwrap_or_default())
    }

    fn take(answer: &mut Self::Answer, id: &str) -> Option<Result<Object, StoreError>> {
        // If it is invalid, its own call says why.
        let place = answer.iter().position(|found| is_named(id, found))?;
        Some(object(Some(answer.swap_remove(place))))
    }

    /// One parameter, by its name or ARN, with a colon and a version or a label if one is wanted.
    async fn one(&self, id: &str) -> Result<Object, StoreError> {
        let call = self.client.get_parameter().name(id).with_decryption(true);
        let answer = call.send().await;
        let answer = answer.map_err(|error| {
            self.refusals
                .failure(&error)
                .while_reading("GetParameter", id)
        })?;
        object(answer.parameter)
    }
}

impl ParameterStore {
    pub(super) fn new(identity: &Identity, calls: &Calls) -> Result<Self, StoreError> {
        let mut config = Config::builder()
            .behavior_version(Calls::behavior())
            .region(calls.region.clone())
            .http_client(transport::client()?)
            .retry_config(calls.retries.clone())
            .timeout_config(Calls::timeouts())
            .credentials_provider(identity.credentials.clone());
        config.set_endpoint_url(Service::ParameterStore.endpoint()?);
        Ok(Self {
            client: Client::from_conf(config.build()),
            refusals: Refusals::default(),
        })
    }

    pub(super) fn is_refused(&self) -> bool {
        self.refusals.is_refused()
    }

    /// The tags of a parameter.
    pub(super) async fn tags(&self, name: &str) -> Result<Object, StoreError> {
        let call = self.client.list_tags_for_resource().resource_id(name);
        let answer = call
            .resource_type(ResourceTypeForTagging::Parameter)
            .send()
            .await;
        let answer = answer.map_err(|error| {
            self.refusals
                .failure(&error)
                .while_reading("ListTagsForResource", name)
        })?;
        let tags = answer.tag_list.unwrap_or_default().into_iter();
        let tags = tags.map(|tag| (tag.key, Value::from(tag.value)));
        Ok(Object(Value::Object(tags.collect())))
    }

    /// Finds parameters. By names with their values, if the identity may read a whole path.
    pub(super) async fn find(
        &self,
        find: &Find,
        matches: impl Fn(&str) -> bool,
    ) -> Result<Search, StoreError> {
        if find.name.is_none() && !find.tags.is_empty() {
            return self.names(find, |_| true).await.map(Search::Names);
        }
        match self.below(&find.path, &matches).await {
            Ok(values) => Ok(Search::Values(values)),
            Err(Unread::Refused(failure)) if failure.is_denied() => {
                self.names(find, matches).await.map(Search::Names)
            }
            Err(Unread::Refused(failure)) => {
                Err(failure.while_reading("GetParametersByPath", &find.path))
            }
            Err(Unread::Found(error)) => Err(error),
        }
    }

    async fn below(&self, path: &str, matches: impl Fn(&str) -> bool) -> Result<Object, Unread> {
        let path = if path.is_empty() { "/" } else { path };
        let call = self.client.get_parameters_by_path().path(path);
        let mut pages = call
            .recursive(true)
            .with_decryption(true)
            .into_paginator()
            .send();
        let mut found = Found::default();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| Unread::Refused(self.refusals.failure(&error)))?;
            for parameter in page.parameters.unwrap_or_default() {
                if let (Some(name), Some(value)) = (parameter.name, parameter.value)
                    && matches(&name)
                {
                    let secret = Object(binary::value(value.into_bytes()));
                    found.add(name, secret).map_err(Unread::Found)?;
                }
            }
        }
        found.all().map_err(Unread::Found)
    }

    async fn names(
        &self,
        find: &Find,
        matches: impl Fn(&str) -> bool,
    ) -> Result<Vec<String>, StoreError> {
        let call = self.client.describe_parameters();
        let filters = filters(find)?;
        let mut pages = call
            .set_parameter_filters(Some(filters).filter(|filters| !filters.is_empty()))
            .into_paginator()
            .page_size(50)
            .send();
        let mut names = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| {
                self.refusals
                    .failure(&error)
                    .while_reading("DescribeParameters", &find.path)
            })?;
            let found = page.parameters.unwrap_or_default().into_iter();
            names.extend(
                found
                    .filter_map(|one| one.name)
                    .filter(|name| matches(name)),
            );
            if names.len() > NAMES {
                return Err(too_large(&format!("matches more than {NAMES} names")));
            }
        }
        Ok(names)
    }
}

fn filters(find: &Find) -> Result<Vec<ParameterStringFilter>, StoreError> {
    let filter = |key: String, option: &str, value: &str| {
        let filter = ParameterStringFilter::builder().key(key).option(option);
        let filter = filter.values(value).build();
        filter.map_err(|_| StoreError::Config("find has no filter".to_owned()))
    };
    let tags = find.tags.iter().filter(|_| find.name.is_none());
    let tags = tags.map(|(key, value)| filter(format!("tag:{key}"), "Equals", value));
    let path = Some(find.path.as_str()).filter(|path| !path.is_empty());
    let path = path.map(|path| filter("Path".to_owned(), "Recursive", path));
    tags.chain(path).collect()
}

/// Is this parameter the one of an ID, its version or label included?
fn is_named(id: &str, parameter: &Parameter) -> bool {
    let selector = parameter.selector().unwrap_or_default();
    let version = format!(":{}", parameter.version());
    let is = |name: &str| {
        let rest = id.strip_prefix(name);
        rest.is_some_and(|rest| rest == selector || rest == version)
    };
    parameter.name().is_some_and(is) || parameter.arn().is_some_and(is)
}

fn object(parameter: Option<Parameter>) -> Result<Object, StoreError> {
    let value = parameter.and_then(|parameter| parameter.value);
    let value = value.ok_or_else(|| StoreError::Answer("AWS's answer has no value".to_owned()))?;
    Ok(Object(binary::value(value.into_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_known_by_its_name_or_arn_and_its_version() {
        let parameter = |selector: Option<&str>| {
            Parameter::builder()
                .name("/team/db")
                .arn("arn:aws:ssm:eu-west-1:1:parameter/team/db")
                .version(3)
                .set_selector(selector.map(str::to_owned))
                .build()
        };
        let plain = parameter(None);
        assert!(is_named("/team/db", &plain));
        assert!(is_named(
            "arn:aws:ssm:eu-west-1:1:parameter/team/db",
            &plain
        ));
        assert!(!is_named("/team/db:2", &plain) && !is_named("/team/d", &plain));
        let third = parameter(Some(":3"));
        assert!(is_named("/team/db:3", &third) && !is_named("/team/db", &third));
        let live = parameter(Some(":live"));
        assert!(is_named("/team/db:live", &live) && is_named("/team/db:3", &live));
    }
}
