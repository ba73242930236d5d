//! What the person at the other end sees: results on stdout, everything else on stderr.

use std::fmt;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;

use anstyle::{AnsiColor, Style};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use crate::args::{Color, GlobalArgs, Output};
use crate::error::{CommandError, Result};
use crate::signals;

const ERROR: Style = AnsiColor::Red.on_default().bold();
const WARNING: Style = AnsiColor::Yellow.on_default().bold();
const NOTE: Style = AnsiColor::Cyan.on_default();

/// One run of the command: the flags that every verb knows, and whom it talks to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Session<'a> {
    /// The flags.
    pub global: &'a GlobalArgs,
    /// The person, or the program, at the other end.
    pub terminal: Terminal,
}

/// How much is said, and in which form.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terminal {
    volume: Volume,
    json: bool,
    attended: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Volume {
    Quiet,
    Normal,
    Verbose,
}

impl Terminal {
    /// As the flags say. Sets the use of colours for the whole process.
    pub fn new(global: &GlobalArgs) -> Self {
        match global.color {
            Color::Auto => anstream::ColorChoice::Auto,
            Color::Always => anstream::ColorChoice::Always,
            Color::Never => anstream::ColorChoice::Never,
        }
        .write_global();
        let json = global.output == Some(Output::Json);
        Self {
            volume: match (global.quiet, global.verbose) {
                (true, _) => Volume::Quiet,
                (_, true) => Volume::Verbose,
                _ => Volume::Normal,
            },
            ..Self::plain(json)
        }
    }

    /// Before flags are known.
    pub fn plain(json: bool) -> Self {
        Self {
            volume: Volume::Normal,
            json,
            attended: io::stderr().is_terminal(),
        }
    }

    /// Is a person reading stderr?
    pub const fn is_attended(self) -> bool {
        self.attended
    }

    /// Can a person be asked? Not where stdin is a file or a pipe.
    pub fn can_ask(self) -> bool {
        self.attended && io::stdin().is_terminal()
    }

    /// Asks yes or no. Where no person can be asked, that is an error.
    pub fn confirm(self, what: &str) -> Result<bool> {
        if !self.can_ask() {
            return Err(CommandError::usage(format_args!(
                "you must name the cluster to {what}: only .sealkit.yaml names this context, and nobody can be asked"
            ))
            .hint("name the context yourself: --context NAME"));
        }
        ask_yes(&format!("this will {what}. Continue?"))
    }

    /// One line per file changed; silenced by `-q`.
    pub fn done(self, what: &str, path: &Path) {
        let path = shown(path);
        match self.volume {
            Volume::Quiet => {}
            _ if self.json => line(json!({what: path})),
            _ => line(format_args!("{what} {path}")),
        }
    }

    /// Something worth knowing; silenced by `-q`.
    pub fn note(self, text: impl fmt::Display) {
        if self.volume > Volume::Quiet {
            self.say("note", NOTE, text);
        }
    }

    /// Something to act on; never silenced.
    pub fn warning(self, text: impl fmt::Display) {
        self.say("warning", WARNING, text);
    }

    /// How a decision came about; only with `-v`. Never holds anything secret.
    pub fn detail(self, text: impl fmt::Display) {
        if self.volume == Volume::Verbose {
            self.say("detail", NOTE, text);
        }
    }

    /// A bar for so many pieces of work; hidden where no person reads it.
    pub fn progress(self, pieces: usize) -> ProgressBar {
        if !self.attended || self.json || self.volume == Volume::Quiet {
            return ProgressBar::hidden();
        }
        let bar = ProgressBar::new(u64::try_from(pieces).unwrap_or(u64::MAX));
        let style = ProgressStyle::with_template("{wide_bar} {pos}/{len}  {eta} left");
        style.map_or(bar.clone(), |style| bar.with_style(style))
    }

    /// The failure that ends the run.
    pub fn error(self, error: &CommandError) {
        if self.json {
            return line(error.to_json());
        }
        self.say("error", ERROR, error);
        for hint in error.hints() {
            self.say("hint", NOTE, hint);
        }
    }

    fn say(self, kind: &str, style: Style, text: impl fmt::Display) {
        if self.json {
            line(json!({kind: text.to_string()}));
        } else {
            line(format_args!("seal: {style}{kind}{style:#}: {text}"));
        }
    }
}

/// Asks the person at the terminal; the answer is no unless it is yes.
pub(crate) fn ask_yes(question: &str) -> Result<bool> {
    let question = format!("{question} [y/N] ");
    let read = move || {
        let _ = write!(anstream::stderr(), "{question}");
        let mut answer = String::new();
        io::stdin().read_line(&mut answer).map(|_| answer)
    };
    let answer = signals::answer(read)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// One line on stderr. A failure to write it cannot be reported anywhere.
fn line(text: impl fmt::Display) {
    let _ = writeln!(anstream::stderr(), "{text}");
}

/// Writes a result. A reader that went away is no error.
pub(crate) fn print(bytes: impl AsRef<[u8]>) -> Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout
        .write_all(bytes.as_ref())
        .and_then(|()| stdout.flush())
    {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(CommandError::input("the output cannot be written").on("stdout"))
        }
        _ => Ok(()),
    }
}

/// A path, made safe for a terminal.
pub(crate) fn shown(path: &Path) -> String {
    safe(&path.to_string_lossy())
}

/// Text as a word of a command that a person may paste into a shell.
pub(crate) fn quoted(text: &str) -> String {
    let text = safe(text);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._/-@:=+,".contains(&byte);
    if !text.is_empty() && text.bytes().all(plain) && !text.starts_with('-') {
        text
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

/// Text of any length, made safe for a terminal: control and invisible characters are escaped.
pub(crate) fn safe(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_alphanumeric() || character.is_ascii_graphic() || character == ' ' {
            out.push(character);
        } else {
            out.extend(character.escape_default());
        }
    }
    out
}

/// From now on a panic ends the process as a bug, and tells its place alone: its text may quote the
/// data that caused it.
pub(crate) fn quiet_panics() {
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let error = CommandError::bug("internal error").on(place);
        Terminal::plain(false).error(&error);
        std::process::exit(error.exit_code().into());
    }));
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    const CANARY: &str = "cAnArY-9q2mX5";
    const CHILD: &str = "SEALKIT_TEST_PANICS";

    /// In a process of its own, which it ends.
    #[test]
    fn panics_end_in_70_and_quote_nothing() {
        if std::env::var_os(CHILD).is_some() {
            quiet_panics();
            let value = CANARY.to_owned();
            let _ = std::thread::spawn(move || panic!("no number: {value}")).join();
            std::process::exit(1);
        }
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "--nocapture"]);
        child.arg("terminal::tests::panics_end_in_70_and_quote_nothing");
        let output = child
            .env(CHILD, "1")
            .env("RUST_BACKTRACE", "1")
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert_eq!(output.status.code(), Some(70), "{said}");
        assert!(
            said.contains("seal: error: internal error, cli/src/terminal.rs:"),
            "{said}"
        );
        assert!(!said.contains(CANARY), "{said}");
    }

    #[test]
    fn paths_keep_letters_and_lose_escapes() {
        assert_eq!(
            shown(Path::new("a b/naïve-\u{1b}[31m\u{202e}.yaml")),
            "a b/naïve-\\u{1b}[31m\\u{202e}.yaml"
        );
    }
}
