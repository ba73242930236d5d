//! The one way to take a lock that is held for a moment.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Takes the lock. No code that can panic runs under these locks, so that none is poisoned; a panic
/// all the same must not end everything that needs the lock.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
