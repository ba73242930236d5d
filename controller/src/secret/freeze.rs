//! Notices that the process did not run for a while, because it was frozen or its machine slept.
//! Another replica may lead since then, and what this one read before may be outdated.

use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime};

use crate::lock::lock;

/// Longer than any pause of a running process, even on a busy machine.
const GAP: Duration = Duration::from_secs(1);
const TICK: Duration = Duration::from_millis(250);
/// How long after a freeze the process is in doubt: any lease is settled by then.
const DOUBT: Duration = Duration::from_mins(1);

/// See the module's documentation.
pub struct Freeze(Mutex<State>);

struct State {
    ran: Moment,
    woke: Option<Instant>,
}

/// The monotonic clock, and the one that goes on while the machine sleeps.
#[derive(Clone, Copy)]
struct Moment(Instant, SystemTime);

impl Moment {
    fn now() -> Self {
        Self(Instant::now(), SystemTime::now())
    }

    fn since(self, earlier: Self) -> Duration {
        let wall = self.1.duration_since(earlier.1).unwrap_or_default();
        wall.max(self.0.saturating_duration_since(earlier.0))
    }
}

impl Default for Freeze {
    fn default() -> Self {
        Self(Mutex::new(State {
            ran: Moment::now(),
            woke: None,
        }))
    }
}

impl Freeze {
    /// Observes the time for ever.
    pub async fn watch(&self) {
        loop {
            self.suspected();
            tokio::time::sleep(TICK).await;
        }
    }

    /// Was the process frozen recently? Correct from the first instant on, since each call observes
    /// the time.
    pub fn suspected(&self) -> bool {
        self.observe(Moment::now())
    }

    fn observe(&self, now: Moment) -> bool {
        let mut state = lock(&self.0);
        if now.since(state.ran) > GAP {
            state.woke = Some(now.0);
        }
        state.ran = now;
        state
            .woke
            .is_some_and(|woke| now.0.saturating_duration_since(woke) < DOUBT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_in_either_clock_is_in_doubt_for_a_minute() {
        let freeze = Freeze::default();
        let start = Moment::now();
        let at = |monotonic: u64, wall: u64| {
            let millis = Duration::from_millis;
            Moment(start.0 + millis(monotonic), start.1 + millis(wall))
        };
        assert!(!freeze.observe(at(300, 300)));
        assert!(!freeze.observe(at(900, 900)));
        assert!(freeze.observe(at(2_500, 2_500)), "frozen");
        for second in 3..=62 {
            assert!(freeze.observe(at(second * 1000, second * 1000)));
        }
        assert!(!freeze.observe(at(63_000, 63_000)));
        assert!(freeze.observe(at(63_100, 99_000)), "asleep");
    }
}
