//! The one error of the command: what happened, to what, and what to do about it.

use std::fmt;

use serde_json::{Value, json};

/// What kind of failure it is. Decides the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The command line is wrong.
    Usage,
    /// A file, a manifest or the config is wrong.
    Input,
    /// An object does not open: no matching key, or altered.
    Unopened,
    /// The cluster is unreachable, refuses or takes too long.
    Cluster,
    /// A fault of this program.
    Bug,
}

impl Kind {
    /// The exit code of the process.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Usage => 2,
            Self::Input => 3,
            Self::Unopened => 4,
            Self::Cluster => 5,
            Self::Bug => 70,
        }
    }

    /// The word in JSON.
    const fn name(self) -> &'static str {
        match self {
            Self::Usage => "usage",
            Self::Input => "input",
            Self::Unopened => "unopened",
            Self::Cluster => "cluster",
            Self::Bug => "bug",
        }
    }
}

/// A failure for people and programs. Never holds a value of a Secret.
#[derive(Clone, Debug)]
pub(crate) struct CommandError {
    kind: Kind,
    what: String,
    subject: Option<String>,
    hints: Vec<String>,
}

/// What most of this program returns.
pub(crate) type Result<T> = std::result::Result<T, CommandError>;

impl CommandError {
    fn new(kind: Kind, what: impl fmt::Display) -> Self {
        Self {
            kind,
            what: what.to_string(),
            subject: None,
            hints: Vec::new(),
        }
    }

    /// The command line is wrong.
    pub fn usage(what: impl fmt::Display) -> Self {
        Self::new(Kind::Usage, what)
    }

    /// A file, a manifest or the config is wrong.
    pub fn input(what: impl fmt::Display) -> Self {
        Self::new(Kind::Input, what)
    }

    /// An object does not open.
    pub fn unopened(what: impl fmt::Display) -> Self {
        Self::new(Kind::Unopened, what)
    }

    /// The cluster does not answer as it should.
    pub fn cluster(what: impl fmt::Display) -> Self {
        Self::new(Kind::Cluster, what)
    }

    /// What should not happen.
    pub fn bug(what: impl fmt::Display) -> Self {
        Self::new(Kind::Bug, what)
            .hint("please report this with the command you ran, without secrets")
    }

    /// Which object or file it is about, unless that is known already.
    #[must_use]
    pub fn on(mut self, subject: impl fmt::Display) -> Self {
        self.subject.get_or_insert_with(|| subject.to_string());
        self
    }

    /// What to do about it. Several are alternatives.
    #[must_use]
    pub fn hint(mut self, hint: impl fmt::Display) -> Self {
        self.hints.push(hint.to_string());
        self
    }

    /// The exit code of the process.
    pub const fn exit_code(&self) -> u8 {
        self.kind.exit_code()
    }

    /// The hints.
    pub fn hints(&self) -> &[String] {
        &self.hints
    }

    /// The same for programs.
    pub fn to_json(&self) -> Value {
        json!({"error": {
            "kind": self.kind.name(),
            "exitCode": self.exit_code(),
            "what": self.what,
            "subject": self.subject,
            "hints": self.hints,
        }})
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        self.subject
            .as_ref()
            .map_or(Ok(()), |subject| write!(f, ", {subject}"))
    }
}
