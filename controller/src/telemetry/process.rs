//! What this process takes from the machine, under the names that Prometheus' own client libraries have.

use std::fs;
use std::path::Path;

use jiff::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use rustix::time::{ClockId, clock_gettime};

/// Reads everything at each scrape. What the system does not tell is left out.
#[derive(Debug)]
pub struct ProcessMetrics {
    /// When the process began to measure, in Unix seconds.
    started: i64,
    /// Bytes that its container may have.
    memory_limit: Option<u64>,
}

impl ProcessMetrics {
    /// Measures from now on.
    pub fn new() -> Self {
        Self {
            started: Timestamp::now().as_second(),
            memory_limit: memory_limit(),
        }
    }
}

impl Collector for ProcessMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let name = "process_cpu_seconds";
        let help = "CPU time of the process";
        let family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        ConstCounter::new(cpu_seconds()).encode(family)?;
        let started = u64::try_from(self.started).ok();
        for (name, help, value) in [
            (
                "process_start_time_seconds",
                "When the process started, in Unix seconds",
                started,
            ),
            (
                "process_resident_memory_bytes",
                "Memory that the process has",
                resident_memory(),
            ),
            (
                "process_open_fds",
                "File descriptors that are open",
                open_descriptors(),
            ),
            (
                "sealkit_memory_limit_bytes",
                "Memory that the container may have",
                self.memory_limit,
            ),
        ] {
            let Some(value) = value else { continue };
            let family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(value).encode(family)?;
        }
        Ok(())
    }
}

fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    #[expect(clippy::cast_precision_loss, reason = "seconds of CPU time")]
    let seconds = time.tv_sec as f64;
    #[expect(clippy::cast_precision_loss, reason = "less than a billion")]
    let nanoseconds = time.tv_nsec as f64;
    seconds + nanoseconds / 1e9
}

fn resident_memory() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes * 1024)
}

fn open_descriptors() -> Option<u64> {
    let count = fs::read_dir("/proc/self/fd").ok()?.count();
    // One is the listing itself.
    u64::try_from(count).ok()?.checked_sub(1)
}

/// The limit of the cgroup, version 2 or 1. A container sees its own one at the root.
fn memory_limit() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let limit = |line: &str| {
        let (controllers, group) = line.split_once(':')?.1.split_once(':')?;
        let (mount, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            "memory" => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            _ => return None,
        };
        let mount = Path::new(mount);
        [mount.join(group.trim_start_matches('/')), mount.to_owned()]
            .iter()
            .find_map(|folder| {
                fs::read_to_string(folder.join(file))
                    .ok()?
                    .trim()
                    .parse()
                    .ok()
            })
    };
    // Version 1 says "no limit" with a number near the largest.
    let is_limit = |bytes: &u64| *bytes < 1 << 60;
    groups.lines().filter_map(limit).find(is_limit)
}

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;

    use super::*;

    #[test]
    fn a_process_tells_its_time_memory_and_descriptors() {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(ProcessMetrics::new()));
        let value = |name: &str| {
            let mut text = String::new();
            prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.map(|value| value.parse::<f64>().unwrap())
        };
        assert!(value("process_cpu_seconds_total").unwrap() > 0.0);
        assert!(value("process_start_time_seconds").unwrap() > 1.7e9);
        let memory = value("process_resident_memory_bytes").unwrap();
        assert!((1e6..1e12).contains(&memory), "{memory}");
        let before = value("process_open_fds").unwrap();
        let opened: Vec<_> = (0..50)
            .map(|_| fs::File::open("/proc/self/status"))
            .collect();
        assert!(value("process_open_fds").unwrap() >= before + 40.0);
        drop(opened);
    }
}
