//! When an ExternalSecret is refreshed; pure.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sealkit_core::api::external::{ExternalSecretSpec, RefreshPolicy, duration};

/// How often it is refreshed; `None` if only a change of it does.
pub(super) fn interval(spec: &ExternalSecretSpec) -> Result<Option<Duration>, String> {
    let interval = duration(&spec.refresh_interval)
        .ok_or("refreshInterval is not a duration such as 1h0m0s or 30s")?;
    let periodic = spec.refresh_policy == RefreshPolicy::Periodic && !interval.is_zero();
    Ok(periodic.then_some(interval))
}

/// How long a read is shared: a tenth of the interval, between a second and a minute.
pub(super) fn window(interval: Option<Duration>) -> Duration {
    let tenth = interval.unwrap_or_default() / 10;
    tenth.clamp(Duration::from_secs(1), Duration::from_mins(1))
}

/// Steps of an interval at which refreshes are due. A provider that reads many secrets with one call
/// is asked for many at once.
const STEPS: u64 = 60;

/// Those that refresh together, since they read the same key of a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Slot(u64);

impl Slot {
    /// The slot of those that have this in common.
    pub(super) fn of(common: &impl Hash) -> Self {
        let mut hasher = DefaultHasher::new();
        common.hash(&mut hasher);
        Self(hasher.finish())
    }

    /// How long from `now` until the next refresh. The slots are spread over the steps of an
    /// interval.
    pub(super) fn next(self, interval: Duration, now: SystemTime) -> Duration {
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let interval = millis(interval).max(1);
        let step = self.0 % STEPS;
        let offset = interval / STEPS * step + interval % STEPS * step / STEPS;
        let now = millis(now.duration_since(UNIX_EPOCH).unwrap_or_default());
        let since = (now % interval + interval - offset) % interval;
        Duration::from_millis(interval - since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_or_an_interval_of_zero_ends_the_refreshes() {
        let spec = |policy, interval: &str| ExternalSecretSpec {
            refresh_policy: policy,
            refresh_interval: interval.to_owned(),
            ..ExternalSecretSpec::default()
        };
        let minute = Some(Duration::from_mins(1));
        assert_eq!(interval(&spec(RefreshPolicy::Periodic, "1m")), Ok(minute));
        assert_eq!(interval(&spec(RefreshPolicy::Periodic, "0s")), Ok(None));
        assert_eq!(interval(&spec(RefreshPolicy::OnChange, "1m")), Ok(None));
        assert_eq!(interval(&spec(RefreshPolicy::CreatedOnce, "1m")), Ok(None));
        assert!(interval(&spec(RefreshPolicy::Periodic, "soon")).is_err());
    }

    #[test]
    fn those_who_share_a_key_are_due_together_and_slots_are_spread() {
        let interval = Duration::from_mins(10);
        let at = |seconds: u64| UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds);
        let due = |key: &str, seconds| at(seconds) + Slot::of(&key).next(interval, at(seconds));
        for seconds in [1, 100, 599] {
            let wait = Slot::of(&"a").next(interval, at(seconds));
            assert!(!wait.is_zero() && wait <= interval, "{wait:?}");
        }
        let first = due("a", 0);
        assert!(
            (0..10).all(|second| due("a", second) == first || due("a", second) == first + interval)
        );
        let spread: std::collections::BTreeSet<_> =
            (0..1_000).map(|key| due(&key.to_string(), 0)).collect();
        assert_eq!(spread.len(), 60);
        let short = Duration::from_secs(1);
        let wait = Slot(59).next(short, at(0));
        assert!(!wait.is_zero() && wait <= short, "{wait:?}");
    }
}
