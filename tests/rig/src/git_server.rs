//! Git repositories served over HTTP, as Git hosts do.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::process::run;
use crate::run_dir::RunDir;
use crate::servers::accepts;
use crate::{Process, RigError, free_port, go_tools};

/// A server of Git repositories, which may be read by everybody. Dropping it kills it and removes
/// the repositories.
#[derive(Debug)]
pub struct GitServer {
    _process: Process, // dropped before its directory
    dir: RunDir,
    url: String,
}

impl GitServer {
    /// Starts a server on a free port of 127.0.0.1 and waits until it serves.
    pub fn start() -> Result<Self, RigError> {
        let program = Self::program()?;
        let dir = RunDir::scratch()?;
        let port = free_port()?;
        let address = format!("127.0.0.1:{port}");
        let mut command = Command::new(program);
        without_settings(&mut command);
        command.arg(&address).arg(dir.path());
        let mut process = Process::spawn("git-server", command, &dir.logs())?;
        process.wait_ready(READY_WITHIN, || accepts(port))?;
        Ok(Self {
            _process: process,
            dir,
            url: format!("http://{address}"),
        })
    }

    /// Path of the server, built if needed. Its arguments are an address and the folder of the
    /// repositories.
    pub fn program() -> Result<PathBuf, RigError> {
        let module_dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("git_server");
        Ok(go_tools(&module_dir, "git_server")?.join("git_server"))
    }

    /// Makes an empty repository, and a working tree that pushes to it.
    pub fn repository(&self, name: &str) -> Result<GitRepository, RigError> {
        let bare = self.dir.path().join(format!("{name}.git"));
        let tree = self.dir.path().join(name);
        let init = ["init", "--quiet", "--initial-branch", BRANCH];
        run(git().args(init).arg("--bare").arg(&bare), None)?;
        run(git().args(init).arg(&tree), None)?;
        Ok(GitRepository {
            url: format!("{}/{name}.git", self.url),
            bare,
            tree,
        })
    }
}

/// A repository of a [`GitServer`], whose only branch is `main`.
#[derive(Debug)]
pub struct GitRepository {
    url: String,
    bare: PathBuf,
    tree: PathBuf,
}

impl GitRepository {
    /// Where it is served, `http://127.0.0.1:PORT/NAME.git`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The working tree.
    pub fn tree(&self) -> &Path {
        &self.tree
    }

    /// Writes a file of the working tree.
    pub fn write(&self, path: &str, content: &str) -> Result<(), RigError> {
        let path = self.tree.join(path);
        path.parent()
            .map_or(Ok(()), fs::create_dir_all)
            .and_then(|()| fs::write(&path, content))
            .map_err(RigError::io(format!("write {}", path.display())))
    }

    /// Commits the working tree and pushes it. Returns the commit's hash.
    pub fn commit(&self, message: &str) -> Result<String, RigError> {
        self.git(&["add", "--all"])?;
        self.git(&["commit", "--quiet", "--message", message])?;
        self.push()
    }

    /// Commits what undoes the last commit, and pushes it. Returns the new commit's hash.
    pub fn revert(&self) -> Result<String, RigError> {
        self.git(&["revert", "--no-edit", "HEAD"])?;
        self.push()
    }

    fn push(&self) -> Result<String, RigError> {
        let bare = self.bare.to_string_lossy();
        self.git(&["push", "--quiet", &bare, BRANCH])?;
        let hash = self.git(&["rev-parse", "HEAD"])?;
        Ok(hash.trim().to_owned())
    }

    fn git(&self, arguments: &[&str]) -> Result<String, RigError> {
        let mut command = git();
        command.arg("-C").arg(&self.tree);
        command.args(["-c", "user.name=rig", "-c", "user.email=rig@example.com"]);
        run(command.args(arguments), None)
    }
}

const BRANCH: &str = "main";
const READY_WITHIN: Duration = Duration::from_secs(30);

fn git() -> Command {
    let mut command = Command::new("git");
    without_settings(&mut command);
    command
}

/// Nobody's hooks, signatures or templates.
fn without_settings(command: &mut Command) {
    command.env("GIT_CONFIG_GLOBAL", "/dev/null");
    command.env("GIT_CONFIG_NOSYSTEM", "1");
}
