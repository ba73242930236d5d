//! How many calls a group of secrets takes: one for all where AWS allows it, and single ones for the
//! rest. One rule for all services.

use futures::stream::{self, StreamExt};

use super::failure::Failure;
use super::gather::{Wanted, arns_first};
use super::refusals::Refusals;
use crate::store::find::AT_ONCE;
use crate::store::{Object, StoreError};

/// A service that reads many secrets with one call.
pub(super) trait Batches: Sync {
    /// The action that reads many.
    const ACTION: &str;
    /// What one call for many answers.
    type Answer: Send;

    fn refusals(&self) -> &Refusals;

    /// Reads many secrets with one call.
    fn many(&self, ids: Vec<String>) -> impl Future<Output = Result<Self::Answer, Failure>> + Send;

    /// Takes the result for an ID out of the answer. None: only a call of its own can tell.
    fn take(answer: &mut Self::Answer, id: &str) -> Option<Result<Object, StoreError>>;

    /// Reads one secret.
    fn one(&self, id: &str) -> impl Future<Output = Result<Object, StoreError>> + Send;

    /// Reads what a group wants, with one call if that is possible.
    fn serve(&self, group: Vec<Wanted>) -> impl Future<Output = ()> + Send {
        async move {
            let refusals = self.refusals();
            let (mut alone, mut together): (Vec<_>, Vec<_>) = group
                .into_iter()
                .partition(|wanted| refusals.is_read_alone(&wanted.id));
            if together.len() == 1 {
                alone.append(&mut together);
            }
            let (rest, is_denied) = match together.len() {
                0 => (Vec::new(), false),
                _ => batch(self, together).await,
            };
            let single = async |wanted: Wanted| {
                let result = self.one(&wanted.id).await;
                let is_refused = matches!(result, Err(StoreError::Denied(_)));
                if is_denied && is_refused {
                    refusals.read_alone(&wanted.id);
                }
                let is_allowed = matches!(result, Ok(_) | Err(StoreError::Missing(_)));
                wanted.answer(result);
                is_allowed
            };
            let singles = stream::iter(rest.into_iter().chain(alone));
            let singles = singles.map(single).buffer_unordered(AT_ONCE);
            // To the end: each of them waits for an answer.
            let all_allowed = singles.fold(true, async |all, is_allowed| all && is_allowed);
            // A call for many is refused if one of its secrets is. Here none was.
            if all_allowed.await && is_denied {
                refusals.deny_batches();
            }
        }
    }
}

/// Reads a group with one call. Returns those who have no answer yet, and whether AWS refused the
/// call.
async fn batch<S: Batches + ?Sized>(service: &S, mut group: Vec<Wanted>) -> (Vec<Wanted>, bool) {
    arns_first(&mut group);
    let ids = group.iter().map(|wanted| wanted.id.clone()).collect();
    let mut answer = match service.many(ids).await {
        Ok(answer) => answer,
        Err(failure) if failure.is_of_one_key() => return (group, failure.is_denied()),
        Err(failure) => {
            for wanted in group {
                let error = failure.while_reading(S::ACTION, &wanted.id);
                wanted.answer(Err(error));
            }
            return (Vec::new(), false);
        }
    };
    let mut rest = Vec::new();
    for wanted in group {
        match S::take(&mut answer, &wanted.id) {
            Some(result) => wanted.answer(result),
            None => rest.push(wanted),
        }
    }
    (rest, false)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use futures::future::join_all;
    use serde_json::json;

    use super::*;

    /// Refuses what begins with `denied`, also for all with one call, and has nothing that begins
    /// with `missing`.
    #[derive(Default)]
    struct Service {
        refusals: Refusals,
        allows_many: bool,
        calls: Mutex<Vec<usize>>,
    }

    fn denied() -> Failure {
        Failure::of_code(Some("AccessDeniedException"), None, 400)
    }

    impl Batches for Service {
        const ACTION: &str = "ReadMany";
        type Answer = ();

        fn refusals(&self) -> &Refusals {
            &self.refusals
        }

        async fn many(&self, ids: Vec<String>) -> Result<(), Failure> {
            self.calls.lock().unwrap().push(ids.len());
            let is_denied = !self.allows_many || ids.iter().any(|id| id.starts_with("denied"));
            if is_denied { Err(denied()) } else { Ok(()) }
        }

        fn take((): &mut (), id: &str) -> Option<Result<Object, StoreError>> {
            (!id.starts_with("missing")).then(|| Ok(Object(json!(id))))
        }

        async fn one(&self, id: &str) -> Result<Object, StoreError> {
            self.calls.lock().unwrap().push(1);
            let code = match id.split('-').next() {
                Some("denied") => "AccessDeniedException",
                Some("missing") => "ResourceNotFoundException",
                _ => return Ok(Object(json!(id))),
            };
            Err(Failure::of_code(Some(code), None, 400).while_reading("Read", id))
        }
    }

    impl Service {
        /// Reads these in one group. The sizes of the calls it took, in order.
        async fn read(&self, ids: &[&str]) -> Vec<usize> {
            let (group, answers): (Vec<_>, Vec<_>) = ids.iter().map(|id| Wanted::new(id)).unzip();
            self.serve(group).await;
            for (id, answer) in ids.iter().zip(join_all(answers).await) {
                let answer = answer.expect("an answer");
                match id.split('-').next() {
                    Some("denied") => assert!(matches!(answer, Err(StoreError::Denied(_)))),
                    Some("missing") => assert!(matches!(answer, Err(StoreError::Missing(_)))),
                    _ => assert_eq!(answer.unwrap().0, json!(id)),
                }
            }
            std::mem::take(&mut *self.calls.lock().unwrap())
        }
    }

    #[tokio::test]
    async fn one_refused_secret_ends_no_calls_for_others() {
        let service = Service {
            allows_many: true,
            ..Service::default()
        };
        assert_eq!(service.read(&["a", "denied-1", "b"]).await, [3, 1, 1, 1]);
        assert_eq!(service.read(&["a", "denied-1", "b"]).await, [2, 1]);
        assert_eq!(service.read(&["a", "b"]).await, [2]);
        assert_eq!(service.read(&["a", "denied-1"]).await, [1, 1]);
    }

    #[tokio::test]
    async fn without_the_right_nobody_asks_for_many_again() {
        let service = Service::default();
        // A secret that the identity may not read tells nothing about the right.
        assert_eq!(service.read(&["a", "denied-1", "b"]).await, [3, 1, 1, 1]);
        assert_eq!(service.read(&["a", "missing-1"]).await, [2, 1, 1]);
        assert_eq!(service.read(&["a", "b"]).await, [1, 1]);
    }

    #[tokio::test]
    async fn each_of_many_that_are_missing_gets_its_answer() {
        let service = Service {
            allows_many: true,
            ..Service::default()
        };
        let missing: Vec<_> = (0..20).map(|number| format!("missing-{number}")).collect();
        let missing: Vec<_> = missing.iter().map(String::as_str).collect();
        assert_eq!(service.read(&missing).await.len(), 21);
    }
}
