//! Searches, of which each provider has its own: what bounds all of them, and how a name matches.

use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use regex::{Regex, RegexBuilder};
use serde_json::{Map, Value};
use tokio::time::timeout;

use super::memory::size;
use super::{Object, StoreError, http};

/// Names that a search may look at.
pub(super) const NAMES: usize = 10_000;
/// Secrets that it may read: a Secret of Kubernetes holds 1 MiB in all.
const SECRETS: usize = 1_000;
/// Bytes of their names and values in memory.
const BYTES: usize = http::ANSWER;
/// Bytes of one of them: some are read ahead.
const ONE: usize = 2 * 1024 * 1024;
/// Reads under way at the same time.
pub(super) const AT_ONCE: usize = 8;
/// How long a search may take.
const TIME: Duration = Duration::from_secs(60);
/// Bytes of a compiled regular expression.
const REGEX: usize = 1024 * 1024;

/// Ends a search that takes too long: it is no outage, and holds up nobody for ever.
pub(super) async fn within_time<T>(
    search: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let found = timeout(TIME, search).await;
    found.unwrap_or_else(|_| Err(too_large("takes more than a minute")))
}

/// A regular expression that matches a part of a name. Error: [`StoreError::Config`].
pub(super) fn pattern(text: &str) -> Result<Regex, StoreError> {
    let pattern = RegexBuilder::new(text).size_limit(REGEX).build();
    pattern.map_err(|_| {
        StoreError::Config("find.name.regexp is no regular expression, or too large".to_owned())
    })
}

/// The error for a search that finds too much.
pub(super) fn too_large(what: &str) -> StoreError {
    StoreError::Answer(format!("find {what}: narrow it by path or name"))
}

/// Reads secrets by their names, some at a time. Those that `read` has no secret for are left out.
/// Errors: those of `read`, [`StoreError::Answer`] if it is too much, [`StoreError::Missing`] if it
/// is nothing.
pub(super) async fn read_all<F>(
    names: Vec<String>,
    read: impl Fn(String) -> F,
) -> Result<Object, StoreError>
where
    F: Future<Output = Result<Option<Object>, StoreError>>,
{
    read_at_once(AT_ONCE, names, read).await
}

/// The same with this many reads under way at the same time.
pub(super) async fn read_at_once<F>(
    at_once: usize,
    names: Vec<String>,
    read: impl Fn(String) -> F,
) -> Result<Object, StoreError>
where
    F: Future<Output = Result<Option<Object>, StoreError>>,
{
    if names.len() > SECRETS {
        return Err(too_large(&format!("matches more than {SECRETS} secrets")));
    }
    let mut found = Found::default();
    let reads = names.into_iter().map(|name| {
        let secret = read(name.clone());
        async move {
            let secret = secret.await?;
            if secret.as_ref().is_some_and(|secret| size(&secret.0) > ONE) {
                let limit = ONE / 1024 / 1024;
                return Err(too_large(&format!("gives one of more than {limit} MiB")));
            }
            Ok((name, secret))
        }
    });
    let mut reads = stream::iter(reads).buffered(at_once);
    while let Some((name, secret)) = reads.try_next().await? {
        if let Some(secret) = secret {
            found.add(name, secret)?;
        }
    }
    found.all()
}

/// What a search has found so far. No Debug.
#[derive(Default)]
pub(super) struct Found {
    secrets: Map<String, Value>,
    bytes: usize,
}

impl Found {
    /// Adds a secret. Error: [`StoreError::Answer`] if it is too much.
    pub(super) fn add(&mut self, name: String, mut secret: Object) -> Result<(), StoreError> {
        self.bytes += name.len() + size(&secret.0);
        if self.bytes > BYTES {
            let limit = BYTES / 1024 / 1024;
            return Err(too_large(&format!("gives more than {limit} MiB")));
        }
        self.secrets.insert(name, secret.0.take());
        if self.secrets.len() > SECRETS {
            return Err(too_large(&format!("matches more than {SECRETS} secrets")));
        }
        Ok(())
    }

    /// All of it, as a JSON object. Error: [`StoreError::Missing`] if it is nothing.
    pub(super) fn all(mut self) -> Result<Object, StoreError> {
        if self.secrets.is_empty() {
            return Err(StoreError::Missing("find matches no secret".to_owned()));
        }
        Ok(Object(Value::Object(std::mem::take(&mut self.secrets))))
    }
}

impl Drop for Found {
    fn drop(&mut self) {
        drop(Object(Value::Object(std::mem::take(&mut self.secrets))));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn a_search_is_bounded_and_finds_nothing_or_something() {
        let names = |count: usize| (0..count).map(|number| number.to_string()).collect();
        let small = async |name: String| Ok((name != "1").then(|| Object(json!({"a": name}))));
        let found = read_all(names(3), small).await.ok().unwrap();
        assert_eq!(found.0, json!({"0": {"a": "0"}, "2": {"a": "2"}}));
        let large = async |_| Ok(Some(Object(json!("x".repeat(1024 * 1024)))));
        let rows: [(_, &str); 2] = [
            (read_all(names(9), large).await, "more than 8 MiB"),
            (
                read_all(names(1_001), small).await,
                "more than 1000 secrets",
            ),
        ];
        for (found, says) in rows {
            let error = found.err().unwrap();
            assert!(matches!(error, StoreError::Answer(_)), "{error}");
            assert!(error.to_string().contains(says), "{error}");
        }
        let nothing = read_all(names(0), small).await.err().unwrap();
        assert!(matches!(nothing, StoreError::Missing(_)), "{nothing}");
    }

    #[test]
    fn what_is_found_on_the_way_is_bounded_too() {
        let fill = |count: usize, bytes: usize| {
            let mut found = Found::default();
            let secret = || Object(json!("x".repeat(bytes)));
            (0..count).try_for_each(|number| found.add(number.to_string(), secret()))?;
            found.all()
        };
        assert_eq!(
            fill(2, 1).unwrap_or(Object(json!(null))).0,
            json!({"0": "x", "1": "x"})
        );
        for (count, bytes, says) in [
            (0, 0, "matches no secret"),
            (9, 1024 * 1024, "more than 8 MiB"),
            (1_001, 1, "more than 1000 secrets"),
        ] {
            let error = fill(count, bytes).err().unwrap().to_string();
            assert!(error.contains(says), "{error}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_search_without_an_end_is_ended() {
        let search = within_time::<()>(std::future::pending()).await;
        assert!(matches!(search, Err(StoreError::Answer(_))));
    }

    #[test]
    fn a_name_matches_by_a_part_and_a_bad_pattern_is_refused() {
        assert!(pattern("b/c").unwrap().is_match("a/b/c/d"));
        for bad in ["(", r"(?<!a)b", r"\pL{900}{900}"] {
            assert!(matches!(pattern(bad), Err(StoreError::Config(_))), "{bad}");
        }
    }
}
