//! Gathers what is wanted within a moment, so that one call serves many who want different secrets.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use crate::store::{Object, StoreError};

/// How long a group waits for more.
struct Patience {
    /// It goes out when nobody joined for this long,
    quiet: Duration,
    /// and at the latest after this time.
    longest: Duration,
}

/// Somebody who comes alone is served at once.
const IDLE: Patience = Patience {
    quiet: Duration::from_millis(50),
    longest: Duration::from_millis(200),
};
/// While many come, the last of them matters: full groups serve him sooner. Those who come next write
/// the Secrets of the group before, which takes a while where the API server is slow.
const BUSY: Patience = Patience {
    quiet: Duration::from_millis(800),
    longest: Duration::from_secs(2),
};
/// So long after a group of several, more may come.
const BUSY_FOR: Duration = Duration::from_secs(2);

/// Somebody who wants a secret.
pub(super) struct Wanted {
    /// The ID of the secret, as the service names it.
    pub(super) id: String,
    reply: oneshot::Sender<Result<Object, StoreError>>,
}

impl Wanted {
    /// A wish for this ID, and where its answer comes.
    pub(super) fn new(id: &str) -> (Self, oneshot::Receiver<Result<Object, StoreError>>) {
        let (reply, answer) = oneshot::channel();
        let id = id.to_owned();
        (Self { id, reply }, answer)
    }

    /// Answers. Whoever asked may be gone.
    pub(super) fn answer(self, result: Result<Object, StoreError>) {
        let _ = self.reply.send(result);
    }
}

/// Puts ARNs first. An ARN has one secret; a name fits that of another account too, which must be
/// taken by then.
pub(super) fn arns_first(group: &mut [Wanted]) {
    group.sort_by_key(|wanted| !wanted.id.starts_with("arn:"));
}

/// Where to ask.
pub(super) struct Gatherer(mpsc::UnboundedSender<Wanted>);

impl Gatherer {
    /// Gathers up to `size` who want something, and has each group served by `serve`, in a task of
    /// its own.
    pub(super) fn new<F>(size: usize, serve: impl Fn(Vec<Wanted>) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (sender, mut wanted) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut last: Option<Instant> = None;
            while let Some(first) = wanted.recv().await {
                let is_busy = last.is_some_and(|last| last.elapsed() < BUSY_FOR);
                let patience = if is_busy { BUSY } else { IDLE };
                let latest = Instant::now() + patience.longest;
                let mut group = vec![first];
                while group.len() < size {
                    let until = latest.min(Instant::now() + patience.quiet);
                    let Ok(Some(next)) = timeout_at(until, wanted.recv()).await else {
                        break;
                    };
                    group.push(next);
                }
                if group.len() > 1 {
                    last = Some(Instant::now());
                }
                tokio::spawn(serve(group));
            }
        });
        Self(sender)
    }

    /// Reads a secret, in a group.
    pub(super) async fn read(&self, id: &str) -> Result<Object, StoreError> {
        let gone = || StoreError::unavailable("the call to AWS ended without an answer");
        let (wanted, answer) = Wanted::new(id);
        self.0.send(wanted).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use futures::future::join_all;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_name_gets_nothing_that_an_arn_asked_for() {
        let wanted = |id: &str| Wanted::new(id).0;
        let mut group = [
            "db",
            "arn:aws:secretsmanager:eu-west-1:2:secret:db-AbC123",
            "a",
        ]
        .map(wanted);
        arns_first(&mut group);
        let ids: Vec<_> = group.iter().map(|wanted| wanted.id.as_str()).collect();
        assert!(ids[0].starts_with("arn:"), "{ids:?}");
        assert_eq!(ids[1..], ["db", "a"]);
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_ask_within_a_moment_go_out_together() {
        let sizes = Arc::new(Mutex::new(Vec::new()));
        let seen = sizes.clone();
        let gatherer = Gatherer::new(20, move |group| {
            seen.lock().unwrap().push(group.len());
            async move {
                for wanted in group {
                    let id = wanted.id.clone();
                    wanted.answer(Ok(Object(json!(id))));
                }
            }
        });
        let read = async |number: u64, pause: u64| {
            tokio::time::sleep(Duration::from_millis(number * pause)).await;
            let object = gatherer.read(&number.to_string()).await.unwrap();
            assert_eq!(object.0, json!(number.to_string()));
        };
        let start = Instant::now();
        join_all((0..45).map(|number| read(number, 0))).await;
        assert_eq!(std::mem::take(&mut *sizes.lock().unwrap()), [20, 20, 5]);
        assert_eq!(start.elapsed(), BUSY.quiet, "a full group does not wait");
        tokio::time::sleep(BUSY_FOR).await;
        let start = Instant::now();
        read(0, 0).await;
        assert_eq!(start.elapsed(), IDLE.quiet, "nor does one who comes alone");
        assert_eq!(std::mem::take(&mut *sizes.lock().unwrap()), [1]);
        // One after the other: a first group, and then fuller ones.
        join_all((0..34).map(|number| read(number, 20))).await;
        assert_eq!(std::mem::take(&mut *sizes.lock().unwrap()), [11, 20, 3]);
    }
}
