//! What AWS refuses an identity, as far as it is remembered.

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;

use super::failure::{Coded, Failure};
use crate::lock::lock;

/// Secrets that are remembered. Whoever makes objects chooses how many there are; others cost a call
/// for many that is refused.
const MOST: usize = 1_000;

/// See the module's documentation.
#[derive(Default)]
pub(super) struct Refusals {
    /// The credentials themselves.
    identity: AtomicBool,
    /// Calls for many secrets, while single ones are allowed.
    batches: AtomicBool,
    /// Secrets that made AWS refuse a call for many, by their IDs.
    alone: Mutex<HashSet<String>>,
}

impl Refusals {
    /// Does AWS refuse the credentials themselves?
    pub(super) fn is_refused(&self) -> bool {
        self.identity.load(Ordering::Relaxed)
    }

    /// Must this secret be read by itself? A call for many would be refused.
    pub(super) fn is_read_alone(&self, id: &str) -> bool {
        self.batches.load(Ordering::Relaxed) || lock(&self.alone).contains(id)
    }

    /// Remembers that a call for many is refused if this secret is one of them.
    pub(super) fn read_alone(&self, id: &str) {
        let mut alone = lock(&self.alone);
        if alone.len() < MOST {
            alone.insert(id.to_owned());
        }
    }

    /// Remembers that calls for many secrets are refused.
    pub(super) fn deny_batches(&self) {
        self.batches.store(true, Ordering::Relaxed);
    }

    /// Why a call failed. Remembers it if it is the credentials.
    pub(super) fn failure<E: Coded>(&self, error: &SdkError<E, HttpResponse>) -> Failure {
        let failure = Failure::of(error);
        if failure.is_of_identity() {
            self.identity.store(true, Ordering::Relaxed);
        }
        failure
    }
}
