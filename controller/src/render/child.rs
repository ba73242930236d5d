//! The process that renders: it reads one request, answers and ends.

use std::io::{self, Read as _, Write as _};
use std::process::ExitCode;
use std::sync::Mutex;

use rustix::process::{Resource, Rlimit, setrlimit};
use sealkit_core::template::{TemplateError, Templates};
use zeroize::Zeroizing;

use super::Contents;
use super::frame::{Answer, Request};

/// Seconds of processor time. A render takes a quarter of one.
const CPU_SECONDS: u64 = 2;

/// Where it panicked.
static PANICKED: Mutex<String> = Mutex::new(String::new());

/// Renders the request on standard input within `memory` bytes, and writes the answer to standard
/// output. Fails if it cannot limit itself.
pub fn serve(memory: &str) -> ExitCode {
    let served = memory.parse().ok().and_then(|memory| {
        limit(memory).ok()?;
        answer().ok()
    });
    served.map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS)
}

fn limit(memory: u64) -> rustix::io::Result<()> {
    let limits = [
        // What a program allocates, and not the files that it maps.
        (Resource::Data, memory),
        (Resource::Cpu, CPU_SECONDS),
        // It holds values.
        (Resource::Core, 0),
        // The pipes are open already.
        (Resource::Nofile, 3),
    ];
    limits.into_iter().try_for_each(|(resource, most)| {
        let most = Some(most);
        setrlimit(
            resource,
            Rlimit {
                current: most,
                maximum: most,
            },
        )
    })
}

fn answer() -> io::Result<()> {
    let mut request = Zeroizing::new(Vec::new());
    io::stdin().read_to_end(&mut request)?;
    let Some(request) = Request::read(&request) else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    // Only the place: the text of a panic may quote a value.
    std::panic::set_hook(Box::new(|info| {
        if let (Some(place), Ok(mut panicked)) = (info.location(), PANICKED.lock()) {
            *panicked = place.to_string();
        }
    }));
    let answer = match std::panic::catch_unwind(|| rendered(&request)) {
        Ok(Ok(contents)) => Answer::Rendered(contents),
        Ok(Err(error)) => Answer::Refused(error),
        Err(_) => Answer::Panicked(
            PANICKED
                .lock()
                .map(|place| place.clone())
                .unwrap_or_default(),
        ),
    };
    io::stdout().write_all(&answer.bytes())
}

fn rendered(request: &Request) -> Result<Contents, TemplateError> {
    let mut templates = Templates::parse(&request.texts)?;
    if !request.words.is_empty() {
        let words = request.words.iter().map(String::as_str);
        return templates.render_each(&request.values, words);
    }
    let values = request.values.iter();
    templates.render(values.map(|(key, value)| (key.as_str(), value.as_slice())))
}
