//! A folder to work in, the binary, and what it answered.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// A Secret with one value.
pub const SECRET: &str = "apiVersion: v1\nkind: Secret\nmetadata: {name: db, namespace: shop}\n\
    stringData: {password: hunter2}\n";

/// A folder with a key pair in `key` and `key.pub`, cut off from the machine's own settings.
pub struct Desk {
    root: TempDir,
    environment: Vec<(String, String)>,
}

/// What a person does at a terminal.
#[derive(Clone, Copy)]
pub enum Step<'a> {
    /// Waits until the terminal shows this.
    See(&'a str),
    /// Waits until the terminal hides what is typed.
    Hidden,
    /// Types this.
    Type(&'a str),
    /// Sends this signal to `seal`.
    Signal(&'a str),
}

/// What a run answered.
#[derive(Debug)]
pub struct Answer {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
    pub raw: Vec<u8>,
}

impl Desk {
    /// A folder that is no repository.
    pub fn new() -> Self {
        let root = TempDir::new().unwrap();
        for folder in ["work", "home", "tmp"] {
            std::fs::create_dir(root.path().join(folder)).unwrap();
        }
        let desk = Self {
            root,
            environment: Vec::new(),
        };
        let public = desk
            .seal(&["keys", "generate", "--classic", "-w", "key"])
            .done()
            .stdout;
        desk.write("key.pub", &public);
        desk
    }

    /// A folder that is a Git repository with these clusters, each with a key of its own in
    /// `../home/<name>`; the config is the given text.
    pub fn repository(clusters: &[&str], config: &str) -> Self {
        let desk = Self::new();
        desk.git_init();
        for name in clusters {
            let private = format!("../home/{name}");
            let key = desk
                .seal(&["keys", "generate", "--classic", "-w", &private])
                .done()
                .stdout;
            desk.write(&format!(".sealkit/{name}.pub"), &key);
        }
        desk.write(".sealkit.yaml", config);
        desk
    }

    pub fn git_init(&self) {
        let mut git = Command::new("git");
        git.args(["init", "-q"])
            .current_dir(self.work())
            .env("HOME", self.path("../home"));
        assert!(git.status().unwrap().success());
        // As anybody would who keeps a private key there.
        self.write(".git/info/exclude", "/key\n");
    }

    /// Runs Git in the work folder, with this `seal` on its path.
    pub fn try_git(&self, arguments: &[&str]) -> std::process::Output {
        let bin = Path::new(env!("CARGO_BIN_EXE_seal")).parent().unwrap();
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
        Command::new("git")
            .args(["-c", "user.name=t", "-c", "user.email=t@example.com"])
            .args(arguments)
            .current_dir(self.work())
            .env("PATH", path)
            .env("HOME", self.root.path().join("home"))
            .env("GIT_EDITOR", "true")
            .output()
            .unwrap()
    }

    /// The same, and requires success.
    pub fn git(&self, arguments: &[&str]) -> String {
        let output = self.try_git(arguments);
        assert!(output.status.success(), "git {arguments:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Commits everything.
    pub fn commit(&self, message: &str) {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "-m", message]);
    }

    /// From now on, every run sees this variable.
    pub fn set(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// The folder that commands run in.
    pub fn work(&self) -> PathBuf {
        self.root.path().join("work")
    }

    /// Everything: work, home and tmp.
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.work().join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    pub fn exists(&self, name: &str) -> bool {
        self.path(name).exists()
    }

    /// Runs `seal` with nothing on stdin.
    pub fn seal(&self, arguments: &[&str]) -> Answer {
        self.pipe(arguments, "")
    }

    /// Runs `seal` with this on stdin.
    pub fn pipe(&self, arguments: &[&str], stdin: impl AsRef<[u8]>) -> Answer {
        self.run_in(&self.work(), arguments, stdin)
    }

    /// The same from another folder.
    pub fn run_in(&self, folder: &Path, arguments: &[&str], stdin: impl AsRef<[u8]>) -> Answer {
        let mut command = Command::new(env!("CARGO_BIN_EXE_seal"));
        command
            .args(arguments)
            .current_dir(folder)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.root.path().join("home"))
            .env("TMPDIR", self.root.path().join("tmp"))
            .env("KUBECONFIG", self.root.path().join("no-kubeconfig"))
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // A command that refuses before it reads closes the pipe.
        let _ = child.stdin.take().unwrap().write_all(stdin.as_ref());
        let output = child.wait_with_output().unwrap();
        Answer {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            raw: output.stdout,
        }
    }

    /// Runs `seal` on a terminal of its own, where a person sees and types. What it shows is in
    /// `stdout`. The terminal must show afterwards what is typed.
    pub fn on_terminal(&self, arguments: &[&str], steps: &[Step<'_>]) -> Answer {
        let steps: Vec<_> = steps
            .iter()
            .map(|step| match step {
                Step::See(text) => ("see", *text),
                Step::Hidden => ("hidden", ""),
                Step::Type(text) => ("type", *text),
                Step::Signal(name) => ("signal", *name),
            })
            .collect();
        let seal = [&[env!("CARGO_BIN_EXE_seal")], arguments].concat();
        let told = serde_json::json!({"command": seal, "steps": steps}).to_string();
        let output = Command::new("python3")
            .args(["-c", include_str!("terminal.py"), &told])
            .current_dir(self.work())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.root.path().join("home"))
            .env("TMPDIR", self.root.path().join("tmp"))
            .env("KUBECONFIG", self.root.path().join("no-kubeconfig"))
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let seen: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(seen["echo"], true, "{seen}");
        Answer {
            code: i32::try_from(seen["code"].as_i64().unwrap()).unwrap(),
            stdout: seen["shown"].as_str().unwrap().to_owned(),
            stderr: String::new(),
            raw: Vec::new(),
        }
    }

    /// Seals `SECRET` to `key.pub`.
    pub fn sealed(&self) -> String {
        self.pipe(&["-R", "key.pub"], SECRET).done().stdout
    }

    /// The values of a sealed file, opened with a key of the folder.
    pub fn values(&self, key: &str, file: &str) -> Value {
        let text = self
            .seal(&["open", "-i", key, file, "--decode", "-o", "json"])
            .done()
            .stdout;
        serde_json::from_str::<Value>(&text).unwrap()["stringData"].clone()
    }

    /// How many recipients each envelope of a file shows.
    pub fn hints(&self, file: &str) -> Vec<Vec<String>> {
        objects(&self.read(file))
            .iter()
            .flat_map(|object| object["spec"]["envelopes"].as_object().unwrap().clone())
            .map(|(_, envelope)| serde_json::from_value(envelope["recipients"].clone()).unwrap())
            .collect()
    }

    /// The fingerprint that a recipient file's key has, as envelopes show it.
    pub fn fingerprint(&self, file: &str) -> String {
        let keys = sealkit_core::keys::parse_recipient_file(&self.read(file)).unwrap();
        keys[0].fingerprint().to_string()
    }

    /// Runs and requires that it fails with this code and text, and that every file of the work
    /// folder is as before.
    pub fn refused(
        &self,
        arguments: &[&str],
        stdin: impl AsRef<[u8]>,
        code: i32,
        text: &str,
    ) -> Answer {
        let before = snapshot(&self.work());
        let answer = self.pipe(arguments, stdin);
        assert_eq!(answer.code, code, "{arguments:?}: {answer:?}");
        assert!(
            answer.stderr.contains(text),
            "{arguments:?}: {text:?} is not in {}",
            answer.stderr
        );
        assert!(answer.stdout.is_empty(), "{arguments:?}: {answer:?}");
        assert!(
            before == snapshot(&self.work()),
            "{arguments:?}: a file changed"
        );
        answer
    }
}

impl Answer {
    /// Requires success.
    pub fn done(self) -> Self {
        assert_eq!(self.code, 0, "{}", self.stderr);
        self
    }
}

/// All files below a folder with their bytes, `.git` of Git itself left out.
pub fn snapshot(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            files.extend(snapshot(&entry.path()));
        } else if kind.is_file() {
            files.push((entry.path(), std::fs::read(entry.path()).unwrap()));
        }
    }
    files.sort();
    files
}

/// The objects of a YAML or JSON text.
pub fn objects(text: &str) -> Vec<Value> {
    let documents = sealkit_core::manifest::read_documents(text.as_bytes());
    documents
        .unwrap()
        .into_iter()
        .map(|document| document.object)
        .collect()
}

/// A Secret of this name with these values.
pub fn secret(name: &str, values: &[(&str, &str)]) -> String {
    let values: serde_json::Map<String, Value> = values
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).into()))
        .collect();
    let metadata = serde_json::json!({"name": name, "namespace": "shop"});
    serde_json::json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": values})
        .to_string()
}
