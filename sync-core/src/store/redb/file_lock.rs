//! The lock on the file where neither redb nor the standard library has one.
//!
//! On Android `File::try_lock` says *unsupported*, and redb then goes on without any lock: a service and an
//! activity that both open the store would write over each other. The lock belongs to the opened file, so it
//! holds against a second opening in the same process too, and ends when the file is closed, however that comes.

use std::fs::File;
use std::io;

use rustix::fs::{FlockOperation, flock};

use super::of_io;
use crate::store::StoreError;

/// Locks the file until it is closed.
pub(super) fn acquire(file: &File) -> Result<(), StoreError> {
    match flock(file, FlockOperation::NonBlockingLockExclusive).map_err(io::Error::from) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(StoreError::Locked),
        // Some file systems have no locks; the store is of use there all the same.
        Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(()),
        Err(error) => Err(of_io(error)),
    }
}

#[cfg(test)]
mod tests {
    use redb::backends::FileBackend;

    use super::*;
    use crate::store::RedbStore;

    #[test]
    fn a_second_opening_is_refused_until_the_first_is_closed() {
        let dir = tempfile::tempdir().unwrap();
        let open =
            || File::options().read(true).write(true).create(true).truncate(false).open(dir.path().join("f"));
        let first = open().unwrap();
        acquire(&first).unwrap();
        assert!(matches!(acquire(&open().unwrap()), Err(StoreError::Locked)));
        // A redb that has locks of its own must not stumble over this one.
        let store = RedbStore::with_backend(FileBackend::new(first).unwrap()).unwrap();
        assert!(matches!(acquire(&open().unwrap()), Err(StoreError::Locked)));
        drop(store);
        acquire(&open().unwrap()).unwrap();
    }
}
