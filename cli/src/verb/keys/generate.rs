//! `seal keys generate`: a key pair for a person, or for recovery.

use std::path::PathBuf;

use clap::Args;
use sealkit_core::keys::{Identity, KeyType};

use crate::error::Result;
use crate::identities::{key_file, write_key_file};
use crate::terminal::{Terminal, print};

/// Flags of `seal keys generate`.
#[derive(Args, Debug)]
pub(crate) struct GenerateArgs {
    /// Use X25519 instead of the post-quantum hybrid
    #[arg(long)]
    pub classic: bool,
    /// File for the private key, which must not exist yet [default: stdout]
    #[arg(short, long, value_name = "FILE")]
    pub write: Option<PathBuf>,
}

/// Makes a key pair, and writes the private key where only its owner can read it.
pub(super) fn run(args: &GenerateArgs, terminal: Terminal) -> Result<()> {
    let key_type = if args.classic {
        KeyType::Classic
    } else {
        KeyType::Hybrid
    };
    let identity = Identity::generate(key_type);
    let text = key_file(&identity);
    let Some(path) = args.write.as_ref().filter(|path| path.as_os_str() != "-") else {
        print(text.as_bytes())?;
        terminal.note(format_args!("public key: {}", identity.recipient()));
        return Ok(());
    };
    write_key_file(path, text.as_bytes())?;
    terminal.done("wrote", path);
    print(format!("{}\n", identity.recipient()))
}
