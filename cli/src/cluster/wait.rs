//! Waiting for the cluster to do what it was asked: one loop, with a deadline.

use std::ops::ControlFlow::{self, Break, Continue};
use std::time::{Duration, Instant};

/// How long something is waited for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wait {
    /// At most; but it is looked at least once.
    pub within: Duration,
    /// Between two looks.
    pub pause: Duration,
}

impl Wait {
    /// Looks until that breaks off with what was waited for, or fails. `observe` is told how long the
    /// wait has lasted, and continues with what there is so far; where time runs out, the last of
    /// that is returned, and the caller says what did not come in time.
    pub(super) async fn until<T, P, E>(
        self,
        mut observe: impl AsyncFnMut(Duration) -> Result<ControlFlow<T, P>, E>,
    ) -> Result<ControlFlow<T, P>, E> {
        let began = Instant::now();
        loop {
            match observe(began.elapsed()).await? {
                Break(found) => return Ok(Break(found)),
                Continue(so_far) if began.elapsed() >= self.within => return Ok(Continue(so_far)),
                Continue(_) => tokio::time::sleep(self.pause).await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Wait = Wait {
        within: Duration::from_millis(20),
        pause: Duration::from_millis(1),
    };

    fn run<T>(work: impl Future<Output = T>) -> T {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_all().build().unwrap().block_on(work)
    }

    #[test]
    fn a_wait_ends_with_what_came_or_with_an_error_or_with_the_last_look() {
        let mut looks = 0;
        let third = run(SHORT.until(async |_| {
            looks += 1;
            Ok::<_, ()>(if looks == 3 {
                Break("came")
            } else {
                Continue(looks)
            })
        }));
        assert_eq!(third, Ok(Break("came")));
        let failed = run(SHORT.until(async |_| Err::<ControlFlow<(), ()>, _>("failed")));
        assert_eq!(failed, Err("failed"));
        let mut looks = 0;
        let never = run(SHORT.until(async |_| {
            looks += 1;
            Ok::<ControlFlow<(), _>, ()>(Continue(looks))
        }));
        assert_eq!(never, Ok(Continue(looks)));
        assert!(looks > 1);
        let at_once = Wait {
            within: Duration::ZERO,
            ..SHORT
        };
        let once = run(at_once.until(async |_| Ok::<_, ()>(Break::<_, ()>(1))));
        assert_eq!(once, Ok(Break(1)));
    }
}
