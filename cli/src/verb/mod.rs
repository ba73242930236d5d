//! The command line of `seal`: its verbs, one file or folder each, and what runs them. No flag
//! takes a secret value.

mod completions;
mod create;
mod doctor;
mod edit;
mod git;
mod impact;
mod init;
mod keys;
mod lint;
mod man;
mod open;
mod preapply;
mod reseal;
mod seal;
mod set;
mod status;
mod unset;
mod verify;
mod version;
mod wait;

use std::path::PathBuf;

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::args::GlobalArgs;
use crate::error::{CommandError, Result};
use crate::recipients::branch;
use crate::report::{Finding, Verdict};
use crate::terminal::{Session, Terminal};
use completions::CompletionsArgs;
use create::CreateArgs;
use doctor::DoctorArgs;
use edit::EditArgs;
use git::{DiffArgs, GitCommand, MergeDriverArgs, TextconvArgs};
use impact::ImpactArgs;
use init::InitArgs;
use keys::KeysCommand;
use lint::LintArgs;
use man::ManArgs;
use open::OpenArgs;
use preapply::PreapplyArgs;
use reseal::ResealArgs;
use seal::SealArgs;
use set::SetArgs;
use status::StatusArgs;
use unset::UnsetArgs;
use verify::VerifyArgs;
use wait::WaitArgs;

const EXAMPLES: &str = "\
Examples:
  # the usual way: create a Secret, seal it, commit the result
  kubectl create secret generic db --from-file=password=./password \\
    --dry-run=client -o yaml | seal -w db.sealed.yaml

  # seal files into a folder, one <name>.sealed.yaml each
  seal -f secrets.yaml -w clusters/production/

  # seal to the keys in a file, instead of those of .sealkit.yaml or the cluster
  seal -f secret.yaml -R production.pub -n shop > db.sealed.yaml";

/// Encrypt Kubernetes Secrets so that you can commit them to Git.
///
/// Without a verb, `seal` reads Secret manifests from stdin or -f, and writes SealedSecrets to
/// stdout or -w.
#[derive(Debug, Parser)]
#[command(name = "seal", version, after_help = EXAMPLES, subcommand_value_name = "VERB")]
#[command(subcommand_help_heading = "Verbs")]
pub(crate) struct Cli {
    /// Flags of sealing.
    #[command(flatten)]
    seal: SealArgs,
    /// Flags of all verbs.
    #[command(flatten)]
    pub global: GlobalArgs,
    /// The verb; none means sealing.
    #[command(subcommand)]
    command: Option<Command>,
}

/// The verbs.
#[derive(Debug, Subcommand)]
enum Command {
    /// Set up a repository: write .sealkit.yaml and the recipient files
    Init(InitArgs),
    /// Make a Secret from values that you type, or from files, and seal it
    Create(CreateArgs),
    /// Print the plaintext of SealedSecrets; needs a private key
    Open(OpenArgs),
    /// Check structure, names and recipients; with a private key, also open the values
    Verify(VerifyArgs),
    /// Show what makes a Secret and what uses it, or what a workload needs
    Impact(ImpactArgs),
    /// Find Secrets in plain text, private keys and slips in values; needs no key
    Lint(LintArgs),
    /// Set values in the file of a SealedSecret; needs no private key
    Set(SetArgs),
    /// Edit values in your editor; needs a private key, or read access to the live Secret
    Edit(EditArgs),
    /// Remove values from the file of a SealedSecret; needs no private key
    Unset(UnsetArgs),
    /// Reseal envelopes whose recipients are not those that .sealkit.yaml requires
    Reseal(ResealArgs),
    /// Manage keys: make, list, fetch, rotate, back up, revoke
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Show the sealing keys, SealedSecrets, stores and ExternalSecrets of a cluster
    Status(StatusArgs),
    /// Apply the SealedSecrets, stores and ExternalSecrets of a tree, and wait until they are ready
    Preapply(PreapplyArgs),
    /// Wait until SealedSecrets, ExternalSecrets and stores are ready for their newest generation
    Wait(WaitArgs),
    /// Find problems in this repository and its clusters, and show how to fix them
    Doctor(DoctorArgs),
    /// Compare two files key by key; needs no private key
    #[command(
        after_help = "Example:\n  seal diff staging/db.sealed.yaml production/db.sealed.yaml"
    )]
    Diff(DiffArgs),
    /// Set up Git to merge and show SealedSecrets
    #[command(subcommand)]
    Git(GitCommand),
    /// Merge three versions of a file; Git runs this
    #[command(after_help = "Example, in Git's configuration:\n  seal merge-driver -- %O %A %B %P")]
    MergeDriver(MergeDriverArgs),
    /// Print a file as `git diff` shows it; Git runs this
    #[command(after_help = "Example:\n  seal textconv db.sealed.yaml")]
    Textconv(TextconvArgs),
    /// Print the completion script of a shell
    #[command(after_help = "\
Examples:
  seal completions bash > ~/.local/share/bash-completion/completions/seal
  seal completions zsh > \"${fpath[1]}/_seal\"
  seal completions fish > ~/.config/fish/completions/seal.fish")]
    Completions(CompletionsArgs),
    /// Print the man page
    #[command(after_help = "\
Examples:
  seal man | man -l -
  seal man -w ~/.local/share/man/man1")]
    Man(ManArgs),
    /// Print the version
    #[command(after_help = "Example:\n  seal version -o json")]
    Version,
}

/// Runs the verb.
pub(super) fn run(cli: &Cli, terminal: Terminal) -> Result<Verdict> {
    let global = &cli.global;
    let session = Session { global, terminal };
    branch::say(global.branch.as_deref(), terminal);
    let Some(command) = &cli.command else {
        return seal::run(&cli.seal, session).map(|()| Verdict::Clean);
    };
    if cli.seal != SealArgs::default() {
        return Err(
            CommandError::usage("flags of sealing cannot precede a verb")
                .hint("put the flags of the verb after it; see `seal --help`"),
        );
    }
    match command {
        Command::Init(args) => init::run(args, session)?,
        Command::Create(args) => {
            let (input, how) = create::made(args, session)?;
            seal::seal(&[input], &how, session)?;
        }
        Command::Open(args) => open::run(args, session)?,
        Command::Verify(args) => return verify::run(args, session),
        Command::Impact(args) => return impact::run(args, session),
        Command::Lint(args) => return lint::run(args, session),
        Command::Set(args) => set::run(args, session)?,
        Command::Edit(args) => edit::run(args, session)?,
        Command::Unset(args) => unset::run(args, session)?,
        Command::Reseal(args) => return reseal::run(args, session),
        Command::Status(args) => return status::run(args, session),
        Command::Preapply(args) => return preapply::run(args, session, checked),
        Command::Wait(args) => return wait::run(args, session),
        Command::Doctor(args) => return doctor::run(args, session),
        Command::Diff(args) => return git::diff(args),
        Command::Git(command) => git::run(command, terminal)?,
        Command::MergeDriver(args) => return git::merge_driver(args, terminal),
        Command::Textconv(args) => git::textconv(args)?,
        Command::Keys(command) => return keys::run(command, session),
        Command::Completions(args) => completions::run(args, Cli::command())?,
        Command::Man(args) => man::run(args, Cli::command(), terminal)?,
        Command::Version => version::run(global.output)?,
    }
    Ok(Verdict::Clean)
}

/// What `seal verify` and `seal lint` find in files and folders, and the first in a stream. Where both
/// find the same in a file, it is told once.
fn checked(paths: &[PathBuf], stream: Option<&[u8]>, session: Session<'_>) -> Result<Vec<Finding>> {
    let mut findings = verify::findings(paths, stream, session)?;
    if paths.is_empty() {
        return Ok(findings);
    }
    let mut more = lint::findings(paths)?;
    more.retain(|new| {
        let is_same = |old: &Finding| old.path == new.path && old.code == new.code;
        !findings.iter().any(is_same)
    });
    findings.append(&mut more);
    Ok(findings)
}
