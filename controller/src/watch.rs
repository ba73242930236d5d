//! Watches that never end. Each has its own growing pause after errors, and keeps track of lists.

use std::collections::{HashMap, HashSet};
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use kube::api::ListParams;
use kube::client::Body;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Resource};
use sealkit_core::api::watch_command;
use serde::de::DeserializeOwned;
use tokio::sync::{Semaphore, watch};

use crate::kubernetes::{ApiFailure, no_way_to_server, within};
use crate::object::{Key, Namespaces};
use crate::reconciler::Context;
use crate::telemetry::{Health, Metrics, kind_label};

/// How long the controller waits until it tries again to watch what it may not.
const PATIENCE: Duration = Duration::from_mins(10);

/// What a watch reports about its objects.
pub enum Change<K> {
    /// It exists as it is here, changed or not.
    Seen(K),
    /// It was deleted.
    Gone(Key),
    /// A list is complete: the first one, or one after an interruption. Objects that it lacks are
    /// gone.
    Listed(List),
}

/// The keys of a complete list.
pub struct List {
    namespaces: Namespaces,
    keys: HashSet<Key>,
    /// Is it the first one of its watch?
    is_first: bool,
}

impl List {
    /// What it covers.
    pub fn namespaces(&self) -> &Namespaces {
        &self.namespaces
    }

    /// Is the object missing from the list, although the list covers its namespace?
    pub fn lacks(&self, key: &Key) -> bool {
        self.namespaces.covers(key) && !self.keys.contains(key)
    }

    /// Those of these objects that are gone.
    pub fn missing<'a>(&self, known: impl IntoIterator<Item = &'a Key>) -> Vec<Key> {
        let known = known.into_iter();
        known.filter(|key| self.lacks(key)).cloned().collect()
    }
}

/// Which watches of one kind do not have a complete first list yet. Each namespace is by itself: one
/// that the controller may not watch holds up no other.
pub struct FirstLists {
    /// How many there are, by what they cover.
    missing: watch::Sender<HashMap<Namespaces, usize>>,
}

impl FirstLists {
    /// Those of watches that cover these, none of them complete.
    pub fn of<'a>(watches: impl IntoIterator<Item = &'a Namespaces>) -> Self {
        let mut missing = HashMap::new();
        for namespaces in watches {
            *missing.entry(namespaces.clone()).or_default() += 1;
        }
        Self {
            missing: watch::Sender::new(missing),
        }
    }

    /// Counts a list, if it is the first one of its watch. Returns whether all that cover the same
    /// are complete with it.
    pub fn count(&self, list: &List) -> bool {
        let mut last = false;
        self.missing.send_if_modified(|missing| {
            let left = missing.get_mut(&list.namespaces);
            if let Some(left) = left.filter(|left| list.is_first && **left > 0) {
                *left -= 1;
                last = *left == 0;
            }
            last
        });
        last
    }

    /// Are all complete?
    pub fn are_complete(&self) -> bool {
        self.missing.borrow().values().all(|left| *left == 0)
    }

    /// Returns once all that cover these are complete.
    pub async fn completed(&self, namespaces: &Namespaces) {
        let is_complete =
            |missing: &HashMap<_, _>| missing.get(namespaces).is_none_or(|left| *left == 0);
        let mut missing = self.missing.subscribe();
        // The sender lives as long as this.
        let _ = missing.wait_for(is_complete).await;
    }
}

/// Objects in one page of a list. Any tenant can make objects with 1.5 MB of metadata each, which
/// are several times as large as JSON, and a page is in memory as a whole, twice.
pub const PAGE: u32 = 10;

/// The turn of the one list of strangers' objects whose pages are in memory.
static PAGES: Semaphore = Semaphore::const_new(1);

/// Watches objects that anybody may make, those with the label if one is given. The server streams a
/// list one by one if it can; otherwise it comes in small pages, one list after the other. Either
/// way, no list of large objects fills the memory.
pub async fn of_strangers<K>(
    client: &Client,
    api: Api<K>,
    label: Option<&str>,
) -> BoxStream<'static, watcher::Result<Event<K>>>
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let mut config = watcher::Config::default();
    if let Some(label) = label {
        config = config.labels(label);
    }
    if streams_lists(client, api.resource_url()).await {
        watcher(api, config.streaming_lists()).boxed()
    } else {
        one_list_at_a_time(watcher(api, config.page_size(PAGE)), &PAGES).boxed()
    }
}

/// The same events. A list waits for its turn, which lasts until the list is complete or has failed.
fn one_list_at_a_time<K>(
    events: impl Stream<Item = watcher::Result<Event<K>>> + Send + 'static,
    lists: &'static Semaphore,
) -> impl Stream<Item = watcher::Result<Event<K>>> + Send + 'static
where
    K: Send + 'static,
{
    let state = (events.boxed(), None);
    futures::stream::unfold(state, async move |(mut events, mut turn)| {
        let event = events.next().await?;
        match event {
            Ok(Event::Init) => turn = lists.acquire().await.ok(),
            Ok(Event::InitDone) | Err(_) => turn = None,
            Ok(_) => {}
        }
        Some((event, (events, turn)))
    })
}

/// Returns once objects may be listed. Without that right, `otherwise` is so, and logged.
pub async fn may_list<K>(api: &Api<K>, kind: &'static str, otherwise: &str)
where
    K: Resource + Clone + Debug + DeserializeOwned,
{
    let page = ListParams::default().limit(1);
    while let Err(ApiFailure::Status { code: 403, .. }) = within(api.list(&page)).await {
        tracing::info!(kind, "no right to list and watch: {otherwise}");
        tokio::time::sleep(PATIENCE).await;
    }
}

/// Do all objects of a collection pass? Reads them page by page until one does not.
pub async fn all_pass<K>(
    api: &Api<K>,
    mut page: ListParams,
    mut passes: impl FnMut(&K) -> bool + Send,
) -> Result<bool, ApiFailure>
where
    K: Clone + Debug + DeserializeOwned,
{
    page.limit = Some(PAGE);
    loop {
        let list = within(api.list(&page)).await?;
        if !list.items.iter().all(&mut passes) {
            return Ok(false);
        }
        match list.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page.continue_token = Some(token),
            None => return Ok(true),
        }
    }
}

/// The changes of objects that anybody may make, without end: see [`of_strangers`] and [`changes`].
pub async fn changes_of_strangers<K>(
    context: &Context,
    api: Api<K>,
    name: &'static str,
    namespaces: Namespaces,
) -> BoxStream<'static, Change<K>>
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let stream = of_strangers(&context.client, api, None).await;
    let (health, metrics) = (context.health.clone(), &context.metrics);
    changes(stream, name, namespaces, health, metrics)
}

/// The changes of a watch over `namespaces`, without end. Errors are counted and logged.
pub fn changes<K>(
    stream: impl Stream<Item = watcher::Result<Event<K>>> + Send + 'static,
    name: &'static str,
    namespaces: Namespaces,
    health: Arc<Health>,
    metrics: &Metrics,
) -> BoxStream<'static, Change<K>>
where
    K: Resource + Clone + Debug + Send + 'static,
{
    let mut keys = HashSet::new();
    let mut is_first = true;
    events(stream, name, namespaces.clone(), health, metrics)
        .filter_map(move |event| {
            let change = match event {
                Event::Init => {
                    keys.clear();
                    None
                }
                Event::InitApply(object) => {
                    keys.insert(Key::of(object.meta()));
                    Some(Change::Seen(object))
                }
                Event::InitDone => Some(Change::Listed(List {
                    namespaces: namespaces.clone(),
                    keys: std::mem::take(&mut keys),
                    is_first: std::mem::take(&mut is_first),
                })),
                Event::Apply(object) => Some(Change::Seen(object)),
                Event::Delete(object) => Some(Change::Gone(Key::of(object.meta()))),
            };
            futures::future::ready(change)
        })
        .boxed()
}

/// The events of a watch, which continues after errors.
fn events<K>(
    stream: impl Stream<Item = watcher::Result<Event<K>>> + Send + 'static,
    name: &'static str,
    namespaces: Namespaces,
    health: Arc<Health>,
    metrics: &Metrics,
) -> BoxStream<'static, Event<K>>
where
    K: Clone + Debug + Send + 'static,
{
    let errors = metrics
        .watch_errors
        .get_or_create(&kind_label(name))
        .clone();
    stream
        .default_backoff()
        .filter_map(move |item| {
            let namespace = namespaces.one();
            let event = match item {
                Ok(event) => {
                    health.watch(true);
                    // The begin of a list says nothing about its success.
                    if let Some(namespace) = namespace.filter(|_| !matches!(event, Event::Init))
                        && health.watched(namespace, name)
                    {
                        tracing::info!(kind = name, namespace, "the namespace is watched again");
                    }
                    Some(event)
                }
                Err(error) => {
                    errors.inc();
                    // A right that lacks in one namespace is no reason to restart.
                    if let Some(namespace) = namespace.filter(|_| is_refused(&error)) {
                        if health.unwatched(namespace, name) {
                            let fix = watch_command(namespace);
                            let what = "no right to watch this namespace: it is not served";
                            tracing::warn!(kind = name, namespace, fix, "{what}");
                        }
                    } else {
                        health.watch(false);
                        // Only the kind of the failure: the text of an API error may quote an object.
                        let failure = failure_of(&error);
                        tracing::warn!(kind = name, failure, "watch failed, will retry");
                    }
                    None
                }
            };
            futures::future::ready(event)
        })
        .boxed()
}

/// Can a watch of this collection begin with a list (`WatchList`, on by default since Kubernetes
/// 1.34)? Asks the server until it answers.
async fn streams_lists(client: &Client, collection: &str) -> bool {
    let query = "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan\
                 &allowWatchBookmarks=true&timeoutSeconds=1";
    loop {
        let Ok(request) = http::Request::get(format!("{collection}?{query}")).body(Body::empty())
        else {
            return false;
        };
        match client.send(request).await {
            Ok(answer) if !answer.status().is_server_error() => {
                return answer.status().is_success();
            }
            _ => tokio::time::sleep(Duration::from_secs(1)).await,
        }
    }
}

/// Does the controller lack the right, because the tenant has no Role, or has deleted the namespace?
fn is_refused(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => status.code == 403,
        _ => false,
    }
}

fn failure_of(error: &watcher::Error) -> String {
    let kube = |error: &kube::Error| match error {
        kube::Error::Api(status) => format!("{} {}", status.code, status.reason),
        error => no_way_to_server(error).unwrap_or_else(|| "no answer".to_owned()),
    };
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => kube(error),
        watcher::Error::WatchError(status) => format!("{} {}", status.code, status.reason),
        watcher::Error::NoResourceVersion => "no resourceVersion".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use k8s_openapi::api::core::v1::ConfigMap;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

    use super::*;

    fn map(namespace: &str, name: &str) -> ConfigMap {
        ConfigMap {
            metadata: ObjectMeta {
                namespace: Some(namespace.into()),
                name: Some(name.into()),
                ..ObjectMeta::default()
            },
            ..ConfigMap::default()
        }
    }

    fn key(namespace: &str, name: &str) -> Key {
        Key::of(&map(namespace, name).metadata)
    }

    #[tokio::test]
    async fn a_list_lacks_what_was_not_in_it_and_should_have_been() {
        let interrupted = [Event::Init, Event::InitApply(map("a", "old"))];
        let whole = [
            Event::Init,
            Event::InitApply(map("a", "new")),
            Event::InitDone,
        ];
        let stream = futures::stream::iter(interrupted.into_iter().chain(whole).map(Ok))
            .chain(futures::stream::pending());
        let (health, metrics) = (Arc::default(), Metrics::new());
        let mut changes = changes(
            stream,
            "ConfigMap",
            Namespaces::One("a".into()),
            health,
            &metrics,
        );
        assert!(matches!(changes.next().await, Some(Change::Seen(_))));
        assert!(matches!(changes.next().await, Some(Change::Seen(_))));
        let Some(Change::Listed(list)) = changes.next().await else {
            panic!()
        };
        assert!(
            list.lacks(&key("a", "old")),
            "of a list that was never complete"
        );
        assert!(!list.lacks(&key("a", "new")));
        assert!(!list.lacks(&key("b", "old")), "another watch covers it");
    }

    #[tokio::test]
    async fn lists_are_complete_once_each_watch_had_its_first_one() {
        let one = |name: &str| Namespaces::One(name.to_owned());
        let (a, b) = (one("a"), one("b"));
        let lists = |namespaces: &Namespaces| {
            let list = [Event::<ConfigMap>::Init, Event::InitDone];
            let stream = futures::stream::iter(list.clone().into_iter().chain(list).map(Ok))
                .chain(futures::stream::pending());
            let (health, metrics) = (Arc::default(), Metrics::new());
            changes(stream, "ConfigMap", namespaces.clone(), health, &metrics)
        };
        let first_lists = FirstLists::of([&a, &a, &b]);
        let (mut one, mut other, mut third) = (lists(&a), lists(&a), lists(&b));
        let count =
            async |watch: &mut BoxStream<'static, Change<ConfigMap>>| match watch.next().await {
                Some(Change::Listed(list)) => first_lists.count(&list),
                _ => panic!("no list"),
            };
        let is_complete = |namespaces| first_lists.completed(namespaces).now_or_never().is_some();
        assert!(!count(&mut one).await);
        assert!(!count(&mut one).await, "a second list of the same watch");
        assert!(!is_complete(&a));
        assert!(count(&mut other).await);
        assert!(!count(&mut other).await, "told once");
        assert!(is_complete(&a), "whatever the other namespace does");
        assert!(!is_complete(&b) && !first_lists.are_complete());
        assert!(count(&mut third).await);
        assert!(is_complete(&b) && first_lists.are_complete());
    }

    #[tokio::test]
    async fn a_missing_right_in_one_namespace_is_told_and_is_no_reason_to_restart() {
        let forbidden = || {
            let status = kube::core::Status::failure("no", "Forbidden").with_code(403);
            Err(watcher::Error::InitialListFailed(kube::Error::Api(
                Box::new(status),
            )))
        };
        let (health, metrics) = (Arc::new(Health::default()), Metrics::new());
        health.expect_in("ConfigMap", &Namespaces::One("a".to_owned()));
        let refused = [Ok(Event::Init), forbidden(), Ok(Event::Init), forbidden()];
        let stream = futures::stream::iter::<[watcher::Result<Event<ConfigMap>>; 4]>(refused);
        let namespaces = Namespaces::One("a".to_owned());
        let mut refused = changes(
            stream,
            "ConfigMap",
            namespaces.clone(),
            health.clone(),
            &metrics,
        );
        assert!(refused.next().await.is_none());
        assert_eq!(health.missing(), None);
        assert!(health.is_live(i64::MAX));
        assert!(health.unwatched_namespaces().contains_key("a"));
        let allowed = [Ok(Event::Init), Ok(Event::<ConfigMap>::InitDone)];
        let stream = futures::stream::iter(allowed);
        let mut allowed = changes(stream, "ConfigMap", namespaces, health.clone(), &metrics);
        assert!(allowed.next().await.is_some());
        assert!(health.unwatched_namespaces().is_empty());
        assert_eq!(
            health.missing().as_deref(),
            Some("ConfigMap"),
            "until it is listed"
        );
    }

    #[test]
    fn a_list_waits_until_another_is_complete_or_has_failed() {
        static LISTS: Semaphore = Semaphore::const_new(1);
        let list = |end| {
            let events = [Ok(Event::Init), Ok(Event::InitApply(map("a", "b"))), end];
            let events = futures::stream::iter(events).chain(futures::stream::pending());
            one_list_at_a_time(events, &LISTS).boxed()
        };
        let failure = watcher::Error::NoResourceVersion;
        let mut lists = [
            list(Ok(Event::InitDone)),
            list(Err(failure)),
            list(Ok(Event::InitDone)),
        ];
        for index in 0..lists.len() {
            for _ in 0..2 {
                assert!(lists[index].next().now_or_never().is_some());
            }
            for waiting in &mut lists[index + 1..] {
                assert!(waiting.next().now_or_never().is_none(), "not its turn");
            }
            assert!(lists[index].next().now_or_never().is_some());
        }
    }
}
