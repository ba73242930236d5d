//! Renders templates in a process of its own, which has limits on memory and time. Anybody who may
//! write a SealedSecret writes its template, and a template runs code of libraries: should one of
//! them exceed its bounds all the same, only that render ends.
//!
//! The child is this program again, with [`ARGUMENT`]. Texts and values reach it through a pipe.

mod child;
mod frame;

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use sealkit_core::template::{TemplateError, TemplateErrorKind, limits};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use zeroize::Zeroizing;

use crate::queue::Turns;

pub use child::serve;
use frame::Answer;

/// The first argument of a process that renders.
pub const ARGUMENT: &str = "render";
/// This program, even if its file was replaced meanwhile.
const THIS_PROGRAM: &str = "/proc/self/exe";
/// Bytes on the heap of a process that renders: those of a render, and those of a program.
pub const MEMORY: u64 = limits::MEMORY as u64 + 32 * 1024 * 1024;
/// Far more than a render may take, for a machine that has no time for it.
const WITHIN: Duration = Duration::from_secs(10);
/// Bytes of an answer: as many as a Secret holds, and the keys.
const ANSWER: usize = limits::OUTPUT_BYTES + limits::ENTRIES * 300;
/// The signal of a program that found no memory.
const ABORTED: i32 = 6;

/// Renders at once, half of them of one namespace: its author can make each need all the memory that
/// a render may have, and all its time.
const AT_ONCE: usize = 2;

/// Renders for all kinds, namespaces in turn.
pub struct Renderer {
    turns: Arc<Turns>,
}

impl Default for Renderer {
    fn default() -> Self {
        Self {
            turns: Turns::new(AT_ONCE, AT_ONCE / 2),
        }
    }
}

impl Renderer {
    /// Renders texts of an object in this namespace over the values that they may read.
    pub async fn render(
        &self,
        namespace: &str,
        texts: &BTreeMap<String, String>,
        values: &[(&str, &[u8])],
    ) -> Result<Contents, RenderError> {
        if texts.is_empty() {
            return Ok(Contents::new());
        }
        // Held until the process is gone.
        let _place = self.turns.take(namespace).await;
        render(Path::new(THIS_PROGRAM), MEMORY, texts, values).await
    }

    /// Renders a text of an object in this namespace once for each word, which it reads as `.value`
    /// beside the values. Returns what each word became.
    pub async fn render_each(
        &self,
        namespace: &str,
        text: &str,
        values: &[(&str, &[u8])],
        words: &[&str],
    ) -> Result<Contents, RenderError> {
        if words.is_empty() {
            return Ok(Contents::new());
        }
        let texts = BTreeMap::from([(EACH.to_owned(), text.to_owned())]);
        let request = frame::request(&texts, values, words);
        let _place = self.turns.take(namespace).await;
        answered(Path::new(THIS_PROGRAM), MEMORY, EACH, &request).await
    }
}

/// How errors name a text that is rendered for each of many words.
const EACH: &str = "template";

/// Contents by key.
pub type Contents = BTreeMap<String, Zeroizing<Vec<u8>>>;

/// Why there is no result.
#[derive(Debug)]
pub enum RenderError {
    /// The template is at fault.
    Template(TemplateError),
    /// The process could not be started or ended by itself.
    Process,
}

/// Renders texts over the values that they may read, in a child of `program` with at most `memory`
/// bytes. The child is gone when this returns or is dropped.
pub async fn render(
    program: &Path,
    memory: u64,
    texts: &BTreeMap<String, String>,
    values: &[(&str, &[u8])],
) -> Result<Contents, RenderError> {
    let Some(first) = texts.keys().next() else {
        return Ok(Contents::new());
    };
    answered(program, memory, first, &frame::request(texts, values, &[])).await
}

/// The answer of a child to a request whose first text is named `first`.
async fn answered(
    program: &Path,
    memory: u64,
    first: &str,
    request: &[u8],
) -> Result<Contents, RenderError> {
    let mut child = Command::new(program)
        .args([ARGUMENT, &memory.to_string()])
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        // Whatever a library says there could quote a value.
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|_| RenderError::Process)?;
    let Ok(answer) = tokio::time::timeout(WITHIN, ask(&mut child, request)).await else {
        let _ = child.kill().await;
        return Err(exceeded(first, TemplateErrorKind::TooSlow));
    };
    let (answer, status) = answer.map_err(|_| RenderError::Process)?;
    match Answer::read(&answer) {
        Some(Answer::Rendered(contents)) => Ok(contents),
        Some(Answer::Refused(error)) => Err(RenderError::Template(error)),
        Some(Answer::Panicked(place)) => {
            tracing::error!(place, "internal error in a render");
            Err(RenderError::Process)
        }
        None => Err(ended(first, status)),
    }
}

/// The answer, and how the child ended.
async fn ask(
    child: &mut Child,
    request: &[u8],
) -> std::io::Result<(Zeroizing<Vec<u8>>, ExitStatus)> {
    if let Some(mut input) = child.stdin.take() {
        // A child that ended reads nothing: its status says why.
        let _ = input.write_all(request).await;
    }
    let mut answer = Zeroizing::new(Vec::with_capacity(ANSWER));
    if let Some(output) = child.stdout.take() {
        let limit = u64::try_from(ANSWER).unwrap_or(u64::MAX);
        output.take(limit).read_to_end(&mut answer).await?;
    }
    Ok((answer, child.wait().await?))
}

fn ended(first: &str, status: ExitStatus) -> RenderError {
    match status.signal() {
        // It would be the same another time.
        Some(ABORTED) => exceeded(first, TemplateErrorKind::TooMuchMemory),
        // Out of time, or killed by somebody who needs memory.
        Some(_) => exceeded(first, TemplateErrorKind::TooSlow),
        None => RenderError::Process,
    }
}

fn exceeded(key: &str, cause: TemplateErrorKind) -> RenderError {
    let key = key.to_owned();
    RenderError::Template(TemplateError { key, cause })
}
