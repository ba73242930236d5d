//! CPU time, wall time and memory of this thread and of other processes.

use std::fs;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::Result;

/// CPU time that `work` takes on this thread.
pub fn cpu_of<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = thread_cpu();
    let result = work();
    (result, thread_cpu().saturating_sub(start))
}

/// Wall time that `work` takes.
pub fn wall_of<T>(work: impl FnOnce() -> Result<T>) -> Result<Duration> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed())
}

fn thread_cpu() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}

/// The middle one, or the lower of the two in the middle.
pub fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times
        .get(times.len().saturating_sub(1) / 2)
        .copied()
        .unwrap_or_default()
}

/// The time that so many percent do not exceed.
pub fn percentile(times: &[Duration], percent: usize) -> Duration {
    let mut ascending = times.to_vec();
    ascending.sort_unstable();
    let rank = (ascending.len() * percent).div_ceil(100);
    let at = rank.saturating_sub(1);
    ascending.get(at).copied().unwrap_or_default()
}

/// User and system time of a process so far, all threads. Resolution: one tick, 10 ms as a rule.
pub fn process_cpu(process: u32) -> Result<Duration> {
    let path = format!("/proc/{process}/stat");
    let stat = fs::read_to_string(&path).map_err(|error| format!("cannot read {path}: {error}"))?;
    // proc(5): the name in parentheses may hold anything; state follows, utime is the 12th from it.
    let fields = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace();
    let ticks: Vec<u64> = fields
        .skip(11)
        .take(2)
        .map_while(|ticks| ticks.parse().ok())
        .collect();
    match ticks.as_slice() {
        [user, system] => {
            let milliseconds = (user + system) * 1000 / rustix::param::clock_ticks_per_second();
            Ok(Duration::from_millis(milliseconds))
        }
        _ => Err(format!("{path} has no utime and stime").into()),
    }
}

/// The most memory that a process had in RAM so far (`VmHWM`), in bytes.
pub fn peak_memory(process: u32) -> Result<u64> {
    let path = format!("/proc/{process}/status");
    let status =
        fs::read_to_string(&path).map_err(|error| format!("cannot read {path}: {error}"))?;
    let kibibytes = status
        .lines()
        .find_map(|line| {
            line.strip_prefix("VmHWM:")?
                .trim()
                .strip_suffix(" kB")?
                .parse::<u64>()
                .ok()
        })
        .ok_or_else(|| format!("{path} has no VmHWM"))?;
    Ok(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_process_can_be_read() {
        let process = std::process::id();
        process_cpu(process).unwrap();
        assert!(peak_memory(process).unwrap() > 100_000);
        let ((), used) = cpu_of(|| {
            let start = Instant::now();
            while start.elapsed() < Duration::from_millis(5) {
                std::hint::spin_loop();
            }
        });
        assert!(used > Duration::from_micros(100), "{used:?}");
    }

    #[test]
    fn median_is_the_lower_middle() {
        let times = [5, 1, 9, 3].map(Duration::from_secs).to_vec();
        assert_eq!(median(times), Duration::from_secs(3));
        assert_eq!(median(Vec::new()), Duration::ZERO);
    }

    #[test]
    fn percentile_is_the_time_that_so_many_do_not_exceed() {
        let seconds: Vec<_> = (1..=100).rev().map(Duration::from_secs).collect();
        assert_eq!(percentile(&seconds, 99), Duration::from_secs(99));
        assert_eq!(percentile(&seconds, 50), Duration::from_secs(50));
        assert_eq!(percentile(&seconds[97..], 99), Duration::from_secs(3));
        assert_eq!(percentile(&[], 99), Duration::ZERO);
    }
}
