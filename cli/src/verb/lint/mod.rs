//! `seal lint`: finds plain text that should not be in Git, without a key and without a cluster.

mod baseline;
mod output;
mod references;
mod staged;
mod targets;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use clap::builder::PossibleValuesParser;
use clap::{Args, ValueEnum};
use sealkit_core::lint::{FileKind, Finding, Linted, Rule, lint};
use sealkit_core::manifest::INPUT_BYTES;

use crate::error::{CommandError, Result};
use crate::files;
use crate::files::parallel;
use crate::recipients::config::Config;
use crate::report::Verdict;
use crate::terminal::Session;
use baseline::Baseline;
use targets::{Content, Target, Targets};

/// Flags of `seal lint`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  # all files below the working directory that Git would commit
  seal lint

  # what you are about to commit; a pre-commit hook runs this
  seal lint --staged

  # what a program prints
  helm template ./chart | seal lint --stdin

  # in a pipeline
  seal lint --format github
  seal lint --format sarif > lint.sarif

  # what workloads need and nothing here makes
  seal lint --references

  # an old repository: accept what is there, report what is new
  seal lint --write-baseline .sealkit-baseline.yaml
  seal lint --baseline .sealkit-baseline.yaml")]
pub(super) struct LintArgs {
    /// Check the staged files (what you are about to commit) instead of the work tree
    #[arg(long, conflicts_with_all = ["paths", "stdin", "write_baseline"])]
    pub staged: bool,
    /// Check manifests from stdin
    #[arg(long, conflicts_with_all = ["paths", "write_baseline"])]
    pub stdin: bool,
    /// Form of the report; for JSON, pass -o json
    #[arg(long, value_name = "FORM", conflicts_with = "output")]
    pub format: Option<Format>,
    /// Do not report this rule; repeatable
    #[arg(long, value_name = "RULE", value_parser = PossibleValuesParser::new(Rule::ALL.map(Rule::name)))]
    pub skip: Vec<String>,
    /// Report only what this file does not list
    #[arg(long, value_name = "FILE")]
    pub baseline: Option<PathBuf>,
    /// Write all findings to this file, for --baseline
    #[arg(long, value_name = "FILE", conflicts_with = "baseline")]
    pub write_baseline: Option<PathBuf>,
    /// Also report Secrets and keys that workloads need and nothing below the paths makes
    #[arg(long, conflicts_with_all = ["staged", "stdin"])]
    pub references: bool,
    /// Files and folders [default: the working directory]
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
}

/// Form of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// One line for each finding
    Text,
    /// SARIF 2.1.0, for code scanning
    Sarif,
    /// Annotations of GitHub Actions
    Github,
    /// Code quality report of GitLab
    Gitlab,
}

/// A finding and its file.
pub(super) struct Located {
    /// The path as it is shown: relative to the working directory, as the user gave it.
    pub shown: PathBuf,
    /// The path in its repository; without one, as shown.
    pub path: PathBuf,
    /// What is there.
    pub finding: Finding,
}

/// What was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub(super) struct Scanned {
    /// Files, whatever they hold.
    pub files: usize,
    /// Secrets in plain text or encrypted by other tools.
    pub secrets: usize,
}

/// All that one run found.
#[derive(Default)]
pub(super) struct Findings {
    pub all: Vec<Located>,
    pub scanned: Scanned,
}

impl Findings {
    fn add(&mut self, shown: &Path, path: &Path, linted: Linted) {
        self.scanned.files += 1;
        self.scanned.secrets += linted.secrets;
        let found = linted.findings.into_iter().map(|finding| Located {
            shown: shown.to_owned(),
            path: path.to_owned(),
            finding,
        });
        self.all.extend(found);
    }
}

impl Findings {
    /// Takes out what the config ignores, unless its file was named.
    fn leave_out_ignored(&mut self, named: &[PathBuf]) -> Result<()> {
        if let (_, Some(config)) = Config::here()? {
            self.all
                .retain(|located| named.contains(&located.shown) || !config.ignores(&located.path));
        }
        Ok(())
    }
}

/// Looks at everything that is asked for.
pub(super) fn run(args: &LintArgs, session: Session<'_>) -> Result<Verdict> {
    let Session { global, terminal } = session;
    let mut findings = if args.staged {
        staged::findings()?
    } else if args.stdin {
        stdin()?
    } else {
        tree(&args.paths, args.references)?
    };
    findings.leave_out_ignored(&args.paths)?;
    let is_skipped = |rule: Rule| args.skip.iter().any(|name| name == rule.name());
    findings
        .all
        .retain(|located| !is_skipped(located.finding.rule));
    if let Some(path) = &args.write_baseline {
        Baseline::of(&findings.all).write(path)?;
        terminal.done("wrote", path);
        return Ok(Verdict::Clean);
    }
    if let Some(path) = &args.baseline {
        let gone = Baseline::read(path)?.take_from(&mut findings.all);
        if gone > 0 && !args.staged && !args.stdin && args.paths.is_empty() {
            terminal.note(format_args!(
                "{gone} entries of the baseline are no longer found: write it again with --write-baseline"
            ));
        }
    }
    output::print(&findings, args.format, global.output)?;
    terminal.detail(format_args!(
        "{} Secrets in {} files, {} findings",
        findings.scanned.secrets,
        findings.scanned.files,
        findings.all.len()
    ));
    if args.staged && !findings.all.is_empty() {
        terminal.note(
            "fix the files and stage them again, or unstage them with `git restore --staged FILE`",
        );
    }
    Ok(Verdict::clean_if(findings.all.is_empty()))
}

fn stdin() -> Result<Findings> {
    let bytes = files::read_stdin(INPUT_BYTES)?;
    let mut findings = Findings::default();
    let path = Path::new("stdin");
    findings.add(path, path, lint(&bytes, FileKind::Manifest, &|_| None));
    Ok(findings)
}

fn tree(paths: &[PathBuf], with_references: bool) -> Result<Findings> {
    let targets = Targets::below(paths)?;
    let mut findings = Findings::default();
    let mut work = |target: &Target, linted: Result<Option<Linted>>| -> Result<()> {
        if let Some(linted) = linted? {
            findings.add(&target.shown, &target.path, linted);
        }
        Ok(())
    };
    parallel::for_each(&targets.all, |target| look(target, &targets), &mut work)?;
    if with_references {
        let (_, config) = Config::here()?;
        let external = config.as_ref().map(Config::external).unwrap_or_default();
        references::add(&mut findings, &targets, external)?;
    }
    Ok(findings)
}

/// What is wrong with files and folders, in the form that other verbs report.
pub(super) fn findings(paths: &[PathBuf]) -> Result<Vec<crate::report::Finding>> {
    let located = tree(paths, false)?.all.into_iter();
    let findings = located.map(|Located { shown, finding, .. }| {
        let detail = format!("line {}: {}", finding.place.line, finding.message);
        let object = finding.object;
        crate::report::Finding {
            object,
            ..crate::report::Finding::new(&shown, None, finding.rule.name(), detail)
        }
    });
    Ok(findings.collect())
}

/// Looks at one file; nothing where it is gone or binary.
fn look(target: &Target, targets: &Targets) -> Result<Option<Linted>> {
    let content = targets::read(target)?;
    Ok(match content {
        Content::Gone | Content::Binary => None,
        Content::TooLarge => Some(too_large()),
        Content::Bytes(bytes) => {
            let read = |name: &str| targets.beside(target, name);
            Some(lint(&bytes, targets::kind(&target.path), &read))
        }
    })
}

/// A text that nobody can have written.
fn too_large() -> Linted {
    let place = sealkit_core::manifest::Place { line: 1, column: 1 };
    let message = format!(
        "larger than {} MiB: it was not checked",
        INPUT_BYTES / 1024 / 1024
    );
    Linted {
        findings: vec![Finding::new(Rule::Unreadable, place, message, &[])],
        secrets: 0,
    }
}

/// How often each identity occurs.
type Identities = HashMap<[u8; 32], usize>;

/// The rule of this name.
fn rule(name: &str) -> Result<Rule> {
    let rule = Rule::ALL.into_iter().find(|rule| rule.name() == name);
    rule.ok_or_else(|| {
        CommandError::input(format_args!("unknown rule {}", crate::terminal::safe(name)))
    })
}
