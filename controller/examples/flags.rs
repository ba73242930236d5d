//! Prints `docs/flags.md`: every flag of the controller, from the same description as `--help`.

use clap::CommandFactory;
use sealkit_controller::settings::Settings;

fn main() {
    println!("# Flags of seal-controller\n");
    println!("<!-- Written by `make generate`. Do not edit. -->\n");
    println!("| flag | environment | default | |\n|---|---|---|---|");
    for flag in Settings::command().get_arguments() {
        let Some(name) = flag
            .get_long()
            .filter(|name| *name != "help" && *name != "version")
        else {
            continue;
        };
        let text = |value: Option<&std::ffi::OsStr>| {
            value.map_or(String::new(), |value| {
                format!("`{}`", value.to_string_lossy())
            })
        };
        let defaults = flag.get_default_values();
        let default = defaults.first().map(std::convert::AsRef::as_ref);
        let help = flag.get_help().map(ToString::to_string).unwrap_or_default();
        let (environment, default) = (text(flag.get_env()), text(default));
        println!("| `--{name}` | {environment} | {default} | {help} |");
    }
}
