//! `seal doctor`: what is wrong with a set-up, and how to fix it. It changes nothing.

mod cluster;
mod external;
mod repository;

use clap::Args;
use serde::Serialize;
use serde_json::json;

use crate::args::GlobalArgs;
use crate::cluster::Cluster;
use crate::cluster::contexts::{context_of, recognised};
use crate::error::{CommandError, Result};
use crate::recipients::config::Config;
use crate::report::{Verdict, structured};
use crate::terminal::{Session, print, safe};

/// Flags of `seal doctor`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  # the repository, and every cluster that it names
  seal doctor

  # only the repository, for CI
  seal doctor --offline")]
pub(super) struct DoctorArgs {
    /// Contact no cluster
    #[arg(long)]
    pub offline: bool,
    /// Namespace of the controller
    #[arg(long, value_name = "NAME", default_value = sealkit_core::api::CONTROLLER_NAMESPACE)]
    pub system_namespace: String,
}

/// Checks the current repository and its clusters. Troubles are findings.
pub(super) fn run(args: &DoctorArgs, session: Session<'_>) -> Result<Verdict> {
    let Session { global, terminal } = session;
    let mut report = Report::default();
    let config = repository::observe(&mut report, global)?;
    if !args.offline {
        for (name, context) in clusters(config.as_ref(), global, &mut report) {
            let title = name.as_ref().or(context.as_ref());
            let title = title.map_or_else(|| "cluster".to_owned(), |title| safe(title));
            terminal.detail(format_args!("checking {title}"));
            let named = name.as_deref().zip(config.as_ref());
            cluster::observe(&mut report, &title, context.as_deref(), named, args, global);
        }
    }
    report.print(session)?;
    Ok(Verdict::clean_if(report.troubles.is_empty()))
}

/// Names in the config, and contexts: that of the flag alone, else all that this clone knows, else
/// the current one.
fn clusters(
    config: Option<&Config>,
    global: &GlobalArgs,
    report: &mut Report,
) -> Vec<(Option<String>, Option<String>)> {
    if let Some(context) = &global.context {
        // A context that leads nowhere is found later.
        let known = config.and_then(|config| {
            let cluster = Cluster::connect(global, None).ok()?;
            recognised(&cluster, config).ok()?.pop()
        });
        return vec![(known, Some(context.clone()))];
    }
    let Some(config) = config.filter(|config| config.cluster_names().next().is_some()) else {
        return vec![(None, None)];
    };
    let mut found = Vec::new();
    for name in config.cluster_names() {
        match context_of(config, name, global) {
            Ok(Some(context)) => {
                found.push((Some(name.to_owned()), Some(context.context().to_owned())));
            }
            _ => report.note(
                &safe(name),
                "not checked: this clone knows no kubeconfig context for it; to check it, pass --context NAME",
            ),
        }
    }
    found
}

/// Something that is wrong.
#[derive(Serialize)]
struct Trouble {
    /// The repository, or which cluster.
    place: String,
    /// One word for programs.
    code: &'static str,
    /// A sentence for people.
    detail: String,
    /// How to fix it: commands, or what to do.
    mend: Vec<String>,
}

/// Something worth knowing.
#[derive(Serialize)]
struct Note {
    place: String,
    detail: String,
}

/// All that was found.
#[derive(Default)]
struct Report {
    troubles: Vec<Trouble>,
    notes: Vec<Note>,
    /// Checks that passed.
    good: usize,
}

impl Report {
    fn trouble(&mut self, place: &str, code: &'static str, detail: String, mend: &[String]) {
        self.troubles.push(Trouble {
            place: place.to_owned(),
            code,
            detail,
            mend: mend.to_vec(),
        });
    }

    fn note(&mut self, place: &str, detail: &str) {
        self.notes.push(Note {
            place: place.to_owned(),
            detail: detail.to_owned(),
        });
    }

    /// Reports the error of another verb as trouble, with its hints or else this as the fix.
    fn failed(&mut self, place: &str, code: &'static str, error: &CommandError, mend: &str) {
        let fallback = [mend.to_owned()];
        let mend = if error.hints().is_empty() {
            &fallback
        } else {
            error.hints()
        };
        self.trouble(place, code, error.to_string(), mend);
    }

    fn has(&self, code: &str) -> bool {
        self.troubles.iter().any(|trouble| trouble.code == code)
    }

    /// A check: trouble, or good.
    fn check(
        &mut self,
        place: &str,
        is_good: bool,
        code: &'static str,
        detail: impl FnOnce() -> String,
        mend: &[String],
    ) {
        if is_good {
            self.good += 1;
        } else {
            self.trouble(place, code, detail(), mend);
        }
    }

    fn print(&self, session: Session<'_>) -> Result<()> {
        let Session { global, terminal } = session;
        if let Some(form) = global.output {
            let whole = json!({
                "troubles": self.troubles, "notes": self.notes, "good": self.good,
            });
            return print(structured(&whole, form)?);
        }
        let mut text = String::new();
        for Trouble {
            place,
            code,
            detail,
            mend,
        } in &self.troubles
        {
            text.extend([place, ": ", code, ": ", &safe(detail), "\n"]);
            for way in mend {
                text.extend(["  fix: ", way, "\n"]);
            }
        }
        print(text)?;
        for Note { place, detail } in &self.notes {
            terminal.note(format_args!("{place}: {detail}"));
        }
        terminal.note(format_args!(
            "{}, {}",
            counted(self.troubles.len(), "problem", "problems"),
            counted(self.good, "check passed", "checks passed")
        ));
        Ok(())
    }
}

fn counted(count: usize, one: &str, several: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { several })
}
