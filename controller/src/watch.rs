//! Watches that never end: each with its own growing pause after errors.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use kube::Client;
use kube::client::Body;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event};

use crate::telemetry::{Health, Metrics};

/// The events of a watch, errors counted and logged, without end.
pub fn events<K>(
    stream: impl futures::Stream<Item = watcher::Result<Event<K>>> + Send + 'static,
    kind: &'static str,
    health: Arc<Health>,
    metrics: Arc<Metrics>,
) -> BoxStream<'static, Event<K>>
where
    K: Clone + Debug + Send + 'static,
{
    // Counted from zero, so that the first error is an increase.
    drop(
        metrics
            .watch_errors
            .get_or_create(&crate::telemetry::kind_label(kind)),
    );
    stream
        .default_backoff()
        .filter_map(move |item| {
            health.watch(item.is_ok());
            let event = item
                .inspect_err(|error| {
                    metrics
                        .watch_errors
                        .get_or_create(&crate::telemetry::kind_label(kind))
                        .inc();
                    // Only the kind of failure: the text of an API error may quote an object.
                    let failure = failure_of(error);
                    tracing::warn!(kind, failure, "watch failed, will be retried");
                })
                .ok();
            futures::future::ready(event)
        })
        .boxed()
}

/// Does the server send a list of this collection as the beginning of a watch (`WatchList`, on by
/// default since Kubernetes 1.34)? Asks until it answers.
pub async fn streams_lists(client: &Client, collection: &str) -> bool {
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

fn failure_of(error: &watcher::Error) -> String {
    let kube = |error: &kube::Error| match error {
        kube::Error::Api(status) => format!("{} {}", status.code, status.reason),
        _ => "no answer".to_owned(),
    };
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => kube(error),
        watcher::Error::WatchError(status) => format!("{} {}", status.code, status.reason),
        watcher::Error::NoResourceVersion => "no resourceVersion".to_owned(),
    }
}
