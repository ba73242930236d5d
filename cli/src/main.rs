//! `seal`: encrypts Kubernetes Secrets so that they can be committed, and opens them again.

mod args;
mod cluster;
mod error;
mod exposure;
mod files;
mod git;
mod identities;
mod kubeseal;
mod recipients;
mod report;
mod sealed_text;
mod sealing;
mod signals;
mod terminal;
mod verb;

use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory as _, Parser as _};

use error::CommandError;
use report::Verdict;
use terminal::Terminal;
use verb::Cli;

fn main() -> ExitCode {
    terminal::quiet_panics();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    let terminal = Terminal::new(&cli.global);
    match verb::run(&cli, terminal) {
        Ok(Verdict::Clean) => ExitCode::SUCCESS,
        Ok(Verdict::Findings) => ExitCode::from(1),
        Ok(Verdict::Review) => ExitCode::from(6),
        Err(error) => {
            terminal.error(&error);
            ExitCode::from(error.exit_code())
        }
    }
}

/// What the parser knows of what may have been meant.
fn parser_hints(error: &clap::Error) -> Vec<String> {
    let suggestions = [
        ContextKind::SuggestedSubcommand,
        ContextKind::SuggestedArg,
        ContextKind::SuggestedValue,
    ];
    let list = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        Some(ContextValue::Strings(several)) => several.join(", "),
        _ => String::new(),
    };
    let mut hints = Vec::new();
    for meant in suggestions
        .into_iter()
        .map(list)
        .filter(|list| !list.is_empty())
    {
        hints.push(format!("did you mean {meant}?"));
    }
    let values = list(ContextKind::ValidValue);
    if !values.is_empty() {
        hints.push(format!("possible values: {values}"));
    }
    hints
}

/// The command that a usage error is about, as the parser's usage line begins: `seal keys fetch`.
fn command_of(error: &clap::Error) -> String {
    let usage = match error.get(ContextKind::Usage) {
        Some(ContextValue::StyledStr(usage)) => usage.to_string(),
        _ => String::new(),
    };
    let words = usage.trim_start_matches("Usage:").split_whitespace();
    let verbs: Vec<&str> = words
        .take_while(|word| word.bytes().all(|byte| byte.is_ascii_lowercase()))
        .collect();
    if verbs.is_empty() {
        verb_of_arguments()
    } else {
        verbs.join(" ")
    }
}

/// The same where the parser shows no usage line, as for a value that it refuses.
fn verb_of_arguments() -> String {
    let mut command = &Cli::command();
    let mut words = vec!["seal"];
    for argument in std::env::args_os().skip(1) {
        if let Some(verb) = command.find_subcommand(&argument) {
            words.push(verb.get_name());
            command = verb;
        }
    }
    words.join(" ")
}

/// A command line that cannot be parsed, or a call for help.
fn refuse(error: &clap::Error) -> ExitCode {
    if matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
    ) {
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        let _ = error.print();
        return ExitCode::from(2);
    }
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let json = arguments.iter().any(|argument| {
        argument == "-ojson" || argument == "-o=json" || argument == "--output=json"
    }) || arguments
        .windows(2)
        .any(|pair| (pair[0] == "-o" || pair[0] == "--output") && pair[1] == "json");
    let text = error.render().to_string();
    let first = text
        .lines()
        .find(|line| !line.trim().is_empty())
        .unwrap_or_default();
    let what = first
        .strip_prefix("error: ")
        .unwrap_or(first)
        .trim_end_matches([':', '.']);
    let mut refused = CommandError::usage(terminal::safe(what));
    if error.kind() == ErrorKind::MissingRequiredArgument
        && let Some(ContextValue::Strings(missing)) = error.get(ContextKind::InvalidArg)
    {
        refused = refused.on(terminal::safe(&missing.join(" ")));
    }
    let word = error
        .get(ContextKind::InvalidSubcommand)
        .or_else(|| error.get(ContextKind::InvalidArg));
    let word = word.map(ToString::to_string).unwrap_or_default();
    if !word.starts_with('-') && std::path::Path::new(&word).exists() {
        refused = refused.hint(format_args!(
            "to seal a file, pass -f {}",
            terminal::safe(&word)
        ));
    }
    match kubeseal::hint(&word) {
        Some(hint) => refused = refused.hint(hint),
        None => {
            for hint in parser_hints(error) {
                refused = refused.hint(hint);
            }
        }
    }
    let refused = refused.hint(format_args!("see `{} --help`", command_of(error)));
    Terminal::plain(json).error(&refused);
    ExitCode::from(refused.exit_code())
}
