//! `seal-controller` as a process, under the token of a `ServiceAccount` and nothing more.

use std::env;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use sealkit_rig::{MemoryLimit, Process, free_port};

use crate::program::program;
use crate::wait::wait_until;

/// How to start a controller.
#[derive(Clone, Debug)]
pub struct Flags {
    /// Name in the lease; one of its own unless given.
    pub identity: Option<String>,
    /// Seconds of the lease.
    pub lease_seconds: u64,
    /// Filter of the log.
    pub log: &'static str,
    /// More flags.
    pub more: Vec<String>,
    /// More variables of its environment.
    pub environment: Vec<(&'static str, String)>,
}

impl Default for Flags {
    fn default() -> Self {
        Self {
            identity: None,
            lease_seconds: 2,
            log: "debug",
            more: Vec::new(),
            environment: Vec::new(),
        }
    }
}

/// A running controller; killed when dropped.
pub struct Controller {
    /// The process.
    pub process: Process,
    /// Its name in the lease.
    pub identity: String,
    /// That of `deploy/base`, where the machine lets tests have one.
    memory: Option<MemoryLimit>,
    port: u16,
    log: PathBuf,
}

impl Controller {
    /// Starts a controller and waits until it answers.
    pub fn start(kubeconfig: &Path, logs: &Path, flags: &Flags) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("seal-controller-{count}");
        let identity = flags.identity.clone().unwrap_or_else(|| name.clone());
        let port = free_port().unwrap();
        let mut command = Command::new(program("seal-controller"));
        for (variable, _) in env::vars_os() {
            let name = variable.to_string_lossy().to_uppercase();
            if name.starts_with("SEALKIT_") || name == "POD_NAME" || name.ends_with("_PROXY") {
                command.env_remove(variable);
            }
        }
        command
            .env("KUBECONFIG", kubeconfig)
            .env("SEALKIT_LOG", flags.log)
            .env("RUST_BACKTRACE", "1");
        command.arg(format!("--listen=127.0.0.1:{port}"));
        command.arg(format!("--identity={identity}"));
        command.arg(format!("--lease-seconds={}", flags.lease_seconds));
        command.arg("--key-grace-seconds=3");
        command.args(&flags.more);
        command.envs(flags.environment.iter().map(|(name, value)| (*name, value)));
        let memory = MemoryLimit::new(memory_limit());
        if let Some(memory) = &memory {
            command = memory.around(&command);
        }
        let mut process = Process::spawn(&name, command, logs).unwrap();
        let log = process.log_path().to_owned();
        process
            .wait_ready(Duration::from_secs(30), || get(port, "/healthz").is_some())
            .unwrap();
        Self {
            process,
            identity,
            memory,
            port,
            log,
        }
    }

    /// Waits until it leads and has seen everything.
    pub fn wait_leading(&mut self) {
        let port = self.port;
        let leads =
            || is_leading(port) && get(port, "/readyz").is_some_and(|(code, _)| code == 200);
        self.process
            .wait_ready(Duration::from_mins(1), leads)
            .unwrap();
    }

    /// Does it lead?
    pub fn is_leading(&self) -> bool {
        is_leading(self.port)
    }

    /// Code and body of an answer, if it answers.
    pub fn get(&self, path: &str) -> Option<(u16, String)> {
        get(self.port, path)
    }

    /// Its metrics.
    pub fn metrics(&self) -> String {
        self.get("/metrics").expect("metrics").1
    }

    /// The sum of all series of a metric whose labels contain `labels`.
    pub fn metric(&self, name: &str, labels: &str) -> f64 {
        sum(&self.metrics(), name, labels)
    }

    /// Its resident memory at its highest, in KiB.
    pub fn peak_memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:"));
        let number = line.and_then(|line| line.split_whitespace().nth(1));
        number.expect("VmHWM").parse().unwrap()
    }

    /// Never more memory than `deploy/base` gives it, and nothing killed for want of it.
    pub fn assert_lives_within_its_memory(&mut self) {
        assert!(self.process.is_running(), "it ended");
        let kills = self.memory.as_ref().map_or(0, MemoryLimit::kills);
        assert_eq!(kills, 0, "killed for want of memory");
        let peak = self.peak_memory() * 1024;
        assert!(peak < memory_limit(), "{peak} bytes");
    }

    /// Its port for probes and metrics.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap()).into_owned()
    }

    /// Asks it to end and waits for that.
    pub fn stop(&mut self) -> ExitStatus {
        self.process.signal("TERM").unwrap();
        let process = &mut self.process;
        wait_until("the controller ends after SIGTERM", || {
            !process.is_running()
        });
        self.process.wait().unwrap()
    }
}

/// Bytes that the container may have, by `deploy/base`.
fn memory_limit() -> u64 {
    let manifest = include_str!("../../deploy/base/deployment.yaml");
    let (_, limit) = manifest.split_once("limits: {memory: ").expect("a limit");
    let (mebibytes, _) = limit.split_once("Mi}").expect("in Mi");
    mebibytes.parse::<u64>().expect("a number") * 1024 * 1024
}

fn is_leading(port: u16) -> bool {
    get(port, "/metrics")
        .is_some_and(|(_, text)| text.lines().any(|line| line == "sealkit_leader 1"))
}

fn sum(metrics: &str, name: &str, labels: &str) -> f64 {
    let values = metrics.lines().filter_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        let (series_name, series_labels) = series.split_once('{').unwrap_or((series, ""));
        (series_name == name && series_labels.contains(labels))
            .then(|| value.parse::<f64>().unwrap())
    });
    values.fold(0.0, |sum, value| sum + value)
}

fn get(port: u16, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let code = head.split(' ').nth(1)?.parse().ok()?;
    Some((code, body.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_summed_by_name_and_label() {
        let text =
            "# HELP x y\nx_total{op=\"a\"} 2\nx_total{op=\"b\"} 3\nx_total_more 9\nx 1\n# EOF\n";
        let sums = [
            ("x_total", ""),
            ("x_total", "op=\"a\""),
            ("x", ""),
            ("y", ""),
        ]
        .map(|(name, labels)| sum(text, name, labels));
        assert_eq!(sums.map(|sum| sum.to_string()), ["5", "2", "1", "0"]);
    }
}
