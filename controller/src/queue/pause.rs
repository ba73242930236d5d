//! How long to wait before a retry.

use std::time::Duration;

use rand_core::{OsRng, RngCore};

/// First pause after a failure; it doubles each time.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause between two tries. Retries never end.
pub const LONGEST_PAUSE: Duration = Duration::from_mins(5);

/// min(1 s · 2ⁿ, 5 min), plus or minus up to a fifth, so that many objects do not retry at once.
pub fn pause(failures: u32) -> Duration {
    let doubled = FIRST_PAUSE * 2u32.saturating_pow(failures.saturating_sub(1).min(16));
    let jitter = 0.8 + 0.4 * f64::from(OsRng.next_u32()) / f64::from(u32::MAX);
    doubled.min(LONGEST_PAUSE).mul_f64(jitter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_five_minutes_for_ever() {
        let table = [
            (1, 1.0),
            (2, 2.0),
            (3, 4.0),
            (9, 256.0),
            (10, 300.0),
            (u32::MAX, 300.0),
        ];
        for (failures, seconds) in table {
            let pause = pause(failures).as_secs_f64();
            assert!(
                (seconds * 0.79..=seconds * 1.21).contains(&pause),
                "{failures}: {pause}"
            );
        }
    }
}
