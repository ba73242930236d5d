//! Flags that several verbs share: those of every verb, recipients, and which cluster is meant.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

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
