//! What AWS refuses an identity, as far as it is remembered.

use std::sync::atomic::{AtomicBool, Ordering};

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;

use super::failure::{Coded, Failure};

/// See the module's documentation.
#[derive(Default)]
pub(super) struct Refusals {
    /// The credentials themselves.
    identity: AtomicBool,
    /// Calls for many secrets, while single ones are allowed.
    batches: AtomicBool,
}

impl Refusals {
    /// Does AWS refuse the credentials themselves?
    pub(super) fn is_refused(&self) -> bool {
        self.identity.load(Ordering::Relaxed)
    }

    /// May the identity read single secrets, and not many with one call?
    pub(super) fn is_batch_denied(&self) -> bool {
        self.batches.load(Ordering::Relaxed)
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
