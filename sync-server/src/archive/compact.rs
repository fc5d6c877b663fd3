//! Giving space back to the file system.

use std::path::Path;

use redb::{CompactionError, Database, DatabaseError};
use serde::Serialize;

use super::{ArchiveError, LOG_FILE};
use crate::log::{LogError, LogFile};

/// Bytes of the log's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Compacted {
    /// Before.
    pub before: u64,
    /// After.
    pub after: u64,
}

/// Moves what the file holds together and cuts off what is left. redb does so in commits: killed at any time the log is as
/// before, and the next start takes longer.
///
/// # Errors
/// If there is no log, a relay runs on it, or the disk fails.
pub fn compact(data: &Path) -> Result<Compacted, ArchiveError> {
    let path = data.join(LOG_FILE);
    if !path.exists() {
        return Err(ArchiveError::NoLog { path: data.to_owned() });
    }
    let len = || std::fs::metadata(&path).map(|m| m.len()).map_err(|e| ArchiveError::io(&path, e));
    let before = len()?;
    let failed = |error: redb::Error| match ArchiveError::log(data, LogError::of(error)) {
        ArchiveError::Log { path, source: LogError::DiskFull(_) } => {
            ArchiveError::Full { path, outcome: "the log holds what it held" }
        }
        other => other,
    };
    // It moves pages about as they are: damage would be written anew, with checksums that fit.
    drop(LogFile::open_checked(&path).map_err(|e| ArchiveError::log(data, e))?);
    let opened = Database::open(&path).map_err(|e: DatabaseError| failed(e.into()));
    let mut db = opened?;
    db.compact().map_err(|e: CompactionError| failed(e.into()))?;
    db.close().map_err(|e| failed(e.into()))?;
    Ok(Compacted { before, after: len()? })
}
