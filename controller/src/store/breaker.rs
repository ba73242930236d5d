//! Keeps an outage of a provider cheap: while it lasts, one call in a while asks whether it is over,
//! and all others fail at once.

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::Instant;

use super::StoreError;
use crate::lock::lock;
use crate::queue::pause;

/// Longest time between two calls to a provider that does not answer.
const LONGEST: Duration = Duration::from_secs(30);

/// Opens when a call finds the provider unavailable; closes with the first answer.
#[derive(Default)]
pub struct Breaker(Mutex<State>);

#[derive(Default)]
struct State {
    failures: u32,
    /// What happened, which those hear who are not let through.
    what: String,
    /// No call before then.
    until: Option<Instant>,
}

impl Breaker {
    /// May a call be made now? Only one may while the provider was unavailable the last time.
    pub fn admit(&self) -> Result<(), StoreError> {
        let mut state = self.lock();
        let now = Instant::now();
        match state.until {
            Some(until) if until > now => Err(StoreError::Unavailable {
                what: state.what.clone(),
                retry_after: Some(until - now),
            }),
            Some(_) => {
                state.until = Some(now + LONGEST);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Was the provider unavailable the last time?
    pub fn is_open(&self) -> bool {
        self.lock().until.is_some()
    }

    /// Records how a call ended.
    pub fn record(&self, error: Option<&StoreError>) {
        let mut state = self.lock();
        let Some(StoreError::Unavailable { what, retry_after }) = error else {
            *state = State::default();
            return;
        };
        state.failures = state.failures.saturating_add(1);
        state.what.clone_from(what);
        let wait = retry_after.unwrap_or_else(|| pause(state.failures));
        state.until = Some(Instant::now() + wait.min(LONGEST));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_call_in_a_while_asks_whether_an_outage_is_over() {
        let breaker = Breaker::default();
        let gone = StoreError::unavailable("gone");
        let mut calls = 0;
        let start = Instant::now();
        while start.elapsed() < Duration::from_mins(5) {
            // A hundred objects ask in each second.
            for _ in 0..100 {
                if breaker.admit().is_ok() {
                    calls += 1;
                    breaker.record(Some(&gone));
                }
            }
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert!((10..25).contains(&calls), "{calls}");
        tokio::time::advance(LONGEST).await;
        assert!(breaker.admit().is_ok());
        assert_eq!(
            breaker.admit().unwrap_err().to_string(),
            "gone",
            "one at a time"
        );
        breaker.record(Some(&StoreError::Missing(String::new())));
        assert!(breaker.admit().is_ok() && breaker.admit().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn the_provider_says_when_to_come_again() {
        let breaker = Breaker::default();
        breaker.record(Some(&StoreError::Unavailable {
            what: String::new(),
            retry_after: Some(Duration::from_secs(7)),
        }));
        tokio::time::advance(Duration::from_secs(6)).await;
        let told = breaker.admit().unwrap_err();
        assert!(
            matches!(told, StoreError::Unavailable { retry_after: Some(left), .. }
            if left == Duration::from_secs(1))
        );
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(breaker.admit().is_ok());
    }
}
