//! Watches that never end: each with its own growing pause after errors.

use std::fmt::Debug;
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::BoxStream;
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
