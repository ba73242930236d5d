//! The command line of `seal`: its verbs, one file or folder each, and what runs them. No flag
//! takes a secret value.

mod completions;
mod doctor;
mod edit;
mod git;
mod init;
mod keys;
mod man;
mod open;
mod reseal;
mod seal;
mod set;
mod status;
mod unset;
mod verify;
mod version;

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::args::GlobalArgs;
use crate::error::{CommandError, Result};
use crate::report::Verdict;
use crate::terminal::{Session, Terminal};
use completions::CompletionsArgs;
use doctor::DoctorArgs;
use edit::EditArgs;
use git::{DiffArgs, GitCommand, MergeDriverArgs, TextconvArgs};
use init::InitArgs;
use keys::KeysCommand;
use man::ManArgs;
use open::OpenArgs;
use reseal::ResealArgs;
use seal::SealArgs;
use set::SetArgs;
use status::StatusArgs;
use unset::UnsetArgs;
use verify::VerifyArgs;

const EXAMPLES: &str = "\
Examples:
  # the usual way: make a Secret, seal it, commit the result
  kubectl create secret generic db --from-file=password=./password \\
    --dry-run=client -o yaml | seal -w db.sealed.yaml

  # seal files into a folder, one <name>.sealed.yaml each
  seal -f secrets.yaml -w clusters/production/

  # to a recipient file instead of those of .sealkit.yaml or the cluster
  seal -f secret.yaml -R production.pub -n shop > db.sealed.yaml";

/// Encrypt Kubernetes Secrets so that they can be committed.
///
/// Without a verb, reads Secret manifests from stdin or -f and writes SealedSecrets to stdout
/// or -w.
#[derive(Debug, Parser)]
#[command(name = "seal", version, after_help = EXAMPLES, subcommand_value_name = "VERB")]
#[command(subcommand_help_heading = "Verbs", disable_help_subcommand = true)]
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
    /// Write .sealkit.yaml and the recipient files of a repository
    Init(InitArgs),
    /// Print the plaintext of SealedSecrets, with a private key
    Open(OpenArgs),
    /// Check SealedSecrets: structure, names, recipients; with a key, really open them
    Verify(VerifyArgs),
    /// Change values of a SealedSecret in its file, without seeing the others
    Set(SetArgs),
    /// Change values in an editor, with a private key
    Edit(EditArgs),
    /// Take values out of a SealedSecret in its file
    Unset(UnsetArgs),
    /// Seal every envelope to whom its path is for, after keys or rules changed
    Reseal(ResealArgs),
    /// Make, list and fetch keys
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Show the keys and objects of a cluster at a glance
    Status(StatusArgs),
    /// Find what is wrong with this repository and its clusters, and what mends it
    Doctor(DoctorArgs),
    /// Compare two files key by key, without a private key
    #[command(
        after_help = "Example:\n  seal diff staging/db.sealed.yaml production/db.sealed.yaml"
    )]
    Diff(DiffArgs),
    /// Teach Git to merge and to show SealedSecrets
    #[command(subcommand)]
    Git(GitCommand),
    /// Merge three versions of a file; Git calls it
    #[command(after_help = "Example, in Git's configuration:\n  seal merge-driver %O %A %B %P")]
    MergeDriver(MergeDriverArgs),
    /// Print a file as `git diff` shows it; Git calls it
    #[command(after_help = "Example:\n  seal textconv db.sealed.yaml")]
    Textconv(TextconvArgs),
    /// Print the completions of a shell
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
    let Some(command) = &cli.command else {
        return seal::run(&cli.seal, session).map(|()| Verdict::Clean);
    };
    if cli.seal != SealArgs::default() {
        return Err(CommandError::usage("flags of sealing stand before a verb")
            .hint("put the verb's own flags after it; see `seal --help`"));
    }
    match command {
        Command::Init(args) => init::run(args, session)?,
        Command::Open(args) => open::run(args, session)?,
        Command::Verify(args) => return verify::run(args, session),
        Command::Set(args) => set::run(args, session)?,
        Command::Edit(args) => edit::run(args, session)?,
        Command::Unset(args) => unset::run(args, session)?,
        Command::Reseal(args) => return reseal::run(args, session),
        Command::Status(args) => status::run(args, session)?,
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
