//! The command line: flags and their help. No flag takes a secret value.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};

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
    pub seal: SealArgs,
    /// Flags of all verbs.
    #[command(flatten)]
    pub global: GlobalArgs,
    /// The verb; none means sealing.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// Flags that every verb knows.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Global options")]
pub(crate) struct GlobalArgs {
    /// Private key file, as age writes it; may be given several times
    #[arg(short, long, global = true, value_name = "FILE", env = "SEALKIT_IDENTITY_FILE", value_parser = clap::value_parser!(OsString))]
    identity: Vec<OsString>,
    /// Kubeconfig context to talk to
    #[arg(long, global = true, value_name = "NAME")]
    pub context: Option<String>,
    /// Kubeconfig file
    #[arg(long, global = true, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Namespace of Secrets whose manifest names none
    #[arg(short, long, global = true, value_name = "NAME")]
    pub namespace: Option<String>,
    /// Form of the output
    #[arg(short, long, global = true, value_name = "FORM")]
    pub output: Option<Output>,
    /// When to use colours
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub color: Color,
    /// Say nothing on success
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Say how decisions came about
    #[arg(short, long, global = true, conflicts_with = "quiet")]
    pub verbose: bool,
}

impl GlobalArgs {
    /// The private key files; an empty variable names none.
    pub fn identities(&self) -> impl Iterator<Item = &Path> {
        self.identity
            .iter()
            .filter(|path| !path.is_empty())
            .map(Path::new)
    }
}

/// Form of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// YAML
    Yaml,
    /// JSON
    Json,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// Scopes on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ScopeArg {
    /// Bound to namespace and name
    Strict,
    /// Bound to the namespace; the object may be renamed
    NamespaceWide,
    /// Bound to nothing: every tenant of the cluster may use it
    ClusterWide,
}

impl From<ScopeArg> for sealkit_core::sealed::Scope {
    fn from(scope: ScopeArg) -> Self {
        match scope {
            ScopeArg::Strict => Self::Strict,
            ScopeArg::NamespaceWide => Self::NamespaceWide,
            ScopeArg::ClusterWide => Self::ClusterWide,
        }
    }
}

/// Flags of sealing.
#[derive(Args, Clone, Debug, Default, PartialEq)]
#[command(next_help_heading = "Sealing")]
pub(crate) struct SealArgs {
    /// Manifest to read, - for stdin; may be given several times [default: stdin]
    #[arg(short, long = "file", value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// File to write or to update key by key; a folder takes one <name>.sealed.yaml each
    #[arg(short, long, value_name = "FILE|DIR/")]
    pub write: Option<PathBuf>,
    /// What the values are bound to
    #[arg(long)]
    pub scope: Option<ScopeArg>,
    /// Name of the object, when there is one Secret
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// To whom.
    #[command(flatten)]
    pub to: RecipientArgs,
    /// Let templates read the values in the cluster
    #[arg(long)]
    pub render: bool,
    /// File with what stands under spec.template: templates of files that hold several values
    #[arg(long, value_name = "FILE")]
    pub template: Option<PathBuf>,
    /// Pass documents that are not Secrets through instead of refusing them
    #[arg(long)]
    pub all_documents: bool,
}

/// To whom values are sealed.
#[derive(Args, Clone, Debug, Default, PartialEq)]
pub(crate) struct RecipientArgs {
    /// Public key to seal to; may be given several times
    #[arg(short, long = "recipient", value_name = "AGE1…")]
    pub recipients: Vec<String>,
    /// File of public keys to seal to; may be given several times
    #[arg(short = 'R', long = "recipients-file", value_name = "FILE")]
    pub recipients_files: Vec<PathBuf>,
    /// Cluster of .sealkit.yaml to seal to; may be given several times
    #[arg(long = "cluster", value_name = "NAME", conflicts_with_all = ["recipients", "recipients_files"])]
    pub clusters: Vec<String>,
    /// Go on when the recipients are not those of before
    #[arg(long)]
    pub accept_recipients: bool,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
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

/// Flags of `seal init`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  # keys of two clusters, each from its kubeconfig context, and Git's drivers and hook
  seal init --cluster staging=kind-staging --cluster production=prod-eu \\
    --recovery-key ~/recovery.key --git

  # without reaching a cluster
  seal init --cluster-key production=production.pub --no-recovery")]
pub(crate) struct InitArgs {
    /// Cluster whose key is fetched, from the current context or the one given
    #[arg(long = "cluster", value_name = "NAME[=CONTEXT]")]
    pub clusters: Vec<String>,
    /// Cluster whose key is in a recipient file
    #[arg(long = "cluster-key", value_name = "NAME=FILE")]
    pub cluster_keys: Vec<String>,
    /// Where the private recovery key is written, outside the repository [default: the terminal]
    #[arg(long, value_name = "FILE", conflicts_with = "no_recovery")]
    pub recovery_key: Option<PathBuf>,
    /// Encrypt the recovery key file with a passphrase
    #[arg(long, requires = "recovery_key")]
    pub passphrase: bool,
    /// Set up Git too, as `seal git install` does
    #[arg(long)]
    pub git: bool,
    /// Make no recovery key: a lost cluster key means lost secrets
    #[arg(long)]
    pub no_recovery: bool,
}

/// Flags of `seal open`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  # break glass: the whole Secret
  seal open -i recovery.key db.sealed.yaml

  # one value, raw
  seal open -i recovery.key db.sealed.yaml --key password")]
pub(crate) struct OpenArgs {
    /// SealedSecret manifests, - for stdin [default: stdin]
    #[arg(value_name = "FILE")]
    pub paths: Vec<PathBuf>,
    /// The same as a flag
    #[arg(short, long = "file", value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Print the raw value of one key
    #[arg(long, value_name = "KEY")]
    pub key: Option<String>,
    /// Write text values as stringData instead of base64
    #[arg(long, conflicts_with = "key")]
    pub decode: bool,
}

/// Flags of `seal verify`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  # everything below the working directory; without a key, recipients are what files claim
  seal verify

  # really open everything
  seal verify -i recovery.key clusters/production

  # in a pull request: nothing old comes back, nobody new can read, keys are those of main
  seal verify --base origin/main

  # what the next commit brings; the hook of `seal git install` runs it
  seal verify --staged")]
pub(crate) struct VerifyArgs {
    /// Compare with this revision, and trust its config and keys instead of those in the files
    #[arg(long, value_name = "REF")]
    pub base: Option<String>,
    /// Check what the next commit brings, and not the files as they lie there
    #[arg(long, conflicts_with_all = ["base", "paths"])]
    pub staged: bool,
    /// Files and folders [default: the working directory]
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
}

/// Flags of `seal set`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  # asks for the value
  seal set db.sealed.yaml PASSWORD

  # from a file, and from stdin
  seal set web.sealed.yaml tls.crt=@web.crt tls.key=@web.key
  openssl rand -hex 24 | tr -d '\\n' | seal set db.sealed.yaml PASSWORD")]
pub(crate) struct SetArgs {
    /// The file
    #[arg(value_name = "FILE")]
    pub path: PathBuf,
    /// Key to set: its value is asked for or read from stdin; with =@FILE it is that file's
    #[arg(value_name = "KEY[=@FILE]", required = true)]
    pub keys: Vec<String>,
    /// Name of the object, when the file holds several
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// To whom.
    #[command(flatten)]
    pub to: RecipientArgs,
    /// Let templates read the values in the cluster
    #[arg(long)]
    pub render: bool,
}

/// Flags of `seal edit`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  seal edit -i ~/recovery.key db.sealed.yaml
  EDITOR='code --wait' seal edit -i ~/recovery.key db.sealed.yaml")]
pub(crate) struct EditArgs {
    /// The file
    #[arg(value_name = "FILE")]
    pub path: PathBuf,
    /// Name of the object, when the file holds several
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// To whom.
    #[command(flatten)]
    pub to: RecipientArgs,
    /// Let templates read values under new keys
    #[arg(long)]
    pub render: bool,
}

/// Flags of `seal unset`.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  seal unset db.sealed.yaml OLD_PASSWORD")]
pub(crate) struct UnsetArgs {
    /// The file
    #[arg(value_name = "FILE")]
    pub path: PathBuf,
    /// Key to take out
    #[arg(value_name = "KEY", required = true)]
    pub keys: Vec<String>,
    /// Name of the object, when the file holds several
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
}

/// Flags of `seal reseal`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  # what is not sealed to whom .sealkit.yaml says; for CI, needs no key
  seal reseal --check

  # all of the repository: by the cluster, or with the recovery key
  seal reseal --context prod-eu
  seal reseal -i ~/recovery.key

  # see which files would change
  seal reseal -i ~/recovery.key --dry-run clusters/production")]
pub(crate) struct ResealArgs {
    /// Files and folders [default: the working directory]
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Which cluster.
    #[command(flatten)]
    pub cluster: WriteClusterArgs,
    /// Change nothing, exit with 1 if there is something to do
    #[arg(long)]
    pub check: bool,
    /// Do everything but write
    #[arg(long, conflicts_with = "check")]
    pub dry_run: bool,
    /// Go on when the recipients are not those of before
    #[arg(long)]
    pub accept_recipients: bool,
}

/// Flags of `seal status`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  seal status --context prod-eu

  # one namespace, for programs
  seal status -n shop -o json")]
pub(crate) struct StatusArgs {
    /// Which cluster.
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// Flags of `seal doctor`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  # the repository, and every cluster that it names
  seal doctor

  # the repository alone, for CI
  seal doctor --offline")]
pub(crate) struct DoctorArgs {
    /// Reach no cluster
    #[arg(long)]
    pub offline: bool,
    /// Namespace of the controller
    #[arg(long, value_name = "NAME", default_value = sealkit_core::api::CONTROLLER_NAMESPACE)]
    pub system_namespace: String,
}

/// The verbs of `seal keys`.
#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// Make a key pair
    #[command(after_help = "\
Examples:
  # private key into a file that only you can read, public key to stdout
  seal keys generate -w recovery.key > recovery.pub

  # a classic X25519 key, for old tools
  seal keys generate --classic")]
    Generate(GenerateArgs),
    /// Make a new key in the cluster, and put it into the recipient file
    #[command(after_help = "\
Examples:
  seal keys rotate --context prod-eu
  seal reseal -i ~/recovery.key
  git commit -am 'Seal to the new key of production'")]
    Rotate(RotateArgs),
    /// Tell a cluster whom it may reseal to beside itself: recovery keys and other clusters
    #[command(after_help = "\
Examples:
  seal keys trust --context prod-eu

  # where the cluster is run from Git
  seal keys trust --context prod-eu -o yaml > sealkit-recipients.yaml")]
    Trust(TrustArgs),
    /// End a superseded key: revoked by the cluster once nothing needs it
    #[command(after_help = "Example:\n  seal keys retire --context prod-eu key-x7k2p")]
    Retire(RetireArgs),
    /// End a key that leaked: says which step comes next, and revokes once no value is exposed
    #[command(after_help = "\
Example:
  seal keys revoke --context prod-eu -i ~/recovery.key key-x7k2p")]
    Revoke(RevokeArgs),
    /// Save the private keys of a cluster, encrypted to the recovery key
    #[command(after_help = "\
Examples:
  seal keys backup --context prod-eu -w prod-eu.keys.age
  seal keys restore --check -i ~/recovery.key prod-eu.keys.age")]
    Backup(BackupArgs),
    /// Put the private keys of a backup into a cluster
    #[command(
        after_help = "Example:\n  seal keys restore --context prod-new -i ~/recovery.key prod-eu.keys.age"
    )]
    Restore(RestoreArgs),
    /// Count what is sealed to which key, in the cluster and in the repository
    #[command(after_help = "Example:\n  seal keys usage --context prod-eu clusters/production")]
    Usage(UsageArgs),
    /// List what a leaked key can read, over all of Git's history
    #[command(after_help = "\
Examples:
  # by the fingerprint of `seal keys list`; with a key, values are compared
  seal keys exposure 9f2c5d0b7a61e384 -i ~/recovery.key

  # everything that was ever sealed to a classic key
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

/// Flags of `seal keys generate`.
#[derive(Args, Debug)]
pub(crate) struct GenerateArgs {
    /// X25519 instead of the post-quantum hybrid
    #[arg(long)]
    pub classic: bool,
    /// File for the private key; never overwritten
    #[arg(short, long, value_name = "FILE")]
    pub write: Option<PathBuf>,
}

/// The verbs of `seal git`.
#[derive(Debug, Subcommand)]
pub(crate) enum GitCommand {
    /// Set up merge and diff drivers and a hook in this clone, and .gitattributes
    #[command(after_help = "Example:\n  seal git install && git add .gitattributes")]
    Install,
}

/// Flags of `seal diff`.
#[derive(Args, Debug)]
pub(crate) struct DiffArgs {
    /// The old file
    #[arg(value_name = "OLD")]
    pub old: PathBuf,
    /// The new file
    #[arg(value_name = "NEW")]
    pub new: PathBuf,
}

/// Flags of `seal merge-driver`: files that Git made.
#[derive(Args, Debug)]
pub(crate) struct MergeDriverArgs {
    /// The common ancestor
    #[arg(value_name = "BASE")]
    pub base: PathBuf,
    /// Our version; takes the result
    #[arg(value_name = "OURS")]
    pub ours: PathBuf,
    /// Their version
    #[arg(value_name = "THEIRS")]
    pub theirs: PathBuf,
    /// Path of the file in the repository
    #[arg(value_name = "PATH")]
    pub path: Option<PathBuf>,
}

/// Flags of `seal textconv`.
#[derive(Args, Debug)]
pub(crate) struct TextconvArgs {
    /// The file
    #[arg(value_name = "FILE")]
    pub path: PathBuf,
}

/// Flags of `seal completions`.
#[derive(Args, Debug)]
pub(crate) struct CompletionsArgs {
    /// The shell
    pub shell: clap_complete::Shell,
}

/// Flags of `seal man`.
#[derive(Args, Debug)]
pub(crate) struct ManArgs {
    /// Folder for a page of each verb
    #[arg(short, long, value_name = "DIR")]
    pub write: Option<PathBuf>,
}

/// Which cluster a verb reads.
#[derive(Args, Debug)]
pub(crate) struct ClusterArgs {
    /// Cluster of .sealkit.yaml, reached through its context
    #[arg(long, value_name = "NAME", conflicts_with = "context")]
    pub cluster: Option<String>,
}

/// Which cluster a verb writes to.
#[derive(Args, Debug)]
pub(crate) struct WriteClusterArgs {
    /// Cluster of .sealkit.yaml; asks before it uses the context that stands there
    #[arg(long, value_name = "NAME")]
    pub cluster: Option<String>,
}

/// Flags of `seal keys rotate`.
#[derive(Args, Debug)]
pub(crate) struct RotateArgs {
    /// Which cluster.
    #[command(flatten)]
    pub cluster: WriteClusterArgs,
    /// X25519 instead of the post-quantum hybrid, where the controller allows it
    #[arg(long)]
    pub classic: bool,
    /// Go on when the recipients are not those of before
    #[arg(long)]
    pub accept_recipients: bool,
}

/// Flags of `seal keys trust`.
#[derive(Args, Debug)]
pub(crate) struct TrustArgs {
    /// Which cluster.
    #[command(flatten)]
    pub cluster: WriteClusterArgs,
    /// Take keys out that no recipient file supersedes, and successors in that the list does not
    /// bear out
    #[arg(long)]
    pub replace: bool,
    /// Go on when the recipients are not those of before
    #[arg(long)]
    pub accept_recipients: bool,
    /// Namespace of the controller
    #[arg(long, value_name = "NAME", default_value = sealkit_core::api::CONTROLLER_NAMESPACE)]
    pub system_namespace: String,
}

/// Flags of `seal keys retire`.
#[derive(Args, Debug)]
pub(crate) struct RetireArgs {
    /// Name of the SealingKey, or the beginning of its fingerprint
    #[arg(value_name = "KEY")]
    pub key: String,
    /// Which cluster.
    #[command(flatten)]
    pub cluster: WriteClusterArgs,
}

/// Flags of `seal keys revoke`.
#[derive(Args, Debug)]
pub(crate) struct RevokeArgs {
    /// Name of the SealingKey, or the beginning of its fingerprint
    #[arg(value_name = "KEY")]
    pub key: String,
    /// Files and folders of the repository [default: the working directory]
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Which cluster.
    #[command(flatten)]
    pub cluster: WriteClusterArgs,
}

/// Flags of `seal keys usage`.
#[derive(Args, Debug)]
pub(crate) struct UsageArgs {
    /// Which cluster.
    #[command(flatten)]
    pub cluster: ClusterArgs,
    /// Files and folders of the repository [default: the working directory]
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
}

/// Flags of `seal keys exposure`.
#[derive(Args, Debug)]
pub(crate) struct ExposureArgs {
    /// Fingerprint of the key, or its first 16 characters
    #[arg(value_name = "FINGERPRINT")]
    pub fingerprint: Option<String>,
    /// All classic keys: what a quantum computer will read
    #[arg(long)]
    pub classic: bool,
}

/// Flags of `seal keys backup`.
#[derive(Args, Debug)]
pub(crate) struct BackupArgs {
    /// Which cluster.
    #[command(flatten)]
    pub cluster: WriteClusterArgs,
    /// File for the backup; never overwritten [default: stdout]
    #[arg(short, long, value_name = "FILE")]
    pub write: Option<PathBuf>,
    /// File of public keys to encrypt it to [default: the recovery keys of .sealkit.yaml]
    #[arg(short = 'R', long = "recipients-file", value_name = "FILE")]
    pub recipients_files: Vec<PathBuf>,
    /// Go on when the recovery keys are not those of before
    #[arg(long)]
    pub accept_recipients: bool,
    /// Namespace of the controller
    #[arg(long, value_name = "NAME", default_value = sealkit_core::api::CONTROLLER_NAMESPACE)]
    pub system_namespace: String,
}

/// Flags of `seal keys restore`.
#[derive(Args, Debug)]
pub(crate) struct RestoreArgs {
    /// The backup
    #[arg(value_name = "FILE")]
    pub path: PathBuf,
    /// Which cluster.
    #[command(flatten)]
    pub cluster: WriteClusterArgs,
    /// Open the backup and say what is in it, change nothing
    #[arg(long)]
    pub check: bool,
    /// Restore although the backup is of another cluster and this one has keys
    #[arg(long)]
    pub other_cluster: bool,
    /// Namespace of the controller
    #[arg(long, value_name = "NAME", default_value = sealkit_core::api::CONTROLLER_NAMESPACE)]
    pub system_namespace: String,
}

/// Flags of `seal keys fetch`.
#[derive(Args, Debug)]
pub(crate) struct FetchArgs {
    /// Which cluster.
    #[command(flatten)]
    pub cluster: ClusterArgs,
    /// Recipient file to write or to replace
    #[arg(short, long, value_name = "FILE")]
    pub write: Option<PathBuf>,
}
