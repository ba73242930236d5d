//! What can go wrong in the rig.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;

/// Why the rig could not do what was asked.
#[derive(thiserror::Error)]
pub enum RigError {
    /// A file operation failed.
    #[error("cannot {action}: {source}")]
    Io {
        /// What was tried, with the path.
        action: String,
        /// The system's answer.
        source: io::Error,
    },

    /// A program did not start.
    #[error("cannot start {program}: {source}; is it installed and in PATH?")]
    Spawn {
        /// The program's name.
        program: String,
        /// The system's answer.
        source: io::Error,
    },

    /// A command that runs to its end failed.
    #[error("{command} failed ({status}): {stderr}")]
    Command {
        /// The command line.
        command: String,
        /// How it ended.
        status: ExitStatus,
        /// What it wrote to stderr.
        stderr: String,
    },

    /// A server ended while it should run.
    #[error("{name} ended ({status}), log {}, its end:\n{tail}", log.display())]
    Exited {
        /// The process's name.
        name: String,
        /// How it ended.
        status: ExitStatus,
        /// Its log file.
        log: PathBuf,
        /// The last lines of the log.
        tail: String,
    },

    /// A server runs and did not become ready in time.
    #[error("{name} was not ready after {seconds} s, log {}, its end:\n{tail}", log.display())]
    NotReady {
        /// The process's name.
        name: String,
        /// How long it had.
        seconds: u64,
        /// Its log file.
        log: PathBuf,
        /// The last lines of the log.
        tail: String,
    },

    /// The directory belongs to a control plane that still runs.
    #[error("a control plane runs in {}; stop it with `sealkit-rig down`", dir.display())]
    AlreadyRunning {
        /// The directory of the control plane.
        dir: PathBuf,
    },

    /// No port below the ephemeral range was free.
    #[error("found no free port on 127.0.0.1")]
    NoFreePort,

    /// A certificate or key could not be made.
    #[error("cannot make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),

    /// Something the rig needs is missing or malformed.
    #[error("{0}")]
    Setup(String),
}

impl RigError {
    /// What a failed command wrote to stderr, if this is such a failure.
    pub fn stderr(&self) -> Option<&str> {
        match self {
            Self::Command { stderr, .. } => Some(stderr),
            _ => None,
        }
    }

    /// For `map_err`: names the operation that failed.
    pub(crate) fn io(action: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let action = action.into();
        move |source| Self::Io { action, source }
    }

    /// Someone else took the port between its choice and its use.
    pub(crate) fn is_port_conflict(&self) -> bool {
        match self {
            Self::Exited { tail, .. } => tail.contains("address already in use"),
            _ => false,
        }
    }
}

/// Tests show errors through `unwrap`: logs should be readable there, not escaped.
impl fmt::Debug for RigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
