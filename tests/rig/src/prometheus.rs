//! Prometheus, as a process that scrapes and evaluates rules.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::process::run;
use crate::run_dir::RunDir;
use crate::servers::{answers_ok, get};
use crate::tools::GoBuild;
use crate::{Process, RigError, free_port};

/// A running Prometheus. Dropping it kills it and removes its data.
#[derive(Debug)]
pub struct Prometheus {
    process: Process, // dropped before its directory
    dir: RunDir,
    port: u16,
}

impl Prometheus {
    /// Starts a Prometheus with this configuration and these rules, on a free port of 127.0.0.1, and
    /// waits until it serves. The configuration names the rules `rules.yaml`.
    pub fn start(config: &Value, rules: &Value) -> Result<Self, RigError> {
        let program = Self::programs()?.join("prometheus");
        let dir = RunDir::scratch()?;
        let port = free_port()?;
        configure(&dir, config)?;
        write(&dir.path().join("rules.yaml"), &rules.to_string())?;
        let mut command = Command::new(program);
        command.arg("--config.file").arg(config_path(&dir));
        command
            .arg("--storage.tsdb.path")
            .arg(dir.path().join("data"));
        command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
        let mut process = Process::spawn("prometheus", command, &dir.logs())?;
        process.wait_ready(READY_WITHIN, || answers_ok(port, "/-/ready"))?;
        Ok(Self { process, dir, port })
    }

    /// The folder of `prometheus` and `promtool`, which it builds once.
    pub fn programs() -> Result<PathBuf, RigError> {
        let module_dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("prometheus");
        let build = GoBuild {
            module_dir: &module_dir,
            label: "prometheus",
            packages: &["tool"],
            ldflags: "",
            // Targets are named in the configuration: no client of any cloud.
            tags: "remove_all_sd",
        };
        build.run("building Prometheus, minutes, once", |_| Ok(()))
    }

    /// Runs promtool in a folder and returns what it printed; its complaints if it fails.
    pub fn promtool(folder: &Path, arguments: &[&str]) -> Result<String, RigError> {
        let mut promtool = Command::new(Self::programs()?.join("promtool"));
        run(promtool.current_dir(folder).args(arguments), None)
    }

    /// Takes another configuration; what was scraped so far stays.
    pub fn reconfigure(&mut self, config: &Value) -> Result<(), RigError> {
        configure(&self.dir, config)?;
        self.process.signal("HUP")
    }

    /// Its address, `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The answer of its HTTP API to an instant query, as it is: with `status` `success` or `error`.
    pub fn query(&self, expression: &str) -> Result<Value, RigError> {
        let path = format!("/api/v1/query?query={}", percent_encoded(expression));
        let failed = || RigError::io("ask Prometheus".to_owned());
        let answer = get(self.port, &path).map_err(failed())?;
        let (_, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
        serde_json::from_str(body).map_err(|error| RigError::Setup(format!("Prometheus: {error}")))
    }
}

const READY_WITHIN: Duration = Duration::from_mins(1);

fn config_path(dir: &RunDir) -> PathBuf {
    dir.path().join("prometheus.yaml")
}

/// JSON is YAML.
fn configure(dir: &RunDir, config: &Value) -> Result<(), RigError> {
    write(&config_path(dir), &config.to_string())
}

fn write(path: &Path, text: &str) -> Result<(), RigError> {
    fs::write(path, text).map_err(RigError::io(format!("write {}", path.display())))
}

fn percent_encoded(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'-' | b'_' | b'.' | b'~' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_encoded_for_a_path() {
        assert_eq!(
            percent_encoded("a{b=\"c\"} > 1"),
            "a%7Bb%3D%22c%22%7D%20%3E%201"
        );
    }
}
