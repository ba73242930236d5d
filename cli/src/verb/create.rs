//! `seal create`: a Secret that has never been in plain text anywhere.

use std::path::PathBuf;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use clap::Args;
use sealkit_core::sealed::{Pattern, Scope};
use serde_json::{Map, json};

use super::SealArgs;
use crate::args::RecipientArgs;
use crate::error::{CommandError, Result};
use crate::sealing::destination::Destination;
use crate::sealing::stream::Input;
use crate::sealing::target::scopes;
use crate::sealing::values::{sources, values};
use crate::terminal::{Session, quoted, shown};

/// Flags of `seal create`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  # prompt for the value
  seal create db -n shop --key password -w clusters/production/

  # values from files, and a type
  seal create web-tls -n shop --type kubernetes.io/tls \\
    --key tls.crt=@web.crt --key tls.key=@web.key -w clusters/production/

  # a random value that nobody has to see
  seal create db -n shop --key password --generate -w db.sealed.yaml")]
pub(super) struct CreateArgs {
    /// Name of the Secret
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Key of the Secret: KEY prompts for the value or reads it from stdin, KEY=@FILE reads it from
    /// FILE; repeatable
    #[arg(long = "key", value_name = "KEY[=@FILE]", required = true)]
    pub keys: Vec<String>,
    /// Give the keys random values: see `seal set --help`
    #[arg(long, value_name = "[ALPHABET:]LENGTH", num_args = 0..=1, require_equals = true, default_missing_value = "alnum:32")]
    pub generate: Option<Pattern>,
    /// Type of the Secret
    #[arg(long = "type", value_name = "TYPE")]
    pub secret_type: Option<String>,
    /// File to write; DIR/ gets <name>.sealed.yaml [default: stdout]
    #[arg(short, long, value_name = "FILE|DIR/")]
    pub write: Option<PathBuf>,
    /// What the values are bound to
    #[arg(long, value_parser = scopes())]
    pub scope: Option<Scope>,
    /// Recipients.
    #[command(flatten)]
    pub to: RecipientArgs,
    /// Let the templates of the object read these values in the cluster
    #[arg(long)]
    pub render: bool,
}

/// The Secret that is to be sealed, and how. It is in memory only.
pub(super) fn made(args: &CreateArgs, session: Session<'_>) -> Result<(Input, SealArgs)> {
    // Checked first: nobody should type a value for nothing.
    let destination = Destination::new(args.write.as_deref(), false)?;
    if let Some(path) = destination.path(&args.name, session.global.output)
        && path.symlink_metadata().is_ok()
    {
        let shown_path = shown(&path);
        return Err(CommandError::input(format_args!(
            "{shown_path} exists and is never overwritten"
        ))
        .hint(format_args!(
            "to set a value of its SealedSecret: `seal set {} KEY`",
            quoted(&shown_path)
        ))
        .hint("or write to another file"));
    }
    let sources = sources(&args.keys)?;
    let values = values(&sources, args.generate, session.terminal)?;
    let encoded = |(key, value): (&String, &zeroize::Zeroizing<Vec<u8>>)| {
        (key.clone(), BASE64_STANDARD.encode(&**value).into())
    };
    let data: Map<_, _> = values.iter().map(encoded).collect();
    let mut secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": args.name}, "data": data,
    });
    if let Some(name) = &args.secret_type {
        secret["type"] = name.as_str().into();
    }
    let how = SealArgs {
        write: args.write.clone(),
        scope: args.scope,
        to: args.to.clone(),
        render: args.render,
        ..SealArgs::default()
    };
    Ok((Input::of(secret), how))
}
