//! redb panics on some damaged pages. An app would end at every start; so a panic inside redb is an error that says
//! that the file is damaged. Panics of the closures that callers pass go on to the callers.
//!
//! What redb left half done is not touched again, not even to drop it: its destructors panic on the locks that the
//! first panic poisoned, which would end the process. So the file stays open, and locked, until the process ends.
//! It can be deleted, and another store opened.

use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

/// Stands between a store and redb.
#[derive(Debug, Default)]
pub(super) struct Guard {
    panicked: AtomicBool,
}

impl Guard {
    /// Calls redb.
    pub(super) fn call<T, E>(&self, call: impl FnOnce() -> Result<T, E>) -> Result<T, redb::Error>
    where
        E: Into<redb::Error>,
    {
        match catch_unwind(AssertUnwindSafe(call)) {
            Ok(result) => result.map_err(Into::into),
            Err(_) => {
                self.panicked.store(true, Ordering::Release);
                Err(redb::Error::Corrupted("redb panicked".into()))
            }
        }
    }

    /// Whether redb is of no more use.
    pub(super) fn panicked(&self) -> bool {
        self.panicked.load(Ordering::Acquire)
    }

    /// Drops something of redb's, if that is safe. Nothing that was written is lost if not.
    pub(super) fn drop<T>(&self, value: T) {
        if self.panicked() {
            mem::forget(value);
        } else {
            let dropped = self.call(|| {
                drop(value);
                Ok::<_, redb::Error>(())
            });
            if let Err(error) = dropped {
                tracing::error!(%error, "the store is damaged: it could not be closed");
            }
        }
    }
}
