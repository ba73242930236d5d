//! Flags that several verbs share: those of every verb, recipients, and which cluster is meant.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, ValueEnum};

/// Flags that every verb knows.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Global options")]
pub(crate) struct GlobalArgs {
    /// Private key file in the age format; repeatable
    #[arg(short, long, global = true, value_name = "FILE", env = "SEALKIT_IDENTITY_FILE", value_parser = clap::value_parser!(OsString))]
    identity: Vec<OsString>,
    /// Kubeconfig context to use
    #[arg(long, global = true, value_name = "NAME")]
    pub context: Option<String>,
    /// Path to the kubeconfig file
    #[arg(long, global = true, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Namespace for manifests that set none, or to limit a verb to
    #[arg(short, long, global = true, value_name = "NAME")]
    pub namespace: Option<String>,
    /// Branch whose rules in .sealkit.yaml apply [default: that of CI's variables, or of HEAD]
    #[arg(long, global = true, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub branch: Option<String>,
    /// Output format
    #[arg(short, long, global = true, value_name = "FORMAT")]
    pub output: Option<Output>,
    /// When to use colours
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub color: Color,
    /// Print only results, warnings and errors
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Also print details, such as the matching rule and the recipients
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
    /// Only on a terminal
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// Recipients to seal to.
#[derive(Args, Clone, Debug, Default, PartialEq)]
pub(crate) struct RecipientArgs {
    /// Public key to seal to; repeatable
    #[arg(short, long = "recipient", value_name = "AGE1…")]
    pub recipients: Vec<String>,
    /// File of public keys to seal to; repeatable
    #[arg(short = 'R', long = "recipients-file", value_name = "FILE")]
    pub recipients_files: Vec<PathBuf>,
    /// Cluster in .sealkit.yaml to seal to; repeatable
    #[arg(long = "cluster", value_name = "NAME", conflicts_with_all = ["recipients", "recipients_files"])]
    pub clusters: Vec<String>,
    /// Accept recipients that differ from those used before
    #[arg(long)]
    pub accept_recipients: bool,
}

/// Which cluster a verb reads.
#[derive(Args, Debug)]
pub(crate) struct ClusterArgs {
    /// Cluster in .sealkit.yaml; uses the context that this clone knows for it, or checks --context
    #[arg(long, value_name = "NAME")]
    pub cluster: Option<String>,
}

/// Which cluster a verb writes to.
#[derive(Args, Debug)]
pub(crate) struct WriteClusterArgs {
    /// Cluster in .sealkit.yaml; uses the context that this clone knows for it, or checks --context;
    /// asks before it uses one that only the config names
    #[arg(long, value_name = "NAME")]
    pub cluster: Option<String>,
}
