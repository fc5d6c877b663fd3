//! Files whose creation was cut off.
//!
//! redb makes a new file in steps and writes its magic number last; if the process ends in between, it refuses
//! the file from then on. An app would never start again, although nothing was ever stored. So such a file is
//! emptied, and only such a file: every byte after the first page is still zero, so that it holds no data.

use std::io;
use std::ops::Bound;

use redb::{BackendError, StorageBackend};

use super::of_io;
use crate::store::StoreError;

/// The place of redb's magic number, which no finished file has as zeros.
const MAGIC_BYTES: u64 = 9;
/// The part of a file that redb writes before the magic number.
const HEADER_BYTES: u64 = 4096;
const CHUNK_BYTES: usize = 64 << 10;
const WHOLE_FILE: (Bound<u64>, Bound<u64>) = (Bound::Unbounded, Bound::Unbounded);

/// Empties the file if its creation was cut off.
pub(super) fn discard(backend: &impl StorageBackend) -> Result<(), StoreError> {
    if !has_no_magic(backend).map_err(of_io)? {
        return Ok(());
    }
    // Another process may be creating it right now.
    let locked = match backend.try_lock_range(WHOLE_FILE.0, WHOLE_FILE.1) {
        Ok(true) => true,
        Ok(false) => return Err(StoreError::Locked),
        Err(BackendError::Unsupported) => false,
        Err(BackendError::Io(error)) => return Err(of_io(error)),
        Err(error) => return Err(of_io(error.into())),
    };
    let result = discard_locked(backend).map_err(of_io);
    if locked {
        backend.unlock_range(WHOLE_FILE.0, WHOLE_FILE.1).map_err(|error| of_io(error.into()))?;
    }
    result
}

fn discard_locked(backend: &impl StorageBackend) -> io::Result<()> {
    // Asked again: it may have been finished before the lock was had.
    if has_no_magic(backend)? && is_zero(backend, HEADER_BYTES, backend.len()?)? {
        tracing::warn!("the creation of this store was cut off: it is created again");
        backend.set_len(0)?;
        backend.sync_data()?;
    }
    Ok(())
}

fn has_no_magic(backend: &impl StorageBackend) -> io::Result<bool> {
    let len = backend.len()?;
    Ok(len > 0 && is_zero(backend, 0, len.min(MAGIC_BYTES))?)
}

fn is_zero(backend: &impl StorageBackend, from: u64, to: u64) -> io::Result<bool> {
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut at = from;
    while at < to {
        let chunk = &mut buffer[..CHUNK_BYTES.min(usize::try_from(to - at).unwrap_or(CHUNK_BYTES))];
        backend.read(at, chunk)?;
        if chunk.iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
        at += chunk.len() as u64;
    }
    Ok(true)
}
