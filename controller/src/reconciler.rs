//! The frame of all reconcilers: workers that take objects from the queue, measure each reconcile,
//! survive a panic and retry. Each kind reconciles in its own folder.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use kube::Client;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::in_hand::InHand;
use crate::keys::KeysReceiver;
use crate::kubernetes::ApiFailure;
use crate::object::{Key, Namespaces};
use crate::queue::{Lane, Queue, Work, drained, pause};
use crate::render::Renderer;
use crate::settings::Rules;
use crate::telemetry::{Events, Health, KindLane, KindResult, Metrics, kind_label};

/// Reconciles the objects of one kind.
pub trait Reconciler: Send + Sync + 'static {
    /// The kind in metrics, logs and readiness.
    const KIND: &'static str;
    /// What triggers carry along.
    type Payload: Send + 'static;

    /// The kind of one object as controller-runtime names controllers.
    fn controller(key: &Key) -> &'static str;

    /// The objects that wait for their turn.
    fn queue(&self) -> &Queue<Key, Self::Payload>;

    /// The objects that wait for workers of their own, since they may wait long for something that
    /// is scarce, such as a place to render. So they hold up no others.
    fn slow_queue(&self) -> Option<&Queue<Key, Self::Payload>> {
        None
    }

    /// Objects reconciled at once.
    fn workers(&self) -> usize;

    /// Starts the watches that fill the queue, once their inputs are known. They never end.
    fn triggers(self: &Arc<Self>) -> impl Future<Output = JoinSet<()>> + Send;

    /// Observes, decides, acts. Returns the result for metrics, or the API server's error if the
    /// outcome could not be recorded.
    fn reconcile(
        &self,
        work: Work<Key, Self::Payload>,
        pool: Pool,
    ) -> impl Future<Output = Result<&'static str, ApiFailure>> + Send;

    /// Records that a reconcile failed or panicked, so that the object counts as not handled.
    /// `None` if the object is gone.
    fn failed(&self, key: &Key) -> Option<Retry>;

    /// Sets the gauges that are read from memory, except those of the queue.
    fn gauges(&self, metrics: &Metrics);
}

/// What all reconcilers use; built once.
#[derive(Clone)]
pub struct Context {
    /// The API server.
    pub client: Client,
    /// Where to watch, with one watch each.
    pub served: Vec<Namespaces>,
    /// The administrator's rules for objects.
    pub rules: Arc<Rules>,
    /// The keys in force.
    pub keys: KeysReceiver,
    /// Renders templates.
    pub renderer: Arc<Renderer>,
    /// Sends events.
    pub events: Events,
    /// The state that the probes report.
    pub health: Arc<Health>,
    /// The metrics.
    pub metrics: Arc<Metrics>,
}

/// Which workers reconcile an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pool {
    /// Those for most objects.
    Fast,
    /// Those of [`Reconciler::slow_queue`].
    Slow,
}

/// The result of a reconcile that panicked.
const PANIC: &str = "Panic";

/// Objects of one kind in [`Pool::Slow`] at once.
pub const SLOW: usize = 8;

/// When a failed reconcile is retried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Failures in a row, including this one.
    pub failures: u32,
    /// No later than this.
    pub latest: Option<Instant>,
}

/// What all parts are run with.
#[derive(Clone, Default)]
pub struct Frame {
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// What is worked on, for the next process.
    pub in_hand: Arc<InHand>,
}

/// A part of the controller that runs until it is stopped.
pub trait Part: Send + Sync {
    /// Its name in logs.
    fn name(&self) -> &'static str;

    /// Runs until [`Part::stop`]; ends by itself only if something is wrong.
    fn run(self: Arc<Self>, frame: Frame) -> BoxFuture<'static, ()>;

    /// Stops handing out work; writes in progress are finished.
    fn stop(&self);

    /// Sets the gauges that are read from memory.
    fn scrape(&self, metrics: &Metrics);
}

impl<R: Reconciler> Part for R {
    fn name(&self) -> &'static str {
        R::KIND
    }

    fn run(self: Arc<Self>, frame: Frame) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let triggers = self.triggers().await;
            let mut workers = JoinSet::new();
            for _ in 0..self.workers() {
                workers.spawn(work(self.clone(), frame.clone(), Pool::Fast));
            }
            for _ in 0..self.slow_queue().map_or(0, |_| SLOW) {
                workers.spawn(work(self.clone(), frame.clone(), Pool::Slow));
            }
            drained(workers, triggers).await;
        })
    }

    fn stop(&self) {
        self.queue().close();
        self.slow_queue().iter().for_each(|queue| queue.close());
    }

    fn scrape(&self, metrics: &Metrics) {
        let mut all = 0;
        for lane in [Lane::Fresh, Lane::Background] {
            let slow = self.slow_queue().map_or(0, |queue| queue.depth(lane));
            let depth = i64::try_from(self.queue().depth(lane) + slow).unwrap_or(i64::MAX);
            let label = lane_label::<R>(lane);
            metrics.queue_depth.get_or_create(&label).set(depth);
            all += depth;
        }
        let queues = [Some(self.queue()), self.slow_queue()];
        let overdue = queues.into_iter().flatten().map(Queue::overdue).max();
        let overdue = overdue.unwrap_or_default().as_secs_f64();
        let label = kind_label(R::KIND);
        metrics.queue_overdue.get_or_create(&label).set(overdue);
        let somewhere = Key {
            namespace: "default".to_owned(),
            name: String::new(),
        };
        metrics.external.waiting(R::controller(&somewhere), all);
        // There from the beginning, so that the first panic counts as an increase.
        let label = KindResult {
            kind: R::KIND,
            result: PANIC,
        };
        drop(metrics.reconcile_total.get_or_create(&label));
        let workers = self.workers() + self.slow_queue().map_or(0, |_| SLOW);
        for namespace in ["default", ""] {
            let somewhere = Key {
                namespace: namespace.to_owned(),
                name: String::new(),
            };
            let controller = R::controller(&somewhere);
            metrics.external.may_have(controller, workers);
        }
        self.gauges(metrics);
    }
}

/// Runs a future to its end; `None` if it panicked. The panic hook has logged the place.
pub async fn caught<T>(running: impl Future<Output = T>) -> Option<T> {
    AssertUnwindSafe(running).catch_unwind().await.ok()
}

/// One worker, which runs until the queue is closed.
async fn work<R: Reconciler>(reconciler: Arc<R>, frame: Frame, pool: Pool) {
    let Frame { metrics, in_hand } = frame;
    let queue = match pool {
        Pool::Fast => Some(reconciler.queue()),
        Pool::Slow => reconciler.slow_queue(),
    };
    let Some(queue) = queue else { return };
    while let Some(work) = queue.next().await {
        let key = work.key.clone();
        if let Some(until) = in_hand.waits(R::KIND, &key) {
            queue.push(key.clone(), work.lane, until, work.payload);
            queue.done(&key);
            continue;
        }
        let held = in_hand.take(R::KIND, &key);
        let waited = work.due.elapsed().as_secs_f64();
        let label = lane_label::<R>(work.lane);
        metrics.queue_wait.get_or_create(&label).observe(waited);
        let start = Instant::now();
        let controller = R::controller(&key);
        metrics.external.begun(controller);
        let result = caught(reconciler.reconcile(work, pool)).await;
        drop(held);
        let seconds = start.elapsed().as_secs_f64();
        let succeeded = matches!(&result, Some(Ok(_)));
        metrics.external.ended(controller, succeeded, seconds);
        let duration = metrics
            .reconcile_duration
            .get_or_create(&kind_label(R::KIND))
            .clone();
        duration.observe(seconds);
        let failure = match &result {
            Some(Ok(_)) => None,
            Some(Err(failure)) => Some(failure),
            None => Some(&ApiFailure::Unreachable),
        };
        let label = KindResult {
            kind: R::KIND,
            result: match &result {
                Some(Ok(outcome)) => outcome,
                Some(Err(_)) => "ApiFailure",
                None => PANIC,
            },
        };
        metrics.reconcile_total.get_or_create(&label).inc();
        if let Some(failure) = failure {
            retry(&*reconciler, &key, failure, result.is_none());
        }
        queue.done(&key);
    }
}

fn retry<R: Reconciler>(reconciler: &R, key: &Key, failure: &ApiFailure, panicked: bool) {
    let Some(Retry { failures, latest }) = reconciler.failed(key) else {
        return;
    };
    // 409: somebody changed the object meanwhile. Retry at once, the first time.
    let is_conflict = failure.code() == 409;
    let wait = if is_conflict && failures == 1 {
        Duration::ZERO
    } else {
        pause(failures)
    };
    let (kind, Key { namespace, name }) = (R::KIND, key);
    if panicked {
        tracing::error!(kind, namespace, name, "reconcile panicked, will retry");
    } else if !is_conflict || failures > 1 {
        tracing::warn!(kind, namespace, name, %failure, "reconcile failed, will retry");
    }
    let due = Instant::now() + wait;
    let due = latest.map_or(due, |latest| due.min(latest.max(Instant::now())));
    reconciler
        .queue()
        .push(key.clone(), Lane::Background, due, None);
}

fn lane_label<R: Reconciler>(lane: Lane) -> KindLane {
    KindLane {
        kind: R::KIND,
        lane: lane.name(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Mutex;

    use super::*;

    /// Panics at the first reconcile of `bad`, and counts reconciles.
    struct Fake {
        queue: Queue<Key, ()>,
        done: Mutex<HashMap<String, u32>>,
        /// Ends a watch when it is notified.
        watch_ends: tokio::sync::Notify,
    }

    fn fake() -> Arc<Fake> {
        Arc::new(Fake {
            queue: Queue::new(2),
            done: Mutex::default(),
            watch_ends: tokio::sync::Notify::new(),
        })
    }

    impl Reconciler for Fake {
        const KIND: &'static str = "Fake";
        type Payload = ();

        fn controller(_: &Key) -> &'static str {
            "fake"
        }

        fn queue(&self) -> &Queue<Key, ()> {
            &self.queue
        }

        fn workers(&self) -> usize {
            2
        }

        async fn triggers(self: &Arc<Self>) -> JoinSet<()> {
            let mut watches = JoinSet::new();
            let this = self.clone();
            watches.spawn(async move { this.watch_ends.notified().await });
            watches
        }

        async fn reconcile(
            &self,
            work: Work<Key, ()>,
            _: Pool,
        ) -> Result<&'static str, ApiFailure> {
            let count = {
                let mut done = self.done.lock().unwrap();
                let count = done.entry(work.key.name.clone()).or_default();
                *count += 1;
                *count
            };
            assert!(work.key.name != "bad" || count > 1, "injected");
            Ok("Done")
        }

        fn failed(&self, _: &Key) -> Option<Retry> {
            let latest = Some(Instant::now() + Duration::from_millis(10));
            Some(Retry {
                failures: 1,
                latest,
            })
        }

        fn gauges(&self, _: &Metrics) {}
    }

    fn push(fake: &Fake, name: &str) {
        let key = Key {
            namespace: "shop".into(),
            name: name.into(),
        };
        fake.queue.push(key, Lane::Fresh, Instant::now(), None);
    }

    #[tokio::test]
    async fn a_panic_is_retried_and_the_others_go_on() {
        let fake = fake();
        let running = tokio::spawn(Part::run(fake.clone(), Frame::default()));
        push(&fake, "bad");
        for index in 0..8 {
            push(&fake, &format!("good-{index}"));
        }
        let is_done = || {
            let done = fake.done.lock().unwrap();
            done.len() == 9 && done["bad"] == 2
        };
        while !is_done() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(!running.is_finished());
        Part::stop(&*fake);
        running.await.unwrap();
    }

    #[tokio::test]
    async fn a_watch_that_ends_ends_the_part() {
        let fake = fake();
        let running = tokio::spawn(Part::run(fake.clone(), Frame::default()));
        fake.watch_ends.notify_one();
        running.await.unwrap();
    }
}
