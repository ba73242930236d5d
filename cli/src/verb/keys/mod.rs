//! `seal keys`: the life of a key.

mod backup;
mod exposure;
mod fetch;
mod generate;
mod list;
mod retire;
mod revoke;
mod rotate;
mod trust;
mod usage;

use clap::Subcommand;

use crate::args::ClusterArgs;
use crate::error::Result;
use crate::report::Verdict;
use crate::terminal::Session;
use backup::{BackupArgs, RestoreArgs};
use exposure::ExposureArgs;
use fetch::FetchArgs;
use generate::GenerateArgs;
use retire::RetireArgs;
use revoke::RevokeArgs;
use rotate::RotateArgs;
use trust::TrustArgs;
use usage::UsageArgs;

/// The verbs of `seal keys`.
#[derive(Debug, Subcommand)]
pub(super) enum KeysCommand {
    /// Make a key pair
    #[command(after_help = "\
Examples:
  # write the private key to a file that only you can read, the public key to stdout
  seal keys generate -w recovery.key > recovery.pub

  # a classic X25519 key, for old tools
  seal keys generate --classic")]
    Generate(GenerateArgs),
    /// Make a new key in the cluster, and write it to the recipient file
    #[command(after_help = "\
Examples:
  seal keys rotate --context prod-eu
  seal reseal -i ~/recovery.key
  git commit -am 'Seal to the new key of production'")]
    Rotate(RotateArgs),
    /// Allow a cluster to reseal to other recipients: the recovery keys and the other clusters
    #[command(after_help = "\
Examples:
  seal keys trust --context prod-eu

  # if Git manages the cluster: print the ConfigMap, and commit it
  seal keys trust --context prod-eu -o yaml > sealkit-recipients.yaml")]
    Trust(TrustArgs),
    /// Retire a superseded key: the cluster revokes it once no object needs it
    #[command(after_help = "Example:\n  seal keys retire --context prod-eu key-x7k2p")]
    Retire(RetireArgs),
    /// Revoke a leaked key step by step: shows the next step, and revokes once no value is exposed
    #[command(after_help = "\
Example:
  seal keys revoke --context prod-eu -i ~/recovery.key key-x7k2p")]
    Revoke(RevokeArgs),
    /// Back up the private keys of a cluster, encrypted to the recovery key
    #[command(after_help = "\
Examples:
  seal keys backup --context prod-eu -w prod-eu.keys.age
  seal keys restore --check -i ~/recovery.key prod-eu.keys.age")]
    Backup(BackupArgs),
    /// Restore the private keys of a backup to a cluster
    #[command(
        after_help = "Example:\n  seal keys restore --context prod-new -i ~/recovery.key prod-eu.keys.age"
    )]
    Restore(RestoreArgs),
    /// Count the objects of the cluster and the envelopes of the repository for each key
    #[command(after_help = "Example:\n  seal keys usage --context prod-eu clusters/production")]
    Usage(UsageArgs),
    /// List the values that a leaked key can read, in all of Git's history
    #[command(after_help = "\
Examples:
  # fingerprint as in `seal keys list`; with a private key, values are compared
  seal keys exposure 9f2c5d0b7a61e384 -i ~/recovery.key

  # every value that was ever sealed to a classic key
  seal keys exposure --classic")]
    Exposure(ExposureArgs),
    /// List the sealing keys of a cluster
    #[command(after_help = "Example:\n  seal keys list --context prod-eu -o json")]
    List(ClusterArgs),
    /// Fetch the public key of a cluster as a recipient file
    #[command(
        after_help = "Example:\n  seal keys fetch --context prod-eu -w .sealkit/production.pub"
    )]
    Fetch(FetchArgs),
}

/// Runs one of the verbs.
pub(super) fn run(command: &KeysCommand, session: Session<'_>) -> Result<Verdict> {
    let terminal = session.terminal;
    match command {
        KeysCommand::Exposure(args) => return exposure::run(args, session),
        KeysCommand::Revoke(args) => return revoke::run(args, session),
        KeysCommand::Generate(args) => generate::run(args, terminal),
        KeysCommand::List(args) => list::run(args, session),
        KeysCommand::Fetch(args) => fetch::run(args, session),
        KeysCommand::Usage(args) => usage::run(args, session),
        KeysCommand::Rotate(args) => rotate::run(args, session),
        KeysCommand::Trust(args) => trust::run(args, session),
        KeysCommand::Retire(args) => retire::run(args, session),
        KeysCommand::Backup(args) => backup::run(args, session),
        KeysCommand::Restore(args) => backup::restore(args, session),
    }
    .map(|()| Verdict::Clean)
}
