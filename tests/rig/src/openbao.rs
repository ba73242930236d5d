//! An OpenBao server, which speaks Vault's API, and a small client for it.
//!
//! It is a complete server with a data folder and not a development server: that one loses its data
//! with its process, and takes its root token as an argument, which every user of the machine sees.

mod tls;

use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::run_dir::{RunDir, write_private};
use crate::{Process, RigError, free_port, python_venv};
pub use tls::Tls;

/// A running, unsealed OpenBao server with a KV v2 engine at `secret/`. Dropping it kills it and
/// removes its data, except when the thread panics: then the logs stay and their place is printed.
// Without `Debug`, which would show its keys.
pub struct OpenBao {
    process: Process, // dropped before its directory
    dir: RunDir,
    program: PathBuf,
    url: String,
    ports: TlsPorts,
    tls: Tls,
    root_token: String,
    unseal_key: String,
}

/// Ports that speak TLS.
struct TlsPorts {
    /// For every client.
    open: u16,
    /// For clients with a certificate.
    mutual: u16,
    /// With a certificate that has expired.
    expired: u16,
}

impl OpenBao {
    /// Starts a server of its own, on a free port of 127.0.0.1, and waits until it serves.
    pub fn start() -> Result<Self, RigError> {
        let program = Self::program()?;
        match Self::try_start(&program) {
            Err(error) if error.is_port_conflict() => Self::try_start(&program),
            other => other,
        }
    }

    /// Path of `bao`, installed if needed.
    pub fn program() -> Result<PathBuf, RigError> {
        let requirements = Path::new(env!("CARGO_MANIFEST_DIR")).join("openbao/requirements.txt");
        Ok(python_venv(&requirements)?.with_file_name("bao"))
    }

    /// The one server of this process, started by the first caller. Tests that share it keep to
    /// mounts or namespaces of their own.
    pub fn shared() -> Result<&'static Self, RigError> {
        static SHARED: Mutex<Option<&'static OpenBao>> = Mutex::new(None);
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = *shared {
            return Ok(running);
        }
        let started: &'static Self = Box::leak(Box::new(Self::start()?));
        *shared = Some(started);
        Ok(started)
    }

    /// A name of its certificate that no DNS knows: only a proxy leads there.
    pub const FAR_NAME: &'static str = tls::FAR_NAME;

    /// The server's address, `http://127.0.0.1:PORT`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The server's address with TLS, `https://localhost:PORT`. Its certificate is for that name and
    /// [`OpenBao::FAR_NAME`], not for `127.0.0.1`.
    pub fn tls_url(&self) -> String {
        format!("https://{}:{}", tls::NAME, self.ports.open)
    }

    /// The address at which it takes only clients with a certificate.
    pub fn mutual_tls_url(&self) -> String {
        format!("https://{}:{}", tls::NAME, self.ports.mutual)
    }

    /// The address at which its certificate has expired.
    pub fn expired_tls_url(&self) -> String {
        format!("https://{}:{}", tls::NAME, self.ports.expired)
    }

    /// The CA of its certificate, and a client's certificate.
    pub fn tls(&self) -> &Tls {
        &self.tls
    }

    /// The token that may do everything, drawn by this server.
    pub fn root_token(&self) -> &str {
        &self.root_token
    }

    /// A client that may do everything.
    pub fn root(&self) -> BaoClient {
        BaoClient::new(&self.url, &self.root_token)
    }

    /// The requests that were answered so far, from the audit log: in order, complete up to the last
    /// answer a client has. Health, seal and unseal are not among them, nor is anything that was
    /// asked of a sealed server.
    pub fn calls(&self) -> Result<Vec<BaoCall>, RigError> {
        let path = self.dir.path().join(AUDIT);
        let text =
            fs::read_to_string(&path).map_err(RigError::io(format!("read {}", path.display())))?;
        // The last line may still be growing.
        let complete = text.rsplit_once('\n').map_or("", |(lines, _)| lines);
        let mut calls = Vec::new();
        for line in complete.lines() {
            let entry: Value = serde_json::from_str(line)
                .map_err(|error| RigError::Setup(format!("{}: {error}", path.display())))?;
            if entry["type"] == "response" {
                calls.push(BaoCall::from_entry(&entry));
            }
        }
        Ok(calls)
    }

    /// Seals the server: from now on it answers 503.
    pub fn seal(&mut self) -> Result<(), RigError> {
        self.root().write("sys/seal", &json!({})).map(drop)
    }

    /// Unseals the server and waits until it serves.
    pub fn unseal(&mut self) -> Result<(), RigError> {
        let client = self.root();
        client.write("sys/unseal", &json!({"key": self.unseal_key}))?;
        // First it is a standby, which serves nothing.
        self.wait_for_health(|status| status == 200)
    }

    /// Kills the server (SIGKILL); its port refuses connections.
    pub fn kill(&mut self) -> Result<(), RigError> {
        self.process.kill()
    }

    /// Kills the server if it runs, and starts it again on the same port and data, unsealed.
    pub fn restart(&mut self) -> Result<(), RigError> {
        self.kill()?;
        self.process = spawn(&self.program, &self.dir)?;
        self.wait_for_health(|_| true)?;
        self.unseal()
    }

    fn try_start(program: &Path) -> Result<Self, RigError> {
        let dir = RunDir::scratch()?;
        let data = dir.path().join(DATA);
        fs::create_dir(&data).map_err(RigError::io(format!("create {}", data.display())))?;
        let url = format!("http://127.0.0.1:{}", free_port()?);
        let ports = TlsPorts {
            open: free_port()?,
            mutual: free_port()?,
            expired: free_port()?,
        };
        let (tls, files) = Tls::generate(dir.path())?;
        let mut config = config(dir.path(), &url)?;
        config += &tls_listener(ports.open, false, &files);
        config += &tls_listener(ports.mutual, true, &files);
        config += &tls_listener(ports.expired, false, &files.expired());
        write_private(&dir.path().join(CONFIG), &config)?;
        let mut server = Self {
            process: spawn(program, &dir)?,
            dir,
            program: program.to_owned(),
            url,
            ports,
            tls,
            root_token: String::new(),
            unseal_key: String::new(),
        };
        let started = server.initialise();
        if started.is_err() {
            // The error points to the log.
            server.dir.keep();
        }
        started.map(|()| server)
    }

    fn initialise(&mut self) -> Result<(), RigError> {
        self.wait_for_health(|_| true)?;
        let shares = json!({"secret_shares": 1, "secret_threshold": 1});
        let keys = self.root().write("sys/init", &shares)?;
        self.root_token = text(&keys["root_token"]).unwrap_or_default();
        self.unseal_key = text(&keys["keys_base64"][0]).unwrap_or_default();
        self.unseal()?;
        self.root().mount_kv("secret")
    }

    fn wait_for_health(&mut self, is_good: impl Fn(u16) -> bool) -> Result<(), RigError> {
        let client = self.root();
        self.process.wait_ready(READY_WITHIN, || {
            client
                .ask("GET", "sys/health", None)
                .is_ok_and(|answer| is_good(answer.status))
        })
    }
}

/// Talks to a server in the name of one token.
#[derive(Clone)]
pub struct BaoClient {
    url: String,
    token: String,
    namespace: Option<String>,
}

impl BaoClient {
    /// A client for the server, or a proxy before it, at `url` (`http://127.0.0.1:PORT`).
    pub fn new(url: &str, token: &str) -> Self {
        Self {
            url: url.to_owned(),
            token: token.to_owned(),
            namespace: None,
        }
    }

    /// The same client in a namespace, such as `team`.
    pub fn in_namespace(mut self, namespace: &str) -> Self {
        self.namespace = Some(namespace.to_owned());
        self
    }

    /// Reads what is at `path` below `/v1/`.
    pub fn read(&self, path: &str) -> Result<Value, RigError> {
        self.succeed("GET", path, None)
    }

    /// Writes to `path` below `/v1/`: also how engines, auth methods and policies are set up, and
    /// how a client logs in.
    pub fn write(&self, path: &str, content: &Value) -> Result<Value, RigError> {
        self.succeed("POST", path, Some(content))
    }

    /// Deletes what is at `path` below `/v1/`.
    pub fn delete(&self, path: &str) -> Result<(), RigError> {
        self.succeed("DELETE", path, None).map(drop)
    }

    /// Lists the keys at `path` below `/v1/`.
    pub fn list(&self, path: &str) -> Result<Value, RigError> {
        self.succeed("LIST", path, None)
    }

    /// Adds a KV v2 engine at `mount` and waits until it serves: right after it is added, it refuses
    /// everything for a moment.
    pub fn mount_kv(&self, mount: &str) -> Result<(), RigError> {
        let engine = json!({"type": "kv", "options": {"version": "2"}});
        self.write(&format!("sys/mounts/{mount}"), &engine)?;
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            match self.read(&format!("{mount}/config")) {
                Err(_) if Instant::now() < deadline => thread::sleep(Duration::from_millis(20)),
                outcome => return outcome.map(drop),
            }
        }
    }

    /// Writes a new version of `key` in the KV v2 engine at `mount`.
    pub fn put(&self, mount: &str, key: &str, data: &Value) -> Result<(), RigError> {
        self.write(&format!("{mount}/data/{key}"), &json!({"data": data}))
            .map(drop)
    }

    /// One request with any answer; an error only when there is no complete answer.
    pub fn ask(
        &self,
        method: &str,
        path: &str,
        content: Option<&Value>,
    ) -> Result<BaoAnswer, RigError> {
        self.exchange(method, path, content)
            .map_err(RigError::io(format!("{method} {path} at {}", self.url)))
    }

    fn succeed(
        &self,
        method: &str,
        path: &str,
        content: Option<&Value>,
    ) -> Result<Value, RigError> {
        let answer = self.ask(method, path, content)?;
        if (200..300).contains(&answer.status) {
            return Ok(answer.body);
        }
        Err(RigError::Setup(format!(
            "OpenBao answered {} to {method} {path}: {}",
            answer.status, answer.body["errors"]
        )))
    }

    fn exchange(&self, method: &str, path: &str, content: Option<&Value>) -> io::Result<BaoAnswer> {
        let content = content.map(Value::to_string).unwrap_or_default();
        let namespace = self.namespace.as_deref().unwrap_or_default();
        let mut stream = TcpStream::connect(self.url.trim_start_matches("http://"))?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        // HTTP/1.0, whose answer ends with the connection and is never chunked.
        let request = format!(
            "{method} /v1/{path} HTTP/1.0\r\nX-Vault-Token: {}\r\nX-Vault-Namespace: {namespace}\r\n\
             Content-Length: {}\r\n\r\n{content}",
            self.token,
            content.len()
        );
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        BaoAnswer::from_text(&answer)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the answer is malformed"))
    }
}

/// An answer of the server.
#[derive(Debug, Clone, PartialEq)]
pub struct BaoAnswer {
    /// The HTTP status.
    pub status: u16,
    /// The content, null when there is none.
    pub body: Value,
}

impl BaoAnswer {
    fn from_text(answer: &str) -> Option<Self> {
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        let body = match body {
            "" => Value::Null,
            json => serde_json::from_str(json).ok()?,
        };
        Some(Self { status, body })
    }
}

/// A request that the server has answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaoCall {
    /// `read`, `create`, `update`, `delete` or `list`.
    pub operation: String,
    /// The namespace, such as `team/`; empty for the root.
    pub namespace: String,
    /// The path below `/v1/`, within the namespace.
    pub path: String,
    /// The accessor of the caller's token, unless it has none or is not known.
    pub accessor: Option<String>,
    /// The accessor of the token that a login was given: `auth/token/revoke-accessor` ends it.
    pub issued: Option<String>,
    /// Why the request failed, if it did. The log does not hold the HTTP status.
    pub error: Option<String>,
}

impl BaoCall {
    fn from_entry(entry: &Value) -> Self {
        let request = &entry["request"];
        Self {
            operation: text(&request["operation"]).unwrap_or_default(),
            namespace: text(&request["namespace"]["path"]).unwrap_or_default(),
            path: text(&request["path"]).unwrap_or_default(),
            accessor: text(&request["client_token_accessor"]),
            issued: text(&entry["response"]["auth"]["accessor"]),
            error: text(&entry["error"]),
        }
    }
}

const CONFIG: &str = "openbao.hcl";
const DATA: &str = "data";
const AUDIT: &str = "audit.json";
const READY_WITHIN: Duration = Duration::from_mins(1);

fn spawn(program: &Path, dir: &RunDir) -> Result<Process, RigError> {
    let mut command = Command::new(program);
    command.arg("server");
    command.arg("-config").arg(dir.path().join(CONFIG));
    Process::spawn("openbao", command, &dir.logs())
}

/// Accessors stay readable in the audit log, so that a test can tell tokens apart and revoke them;
/// tokens and values are hashed there.
fn config(dir: &Path, url: &str) -> Result<String, RigError> {
    let (data, audit) = (dir.join(DATA), dir.join(AUDIT));
    let address = url.trim_start_matches("http://");
    let cluster_port = free_port()?;
    Ok(format!(
        r#"
api_addr = "{url}"
cluster_addr = "http://127.0.0.1:{cluster_port}"
storage "raft" {{
  node_id = "rig"
  path = "{data}"
  performance_multiplier = 1
}}
listener "tcp" {{
  address = "{address}"
  tls_disable = true
  max_request_json_strings = 10000
}}
audit "file" "calls" {{
  options = {{ file_path = "{audit}", hmac_accessor = "false" }}
}}
"#,
        data = data.display(),
        audit = audit.display(),
    ))
}

fn tls_listener(port: u16, is_mutual: bool, files: &tls::Files) -> String {
    format!(
        r#"
listener "tcp" {{
  address = "127.0.0.1:{port}"
  tls_cert_file = "{certificate}"
  tls_key_file = "{key}"
  tls_client_ca_file = "{ca}"
  tls_require_and_verify_client_cert = {is_mutual}
}}
"#,
        certificate = files.certificate.display(),
        key = files.key.display(),
        ca = files.ca.display(),
    )
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}
