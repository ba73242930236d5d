//! A server that answers as AWS does: Secrets Manager, the Parameter Store, STS and IAM, by moto.

use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

use crate::process::run;
use crate::run_dir::RunDir;
use crate::{Process, RigError, free_port, python_venv};

/// A running moto server, which asks nobody for credentials until [`Moto::enforce`], unless it is
/// [strict](Moto::start_strict). Dropping it kills it.
pub struct Moto {
    process: Process, // dropped before its directory
    dir: RunDir,
    url: String,
}

const READY_WITHIN: Duration = Duration::from_mins(1);
const RECORDING: &str = "recording";

impl Moto {
    /// The region of all calls of [`Moto::call`]. Each region has its own secrets.
    pub const REGION: &str = "eu-west-1";

    /// Starts a server of its own, on a free port of 127.0.0.1, and waits until it serves.
    pub fn start() -> Result<Self, RigError> {
        let program = Self::program()?;
        Self::start_as(|| Command::new(&program))
    }

    /// Starts a server that verifies signatures and trust policies of roles, and answers what it
    /// refuses as AWS does: `moto/strict.py`. Users, roles and providers are those of IAM, which this
    /// rig makes unsigned.
    pub fn start_strict() -> Result<Self, RigError> {
        let python = Self::python()?;
        Self::start_as(|| {
            let mut command = Command::new(&python);
            command.arg("-B").arg(folder().join("strict.py"));
            command.args(["--region", Self::REGION]);
            command
        })
    }

    /// Runs the tests of what a strict server lets through and refuses.
    pub fn test_strict() -> Result<(), RigError> {
        let mut command = Command::new(Self::python()?);
        command.arg("-B").arg(folder().join("strict_test.py"));
        run(&mut command, None).map(drop)
    }

    /// The one server of this process, started by the first caller. Tests that share it keep to
    /// names of their own.
    pub fn shared() -> Result<&'static Self, RigError> {
        static SHARED: Mutex<Option<&'static Moto>> = Mutex::new(None);
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = *shared {
            return Ok(running);
        }
        let started: &'static Self = Box::leak(Box::new(Self::start()?));
        *shared = Some(started);
        Ok(started)
    }

    /// Path of `moto_server`, installed if needed.
    pub fn program() -> Result<PathBuf, RigError> {
        Ok(Self::python()?.with_file_name("moto_server"))
    }

    fn python() -> Result<PathBuf, RigError> {
        python_venv(&folder().join("requirements.txt"))
    }

    /// The server's address, `http://127.0.0.1:PORT`: the endpoint of all services.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Calls an operation such as `secretsmanager.CreateSecret` or `AmazonSSM.PutParameter`.
    pub fn call(&self, operation: &str, content: &Value) -> Result<Value, RigError> {
        let service = match operation.split('.').next() {
            Some("AmazonSSM") => "ssm",
            Some("AmazonSQS") => "sqs",
            other => other.unwrap_or_default(),
        };
        let headers = format!(
            "X-Amz-Target: {operation}\r\nContent-Type: application/x-amz-json-1.1\r\n{}",
            scope(service)
        );
        let answer = self.post("/", &headers, &content.to_string())?;
        serde_json::from_str(&answer)
            .map_err(|_| RigError::Setup(format!("moto's answer to {operation} is no JSON")))
    }

    /// Calls an operation of IAM such as `CreateUser`, and returns XML.
    pub fn iam(&self, operation: &str, parameters: &[(&str, &str)]) -> Result<String, RigError> {
        let headers = format!(
            "Content-Type: application/x-www-form-urlencoded\r\n{}",
            scope("iam")
        );
        let mut form = format!("Action={operation}&Version=2010-05-08");
        for (name, value) in parameters {
            form.push_str(&format!("&{name}="));
            for byte in value.bytes() {
                form.push_str(&format!("%{byte:02X}"));
            }
        }
        self.post("/", &headers, &form)
    }

    /// From now on signatures and policies of IAM are checked.
    pub fn enforce(&self) -> Result<(), RigError> {
        self.post("/moto-api/reset-auth", "", "0").map(drop)
    }

    /// From now on the clock of a strict server is ahead by these seconds, or behind.
    pub fn set_clock(&self, seconds: i64) -> Result<(), RigError> {
        self.post("/strict/clock", "", &seconds.to_string())
            .map(drop)
    }

    /// The calls so far, in order, without those of this rig and those that a strict server refused.
    pub fn calls(&self) -> Result<Vec<MotoCall>, RigError> {
        let path = self.dir.path().join(RECORDING);
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            text => text.map_err(RigError::io(format!("read {}", path.display())))?,
        };
        // The last line may still be growing.
        let complete = text.rsplit_once('\n').map_or("", |(lines, _)| lines);
        let requests = complete
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok());
        Ok(requests
            .filter_map(|request| MotoCall::from_request(&request))
            .collect())
    }

    /// Kills the server (SIGKILL); its port refuses connections.
    pub fn kill(&mut self) -> Result<(), RigError> {
        self.process.kill()
    }

    fn start_as(program: impl Fn() -> Command) -> Result<Self, RigError> {
        match Self::try_start(program()) {
            Err(error) if error.is_port_conflict() => Self::try_start(program()),
            other => other,
        }
    }

    fn try_start(mut command: Command) -> Result<Self, RigError> {
        let dir = RunDir::scratch()?;
        let port = free_port()?.to_string();
        command.args(["-H", "127.0.0.1", "-p", &port]);
        command.env("MOTO_ENABLE_RECORDING", "true");
        command.env("MOTO_RECORDER_FILEPATH", dir.path().join(RECORDING));
        let mut server = Self {
            process: Process::spawn("moto", command, &dir.logs())?,
            dir,
            url: format!("http://127.0.0.1:{port}"),
        };
        let address = server.url.clone();
        let started = server.process.wait_ready(READY_WITHIN, || {
            exchange(&address, "GET", "/moto-api/config", "", "").is_ok()
        });
        if started.is_err() {
            // The error points to the log.
            server.dir.keep();
        }
        started.map(|()| server)
    }

    fn post(&self, path: &str, headers: &str, content: &str) -> Result<String, RigError> {
        let answer = exchange(&self.url, "POST", path, headers, content);
        let (status, body) =
            answer.map_err(RigError::io(format!("POST {path} at {}", self.url)))?;
        if status == 200 {
            return Ok(body);
        }
        Err(RigError::Setup(format!("moto answered {status}: {body}")))
    }
}

/// By this moto knows the service. The key is no user's.
fn scope(service: &str) -> String {
    format!(
        "Authorization: AWS4-HMAC-SHA256 Credential=AKIARIG/20260101/{}/{service}/aws4_request, \
         SignedHeaders=host, Signature=0\r\n",
        Moto::REGION
    )
}

/// The name by which all calls of this rig are known.
const RIG: &str = "sealkit-rig";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("moto")
}

/// A call that moto answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MotoCall {
    /// Such as `GetSecretValue`.
    pub operation: String,
    /// The access key that signed it, if it is signed.
    pub access_key: Option<String>,
    /// The session token that came with it.
    pub session_token: Option<String>,
    /// The content: JSON or a form.
    pub content: String,
}

impl MotoCall {
    fn from_request(request: &Value) -> Option<Self> {
        let headers = request["headers"].as_object()?;
        let header = |name: &str| {
            let mut all = headers.iter();
            let (_, value) = all.find(|(found, _)| found.eq_ignore_ascii_case(name))?;
            value.as_str()
        };
        if header("user-agent") == Some(RIG) {
            return None;
        }
        let content = BASE64_STANDARD.decode(request["body"].as_str()?).ok()?;
        let content = String::from_utf8(content).ok()?;
        let target = header("x-amz-target").and_then(|target| target.split('.').next_back());
        let action = || {
            content
                .split('&')
                .find_map(|part| part.strip_prefix("Action="))
        };
        let (_, signed) = header("authorization")
            .and_then(|header| header.split_once("Credential="))
            .unwrap_or_default();
        Some(Self {
            operation: target.or_else(action)?.to_owned(),
            access_key: signed
                .split('/')
                .next()
                .filter(|key| !key.is_empty())
                .map(str::to_owned),
            session_token: header("x-amz-security-token").map(str::to_owned),
            content,
        })
    }
}

/// Status and body of the answer.
fn exchange(
    url: &str,
    method: &str,
    path: &str,
    headers: &str,
    content: &str,
) -> io::Result<(u16, String)> {
    let host = url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(host)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    // HTTP/1.0, whose answer ends with the connection and is never chunked.
    let length = content.len();
    let request = format!(
        "{method} {path} HTTP/1.0\r\nHost: {host}\r\nUser-Agent: {RIG}\r\n{headers}\
         Content-Length: {length}\r\n\r\n{content}"
    );
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let malformed = || io::Error::new(io::ErrorKind::InvalidData, "the answer is malformed");
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(malformed)?;
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    Ok((status.ok_or_else(malformed)?, body.to_owned()))
}
