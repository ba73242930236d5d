//! `seal keys fetch`: the public key of a cluster as a recipient file.

use std::path::{Path, PathBuf};

use clap::Args;
use sealkit_core::keys::{SUPERSEDES, parse_recipient_file};

use crate::args::ClusterArgs;
use crate::cluster::{Cluster, NewestKey, connect, fingerprint_of};
use crate::error::Result;
use crate::files::{self, SMALL_FILE};
use crate::recipients::recipient_file::{recipient_file, write_recipient_file};
use crate::terminal::{Session, print};

/// Flags of `seal keys fetch`.
#[derive(Args, Debug)]
pub(crate) struct FetchArgs {
    /// Which cluster.
    #[command(flatten)]
    pub cluster: ClusterArgs,
    /// Recipient file to write or replace [default: stdout]
    #[arg(short, long, value_name = "FILE")]
    pub write: Option<PathBuf>,
}

/// Prints the file, or writes it over another recipient file at most.
pub(super) fn run(args: &FetchArgs, session: Session<'_>) -> Result<()> {
    let Session { global, terminal } = session;
    let cluster = connect(&args.cluster, global)?;
    let key = cluster.newest_key(terminal)?;
    let text = recipient_file(&cluster, &key);
    let Some(path) = args.write.as_ref().filter(|path| path.as_os_str() != "-") else {
        return print(text);
    };
    let text = succeeding(path, &text, &cluster, &key)?;
    write_recipient_file(path, &text)?;
    terminal.done("wrote", path);
    Ok(())
}

/// The text with what the file says of succession: whom its keys took the place of before, and the
/// old key, if it was this cluster's.
fn succeeding(path: &Path, text: &str, cluster: &Cluster, key: &NewestKey) -> Result<String> {
    let Ok(old) = files::read_text(path, SMALL_FILE) else {
        return Ok(text.to_owned());
    };
    let is_line = |line: &&str| line.starts_with(SUPERSEDES.trim_end());
    let mut lines: Vec<String> = old.lines().filter(is_line).map(str::to_owned).collect();
    let own: Vec<_> = cluster
        .sealing_keys()?
        .iter()
        .filter_map(fingerprint_of)
        .collect();
    for before in parse_recipient_file(&old).unwrap_or_default() {
        let before = before.fingerprint();
        let line = format!("{SUPERSEDES}{before}");
        if before != key.recipient.fingerprint() && own.contains(&before) && !lines.contains(&line)
        {
            lines.push(line);
        }
    }
    let recipient = key.recipient.to_string();
    let lines: String = lines.into_iter().map(|line| line + "\n").collect();
    Ok(text.replace(&recipient, &(lines + &recipient)))
}
