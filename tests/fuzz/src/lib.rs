//! Properties of every parser of untrusted input, as functions of any bytes: they panic where one
//! does not hold. `make fuzz` searches for such bytes guided by coverage; every test run replays
//! the seeds and some thousand mutations of them.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]
#![allow(
    clippy::missing_panics_doc,
    reason = "a panic is how a property says that it does not hold"
)]

mod answers;
mod manifests;
mod sealed;
mod templates;

/// Counts what is allocated: [`templates::budget`] measures renders with it.
#[global_allocator]
static ALLOCATED: peak_alloc::PeakAlloc = peak_alloc::PeakAlloc;

/// A parser under test.
pub struct Target {
    /// Its name: that of the folder of its seeds.
    pub name: &'static str,
    /// Panics where a property does not hold for these bytes.
    pub check: fn(&[u8]),
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target {
        name: "documents",
        check: manifests::documents,
    },
    Target {
        name: "secret",
        check: manifests::secret,
    },
    Target {
        name: "emit",
        check: manifests::emit,
    },
    Target {
        name: "lint",
        check: manifests::lint,
    },
    Target {
        name: "merge",
        check: manifests::merge,
    },
    Target {
        name: "object",
        check: sealed::object,
    },
    Target {
        name: "age_file",
        check: sealed::age_file,
    },
    Target {
        name: "envelope",
        check: sealed::envelope,
    },
    Target {
        name: "value",
        check: sealed::value,
    },
    Target {
        name: "keys",
        check: sealed::keys,
    },
    Target {
        name: "template",
        check: templates::template,
    },
    Target {
        name: "budget",
        check: templates::budget,
    },
    Target {
        name: "answers",
        check: answers::answers,
    },
];

/// A plaintext that no message may quote.
const CANARY: &str = "cAnArY-9q2mX5";

fn says_nothing(message: &str) {
    assert!(!message.contains(CANARY), "a message quotes a value");
    is_printable(message);
}

fn is_printable(message: &str) {
    assert!(
        message.chars().all(|letter| !letter.is_control()),
        "a message carries control characters"
    );
}

#[cfg(test)]
mod tests;
