//! Waiting with a deadline.

use std::thread;
use std::time::{Duration, Instant};

/// Long enough for a busy machine, short enough for a person.
pub const PATIENCE: Duration = Duration::from_secs(45);

/// Calls `probe` until it answers; panics with `what` when it has not within [`PATIENCE`].
pub fn wait_for<T>(what: &str, probe: impl FnMut() -> Option<T>) -> T {
    wait_within(PATIENCE, what, probe)
}

/// Calls `probe` until it is true; panics with `what` when it was not within [`PATIENCE`].
pub fn wait_until(what: &str, mut probe: impl FnMut() -> bool) {
    wait_for(what, || probe().then_some(()));
}

/// Like [`wait_for`], with another deadline.
pub fn wait_within<T>(within: Duration, what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + within;
    loop {
        if let Some(answer) = probe() {
            return answer;
        }
        assert!(
            Instant::now() < deadline,
            "not within {} s: {what}",
            within.as_secs()
        );
        thread::sleep(Duration::from_millis(40));
    }
}

/// Checks that `probe` stays true for a while.
pub fn holds_for(time: Duration, what: &str, mut probe: impl FnMut() -> bool) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        assert!(probe(), "did not stay so: {what}");
        thread::sleep(Duration::from_millis(100));
    }
}
