//! `seal impact`: what makes a Secret, what uses it or one of its keys, and since when its values are
//! there; and what a leaked key reaches.

mod answer;
mod picture;
mod report;
mod story;
mod target;

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use sealkit_core::manifest::INPUT_BYTES;
use sealkit_core::references::{Graph, Use, find};
use serde_json::json;

use crate::args::Output;
use crate::error::Result;
use crate::exposure::Leaked;
use crate::files;
use crate::files::parallel;
use crate::files::tree::{Found, Tree};
use crate::recipients::config::Config;
use crate::report::{Verdict, structured};
use crate::terminal::{Session, print, safe};
use answer::{Answer, Part};
use story::{Held, Story};
use target::{Target, secrets, unheard_of, unknown};

/// Flags of `seal impact`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  # what uses a Secret, and what makes it
  seal impact db -n shop

  # what uses one value: after a leak, what has to restart with a new one
  seal impact db:password

  # what a workload needs
  seal impact deployment/app

  # what a leaked key reaches: the workloads that use values which it can read
  seal impact --key 9f2c5d0b7a61e384
  seal impact --key production --format sarif > impact.sarif

  # everything below a folder, for programs
  seal impact -f clusters/production -o json")]
pub(super) struct ImpactArgs {
    /// A Secret (`db`), one of its keys (`db:password`) or a workload (`deployment/app`)
    /// [default: all Secrets]
    #[arg(value_name = "NAME")]
    pub target: Option<String>,
    /// Files and folders; repeatable [default: the working directory]
    #[arg(short = 'f', long = "file", alias = "filename", value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Only values that this private key can read, and what uses them: fingerprint of the key or at
    /// least 4 characters of it, or a name of .sealkit.yaml such as `recovery`
    #[arg(long, value_name = "KEY")]
    pub key: Option<String>,
    /// Form of the report; for JSON, pass -o json
    #[arg(long, value_name = "FORM", conflicts_with = "output")]
    pub format: Option<Format>,
}

/// Form of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// What makes and what uses each Secret, a line each
    Text,
    /// SARIF 2.1.0, for code scanning: what is missing, and what uses an exposed value
    Sarif,
    /// A picture, as a flowchart of Mermaid
    Mermaid,
}

/// Tells what a change or a leak concerns.
pub(super) fn run(args: &ImpactArgs, session: Session<'_>) -> Result<Verdict> {
    let key = args.key.as_deref();
    let leaked = key.map(|word| Leaked::meant(Some(word), false, session));
    let leaked = leaked.transpose()?;
    let files = Tree::below(&args.paths)?.files;
    let (graph, held) = read_all(&files, leaked.as_ref())?;
    let target = Target::of(args.target.as_deref());
    let namespace = session.global.namespace.as_deref();
    let in_namespace =
        |other: &str| namespace.is_none_or(|wanted| other.is_empty() || other == wanted);
    let uses: Vec<&Use> = graph
        .uses
        .iter()
        .filter(|used| in_namespace(&used.namespace) && target.takes(used))
        .collect();
    let secrets = secrets(&graph, &target, &uses, &in_namespace);
    if secrets.is_empty() && !matches!(target, Target::All) {
        let asked = args.target.as_deref().unwrap_or_default();
        return Err(unknown(&graph, &target, asked));
    }
    if let Some(key) = unheard_of(&target, &graph, &secrets, &uses) {
        let what = format!("nothing here makes the key {}, or asks for it", safe(key));
        session.terminal.warning(what);
    }
    let missing = graph.missing();
    let mut answer = Answer {
        graph: &graph,
        files: &files,
        uses: &uses,
        missing: &missing,
        held: &held,
        parts: Vec::new(),
    };
    answer.find(&secrets, &target)?;
    let leaked = key.zip(leaked.as_ref());
    let stories = Story::tell(&held, &answer.concerned(), &files, leaked, session)?;
    if leaked.is_some() {
        answer.keep_exposed(&stories);
    }
    show(&answer, &stories, args, session)?;
    Ok(Verdict::clean_if(answer.is_clean(&stories)))
}

fn show(
    answer: &Answer<'_>,
    stories: &Story,
    args: &ImpactArgs,
    session: Session<'_>,
) -> Result<()> {
    let parts = answer.parts.iter();
    match (args.format, session.global.output) {
        (_, Some(form)) => {
            let all: Vec<_> = parts.map(|part| answer.object(part, stories)).collect();
            print(structured(&json!({"secrets": all}), form)?)?;
        }
        (Some(Format::Sarif), None) => {
            print(structured(&report::sarif(answer, stories), Output::Json)?)?;
        }
        (Some(Format::Mermaid), None) => print(picture::mermaid(answer, stories))?,
        (None | Some(Format::Text), None) => {
            let text = parts.map(|part: &Part<'_>| answer.text(part, stories));
            print(text.collect::<String>())?;
        }
    }
    stories.conclude(answer, args.key.is_some(), session.terminal);
    Ok(())
}

/// The graph of all files, and the sealed values in them.
fn read_all(files: &[Found], leaked: Option<&Leaked>) -> Result<(Graph, Vec<Held>)> {
    let (_, config) = Config::here()?;
    let mut graph = Graph::default();
    for pattern in config.as_ref().map(Config::external).unwrap_or_default() {
        graph.add_external(pattern);
    }
    let mut held = Vec::new();
    let numbers: Vec<usize> = (0..files.len()).collect();
    let read = |number: &usize| -> Result<_> {
        let place = &files[*number].place;
        let bytes = files::read(&place.given, INPUT_BYTES)?;
        let beside =
            |name: &str| files::read(&place.real.parent()?.join(name), files::SMALL_FILE).ok();
        let found = find(&String::from_utf8_lossy(&bytes), *number, &beside);
        Ok((found, Held::in_file(*number, &bytes, leaked)))
    };
    parallel::for_each(&numbers, read, |_, read| -> Result<()> {
        let (found, values) = read?;
        graph.add(found);
        held.extend(values);
        Ok(())
    })?;
    Ok((graph, held))
}
