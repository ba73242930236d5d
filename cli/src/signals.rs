//! The signals that would end this program and leave something behind: plaintext, or a terminal
//! that shows nothing of what is typed.

use std::fs::File;
use std::future::poll_fn;
use std::io;
use std::process::{Child, ExitStatus};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use rustix::process::Signal as Number;
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::error::{CommandError, Result};

/// How often an editor is looked at.
const POLL: Duration = Duration::from_millis(50);
/// The terminal sends these to the editor too, which may live on.
const SHARED: [Number; 2] = [Number::INT, Number::QUIT];
/// These are for us. The others that end a process cannot be caught: the guard of the folder is
/// there for them.
const OURS: [Number; 14] = [
    Number::HUP,
    Number::TRAP,
    Number::ABORT,
    Number::BUS,
    Number::USR1,
    Number::USR2,
    Number::ALARM,
    Number::TERM,
    Number::XCPU,
    Number::XFSZ,
    Number::VTALARM,
    Number::PROF,
    Number::IO,
    Number::SYS,
];
#[cfg(target_os = "linux")]
const LINUX: [Number; 2] = [Number::STKFLT, Number::POWER];
#[cfg(not(target_os = "linux"))]
const LINUX: [Number; 0] = [];
/// Real-time signals; the numbers are free for other uses elsewhere.
const REAL_TIME: std::ops::Range<i32> = if cfg!(target_os = "linux") {
    34..65
} else {
    0..0
};

/// How many hold the signals: while one does, only it answers them.
static HELD: AtomicUsize = AtomicUsize::new(0);

/// Caught signals. From now on none of them ends this process by itself.
pub(crate) struct Signals {
    runtime: tokio::runtime::Runtime,
    shared: Vec<Signal>,
    ours: Vec<Signal>,
}

impl Signals {
    pub(crate) fn caught() -> Result<Self> {
        let failed = |_| CommandError::bug("signals cannot be caught");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(failed)?;
        let entered = runtime.enter();
        let catch = |number| signal(SignalKind::from_raw(number));
        let catch_all = |numbers: &[Number]| -> io::Result<Vec<Signal>> {
            let numbers = numbers.iter();
            numbers.map(|number| catch(number.as_raw())).collect()
        };
        let shared = catch_all(&SHARED).map_err(failed)?;
        let mut ours = catch_all(&OURS).map_err(failed)?;
        ours.extend(catch_all(&LINUX).map_err(failed)?);
        // The system may have fewer of these.
        ours.extend(REAL_TIME.filter_map(|number| catch(number).ok()));
        drop(entered);
        HELD.fetch_add(1, Ordering::SeqCst);
        Ok(Self {
            runtime,
            shared,
            ours,
        })
    }

    /// Waits for a process; nothing if a signal that is for us comes first.
    pub(crate) fn wait(&mut self, child: &mut Child) -> io::Result<Option<ExitStatus>> {
        let ours = &mut self.ours;
        self.runtime.block_on(async {
            loop {
                tokio::select! {
                    () = any(ours) => return Ok(None),
                    () = tokio::time::sleep(POLL) => {
                        if let Some(status) = child.try_wait()? {
                            return Ok(Some(status));
                        }
                    }
                }
            }
        })
    }

    /// What a person answers, unless a signal comes first; then the terminal is as it was before.
    pub(crate) fn answer<T: Send + 'static>(
        &mut self,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        let terminal = File::open("/dev/tty").ok();
        let before = terminal
            .as_ref()
            .and_then(|terminal| tcgetattr(terminal).ok());
        let (sender, answer) = tokio::sync::oneshot::channel();
        // It stays behind if a signal comes first, and ends with the process.
        std::thread::spawn(move || sender.send(read()));
        let answer = self.runtime.block_on(async {
            tokio::select! {
                biased;
                answer = answer => answer.ok(),
                () = any(&mut self.shared) => None,
                () = any(&mut self.ours) => None,
            }
        });
        if let (None, Some((terminal, before))) = (&answer, terminal.as_ref().zip(before)) {
            let _ = tcsetattr(terminal, OptionalActions::Now, &before);
        }
        answer.ok_or_else(interrupted)
    }

    /// Lets signals end this process again, now that nothing would be left behind.
    pub(crate) fn release(mut self) {
        HELD.fetch_sub(1, Ordering::SeqCst);
        std::thread::spawn(move || {
            self.ours.append(&mut self.shared);
            loop {
                self.runtime.block_on(any(&mut self.ours));
                if HELD.load(Ordering::SeqCst) == 0 {
                    std::process::exit(interrupted().exit_code().into());
                }
            }
        });
    }
}

/// What a person answers. A signal ends the wait for it: the caller puts down what it holds, and ends.
pub(crate) fn answer<T: Send + 'static>(
    read: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T> {
    let mut signals = Signals::caught()?;
    let answer = signals.answer(read)?;
    // A prompt that hides what is typed sees Ctrl-C itself.
    if let Err(error) = &answer
        && error.kind() == io::ErrorKind::Interrupted
    {
        return Err(interrupted());
    }
    signals.release();
    answer.map_err(|_| CommandError::usage("no answer was read"))
}

/// The failure when a signal ends the work.
pub(crate) fn interrupted() -> CommandError {
    CommandError::input("interrupted").hint("nothing was changed")
}

async fn any(signals: &mut [Signal]) {
    poll_fn(|context| {
        let mut signals = signals.iter_mut();
        if signals.any(|signal| signal.poll_recv(context).is_ready()) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}
