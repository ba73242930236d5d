//! Values that stand in the store itself, for tests.

use sealkit_core::api::external::{FakeProvider, FakeValue};
use serde_json::Value;

use super::find::{pattern, read_all};
use super::{Find, Object, Read, StoreError};

/// The values of one store. No Debug.
pub struct Fake(Vec<FakeValue>);

impl Fake {
    /// What the store says.
    pub fn new(provider: &FakeProvider) -> Self {
        Self(provider.data.clone())
    }

    /// Reads a value by its key and version, both exact.
    pub async fn read(&self, read: &Read) -> Result<Object, StoreError> {
        match read {
            Read::Secret { key, version } => {
                let version = version.as_deref().unwrap_or_default();
                let mut values = self.0.iter();
                // A later entry wins.
                let found = values.rfind(|value| value.key == *key && value.version == version);
                found.map(text).ok_or_else(|| {
                    StoreError::Missing(format!("the store has no value {key:?} of that version"))
                })
            }
            Read::Metadata { .. } => Err(StoreError::Config(
                "metadataPolicy Fetch is not served by provider fake: it has no metadata"
                    .to_owned(),
            )),
            Read::Find(find) => self.find(find).await,
        }
    }

    /// The newest values whose keys match.
    async fn find(&self, find: &Find) -> Result<Object, StoreError> {
        if !find.tags.is_empty() || !find.path.is_empty() {
            return Err(StoreError::Config(
                "find by path or tags is not served by provider fake: it has neither".to_owned(),
            ));
        }
        let pattern = pattern(find.name.as_deref().unwrap_or_default())?;
        let mut keys: Vec<String> = self.0.iter().map(|value| value.key.clone()).collect();
        keys.retain(|key| pattern.is_match(key));
        keys.sort();
        keys.dedup();
        let newest = async |key: String| {
            let values = self.0.iter().filter(|value| value.key == key);
            let newest = values.max_by(|one, other| one.version.cmp(&other.version));
            Ok(newest.map(text))
        };
        read_all(keys, newest).await
    }
}

fn text(value: &FakeValue) -> Object {
    Object(Value::String(value.value.clone()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fake() -> Fake {
        let values = [
            ("a", "1", ""),
            ("a", "2", "v1"),
            ("a/b", "3", "v2"),
            ("c", "{}", ""),
        ];
        Fake(
            values
                .map(|(key, value, version)| FakeValue {
                    key: key.to_owned(),
                    value: value.to_owned(),
                    version: version.to_owned(),
                })
                .into(),
        )
    }

    #[tokio::test]
    async fn a_value_has_exactly_its_key_and_version() {
        let read = async |key: &str, version: Option<&str>| {
            let read = Read::Secret {
                key: key.to_owned(),
                version: version.map(str::to_owned),
            };
            fake().read(&read).await.map(|mut found| found.0.take())
        };
        assert_eq!(read("a", None).await, Ok(json!("1")));
        assert_eq!(read("a", Some("v1")).await, Ok(json!("2")));
        for (key, version) in [("a/b", None), ("a", Some("v2")), ("b", None)] {
            let error = read(key, version).await.unwrap_err();
            assert!(matches!(error, StoreError::Missing(_)), "{key}: {error}");
        }
    }

    #[tokio::test]
    async fn a_search_finds_the_newest_version_by_name() {
        let find = async |name: &str| {
            let find = Find {
                name: Some(name.to_owned()),
                ..Find::default()
            };
            fake()
                .read(&Read::Find(find))
                .await
                .map(|mut found| found.0.take())
        };
        assert_eq!(find("^a").await, Ok(json!({"a": "2", "a/b": "3"})));
        assert!(matches!(find("^b").await, Err(StoreError::Missing(_))));
        assert!(matches!(find("(").await, Err(StoreError::Config(_))));
    }
}
