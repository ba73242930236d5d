//! `seal version`.

use serde_json::json;

use crate::args::Output;
use crate::error::Result;
use crate::report::structured;
use crate::terminal::print;

/// Prints the version, and the format that it reads and writes.
pub(super) fn run(output: Option<Output>) -> Result<()> {
    let version = env!("CARGO_PKG_VERSION");
    print(match output {
        None => format!("seal {version}\n"),
        Some(form) => structured(
            &json!({"version": version, "format": "sk1", "apiVersion": "sealkit.dev/v1beta1"}),
            form,
        )?,
    })
}
