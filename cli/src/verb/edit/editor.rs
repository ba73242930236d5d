//! The editor of a person, and what keeps it from writing plaintext elsewhere.

use std::fs::File;
use std::io::{self, IsTerminal as _};
use std::path::Path;
use std::process::{Command, Stdio};

use super::folder::PrivateFolder;
use crate::error::{CommandError, Result};
use crate::signals::{Signals, interrupted};
use crate::terminal::{Terminal, safe};

/// Vim and Neovim: no viminfo or shada file, no swap file, no backup, no undo file. A second time
/// after the settings of the person, which may say otherwise. Modelines are text of the values and
/// are not obeyed: the settings of the person cannot remove a command of a group that they do not
/// know. An `.editorconfig` may lie in a folder that everybody writes to.
const VIM: &str = "-i NONE -n --cmd 'set nobackup nowritebackup nomodeline | augroup sealkit | augroup END' --cmd 'silent! autocmd sealkit BufReadPre * set nomodeline' --cmd 'silent! let g:editorconfig = v:false' -c 'silent! set nobackup nowritebackup nomodeline noswapfile updatecount=0 | silent! set noundofile | silent! set viminfo='";
/// Emacs: no auto-save, backup or lock file, no history of undo, of the kill ring or of registers.
/// No variables from the values or the folders above.
const EMACS: &str = "--eval '(setq auto-save-default nil auto-save-list-file-prefix nil make-backup-files nil backup-inhibited t create-lockfiles nil undo-tree-auto-save-history nil)' --eval '(setq enable-local-variables nil enable-dir-local-variables nil enable-local-eval nil)' --eval '(dolist (mode (quote (savehist-mode desktop-save-mode editorconfig-mode))) (when (and (boundp mode) (symbol-value mode)) (funcall mode -1)))'";
/// nano: its settings can turn backups on, and nothing turns them off again.
const NANO: &str = "--ignorercfiles";

/// An editor as the environment names it: a command for the shell.
pub(super) struct Editor {
    /// Its first word, as written.
    program: String,
    /// What stands after that.
    rest: String,
    /// The program without quotes and folder.
    name: String,
}

impl Editor {
    /// The editor of the person, as Git chooses it. Without a terminal, only one that is named can be
    /// meant to work.
    pub(super) fn of_person() -> Result<Self> {
        let variable = |name| {
            let text = std::env::var(name).ok();
            text.filter(|text| !text.trim().is_empty())
        };
        let command = variable("VISUAL").or_else(|| variable("EDITOR"));
        match command {
            Some(command) => Ok(Self::parse(&command)),
            None if File::open("/dev/tty").is_ok() => Ok(Self::parse("vi")),
            None => Err(CommandError::usage("no terminal for an editor, and none is named")
                .hint("set VISUAL or EDITOR to a program that changes the file that it is given, or use `seal set`")),
        }
    }

    fn parse(command: &str) -> Self {
        let command = command.trim();
        let quote = command
            .chars()
            .next()
            .filter(|first| "'\"".contains(*first));
        let end = match quote {
            Some(quote) => command[1..].find(quote).map(|at| at + 2),
            None => command.find(|next: char| next.is_whitespace() || next == ';'),
        };
        let (program, rest) = command.split_at(end.unwrap_or(command.len()));
        let path = program.trim_matches(['\'', '"']);
        let written = Path::new(path).file_name().unwrap_or_default();
        let written = written.to_string_lossy().into_owned();
        // These names are given to several programs.
        let name = if ["vi", "nano", "editor"].contains(&written.as_str()) {
            real_name(path).unwrap_or(written)
        } else {
            written
        };
        Self {
            program: program.to_owned(),
            rest: rest.to_owned(),
            name,
        }
    }

    /// What keeps it from writing elsewhere, where we know that.
    fn switches(&self) -> Option<&'static str> {
        let named = |name: &str| {
            let rest = self.name.strip_prefix(name);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '-']))
        };
        if ["vim", "nvim", "gvim", "mvim"].into_iter().any(named) {
            Some(VIM)
        } else if named("emacs") {
            Some(EMACS)
        } else if named("nano") {
            Some(NANO)
        } else {
            None
        }
    }

    /// Says it where an editor is not known.
    pub(super) fn tell(&self, terminal: Terminal) {
        if self.switches().is_none() {
            terminal.note(format_args!(
                "the editor {} may keep copies of the values elsewhere, such as backups and histories: `seal` knows how to prevent that in vim, nvim, emacs and nano",
                safe(&self.name)
            ));
        }
    }

    /// Runs it, as Git does: through the shell, since it may have arguments. A signal that would end
    /// us ends the editor.
    pub(super) fn edit(
        &self,
        path: &Path,
        folder: &PrivateFolder,
        signals: &mut Signals,
    ) -> Result<()> {
        let switches = self.switches().map(|switches| format!(" {switches}"));
        let switches = switches.unwrap_or_default();
        let script = format!("{}{switches}{} \"$@\"", self.program, self.rest);
        let mut child = Command::new("sh")
            // The path is an argument of its own.
            .args(["-c", &script, "seal-edit"])
            .arg(path)
            .stdin(terminal_or_nothing())
            // Temporary files go by it.
            .env("TMPDIR", folder.path())
            .spawn()
            .map_err(|_| {
                CommandError::input("the editor cannot be started")
                    .hint("set EDITOR to the editor that you want")
            })?;
        match signals.wait(&mut child) {
            Ok(Some(status)) if status.success() => Ok(()),
            Ok(Some(_)) => {
                Err(CommandError::input("the editor failed").hint("nothing was changed"))
            }
            Ok(None) | Err(_) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(interrupted())
            }
        }
    }
}

/// What the editor reads: what is piped into us may be a secret, and it is meant for us.
fn terminal_or_nothing() -> Stdio {
    if io::stdin().is_terminal() {
        return Stdio::inherit();
    }
    File::open("/dev/tty").map_or_else(|_| Stdio::null(), Stdio::from)
}

/// The name of the program that a name or path leads to.
fn real_name(program: &str) -> Option<String> {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let found = if program.contains('/') {
        Path::new(program).canonicalize().ok()
    } else {
        let mut folders = std::env::split_paths(&folders);
        folders.find_map(|folder| folder.join(program).canonicalize().ok())
    };
    let name = found?.file_name()?.to_string_lossy().into_owned();
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn editors_are_known_with_path_quotes_and_arguments() {
        let table = [
            ("vim", "vim", "", Some(VIM)),
            (" /opt/bin/nvim -p ", "/opt/bin/nvim", " -p", Some(VIM)),
            (
                "'/opt/my tools/vim.basic' -R",
                "'/opt/my tools/vim.basic'",
                " -R",
                Some(VIM),
            ),
            (
                "\"/usr/bin/emacs-nox\"",
                "\"/usr/bin/emacs-nox\"",
                "",
                Some(EMACS),
            ),
            ("emacsclient -c", "emacsclient", " -c", None),
            ("vimdiff", "vimdiff", "", None),
            ("/opt/none/nano -w", "/opt/none/nano", " -w", Some(NANO)),
            ("code --wait", "code", " --wait", None),
            ("sleep 5;:", "sleep", " 5;:", None),
            ("true;:", "true", ";:", None),
            ("'", "'", "", None),
        ];
        for (command, program, rest, switches) in table {
            let editor = Editor::parse(command);
            assert_eq!(
                (&*editor.program, &*editor.rest),
                (program, rest),
                "{command}"
            );
            assert_eq!(editor.switches(), switches, "{command}");
        }
    }
}
