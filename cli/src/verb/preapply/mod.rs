//! `seal preapply`: a step of a pipeline that brings secrets into a cluster before anything that uses
//! them.

mod steps;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;

use crate::args::WriteClusterArgs;
use crate::cluster::ready::{Outcome, duration, report};
use crate::cluster::{connect_to_write, manifests};
use crate::error::Result;
use crate::recipients::config::Config;
use crate::report::{Finding, Scanned, Verdict, print_findings, structured};
use crate::terminal::{Session, print};

use steps::Steps;

/// Flags of `seal preapply`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  # before the rest of a folder is applied
  seal preapply clusters/production/ --context prod-eu --timeout 2m
  kubectl apply --server-side -f clusters/production/

  # what kustomize builds
  kustomize build clusters/production | seal preapply -

  # only ask the API server
  seal preapply clusters/production/ --dry-run")]
pub(super) struct PreapplyArgs {
    /// Files and folders with manifests, or - for stdin
    #[arg(value_name = "PATH", required = true)]
    pub paths: Vec<PathBuf>,
    /// How long to wait until the objects are ready
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration)]
    pub timeout: Duration,
    /// Check everything, also with the API server, but apply nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Take over fields that other tools own
    #[arg(long)]
    pub force_conflicts: bool,
    /// Which cluster.
    #[command(flatten)]
    pub cluster: WriteClusterArgs,
}

const NOTHING: &str = "the input has no SealedSecret, ExternalSecret or store: nothing was applied";

/// Finds faults in files and folders, and in a stream.
type Check = fn(&[PathBuf], Option<&[u8]>, Session<'_>) -> Result<Vec<Finding>>;

/// Checks, applies and waits. Whatever keeps the pipeline from going on is a finding or an error.
pub(super) fn run(args: &PreapplyArgs, session: Session<'_>, check: Check) -> Result<Verdict> {
    let until = Instant::now() + args.timeout;
    let (_, config) = Config::here()?;
    let what = "apply manifests to";
    let (cluster, _) = connect_to_write(&args.cluster, config.as_ref(), session, what)?;
    let namespace = session.global.namespace.as_deref();
    let read = manifests::read(
        &args.paths,
        namespace.unwrap_or_else(|| cluster.namespace()),
    )?;
    let files: Vec<PathBuf> = args
        .paths
        .iter()
        .filter(|path| path.as_os_str() != "-")
        .cloned()
        .collect();
    let findings = check(&files, read.stdin.as_ref().map(|text| &text[..]), session)?;
    if !findings.is_empty() {
        return refuse(&findings, read.objects.len(), session);
    }
    let mut steps = Steps::new(&cluster, read, args, session.terminal);
    steps.rehearse()?;
    if args.dry_run {
        return steps.report_rehearsal(session);
    }
    let outcome = steps.perform(until);
    if session.global.output.is_none() {
        print(steps.changes())?;
    }
    let outcome = outcome?;
    let whole = steps.whole(outcome);
    let verdict = report(outcome, &steps.board, &whole, NOTHING, session)?;
    if outcome != Outcome::Ready {
        steps.note_rest();
    }
    Ok(verdict)
}

/// The tree itself has faults: the cluster was not asked.
fn refuse(findings: &[Finding], objects: usize, session: Session<'_>) -> Result<Verdict> {
    let Session { global, terminal } = session;
    if let Some(form) = global.output {
        let whole = json!({
            "ready": false, "outcome": "refused", "objects": [], "findings": findings,
        });
        print(structured(&whole, form)?)?;
    } else {
        let scanned = Scanned { files: 0, objects };
        print_findings(findings, scanned, None)?;
    }
    terminal.warning("nothing was applied: fix these findings first");
    Ok(Verdict::Findings)
}
