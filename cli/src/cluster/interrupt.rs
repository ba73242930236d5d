//! Signals that ask for the end.

use tokio::signal::unix::{SignalKind, signal};

/// Does the work, unless SIGINT or SIGTERM comes: then `clear` tidies the terminal, and the process
/// ends at once. Without a handler, the first process of a container would live on.
pub(super) async fn unless_interrupted<T>(
    work: impl Future<Output = T>,
    clear: impl FnOnce(),
) -> T {
    tokio::select! {
        biased;
        code = interrupted() => {
            clear();
            std::process::exit(code);
        }
        done = work => done,
    }
}

/// The exit code that shells give a process which such a signal ended.
async fn interrupted() -> i32 {
    let ended = async |kind: SignalKind, code| match signal(kind) {
        Ok(mut signal) => {
            signal.recv().await;
            code
        }
        Err(_) => std::future::pending().await,
    };
    tokio::select! {
        code = ended(SignalKind::interrupt(), 130) => code,
        code = ended(SignalKind::terminate(), 143) => code,
    }
}
