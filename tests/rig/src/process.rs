//! Child processes that never outlive the process that started them.

use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Sender, SyncSender, channel, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::RigError;

/// A running server with a log file. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    kept: bool,
}

impl Process {
    /// Starts `command` with no input and both outputs appended to `log_dir`/`name`.log.
    ///
    /// Program, arguments, working directory and added or removed variables of `command` count;
    /// its redirections and `env_clear` do not.
    pub fn spawn(name: &str, command: Command, log_dir: &Path) -> Result<Self, RigError> {
        let command = if has_setpriv() {
            let mut setpriv = Command::new("setpriv");
            setpriv.args(["--pdeathsig", "KILL", "--"]);
            // To be killed by the kernel when the thread that spawns it ends.
            prefixed(setpriv, &command)
        } else {
            command
        };
        Self::spawn_logged(name, command, log_dir)
    }

    /// Like [`Process::spawn`], for a process that may be [kept](Process::keep) beyond this one.
    pub(crate) fn spawn_keepable(
        name: &str,
        mut command: Command,
        log_dir: &Path,
    ) -> Result<Self, RigError> {
        // Not in the terminal's foreground group, so that Ctrl-C there does not reach it.
        command.process_group(0);
        Self::spawn_logged(name, command, log_dir)
    }

    fn spawn_logged(name: &str, mut command: Command, log_dir: &Path) -> Result<Self, RigError> {
        let log = log_dir.join(format!("{name}.log"));
        let open = || {
            fs::create_dir_all(log_dir)?;
            let file = File::options().create(true).append(true).open(&log)?;
            Ok((file.try_clone()?, file))
        };
        let (stdout, stderr) = open().map_err(RigError::io(format!("write {}", log.display())))?;
        command.stdin(Stdio::null()).stdout(stdout).stderr(stderr);
        let program = command.get_program().to_string_lossy().into_owned();
        let child = spawn_from_lasting_thread(command)
            .map_err(|source| RigError::Spawn { program, source })?;
        Ok(Self {
            name: name.to_owned(),
            child,
            log,
            kept: false,
        })
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The file that collects stdout and stderr.
    pub fn log_path(&self) -> &Path {
        &self.log
    }

    /// Whether the process has not ended.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for the process to end.
    pub fn wait(&mut self) -> Result<ExitStatus, RigError> {
        self.child
            .wait()
            .map_err(RigError::io(format!("wait for {}", self.name)))
    }

    /// Kills the process (SIGKILL) and waits until it is gone. Does nothing if it ended before.
    pub fn kill(&mut self) -> Result<(), RigError> {
        self.child
            .kill()
            .map_err(RigError::io(format!("kill {}", self.name)))?;
        self.wait().map(drop)
    }

    /// Sends a signal by name, such as `TERM`, `STOP` or `CONT`.
    pub fn signal(&mut self, signal: &str) -> Result<(), RigError> {
        if !self.is_running() {
            // Its id may belong to another process by now.
            return Err(RigError::Setup(format!("{} has ended", self.name)));
        }
        send_signal(self.id(), signal)
    }

    /// Calls `probe` until it says true; an error when the process ends or `within` has passed.
    pub fn wait_ready(
        &mut self,
        within: Duration,
        mut probe: impl FnMut() -> bool,
    ) -> Result<(), RigError> {
        let deadline = Instant::now() + within;
        loop {
            let ended = self
                .child
                .try_wait()
                .map_err(RigError::io(format!("wait for {}", self.name)))?;
            if let Some(status) = ended {
                return Err(RigError::Exited {
                    name: self.name.clone(),
                    status,
                    log: self.log.clone(),
                    tail: log_tail(&self.log),
                });
            }
            if probe() {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(RigError::NotReady {
                    name: self.name.clone(),
                    seconds: within.as_secs(),
                    log: self.log.clone(),
                    tail: log_tail(&self.log),
                });
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// From now on dropping it leaves it running.
    pub(crate) fn keep(&mut self) {
        self.kept = true;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.kept {
            // It may have ended on its own; nothing else can be done here.
            let _ = self.kill();
        }
    }
}

/// Sends a signal through the `kill` program: no unsafe code, no dependency.
pub(crate) fn send_signal(id: u32, signal: &str) -> Result<(), RigError> {
    let mut command = Command::new("kill");
    command.args(["-s", signal, &id.to_string()]);
    run(&mut command, None).map(drop)
}

/// Runs a command to its end and returns its stdout.
pub(crate) fn run(command: &mut Command, input: Option<&str>) -> Result<String, RigError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let failed = |source| RigError::Spawn {
        program: program.clone(),
        source,
    };
    let stdin = match input {
        // A file and not a pipe: nothing to feed while the outputs are read.
        Some(input) => Stdio::from(input_file(input).map_err(RigError::io("write the input"))?),
        None => Stdio::null(),
    };
    let output = command.stdin(stdin).output().map_err(failed)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let arguments: Vec<_> = command.get_args().map(|a| a.to_string_lossy()).collect();
    Err(RigError::Command {
        command: format!("{program} {}", arguments.join(" ")),
        status: output.status,
        stderr: String::from_utf8_lossy(&output.stderr)
            .trim_end()
            .to_owned(),
    })
}

fn input_file(input: &str) -> io::Result<File> {
    use std::io::{Seek, Write};
    let mut file = tempfile::tempfile()?;
    file.write_all(input.as_bytes())?;
    file.rewind()?;
    Ok(file)
}

/// `command`, run by a program that prepares for it and then becomes it.
pub(crate) fn prefixed(mut prefix: Command, command: &Command) -> Command {
    prefix.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => prefix.env(name, value),
            None => prefix.env_remove(name),
        };
    }
    if let Some(dir) = command.get_current_dir() {
        prefix.current_dir(dir);
    }
    prefix
}

/// Tried and not looked up, since `BusyBox` has a `setpriv` without the option.
pub(crate) fn has_setpriv() -> bool {
    static FOUND: OnceLock<bool> = OnceLock::new();
    *FOUND.get_or_init(|| {
        let mut command = Command::new("setpriv");
        run(command.args(["--pdeathsig", "KILL", "--", "true"]), None).is_ok()
    })
}

type Job = (Command, SyncSender<io::Result<Child>>);

/// The parent-death signal follows the spawning thread, and test threads end before their process
/// does: one thread, which lasts as long as the process, spawns all children.
fn spawn_from_lasting_thread(command: Command) -> io::Result<Child> {
    static SPAWNER: OnceLock<Sender<Job>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, jobs) = channel::<Job>();
        thread::spawn(move || {
            for (mut command, answer) in jobs {
                // The asker waits for the answer and cannot be gone.
                let _ = answer.send(command.spawn());
            }
        });
        sender
    });
    let (answer, child) = sync_channel(1);
    let gone = || io::Error::other("the spawning thread has ended");
    spawner.send((command, answer)).map_err(|_| gone())?;
    child.recv().map_err(|_| gone())?
}

fn log_tail(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(10)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ended_process_is_reported_with_its_log() {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo the reason; exit 3"]);
        let mut process = Process::spawn("short", command, dir.path()).unwrap();
        let error = process
            .wait_ready(Duration::from_secs(20), || false)
            .unwrap_err();
        assert!(error.to_string().contains("the reason"), "{error}");
        assert!(matches!(error, RigError::Exited { status, .. } if status.code() == Some(3)));
        assert!(process.signal("TERM").is_err());
    }

    #[test]
    fn signal_reaches_the_process() {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new("sleep");
        command.arg("600");
        let mut process = Process::spawn("sleep", command, dir.path()).unwrap();
        process.signal("TERM").unwrap();
        assert!(!process.wait().unwrap().success());
        assert!(!process.is_running());
    }

    #[test]
    fn input_reaches_the_command() {
        assert_eq!(
            run(&mut Command::new("cat"), Some("words")).unwrap(),
            "words"
        );
    }
}
