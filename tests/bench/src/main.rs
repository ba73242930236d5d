//! Benchmarks of Sealkit. Every figure stands against a peer or a limit measured in the same run,
//! on the same machine; `docs/benchmarks.md` is written from them, good or bad.
//!
//! `cargo run --release -p sealkit-bench -- all` builds what it needs (Go and Rust are enough) and
//! takes its time; `--objects 40 --rounds 1 --runs 6` shows in a few minutes that it works.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))] // a failed step should end the test right there

mod binaries;
mod cli;
mod clock;
mod cluster;
mod machine;
mod open;
mod report;
mod repository;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use binaries::{Binaries, ExternalSecretsOperator, Peers};
use report::{Figure, Report};

/// A failure of a step: ends the run.
type Failure = Box<dyn std::error::Error + Send + Sync>;
type Result<T> = std::result::Result<T, Failure>;

/// Benchmarks of Sealkit against its peers.
#[derive(Debug, Parser)]
#[command(name = "sealkit-bench")]
struct Arguments {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    scale: Scale,
    /// Markdown file to write [default: docs/benchmarks.md for `all`, none otherwise]
    #[arg(long, global = true, value_name = "FILE")]
    report: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// CPU of opening, against RSA-4096 and on the worst legal objects
    Open,
    /// Wall time of the command line, against kubeseal
    Cli,
    /// A rotation over a repository, against its bare cryptography
    Repository,
    /// A rotation through the cluster, against bare clients and kubeseal
    Rewrap,
    /// The controller, against that of Sealed Secrets and a bare client
    Controller,
    /// A good object amid many that cannot be opened, against Sealed Secrets at its defaults
    Hostile,
    /// Peak memory of the controller
    Memory,
    /// What a pipeline waits for: stages, the webhook, `seal wait`
    Delivery,
    /// ExternalSecrets over OpenBao, against External Secrets Operator and a bare client
    External,
    /// ExternalSecrets that External Secrets Operator left, taken over
    TakeOver,
    /// All of them
    All,
    /// Record what External Secrets Operator leaves, for the end-to-end tests
    Left {
        /// Such as tests/vectors/left-by-external-secrets.json
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Check that a report says how this program measures
    Method {
        /// Such as docs/benchmarks.md
        #[arg(long, value_name = "FILE")]
        check: PathBuf,
    },
    /// The bare client, started by `controller`
    #[command(hide = true)]
    Bare(cluster::BareArguments),
}

/// How much is measured.
#[derive(Args, Clone, Debug, Copy)]
struct Scale {
    /// Objects of load A and ExternalSecrets; a quarter of it is load B, and 2.5 times as many the
    /// memory load
    #[arg(long, global = true, value_name = "N", default_value_t = Self::OBJECTS)]
    objects: usize,
    /// Times that controller and bare client work through each load
    #[arg(long, global = true, value_name = "N", default_value_t = 3)]
    rounds: usize,
    /// Starts of each command, and objects opened
    #[arg(long, global = true, value_name = "N", default_value_t = 60)]
    runs: usize,
    /// Take seal and seal-controller as they lie beside this program instead of building them
    #[arg(long, global = true)]
    no_build: bool,
}

impl Scale {
    const OBJECTS: usize = 4_000;

    /// Is it what `docs/benchmarks.md` promises?
    fn is_full(&self) -> bool {
        !self.no_build && self.objects >= Self::OBJECTS && self.rounds >= 3 && self.runs >= 50
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sealkit-bench: error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    if rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .is_err()
    {
        return Err("a TLS provider is installed already".into());
    }
    let (name, parts): (_, &[Part]) = match &arguments.what {
        What::Bare(bare) => return cluster::bare(bare),
        What::Left { file } => {
            return cluster::record_left(&ExternalSecretsOperator::build()?, file);
        }
        What::Method { check } => return check_method(check),
        What::Open => ("open", &[Part::Open]),
        What::Cli => ("cli", &[Part::Cli]),
        What::Repository => ("repository", &[Part::Repository]),
        What::Rewrap => ("rewrap", &[Part::Rewrap]),
        What::Controller => ("controller", &[Part::Controller]),
        What::Hostile => ("hostile", &[Part::Hostile]),
        What::Memory => ("memory", &[Part::Memory]),
        What::Delivery => ("delivery", &[Part::Delivery]),
        What::External => ("external", &[Part::External]),
        What::TakeOver => ("take-over", &[Part::TakeOver]),
        What::All => (
            "all",
            &[
                Part::Open,
                Part::Cli,
                Part::Repository,
                Part::Rewrap,
                Part::Controller,
                Part::Hostile,
                Part::Memory,
                Part::Delivery,
                Part::External,
                Part::TakeOver,
            ],
        ),
    };
    let figures = measure(parts, &arguments.scale)?;
    let report = Report::new(arguments.scale, figures);
    println!("\n{}", report.table());
    let json = report.write_json(name)?;
    println!("figures as JSON: {}", json.display());
    let default = matches!(arguments.what, What::All).then(machine::default_report);
    if let Some(path) = arguments.report.clone().or(default) {
        std::fs::write(&path, report.markdown())
            .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        println!("report: {}", path.display());
    }
    Ok(())
}

fn check_method(path: &Path) -> Result<()> {
    if report::has_method(&std::fs::read_to_string(path)?) {
        return Ok(());
    }
    let path = path.display();
    Err(format!(
        "{path} does not end with tests/bench/src/method.md: run make bench, or copy the text"
    )
    .into())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Open,
    Cli,
    Repository,
    Rewrap,
    Controller,
    Hostile,
    Memory,
    Delivery,
    External,
    TakeOver,
}

fn measure(parts: &[Part], scale: &Scale) -> Result<Vec<Figure>> {
    // Everything is built before anything is measured.
    let ours = match parts {
        [Part::Open] => None,
        _ if scale.no_build => Some(Binaries::find()?),
        _ => Some(Binaries::build()?),
    };
    let peers = if matches!(
        parts,
        [Part::Memory | Part::Delivery | Part::External | Part::TakeOver]
    ) {
        None
    } else {
        Some(Peers::build()?)
    };
    let with_operator = [Part::External, Part::TakeOver];
    let operator = if parts.iter().any(|part| with_operator.contains(part)) {
        operator()
    } else {
        None
    };
    let mut figures = Vec::new();
    for part in parts {
        let found = match (part, &ours, &peers) {
            (Part::Open, _, peers) => open::run(scale.runs, peers.as_ref())?,
            (Part::Cli, Some(ours), Some(peers)) => cli::run(scale.runs, ours, peers)?,
            (Part::Repository, Some(ours), Some(peers)) => {
                repository::run(scale.objects * 5 / 2, scale.runs, ours, peers)?
            }
            (Part::Rewrap, Some(ours), Some(peers)) => {
                repository::rewrap(scale.objects / 2, ours, peers)?
            }
            (Part::Controller, Some(ours), Some(peers)) => cluster::speed(scale, ours, peers)?,
            (Part::Hostile, Some(ours), Some(peers)) => cluster::hostile(scale, ours, peers)?,
            (Part::Memory, Some(ours), _) => cluster::memory(scale, ours)?,
            (Part::Delivery, Some(ours), _) => cluster::delivery(scale, ours)?,
            (Part::External, Some(ours), _) => cluster::external(scale, ours, operator.as_ref())?,
            (Part::TakeOver, Some(ours), _) => match &operator {
                Some(operator) => cluster::taken_over(scale, ours, operator)?,
                None => Vec::new(),
            },
            _ => return Err("something was not built".into()),
        };
        figures.extend(found);
    }
    Ok(figures)
}

/// External Secrets Operator, which no proxy may have.
fn operator() -> Option<ExternalSecretsOperator> {
    let built = ExternalSecretsOperator::build();
    built
        .inspect_err(|error| {
            progress(format_args!(
                "External Secrets is not to be had here, its figures are left out: {error}"
            ));
        })
        .ok()
}

/// Says what is going on, on stderr.
fn progress(what: impl std::fmt::Display) {
    eprintln!("sealkit-bench: {what}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn smoke() {
        let figures = open::run(2, None).unwrap();
        assert!(
            figures.iter().any(|figure| figure.target.is_some()),
            "no limit was checked"
        );
        let report = Report::new(
            Scale {
                objects: 1,
                rounds: 1,
                runs: 2,
                no_build: true,
            },
            figures,
        );
        assert!(
            report.markdown().contains("Scaled down"),
            "{}",
            report.markdown()
        );
    }
}
