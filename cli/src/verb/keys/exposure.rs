//! `seal keys exposure`: what a leaked key can read, over all of Git's history.

use clap::Args;

use crate::error::Result;
use crate::exposure::{Exposed, Leaked};
use crate::identities;
use crate::report::{Verdict, structured};
use crate::terminal::{Session, print};

/// Flags of `seal keys exposure`.
#[derive(Args, Debug)]
pub(crate) struct ExposureArgs {
    /// Fingerprint of the key or at least 4 characters of it, or a name of .sealkit.yaml such as
    /// `recovery`
    #[arg(value_name = "KEY")]
    pub key: Option<String>,
    /// List the values of all classic keys, which a quantum computer could read
    #[arg(long)]
    pub classic: bool,
}

/// Lists what the key can read. What may be in use is a finding.
pub(super) fn run(args: &ExposureArgs, session: Session<'_>) -> Result<Verdict> {
    let Session { global, terminal } = session;
    let leaked = Leaked::meant(args.key.as_deref(), args.classic, session)?;
    let ring = identities::ring(session)?;
    let exposed = Exposed::scan(&leaked, &ring, terminal)?;
    if let Some(word) = &args.key {
        exposed.check_known(word, &leaked, terminal)?;
    }
    if let Some(form) = global.output {
        print(structured(&exposed.json(), form)?)?;
    } else {
        exposed.show(terminal)?;
    }
    Ok(Verdict::clean_if(exposed.in_use() == 0))
}
