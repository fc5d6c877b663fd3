//! Why the log cannot do what was asked, and what the operator can do about it.

use std::io;

use dinh_proto::ids::Seq;
use thiserror::Error;

use super::epochs::BadHistory;

/// An error of the log. Every message says what to do.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LogError {
    /// The file is in use.
    #[error("another dinh-relay has this file open: stop it, or give this one another --data directory")]
    InUse,
    /// There is no room.
    #[error(
        "the disk is full: free space on the volume of the --data directory; a relay that runs then goes on by itself"
    )]
    DiskFull(#[source] io::Error),
    /// The operating system refused.
    #[error("the log file cannot be read or written ({0}): check the volume and the permissions of --data")]
    Io(#[source] io::Error),
    /// What is in the file cannot be.
    #[error(
        "the log file is damaged ({0}): restore the newest backup; devices then send again what it lacks"
    )]
    Corrupted(String),
    /// A later release wrote the file.
    #[error("the log file has format {found}, this dinh-relay knows up to {known}: use a newer dinh-relay")]
    NewerFormat {
        /// The format of the file.
        found: u64,
        /// The newest format that this program reads.
        known: u64,
    },
    /// The epoch was used before.
    #[error("{0}: give the log a freshly drawn epoch each time it is opened")]
    BadEpoch(#[from] BadHistory),
    /// Nothing is stored there.
    #[error("the log holds nothing at {0}")]
    NotStored(Seq),
    /// An earlier write failed, and what became of it is not known.
    #[error("an earlier write to the log failed: the relay must be started again before it can store more")]
    Failed,
}

impl LogError {
    /// Whether opening the log again will do, as soon as there is room on its volume.
    pub(crate) fn is_cured_by_room(&self) -> bool {
        matches!(self, Self::DiskFull(error) if error.kind() != io::ErrorKind::FileTooLarge)
    }

    /// Whether somebody else has the file open.
    pub(crate) fn is_in_use(&self) -> bool {
        matches!(self, Self::InUse)
    }

    /// Sorts an error of redb by what can be done about it.
    pub(crate) fn of(error: impl Into<redb::Error>) -> Self {
        match error.into() {
            redb::Error::DatabaseAlreadyOpen => Self::InUse,
            redb::Error::Io(e) => Self::of_io(e),
            redb::Error::PreviousIo => Self::Failed,
            other => Self::Corrupted(other.to_string()),
        }
    }

    /// The same for an error of the file system.
    pub(super) fn of_io(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                Self::DiskFull(error)
            }
            io::ErrorKind::InvalidData => Self::Corrupted(error.to_string()),
            _ => Self::Io(error),
        }
    }
}
