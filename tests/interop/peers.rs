//! Programs of other implementations, run to their end.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use sealkit_rig::{go_tools, node_script, python_venv};

/// A file or folder of the repository.
pub fn tree(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// A tool of the Go module `go/<module>`.
pub fn go(module: &str, tool: &str) -> Command {
    let source = tree("tests/interop/go").join(module);
    let folder = go_tools(&source, &format!("interop-{module}")).unwrap();
    Command::new(folder.join(tool))
}

/// Python with what the independent reader needs, in the reader's folder.
pub fn python() -> Command {
    let folder = tree("tests/second_reader");
    let mut python = Command::new(python_venv(&folder.join("requirements.txt")).unwrap());
    python
        .current_dir(folder)
        .env("PYTHONDONTWRITEBYTECODE", "1");
    python
}

/// typage: answers the lines of stdin.
pub fn typage() -> Command {
    node_script(&tree("tests/interop/node"), "age.mjs").unwrap()
}

/// What a command that must succeed writes to stdout.
pub fn run(command: &mut Command, stdin: &[u8]) -> Vec<u8> {
    let output = outcome(command, stdin);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{command:?}: {}\n{stderr}",
        output.status
    );
    output.stdout
}

/// As [`run`], for commands that write text.
pub fn text(command: &mut Command, stdin: &[u8]) -> String {
    String::from_utf8(run(command, stdin)).unwrap()
}

/// How a command ends, and what it writes.
pub fn outcome(command: &mut Command, stdin: &[u8]) -> Output {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let mut input = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        // A peer that fails early closes its stdin: its exit status tells.
        scope.spawn(move || drop(input.write_all(stdin)));
        child.wait_with_output().unwrap()
    })
}
